//! The one way to ask: the cache first, and on a miss the pool.
//!
//! `ask` never waits. What is known comes back at once; what is not comes back as a `Pending` for a
//! request that is already on its way, and whoever holds the `Pending` decides how long to wait.

#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::answer::{Answer, Failure};
use crate::api::{self, Api, Health, Observer, Request};
use crate::api_format::ApiFormat;
use crate::cache::{Cache, CachedPermission, Key, Keyring, Lifetimes};
use crate::clock::Clock;
use crate::config::{CacheConfig, Config, Credentials};
use crate::field::{Field, FieldLists};
use crate::files::Files;
use crate::fleet::Fleet;
use crate::log_queue::LogQueue;
use crate::memory::MemoryBudget;
use crate::pool::{Asked, Batching, Completion, Load, Pool, Spawn, Urgency};
use crate::question::{About, Kind, Question, SharedName};
use crate::random::NoRandomBytes;
use crate::sealed::SecretBox;
use crate::stats::Stats;
use crate::tokens::Tokens;

mod ahead;
mod asker;
mod invalidate;
mod job;
mod job_runner;
mod passwords;
mod recent_failures;
mod sealed;
mod tokens;
use asker::Asker;
use job::{Consult, Job, OwnedSubject};
use job_runner::{Heard, JobRunner};
use passwords::Hasher;
use recent_failures::RecentFailures;
use tokens::{TokenJob, Verifier};

/// How many questions may go in one request.
const BATCH: usize = 500;

/// How many bytes they may have together: many APIs read bodies of 100 kB at most.
const BATCH_BYTES: usize = 64_000;

/// How much memory may go to questions that wait or are being asked, and to the logins that wait for them, in
/// bytes.
const QUESTION_BYTES: usize = 64 << 20;

/// How long a thread waits for a question before it ends.
const LINGER: Duration = Duration::from_secs(if cfg!(any(test, fuzzing)) { 0 } else { 10 });

/// Answers questions.
pub struct Engine {
    keyring: Keyring,
    secret_box: SecretBox,
    fields: FieldLists,
    api_format: ApiFormat,
    cache: Arc<Cache>,
    tokens: Option<Arc<Tokens>>,
    fleet: Option<Arc<Fleet>>,
    hasher: Option<Hasher>,
    /// Whether the API has a route for logins.
    asks_logins: bool,
    heard: Arc<OnceLock<Heard>>,
    stats: Arc<Stats>,
    asker: Asker,
}

/// How things stand at one time.
pub struct Status {
    /// About how many answers are cached, and how many bytes they take.
    pub answers: u64,
    pub(crate) answers_bytes: u64,
    pub load: Load,
    pub(crate) endpoints: Vec<Health>,
}

/// What a worker does.
enum Work {
    Ask(Job),
    Tokens(TokenJob),
    /// Have the cache let go of what has ended.
    TidyUp,
}

