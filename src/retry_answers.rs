//! Answers kept for a retry.
//!
//! Some questions cannot be waited for: their client is closed, so that it comes back and asks the
//! same again. What came of the first time is kept for that retry, for a few seconds and for one
//! use, whether or not anything may be cached: without this, a client whose answers are not cached
//! would be closed each time it comes.
//!
//! Any kind of question will do. Whoever closes a client hands its `Pending` to
//! [`RetryAnswers::keep_when_known`] or calls [`RetryAnswers::keep`]; whoever asks and finds nothing in
//! the cache calls [`RetryAnswers::take`] before it asks the API.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::answer::Outcome;
use crate::cache::Key;
use crate::clock::Clock;
use crate::pool::Pending;

/// For how long an answer is kept. Clients come back within a second or a few.
const LIFE: Duration = Duration::from_secs(15);

/// How much memory they may take, in bytes; those that were kept first go first.
const BYTES: u64 = 16 << 20;

/// What one takes beside the answer's own content, in bytes.
const ENTRY_BYTES: usize = 200;

/// Answers, each for the next who asks the same question.
pub(crate) struct RetryAnswers {
    answers: Cache<Key, Kept>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Kept {
    outcome: Outcome,
    /// When it was asked for.
    asked: Instant,
    kept: Instant,
}

impl RetryAnswers {
    #[must_use]
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let bytes = |_: &Key, kept: &Kept| {
            let content = kept.outcome.as_ref().map_or(0, crate::answer::Answer::bytes);
            u32::try_from(ENTRY_BYTES + content).unwrap_or(u32::MAX)
        };
        let answers = Cache::builder()
            .weigher(bytes)
            .max_capacity(BYTES)
            .time_to_live(LIFE)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Arc::new(Self { answers, clock })
    }

    /// Keeps what came of a question that was `asked` for then. A failure is worth keeping only where
    /// the retry is to be decided by it, as with `on_error allow`.
    pub(crate) fn keep(&self, key: Key, outcome: Outcome, asked: Instant) {
        self.answers.insert(key, Kept { outcome, asked, kept: self.clock.now() });
    }

    /// Keeps the answer, if one comes of this `Pending`; it was `asked` for then. For a client that was closed.
    pub(crate) fn keep_when_known(self: &Arc<Self>, key: Key, pending: Pending, asked: Instant) {
        let answers = Arc::clone(self);
        pending.watch(move |outcome| {
            if outcome.is_ok() {
                answers.keep(key, outcome, asked);
            }
        });
    }

    /// Takes what is kept for this question, unless `is_outdated` says of it, and of the time at which it
    /// was asked for, that it does not count any more. Nobody else gets it then.
    #[must_use]
    pub(crate) fn take(
        &self,
        key: &Key,
        is_outdated: impl FnOnce(&Outcome, Instant) -> bool,
    ) -> Option<Outcome> {
        let Kept { outcome, asked, kept } = self.answers.remove(key)?;
        let is_old = self.clock.now().duration_since(kept) >= LIFE;
        let session_grants =
            outcome.as_ref().ok().and_then(|answer| answer.session_grants.as_ref());
        let expire_at = session_grants.and_then(|session_grants| session_grants.expire_at);
        let has_ended = expire_at.is_some_and(|end| end <= self.clock.unix_time().as_secs());
        (!is_old && !has_ended && !is_outdated(&outcome, asked)).then_some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, Failure, SessionGrants};
    use crate::clock::{BEGINNING, ManualClock};

    const KEY: Key = Key::from_number(1);

    fn answers() -> (Arc<RetryAnswers>, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (RetryAnswers::new(clock.clone()), clock)
    }

    fn take(answers: &RetryAnswers) -> Option<Outcome> {
        answers.take(&KEY, |_, _| false)
    }

    #[test]
    fn an_answer_serves_one_retry() {
        let (answers, clock) = answers();
        assert_eq!(take(&answers), None);
        answers.keep(KEY, Ok(Answer::DENY), clock.now());
        assert_eq!(answers.take(&Key::from_number(2), |_, _| false), None);
        assert_eq!(take(&answers), Some(Ok(Answer::DENY)));
        assert_eq!(take(&answers), None);
    }

    #[test]
    fn it_is_kept_for_a_while_and_no_longer_than_its_session_grants_say() {
        let (answers, clock) = answers();
        let lasting = |expire_at| {
            let session_grants = SessionGrants {
                is_superuser: None,
                rules: None,
                expire_at: Some(expire_at),
                ..SessionGrants::default()
            };
            Answer { session_grants: Some(Arc::new(session_grants)), ..Answer::ALLOW }
        };
        for (answer, after, expected) in [
            (Answer::ALLOW, LIFE - Duration::from_secs(1), true),
            (Answer::ALLOW, LIFE, false),
            (lasting(BEGINNING + 100), LIFE, false),
        ] {
            answers.keep(KEY, Ok(answer), clock.now());
            clock.advance(after);
            assert_eq!(take(&answers).is_some(), expected);
        }
        answers.keep(KEY, Ok(lasting(clock.unix_time().as_secs() + 2)), clock.now());
        clock.advance(Duration::from_secs(2));
        assert_eq!(take(&answers), None);
    }

    #[test]
    fn what_was_declared_outdated_serves_nobody() {
        let (answers, clock) = answers();
        let asked = clock.now();
        clock.advance(Duration::from_secs(1));
        answers.keep(KEY, Ok(Answer::ALLOW), asked);
        assert_eq!(answers.take(&KEY, |_, at| at == asked), None);
        assert_eq!(take(&answers), None, "nor the next");
    }

    #[test]
    fn of_a_pending_only_an_answer_is_kept() {
        let (answers, clock) = answers();
        for (outcome, expected) in
            [(Ok(Answer::ALLOW), Some(Ok(Answer::ALLOW))), (Err(Failure::TimedOut), None)]
        {
            let (pending, complete) = Pending::for_test();
            answers.keep_when_known(KEY, pending, clock.now());
            complete(outcome);
            assert_eq!(take(&answers), expected);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (answers, clock) = answers();
        for number in 0..100_000 {
            answers.keep(Key::from_number(number), Ok(Answer::DENY), clock.now());
        }
        answers.answers.run_pending_tasks();
        assert!(answers.answers.weighted_size() <= BYTES);
        // The newest are there.
        assert!(answers.take(&Key::from_number(99_999), |_, _| false).is_some());
    }
}
