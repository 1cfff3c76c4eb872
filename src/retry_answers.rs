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
//!
//! A client that subscribes to many topics may be closed at the last of them, and asks about the
//! others again as well. What was told of those is noted ([`RetryAnswers::note_told`],
//! [`RetryAnswers::lend`]), and is there once more if the client is closed ([`RetryAnswers::give_back`]).

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;

use crate::answer::{Outcome, Verdict};
use crate::cache::Key;
use crate::clock::Clock;
use crate::config::Lifetime;
use crate::pool::Pending;
use crate::store::{Limits, Store};
use crate::sync::lock;

/// For how long an answer is kept at the most. Clients come back within a second or a few.
const LIFE: Duration = Duration::from_secs(15);

/// Where answers are cached, they are kept for a retry for as long as in the cache, but for no less than this: a right
/// that has changed is not to be believed for much longer than `cache_ttl` says.
const SHORTEST: Duration = Duration::from_secs(5);

/// How much memory those that are kept may take, and those that were told, each in bytes; the oldest go
/// first.
const BYTES: u64 = 8 << 20;

/// What one takes beside the answer's own content, in bytes.
const ENTRY_BYTES: usize = 250;

/// Answers, each for the next who asks the same question.
pub(crate) struct RetryAnswers {
    answers: Store<Kept>,
    /// Those that were told. They serve nobody unless they are given back.
    told: Store<Kept>,
    /// Questions on their way whose answers are to be kept.
    awaited: Mutex<HashSet<Key>>,
    /// For how long a login's answer is kept.
    logins: Life,
    /// How old an answer about a topic may be.
    topics: Life,
    clock: Arc<dyn Clock>,
}

/// For how long an answer serves a retry.
#[derive(Clone, Copy)]
struct Life {
    allow: Duration,
    deny: Duration,
}

impl Life {
    /// `cached`: for how long such answers live in the cache.
    fn beside(cached: &Lifetime) -> Self {
        let [allow, deny] = [cached.allow, cached.deny]
            .map(|ttl| if ttl.is_zero() { LIFE } else { ttl.clamp(SHORTEST, LIFE) });
        Self { allow, deny }
    }

    fn of(self, outcome: &Outcome) -> Duration {
        let is_denial = outcome.as_ref().is_ok_and(|answer| answer.verdict == Verdict::Deny);
        if is_denial { self.deny } else { self.allow }
    }
}

#[derive(Clone)]
struct Kept {
    outcome: Outcome,
    /// When it was asked for.
    asked: Instant,
    kept: Instant,
}

impl RetryAnswers {
    /// `logins`, `topics`: for how long such answers are cached.
    #[must_use]
    pub(crate) fn new(clock: Arc<dyn Clock>, logins: &Lifetime, topics: &Lifetime) -> Arc<Self> {
        let [logins, topics] = [logins, topics].map(Life::beside);
        let (answers, told, awaited) = (store(), store(), Mutex::default());
        Arc::new(Self { answers, told, awaited, logins, topics, clock })
    }

    /// For how long the denial of a login is kept.
    pub(crate) fn denials_life(&self) -> Duration {
        self.logins.deny
    }

    /// Keeps what came of a question that was `asked` for then. A failure is worth keeping only where
    /// the retry is to be decided by it, as with `on_error allow`.
    pub(crate) fn keep(&self, key: Key, outcome: Outcome, asked: Instant) {
        self.answers.insert(key, Kept { outcome, asked, kept: self.clock.now() });
    }

    /// Keeps the answer, if one comes of this `Pending`; it was `asked` for then. For a client that has been closed.
    /// `heard` is told what comes of it, on whichever thread.
    pub(crate) fn keep_when_known(
        self: &Arc<Self>,
        key: Key,
        pending: Pending,
        asked: Instant,
        heard: impl FnOnce(&Outcome) + Send + 'static,
    ) {
        lock(&self.awaited).insert(key);
        let answers = Arc::clone(self);
        pending.watch(move |outcome| {
            heard(&outcome);
            let mut awaited = lock(&answers.awaited);
            if awaited.remove(&key) && outcome.is_ok() {
                answers.keep(key, outcome, asked);
            }
        });
    }

    /// Takes what is kept for this question of a login, unless `is_outdated` says of it, and of the time at which it
    /// was asked for, that it does not count any more. Nobody else gets it then.
    #[must_use]
    pub(crate) fn take(
        &self,
        key: &Key,
        is_outdated: impl FnOnce(&Outcome, Instant) -> bool,
    ) -> Option<Outcome> {
        let kept = self.answers.remove(*key)?;
        let life = self.logins.of(&kept.outcome);
        let is_good = self.is_good(&kept, life) && !is_outdated(&kept.outcome, kept.asked);
        is_good.then_some(kept.outcome)
    }

