//! The thread that writes: entries of the log, which are never lost, and answers, of which the oldest are
//! dropped when there are too many. It also sees whether the others have applied what was taken back.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::backlog::{Answer, Backlog};
use super::counts::Write;
use super::link::{Link, LinkError};
use super::log::Log;
use super::members::Applied;
use super::record::{Epoch, Id, Position, Record};
use super::{Fleet, reader};
use crate::sync::lock;

/// How many answers are written at once.
const BATCH: usize = 64;

/// How often it is looked whether the others have applied something.
const LOOK: Duration = Duration::from_millis(5);

/// How long to wait before a connection is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Respond = Box<dyn FnOnce(Applied) + Send>;

/// A command that waits for the others.
struct Expected {
    id: Id,
    until: Instant,
    respond: Respond,
    /// How far it had come when a Redis was looked at that had its entry: without that the others may have read on
    /// without it.
    seen: Option<Applied>,
}

impl Expected {
    fn is_complete(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.waiting.is_empty() && seen.brokers > 0)
    }
}

/// A connection, made when the reader had found Redis so often.
struct Connected {
    link: Link,
    found: u64,
    /// Whether anything was written by it.
    is_used: bool,
}

#[derive(Default)]
struct Waiting {
    answers: Backlog,
    expected: Vec<Expected>,
    /// Whether there may be an entry of the log to write.
    has_records: bool,
}

/// What waits to be written.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Queue {
    /// Has an answer written; how many older ones are dropped for it.
    pub(crate) fn push(&self, answer: Answer) -> usize {
        let mut waiting = lock(&self.waiting);
        let dropped = waiting.answers.push(answer);
        self.filled.notify_one();
        dropped
    }

    /// Drops the answers that wait; how many.
    pub(crate) fn drop_answers(&self) -> usize {
        std::mem::take(&mut lock(&self.waiting).answers).len()
    }

    /// Answers that could not be written are to be tried once more; how many there is no room for.
    fn return_all(&self, answers: Vec<Answer>) -> usize {
        lock(&self.waiting).answers.put_back(answers)
    }

    /// An entry is to be written, and somebody wants to know how far it has come.
    pub(crate) fn expect(&self, id: Id, until: Instant, respond: Respond) {
        let mut waiting = lock(&self.waiting);
        waiting.expected.push(Expected { id, until, respond, seen: None });
        waiting.has_records = true;
        self.filled.notify_one();
    }

    /// Where the entries stand that somebody waits for, as far as that is known.
    fn places(&self, log: &Log) -> Vec<(Id, (Epoch, Position))> {
        let waiting = lock(&self.waiting);
        let place = |one: &Expected| Some((one.id, log.place(&one.id)?));
        waiting.expected.iter().filter_map(place).collect()
    }

    /// Whether a command has come as far as it was seen to be.
    fn has_seen(&self, id: &Id, applied: &Applied) -> bool {
        let waiting = lock(&self.waiting);
        waiting.expected.iter().any(|one| one.id == *id && one.seen.as_ref() == Some(applied))
    }

    /// A command was seen to have come so far.
    fn saw(&self, id: &Id, applied: Applied) {
        let mut waiting = lock(&self.waiting);
        if let Some(one) = waiting.expected.iter_mut().find(|one| one.id == *id) {
            one.seen = Some(applied);
        }
    }

    /// There may be an entry to write, or a connection to be had.
    pub(crate) fn wake(&self) {
        lock(&self.waiting).has_records = true;
        self.filled.notify_all();
    }
}

