//! What follows for a login that nobody can decide: a failure is not a denial.

#![forbid(unsafe_code)]

use std::sync::Arc;

use log::Level;

use super::Authenticator;
use crate::answer::{Failure, Outcome};
use crate::block_budget::{Bound, Payer};
use crate::files::Files;
use crate::pool::Asked;
use crate::question::Question;
use crate::trace::{TraceId, mark};
use crate::waiter::Waited;

impl Authenticator {
    /// Says once a second that there was no answer to a login, and why. The client is closed, and tries again.
    fn report_login(
        &self,
        failure: &Failure,
        (bound, trace): (Bound, Option<TraceId>),
        question: &Question<'_>,
    ) {
        self.services.stats.unanswered(failure);
        let knows = |files: &Arc<Files>| files.knows(question.username);
        if *failure == Failure::NotYet && self.services.files.as_ref().is_some_and(knows) {
            return self.services.log_queue.seldom(Level::Warn, "slow hash", || {
                let (about, bound) = (self.services.engine.describe(question), self.services.waiter.bound_in_words(bound));
                format!(
                    "the password file, or the API after it, took longer than the broker may be held \
                     up ({bound}): {about}; nothing is lost if it tries again"
                )
            });
        }
        if matches!(failure, Failure::NotYet | Failure::Overloaded | Failure::Internal) {
            self.services.log_queue.seldom(Level::Warn, failure.name(), || {
                let (why, hosts) =
                    (self.services.waiter.in_words(failure, bound), self.services.waiter.hosts());
                let (about, trace) = (self.services.engine.describe(question), mark(trace));
                format!(
                    "{why}: {about}, asked of {hosts}; nothing is lost if it tries again{trace}"
                )
            });
        }
    }

    /// Waits for the answer to a login.
    pub(super) fn wait_for_login(
        &self,
        asked: &mut Asked,
        payer: Payer<'_>,
        question: &Question<'_>,
    ) -> Outcome {
        let Waited { outcome, bound, trace } = self.services.waiter.wait(asked, payer);
        if let Err(failure) = &outcome {
            self.report_login(failure, (bound, trace), question);
        }
        outcome
    }

    /// The same for a login that was answered later, of which the question is gone.
    pub(super) fn report(&self, failure: &Failure) {
        self.services.stats.unanswered(failure);
        if matches!(failure, Failure::NotYet | Failure::Overloaded | Failure::Internal) {
            let line = || self.services.waiter.in_words(failure, Bound::Question);
            self.services.log_queue.seldom(Level::Warn, failure.name(), line);
        }
    }
}
