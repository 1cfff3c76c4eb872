//! Denials that come when their client has been closed, since nobody could decide its login in time.
//!
//! Each counts and has its line in the log, whether or not the client comes back for it. If it does, it is told
//! the same denial, which then does not count again.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use moka::policy::EvictionPolicy;

use super::Authenticator;
use super::denials::LoginFacts;
use crate::answer::{Answer, Outcome, Verdict};
use crate::cache::Key;
use crate::login::Applicant;
use crate::mailbox::{Mailbox, WakeBroker};
use crate::memory::MemoryBudget;
use crate::pool::Pending;
use crate::retry_answers::LIFE;
use crate::store::{Limits, Store};
use crate::sync::{catch_panic, lock};

/// Of how many it is remembered that they have been noted; the oldest go first.
const MOST_NOTED: u64 = 10_000;

/// A hash of a question and the address that it came from: by these a guess that is tried again is known.
type Guess = u64;

/// The logins of clients that were closed before there was an answer.
pub(super) struct LateDenials {
    /// Those whose answers are on their way.
    awaited: Mutex<HashSet<Guess>>,
    /// Those that were denied since, until they are tried again.
    noted: Store<()>,
    arrived: Arc<Mailbox<LateDenial>>,
    hasher: RandomState,
}

/// A denial that nobody waited for any more.
struct LateDenial {
    applicant: Applicant,
    key: Key,
    answer: Answer,
}

impl LateDenials {
    pub(super) fn new(wake_broker: WakeBroker) -> Arc<Self> {
        let limits = Limits {
            most: MOST_NOTED,
            time_to_live: Some(LIFE),
            policy: EvictionPolicy::lru(),
            ..Limits::default()
        };
        Arc::new(Self {
            awaited: Mutex::default(),
            noted: Store::new(limits, |()| 1),
            arrived: Mailbox::new(wake_broker),
            hasher: RandomState::new(),
        })
    }

    fn guess(&self, login: LoginFacts<'_>) -> Guess {
        self.hasher.hash_one((login.key, login.client.address))
    }

    /// The client of this login is closed. What is returned is to be told of its answer, on whichever thread. A
    /// guess that is tried again before there is one is the same.
    fn await_answer(
        self: &Arc<Self>,
        login: LoginFacts<'_>,
        memory: &Arc<MemoryBudget>,
    ) -> impl FnOnce(&Outcome) + Send + use<> {
        let (guess, key) = (self.guess(login), login.key);
        let is_first = lock(&self.awaited).insert(guess);
        let waits = is_first.then(|| {
            let applicant = Applicant::of(login.client, login.is_named);
            let permit = memory.take(applicant.bytes());
            (Arc::clone(self), applicant, permit)
        });
        move |outcome| {
            let Some((all, applicant, _permit)) = waits else { return };
            let mut awaited = lock(&all.awaited);
            // Unless one that was tried again has been told, and noted, already.
            let is_awaited = awaited.remove(&guess);
            if let (true, Ok(answer)) = (is_awaited, outcome) {
                if answer.verdict == Verdict::Deny {
                    all.noted.insert(guess, ());
                    drop(awaited);
                    all.arrived.send(LateDenial { applicant, key, answer: answer.clone() });
                }
            }
        }
    }

    /// A login is denied: whether this is a denial that has been noted before, when it came late.
    pub(super) fn has_noted(&self, login: LoginFacts<'_>) -> bool {
        let guess = self.guess(login);
        let mut awaited = lock(&self.awaited);
        // Where the answer is being told to the try before at this moment, it has been told here first.
        !awaited.remove(&guess) && self.noted.remove(guess).is_some()
    }
}

impl Authenticator {
    /// Notes a login's denial, should it come to one, though its client is closed.
    pub(super) fn note_when_denied(&self, login: LoginFacts<'_>, pending: Pending) {
        let heard = self.late_denials.await_answer(login, self.services.engine.memory());
        pending.watch(move |outcome| heard(&outcome));
    }

    /// The same for a client that will come again: its next try finds the answer.
    pub(super) fn keep_for_next_try(
        &self,
        login: LoginFacts<'_>,
        pending: Pending,
        asked: Instant,
    ) {
        let heard = self.late_denials.await_answer(login, self.services.engine.memory());
        self.services.retry_answers.keep_when_known(login.key, pending, asked, heard);
    }

    /// Notes the denials that have come late. For the broker's thread.
    pub(crate) fn note_late_denials(&self) {
        for LateDenial { applicant, key, answer } in self.late_denials.arrived.drain() {
            let login = LoginFacts::of(&applicant, key);
            catch_panic(|| self.note_denial_by_api(&answer, login));
        }
    }
}
