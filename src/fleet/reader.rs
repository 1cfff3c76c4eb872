//! The thread that reads the log: push and catch-up are one, a read that waits for the next entry.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::counts::Write;
use super::link::{Link, LinkError, PAGE, RawEntry};
use super::log::{Effect, Entry, Gap};
use super::record::{Epoch, Position, Record};
use super::sealing::Sealer;
use super::{Fleet, Listener};
use crate::random;
use crate::sync::lock;

/// How long a read waits for an entry. Unloading the plugin waits as long.
const WAIT: Duration = Duration::from_millis(500);

/// The same while another epoch is to begin.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// How often it is checked whether the last entry is still there.
const CHECK: Duration = Duration::from_secs(2);

/// How often a broker says that it is there.
const ANNOUNCE: Duration = Duration::from_secs(10);

/// What the thread knows beside the log.
struct Reader {
    link: Link,
    checked: Option<Instant>,
    announced: Option<(Instant, (Option<Epoch>, Position))>,
}

/// An entry of this fleet's log as Redis has it.
pub(crate) fn open((at, sealed): RawEntry, sealer: &Sealer, fleet: &str) -> Entry {
    let plain = sealer.open(fleet.as_bytes(), &sealed);
    let record = plain.and_then(|plain| Record::decode(&plain));
    Entry { at, digest: *blake3::hash(&sealed).as_bytes(), record }
}

impl Fleet {
    /// The thread's life.
    pub(super) fn read_log(&self) {
        let mut last_error = None;
        while !self.is_stopping() {
            let link = Link::open(&self.config, &lock(&self.credentials).clone());
            let followed = link.and_then(|link| {
                self.follow(Reader { link, checked: None, announced: None }, &mut last_error)
            });
            let Err(error) = followed else { break };
            self.is_reachable.store(false, Ordering::Relaxed);
            lock(&self.log).lose_touch();
            if last_error.as_ref() != Some(&error) {
                ::log::warn!(
                    logger: *self.log_queue,
                    "fleet {:?}: cut off from Redis ({}); this broker asks the API alone",
                    self.config.name,
                    error.text
                );
                last_error = Some(error);
            }
            // Brokers that lost it together do not come back together.
            self.rest(Duration::from_secs(1).mul_f64(0.8 + 0.4 * random::fraction()));
        }
        self.is_reachable.store(false, Ordering::Relaxed);
        lock(&self.log).lose_touch();
    }

    /// Follows the log until all ends, or something fails. Forgets the last error, of which the log queue was
    /// told, once it is over.
    fn follow(
        &self,
        mut reader: Reader,
        last_error: &mut Option<LinkError>,
    ) -> Result<(), LinkError> {
        self.arrive(&mut reader)?;
        {
            // The thread that watches the Sentinels interrupts this one while it holds the first of the two locks: if
            // this master is replaced from now on, that is not taken for what was said of the one before.
            let mut followed = lock(&self.followed);
            *lock(&self.interrupted) = None;
            *followed = reader.link.term.map(|term| (reader.link.server.clone(), term));
        }
        self.is_tripped.store(false, Ordering::Relaxed);
        lock(&self.log).reach();
        // First of all: once this broker has read what another one wrote after a loss, it no longer sees the loss.
        self.check(&mut reader)?;
        self.is_reachable.store(true, Ordering::Relaxed);
        self.have_others_connect();
        let (mut was_told, mut has_lost) = (false, false);
        let mut lookups_back_at = None;
        while !self.is_stopping() {
            if let Some(error) = lock(&self.interrupted).take() {
                return Err(error);
            }
            self.check(&mut reader)?;
            let (after, is_catching_up, is_in_touch) = {
                let log = lock(&self.log);
                let now = self.clock.now();
                (log.applied().1, log.is_catching_up(), log.is_in_touch(now))
            };
            let wait = if is_catching_up {
                None
            } else if is_in_touch {
                Some(WAIT)
            } else {
                Some(SHORT_WAIT)
            };
            let sent = self.clock.now();
            let entries = reader.link.read(&self.keys.log, after, wait)?;
            let is_whole = entries.len() < PAGE;
            let entries: Vec<_> = entries.into_iter().map(|entry| self.open(entry)).collect();
            if self.apply(&entries, is_whole, sent) {
                // It may be the writer's connection that leads elsewhere, or else this one.
                if std::mem::replace(&mut has_lost, true) {
                    return Err(LinkError::new("what this broker writes does not arrive there"));
                }
                self.have_others_connect();
            }
            self.announce(&mut reader)?;
            let now = self.clock.now();
            let is_in_touch = lock(&self.log).is_in_touch(now);
            // It is told once both work: hearing of commands, and looking answers up.
            if is_in_touch && !was_told && self.lookups.is_connected() {
                was_told = true;
                *last_error = None;
                ::log::info!(
                    logger: *self.log_queue,
                    "fleet {:?}: in touch with the other brokers by Redis at {}",
                    self.config.name,
                    reader.link.server
                );
            }
            was_told &= is_in_touch;
            self.restore_lookups(&mut lookups_back_at);
        }
        reader.link.remove_members(&self.keys.members, &[self.members.field().as_bytes()])
    }

