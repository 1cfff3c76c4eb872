//! The one place where an outcome becomes a decision.

#![forbid(unsafe_code)]

use crate::answer::{Decision, Failure, Outcome, Verdict};
use crate::question::Kind;

/// The option `on_error`: what follows when the API fails and nothing is cached.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum OnError {
    #[default]
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

/// The same about a topic where it is asked first whether the user is a superuser: a yes of the rest is
/// final without that. To any other answer the superuser route, if it failed, might have said yes, so
/// that `on_error` decides, with one limit: what the API denies, by a rule or by its route, is not left to
/// the broker's other means, which may allow it.
#[must_use]
pub(crate) fn decide_access(
    superuser: Option<&Failure>,
    outcome: &Outcome,
    on_error: OnError,
) -> (Decision, DecidedBy) {
    let rest = decide(Kind::Access, outcome, on_error);
    let (Ok(answer), Some(failure)) = (outcome, superuser) else {
        return (rest, DecidedBy::Outcome);
    };
    match (answer.verdict, on_error) {
        (Verdict::Allow, _) | (Verdict::Deny, OnError::Defer) => (rest, DecidedBy::Outcome),
        _ => (
            decide(Kind::Superuser, &Err(failure.clone()), on_error),
            DecidedBy::SuperuserFailure(failure.clone()),
        ),
    }
}

/// What a decision about a topic rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DecidedBy {
    Outcome,
    /// Nobody knows whether the user is a superuser.
    SuperuserFailure(Failure),
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
    fn where_the_superuser_route_fails_no_denial_becomes_anybody_elses_yes() {
        use Decision::{Allow, Defer, Deny, Unavailable};
        let failed = Failure::Refused;
        let decide = |outcome: Outcome| {
            ON_ERROR.map(|on_error| decide_access(Some(&failed), &outcome, on_error).0)
        };
        assert_eq!(decide(Ok(Answer::ALLOW)), [Allow; 3]);
        assert_eq!(decide(Ok(Answer::DENY)), [Unavailable, Deny, Allow]);
        assert_eq!(decide(Ok(Answer::IGNORE)), [Unavailable, Defer, Allow]);
        assert_eq!(decide(Err(Failure::TimedOut)), [Unavailable, Defer, Allow]);
        let known =
            |outcome: Outcome| ON_ERROR.map(|on_error| decide_access(None, &outcome, on_error).0);
        assert_eq!(known(Ok(Answer::DENY)), [Deny; 3]);
        assert_eq!(known(Ok(Answer::IGNORE)), [Defer; 3]);
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
