//! What becomes of logins that wait: their verdicts, and letting in who may come in.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Authenticator;
use super::denials::LoginFacts;
use super::reload_hold::Closing;
use crate::answer::{Decision, Outcome, SessionGrants, Verdict};
use crate::authorizer::recipient;
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
            (self.services.wake_broker)();
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
                catch_panic(|| self.note_unheard(&waiting, &outcome));
                broker.close_by_username(&waiting.placeholder);
                true
            }
        }
    }

    /// Notes a verdict that nobody hears: a wrong guess is one, whether or not the one who guessed waits
    /// to hear so. A right one lets nobody in, and makes up for nothing.
    fn note_unheard(&self, waiting: &Waiting, outcome: &Outcome) {
        if let Err(failure) = outcome {
            self.report(failure);
        }
        if outcome.as_ref().is_ok_and(|answer| answer.verdict == Verdict::Deny) {
            self.note_verdict(outcome, LoginFacts::of(&waiting.applicant, waiting.key));
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
            return self.ask_anew(broker, Waiting { is_decided: false, ..waiting });
        }
        if waiting.is_decided {
            return self.let_in(broker, waiting);
        }
        let outcome = &self.with_usable_name(outcome.clone(), username, true);
        let decision = self.decide_waiting(&waiting, outcome);
        self.services.stats.decided(Kind::Login, decision);
        if decision != Decision::Allow {
            self.services.attempts.contest(
                &waiting.applicant.client_id,
                waiting.asked,
                self.services.clock.now(),
            );
        }
        match decision {
            Decision::Allow => {
                let session_grants =
                    outcome.as_ref().ok().and_then(|answer| answer.session_grants.clone());
                let waiting = Waiting { session_grants, is_decided: true, ..waiting };
                match self.authorizer.ask_before_entry(&waiting, outcome) {
                    Some(pending) => {
                        self.logins.wait(waiting, pending);
                        false
                    }
                    None => self.let_in(broker, waiting),
                }
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
        match sealed.and_then(|kept| self.services.engine.ask_sealed(waiting.key, &kept.question)) {
            Some(pending) => {
                self.logins.wait(Waiting { asked: self.services.clock.now(), ..waiting }, pending);
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
        self.authorizer.enters(recipient, keeps);
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
        if !progress.is_connected {
            self.authorizer.stays_out(handle, client_id);
        }
        if !progress.is_connected && progress.has_left {
            self.services.stats.kicked(Kick::RefusedByBroker);
            self.services.events.kicked_early(Kick::RefusedByBroker, applicant.facts());
            log::info!(
                logger: *self.services.log_queue,
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
        let login = LoginFacts::of(&waiting.applicant, waiting.key);
        if self.is_guess_too_many(login, outcome) {
            return Decision::Deny;
        }
        let decision = policy::decide(Kind::Login, outcome, self.services.config.on_error);
        if decision == Decision::Defer || decision == Decision::Allow && waiting.is_aside() {
            // The broker can be told this only at once, so that the client tries again.
            self.services.retry_answers.keep(waiting.key, outcome.clone(), waiting.asked);
            return Decision::Unavailable;
        }
        self.note_verdict(outcome, login);
        decision
    }

    /// A client is connected.
    pub(crate) fn connected(&self, client: &dyn Client, username: Option<&str>) {
        let handle = client.handle();
        self.logins.note_connected(handle);
        self.services.sessions.forget_ended(handle);
        let own = if self.services.attempts.is_entering(handle) {
            self.enter(client, username)
        } else if let Some(name) =
            username.filter(|name| self.services.attempts.is_placeholder(name))
        {
            // Somebody else's verdict has let it in. Until the next tick it may do nothing.
            return self.logins.close(name.to_owned());
        } else {
            None
        };
        let username = own.as_deref().or(username);
        let recipient = recipient(client, self.name_or_stand_in(username));
        self.authorizer.is_in(recipient, !client.clean_session());
        let username = username.unwrap_or_default();
        self.services.events.connected(handle, self.facts(client, username));
    }

    /// The client that the broker is letting in at this moment gets its own name back, which is returned, and
    /// its session begins if it is this instance that lets it in.
    pub(super) fn enter(&self, client: &dyn Client, username: Option<&str>) -> Option<String> {
        let own = username.and_then(|name| self.services.attempts.own_name(client.handle(), name));
        if let Some(own) = &own {
            client.set_username(own);
        }
        if let Some(waited) = self.logins.enter(client.handle()) {
            let Waiting { applicant, key, identity, session_grants, question, .. } = waited;
            let Applicant { client_id, username, address, .. } = applicant;
            let question = question.filter(|_| self.is_asked_again(session_grants.as_ref()));
            let question = question.map(|kept| Arc::clone(&kept.question));
            let session_key = SessionKey { handle: client.handle(), client_id, key, identity };
            self.begin(session_key, &username, address, session_grants.clone(), question);
            self.authorizer.ask_what_was_asked(
                client,
                SessionGrants::known_as(session_grants.as_ref(), &username),
            );
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::api::fuzzing::{Response, simulate};
    use crate::clock::ManualClock;
    use crate::fake::{self, FakeBroker, FakeClient};
    use crate::plugin::{Attempt, HostCapabilities, LoginReply, Plugin};

    #[test]
    fn logins_that_fail_together_are_closed_in_portions() {
        const LOGINS: usize = 950;
        let options = [
            ("http_host", "127.0.0.1"),
            ("http_user_route", "/user"),
            ("breaker_failures", "1000000"),
            ("http_connections", "1"),
        ];
        let woken = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&woken);
        let capabilities = HostCapabilities {
            wake_broker: Arc::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)),
            ..HostCapabilities::of(true, fake::spawn)
        };
        let config = fake::config(&options);
        let plugin = Plugin::start(config, ManualClock::new(), capabilities).unwrap();
        let broker = FakeBroker::default();
        plugin.tick(&broker);
        let client = |number| FakeClient { id: format!("c{number}"), ..FakeClient::default() };
        let clients: Vec<_> = (0..LOGINS).map(client).collect();
        for (number, client) in clients.iter().enumerate() {
            let username = format!("user-{number}");
            let attempt = Attempt {
                client,
                username: Some(&username),
                password: b"wrong",
                broker: Some(&broker),
            };
            assert_eq!(plugin.login(&attempt), LoginReply::Later, "{number}");
        }
        simulate(Some(Rc::new(|_: &str, _: &[u8]| Ok(Response::of(503, b"")))));
        fake::work_all();
        simulate(None);
        let mut portions = Vec::new();
        while broker.closed.get() < LOGINS {
            let (before, woken_before) = (broker.closed.get(), woken.load(Ordering::Relaxed));
            plugin.tick(&broker);
            portions.push(broker.closed.get() - before);
            let is_called_again = woken.load(Ordering::Relaxed) > woken_before;
            assert!(is_called_again || broker.closed.get() == LOGINS, "nobody comes for the rest");
        }
        assert_eq!(portions, [100, 100, 100, 100, 100, 100, 100, 100, 100, 50]);
        plugin.shut_down();
    }
}
