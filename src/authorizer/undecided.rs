//! What follows for a check that nobody can decide: a failure is not a denial.

#![forbid(unsafe_code)]

use log::Level;

use super::Authorizer;
use super::who::{AccessReply, Check, Who, is_connected};
use crate::answer::Failure;
use crate::block_budget::Bound;
use crate::config::AclUnavailable;
use crate::policy::OnError;
use crate::question::{About, Access};
use crate::stats::Undecided;
use crate::trace::{TraceId, mark};

impl Authorizer {
    /// What the client sees of a check that nobody can decide. The broker ends the connection of whoever
    /// publishes or subscribes if it is told so; then nothing is acknowledged that was not published, no
    /// filter is refused that the API would have allowed, and the client asks again with the answer at
    /// hand. A publish with QoS 0 may be lost (MQTT 5.0, section 4.3.1).
    pub(super) fn reply_to_undecided(&self, check: &Check<'_>) -> AccessReply {
        let what = self.undecided(check);
        self.services.stats.undecided(what);
        match what {
            Undecided::SubscribeClosed | Undecided::PublishClosed => AccessReply::Close,
            Undecided::PublishDropped | Undecided::Denied => AccessReply::Deny,
        }
    }

    /// Whether the client's connection is closed if nobody can decide this check.
    pub(super) fn closes(&self, check: &Check<'_>) -> bool {
        matches!(self.undecided(check), Undecided::SubscribeClosed | Undecided::PublishClosed)
    }

    fn undecided(&self, check: &Check<'_>) -> Undecided {
        let closes = self.services.config.acl_unavailable == AclUnavailable::Close
            && check.broker.is_some()
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
        self.services.stats.unanswered(failure);
        let question = who.question(About::Access(check.action));
        let lost = match (self.services.config.on_error, self.undecided(check)) {
            (OnError::Allow, _) => "on_error allows it",
            (OnError::Defer, _) => "on_error leaves it to the broker",
            (_, Undecided::SubscribeClosed) => "the connection is closed, to subscribe again",
            (_, Undecided::PublishClosed) => "the connection is closed, to publish again",
            (_, Undecided::PublishDropped) => "the message is lost, as it may be with QoS 0",
            (_, Undecided::Denied) => "it is denied",
        };
        let why = match failure {
            Failure::NotYet | Failure::Overloaded | Failure::Internal => {
                self.services.waiter.in_words(failure, bound)
            }
            _ if self.services.config.on_error == OnError::Deny => {
                format!("nobody could decide ({failure})")
            }
            _ => return,
        };
        self.services.log_queue.seldom(Level::Warn, format!("{}, {lost}", failure.name()), || {
            let (about, hosts) =
                (self.services.engine.describe(&question), self.services.waiter.hosts());
            format!("{why}: {about}, asked of {hosts}; {lost}{}", mark(trace))
        });
    }
}
