//! A fleet: brokers that share answers and revocations through a Redis that nobody has to trust.
//!
//! Workers look here before they ask the API, and give here what it said. Four threads do the rest: one reads the log, one
//! looks answers up, one writes, one looks at the clock; with Sentinels a fifth watches those. The broker's thread never
//! waits for any of them.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::answer::{Answer, Freshness};
use crate::cache::{InvalidationScope, Subject};
use crate::clock::Clock;
use crate::config::{Config, Credentials, FleetConfig, FleetCredentials};
use crate::log_queue::LogQueue;
use crate::question::{Kind, Question, SharedName};
use crate::random;
use crate::sync::lock;

mod answer;
mod backlog;
mod counts;
#[cfg(test)]
mod fake_redis;
mod link;
mod log;
mod lookups;
mod members;
mod memory;
mod naming;
mod observer;
mod open;
mod reader;
mod record;
mod sealing;
mod sentinel;
mod status;
mod threads;
mod writer;
pub(crate) use answer::Stamp;
pub use members::Applied;
pub use observer::{BrokerStatus, LogStatus, Observer, Overview};
pub use record::Do;
pub use status::Status;

use answer::{MOST_BYTES, SharedAnswer};
use counts::{Counts, Lookup, Write};
use link::{KeyNames, LinkError};
use log::Log;
use lookups::{Lookups, Stored};
use members::Members;
use naming::Namer;
use record::Record;
use sealing::Sealer;
use threads::End;
use writer::Queue;

/// After how many failures in a row Redis is left alone until the log is in touch anew.
const FAILURES: u32 = 5;

/// What a broker does when it hears of something.
pub trait Listener: Send + Sync {
    /// No answer to these questions is good any more that was asked for up to now; `sessions`: and the
    /// clients that it is about are asked about again.
    fn outdate(&self, scope: InvalidationScope, sessions: bool);
    /// These clients are to be disconnected.
    fn kick(&self, scope: InvalidationScope);
    /// All clients are to be asked about again.
    fn ask_again(&self);
    /// Answers asked for up to then are not good while the API answers; none: all are.
    fn doubt(&self, until: Option<Instant>);
}

/// One broker's part in a fleet.
pub struct Fleet {
    config: FleetConfig,
    credentials: Mutex<FleetCredentials>,
    keys: KeyNames,
    namer: Namer,
    answers: Sealer,
    records: Sealer,
    log: Mutex<Log>,
    members: Members,
    lookups: Lookups,
    queue: Queue,
    failures: AtomicU32,
    /// Whether lookups failed too often, so that Redis is not asked until the reader allows it again.
    is_tripped: AtomicBool,
    /// How often that was since the last lookup that succeeded.
    trips: AtomicU32,
    /// Whether the reader has a connection, so that the others may want one.
    is_reachable: AtomicBool,
    /// How often the others have had to connect since: when it has found one, and when it did not read what was written.
    found: AtomicU64,
    /// The master that it reads from, and which one that is, where Sentinels have named it.
    followed: Mutex<Option<(String, u64)>>,
    /// Why it is to look for Redis anew, if it is.
    interrupted: Mutex<Option<LinkError>>,
    counts: Counts,
    end: Mutex<End>,
    /// Notified when the threads are to end, and when one has ended.
    stopped: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
    listener: OnceLock<Arc<dyn Listener>>,
    log_queue: Arc<LogQueue>,
    clock: Arc<dyn Clock>,
}

/// An answer that another broker has, and how it may be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What the API said, as it could have said it.
    pub json: Vec<u8>,
    /// How old it is, and how long it lives.
    pub age: Duration,
    pub life: Duration,
    /// Whether the API gave this life.
    pub is_given: bool,
    /// See [`Freshness::stale`].
    pub(crate) stale: Option<Duration>,
}

/// When and how a broker asked the API, by which it shares the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub(crate) stamp: Stamp,
    /// In which of the ways to ask.
    way: u64,
    /// In Unix time.
    pub at: Duration,
}

impl Fleet {
    /// A fleet that nothing runs for yet. None: the options name none.
    pub fn new(
        config: &Config,
        log_queue: Arc<LogQueue>,
        clock: Arc<dyn Clock>,
    ) -> Option<Arc<Self>> {
        let fleet = config.fleet.clone()?;
        let credentials = config.credentials.fleet.clone();
        let secrets = &credentials.secrets;
        let now = clock.now();
        Some(Arc::new(Self {
            keys: KeyNames::of(&fleet.name),
            namer: Namer::new(config, &fleet, secrets.first()?),
            answers: Sealer::of_answers(&fleet.name, secrets),
            records: Sealer::of_records(&fleet.name, secrets),
            log: Mutex::new(Log::new(now, fleet.blind_ttl)),
            members: Members::new(config, &fleet, secrets),
            lookups: Lookups::default(),
            queue: Queue::default(),
            failures: AtomicU32::new(0),
            is_tripped: AtomicBool::new(false),
            trips: AtomicU32::new(0),
            is_reachable: AtomicBool::new(false),
            found: AtomicU64::new(0),
            followed: Mutex::default(),
            interrupted: Mutex::default(),
            counts: Counts::default(),
            end: Mutex::default(),
            stopped: Condvar::new(),
            threads: Mutex::default(),
            listener: OnceLock::new(),
            credentials: Mutex::new(credentials),
            config: fleet,
            log_queue,
            clock,
        }))
    }

