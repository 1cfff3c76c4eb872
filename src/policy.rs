//! The one place where an outcome becomes a decision.

#![forbid(unsafe_code)]

use crate::answer::{Decision, Failure, Outcome, Verdict};
use crate::question::Kind;

/// The option `on_error`: what follows when the API fails and nothing is cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    Deny,
    Defer,
    Allow,
}

/// Turns what the API said, or that it failed, into what the broker is told.
///
/// A login whose answer is merely late is never let in or passed on by `on_error`: the client
/// tries again, and the answer is there by then. A check cannot be tried again.
#[must_use]
pub fn decide(kind: Kind, outcome: &Outcome, on_error: OnError) -> Decision {
    match (outcome, kind, on_error) {
        (Ok(answer), _, _) => match answer.verdict {
            Verdict::Allow => Decision::Allow,
            Verdict::Deny => Decision::Deny,
            Verdict::Ignore => Decision::Defer,
        },
        (Err(Failure::NotYet), Kind::Login, _) => Decision::Unavailable,
        (Err(_), _, OnError::Allow) => Decision::Allow,
        (Err(_), _, OnError::Defer) => Decision::Defer,
        (Err(_), _, OnError::Deny) => Decision::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    const ON_ERROR: [OnError; 3] = [OnError::Deny, OnError::Defer, OnError::Allow];

    #[test]
    fn an_answer_is_final_whatever_on_error_says() {
        for kind in [Kind::Login, Kind::Access] {
            for on_error in ON_ERROR {
                assert_eq!(decide(kind, &Ok(Answer::ALLOW), on_error), Decision::Allow);
                assert_eq!(decide(kind, &Ok(Answer::DENY), on_error), Decision::Deny);
                assert_eq!(decide(kind, &Ok(Answer::IGNORE), on_error), Decision::Defer);
            }
        }
    }

    #[test]
    fn a_failure_is_never_a_denial() {
        for kind in [Kind::Login, Kind::Access] {
            assert_eq!(
                ON_ERROR.map(|on_error| decide(kind, &Err(Failure::Refused), on_error)),
                [Decision::Unavailable, Decision::Defer, Decision::Allow]
            );
        }
    }

    #[test]
    fn a_late_answer_lets_no_login_in_and_counts_as_a_failure_for_a_check() {
        let late = Err(Failure::NotYet);
        for on_error in ON_ERROR {
            assert_eq!(decide(Kind::Login, &late, on_error), Decision::Unavailable);
        }
        assert_eq!(decide(Kind::Access, &late, OnError::Allow), Decision::Allow);
    }
}
