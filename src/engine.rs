//! The one way to ask: the cache first, and on a miss the pool.
//!
//! `ask` never waits. What is known comes back at once; what is not comes back as a ticket for a
//! request that is already on its way, and whoever holds the ticket decides how long to wait.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::answer::Failure;
use crate::api::{Api, Request};
use crate::cache::{Cache, Key, Keyring, Lifetimes};
use crate::clock::Clock;
use crate::config::Config;
use crate::field::FieldLists;
use crate::journal::Journal;
use crate::pool::{Asked, Landing, Pool, Spawn, Ticket};
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
            stale: config.cache.stale_if_error,
        };
        let cache = Arc::new(Cache::new(
            lifetimes,
            config.cache.refresh_ahead,
            config.cache.max_bytes,
            Arc::clone(&clock),
        ));
        let api = Arc::new(Api::new(config, journal, clock));
        let (worker_cache, worker_api) = (Arc::clone(&cache), Arc::clone(&api));
        let work = move |job: Job, landing: Landing<'_>| {
            fly(&worker_api, &worker_cache, &job, landing);
        };
        Ok(Self {
            keyring: Keyring::random()?,
            fields: config.fields.clone(),
            cache,
            api,
            pool: Pool::new(config.connections, spawn, Box::new(work)),
        })
    }

    /// The key of a question, under which its answer is kept.
    #[must_use]
    pub fn key(&self, question: &Question<'_>) -> Key {
        self.keyring.key(question, self.fields.of(question.kind()))
    }

    /// Asks the question that has this key.
    #[must_use]
    pub fn ask(&self, key: Key, question: &Question<'_>) -> Asked {
        let job = || self.job(key, question);
        if let Some(hit) = self.cache.get(&key) {
            if hit.refresh {
                // The answer at hand is good; if there is no room, the next use tries again.
                let _ = self.pool.ask_quietly(&key, job);
            }
            return Asked::Now(Ok(hit.answer));
        }
        let stale = self.cache.stale(&key);
        if !self.api.in_service() {
            if self.api.wants_probe() {
                let _ = self.pool.ask_quietly(&key, job);
            }
            return Asked::Now(stale.ok_or(Failure::OutOfService));
        }
        let known = || self.cache.get(&key).map(|hit| hit.answer);
        match self.pool.ask(&key, known, job) {
            Asked::Later(ticket) => Asked::Later(ticket.or(stale)),
            Asked::Now(outcome) => Asked::Now(outcome.or_else(|failure| stale.ok_or(failure))),
        }
    }

    /// Has the question that has this key asked again in the background, unless its answer is
    /// still good. None: there is nothing to wait for.
    #[must_use]
    pub fn ask_again(&self, key: Key, question: &Question<'_>) -> Option<Ticket> {
        if self.cache.get(&key).is_some() {
            return None;
        }
        self.pool.ask_quietly(&key, || self.job(key, question)).ok()
    }

    fn job(&self, key: Key, question: &Question<'_>) -> Job {
        Job { key, request: Request::new(question, self.fields.of(question.kind())) }
    }

    /// Ends every request and joins every thread.
    pub fn shut_down(&self) {
        self.pool.shut_down(|| self.api.interrupt());
    }
}

/// A worker's job. The answer is in the cache before anyone who waits for it hears of it, so that
/// whoever asks from then on finds it there. When nobody waits any more, the same question serves
/// to see whether an endpoint that was out of service is back.
fn fly(api: &Api, cache: &Cache, job: &Job, landing: Landing<'_>) {
    let outcome = api.ask(&job.request);
    match outcome {
        Ok(answer) => cache.store(job.key, job.request.kind, answer),
        Err(_) => cache.refresh_failed(&job.key),
    }
    landing.land(outcome);
    if let Some(answer) = api.probe(&job.request) {
        cache.store(job.key, job.request.kind, answer);
    }
}
