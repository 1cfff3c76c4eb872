//! How long the broker may be held up, where Mosquitto offers no way to answer later.
//!
//! One question holds it for `max_block_ms` at most. All of them together may take
//! `max_block_percent` of the time: waits draw on an allowance that grows by that share of every
//! second, up to one second's worth. A wait may begin while anything is left, and overdraw; then
//! nothing waits until the allowance has grown past zero again. So the longest single pause is
//! `max_block_ms`, and the share holds over any longer time.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::answer::Outcome;
use crate::clock::Clock;
use crate::pool::Asked;
use crate::sync::lock;

/// The allowance of one instance.
pub struct Patience {
    longest: Duration,
    /// Between 0 and 1.
    share: f64,
    allowance: Mutex<Allowance>,
    clock: Arc<dyn Clock>,
}

struct Allowance {
    /// Seconds that may still be waited; negative after an overdraft.
    left: f64,
    counted_at: Instant,
}

impl Patience {
    /// `percent` is between 0 and 100.
    #[must_use]
    pub fn new(longest: Duration, percent: u8, clock: Arc<dyn Clock>) -> Self {
        let share = f64::from(percent) / 100.0;
        let allowance = Mutex::new(Allowance { left: share, counted_at: clock.now() });
        Self { longest, share, allowance, clock }
    }

    /// The outcome of what was asked, waited for as long as the allowance permits.
    pub fn wait(&self, asked: Asked) -> Outcome {
        match asked {
            Asked::Now(outcome) => outcome,
            Asked::Later(ticket) => {
                let began = self.clock.now();
                let limit = self.limit(began);
                let outcome = ticket.wait(limit);
                if !limit.is_zero() {
                    self.spend(self.clock.now().duration_since(began));
                }
                outcome
            }
        }
    }

    fn limit(&self, now: Instant) -> Duration {
        let mut allowance = lock(&self.allowance);
        let grown = now.duration_since(allowance.counted_at).as_secs_f64() * self.share;
        allowance.left = (allowance.left + grown).min(self.share);
        allowance.counted_at = now;
        if allowance.left > 0.0 { self.longest } else { Duration::ZERO }
    }

    fn spend(&self, waited: Duration) {
        lock(&self.allowance).left -= waited.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const LONGEST: Duration = Duration::from_millis(1000);

    fn patience(percent: u8) -> (Patience, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (Patience::new(LONGEST, percent, clock.clone()), clock)
    }

    /// Waits as long as it may, but no longer than the answer takes; how long that was.
    fn wait(patience: &Patience, clock: &ManualClock, answer_takes: Duration) -> Duration {
        let waited = patience.limit(clock.now()).min(answer_takes);
        clock.advance(waited);
        patience.spend(waited);
        waited
    }

    #[test]
    fn one_wait_is_as_long_as_it_may_be_and_the_next_pays_for_it() {
        let (patience, clock) = patience(50);
        assert_eq!(wait(&patience, &clock, Duration::MAX), LONGEST);
        assert_eq!(wait(&patience, &clock, Duration::MAX), Duration::ZERO);
        clock.advance(Duration::from_millis(1));
        assert_eq!(wait(&patience, &clock, Duration::MAX), LONGEST);
    }

    #[test]
    fn a_storm_takes_its_share_and_no_more() {
        for percent in [10, 50, 90] {
            let (patience, clock) = patience(percent);
            let begin = clock.now();
            let mut waited = Duration::ZERO;
            while clock.now().duration_since(begin) < Duration::from_secs(100) {
                waited += wait(&patience, &clock, Duration::from_millis(50));
                clock.advance(Duration::from_millis(1));
            }
            let share = waited.as_secs_f64() / 100.0;
            let allowed = f64::from(percent) / 100.0;
            assert!((share - allowed).abs() < 0.02, "{share} of {allowed}");
        }
    }

    #[test]
    fn a_share_of_nothing_never_waits() {
        let (patience, clock) = patience(0);
        clock.advance(Duration::from_secs(100));
        assert_eq!(wait(&patience, &clock, Duration::MAX), Duration::ZERO);
    }
}
