//! What becomes of logins that wait: their verdicts, and letting in who may come in.

#![forbid(unsafe_code)]

use super::Authenticator;
use super::reload_hold::Closing;
use crate::answer::{Decision, Outcome, SessionGrants, Verdict};
use crate::broker::Broker;
use crate::failpoint;
use crate::held_deliveries::Recipient;
use crate::log_queue::quoted;
use crate::login::{Applicant, Arrived, Waiting};
use crate::policy;
use crate::question::{Client, Kind};
use crate::sessions::SessionKey;
use crate::stats::Kick;
use crate::sync::catch_panic;

/// How many connections are closed in one tick: for each the broker looks through all that it has.
const CLOSINGS: usize = 100;

impl Authenticator {
    /// Deals with the verdicts that have come, and closes who is to be closed: as many as one tick may
    /// close, and the rest at the next. None in a pass that may not close any.
    pub(crate) fn finish_logins(&self, broker: &dyn Broker, closing: Closing) {
        if closing == Closing::Everybody {
            self.logins.close_waiting(|_| true);
        }
        let most = if closing == Closing::Nobody { 0 } else { CLOSINGS };
        let mut closings = 0;
        while closings < most {
            if let Some(placeholder) = self.logins.next_closing() {
                broker.close_by_username(&placeholder);
                closings += 1;
            } else if let Some(arrived) = self.logins.next_arrived() {
                closings += usize::from(self.finish(broker, arrived));
            } else {
                return;
            }
        }
        if self.logins.has_more() {
            // An idle broker would look up again only after a while.
            (self.wake_broker)();
        }
    }

    /// Deals with a verdict; whether it took closing a connection.
    fn finish(&self, broker: &dyn Broker, arrived: Arrived) -> bool {
        match arrived {
            Arrived::Verdict(waiting, outcome) => {
                let placeholder = waiting.placeholder.clone();
                let mut closes = true;
                if !catch_panic(|| closes = self.finish_login(broker, waiting, &outcome)) {
                    // Whoever cannot be told yes or no is not left waiting either.
                    self.logins.end_entering();
                    broker.close_by_username(&placeholder);
                }
                closes
            }
            Arrived::Late(waiting, outcome) => {
                catch_panic(|| self.note_unheard(&waiting.applicant, &outcome));
                broker.close_by_username(&waiting.placeholder);
                true
            }
        }
    }

    /// Notes a verdict that nobody hears: a wrong guess is one, whether or not the one who guessed waits
    /// to hear so. A right one lets nobody in, and makes up for nothing.
    fn note_unheard(&self, applicant: &Applicant, outcome: &Outcome) {
        if let Err(failure) = outcome {
            self.report(failure);
        }
        if outcome.as_ref().is_ok_and(|answer| answer.verdict == Verdict::Deny) {
            self.note_verdict(outcome, applicant.facts());
        }
    }

    /// Finishes a login that waited; whether it took closing its connection. The client may have left meanwhile; then
    /// nobody hears it.
    fn finish_login(&self, broker: &dyn Broker, waiting: Waiting, outcome: &Outcome) -> bool {
        failpoint::reached("finish_login");
        if let Err(failure) = outcome {
            self.report(failure);
        }
        let Applicant { client_id, username, .. } = &waiting.applicant;
        if self.is_outdated(outcome, (client_id, username), waiting.asked) {
            return self.ask_anew(broker, waiting);
        }
        let outcome = &self.with_usable_name(outcome.clone(), username, true);
        let decision = self.decide_waiting(&waiting, outcome);
        self.stats.decided(Kind::Login, decision);
        if decision != Decision::Allow {
            self.attempts.contest(&waiting.applicant.client_id, waiting.asked, self.clock.now());
        }
        match decision {
            Decision::Allow => {
                let session_grants =
                    outcome.as_ref().ok().and_then(|answer| answer.session_grants.clone());
                self.let_in(broker, Waiting { session_grants, ..waiting })
            }
            Decision::Deny => {
                broker.finish_login(&waiting.broker_id, false);
                false
            }
            Decision::Defer | Decision::Unavailable | Decision::UnavailableWithReason => {
                broker.close_by_username(&waiting.placeholder);
                true
            }
        }
    }