    /// Uses another password from the next connection on, and other names for answers once `send` has other headers
    /// sent.
    pub(crate) fn renew(&self, credentials: &Credentials, send: impl FnOnce()) {
        let scope = self.namer.renew(&credentials.headers, send);
        self.members.set_scope(&scope);
        let mut current = lock(&self.credentials);
        current.password.clone_from(&credentials.fleet.password);
        current.authorities.clone_from(&credentials.fleet.authorities);
    }

    /// The name of a question's answer; none where such answers are not shared.
    #[must_use]
    pub(crate) fn name(&self, question: &Question<'_>) -> Option<SharedName> {
        self.shares(question.kind()).then(|| self.namer.name(question))
    }

    fn shares(&self, kind: Kind) -> bool {
        self.config.share.contains(&kind)
    }

    /// To be called before the API is asked. None: what it says is not shared.
    #[must_use]
    pub(crate) fn before_asking(&self) -> Option<Asked> {
        let stamp = lock(&self.log).stamp(self.clock.now())?;
        Some(Asked { stamp, way: self.namer.number(), at: self.clock.unix_time() })
    }

    /// Shares what the API said, for as long as it gave the answer, or as is configured here.
    pub(crate) fn share(
        &self,
        name: &SharedName,
        asked: Asked,
        answer: &Answer,
        freshness: Freshness,
        configured: Duration,
    ) {
        let Asked { stamp, way, at } = asked;
        let Some(json) = answer::to_json(answer) else { return };
        if json.len() > MOST_BYTES {
            return;
        }
        let Freshness { lifetime, stale } = freshness;
        let (life, is_given) = (lifetime.unwrap_or(configured), lifetime.is_some());
        let left = (at + life).saturating_sub(self.clock.unix_time());
        let shared = SharedAnswer { stamp, asked: at, life, is_given, stale, json };
        if left.is_zero() {
            return;
        }
        let Some(text) = self.namer.text_of(way, name) else { return };
        if let Some(sealed) = self.answers.seal(text.as_bytes(), &shared.encode()) {
            let (key, pushed) = (format!("{}{text}", self.keys.answers), self.clock.now());
            let log = lock(&self.log);
            if !log.shares(&stamp, pushed) {
                return;
            }
            // While the log is locked: if it is found to have lost something, nothing from before that waits any more.
            let dropped = self.queue.push(backlog::Answer { key, sealed, left, pushed });
            drop(log);
            self.counts.wrote(Write::Dropped, dropped);
        }
    }

