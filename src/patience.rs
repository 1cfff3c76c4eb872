//! How long the broker may be held up, where Mosquitto offers no way to answer later.
//!
//! One question holds it for `max_block_ms` at most. All of them together may take
//! `max_block_percent` of any second: waits draw on an allowance of that share of a second, which
//! only the time between them restores. So the longest pause, of one wait or of many in a row, is
//! `max_block_ms` or that share of a second, whichever is longer; and over any longer time the
//! broker has the rest of it for everybody else.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::answer::Outcome;
use crate::clock::Clock;
use crate::pool::Asked;
use crate::sync::lock;
use crate::tally::Tally;

/// The allowance of one instance.
pub struct Patience {
    longest: Duration,
    /// Between 0 and 1.
    share: f64,
    allowance: Mutex<Allowance>,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
}

struct Allowance {
    /// Seconds that may still be waited; negative after one long wait has overdrawn it.
    left: f64,
    /// Until when the time between waits has been counted.
    counted_until: Instant,
}

impl Patience {
    /// `percent` is between 0 and 100.
    #[must_use]
    pub fn new(longest: Duration, percent: u8, clock: Arc<dyn Clock>, tally: Arc<Tally>) -> Self {
        let share = f64::from(percent) / 100.0;
        let allowance = Mutex::new(Allowance { left: share, counted_until: clock.now() });
        Self { longest, share, allowance, clock, tally }
    }

    /// The outcome of what was asked, waited for as long as the allowance permits.
    pub fn wait(&self, asked: Asked) -> Outcome {
        match asked {
            Asked::Now(outcome) => outcome,
            Asked::Later(ticket) => {
                let began = self.clock.now();
                let limit = self.limit(began);
                let outcome = ticket.wait(limit);
                self.spend(began, self.clock.now());
                outcome
            }
        }
    }

    /// How long a wait that begins now may be.
    fn limit(&self, now: Instant) -> Duration {
        if self.share >= 1.0 {
            return self.longest;
        }
        let mut allowance = lock(&self.allowance);
        let between = now.duration_since(allowance.counted_until).as_secs_f64();
        let restored = between * self.share / (1.0 - self.share);
        allowance.left = (allowance.left + restored).min(self.share);
        allowance.counted_until = now;
        if allowance.left <= 0.0 {
            return Duration::ZERO;
        }
        // What was waited lately counts against this one too, so that many in a row are no longer
        // than one alone could be.
        let lately = Duration::from_secs_f64(self.share - allowance.left);
        let left = Duration::from_secs_f64(allowance.left);
        self.longest.saturating_sub(lately).max(left).min(self.longest)
    }

    fn spend(&self, began: Instant, ended: Instant) {
        let held = ended.duration_since(began);
        self.tally.held(held);
        let mut allowance = lock(&self.allowance);
        allowance.left -= held.as_secs_f64();
        allowance.counted_until = ended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const LONGEST: Duration = Duration::from_millis(1000);

    fn patience(percent: u8) -> (Patience, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (Patience::new(LONGEST, percent, clock.clone(), Arc::default()), clock)
    }

    /// Waits as long as it may, but no longer than the answer takes; how long that was.
    fn wait(patience: &Patience, clock: &ManualClock, answer_takes: Duration) -> Duration {
        let began = clock.now();
        let waited = patience.limit(began).min(answer_takes);
        clock.advance(waited);
        patience.spend(began, clock.now());
        waited
    }

    #[test]
    fn one_wait_may_be_long_and_others_pay_for_it() {
        let (patience, clock) = patience(50);
        assert_eq!(wait(&patience, &clock, Duration::MAX), LONGEST);
        assert_eq!(wait(&patience, &clock, Duration::MAX), Duration::ZERO);
        clock.advance(LONGEST / 2);
        assert_eq!(wait(&patience, &clock, Duration::MAX), Duration::ZERO, "half is paid back");
        clock.advance(LONGEST / 2);
        assert_eq!(wait(&patience, &clock, Duration::MAX), LONGEST);
    }

    #[test]
    fn many_waits_in_a_row_make_no_longer_pause_than_one_or_their_share() {
        for (percent, longest_pause) in [(10, 1000), (50, 1000), (90, 1000)] {
            for answer_ms in [1, 50, 333, 499, 501, 999] {
                let (patience, clock) = patience(percent);
                let mut pause = Duration::ZERO;
                loop {
                    let waited = wait(&patience, &clock, Duration::from_millis(answer_ms));
                    if waited.is_zero() {
                        break;
                    }
                    pause += waited;
                }
                let bound = Duration::from_millis(longest_pause + 1);
                assert!(pause <= bound, "{percent} %, {answer_ms} ms: {pause:?}");
            }
        }
    }

    #[test]
    fn short_waits_take_their_share_of_a_second_in_a_row() {
        let clock = ManualClock::new();
        let longest = Duration::from_millis(200);
        let tally = Arc::<Tally>::default();
        let patience = Patience::new(longest, 50, clock.clone(), Arc::clone(&tally));
        let mut pause = Duration::ZERO;
        for _ in 0..100 {
            pause += wait(&patience, &clock, Duration::MAX);
        }
        let half_a_second = Duration::from_millis(500);
        assert!(pause >= half_a_second && pause <= half_a_second * 2, "{pause:?}");
        assert_eq!(tally.counts().held, pause);
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
    fn the_whole_time_is_no_bound_and_none_of_it_no_wait() {
        let (patience_of_all, clock) = patience(100);
        for _ in 0..10 {
            assert_eq!(wait(&patience_of_all, &clock, Duration::MAX), LONGEST);
        }
        let (patience, clock) = patience(0);
        clock.advance(Duration::from_secs(100));
        assert_eq!(wait(&patience, &clock, Duration::MAX), Duration::ZERO);
    }
}