impl Fleet {
    /// The thread's life.
    pub(super) fn write(&self) {
        // It may have panicked.
        lock(&self.log).retry_unknown();
        let mut link: Option<Connected> = None;
        let mut retry = self.clock.now();
        while !self.is_stopping() {
            self.wait_for_work(link.is_some(), retry);
            let found = self.found.load(Ordering::Relaxed);
            // The reader had to look for Redis since, so the connection may lead to another one.
            link = link.filter(|connected| connected.found == found);
            let now = self.clock.now();
            let is_reachable = self.is_reachable.load(Ordering::Relaxed);
            if link.is_none() && is_reachable && now >= retry {
                retry = now + RETRY;
                let opened = Link::open(&self.config, &lock(&self.credentials).clone()).ok();
                link = opened.map(|link| Connected { link, found, is_used: false });
            }
            if let Some(connected) = &mut link {
                if self.write_some(connected).is_some() {
                    connected.is_used = true;
                } else {
                    // One that was good before may have been closed since, and be replaced at once.
                    let pause = if connected.is_used { Duration::ZERO } else { RETRY };
                    retry = self.clock.now() + pause;
                    link = None;
                }
            }
            self.respond_overdue();
        }
        let expected = std::mem::take(&mut lock(&self.queue.waiting).expected);
        expected.into_iter().for_each(|one| (one.respond)(self.members.of_this_one()));
    }