    /// Has a login asked about anew whose answer was declared outdated while it was on its way; whether that took
    /// closing its connection.
    fn ask_anew(&self, broker: &dyn Broker, waiting: Waiting) -> bool {
        let sealed = waiting.question.as_ref();
        match sealed.and_then(|question| self.engine.ask_sealed(waiting.key, question)) {
            Some(pending) => {
                self.logins.wait(Waiting { asked: self.clock.now(), ..waiting }, pending);
                false
            }
            None => {
                broker.close_by_username(&waiting.placeholder);
                true
            }
        }
    }

    /// Has the broker let a client in; whether its connection had to be closed, because the broker refused it for a reason
    /// of its own, or may have been closed.
    fn let_in(&self, broker: &dyn Broker, waiting: Waiting) -> bool {
        let applicant = waiting.applicant.clone();
        let Applicant { client_id, username, .. } = &applicant;
        let placeholder = waiting.placeholder.clone();
        // Before the broker tells that the connection has ended whose session this one takes over.
        let (handle, keeps) = (waiting.handle, waiting.keeps_session);
        let known_as = waiting.known_as();
        let recipient = Recipient { handle, client_id, username: known_as };
        self.authorizer.comes_in(recipient, keeps, true);
        self.logins.begin_entering(waiting);
        // The broker comes back with questions, and with `connected`, before this returns.
        broker.finish_login(client_id, true);
        let progress = self.logins.progress();
        if !progress.is_connected {
            // The client has left, or the broker refuses it (`max_keepalive`, `global_max_clients`) and, though it
            // closes such a connection otherwise, leaves it open. On the way out it is asked about its subscriptions.
            if progress.has_own_name {
                broker.disconnect(client_id);
            } else {
                broker.close_by_username(&placeholder);
            }
        }
        let progress = self.logins.end_entering();
        if !progress.is_connected && progress.has_left {
            self.stats.kicked(Kick::RefusedByBroker);
            self.events.kicked_early(Kick::RefusedByBroker, applicant.facts());
            log::info!(
                logger: *self.log_queue,
                "disconnected {}: the API allows the login of {}, and the broker itself refuses it",
                quoted(client_id),
                quoted(username)
            );
        }
        !progress.is_connected
    }

    /// Whoever guesses many passwords at once has them all on their way before the first is denied: none
    /// of them counts that is right after too many were wrong.
    fn decide_waiting(&self, waiting: &Waiting, outcome: &Outcome) -> Decision {
        let facts = waiting.applicant.facts();
        let decision = policy::decide(Kind::Login, outcome, self.config.on_error);
        if decision == Decision::Allow && self.is_locked_out(facts) {
            return Decision::Deny;
        }
        if decision == Decision::Defer || decision == Decision::Allow && waiting.is_aside() {
            // The broker can be told this only at once, so that the client tries again.
            self.retry_answers.keep(waiting.key, outcome.clone(), waiting.asked);
            return Decision::Unavailable;
        }
        self.note_verdict(outcome, facts);
        decision
    }

    /// A client is connected.
    pub(crate) fn connected(&self, client: &dyn Client, username: Option<&str>) {
        let handle = client.handle();
        self.logins.note_connected(handle);
        self.sessions.forget_ended(handle);
        let own = if self.attempts.is_entering(handle) {
            self.enter(client, username)
        } else if let Some(name) = username.filter(|name| self.attempts.is_placeholder(name)) {
            // Somebody else's verdict has let it in. Until the next tick it may do nothing.
            return self.logins.close(name.to_owned());
        } else {
            None
        };
        let username = own.as_deref().or(username).unwrap_or_default();
        self.events.connected(handle, self.facts(client, username));
    }

    /// The client that the broker is letting in at this moment gets its own name back, which is returned, and
    /// its session begins if it is this instance that lets it in.
    pub(super) fn enter(&self, client: &dyn Client, username: Option<&str>) -> Option<String> {
        let own = username.and_then(|name| self.attempts.own_name(client.handle(), name));
        if let Some(own) = &own {
            client.set_username(own);
        }
        if let Some(waited) = self.logins.enter(client.handle()) {
            let Waiting { applicant, key, session_grants, question, .. } = waited;
            let Applicant { client_id, username, address, .. } = applicant;
            let question = question.filter(|_| self.is_asked_again(session_grants.as_ref()));
            let session_key = SessionKey { handle: client.handle(), client_id, key };
            self.begin(session_key, &username, address, session_grants.clone(), question);
            self.authorizer.ask_what_was_asked(
                client,
                SessionGrants::known_as(session_grants.as_ref(), &username),
            );
        }
        own
    }
}
