//! A circuit breaker: stops asking a host that is away, and finds out when it is back.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::answer::Failure;
use crate::sync::lock;

/// Over how many different users or topics failures must be spread that one question could have
/// caused by itself: nobody puts a host out of service for others with a question of his own.
const SUBJECTS: usize = 3;

/// In service, it counts consecutive failures; after `failures` of them the host is out of service.
/// Once `rest` has passed it is half-open: one question at a time is let through as a probe. A probe
/// that is answered, and a late answer to an earlier question, put the host back into service.
pub(crate) struct Breaker {
    failures: u64,
    rest: Duration,
    state: Mutex<State>,
    /// How often it was put out of service.
    outages: AtomicU64,
}

enum State {
    InService { failures: u64, away: u64, subjects: Vec<u64> },
    Out { probe_from: Instant, probing: bool },
}

/// What an outcome tells of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    /// It answered, whatever it said.
    There,
    /// It failed, and the question may have been the cause: a proxy that speaks for it, a limit of
    /// time, a connection that was lost.
    Unclear,
    /// No question got there.
    Away,
}

impl Sign {
    /// What this failure tells. An answer that is complete proves that the host is there, also one by
    /// which it fails (408, 425, 429, 500) or that cannot be understood; 502, 503 and 504 are often
    /// said by a proxy in front of it.
    #[must_use]
    pub(crate) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Status(502..=504) | Failure::TimedOut | Failure::ConnectionLost => {
                Self::Unclear
            }
            Failure::Status(_) | Failure::BrokenAnswer(_) => Self::There,
            Failure::UnknownHost | Failure::Refused | Failure::Unreachable | Failure::Tls(_) => {
                Self::Away
            }
            // None of these is a failure of the host.
            Failure::NotYet
            | Failure::OutOfService
            | Failure::Overloaded
            | Failure::Stopping
            | Failure::Internal => Self::Unclear,
        }
    }

    /// What this outcome tells.
    pub(crate) fn of_outcome<T>(outcome: &Result<T, Failure>) -> Self {
        outcome.as_ref().map_or_else(Self::of, |_| Self::There)
    }
}

/// What an outcome changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    OutOfService,
    Back,
}

impl Breaker {
    pub(crate) fn new(failures: u64, rest: Duration) -> Self {
        Self { failures, rest, state: Mutex::new(State::NEW), outages: AtomicU64::new(0) }
    }

    pub(crate) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    pub(crate) fn in_service(&self) -> bool {
        matches!(*lock(&self.state), State::InService { .. })
    }

    /// Whether a question would be let through as a probe. One that `failed_before` proves little, so
    /// it is let through only where no other has come for as long as the host has rested.
    pub(crate) fn wants_probe(&self, now: Instant, failed_before: bool) -> bool {
        lock(&self.state).wants_probe(now, failed_before, self.rest)
    }

    /// Takes on the probe, if one is due. Whoever does must [`Breaker::record`] what came of it.
    pub(crate) fn claim_probe(&self, now: Instant, failed_before: bool) -> bool {
        let mut state = lock(&self.state);
        let wanted = state.wants_probe(now, failed_before, self.rest);
        if let (true, State::Out { probing, .. }) = (wanted, &mut *state) {
            *probing = true;
        }
        wanted
    }

    /// Counts an outcome of a question about this subject, a user or a topic.
    pub(crate) fn record(&self, now: Instant, sign: Sign, subject: u64) -> Option<Change> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::InService { failures, .. } if sign == Sign::There => {
                if *failures > 0 {
                    *state = State::NEW;
                }
            }
            State::InService { failures, away, subjects } => {
                *failures += 1;
                *away += u64::from(sign == Sign::Away);
                if subjects.len() < SUBJECTS && !subjects.contains(&subject) {
                    subjects.push(subject);
                }
                // What one question did adds nothing to what happens to others.
                let is_the_hosts = *failures >= self.failures && subjects.len() >= SUBJECTS;
                if *away >= self.failures || is_the_hosts {
                    *state = State::Out { probe_from: now + self.rest, probing: false };
                    self.outages.fetch_add(1, Ordering::Relaxed);
                    return Some(Change::OutOfService);
                }
            }
            State::Out { .. } if sign == Sign::There => {
                *state = State::NEW;
                return Some(Change::Back);
            }
            // A late failure proves nothing new; a probe that failed begins the next rest.
            State::Out { probing: false, .. } => {}
            State::Out { .. } => {
                *state = State::Out { probe_from: now + self.rest, probing: false };
            }
        }
        None
    }
}