    /// Sleeps until there is something to do; a connection may be had from `retry` on.
    fn wait_for_work(&self, is_connected: bool, retry: Instant) {
        let now = self.clock.now();
        let next_due = lock(&self.log).next_due();
        let mut waiting = lock(&self.queue.waiting);
        let has_work = waiting.has_records || (is_connected && !waiting.answers.is_empty());
        if has_work && is_connected {
            waiting.has_records = false;
            return;
        }
        waiting.has_records = false;
        let limit = if !waiting.expected.is_empty() {
            Some(LOOK)
        } else if is_connected || (next_due.is_none() && waiting.answers.is_empty()) {
            next_due.map(|due| due.saturating_duration_since(now).max(LOOK))
        } else if self.is_reachable.load(Ordering::Relaxed) {
            Some(retry.saturating_duration_since(now).max(LOOK))
        } else {
            Some(RETRY)
        };
        if self.is_stopping() {
            return;
        }
        match limit {
            Some(limit) => drop(self.queue.filled.wait_timeout(waiting, limit)),
            None => drop(self.queue.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Writes the entries that wait and one batch of answers, so that no entry and no response waits for more of these,
    /// and looks how far the others are. None: not all was written.
    fn write_some(&self, connected: &mut Connected) -> Option<()> {
        let Connected { link, is_used, found } = connected;
        self.write_records(link, if *is_used { Duration::ZERO } else { RETRY })?;
        let now = self.clock.now();
        let (batch, late) = lock(&self.queue.waiting).answers.take(BATCH, now);
        self.counts.wrote(Write::Dropped, late);
        if !batch.is_empty() {
            match link.put(batch.iter().map(|answer| answer.for_redis(now))) {
                Ok(refused) if refused < batch.len() => {
                    self.counts.wrote(Write::Done, batch.len() - refused);
                    self.counts.wrote(Write::Failed, refused);
                }
                // A server that takes none is full, or has the fleet's data no more.
                _ if *is_used => {
                    self.counts.wrote(Write::Dropped, self.queue.return_all(batch));
                    return None;
                }
                _ => {
                    self.counts.wrote(Write::Failed, batch.len());
                    return None;
                }
            }
        }
        self.look_at_others(link, *found)
    }

    /// Looks how far the others are, if somebody wants to know that of an entry that was read back. The connection was made
    /// when the reader had `found` Redis so often. None: Redis does not say.
    fn look_at_others(&self, link: &mut Link, found: u64) -> Option<()> {
        let places = self.queue.places(&lock(&self.log));
        if places.is_empty() {
            return Some(());
        }
        let members = link.members(&self.keys.members).ok()?;
        self.members.note(&members, self.clock.unix_time());
        for (id, (epoch, at)) in places {
            let applied = self.members.applied(Some(epoch), at);
            if self.queue.has_seen(&id, &applied) {
                continue;
            }
            let raw = link.entry(&self.keys.log, Some(at)).ok()?;
            let entry = raw.map(|raw| reader::open(raw, &self.records, &self.config.name));
            let is_there = entry.is_some_and(|entry| entry.is(id, at));
            // Where an entry stands in one Redis says nothing of those who read another one.
            if is_there && self.found.load(Ordering::Relaxed) == found {
                self.queue.saw(&id, applied);
            }
        }
        Some(())
    }

    /// Writes the entries that wait. None: not all were written, and are tried again after this `pause`.
    fn write_records(&self, link: &mut Link, pause: Duration) -> Option<()> {
        loop {
            let next = lock(&self.log).next_to_write(self.clock.now());
            let Some(record) = next else { return Some(()) };
            self.write_record(link, &record, pause).ok()?;
        }
    }

    /// Writes an entry, which is tried again after this `pause` if it fails.
    fn write_record(
        &self,
        link: &mut Link,
        record: &Record,
        pause: Duration,
    ) -> Result<(), LinkError> {
        let sealed = self.records.seal(self.config.name.as_bytes(), &record.encode());
        let sealed = sealed.ok_or_else(LinkError::no_random_bytes);
        match sealed.and_then(|sealed| link.append(&self.keys.log, &sealed)) {
            Ok(_) => {
                lock(&self.log).written(&record.id, self.clock.now());
                Ok(())
            }
            Err(error) => {
                // It may be there all the same: then it is read back, and told apart by its ID.
                lock(&self.log).not_written(&record.id, self.clock.now() + pause);
                Err(error)
            }
        }
    }

    /// Responds to the commands that all have applied, and to those whose time is over, also while the writing thread
    /// waits for Redis. To be called every now and then; it waits for nothing.
    pub fn respond_overdue(&self) {
        let done: Vec<_> = {
            let mut waiting = lock(&self.queue.waiting);
            let now = self.clock.now();
            let all = std::mem::take(&mut waiting.expected).into_iter();
            let (done, rest) = all.partition(|one| now >= one.until || one.is_complete());
            waiting.expected = rest;
            done
        };
        for Expected { id, respond, seen, .. } in done {
            lock(&self.log).forget(&id);
            respond(seen.unwrap_or_else(|| self.members.of_this_one()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, OnceLock};
    use std::thread;

    use super::super::Do;
    use super::super::fake_redis::{array, bulk, entry, fleet, serve, touch, wait_until};
    use super::super::log::Entry;
    use super::*;
    use crate::cache::InvalidationScope;
    use crate::clock::{ManualClock, SystemClock};

    /// Has more answers wait than are written at once.
    fn share_many(fleet: &Fleet) {
        let (left, pushed) = (Duration::from_secs(9), fleet.clock.now());
        for number in 0..10 * BATCH {
            let key = number.to_string();
            fleet.queue.push(Answer { key, sealed: vec![0; 10], left, pushed });
        }
    }

    /// Two brokers say that they have applied what stands at 5-0: what they say of a command whose entry Redis has, or has lost.
    fn seen(is_there: bool) -> Applied {
        let (stored, members) = (Arc::<OnceLock<_>>::default(), Arc::<OnceLock<_>>::default());
        let (entries, said) = (Arc::clone(&stored), Arc::clone(&members));
        let address = serve(move |command, _| match command[0].as_slice() {
            b"XRANGE" if is_there => entries.get().cloned(),
            b"HGETALL" => said.get().cloned(),
            _ => None,
        });
        let clock = ManualClock::new();
        let [one, two] = ["one", "two"].map(|name| {
            let fleet = fleet(&address, &[("fleet_broker", name)], clock.clone());
            fleet.members.join(1);
            fleet
        });
        touch(&one);
        let (sender, responses) = channel();
        one.publish(Do::Invalidate, InvalidationScope::default(), move |applied| {
            sender.send(applied.unwrap()).unwrap();
        });
        let (now, at) = (one.clock.now(), Position { ms: 5, seq: 0 });
        let record = lock(&one.log).next_to_write(now).unwrap();
        let sealed = one.records.seal(one.config.name.as_bytes(), &record.encode()).unwrap();
        assert!(stored.set(array(&[entry("5-0", &sealed)])).is_ok());
        let read = Entry { at, digest: [5; 32], record: Some(record) };
        let _ = lock(&one.log).read(&[read], true, now, now, one.clock.unix_time());
        let applied = lock(&one.log).applied();
        let said = [&one, &two].map(|fleet| {
            let sealed = fleet.members.announcement(applied, fleet.clock.unix_time()).unwrap();
            [bulk(fleet.members.field().as_bytes()), bulk(&sealed)]
        });
        assert!(members.set(array(&said.concat())).is_ok());
        let link = Link::open(&one.config, &lock(&one.credentials).clone()).unwrap();
        one.write_some(&mut Connected { link, found: 0, is_used: true }).unwrap();
        clock.advance(one.config.ack);
        one.respond_overdue();
        responses.try_recv().unwrap()
    }

    #[test]
    fn brokers_that_have_read_on_without_a_lost_entry_are_not_counted() {
        assert_eq!(seen(true), Applied { brokers: 2, applied: 2, waiting: vec![] });
        let waiting = vec!["two".to_owned()];
        assert_eq!(seen(false), Applied { brokers: 2, applied: 1, waiting });
    }

    #[test]
    fn an_entry_of_the_log_waits_for_one_batch_of_answers_at_most() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let publishes = Arc::new(OnceLock::<Box<dyn Fn() + Send + Sync>>::new());
        let (seen, publish) = (Arc::clone(&written), Arc::clone(&publishes));
        let address = serve(move |command, _| {
            let name = command[0].clone();
            if name == b"SET" && !lock(&seen).contains(&name) {
                publish.get().unwrap()();
            }
            lock(&seen).push(name);
            None
        });
        let fleet = fleet(&address, &[], Arc::new(SystemClock));
        touch(&fleet);
        fleet.is_reachable.store(true, Ordering::Relaxed);
        share_many(&fleet);
        let publisher = Arc::clone(&fleet);
        let publish = move || {
            publisher.publish(Do::Invalidate, InvalidationScope::default(), drop);
        };
        assert!(publishes.set(Box::new(publish)).is_ok());
        let writer = Arc::clone(&fleet);
        let writer = thread::Builder::new().spawn(move || writer.write()).unwrap();
        let count = |name: &[u8]| lock(&written).iter().filter(|one| *one == name).count();
        wait_until("all answers are written", || count(b"SET") == 10 * BATCH);
        fleet.shut_down();
        writer.join().unwrap();
        let before = lock(&written).iter().take_while(|name| *name != b"XADD").count();
        assert!(before < 2 * BATCH, "it came after {before} commands");
    }

    #[test]
    fn a_response_waits_for_one_batch_of_answers_at_most() {
        let written = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&written);
        let address = serve(move |command, _| {
            if command[0] == b"SET" {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
        let fleet = fleet(&address, &[("fleet_ack_ms", "0")], Arc::new(SystemClock));
        touch(&fleet);
        fleet.is_reachable.store(true, Ordering::Relaxed);
        share_many(&fleet);
        let (sender, responses) = channel();
        let before = Arc::clone(&written);
        fleet.publish(Do::Kick, InvalidationScope::default(), move |_| {
            sender.send(before.load(Ordering::Relaxed)).unwrap();
        });
        let writer = Arc::clone(&fleet);
        let writer = thread::Builder::new().spawn(move || writer.write()).unwrap();
        let before = responses.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(before < 2 * BATCH, "it came after {before} answers");
        fleet.shut_down();
        writer.join().unwrap();
    }

    #[test]
    fn what_does_not_arrive_is_written_by_another_connection() {
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&peers);
        let address = serve(move |command, stream| {
            if command[0] == b"XADD" {
                lock(&seen).push(stream.peer_addr().unwrap());
            }
            None
        });
        let fleet = fleet(&address, &[], Arc::new(SystemClock));
        let bodies: [fn(&Fleet); 2] = [Fleet::read_log, Fleet::write];
        let threads = bodies.map(|body| {
            let fleet = Arc::clone(&fleet);
            thread::Builder::new().spawn(move || body(&fleet)).unwrap()
        });
        wait_until("another connection", || {
            let peers = lock(&peers);
            peers.first() != peers.last()
        });
        fleet.shut_down();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
