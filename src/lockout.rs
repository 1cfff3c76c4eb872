//! Refuses, unasked, whoever the API has denied too often.
//!
//! Counted is by address and username together: whoever guesses at a user's password keeps neither
//! that user out, who comes from elsewhere, nor others behind the same address.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::sync::lock;

/// How many pairs of address and username are remembered; the ones not seen for longest go first.
const PAIRS: u64 = 100_000;

/// A hash of an address and a username under a random key: names may be long, and hashes are not.
type Pair = u64;

/// Denials of late.
pub struct Lockout {
    most: usize,
    window: Duration,
    denials: moka::sync::Cache<Pair, Arc<Mutex<VecDeque<Instant>>>>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
}

impl Lockout {
    /// Whoever was denied `most` times within the `window` is refused until the first of them is
    /// older than that. 0: nobody is.
    #[must_use]
    pub fn new(most: usize, window: Duration, clock: Arc<dyn Clock>) -> Self {
        let denials = moka::sync::Cache::builder().max_capacity(PAIRS).time_to_idle(window).build();
        Self { most, window, denials, hasher: RandomState::new(), clock }
    }

    /// Whether this pair is refused.
    #[must_use]
    pub fn refuses(&self, address: Option<&str>, username: &str) -> bool {
        let Some(pair) = self.pair(address, username) else { return false };
        let Some(denials) = self.denials.get(&pair) else { return false };
        let mut denials = lock(&denials);
        self.forget_old(&mut denials);
        denials.len() >= self.most
    }

    /// The API has denied this pair; whether it is refused from now on.
    pub fn denied(&self, address: Option<&str>, username: &str) -> bool {
        let Some(pair) = self.pair(address, username) else { return false };
        let denials = self.denials.get_with(pair, Arc::default);
        let mut denials = lock(&denials);
        self.forget_old(&mut denials);
        denials.push_back(self.clock.now());
        // Many at once may be denied after the last that counts.
        while denials.len() > self.most {
            denials.pop_front();
        }
        denials.len() >= self.most
    }

    /// The API has let this pair in.
    pub fn let_in(&self, address: Option<&str>, username: &str) {
        if let Some(pair) = self.pair(address, username) {
            self.denials.invalidate(&pair);
        }
    }

    fn pair(&self, address: Option<&str>, username: &str) -> Option<Pair> {
        let address = address.filter(|_| self.most > 0)?;
        Some(self.hasher.hash_one((address, username)))
    }

    fn forget_old(&self, denials: &mut VecDeque<Instant>) {
        let now = self.clock.now();
        while denials.front().is_some_and(|at| now.duration_since(*at) >= self.window) {
            denials.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HERE: Option<&str> = Some("192.0.2.7");
    const WINDOW: Duration = Duration::from_secs(60);

    fn lockout(most: usize) -> (Lockout, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (Lockout::new(most, WINDOW, clock.clone()), clock)
    }

    #[test]
    fn whoever_is_denied_too_often_is_refused_for_a_while() {
        let (lockout, clock) = lockout(3);
        for expected in [false, false, true] {
            assert!(!lockout.refuses(HERE, "ann"));
            assert_eq!(lockout.denied(HERE, "ann"), expected);
            clock.advance(Duration::from_secs(10));
        }
        assert!(lockout.refuses(HERE, "ann"));
        assert!(!lockout.refuses(HERE, "ben") && !lockout.refuses(Some("192.0.2.8"), "ann"));
        clock.advance(WINDOW - Duration::from_secs(31));
        assert!(lockout.refuses(HERE, "ann"));
        clock.advance(Duration::from_secs(1));
        assert!(!lockout.refuses(HERE, "ann"), "the first denial is too long ago");
    }

    #[test]
    fn whoever_gets_in_begins_anew() {
        let (lockout, _) = lockout(2);
        lockout.denied(HERE, "ann");
        lockout.let_in(HERE, "ann");
        assert!(!lockout.denied(HERE, "ann"));
    }

    #[test]
    fn without_a_limit_or_an_address_nobody_is_refused() {
        let (off, _) = lockout(0);
        let (on, _) = lockout(1);
        for _ in 0..100 {
            assert!(!off.denied(HERE, "ann") && !off.refuses(HERE, "ann"));
            assert!(!on.denied(None, "ann") && !on.refuses(None, "ann"));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (lockout, _) = lockout(1);
        for number in 0..2 * PAIRS {
            lockout.denied(HERE, &number.to_string());
        }
        lockout.denials.run_pending_tasks();
        assert!(lockout.denials.entry_count() <= PAIRS);
    }
}
