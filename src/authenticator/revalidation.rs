//! Asking again about clients that are in: when their session expires, from time to time with
//! `cache_revalidate`, and after SIGHUP. Only the API's own word ends a session.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Authenticator;
use crate::answer::{Failure, Outcome, SessionGrants, Verdict};
use crate::broker::Broker;
use crate::cache::InvalidationScope;
use crate::failpoint;
use crate::log_queue::quoted;
use crate::mailbox::Mailbox;
use crate::pool::Pending;
use crate::question::{About, Question};
use crate::random;
use crate::sessions::SessionKey;
use crate::stats::{Denial, Kick};
use crate::sync::catch_panic;
use crate::trace::mark;

/// When a client is asked about again after the API failed.
const RETRY: Duration = Duration::from_secs(2);

/// How much of `cache_revalidate` chance may take away, so that clients that came together are not
/// asked about together.
const JITTER: f64 = 0.10;

/// What asking again came to.
pub(crate) struct Finding {
    session_key: SessionKey,
    asked: Instant,
    outcome: Outcome,
}

/// A client's being asked about. Dropped without a word, as after a panic, it is a failure, after
/// which the client is asked about again: nobody stays in because a check was lost.
struct Check {
    findings: Arc<Mailbox<Finding>>,
    /// Where it counts as under way.
    under_way: Arc<AtomicUsize>,
    session_key: Option<SessionKey>,
    asked: Instant,
}

impl Check {
    fn conclude(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        let Some(session_key) = self.session_key.take() else { return };
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.findings.send(Finding { session_key, asked: self.asked, outcome });
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.send(Err(Failure::Internal));
    }
}

impl Finding {
    pub(crate) fn session_key(&self) -> SessionKey {
        self.session_key.clone()
    }
}

impl Authenticator {
    /// Whether a client with these grants may have to be asked about again.
    pub(super) fn is_asked_again(&self, session_grants: Option<&Arc<SessionGrants>>) -> bool {
        session_grants.is_some() || !self.services.config.cache.revalidate.is_zero()
    }

    /// When a client that the API has just let in is to be asked about again, whatever its answer says.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let revalidate = self.services.config.cache.revalidate;
        if revalidate.is_zero() {
            return None;
        }
        // Never, if the clock cannot count that far.
        self.services.clock.now().checked_add(revalidate.mul_f64(1.0 - JITTER * random::fraction()))
    }

    /// Asks about the clients whose time has come, no more at once than the API is asked at once.
    pub(crate) fn check_due(&self, now: Instant) {
        if !self.services.sessions.may_be_due() {
            return;
        }
        let under_way = self.checks_under_way.load(Ordering::Relaxed);
        let most = self.services.config.connections.saturating_sub(under_way);
        for (session_key, question) in self.services.sessions.take_due(now, most) {
            match self.services.engine.ask_sealed(session_key.key, &question) {
                Some(pending) => self.watch(session_key, pending),
                None => self.postpone(&session_key),
            }
        }
    }

    /// The broker asks about a client that is in: so does the plugin in the background, unless the answer is
    /// known to be good still. A token may be good for longer than the keys that verify it.
    pub(super) fn check_again(&self, session_key: &SessionKey, question: &Question<'_>) {
        let is_token = matches!(question.about, About::Token(_));
        if is_token || !self.services.engine.knows(&session_key.key, question) {
            let seal = || self.services.engine.seal(question).map(Arc::new);
            self.services.sessions.ask_now(session_key, seal);
            if !self.services.tick_monitor.seems_regular() {
                // Mosquitto 2.0.11 with `per_listener_settings` has no tick that would.
                self.check_due(self.services.clock.now());
            }
        }
    }

    /// Has the client asked about again before long.
    fn postpone(&self, session_key: &SessionKey) {
        self.services.sessions.postpone(session_key, self.services.clock.now() + RETRY);
    }

    fn watch(&self, session_key: SessionKey, pending: Pending) {
        self.checks_under_way.fetch_add(1, Ordering::Relaxed);
        let (findings, under_way) =
            (Arc::clone(&self.findings), Arc::clone(&self.checks_under_way));
        let asked = self.services.clock.now();
        let check = Check { findings, under_way, session_key: Some(session_key), asked };
        pending.watch(move |outcome| {
            failpoint::reached("recheck");
            check.conclude(outcome);
        });
    }

    /// Acts on what asking again came to.
    pub(crate) fn act_on_findings(&self, broker: &dyn Broker) {
        for finding in self.findings.drain() {
            let session_key = finding.session_key();
            if !catch_panic(|| self.act_on(broker, finding)) {
                self.postpone(&session_key);
            }
        }
    }

    fn act_on(&self, broker: &dyn Broker, finding: Finding) {
        failpoint::reached("finding");
        let Finding { session_key, asked, outcome } = finding;
        let Some(username) = self.services.sessions.login_name(&session_key) else { return };
        if self.is_outdated(&outcome, (&session_key.client_id, &username), asked) {
            // What is asked since may have been answered sooner.
            self.services.sessions.postpone(&session_key, self.services.clock.now());
            return;
        }
        match outcome {
            Ok(answer) if answer.verdict == Verdict::Allow => {
                if !self.services.sessions.renew(
                    &session_key,
                    answer.session_grants.as_ref(),
                    self.next_check(),
                ) {
                    let said = format!("the API now gives it another name{}", mark(answer.trace()));
                    self.end_session(broker, &session_key, &said, Kick::Renamed);
                }
            }
            Ok(answer) => {
                let said = match (answer.why_invalid(), answer.verdict) {
                    (Some(why), _) => {
                        &format!("its token is no longer good: {}", Denial::from(why).name())
                    }
                    (None, Verdict::Ignore) => "the API no longer answers for its login",
                    (None, _) => "the API now denies its login",
                };
                let said = format!("{said}{}", mark(answer.trace()));
                self.end_session(broker, &session_key, &said, Kick::Revoked);
            }
            Err(_) => self.postpone(&session_key),
        }
    }

    /// Disconnects a client because of what the API said.
    fn end_session(&self, broker: &dyn Broker, session_key: &SessionKey, said: &str, why: Kick) {
        let id = &session_key.client_id;
        log::info!(logger: *self.services.log_queue, "disconnected {}: {said}", quoted(id));
        self.services.stats.kicked(why);
        self.services.events.kicked(why, |client| client.client_id == *id);
        let client_id = Some(id.clone());
        self.authorizer
            .revoke_held(&InvalidationScope { client_id, ..InvalidationScope::default() });
        broker.disconnect(id);
    }
}
