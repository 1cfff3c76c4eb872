//! Three brokers, an API and a Redis, in any order of what can happen to them, against what was promised.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::*;
use crate::clock::{Clock, ManualClock};

mod broker;
mod orders;
use broker::Broker;

/// How many orders are tried, and how much happens in each.
const ORDERS: u64 = 1000;
const STEPS: usize = 300;

/// How many entries are read at once.
const PAGE: usize = 4;

const BLIND: Duration = Duration::from_secs(60);
const USERS: [&str; 3] = ["ann", "ben", "cem"];

/// An answer: what happened before the API was asked for it, counted, and when it was asked for.
#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: usize,
    asked_at: Instant,
}

#[derive(Clone, Default)]
struct Redis {
    log: Vec<Entry>,
    answers: HashMap<&'static str, (Stamp, Answer)>,
    /// How far each broker says that it is.
    members: [Option<(Option<Epoch>, Position)>; 3],
    last_ms: u64,
}

impl Redis {
    fn append(&mut self, record: &Record) {
        self.last_ms += 1;
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(&record.id);
        let at = Position { ms: self.last_ms, seq: 0 };
        self.log.push(Entry { at, digest, record: Some(record.clone()) });
    }
}

struct World {
    clock: std::sync::Arc<ManualClock>,
    brokers: Vec<Broker>,
    redis: Redis,
    /// What Redis has on its disk.
    saved: Redis,
    /// How much has happened.
    happened: usize,
    /// What each command was about, and what had happened before.
    commands: HashMap<Id, (&'static str, usize)>,
    /// The last command about each user that each broker has ever applied, also before it was started anew.
    applied: [HashMap<&'static str, usize>; 3],
    random: fastrand::Rng,
    /// How often shared answers were believed, and cached ones while cut off.
    believed: [usize; 2],
    /// How often all had applied a command, by what its broker knew.
    completed: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::new();
        let now = clock.now();
        Self {
            brokers: (0..3).map(|_| Broker::new(now)).collect(),
            clock,
            redis: Redis::default(),
            saved: Redis::default(),
            happened: 0,
            commands: HashMap::new(),
            applied: Default::default(),
            random: fastrand::Rng::with_seed(seed),
            believed: [0; 2],
            completed: 0,
        }
    }

    fn step(&mut self) {
        self.happened += 1;
        // Two things never happen at the very same time.
        self.clock.advance(Duration::from_millis(1));
        let at = self.random.usize(..3);
        let user = USERS[self.random.usize(..3)];
        match self.random.u8(..100) {
            0..28 => self.ask(at, user),
            28..30 => self.revoke_here(at, user),
            30..45 => self.answer(at),
            45..52 => self.revoke(at, user),
            52..65 => self.write(at),
            65..85 => {
                // It does not look each time whether Redis has lost anything.
                if self.random.bool() {
                    self.read(at)
                } else {
                    self.follow(at)
                }
                let other = self.random.usize(..3);
                self.respond(other);
            }
            85..88 => self.brokers[at].is_cut = true,
            88..91 => self.brokers[at].is_cut = false,
            91..93 => {
                let half = self.redis.log.len() / 2;
                self.redis.log.drain(..half);
            }
            93 => self.lose_last(),
            94 => self.redis.log.clear(),
            95 => {
                self.brokers[at] = Broker::new(self.clock.now());
                self.redis.members[at] = None;
            }
            96 => self.saved = self.redis.clone(),
            97 => self.restore(),
            _ => self.pass(),
        }
        let now = self.clock.now();
        for broker in &mut self.brokers {
            let doubt = broker.log.tick(now);
            broker.heed(doubt.into_iter().collect(), now);
        }
    }

    /// Redis has crashed, and begins with what it has saved.
    fn restore(&mut self) {
        // New entries come after the old ones all the same: their IDs are times.
        let last_ms = self.redis.last_ms;
        self.redis = Redis { last_ms, ..self.saved.clone() };
    }

    /// A replica takes over that lacks the last entries; answers that were written after them may be there.
    fn lose_last(&mut self) {
        let left = self.random.usize(..=self.redis.log.len());
        self.redis.log.truncate(left);
    }

    fn pass(&mut self) {
        // Now and then for longer than entries are kept for putting them back.
        let longest = if self.random.u8(..10) == 0 { 700_000 } else { 20_000 };
        let ms = self.random.u64(1..longest);
        self.clock.advance(Duration::from_millis(ms));
    }

    /// A client asks: from the cache, from Redis, from the API.
    fn ask(&mut self, at: usize, user: &'static str) {
        let now = self.clock.now();
        let subject = Subject { client_id: "c", username: user, topic: None };
        let broker = &self.brokers[at];
        if let Some(answer) = broker.known(user) {
            self.judge(at, user, answer, false);
            return;
        }
        if !broker.is_cut {
            if let Some((stamp, answer)) = self.redis.answers.get(user) {
                if broker.log.believes(stamp, &subject, now) {
                    let answer = *answer;
                    self.judge(at, user, answer, true);
                    // Kept from when it was looked up.
                    self.brokers[at].cache.insert(user, Answer { asked_at: now, ..answer });
                    return;
                }
            }
        }
        let answer = Answer { asked: self.happened, asked_at: now };
        let stamp = self.brokers[at].log.stamp(now);
        self.brokers[at].asking.push((user, answer, stamp));
    }

    /// The API answers.
    fn answer(&mut self, at: usize) {
        let broker = &mut self.brokers[at];
        if broker.asking.is_empty() {
            return;
        }
        let which = self.random.usize(..broker.asking.len());
        let (user, answer, stamp) = broker.asking.swap_remove(which);
        if broker.cache.get(user).is_none_or(|known| known.asked_at < answer.asked_at) {
            broker.cache.insert(user, answer);
        }
        let now = self.clock.now();
        let may = |stamp: &Stamp| !broker.is_cut && broker.log.shares(stamp, now);
        if let Some(stamp) = stamp.filter(may) {
            self.redis.answers.insert(user, (stamp, answer));
        }
    }

    /// The same at this broker alone.
    fn revoke_here(&mut self, at: usize, user: &'static str) {
        let scope = InvalidationScope { username: Some(user.into()), ..Default::default() };
        let (now, broker) = (self.clock.now(), &mut self.brokers[at]);
        broker.log.outdate_here(scope, now);
        broker.invalidated.insert(user, now);
        broker.applied.insert(user, self.happened);
    }

    fn revoke(&mut self, at: usize, user: &'static str) {
        let (now, id) = (self.clock.now(), random::bytes().unwrap());
        self.commands.insert(id, (user, self.happened));
        let scope = InvalidationScope { username: Some(user.into()), ..Default::default() };
        let record = Record {
            id,
            epoch: [0; 16],
            at: self.clock.unix_time(),
            from: at.to_string(),
            what: Do::Invalidate,
            scope,
        };
        let broker = &mut self.brokers[at];
        assert!(broker.log.publish(record, now));
        broker.invalidated.insert(user, now);
        broker.applied.insert(user, self.happened);
        self.applied[at].insert(user, self.happened);
    }

    /// What this broker says of its commands, after a look at how far the others are.
    fn respond(&mut self, at: usize) {
        let log = &self.brokers[at].log;
        if self.brokers[at].is_cut || !self.brokers[at].is_connected {
            return;
        }
        for (id, (user, command)) in &self.commands {
            let Some((epoch, place)) = log.place(id) else { continue };
            let has_applied = |member: &Option<(Option<Epoch>, Position)>| {
                member.is_some_and(|(known, at)| known == Some(epoch) && at >= place)
            };
            let is_there = self.redis.log.iter().any(|entry| entry.at == place);
            if is_there && self.redis.members.iter().all(has_applied) {
                self.completed += 1;
                let is_true = |broker: &HashMap<_, _>| broker.get(user) >= Some(command);
                assert!(self.applied.iter().all(is_true), "S1: not all have applied {command}");
            }
        }
    }

    fn write(&mut self, at: usize) {
        if self.brokers[at].is_cut {
            return;
        }
        let now = self.clock.now();
        while let Some(record) = self.brokers[at].log.next_to_write(now) {
            // A write that fails may have been done all the same, and a master that was replaced says that it
            // was done where that is lost.
            let (is_done, is_told) = (self.random.u8(..10) > 0, self.random.u8(..10) > 0);
            if is_done {
                self.redis.append(&record);
            }
            if !is_told {
                self.brokers[at].log.not_written(&record.id, now);
                break;
            }
            self.brokers[at].log.written(&record.id, now);
        }
    }

    /// One turn of the reader's loop.
    fn read(&mut self, at: usize) {
        let now = self.clock.now();
        let broker = &mut self.brokers[at];
        if broker.is_cut {
            broker.log.lose_touch();
            broker.is_connected = false;
            return;
        }
        if !std::mem::replace(&mut broker.is_connected, true) {
            broker.log.reach();
        }
        let mut next = broker.log.anchor();
        while let Some(last) = next {
            let found = self.redis.log.iter().find(|entry| entry.at == last);
            let found = found.map(|entry| entry.digest);
            let effects = broker.log.check(self.redis.log.first(), found, now);
            broker.heed(effects, now);
            next = broker.log.anchor().filter(|anchor| *anchor != last);
        }
        self.follow(at);
    }

    /// Reads what came, if it is connected.
    fn follow(&mut self, at: usize) {
        let (now, broker) = (self.clock.now(), &mut self.brokers[at]);
        if broker.is_cut || !broker.is_connected {
            return;
        }
        for _ in 0..self.random.usize(1..4) {
            let after = broker.log.applied().1;
            let entries: Vec<_> = self
                .redis
                .log
                .iter()
                .filter(|entry| entry.at > after)
                .take(PAGE)
                .cloned()
                .collect();
            let is_whole = entries.len() < PAGE;
            let effects = broker.log.read(&entries, is_whole, now, now, self.clock.unix_time());
            broker.heed(effects, now);
            // A broker tells the others of what it has applied once it is in touch.
            let applied = broker.log.applied().1;
            let applied = entries.iter().filter(|entry| entry.at <= applied);
            let ids = applied.filter_map(|entry| Some(entry.record.as_ref()?.id));
            broker.read.extend(ids.filter_map(|id| self.commands.get(&id)));
            if broker.log.is_in_touch(now) {
                for (user, command) in broker.read.drain(..) {
                    for told in [&mut broker.applied, &mut self.applied[at]] {
                        let last = told.entry(user).or_default();
                        *last = (*last).max(command);
                    }
                }
                self.redis.members[at] = Some(broker.log.applied());
                if is_whole {
                    broker.touch = now;
                }
            }
        }
    }

    /// An answer that is given keeps what was promised.
    fn judge(&mut self, at: usize, user: &'static str, answer: Answer, is_shared: bool) {
        let (now, broker) = (self.clock.now(), &self.brokers[at]);
        if let Some(applied) = broker.applied.get(user) {
            assert!(
                answer.asked > *applied,
                "S1: older than a command that was applied: {answer:?}"
            );
        }
        if is_shared {
            self.believed[0] += 1;
            // Whatever the log held when this broker was last certain, is applied.
            let read = broker.log.applied().1;
            let missed = self.redis.log.iter().filter(|entry| entry.at <= read);
            for record in missed.filter_map(|entry| entry.record.as_ref()) {
                if let Some((about, command)) = self.commands.get(&record.id) {
                    let is_fresh = *about != user || answer.asked > *command;
                    assert!(is_fresh, "S4: a shared answer from before what the log has");
                }
            }
            return;
        }
        if !broker.log.is_in_touch(now) {
            self.believed[1] += 1;
            let blind = now.duration_since(broker.touch.max(answer.asked_at));
            assert!(blind <= BLIND, "S3: believed for {blind:?} while cut off");
        }
    }
}

#[test]
fn three_brokers_keep_what_was_promised_whatever_happens() {
    let (mut believed, mut completed) = ([0; 2], 0);
    for seed in 0..ORDERS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        believed = [believed[0] + world.believed[0], believed[1] + world.believed[1]];
        completed += world.completed;
    }
    assert!(completed > 100, "few commands have come everywhere: {completed}");
    assert!(believed.iter().all(|times| *times > 100), "not much was tried: {believed:?}");
}