impl Engine {
    /// # Errors
    /// The operating system gives no random bytes for the keys.
    pub fn new(
        config: &Config,
        log_queue: Arc<LogQueue>,
        stats: Arc<Stats>,
        clock: Arc<dyn Clock>,
        spawn: Spawn,
        observer: Option<&Arc<dyn Observer>>,
        files: Option<Arc<Files>>,
    ) -> Result<Self, NoRandomBytes> {
        let CacheConfig { login, access, stale_if_error: stale, .. } = config.cache;
        let lifetimes = Lifetimes { login, access, stale };
        let cache = Arc::new(Cache::new(
            lifetimes,
            config.cache.refresh_ahead,
            config.cache.max_bytes,
            Arc::clone(&clock),
        ));
        let fleet = Fleet::new(config, Arc::clone(&log_queue), Arc::clone(&clock));
        let api = Arc::new(Api::new(
            config,
            Arc::clone(&log_queue),
            Arc::clone(&clock),
            Arc::clone(&stats),
            observer,
        ));
        let recent_failures = Arc::<RecentFailures>::default();
        let heard = Arc::<OnceLock<Heard>>::default();
        let runner = JobRunner {
            heard: Arc::clone(&heard),
            api: Arc::clone(&api),
            cache: Arc::clone(&cache),
            recent_failures: Arc::clone(&recent_failures),
            fleet: fleet.clone(),
            clock: Arc::clone(&clock),
        };
        let keys = &config.credentials.token_keys;
        let tokens = config.tokens().cloned();
        let tokens = tokens.map(|tokens| Arc::new(Tokens::new(tokens, keys, Arc::clone(&clock))));
        let verifier = tokens.clone().map(|tokens| {
            let api = Arc::clone(&api);
            Verifier { tokens, api, log_queue }
        });
        let kept = Arc::clone(&cache);
        let work = move |works: Vec<(Work, Completion<'_>)>| {
            let mut jobs = Vec::new();
            for (work, completion) in works {
                match (work, &verifier) {
                    (Work::Ask(job), _) => jobs.push((job, completion)),
                    (Work::Tokens(job), Some(verifier)) => verifier.run(&job, completion),
                    (Work::Tokens(_), None) => completion.complete(Err(Failure::Internal)),
                    (Work::TidyUp, _) => completion.complete(Ok(Answer::ALLOW)),
                }
            }
            runner.run_jobs(jobs);
            // Now that nobody waits: the broker's thread would have to do it instead.
            kept.tidy_up();
        };
        let batching = Batching {
            most: if config.routes.batch.is_some() { BATCH } else { 1 },
            joins: |work: &Work| matches!(work, Work::Ask(job) if job.request.kind == Kind::Access),
            most_bytes: BATCH_BYTES,
            bytes: |work: &Work| match work {
                Work::Ask(job) => job.request.body.expose().len(),
                Work::Tokens(_) | Work::TidyUp => 0,
            },
        };
        let hasher =
            files.map(|files| Hasher::new(files, Arc::clone(&cache), Arc::clone(&clock), spawn));
        let pool = Pool::new(config.connections, LINGER, batching, spawn, Box::new(work));
        let asker = Asker {
            api,
            recent_failures,
            clock,
            pool: Arc::new(pool),
            memory: MemoryBudget::new(QUESTION_BYTES),
        };
        Ok(Self {
            keyring: Keyring::random()?,
            secret_box: SecretBox::random()?,
            fields: config.fields.clone(),
            api_format: config.api_format.clone(),
            cache,
            tokens,
            fleet,
            hasher,
            asks_logins: config.routes.login.is_some(),
            heard,
            stats,
            asker,
        })
    }

    /// Has `heard` told, once for all, of every answer that comes: the key of its question, and when that was
    /// asked. On a worker, before anyone who waits for the answer is told.
    pub(crate) fn tell_of_answers(&self, heard: impl Fn(&Key, Instant) + Send + Sync + 'static) {
        // Whoever comes second tells nobody.
        let _ = self.heard.set(Box::new(heard));
    }

    /// The API, for whoever does not ask it a question.
    #[must_use]
    pub fn api(&self) -> &Arc<Api> {
        &self.asker.api
    }

    /// What the question is about, for a log line.
    #[must_use]
    pub fn describe(&self, question: &Question<'_>) -> String {
        api::describe(question)
    }

    /// The key of a question, under which its answer is kept.
    #[must_use]
    pub fn key(&self, question: &Question<'_>) -> Key {
        self.keyring.key(question, self.fields.of(question.kind()))
    }

    /// By what a client is known again that was let in by the question that has this key: the same, but for the
    /// keep-alive, which Mosquitto lowers to `max_keepalive` (MQTT 5.0, section 3.2.2.3.14).
    #[must_use]
    pub(crate) fn identity(&self, key: Key, question: &Question<'_>) -> Key {
        let fields = self.fields.of(question.kind());
        if !fields.contains(&Field::Keepalive) {
            return key;
        }
        let rest = fields.iter().copied().filter(|field| *field != Field::Keepalive);
        self.keyring.key(question, &rest.collect::<Vec<_>>())
    }

    /// Asks the question that has this key.
    #[must_use]
    pub fn ask(&self, key: Key, question: &Question<'_>, urgency: Urgency) -> Asked {
        match self.known_login(&key, question) {
            Some(answer) => Asked::Now(Ok(answer)),
            None => self.ask_api(key, question, urgency),
        }
    }

    /// The answer to the question that has this key, if it is known, and for how long it may be remembered
    /// elsewhere.
    #[must_use]
    pub(crate) fn known(
        &self,
        key: &Key,
        question: &Question<'_>,
    ) -> Option<(Answer, CachedPermission)> {
        let hit = self.cache.look(key, question).map_err(|why| self.stats.missed(why)).ok()?;
        self.stats.hit();
        if hit.refresh && self.has_room_for(question) {
            // The answer at hand is good; if there is no room, the next use tries again.
            let _ = self.ask_for_younger(*key, question);
        }
        Some((hit.answer, hit.permission))
    }

