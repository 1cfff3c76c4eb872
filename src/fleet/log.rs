//! The log of what was taken back, as one broker has applied it. Knows neither Redis nor threads: it is
//! told what was read, and says what follows.
//!
//! Nothing is looked for and deleted. An answer carries how far its asker had applied the log *before* it
//! asked the API, and a later entry that covers the question outdates it, so that an answer that is slow
//! cannot outrun an invalidation, and no two clocks are compared.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::answer::Stamp;
use super::memory::Memory;
use super::record::{Do, Epoch, Id, Position, Record};
use crate::cache::{InvalidationScope, Invalidations, Subject};
use crate::random;

mod anchor;
mod blind_ttl;
mod epochs;
mod here;
mod outbox;
mod told;
mod writing;
use anchor::Anchor;
use blind_ttl::BlindTtl;
use epochs::Epochs;
use here::Here;
use outbox::Outbox;
pub(crate) use told::{Effect, Entry, Gap};

/// How long the log may be silent until it is not in touch any more.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// Within which time entries are put back that Redis has lost, by chance, so that not all brokers do it.
const PUT_BACK: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Away,
    CatchingUp,
    InTouch,
}

/// One broker's view of the log.
pub(crate) struct Log {
    phase: Phase,
    /// When it was last certain that nothing had been missed.
    last_touch: Instant,
    /// Whether it has ever been in touch.
    has_begun: bool,
    epochs: Epochs,
    /// Whether the entry that began the epoch was read.
    is_epoch_certain: bool,
    applied: Position,
    anchor: Anchor,
    /// What was invalidated since the epoch began.
    marks: Invalidations<Position>,
    here: Here,
    memory: Memory,
    outbox: Outbox,
    /// Where the entries stand of which somebody wants to know; none: they were not read back yet.
    awaited: HashMap<Id, Option<Position>>,
    /// While the whole log is read: the entries that it has.
    scan: Option<HashSet<Id>>,
    blind_ttl: BlindTtl,
}

impl Log {
    pub(crate) fn new(now: Instant, blind_ttl: Duration) -> Self {
        Self {
            phase: Phase::Away,
            last_touch: now,
            has_begun: false,
            epochs: Epochs::default(),
            is_epoch_certain: false,
            applied: Position::START,
            anchor: Anchor::default(),
            marks: Invalidations::default(),
            here: Here::default(),
            memory: Memory::default(),
            outbox: Outbox::default(),
            awaited: HashMap::new(),
            scan: Some(HashSet::new()),
            blind_ttl: BlindTtl::new(blind_ttl),
        }
    }

    /// Whether everything is applied that was taken back until a moment ago.
    pub(crate) fn is_in_touch(&self, now: Instant) -> bool {
        self.phase == Phase::InTouch && now.saturating_duration_since(self.last_touch) < SILENCE
    }

