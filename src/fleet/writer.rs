//! The thread that writes: entries of the log, which are never lost, and answers, of which the oldest are
//! dropped when there are too many. It also sees whether the others have applied what was taken back.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Fleet;
use super::backlog::{Answer, Backlog};
use super::counts::Write;
use super::link::{Link, Trouble};
use super::members::Applied;
use super::record::{Id, Record};
use crate::sync::lock;

/// How many answers are written at once.
const BATCH: usize = 64;

/// How often it is looked whether the others have applied something.
const LOOK: Duration = Duration::from_millis(5);

/// How long to wait before a connection is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Respond = Box<dyn FnOnce(Applied) + Send>;

/// Whoever wants to know how far an entry has come.
struct Expected {
    id: Id,
    until: Instant,
    respond: Respond,
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

    /// Answers that could not be written are to be tried once more; how many there is no room for.
    fn return_all(&self, answers: Vec<Answer>) -> usize {
        lock(&self.waiting).answers.put_back(answers)
    }

    /// An entry is to be written, and somebody wants to know how far it has come.
    pub(crate) fn expect(&self, id: Id, until: Instant, respond: Respond) {
        let mut waiting = lock(&self.waiting);
        waiting.expected.push(Expected { id, until, respond });
        waiting.has_records = true;
        self.filled.notify_one();
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
            let mut seen_at = None;
            if let Some(connected) = &mut link {
                match self.write_all(connected) {
                    Some(has_seen_members) => {
                        connected.is_used = true;
                        seen_at = has_seen_members.then_some(found);
                    }
                    None => {
                        // One that was good before may have been closed since, and be replaced at once.
                        let pause = if connected.is_used { Duration::ZERO } else { RETRY };
                        retry = self.clock.now() + pause;
                        link = None;
                    }
                }
            }
            self.respond(seen_at);
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

    /// Writes what waits. None: not all was written. Otherwise, whether it was seen how far the others are.
    fn write_all(&self, connected: &mut Connected) -> Option<bool> {
        let Connected { link, is_used, .. } = connected;
        loop {
            // No entry waits for more than one batch of answers, however many of those come.
            self.write_records(link, if *is_used { Duration::ZERO } else { RETRY })?;
            let batch = lock(&self.queue.waiting).answers.take(BATCH);
            if batch.is_empty() {
                break;
            }
            match link.put(&batch) {
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
        self.look_at_others(link)
    }

    /// Looks how far the others are, if somebody wants to know that of an entry that was read back, and whether it
    /// was. None: Redis does not say.
    fn look_at_others(&self, link: &mut Link) -> Option<bool> {
        let places: Vec<_> = {
            let log = lock(&self.log);
            let waiting = lock(&self.queue.waiting);
            waiting.expected.iter().filter_map(|one| log.place(&one.id)).collect()
        };
        if places.is_empty() {
            return Some(false);
        }
        let members = link.members(&self.keys.members).ok()?;
        self.members.note(&members, self.clock.unix_time());
        for (epoch, at) in places {
            if self.members.applied(Some(epoch), at).waiting.is_empty() {
                // If Redis has lost it meanwhile, the others may have read on without it.
                let found = link.entry(&self.keys.log, Some(at)).ok()?;
                if found.is_none_or(|(found, _)| found != at) {
                    return Some(false);
                }
            }
        }
        Some(true)
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
    ) -> Result<(), Trouble> {
        let sealed = self.records.seal(self.config.name.as_bytes(), &record.encode());
        let sealed = sealed.ok_or_else(Trouble::no_random_bytes);
        match sealed.and_then(|sealed| link.append(&self.keys.log, &sealed)) {
            Ok(_) => {
                lock(&self.log).written(&record.id, self.clock.now());
                Ok(())
            }
            Err(trouble) => {
                // It may be there all the same: then it is read back, and told apart by its ID.
                lock(&self.log).not_written(&record.id, self.clock.now() + pause);
                Err(trouble)
            }
        }
    }

    /// Tells those whose time is over how far it has come, also while the writing thread waits for Redis. To be called
    /// every now and then; it waits for nothing.
    pub fn respond_overdue(&self) {
        self.respond(None);
    }

    /// Tells those who wait how far it has come, once all have applied it or time is over. It was seen just now
    /// how far the others are, in the Redis that the reader had found so often (`seen_at`); none: it was not.
    fn respond(&self, seen_at: Option<u64>) {
        if lock(&self.queue.waiting).expected.is_empty() {
            return;
        }
        let mut done = Vec::new();
        {
            let mut log = lock(&self.log);
            let mut waiting = lock(&self.queue.waiting);
            let now = self.clock.now();
            let mut rest = Vec::new();
            // Where an entry stands in one Redis says nothing of those who read another one.
            let has_seen = seen_at.is_some_and(|found| found == self.found.load(Ordering::Relaxed));
            for one in waiting.expected.drain(..) {
                let place = log.place(&one.id);
                let applied = match place {
                    Some((epoch, at)) => self.members.applied(Some(epoch), at),
                    None => self.members.of_this_one(),
                };
                let is_complete = place.is_some()
                    && has_seen
                    && applied.waiting.is_empty()
                    && applied.brokers > 0;
                if is_complete || now >= one.until {
                    log.forget(&one.id);
                    done.push((one.respond, applied));
                } else {
                    rest.push(one);
                }
            }
            waiting.expected = rest;
        }
        done.into_iter().for_each(|(respond, applied)| respond(applied));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};
    use std::thread;

    use super::super::Do;
    use super::super::fake_redis::{fleet, serve, touch};
    use super::*;
    use crate::cache::InvalidationScope;
    use crate::clock::SystemClock;

    fn answer(number: usize) -> Answer {
        (number.to_string(), vec![0; 10], Duration::from_secs(9))
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
        for number in 0..10 * BATCH {
            fleet.queue.push(answer(number));
        }
        let publisher = Arc::clone(&fleet);
        let publish = move || {
            publisher.publish(Do::Invalidate, InvalidationScope::default(), drop);
        };
        assert!(publishes.set(Box::new(publish)).is_ok());
        let writer = Arc::clone(&fleet);
        let writer = thread::Builder::new().spawn(move || writer.write()).unwrap();
        let count = |name: &[u8]| lock(&written).iter().filter(|one| *one == name).count();
        while count(b"SET") < 10 * BATCH {
            thread::yield_now();
        }
        fleet.shut_down();
        writer.join().unwrap();
        let before = lock(&written).iter().take_while(|name| *name != b"XADD").count();
        assert!(before < 2 * BATCH, "it came after {before} commands");
    }
}