impl State {
    const NEW: Self = Self::InService { failures: 0, away: 0, subjects: Vec::new() };

    fn wants_probe(&self, now: Instant, failed_before: bool, rest: Duration) -> bool {
        match self {
            Self::InService { .. } => false,
            Self::Out { probe_from, probing } => {
                let from = if failed_before { *probe_from + rest } else { *probe_from };
                !probing && now >= from
            }
        }
    }
}

/// How often there may be a trial, and no sooner.
const TRIALS_EVERY: Duration = Duration::from_secs(1);

/// A question that is asked though no host is in service. Unlike a probe that fails it postpones nothing.
#[derive(Default)]
pub(crate) struct Trial {
    last: Option<Instant>,
    is_claimed: bool,
}

impl Trial {
    /// Whether it is time for one, which is then claimed.
    pub(crate) fn claim(&mut self, now: Instant) -> bool {
        let is_time = self.last.is_none_or(|last| now.duration_since(last) >= TRIALS_EVERY);
        if is_time {
            *self = Self { last: Some(now), is_claimed: true };
        }
        is_time
    }

    /// Whether one is claimed, which then is made.
    pub(crate) fn take(&mut self) -> bool {
        std::mem::take(&mut self.is_claimed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    const REST: Duration = Duration::from_secs(5);

    /// Out of service since now.
    fn out(clock: &ManualClock) -> Breaker {
        let breaker = Breaker::new(1, REST);
        assert_eq!(breaker.record(clock.now(), Sign::Away, 1), Some(Change::OutOfService));
        breaker
    }

    #[test]
    fn there_is_one_trial_a_second_and_one_that_fails_postpones_no_probe() {
        let (clock, mut trial) = (ManualClock::new(), Trial::default());
        let breaker = out(&clock);
        for _ in 0..4 {
            assert!(!trial.take());
            assert!(trial.claim(clock.now()) && !trial.claim(clock.now()));
            assert!(trial.take() && !trial.take());
            assert_eq!(breaker.record(clock.now(), Sign::Unclear, 1), None);
            clock.advance(TRIALS_EVERY);
        }
        clock.advance(TRIALS_EVERY);
        assert!(breaker.wants_probe(clock.now(), false), "as if there had been none");
        assert_eq!(breaker.record(clock.now(), Sign::There, 1), Some(Change::Back));
    }

    #[test]
    fn consecutive_failures_put_it_out_of_service_and_an_answer_between_starts_over() {
        let (breaker, now) = (Breaker::new(3, REST), ManualClock::new().now());
        for sign in [Sign::Away, Sign::Away, Sign::There, Sign::Away, Sign::Away] {
            assert_eq!(breaker.record(now, sign, 1), None);
            assert!(breaker.in_service());
        }
        assert_eq!(breaker.record(now, Sign::Away, 1), Some(Change::OutOfService));
        assert!(!breaker.in_service());
        assert_eq!(breaker.outages(), 1);
    }

    #[test]
    fn failures_of_fewer_than_three_users_or_topics_are_theirs() {
        let (breaker, now) = (Breaker::new(2, REST), ManualClock::new().now());
        for number in 0..100 {
            assert_eq!(breaker.record(now, Sign::Unclear, number % 2), None);
        }
        assert_eq!(breaker.record(now, Sign::There, 9), None);
        for number in 0..100 {
            assert_eq!(
                breaker.record(now, Sign::Unclear, 2 + number % 2),
                None,
                "an answer between"
            );
        }
        assert_eq!(breaker.record(now, Sign::Unclear, 4), Some(Change::OutOfService));
    }

    #[test]
    fn what_one_question_did_adds_nothing_to_a_connection_that_is_refused() {
        let (breaker, now) = (Breaker::new(3, REST), ManualClock::new().now());
        for _ in 0..100 {
            assert_eq!(breaker.record(now, Sign::Unclear, 1), None);
        }
        assert_eq!(breaker.record(now, Sign::Away, 2), None);
        assert_eq!(breaker.record(now, Sign::Away, 2), None);
        assert_eq!(breaker.record(now, Sign::Away, 2), Some(Change::OutOfService));
    }

    #[test]
    fn what_is_answered_proves_that_the_host_is_there_whatever_it_says() {
        for status in [400, 408, 425, 429, 500, 501] {
            assert_eq!(Sign::of(&Failure::Status(status)), Sign::There, "{status}");
        }
        for status in [502, 503, 504] {
            assert_eq!(Sign::of(&Failure::Status(status)), Sign::Unclear, "{status}");
        }
        assert_eq!(Sign::of(&Failure::BrokenAnswer(String::new())), Sign::There);
        assert_eq!(Sign::of(&Failure::Refused), Sign::Away);
    }

    proptest! {
        /// Whatever happens to the questions of two users, a third's are asked.
        #[test]
        fn two_users_change_nothing_for_others(
            failures in 1..6_u64,
            signs in prop::collection::vec((0..3_usize, 0..2_u64), 0..200),
        ) {
            let (breaker, now) = (Breaker::new(failures, REST), ManualClock::new().now());
            for (sign, subject) in signs {
                let sign = [Sign::There, Sign::Unclear, Sign::Unclear][sign];
                prop_assert_eq!(breaker.record(now, sign, subject), None);
                prop_assert!(breaker.in_service());
            }
        }
    }

    #[test]
    fn one_probe_at_a_time_after_the_rest_decides() {
        let clock = ManualClock::new();
        let breaker = out(&clock);
        assert!(
            !breaker.wants_probe(clock.now(), false) && !breaker.claim_probe(clock.now(), false)
        );
        clock.advance(REST);
        assert!(breaker.wants_probe(clock.now(), false));
        assert!(breaker.claim_probe(clock.now(), false));
        assert!(
            !breaker.wants_probe(clock.now(), false) && !breaker.claim_probe(clock.now(), false)
        );
        assert_eq!(breaker.record(clock.now(), Sign::Unclear, 1), None);
        assert!(!breaker.wants_probe(clock.now(), false), "the rest begins anew");
        clock.advance(REST);
        assert!(breaker.claim_probe(clock.now(), false));
        assert_eq!(breaker.record(clock.now(), Sign::There, 1), Some(Change::Back));
        assert!(breaker.in_service());
    }

    #[test]
    fn a_question_that_failed_before_is_a_probe_only_where_no_other_comes() {
        let clock = ManualClock::new();
        let breaker = out(&clock);
        clock.advance(REST);
        assert!(!breaker.claim_probe(clock.now(), true) && breaker.wants_probe(clock.now(), false));
        clock.advance(REST);
        assert!(breaker.claim_probe(clock.now(), true));
    }

    #[test]
    fn a_late_outcome_neither_prolongs_the_rest_nor_is_ignored_if_it_is_an_answer() {
        let clock = ManualClock::new();
        let breaker = out(&clock);
        clock.advance(REST);
        assert_eq!(breaker.record(clock.now(), Sign::Away, 1), None);
        assert!(breaker.wants_probe(clock.now(), false));
        assert_eq!(breaker.record(clock.now(), Sign::There, 1), Some(Change::Back));
    }
}