    /// Has the threads that write and look answers up connect anew: the old connections may lead to another Redis.
    fn have_others_connect(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
        self.lookups.wake();
        self.queue.wake();
    }

    /// Says that this broker is there and has applied nothing yet, so that whoever waits for all waits for it
    /// as well. A Redis that takes no writes, such as a replica, is none to follow: what the
    /// others take back would not arrive there.
    fn arrive(&self, reader: &mut Reader) -> Result<(), LinkError> {
        let nothing = (None, Position::START);
        let sealed = self.members.announcement(nothing, self.clock.unix_time());
        let sealed = sealed.ok_or_else(LinkError::no_random_bytes)?;
        reader.link.set_member(&self.keys.members, self.members.field(), &sealed)
    }

    /// Has answers looked up again, some time after several lookups in a row have failed: the longer, the more
    /// often that was in vain. Meanwhile the log is followed as ever.
    fn restore_lookups(&self, back_at: &mut Option<Instant>) {
        if !self.is_tripped.load(Ordering::Relaxed) {
            *back_at = None;
            return;
        }
        let now = self.clock.now();
        let at = *back_at.get_or_insert_with(|| {
            let trips = self.trips.load(Ordering::Relaxed).min(5);
            let pause = Duration::from_secs(1 << trips.saturating_sub(1));
            self.log_queue.seldom(::log::Level::Warn, "fleet lookups", || {
                format!(
                    "fleet {:?}: several lookups in a row have failed; answers of other brokers are not \
                     looked up for {} s",
                    self.config.name,
                    pause.as_secs()
                )
            });
            now + pause
        });
        if now >= at {
            *back_at = None;
            self.is_tripped.store(false, Ordering::Relaxed);
        }
    }

    /// Checks every other second, and at first, whether Redis has lost what was read. It looks for one entry after
    /// another, until it has seen the newest: of the last ones alone, too, some may be lost.
    fn check(&self, reader: &mut Reader) -> Result<(), LinkError> {
        let now = self.clock.now();
        if reader.checked.is_some_and(|at| now.duration_since(at) < CHECK) {
            return Ok(());
        }
        reader.checked = Some(now);
        let mut next = lock(&self.log).anchor();
        while let Some(last) = next {
            let found = reader.link.entry(&self.keys.log, Some(last))?;
            let found = found.filter(|(at, _)| *at == last).map(|entry| self.open(entry).digest);
            let first = reader.link.entry(&self.keys.log, None)?.map(|entry| self.open(entry));
            let effects = {
                let mut log = lock(&self.log);
                let effects = log.check(first.as_ref(), found, self.clock.now());
                next = log.anchor().filter(|anchor| *anchor != last);
                effects
            };
            self.carry_out(effects);
        }
        Ok(())
    }

    fn open(&self, raw: RawEntry) -> Entry {
        let entry = open(raw, &self.records, &self.config.name);
        if entry.record.is_none() {
            self.log_queue.seldom(::log::Level::Warn, "fleet entries", || {
                format!(
                    "fleet {:?}: an entry of the log cannot be opened; do all brokers have the same \
                     fleet_secret?",
                    self.config.name
                )
            });
        }
        entry
    }

    /// Applies what was read; whether something is not there that this broker has written.
    fn apply(&self, entries: &[Entry], is_whole: bool, sent: Instant) -> bool {
        let mut log = lock(&self.log);
        let effects = log.read(entries, is_whole, sent, self.clock.now(), self.clock.unix_time());
        let has_records = log.outbox() > 0;
        drop(log);
        let has_lost = effects.contains(&Effect::Lost);
        self.carry_out(effects);
        if has_records {
            self.queue.wake();
        }
        has_lost
    }

    /// Says that this broker is there, and how far it is. Before it is in touch it may still have what the
    /// log takes back.
    fn announce(&self, reader: &mut Reader) -> Result<(), LinkError> {
        let now = self.clock.now();
        let applied = {
            let log = lock(&self.log);
            if !log.is_in_touch(now) {
                return Ok(());
            }
            log.applied()
        };
        let is_due = match reader.announced {
            Some((at, told)) if now.duration_since(at) < ANNOUNCE => {
                if told == applied {
                    return Ok(());
                }
                false
            }
            _ => true,
        };
        let unix_time = self.clock.unix_time();
        let Some(sealed) = self.members.announcement(applied, unix_time) else { return Ok(()) };
        reader.link.set_member(&self.keys.members, self.members.field(), &sealed)?;
        let at = reader.announced.filter(|_| !is_due).map_or(now, |(at, _)| at);
        reader.announced = Some((at, applied));
        if is_due {
            let members = reader.link.members(&self.keys.members)?;
            self.members.note(&members, unix_time);
            let forgotten = self.members.forgotten(&members, now, unix_time);
            if !forgotten.is_empty() {
                reader.link.remove_members(&self.keys.members, &forgotten)?;
            }
        }
        Ok(())
    }