    /// Whether Redis may be asked now.
    #[must_use]
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_tripped.load(Ordering::Relaxed) && lock(&self.log).is_in_touch(self.clock.now())
    }

    /// What other brokers know of these questions, in their order. Waits no longer than the options say.
    pub(crate) fn look_up(&self, wanted: &[(&SharedName, Subject<'_>)]) -> Vec<Option<Found>> {
        let none = || wanted.iter().map(|_| None).collect();
        if !self.is_usable() || !self.lookups.is_connected() {
            self.counts.looked(Lookup::Skipped, wanted.len());
            return none();
        }
        let names: Vec<_> = wanted.iter().map(|(name, _)| self.namer.text(name)).collect();
        let keys = names.iter().map(|name| format!("{}{name}", self.keys.answers)).collect();
        let began = self.clock.now();
        let values = self.lookups.ask(keys, self.config.timeout);
        self.counts.took(self.clock.now().saturating_duration_since(began));
        let Some(values) = values else {
            self.counts.looked(Lookup::Failed, wanted.len());
            self.note_failure();
            return none();
        };
        self.failures.store(0, Ordering::Relaxed);
        self.trips.store(0, Ordering::Relaxed);
        let found = wanted.iter().zip(names).zip(values).map(|(((_, subject), name), value)| {
            let found = self.judge(&name, value, subject);
            self.counts.looked(found.as_ref().err().copied().unwrap_or(Lookup::Hit), 1);
            found.ok()
        });
        found.collect()
    }

    fn judge(
        &self,
        name: &str,
        value: Option<Stored>,
        subject: &Subject<'_>,
    ) -> Result<Found, Lookup> {
        let Stored { sealed, left } = value.ok_or(Lookup::Absent)?;
        let opened = self.answers.open(name.as_bytes(), &sealed);
        let shared = opened.and_then(|plain| SharedAnswer::decode(&plain));
        let shared = shared.ok_or(Lookup::Unreadable)?;
        let age = shared.age(self.clock.unix_time()).ok_or(Lookup::Expired)?;
        // Redis counts what is left by a clock of its own: this broker's may be behind that of the one that asked.
        let age = left.map_or(age, |left| age.max(shared.life.saturating_sub(left)));
        if age >= shared.life {
            return Err(Lookup::Expired);
        }
        // A command may name the client by the name that it gave, or by the one that the API gave it.
        let named = answer::username(&shared.json);
        let named = named.as_deref().map(|username| Subject { username, ..*subject });
        let (log, now) = (lock(&self.log), self.clock.now());
        let is_believed = |subject: &Subject<'_>| log.believes(&shared.stamp, subject, now);
        if !is_believed(subject) || !named.is_none_or(|named| is_believed(&named)) {
            return Err(Lookup::Outdated);
        }
        drop(log);
        let SharedAnswer { json, life, is_given, stale, .. } = shared;
        Ok(Found { json, age, life, is_given, stale })
    }

    fn note_failure(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.trip();
        }
    }

    /// Leaves Redis alone until the reader allows it again.
    fn trip(&self) {
        self.failures.store(0, Ordering::Relaxed);
        if !self.is_tripped.swap(true, Ordering::Relaxed) {
            self.trips.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the others that something was taken back here. `respond` hears how far it has come, or why the others are
    /// not told.
    pub fn publish(
        &self,
        what: Do,
        scope: InvalidationScope,
        respond: impl FnOnce(Result<Applied, String>) + Send + 'static,
    ) {
        let id = match random::bytes() {
            Ok(id) => id,
            Err(error) => return respond(Err(format!("done at this broker alone: {error}"))),
        };
        let at = self.clock.unix_time();
        let from = self.config.broker.clone();
        let record = Record { id, epoch: [0; 16], at, from, what, scope };
        let now = self.clock.now();
        if !lock(&self.log).publish(record, now) {
            let text = "done at this broker alone: too many commands wait for Redis";
            return respond(Err(text.to_owned()));
        }
        let respond = Box::new(|applied| respond(Ok(applied)));
        self.queue.expect(id, now + self.config.ack, respond);
    }

    /// Something is taken back at this broker alone. To be called before it does so itself: a lookup that is under
    /// way is then known to be older.
    pub(crate) fn outdate_here(&self, scope: InvalidationScope) {
        lock(&self.log).outdate_here(scope, self.clock.now());
    }
}

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub mod fuzzing {
    use super::sealing::Sealer;
    use super::{Record, SharedAnswer, answer};
    use crate::api::shared_answer;
    use crate::rules::Syntax;
    use crate::secret::Secret;

    /// Bytes that Redis has: nobody has sealed them, and if somebody had, they are read as they were written.
    pub fn open(data: &[u8]) {
        let sealer = Sealer::of_answers("mqtt", &[Secret::new(vec![7; 32])]);
        assert_eq!(sealer.open(b"name", data), None);
        if let Some(record) = Record::decode(data) {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        super::members::fuzz(data);
        let Some(shared) = SharedAnswer::decode(data) else { return };
        assert_eq!(SharedAnswer::decode(&shared.encode()), Some(shared.clone()));
        let _ = answer::username(&shared.json);
        let read = shared_answer(&shared.json, Syntax::Own);
        if let Some(json) = read.as_ref().and_then(answer::to_json) {
            assert_eq!(shared_answer(&json, Syntax::Own), read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_command_too_many_for_a_redis_that_is_gone_is_refused() {
        let fleet = fake_redis::fleet("127.0.0.1:1", &[], ManualClock::new());
        let (sender, refused) = std::sync::mpsc::channel();
        for number in 0..=10_000 {
            let sender = sender.clone();
            fleet.publish(Do::Invalidate, InvalidationScope::default(), move |response| {
                sender.send((number, response)).unwrap();
            });
        }
        let (number, response) = refused.try_recv().unwrap();
        assert!(number == 10_000 && response.is_err_and(|text| text.contains("this broker alone")));
        assert!(refused.try_recv().is_err() && fleet.status().outbox == 10_000);
    }

    #[test]
    fn an_answer_is_not_shared_once_other_headers_are_sent_or_another_epoch_has_begun() {
        let options = [("http_header_X_Broker", "one")];
        let fleet = fake_redis::fleet("127.0.0.1:1", &options, ManualClock::new());
        fake_redis::touch(&fleet);
        let share = |asked| {
            let freshness = Freshness { lifetime: None, stale: None };
            let life = Duration::from_secs(9);
            fleet.share(&SharedName([7; 24]), asked, &Answer::ALLOW, freshness, life);
            fleet.queue.drop_answers()
        };
        let before = fleet.before_asking().unwrap();
        assert_eq!(share(before), 1);
        let header =
            |value: &str| fake_redis::config("r", &[("http_header_X_Broker", value)]).credentials;
        fleet.renew(&header("two"), || ());
        assert_eq!(share(before), 0, "it was asked for with the header of before");
        let before = fleet.before_asking().unwrap();
        assert_eq!(share(before), 1);
        fake_redis::touch_again(&fleet);
        assert_eq!(share(before), 0, "it was asked for before Redis lost something");
        assert_eq!(share(fleet.before_asking().unwrap()), 1);
    }
}