    /// Whether the answer to the question that has this key is known, for whoever does not use it.
    #[must_use]
    pub(crate) fn knows(&self, key: &Key, question: &Question<'_>) -> bool {
        self.cache.knows(key, question)
    }

    /// Whether an answer that was known, and is remembered elsewhere, is good still.
    #[must_use]
    pub(crate) fn is_current(&self, permission: &CachedPermission) -> bool {
        self.cache.is_current(permission)
    }

    /// Asks a question whose answer is not known, where a password file does not know better.
    #[must_use]
    pub(crate) fn ask_api(&self, key: Key, question: &Question<'_>, urgency: Urgency) -> Asked {
        self.ask_anybody(key, question, (urgency, false))
    }

    /// The same for a delivery that is held: it is to be made as soon as a host is back, and not when the next
    /// probe is due.
    #[must_use]
    pub(crate) fn insist(&self, key: Key, question: &Question<'_>) -> Asked {
        self.ask_anybody(key, question, (Urgency::Delivery, true))
    }

    fn ask_anybody(
        &self,
        key: Key,
        question: &Question<'_>,
        (urgency, insists): (Urgency, bool),
    ) -> Asked {
        if let About::Token(token) = question.about {
            return self.ask_token(token, question.username, urgency);
        }
        if let Some(asked) = self.ask_file(key, question, urgency) {
            return asked;
        }
        let stale = self.cache.stale(&key, question);
        let known = || self.cache.known(&key, question);
        let job = || self.job(key, question, Consult::Others);
        self.asker.ask((&key, &key), (urgency, insists, question.bytes()), stale, known, job)
    }

    /// What asks the API itself joins nothing that others may have answered.
    fn in_flight_key(&self, key: &Key) -> Key {
        if self.fleet.is_some() { key.for_the_api() } else { *key }
    }

