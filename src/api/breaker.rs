//! Stops asking an endpoint that keeps failing, and finds out when it is back.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// A circuit breaker. In service, it counts consecutive failures; after `failures` of them the
/// endpoint is out of service. Once `rest` has passed, one question at a time is let through as a
/// probe; one that is answered, and a straggler that is, puts it back into service.
pub struct Breaker {
    failures: u64,
    rest: Duration,
    state: Mutex<State>,
    /// How often it was put out of service.
    outages: AtomicU64,
}

enum State {
    InService { failures: u64 },
    Out { probe_from: Instant, probing: bool },
}

/// What an outcome changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    OutOfService,
    Back,
}

impl Breaker {
    pub fn new(failures: u64, rest: Duration) -> Self {
        let state = Mutex::new(State::InService { failures: 0 });
        Self { failures, rest, state, outages: AtomicU64::new(0) }
    }

    pub fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    pub fn in_service(&self) -> bool {
        matches!(*lock(&self.state), State::InService { .. })
    }

    /// Whether a probe is due and nobody is at it.
    pub fn wants_probe(&self, now: Instant) -> bool {
        match *lock(&self.state) {
            State::InService { .. } => false,
            State::Out { probe_from, probing } => !probing && now >= probe_from,
        }
    }

    /// Takes on the probe, if one is due. Whoever does must [`Breaker::record`] what came of it.
    pub fn claim_probe(&self, now: Instant) -> bool {
        match &mut *lock(&self.state) {
            State::Out { probe_from, probing } if !*probing && now >= *probe_from => {
                *probing = true;
                true
            }
            _ => false,
        }
    }

    /// Counts an outcome.
    pub fn record(&self, now: Instant, answered: bool) -> Option<Change> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::InService { failures } if answered => *failures = 0,
            State::InService { failures } => {
                *failures += 1;
                if *failures >= self.failures {
                    *state = State::Out { probe_from: now + self.rest, probing: false };
                    self.outages.fetch_add(1, Ordering::Relaxed);
                    return Some(Change::OutOfService);
                }
            }
            State::Out { .. } if answered => {
                *state = State::InService { failures: 0 };
                return Some(Change::Back);
            }
            // A straggler of before proves nothing new; a probe that failed begins the next rest.
            State::Out { probing: false, .. } => {}
            State::Out { .. } => {
                *state = State::Out { probe_from: now + self.rest, probing: false };
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};

    const REST: Duration = Duration::from_secs(5);

    #[test]
    fn consecutive_failures_put_it_out_of_service_and_an_answer_between_starts_over() {
        let (breaker, now) = (Breaker::new(3, REST), ManualClock::new().now());
        for answered in [false, false, true, false, false] {
            assert_eq!(breaker.record(now, answered), None);
            assert!(breaker.in_service());
        }
        assert_eq!(breaker.record(now, false), Some(Change::OutOfService));
        assert!(!breaker.in_service());
        assert_eq!(breaker.outages(), 1);
    }

    #[test]
    fn one_probe_at_a_time_after_the_rest_decides() {
        let clock = ManualClock::new();
        let breaker = Breaker::new(1, REST);
        breaker.record(clock.now(), false);
        assert!(!breaker.wants_probe(clock.now()) && !breaker.claim_probe(clock.now()));
        clock.advance(REST);
        assert!(breaker.wants_probe(clock.now()));
        assert!(breaker.claim_probe(clock.now()));
        assert!(!breaker.wants_probe(clock.now()) && !breaker.claim_probe(clock.now()));
        assert_eq!(breaker.record(clock.now(), false), None);
        assert!(!breaker.wants_probe(clock.now()), "the rest begins anew");
        clock.advance(REST);
        assert!(breaker.claim_probe(clock.now()));
        assert_eq!(breaker.record(clock.now(), true), Some(Change::Back));
        assert!(breaker.in_service());
    }

    #[test]
    fn a_straggler_neither_prolongs_the_rest_nor_is_ignored_if_it_is_answered() {
        let clock = ManualClock::new();
        let breaker = Breaker::new(1, REST);
        breaker.record(clock.now(), false);
        clock.advance(REST);
        assert_eq!(breaker.record(clock.now(), false), None);
        assert!(breaker.wants_probe(clock.now()));
        assert_eq!(breaker.record(clock.now(), true), Some(Change::Back));
    }
}
