//! Questions that failed recently: one that goes on failing is not asked again for a moment, and none is
//! the first choice for finding out whether a host is back. A question that makes the API fail, whoever
//! causes it, thus costs the API hardly more than one request a second.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::answer::Failure;
use crate::api::Sign;
use crate::cache::Key;
use crate::store::{Limits, Store};

/// How often in a row a question may fail before it is left alone for a moment: a failure is not
/// remembered in an answer's place, so that whoever tries again after the first one is asked about.
const TOLERATED: u32 = 5;

/// How long a question is not asked again then.
const BACK_OFF: Duration = Duration::from_secs(1);

/// How long a question counts as one that failed.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many questions are remembered; of more, those go that are asked for least.
const MOST: u64 = 10_000;

/// What came of a question, when, and how often in a row.
#[derive(Clone)]
struct Failed {
    failure: Failure,
    at: Instant,
    times: u32,
}

/// Failures by the question's key.
pub(crate) struct RecentFailures(Store<Failed>);

impl Default for RecentFailures {
    fn default() -> Self {
        let time_to_live = Some(REMEMBERED);
        Self(Store::new(Limits { most: MOST, time_to_live, ..Limits::default() }, |_| 1))
    }
}

impl RecentFailures {
    /// The API failed to answer this question. Where no question got to the host, none is to blame, and
    /// one that was not asked has not failed.
    pub(crate) fn note(&self, key: Key, failure: &Failure, at: Instant) {
        let has_failed = match failure {
            Failure::NotYet
            | Failure::OutOfService
            | Failure::Overloaded
            | Failure::Stopping
            | Failure::Internal => false,
            failure => Sign::of(failure) != Sign::Away,
        };
        if has_failed {
            let times = self.0.get(key).map_or(0, |before| before.times).saturating_add(1);
            self.0.insert(key, Failed { failure: failure.clone(), at, times });
        }
    }

    /// The API answered this question.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.remove(*key);
    }

    /// The failure by which this question is answered, as long as it is not asked again.
    #[must_use]
    pub(crate) fn back_off(&self, key: &Key, now: Instant) -> Option<Failure> {
        let failed = self.0.get(*key)?;
        let rests = now.saturating_duration_since(failed.at) < BACK_OFF;
        (failed.times >= TOLERATED && rests).then_some(failed.failure)
    }

    /// Whether this question failed when it was last asked, not long ago.
    #[must_use]
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.contains_key(*key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};

    #[test]
    fn a_question_that_goes_on_failing_is_not_asked_again_for_a_second() {
        let (failures, clock) = (RecentFailures::default(), ManualClock::new());
        let (bad, good) = (Key::from_number(1), Key::from_number(2));
        for _ in 0..TOLERATED {
            assert_eq!(failures.back_off(&bad, clock.now()), None);
            failures.note(bad, &Failure::Status(500), clock.now());
            failures.note(good, &Failure::Overloaded, clock.now());
            failures.note(good, &Failure::Refused, clock.now());
        }
        assert_eq!(failures.back_off(&bad, clock.now()), Some(Failure::Status(500)));
        assert_eq!(failures.back_off(&good, clock.now()), None, "it never got to the host");
        clock.advance(BACK_OFF);
        assert_eq!(failures.back_off(&bad, clock.now()), None);
        failures.note(bad, &Failure::Status(500), clock.now());
        assert!(failures.back_off(&bad, clock.now()).is_some(), "it fails still");
        assert!(failures.has(&bad) && !failures.has(&good));
        failures.forget(&bad);
        assert!(!failures.has(&bad));
    }
}