    /// The same about a topic, and notes it as told.
    #[must_use]
    pub(crate) fn lend(
        &self,
        key: &Key,
        is_outdated: impl FnOnce(&Outcome, Instant) -> bool,
    ) -> Option<Outcome> {
        let kept = self.answers.remove(*key)?;
        // A younger answer that is on its way is not needed any more.
        lock(&self.awaited).remove(key);
        let is_good = self.age(&kept) < self.topics.of(&kept.outcome)
            && self.is_good(&kept, LIFE)
            && !is_outdated(&kept.outcome, kept.asked);
        is_good.then(|| {
            self.told.insert(*key, kept.clone());
            kept.outcome
        })
    }

    /// An answer that was `asked` for then is told, which the cache does not keep. Nor is it kept for a retry
    /// any more: its client has come before it.
    pub(crate) fn note_told(&self, key: Key, outcome: Outcome, asked: Instant) {
        let mut awaited = lock(&self.awaited);
        awaited.remove(&key);
        self.answers.remove(key);
        self.told.insert(key, Kept { outcome, asked, kept: self.clock.now() });
    }

    /// The API has answered this question, asked for at that time: what it said before is over.
    pub(crate) fn forget_older(&self, key: &Key, asked: Instant) {
        for store in [&self.answers, &self.told] {
            if store.get(*key).is_some_and(|kept| kept.asked < asked) {
                store.remove(*key);
            }
        }
    }

    /// Keeps what was told, for a client that has been closed since; whether it will do for its next try. What
    /// is half as old as it may be serves until there is a younger answer, for which it is time to ask: else
    /// answers that a client was given one after another would end so, and each end would cost it a try.
    pub(crate) fn give_back(&self, key: &Key) -> bool {
        if lock(&self.awaited).contains(key) {
            return true;
        }
        if let Some(told) = self.told.remove(*key).filter(|told| self.is_good(told, LIFE)) {
            self.answers.insert(*key, told);
        }
        let kept = self.answers.get(*key).filter(|kept| self.is_good(kept, LIFE));
        kept.is_some_and(|kept| self.age(&kept) < self.topics.of(&kept.outcome) / 2)
    }

    fn age(&self, kept: &Kept) -> Duration {
        self.clock.now().duration_since(kept.asked)
    }

    /// Whether what is kept for so long at the most is good still.
    fn is_good(&self, Kept { outcome, kept, .. }: &Kept, life: Duration) -> bool {
        let is_old = self.clock.now().duration_since(*kept) >= life;
        let session_grants =
            outcome.as_ref().ok().and_then(|answer| answer.session_grants.as_ref());
        let expire_at = session_grants.and_then(|session_grants| session_grants.expire_at);
        let has_ended = expire_at.is_some_and(|end| end <= self.clock.unix_time().as_secs());
        !is_old && !has_ended
    }
}

