//! Denials that come when their client has been closed, since nobody could decide its login in time.
//!
//! Each counts and has its line in the log, whether or not the client comes back for it. If it does, it is told
//! the same denial, which then does not count again.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;

use super::Authenticator;
use super::denials::LoginFacts;
use crate::answer::{Answer, Outcome, Verdict};
use crate::cache::Key;
use crate::login::Applicant;
use crate::mailbox::{Mailbox, WakeBroker};
use crate::memory::MemoryBudget;
use crate::pool::Pending;
use crate::store::{Limits, Store};
use crate::sync::{catch_panic, lock};

/// Of how many it is remembered that they have been noted; the oldest go first.
const MOST_NOTED: u64 = 10_000;

/// A hash of a question and the address that it came from: by these a guess that is tried again is known.
type Guess = u64;

/// The logins of clients that were closed before there was an answer.
pub(super) struct LateDenials {
    /// Those whose answers are on their way, and in how many requests.
    awaited: Mutex<HashMap<Guess, usize>>,
    /// Those that were denied since, until they are tried again, for as long as their answers are kept.
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
    /// `life`: for how long an answer is kept for the next try.
    pub(super) fn new(wake_broker: WakeBroker, life: Duration) -> Arc<Self> {
        let limits = Limits {
            most: MOST_NOTED,
            time_to_live: Some(life),
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
        let applicant = Applicant::of(login.client, login.is_named);
        let permit = memory.take(applicant.bytes());
        *lock(&self.awaited).entry(guess).or_default() += 1;
        let all = Arc::clone(self);
        move |outcome| {
            let _permit = permit;
            let mut awaited = lock(&all.awaited);
            // None: another try has been told, and noted, already.
            let Entry::Occupied(mut requests) = awaited.entry(guess) else { return };
            if outcome.is_err() && *requests.get() > 1 {
                *requests.get_mut() -= 1;
                return;
            }
            requests.remove();
            let Ok(answer) = outcome else { return };
            if answer.verdict == Verdict::Deny {
                all.noted.insert(guess, ());
                drop(awaited);
                all.arrived.send(LateDenial { applicant, key, answer: answer.clone() });
            }
        }
    }

    /// A login is denied: whether this is a denial that has been noted before, when it came late.
    pub(super) fn has_noted(&self, login: LoginFacts<'_>) -> bool {
        let guess = self.guess(login);
        let mut awaited = lock(&self.awaited);
        // From when its client is closed until its denial is told, one of the two knows of the guess. Where it is
        // still awaited, whoever asks notes it.
        awaited.remove(&guess).is_none() && self.noted.remove(guess).is_some()
    }
}

impl Authenticator {
    /// Notes a login's denial, should it come to one, though its client is closed.
    pub(super) fn note_when_denied(&self, login: LoginFacts<'_>, pending: Pending) {
        let heard = self.late_denials.await_answer(login, self.services.engine.memory());
        pending.listen(move |outcome| heard(&outcome));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Failure;
    use crate::question::ClientFacts;

    #[test]
    fn whoever_is_told_first_notes_a_denial_and_a_request_that_fails_notes_none() {
        let memory = Arc::new(MemoryBudget::new(1 << 20));
        let denials = LateDenials::new(Arc::new(|| {}), Duration::from_secs(15));
        let client = ClientFacts {
            client_id: "c",
            username: "ann",
            address: None,
            protocol: "mqtt",
            protocol_version: 5,
        };
        let login = LoginFacts { client, key: Key::from_number(1), is_named: true };
        let hear = || denials.await_answer(login, &memory);
        let noted = || denials.arrived.drain().len();

        let heard = hear();
        assert!(!denials.has_noted(login), "the next try is told in time, and notes it");
        heard(&Ok(Answer::DENY));
        assert_eq!((noted(), denials.has_noted(login)), (0, false));

        let [first, second, third] = [hear(), hear(), hear()];
        first(&Err(Failure::TimedOut));
        second(&Ok(Answer::DENY));
        third(&Ok(Answer::DENY));
        assert_eq!((noted(), denials.has_noted(login)), (1, true), "one guess, one denial");

        hear()(&Err(Failure::TimedOut));
        hear()(&Ok(Answer::ALLOW));
        assert_eq!((noted(), denials.has_noted(login)), (0, false));
        assert!(lock(&denials.awaited).is_empty());
        assert_eq!(memory.taken(), 0);
    }
}
