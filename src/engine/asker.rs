//! Has the API asked, from whichever thread; what has failed recently is left alone.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Work;
use super::recent_failures::RecentFailures;
use crate::answer::{Answer, Failure};
use crate::api::Api;
use crate::cache::Key;
use crate::clock::Clock;
use crate::memory::MemoryBudget;
use crate::pool::{Asked, Pool, Urgency};

/// What it takes to ask.
#[derive(Clone)]
pub(crate) struct Asker {
    pub api: Arc<Api>,
    pub(crate) recent_failures: Arc<RecentFailures>,
    pub clock: Arc<dyn Clock>,
    pub pool: Arc<Pool<Key, Work>>,
    /// For the questions on their way, and for whoever waits for them.
    pub(crate) memory: Arc<MemoryBudget>,
}

impl Asker {
    /// Asks a question whose answer is not known. While no host is in service it is asked only if it
    /// is let through as a probe, or if it `insists` and it is time for a trial; then whoever asks waits for
    /// it as for any question. It has about so many `bytes`; `stale` stands in for an answer that does not come,
    /// and the question joins others that are asked in the same `in_flight`.
    pub(crate) fn ask(
        &self,
        (key, in_flight): (&Key, &Key),
        (urgency, insists, bytes): (Urgency, bool, usize),
        stale: Option<Answer>,
        known: impl FnOnce() -> Option<Answer>,
        job: impl FnOnce() -> Work,
    ) -> Asked {
        if let Some(failure) = self.recent_failures.back_off(key, self.clock.now()) {
            return Asked::Now(stale.ok_or(failure));
        }
        if !self.api.in_service() {
            let is_probe = self.api.wants_probe(self.recent_failures.has(key))
                || insists && self.api.claim_trial();
            if is_probe && stale.is_some() {
                let _ = self.pool.ask_quietly(in_flight, job);
                return Asked::Now(stale.ok_or(Failure::OutOfService));
            }
            if !is_probe || stale.is_some() {
                return Asked::Now(stale.ok_or(Failure::OutOfService));
            }
        }
        if !self.memory.has_room_for(bytes) {
            return Asked::Now(stale.ok_or(Failure::Overloaded));
        }
        match self.pool.ask(in_flight, urgency, known, job) {
            Asked::Later(pending) => Asked::Later(pending.or(stale)),
            Asked::Now(outcome) => Asked::Now(outcome.or_else(|failure| stale.ok_or(failure))),
        }
    }
}