fn store() -> Store<Kept> {
    let limits = Limits {
        most: BYTES,
        time_to_live: Some(LIFE),
        policy: EvictionPolicy::lru(),
        ..Limits::default()
    };
    Store::new(limits, |kept: &Kept| {
        ENTRY_BYTES + kept.outcome.as_ref().map_or(0, crate::answer::Answer::bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, Failure, SessionGrants};
    use crate::clock::{BEGINNING, ManualClock};
    use crate::config::Jitter;

    const KEY: Key = Key::from_number(1);

    /// How long permissions and denials are cached, in seconds.
    fn lasting(allow: u64, deny: u64) -> Lifetime {
        let (allow, deny) = (Duration::from_secs(allow), Duration::from_secs(deny));
        Lifetime { allow, deny, jitter: Jitter::Shorter }
    }

    fn answers() -> (Arc<RetryAnswers>, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (RetryAnswers::new(clock.clone(), &lasting(0, 0), &lasting(0, 0)), clock)
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
    fn what_was_told_serves_the_next_retry_as_well_but_for_no_longer() {
        let (answers, clock) = answers();
        let lend = || answers.lend(&KEY, |_, _| false);
        answers.note_told(KEY, Ok(Answer::ALLOW), clock.now());
        assert_eq!(lend(), None, "nobody was closed");
        for is_young in [true, true, false, false] {
            assert_eq!(answers.give_back(&KEY), is_young);
            assert_eq!(lend(), Some(Ok(Answer::ALLOW)));
            assert_eq!(lend(), None);
            clock.advance(LIFE / 4);
        }
        assert!(!answers.give_back(&KEY));
        assert_eq!(lend(), None);
        answers.keep(KEY, Ok(Answer::ALLOW), clock.now());
        assert_eq!(take(&answers), Some(Ok(Answer::ALLOW)));
        assert!(!answers.give_back(&KEY), "a login's answer serves one");
    }

    #[test]
    fn who_comes_before_the_answer_and_waits_for_it_has_used_it() {
        let (answers, clock) = answers();
        for is_known in [false, true] {
            let (pending, complete) = Pending::for_test();
            answers.keep_when_known(KEY, pending, clock.now(), |_| ());
            if is_known {
                complete(Ok(Answer::ALLOW));
                answers.note_told(KEY, Ok(Answer::ALLOW), clock.now());
            } else {
                answers.note_told(KEY, Ok(Answer::ALLOW), clock.now());
                complete(Ok(Answer::ALLOW));
            }
            assert_eq!(take(&answers), None);
            assert!(answers.give_back(&KEY));
            assert_eq!(take(&answers), Some(Ok(Answer::ALLOW)));
        }
    }

    #[test]
    fn it_is_kept_for_a_while_and_no_longer_than_its_session_grants_say() {
        let (answers, clock) = answers();
        let until = |expire_at| {
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
            (until(BEGINNING + 100), LIFE, false),
        ] {
            answers.keep(KEY, Ok(answer), clock.now());
            clock.advance(after);
            assert_eq!(take(&answers).is_some(), expected);
        }
        answers.keep(KEY, Ok(until(clock.unix_time().as_secs() + 2)), clock.now());
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
    fn an_answer_is_no_older_than_one_in_the_cache_may_be() {
        for (ttl, life) in [(0, 15), (1, 5), (8, 8), (60, 15)] {
            for (cached, answer) in
                [(lasting(ttl, 100), Answer::ALLOW), (lasting(100, ttl), Answer::DENY)]
            {
                let clock = ManualClock::new();
                let answers = RetryAnswers::new(clock.clone(), &cached, &cached);
                for (age, is_good) in [(life - 1, true), (life, false)] {
                    let expected = is_good.then(|| Ok(answer.clone()));
                    let asked = clock.now();
                    clock.advance(Duration::from_secs(age));
                    answers.keep(KEY, Ok(answer.clone()), asked);
                    assert_eq!(answers.lend(&KEY, |_, _| false), expected, "{cached:?}");
                    answers.keep(KEY, Ok(answer.clone()), asked);
                    clock.advance(Duration::from_secs(age));
                    assert_eq!(take(&answers), expected, "{cached:?}");
                }
            }
        }
    }

    #[test]
    fn a_newer_answer_ends_what_was_said_before() {
        let (answers, clock) = answers();
        let asked = clock.now();
        answers.keep(KEY, Ok(Answer::ALLOW), asked);
        answers.note_told(Key::from_number(2), Ok(Answer::ALLOW), asked);
        for key in [KEY, Key::from_number(2)] {
            answers.forget_older(&key, asked);
        }
        assert!(answers.give_back(&Key::from_number(2)));
        answers.forget_older(&KEY, asked + Duration::from_millis(1));
        assert_eq!(take(&answers), None);
    }

    #[test]
    fn of_a_pending_only_an_answer_is_kept() {
        let (answers, clock) = answers();
        for (outcome, expected) in
            [(Ok(Answer::ALLOW), Some(Ok(Answer::ALLOW))), (Err(Failure::TimedOut), None)]
        {
            let (pending, complete) = Pending::for_test();
            assert!(!answers.give_back(&KEY));
            answers.keep_when_known(KEY, pending, clock.now(), |_| ());
            assert!(answers.give_back(&KEY));
            complete(outcome);
            assert_eq!(answers.give_back(&KEY), expected.is_some());
            assert_eq!(take(&answers), expected);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (answers, clock) = answers();
        for number in 0..100_000 {
            answers.keep(Key::from_number(number), Ok(Answer::DENY), clock.now());
            answers.note_told(Key::from_number(number + 100_000), Ok(Answer::DENY), clock.now());
        }
        for store in [&answers.answers, &answers.told] {
            assert!(store.settled().1 <= BYTES);
        }
        // The newest are there.
        assert!(answers.take(&Key::from_number(99_999), |_, _| false).is_some());
    }
}