    /// For how long something may have been missed.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_touch)
    }

    /// How far the log is applied.
    pub(crate) fn applied(&self) -> (Option<Epoch>, Position) {
        (self.epochs.current(), self.applied)
    }

    /// What an answer carries that is asked for from now on. None: it is not shared.
    pub(crate) fn stamp(&self, now: Instant) -> Option<Stamp> {
        let epoch = self.epochs.current().filter(|_| self.is_in_touch(now))?;
        Some(Stamp { epoch, position: self.applied })
    }

    /// Whether an answer of this stamp may be shared now: after a loss, its position may be one that others do not read
    /// any more.
    pub(crate) fn shares(&self, stamp: &Stamp, now: Instant) -> bool {
        self.stamp(now).is_some_and(|current| current.epoch == stamp.epoch)
    }

    /// Whether an answer of this stamp is good for a question about this.
    pub(crate) fn believes(&self, stamp: &Stamp, subject: &Subject<'_>, now: Instant) -> bool {
        self.is_in_touch(now)
            && self.epochs.current() == Some(stamp.epoch)
            && !self.marks.covers(subject, stamp.position)
            && !self.here.covers(subject, stamp.position)
            && !self.outbox.covers(subject)
    }

    /// How many entries are not written yet, or not read back.
    pub(crate) fn outbox(&self) -> usize {
        self.outbox.len()
    }

    /// Redis cannot be reached any more.
    pub(crate) fn lose_touch(&mut self) {
        self.phase = Phase::Away;
    }

    /// Redis can be reached again.
    pub(crate) fn reach(&mut self) {
        self.phase = Phase::CatchingUp;
    }

    /// Whether there may be more to read at once.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.phase == Phase::CatchingUp && !self.epochs.is_over()
    }

    /// The entry that must still be there.
    pub(crate) fn anchor(&self) -> Option<Position> {
        self.anchor.get().map(|(at, _)| at)
    }

    /// The log begins with this entry, and in the place of [`Self::anchor`] there is `found`.
    pub(crate) fn check(
        &mut self,
        first: Option<&Entry>,
        found: Option<[u8; 32]>,
        now: Instant,
    ) -> Vec<Effect> {
        let Some((at, digest)) = self.anchor.get() else { return Vec::new() };
        if found == Some(digest) {
            self.anchor.advance();
            return Vec::new();
        }
        // A broker that was in touch all the time saw it a moment ago: so soon no entry is old enough to be trimmed.
        let may_be_trimmed = !self.is_in_touch(now);
        match first {
            Some(first)
                if may_be_trimmed
                    && first.at > at
                    && !first.begins_after(self.epochs.current()) =>
            {
                // This forgets the marks of what was applied, which is not read again.
                let floor = first.at.max(self.applied).before();
                self.marks.declare(InvalidationScope::default(), floor);
                self.anchor.lose();
                self.blind_ttl.add(self.last_touch, now);
                vec![Effect::Gap(Gap::Trimmed), Effect::AskAgain]
            }
            _ => self.roll_back(now),
        }
    }

    /// Redis has lost entries: the whole log is read again, to put back what is missing.
    fn roll_back(&mut self, now: Instant) -> Vec<Effect> {
        self.blind_ttl.add(self.last_touch, now);
        self.epochs.end();
        self.is_epoch_certain = false;
        self.applied = Position::START;
        self.anchor.lose();
        self.marks = Invalidations::default();
        self.here.lose_places();
        self.awaited.values_mut().for_each(|at| *at = None);
        self.scan = Some(HashSet::new());
        self.phase = Phase::CatchingUp;
        // What this broker had not read yet is lost with the rest.
        vec![Effect::Gap(Gap::RolledBack), Effect::AskAgain]
    }

    /// The log was read from where it is applied; the request for that was `sent` then. `is_whole`: there
    /// were no more entries than these.
    pub(crate) fn read(
        &mut self,
        entries: &[Entry],
        is_whole: bool,
        sent: Instant,
        now: Instant,
        unix_time: Duration,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for entry in entries {
            if self.applied == Position::START {
                // What came before it is not known.
                self.marks.declare(InvalidationScope::default(), entry.at.before());
            }
            self.applied = entry.at;
            self.here.read(entry.at);
            self.anchor.read(entry);
            if self.phase != Phase::InTouch {
                // Older ones may be trimmed while the log is read.
                self.anchor.advance();
            }
            let Some(record) = &entry.record else { continue };
            if self.apply(entry.at, record, now, unix_time, &mut effects) {
                return effects;
            }
        }
        if is_whole {
            if self.outbox.retry_lost(sent) {
                effects.push(Effect::Lost);
            }
            match self.phase {
                Phase::InTouch => self.last_touch = sent,
                Phase::CatchingUp => self.catch_up(sent, now, &mut effects),
                Phase::Away => {}
            }
            if self.phase == Phase::InTouch {
                self.here.read_all(sent);
            }
        }
        effects
    }

    /// Applies an entry; whether all is to be read again.
    fn apply(
        &mut self,
        at: Position,
        record: &Record,
        now: Instant,
        unix_time: Duration,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let is_new = self.memory.note(record, now);
        if let Some(scan) = &mut self.scan {
            scan.insert(record.id);
        }
        let is_own = self.outbox.remove(&record.id);
        if is_own {
            // It may have waited for longer than entries are kept.
            self.memory.renew(record, now);
        }
        if let Some(awaited) = self.awaited.get_mut(&record.id) {
            *awaited = Some(at);
        }
        if is_new || is_own {
            effects.push(Effect::Heard { what: record.what, is_own });
        }
        if record.what == Do::Begin {
            let is_other = self.epochs.alive().is_some_and(|epoch| epoch != record.epoch);
            if is_other && self.scan.is_none() && !is_own {
                effects.extend(self.roll_back(now));
                return true;
            }
            self.epochs.begin(record.epoch);
            self.is_epoch_certain = true;
            return false;
        }
        if !self.is_epoch_certain && !self.epochs.is_over() {
            self.epochs.assume(record.epoch);
        }
        // An answer that was asked for after this entry was applied has its position, or a later one.
        if record.what == Do::Invalidate {
            self.marks.declare(record.scope.clone(), at.before());
        }
        if !(is_new || is_own) || !self.has_begun {
            return false;
        }
        match record.what {
            Do::Invalidate => {
                let scope = record.scope.clone();
                effects.push(Effect::Outdate { scope, sessions: !is_own });
            }
            Do::Kick if !is_own => {
                let kick = || Effect::Kick(record.scope.clone());
                effects.push(if record.is_late(unix_time) { Effect::LateKick } else { kick() });
            }
            Do::Kick | Do::Begin => {}
        }
        false
    }

    /// Everything that the log has is applied.
    fn catch_up(&mut self, sent: Instant, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(present) = self.scan.take() {
            self.put_back(&present, now);
        }
        if self.epochs.alive().is_none() {
            if !self.outbox.begins() {
                self.begin_epoch(now);
            }
            return;
        }
        self.outbox.drop_beginnings();
        self.phase = Phase::InTouch;
        self.last_touch = sent;
        if !self.has_begun {
            self.has_begun = true;
            // Before it was in touch for the first time it may have kept what was taken back meanwhile.
            effects.push(Effect::Outdate { scope: InvalidationScope::default(), sessions: true });
        }
    }

    fn put_back(&mut self, present: &HashSet<Id>, now: Instant) {
        self.outbox.retry_absent(present);
        let due = now + PUT_BACK.mul_f64(random::fraction());
        for record in self.memory.recent(now) {
            let is_there = present.contains(&record.id) || self.outbox.has(&record.id);
            if !is_there && record.what != Do::Begin {
                self.outbox.push(record.clone(), due);
            }
        }
    }

    fn begin_epoch(&mut self, now: Instant) {
        let (Ok(id), Ok(epoch)) = (random::bytes(), random::bytes()) else { return };
        let (at, from, scope) = (Duration::ZERO, String::new(), InvalidationScope::default());
        let record = Record { id, epoch, at, from, what: Do::Begin, scope };
        let due = now + PUT_BACK.mul_f64(random::fraction());
        self.outbox.push(record, due);
    }

    /// No answer to these questions is good at this broker that was asked for up to now.
    pub(crate) fn outdate_here(&mut self, scope: InvalidationScope, now: Instant) {
        self.here.declare(scope, now);
    }

    /// Time passes: what follows for a broker that is cut off, or was.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Effect> {
        let doubt = self.blind_ttl.tick(self.is_in_touch(now), self.last_touch, now)?;
        Some(Effect::Doubt(doubt))
    }

    /// When [`Self::tick`] is to be called next.
    pub(crate) fn next_tick(&self, now: Instant) -> Instant {
        self.blind_ttl.next(self.last_touch, now)
    }
}

#[cfg(test)]
mod model;