    /// The life of the thread that looks at the clock. The one that reads the log may wait for the rest of a reply for
    /// as long as it likes: this one waits for nobody, so that a broker that is cut off notices in time.
    pub(super) fn watch_clock(&self) {
        while !self.is_stopping() {
            let now = self.clock.now();
            let (effect, next) = {
                let mut log = lock(&self.log);
                (log.tick(now), log.next_tick(now))
            };
            self.carry_out(effect.into_iter().collect());
            self.rest(next.saturating_duration_since(now));
        }
    }

    fn tell_of_late_kick(&self) {
        self.log_queue.seldom(::log::Level::Warn, "fleet kicks", || {
            format!(
                "fleet {:?}: a kick is more than ten minutes old and disconnects nobody here; do the \
                 brokers' clocks differ?",
                self.config.name
            )
        });
    }

    fn carry_out(&self, effects: Vec<Effect>) {
        let Some(listener) = self.listener.get() else { return };
        let listener: &dyn Listener = &**listener;
        for effect in effects {
            match effect {
                Effect::Heard { what, is_own } => self.counts.heard(what, is_own),
                Effect::Outdate { scope, sessions } => listener.outdate(scope, sessions),
                Effect::Kick(scope) => listener.kick(scope),
                Effect::LateKick => self.tell_of_late_kick(),
                Effect::Doubt(until) => listener.doubt(until),
                Effect::AskAgain => listener.ask_again(),
                // The caller sees to the connections.
                Effect::Lost => {}
                Effect::Gap(gap) => {
                    self.counts.missed(gap);
                    self.counts.wrote(Write::Dropped, self.queue.drop_answers());
                    let what = match gap {
                        Gap::Trimmed => "was away for longer than Redis keeps entries of the log",
                        Gap::RolledBack => "sees that Redis has lost entries of the log",
                    };
                    ::log::warn!(
                        logger: *self.log_queue,
                        "fleet {:?}: this broker {what}; answers that it has are asked for anew in time",
                        self.config.name
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use super::super::fake_redis::{array, entry, fleet, serve, touch};
    use super::*;
    use crate::cache::InvalidationScope;
    use crate::clock::{ManualClock, SystemClock};

    /// Passes on that it is told to doubt.
    struct Doubting(Sender<Instant>);

    impl Listener for Doubting {
        fn outdate(&self, _: InvalidationScope, _: bool) {}
        fn kick(&self, _: InvalidationScope) {}
        fn ask_again(&self) {}
        fn doubt(&self, until: Option<Instant>) {
            until.map(|until| self.0.send(until));
        }
    }

    #[test]
    fn a_loss_of_the_newest_entry_alone_is_noticed() {
        let address = serve(|command, _| {
            let is_there = command[0] == b"XRANGE" && command[2] != b"2-0";
            is_there.then(|| array(&[entry("1-0", b"")]))
        });
        let fleet = fleet(&address, &[], ManualClock::new());
        assert!(fleet.listener.set(Arc::new(Doubting(channel().0))).is_ok());
        touch(&fleet);
        let (now, at) = (fleet.clock.now(), Position { ms: 2, seq: 0 });
        let (key, sealed, left) = ("a".to_owned(), Vec::new(), Duration::from_secs(9));
        fleet.queue.push(super::super::backlog::Answer { key, sealed, left, pushed: now });
        let newest = Entry { at, digest: [2; 32], record: None };
        let _ = lock(&fleet.log).read(&[newest], true, now, now, fleet.clock.unix_time());
        let link = Link::open(&fleet.config, &lock(&fleet.credentials).clone()).unwrap();
        fleet.check(&mut Reader { link, checked: None, announced: None }).unwrap();
        assert_eq!(lock(&fleet.log).applied().1, Position::START, "it reads the log anew");
        assert_eq!(fleet.queue.drop_answers(), 0, "and shares nothing from before");
    }

    #[test]
    fn a_redis_that_sends_byte_by_byte_does_not_hide_from_a_broker_that_it_is_cut_off() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&has_ended);
        let address = serve(move |command, stream| {
            if command[0] == b"XREAD" {
                let _ = stream.write_all(b"*1\r\n$1000000\r\n");
                while !is_over.load(Ordering::Relaxed) && stream.write_all(b"a").is_ok() {
                    thread::park_timeout(Duration::from_millis(50));
                }
            }
            None
        });
        let fleet = fleet(&address, &[("fleet_blind_ttl", "1")], Arc::new(SystemClock));
        let (sender, doubts) = channel();
        let spawn = |name, body| thread::Builder::new().name(name).spawn(body);
        fleet.start(Arc::new(Doubting(sender)), 1, spawn);
        let first = doubts.recv_timeout(Duration::from_secs(10)).unwrap();
        // It goes on, since the broker may ask meanwhile.
        let second = doubts.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(second > first);
        has_ended.store(true, Ordering::Relaxed);
        fleet.shut_down();
    }
}
