//! What follows for a question that nobody can decide: a failure is not a denial.

#![forbid(unsafe_code)]

use std::sync::Arc;

use log::Level;

use super::access::{AccessReply, Check, Who, is_connected};
use super::{Plugin, Waited};
use crate::answer::{Failure, Outcome};
use crate::block_budget::{Bound, CLIENT_BURST, Payer};
use crate::config::AclUnavailable;
use crate::files::Files;
use crate::policy::OnError;
use crate::pool::Asked;
use crate::question::{About, Access, Question};
use crate::stats::Undecided;
use crate::trace::{TraceId, mark};

impl Plugin {
    /// What the client sees of a check that nobody can decide. The broker ends the connection of whoever
    /// publishes or subscribes if it is told so; then nothing is acknowledged that was not published, no
    /// filter is refused that the API would have allowed, and the client asks again with the answer at
    /// hand. A publish with QoS 0 may be lost (MQTT 5.0, section 4.3.1).
    pub(super) fn reply_to_undecided(&self, check: &Check<'_>) -> AccessReply {
        let what = self.undecided(check);
        self.stats.undecided(what);
        match what {
            Undecided::SubscribeClosed | Undecided::PublishClosed => AccessReply::Close,
            Undecided::PublishDropped | Undecided::Denied => AccessReply::Deny,
        }
    }

    fn undecided(&self, check: &Check<'_>) -> Undecided {
        let closes = self.config.acl_unavailable == AclUnavailable::Close
            && check.on_broker_thread
            // A stand-in has no connection of its own.
            && is_connected(check.client);
        match (check.action.access, check.action.qos) {
            (Access::Subscribe, _) if closes => Undecided::SubscribeClosed,
            (Access::Write, 0) => Undecided::PublishDropped,
            (Access::Write, _) if closes => Undecided::PublishClosed,
            _ => Undecided::Denied,
        }
    }

    /// Says once a second that there was no answer, why, and what is lost for that. What the API itself
    /// did is said where it was asked.
    pub(super) fn report_undecided(
        &self,
        failure: &Failure,
        (bound, trace): (Bound, Option<TraceId>),
        who: Who<'_>,
        check: &Check<'_>,
    ) {
        self.stats.unanswered(failure);
        let question = who.question(About::Access(check.action));
        let lost = match (self.config.on_error, self.undecided(check)) {
            (OnError::Allow, _) => "on_error allows it",
            (OnError::Defer, _) => "on_error leaves it to the broker",
            (_, Undecided::SubscribeClosed) => "the connection is closed, to subscribe again",
            (_, Undecided::PublishClosed) => "the connection is closed, to publish again",
            (_, Undecided::PublishDropped) => "the message is lost, as it may be with QoS 0",
            (_, Undecided::Denied) => "it is denied",
        };
        let why = match failure {
            Failure::NotYet | Failure::Overloaded | Failure::Internal => {
                self.in_words(failure, bound)
            }
            _ if self.config.on_error == OnError::Deny => {
                format!("nobody could decide ({failure})")
            }
            _ => return,
        };
        self.log_queue.seldom(Level::Warn, format!("{}, {lost}", failure.name()), || {
            let (about, hosts) = (self.engine.describe(&question), self.hosts());
            format!("{why}: {about}, asked of {hosts}; {lost}{}", mark(trace))
        });
    }

    /// The same for a login: the client is closed, and tries again.
    fn report_login(
        &self,
        failure: &Failure,
        (bound, trace): (Bound, Option<TraceId>),
        question: &Question<'_>,
    ) {
        self.stats.unanswered(failure);
        let knows = |files: &Arc<Files>| files.knows(question.username);
        if *failure == Failure::NotYet && self.files.as_ref().is_some_and(knows) {
            return self.log_queue.seldom(Level::Warn, "slow hash", || {
                let (about, bound) = (self.engine.describe(question), self.bound_in_words(bound));
                format!(
                    "the password file, or the API after it, took longer than the broker may be held \
                     up ({bound}): {about}; nothing is lost if it tries again"
                )
            });
        }
        if matches!(failure, Failure::NotYet | Failure::Overloaded | Failure::Internal) {
            self.log_queue.seldom(Level::Warn, failure.name(), || {
                let (why, hosts) = (self.in_words(failure, bound), self.hosts());
                let (about, trace) = (self.engine.describe(question), mark(trace));
                format!(
                    "{why}: {about}, asked of {hosts}; nothing is lost if it tries again{trace}"
                )
            });
        }
    }

    /// Waits for the answer to a login.
    pub(super) fn wait_for_login(
        &self,
        asked: Asked,
        payer: Payer<'_>,
        question: &Question<'_>,
    ) -> Outcome {
        let Waited { outcome, bound, trace } = self.wait(asked, payer);
        if let Err(failure) = &outcome {
            self.report_login(failure, (bound, trace), question);
        }
        outcome
    }

    /// The same for a login that was answered later, of which the question is gone.
    pub(super) fn report(&self, failure: &Failure) {
        self.stats.unanswered(failure);
        if matches!(failure, Failure::NotYet | Failure::Overloaded | Failure::Internal) {
            let line = || self.in_words(failure, Bound::Question);
            self.log_queue.seldom(Level::Warn, failure.name(), line);
        }
    }

    fn in_words(&self, failure: &Failure, bound: Bound) -> String {
        match failure {
            Failure::NotYet => {
                let bound = self.bound_in_words(bound);
                format!("the API took longer than the broker may be held up ({bound})")
            }
            Failure::Overloaded => {
                "more questions wait for the API than the queue holds".to_owned()
            }
            _ => "a question was not asked because of an internal error".to_owned(),
        }
    }

    fn bound_in_words(&self, bound: Bound) -> String {
        match bound {
            Bound::Question => format!("max_block_ms {}", self.config.max_block.as_millis()),
            Bound::Share => format!("max_block_percent {}", self.config.max_block_percent),
            Bound::Client => format!("{} s for each client", CLIENT_BURST.as_secs()),
        }
    }

    fn hosts(&self) -> String {
        let https = self.config.https;
        let hosts: Vec<_> = self.config.endpoints.iter().map(|e| e.origin(https)).collect();
        hosts.join(", ")
    }
}
