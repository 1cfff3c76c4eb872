//! The one way to ask: the cache first, and on a miss the pool.
//!
//! `ask` never waits. What is known comes back at once; what is not comes back as a ticket for a
//! request that is already on its way, and whoever holds the ticket decides how long to wait.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::answer::Outcome;
use crate::api::{Api, Request};
use crate::cache::{Cache, Key, Keyring, Lifetimes};
use crate::clock::Clock;
use crate::config::Config;
use crate::field::FieldLists;
use crate::journal::Journal;
use crate::pool::{Asked, Pool, Spawn};
use crate::question::Question;

/// Answers questions.
pub struct Engine {
    keyring: Keyring,
    fields: FieldLists,
    cache: Arc<Cache>,
    api: Arc<Api>,
    pool: Pool<Key, Job>,
}

/// A question on its way to a worker, and where its answer goes.
struct Job {
    key: Key,
    request: Request,
}

impl Engine {
    /// # Errors
    /// The operating system gives no random bytes for the keys.
    pub fn new(
        config: &Config,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        spawn: Spawn,
    ) -> Result<Self, getrandom::Error> {
        let lifetimes = Lifetimes {
            login: config.cache.login_ttl,
            access: config.cache.access_ttl,
            deny: config.cache.deny_ttl,
        };
        let cache = Arc::new(Cache::new(lifetimes, config.cache.max_bytes, Arc::clone(&clock)));
        let api = Arc::new(Api::new(config, journal, clock));
        let (worker_cache, worker_api) = (Arc::clone(&cache), Arc::clone(&api));
        let work = move |job: Job| ask_and_store(&worker_api, &worker_cache, &job);
        Ok(Self {
            keyring: Keyring::random()?,
            fields: config.fields.clone(),
            cache,
            api,
            pool: Pool::new(config.connections, spawn, Box::new(work)),
        })
    }

    /// Asks.
    #[must_use]
    pub fn ask(&self, question: &Question<'_>) -> Asked {
        let fields = self.fields.of(question.kind());
        let key = self.keyring.key(question, fields);
        if let Some(answer) = self.cache.get(&key) {
            return Asked::Now(answer);
        }
        let known = || self.cache.get(&key);
        self.pool.ask(&key, known, Job { key, request: Request::new(question, fields) })
    }

    /// Ends every request and joins every thread.
    pub fn shut_down(&self) {
        self.pool.shut_down(|| self.api.interrupt());
    }
}

/// A worker's job. The answer is in the cache before anyone who waits for it hears of it, so that
/// whoever asks from then on finds it there.
fn ask_and_store(api: &Api, cache: &Cache, job: &Job) -> Outcome {
    let outcome = api.ask(&job.request);
    if let Ok(answer) = outcome {
        cache.store(job.key, job.request.kind, answer);
    }
    outcome
}
