//! Refuses, unasked, whoever the API has denied too often.
//!
//! Counted is by address and username together: whoever guesses at a user's password keeps neither
//! that user out, who comes from elsewhere, nor others behind the same address. Where the address is not
//! known, the username alone counts.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;

use crate::clock::{Clock, millis};
use crate::store::{Limits, Store};

/// How much memory all that is remembered may take, in bytes; pairs of address and username that were not
/// seen for longest go first.
const MOST_BYTES: u64 = 32 << 20;

/// What one pair takes beside the times of its denials.
const PAIR_BYTES: usize = 310;

/// A hash of an address and a username under a random key: names may be long, and hashes are not.
type Pair = u64;

/// Denials of late.
pub(crate) struct Lockout {
    most: usize,
    window: Duration,
    denials: Store<Times>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    began: Instant,
}

/// When a pair was denied, in milliseconds since the beginning; the oldest first.
type Times = Arc<[u64]>;

fn bytes(times: &Times) -> usize {
    PAIR_BYTES + size_of_val(&**times)
}

impl Lockout {
    /// Whoever was denied `most` times within the `window` is refused until the first of them is
    /// older than that. 0: nobody is.
    #[must_use]
    pub(crate) fn new(most: usize, window: Duration, clock: Arc<dyn Clock>) -> Self {
        Self::within(MOST_BYTES, most, window, clock)
    }

    fn within(most_bytes: u64, most: usize, window: Duration, clock: Arc<dyn Clock>) -> Self {
        let limits = Limits {
            most: most_bytes,
            time_to_idle: Some(window),
            policy: EvictionPolicy::lru(),
            ..Limits::default()
        };
        let denials = Store::new(limits, bytes);
        let began = clock.now();
        Self { most, window, denials, hasher: RandomState::new(), clock, began }
    }

    /// Whether this pair is refused.
    #[must_use]
    pub(crate) fn refuses(&self, address: Option<IpAddr>, username: &str) -> bool {
        let Some(pair) = self.pair(address, username) else { return false };
        let Some(times) = self.denials.get(pair) else { return false };
        self.of_late(&times).len() >= self.most
    }

    /// The API has denied this pair; whether it is refused from now on.
    pub(crate) fn denied(&self, address: Option<IpAddr>, username: &str) -> bool {
        let Some(pair) = self.pair(address, username) else { return false };
        let now = self.millis(self.clock.now());
        // Another thread may add to it at the same time.
        let times = self.denials.upsert(pair, |known| {
            let known = known.unwrap_or_default();
            let of_late = self.of_late(&known);
            // Many at once may be denied after the last that counts.
            let kept = &of_late[of_late.len().saturating_sub(self.most - 1)..];
            kept.iter().copied().chain([now]).collect()
        });
        times.is_some_and(|times| times.len() >= self.most)
    }

    /// The API has let this pair in.
    pub(crate) fn let_in(&self, address: Option<IpAddr>, username: &str) {
        if let Some(pair) = self.pair(address, username) {
            self.denials.remove(pair);
        }
    }

    fn pair(&self, address: Option<IpAddr>, username: &str) -> Option<Pair> {
        (self.most > 0).then(|| self.hasher.hash_one((address, username)))
    }

    /// Those of the times that are not too long ago.
    fn of_late<'a>(&self, times: &'a [u64]) -> &'a [u64] {
        let now = self.millis(self.clock.now());
        let window = millis(self.window);
        &times[times.partition_point(|at| now.saturating_sub(*at) >= window)..]
    }

    fn millis(&self, time: Instant) -> u64 {
        millis(time.duration_since(self.began))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::clock::ManualClock;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    const ELSEWHERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8)));
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
        assert!(!lockout.refuses(HERE, "ben") && !lockout.refuses(ELSEWHERE, "ann"));
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
    fn without_a_limit_nobody_is_refused_and_without_an_address_a_name_is() {
        let (off, _) = lockout(0);
        let (on, _) = lockout(1);
        for _ in 0..100 {
            assert!(!off.denied(HERE, "ann") && !off.refuses(HERE, "ann"));
            assert!(on.denied(None, "ann") && on.refuses(None, "ann"));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_in_bytes_however_many_denials_count() {
        let most_bytes = 1 << 20;
        let lockout = Lockout::within(most_bytes, 1000, WINDOW, ManualClock::new());
        for user in 0..1000 {
            let denials = if user % 4 == 0 { 1001 } else { 1 };
            (0..denials).for_each(|_| {
                lockout.denied(HERE, &user.to_string());
            });
        }
        let (entries, bytes) = lockout.denials.settled();
        assert!((most_bytes / 2..=most_bytes).contains(&bytes), "{bytes}");
        assert!(entries.iter().all(|times| times.len() <= 1000));
        assert!(lockout.refuses(HERE, "996") && !lockout.refuses(HERE, "999"));
    }

    #[test]
    fn a_flood_of_other_names_does_not_end_what_counts_for_one_that_is_seen() {
        let lockout = Lockout::within(1 << 20, 3, WINDOW, ManualClock::new());
        for number in 0..20_000 {
            lockout.denied(HERE, &number.to_string());
            if number % 500 == 0 {
                assert_eq!(lockout.refuses(HERE, "ann"), number > 2000);
            }
            if number % 1000 == 0 && number < 3000 {
                lockout.denied(HERE, "ann");
            }
        }
        assert!(lockout.refuses(HERE, "ann"));
    }

    #[test]
    fn denials_on_several_threads_all_count() {
        let (lockout, _) = lockout(400);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..100).for_each(|_| {
                        lockout.denied(HERE, "ann");
                    });
                });
            }
        });
        assert!(lockout.refuses(HERE, "ann"));
    }
}
