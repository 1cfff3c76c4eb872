//! The one place where an outcome becomes a decision.

#![forbid(unsafe_code)]

use crate::answer::{Answer, Decision, Outcome};

/// The option `on_error`: what follows when the API fails and nothing is cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    Deny,
    Defer,
    Allow,
}

/// Turns what the API said, or that it failed, into what the broker is told.
#[must_use]
pub fn decide(outcome: &Outcome, on_error: OnError) -> Decision {
    match (outcome, on_error) {
        (Ok(Answer::Allow), _) | (Err(_), OnError::Allow) => Decision::Allow,
        (Ok(Answer::Deny), _) => Decision::Deny,
        (Err(_), OnError::Defer) => Decision::Defer,
        (Err(_), OnError::Deny) => Decision::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Failure;

    #[test]
    fn an_answer_is_final_whatever_on_error_says() {
        for on_error in [OnError::Deny, OnError::Defer, OnError::Allow] {
            assert_eq!(decide(&Ok(Answer::Allow), on_error), Decision::Allow);
            assert_eq!(decide(&Ok(Answer::Deny), on_error), Decision::Deny);
        }
    }

    #[test]
    fn a_failure_is_never_a_denial() {
        let failed = Err(Failure::Refused);
        assert_eq!(decide(&failed, OnError::Deny), Decision::Unavailable);
        assert_eq!(decide(&failed, OnError::Defer), Decision::Defer);
        assert_eq!(decide(&failed, OnError::Allow), Decision::Allow);
    }
}
