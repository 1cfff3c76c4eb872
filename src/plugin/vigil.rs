//! Asking again about clients that are in: when their session expires, from time to time with
//! `cache_revalidate`, and after SIGHUP. Only the API's own word ends a session.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Plugin;
use crate::answer::{Outcome, Terms, Verdict};
use crate::broker::Broker;
use crate::journal::quoted;
use crate::pool::Ticket;
use crate::question::Question;
use crate::sessions::Admission;

/// When a client is asked about again after the API failed.
const RETRY: Duration = Duration::from_secs(2);

/// How much of `cache_revalidate` chance may take away, so that clients that came together are not
/// asked about together.
const JITTER: f64 = 0.10;

/// What asking again came to.
pub struct Finding {
    admission: Admission,
    outcome: Outcome,
}

impl Plugin {
    /// Whether a client with these terms may have to be asked about again.
    pub(super) fn is_asked_again(&self, terms: Option<&Arc<Terms>>) -> bool {
        terms.is_some() || !self.config.cache.revalidate.is_zero()
    }

    /// When a client that the API has just let in is to be asked about again.
    pub(super) fn next_check(&self, terms: Option<&Arc<Terms>>) -> Option<Instant> {
        let expires_in = terms
            .and_then(|terms| terms.expire_at)
            .map(|expire_at| Duration::from_secs(expire_at).saturating_sub(self.clock.unix_time()));
        let revalidate = self.config.cache.revalidate;
        let revalidate =
            (!revalidate.is_zero()).then(|| revalidate.mul_f64(1.0 - JITTER * fastrand::f64()));
        let soonest = expires_in.into_iter().chain(revalidate).min()?;
        // Never, if the clock cannot count that far.
        self.clock.now().checked_add(soonest)
    }

    /// Asks about the clients whose time has come, no more at once than the API is asked at once.
    pub(super) fn check_due(&self) {
        let under_way = self.checks_under_way.load(Ordering::Relaxed);
        let most = self.config.connections.saturating_sub(under_way);
        for (admission, question) in self.sessions.take_due(self.clock.now(), most) {
            match self.engine.ask_sealed(admission.key, &question) {
                Some(ticket) => {
                    self.checks_under_way.fetch_add(1, Ordering::Relaxed);
                    self.watch(admission, ticket, Some(Arc::clone(&self.checks_under_way)));
                }
                None => self.sessions.postpone(&admission, self.clock.now() + RETRY),
            }
        }
    }

    /// Asks about a client that is in, unless the answer is known to be good still.
    pub(super) fn check_again(&self, admission: Admission, question: &Question<'_>) {
        if let Some(ticket) = self.engine.ask_again(admission.key, question) {
            self.watch(admission, ticket, None);
        }
    }

    fn watch(&self, admission: Admission, ticket: Ticket, under_way: Option<Arc<AtomicUsize>>) {
        let findings = Arc::clone(&self.findings);
        ticket.watch(move |outcome| {
            if let Some(under_way) = under_way {
                under_way.fetch_sub(1, Ordering::Relaxed);
            }
            findings.bring(Finding { admission, outcome });
        });
    }

    /// Acts on what asking again came to.
    pub(super) fn act_on(&self, broker: &dyn Broker, finding: Finding) {
        let Finding { admission, outcome } = finding;
        if !self.sessions.holds(&admission) {
            return;
        }
        match outcome {
            Ok(answer) if answer.verdict == Verdict::Allow => {
                let due = self.next_check(answer.terms.as_ref());
                self.sessions.renew(&admission, answer.terms, due);
            }
            Ok(answer) => {
                let id = &admission.client_id;
                let verb = match answer.verdict {
                    Verdict::Ignore => "no longer answers for",
                    _ => "now denies",
                };
                log::info!(
                    logger: *self.journal,
                    "disconnected {}: the API {verb} its login",
                    quoted(id)
                );
                broker.disconnect(id);
            }
            Err(_) => self.sessions.postpone(&admission, self.clock.now() + RETRY),
        }
    }
}