    /// The brokers that this one shares answers with.
    #[must_use]
    pub fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.fleet.as_ref()
    }

    /// Uses other certificates and secrets from now on.
    pub(crate) fn renew(&self, credentials: &Credentials) {
        let send = || self.asker.api.renew(credentials);
        match &self.fleet {
            Some(fleet) => fleet.renew(credentials, send),
            None => send(),
        }
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status {
        let (answers, answers_bytes) = self.cache.size();
        Status {
            answers,
            answers_bytes,
            load: self.asker.pool.load(),
            endpoints: self.asker.api.endpoints(),
        }
    }

    /// Has the cache let go of what has expired, so that [`Engine::status`] is exact; not for the
    /// broker's thread.
    pub(crate) fn tidy_up(&self) {
        self.cache.tidy_up();
    }

    /// Has a worker do that, if none has for long.
    pub(crate) fn tidy_up_if_due(&self, now: Instant) {
        if self.cache.wants_tidying(now) {
            // If there is no room, the next tick tries again.
            let _ = self.asker.pool.ask_quietly(&self.keyring.of_tidying_up(), || Work::TidyUp);
        }
    }

    fn job(&self, key: Key, question: &Question<'_>, consult: Consult) -> Work {
        let shared = self.shared_name(question);
        let is_looked_up = shared.is_some() && consult != Consult::TheApi;
        let subject = is_looked_up.then(|| OwnedSubject::of(question));
        self.job_of(key, self.request(question), shared, subject, consult)
    }

    fn job_of(
        &self,
        key: Key,
        request: Request,
        shared: Option<SharedName>,
        subject: Option<OwnedSubject>,
        consult: Consult,
    ) -> Work {
        let permit = self.memory().take(request.body.expose().len() + request.about.len());
        Work::Ask(Job { key, request, shared, subject, consult, permit })
    }

    /// For questions on their way, and for whoever waits for them.
    #[must_use]
    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.asker.memory
    }

    fn has_room_for(&self, question: &Question<'_>) -> bool {
        self.memory().has_room_for(question.bytes())
    }

    fn shared_name(&self, question: &Question<'_>) -> Option<SharedName> {
        self.fleet.as_ref().and_then(|fleet| fleet.name(question))
    }

    fn request(&self, question: &Question<'_>) -> Request {
        Request::new(question, self.fields.of(question.kind()), &self.api_format)
    }

    /// Ends every request and joins every thread.
    pub fn shut_down(&self) {
        self.fleet.iter().for_each(|fleet| fleet.shut_down());
        self.hasher.iter().for_each(Hasher::shut_down);
        self.asker.pool.shut_down(|| self.asker.api.interrupt());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::clock::SystemClock;
    use crate::fake::{self, FakeClient};
    use crate::question::{About, Access, Action};

    /// Asks the API at this port.
    fn engine(port: &str, more: &[(&str, &str)]) -> Engine {
        let given = [("http_host", "127.0.0.1"), ("http_port", port), ("http_acl_route", "/acl")];
        let config = fake::config(&[&given, more].concat());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log_queue = LogQueue::new(config.log_level, Arc::clone(&clock));
        let spawn: Spawn = |name, body| thread::Builder::new().name(name).spawn(body);
        Engine::new(&config, log_queue, Arc::default(), clock, spawn, None, None).unwrap()
    }

    /// An API that says this to every request: its port, and how many there were.
    fn always(status: u16) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let serve = move || {
            for connection in listener.incoming() {
                let mut connection = BufReader::new(connection.unwrap());
                let (mut line, mut length) = (String::new(), 0);
                while connection.read_line(&mut line).unwrap() > 2 {
                    let value = line.to_lowercase();
                    if let Some(value) = value.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                connection.read_exact(&mut vec![0; length]).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n");
                let connection = connection.get_mut();
                write!(connection, "{head}Connection: close\r\n\r\n").unwrap();
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
        (port, count)
    }

    /// Has these questions asked ahead, and waits until none is under way.
    fn ask_ahead(engine: &Engine, topics: &[String]) {
        let client = FakeClient::default();
        let question = |topic| {
            let action = Action { access: Access::Read, topic, qos: 0, retain: false };
            Question {
                client: &client,
                username: "ann",
                attributes: None,
                about: About::Access(action),
            }
        };
        engine.ask_ahead(topics.iter().map(|topic| question(topic)));
        while topics.iter().any(|topic| engine.is_under_way(&engine.key(&question(topic)))) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_batch_is_asked_in_halves_where_the_api_may_answer_those() {
        let topics: Vec<_> = (0..8).map(|number| format!("topic/{number}")).collect();
        // A batch of eight, two of four, four of two, and eight questions.
        for (status, requests) in [(413, 15), (500, 15), (408, 1), (425, 1), (429, 1), (503, 1)] {
            let (port, count) = always(status);
            let batches = [("http_acl_batch_route", "/batch"), ("http_connections", "1")];
            let engine = engine(&port, &batches);
            ask_ahead(&engine, &topics);
            assert_eq!(count.load(Ordering::SeqCst), requests, "{status}");
            engine.shut_down();
        }
    }

    #[test]
    fn a_question_that_is_left_alone_is_not_asked_ahead_either() {
        let (port, count) = always(500);
        let engine = engine(&port, &[]);
        let topics = ["topic".to_owned()];
        for _ in 0..10 {
            ask_ahead(&engine, &topics);
        }
        assert_eq!(count.load(Ordering::SeqCst), 5);
        engine.shut_down();
    }

    #[test]
    fn questions_on_their_way_are_bounded_by_what_they_take() {
        // Whoever connects to it waits for ever.
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = silent.local_addr().unwrap().port().to_string();
        let mut engine = engine(&port, &[]);
        engine.asker.memory = MemoryBudget::new(400_000);
        let client = FakeClient::default();
        let ask = |number: u32, length| {
            let topic = format!("{number}/{}", "x".repeat(length));
            let action = Action { access: Access::Write, topic: &topic, qos: 0, retain: false };
            let question = Question {
                client: &client,
                username: "ann",
                attributes: None,
                about: About::Access(action),
            };
            engine.ask(engine.key(&question), &question, Urgency::Blocking)
        };
        let is_taken = |number, length| match ask(number, length) {
            Asked::Later(_) => true,
            Asked::Now(outcome) => {
                assert_eq!(outcome, Err(Failure::Overloaded));
                false
            }
        };
        let long = (0..100).take_while(|number| is_taken(*number, 10_000)).count();
        assert!((20..40).contains(&long), "{long} of them");
        assert!(engine.memory().taken() < 400_000);
        assert!((100..200).all(|number| is_taken(number, 50)), "those that take little have room");
        let memory = Arc::clone(engine.memory());
        engine.shut_down();
        drop(engine);
        assert_eq!(memory.taken(), 0);
    }
}
