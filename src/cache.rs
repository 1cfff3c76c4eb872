//! What the API said, for as long as it may be believed.
//!
//! Only answers are ever stored: a [`crate::answer::Failure`] does not fit in.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::question::Kind;

mod key;
pub use key::{Key, Keyring};

/// What one entry takes of `cache_max_bytes`: the key, the entry, and moka's bookkeeping for both.
const ENTRY_BYTES: u32 = 200;

/// How much of a lifetime jitter may take away, so that entries stored together do not expire
/// together. Jitter only ever shortens: no answer is older than its lifetime.
const JITTER: f64 = 0.10;

/// How long answers live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Permissions to log in.
    pub login: Duration,
    /// Permissions on topics, and who is a superuser.
    pub access: Duration,
    /// Denials of either kind.
    pub deny: Duration,
}

impl Lifetimes {
    fn of(&self, kind: Kind, answer: Answer) -> Duration {
        match (answer, kind) {
            (Answer::Deny, _) => self.deny,
            (Answer::Allow, Kind::Login) => self.login,
            (Answer::Allow, Kind::Superuser | Kind::Access) => self.access,
        }
    }

    fn longest(&self) -> Duration {
        self.login.max(self.access).max(self.deny)
    }
}

/// Answers by key. Holds neither questions nor credentials.
pub struct Cache {
    entries: moka::sync::Cache<Key, Entry>,
    lifetimes: Lifetimes,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy)]
struct Entry {
    answer: Answer,
    /// Kept here rather than in moka, whose clock a test cannot move.
    expires: Instant,
}

impl Cache {
    #[must_use]
    pub fn new(lifetimes: Lifetimes, max_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        let entries = moka::sync::Cache::builder()
            .weigher(|_: &Key, _: &Entry| ENTRY_BYTES)
            .max_capacity(max_bytes)
            // The backstop that lets go of the memory of what nobody asks for any more.
            .time_to_live(lifetimes.longest())
            .build();
        Self { entries, lifetimes, clock }
    }

    /// The answer under this key, if it is still alive.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Answer> {
        let entry = self.entries.get(key)?;
        (self.clock.now() < entry.expires).then_some(entry.answer)
    }

    /// Keeps an answer for its lifetime. One whose lifetime is 0 is not kept, and takes away what
    /// an older answer left.
    pub fn store(&self, key: Key, kind: Kind, answer: Answer) {
        let lifetime = self.lifetimes.of(kind, answer);
        if lifetime.is_zero() {
            self.entries.invalidate(&key);
            return;
        }
        let lived = lifetime.mul_f64(1.0 - JITTER * fastrand::f64());
        self.entries.insert(key, Entry { answer, expires: self.clock.now() + lived });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const LIFETIMES: Lifetimes = Lifetimes {
        login: Duration::from_secs(30),
        access: Duration::from_secs(20),
        deny: Duration::from_secs(5),
    };

    fn cache(lifetimes: Lifetimes) -> (Cache, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (Cache::new(lifetimes, 1 << 20, clock.clone()), clock)
    }

    #[track_caller]
    fn lives(kind: Kind, answer: Answer, lifetime: Duration) {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        cache.store(key, kind, answer);
        clock.advance(lifetime.mul_f64(1.0 - JITTER) - Duration::from_millis(1));
        assert_eq!(cache.get(&key), Some(answer), "gone too early");
        clock.advance(lifetime.mul_f64(JITTER) + Duration::from_millis(2));
        assert_eq!(cache.get(&key), None, "older than its lifetime");
    }

    #[test]
    fn each_kind_of_answer_has_its_own_lifetime() {
        lives(Kind::Login, Answer::Allow, LIFETIMES.login);
        lives(Kind::Access, Answer::Allow, LIFETIMES.access);
        lives(Kind::Superuser, Answer::Allow, LIFETIMES.access);
        for kind in [Kind::Login, Kind::Superuser, Kind::Access] {
            lives(kind, Answer::Deny, LIFETIMES.deny);
        }
    }

    #[test]
    fn entries_stored_together_do_not_expire_together() {
        let (cache, clock) = cache(LIFETIMES);
        for number in 0..1000 {
            cache.store(Key::from_number(number), Kind::Login, Answer::Allow);
        }
        clock.advance(LIFETIMES.login.mul_f64(1.0 - JITTER / 2.0));
        let alive = (0..1000).filter(|n| cache.get(&Key::from_number(*n)).is_some()).count();
        assert!((300..700).contains(&alive), "{alive} of 1000 left at half of the jitter");
    }

    #[test]
    fn a_lifetime_of_zero_keeps_nothing_and_forgets_what_was_kept() {
        let (cache, _) = cache(Lifetimes { deny: Duration::ZERO, ..LIFETIMES });
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, Answer::Allow);
        cache.store(key, Kind::Login, Answer::Deny);
        assert_eq!(cache.get(&key), None);
    }

    #[test]
    fn the_size_is_bounded() {
        let clock = ManualClock::new();
        let cache = Cache::new(LIFETIMES, 100 * u64::from(ENTRY_BYTES), clock);
        for number in 0..10_000 {
            cache.store(Key::from_number(number), Kind::Login, Answer::Allow);
        }
        cache.entries.run_pending_tasks();
        assert!(cache.entries.entry_count() <= 100);
    }
}
