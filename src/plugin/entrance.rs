//! Who may log in: now, later, or not at all.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Ground, Plugin};
use crate::answer::{Decision, Outcome, Terms, Verdict};
use crate::block_budget::Payer;
use crate::broker::Broker;
use crate::config::{EmptyCredentials, PasswordEncoding, UnavailableReply};
use crate::defect;
use crate::journal::quoted;
use crate::login::Waiting;
use crate::policy::{self, OnError};
use crate::pool::{Asked, Ticket};
use crate::question::{About, Client, Kind, Password, Question};
use crate::sessions::{Admission, LetInBy};
use crate::tally::Denial;
use crate::vault::SealedQuestion;

/// A client's attempt to log in, or the broker's question whether a session may stay.
pub struct Attempt<'a> {
    pub client: &'a dyn Client,
    /// None where the client gave none, or an empty one.
    pub username: Option<&'a str>,
    pub password: &'a [u8],
    /// Whether the broker asks on its own thread; 2.1 asks about its HTTP API on another.
    pub on_broker_thread: bool,
}

/// What the broker is told about a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    Now(Decision),
    /// The client waits; [`Plugin::tick`] finishes its login.
    Later,
}

fn now(decision: Decision, ground: Ground) -> (Reply, Ground) {
    (Reply::Now(decision), ground)
}

impl Plugin {
    /// May this client log in?
    pub fn login(&self, attempt: &Attempt<'_>) -> Reply {
        self.explain_login(attempt).0
    }

    /// The same, and why.
    pub fn explain_login(&self, attempt: &Attempt<'_>) -> (Reply, Ground) {
        let judged = self.reply_to_login(attempt);
        if let Reply::Now(decision) = judged.0 {
            self.tally.decided(Kind::Login, decision);
        }
        judged
    }

    fn reply_to_login(&self, attempt: &Attempt<'_>) -> (Reply, Ground) {
        // Asked about a new connection: whoever waited under its identifier has left.
        if attempt.on_broker_thread && !self.pulse.is_about_a_session() {
            self.membership.note_client(attempt.client.id());
            self.logins.forget(attempt.client.id());
        }
        let username = attempt.username.or(self.config.anonymous_username.as_deref());
        if !self.has_route(Kind::Login) {
            return now(Decision::Defer, Ground::NoLoginRoute);
        }
        if username.is_some_and(|name| self.is_local(name)) {
            return now(Decision::Defer, Ground::LocalUser);
        }
        let is_empty = username.is_none() || attempt.password.is_empty();
        if is_empty && self.config.empty_credentials == EmptyCredentials::Deny {
            self.tally.denied(Kind::Login, Denial::EmptyCredentials);
            return now(Decision::Deny, Ground::EmptyCredentials);
        }
        let Some(username) = username else {
            return now(Decision::Defer, Ground::NoUsername);
        };
        let Some(password) = self.encoded(attempt.password) else {
            self.note_denial(
                username,
                attempt.client.id(),
                attempt.client.address(),
                Denial::NotUtf8,
            );
            return now(Decision::Deny, Ground::NotUtf8);
        };
        let about = About::Login { password };
        self.ask_login(attempt, &Question { client: attempt.client, username, about })
    }

    fn ask_login(&self, attempt: &Attempt<'_>, question: &Question<'_>) -> (Reply, Ground) {
        let (client, key) = (attempt.client, self.engine.key(question));
        if !attempt.on_broker_thread {
            let outcome = self.wait(self.engine.ask(key, question), Payer::HttpApi);
            let decision = self.decide_login(client, question.username, &outcome);
            return now(decision, Ground::of(Kind::Login, outcome));
        }
        let admission =
            Admission { handle: client.handle(), client_id: client.id().to_owned(), key };
        if self.pulse.may_be_about_a_session() {
            match self.sessions.let_in_by(&admission) {
                Some(LetInBy::Api) => {
                    self.check_again(admission, question);
                    return now(Decision::Allow, Ground::Session);
                }
                Some(LetInBy::Broker) if self.pulse.is_about_a_session() => {
                    return now(Decision::Defer, Ground::Session);
                }
                _ => {}
            }
        }
        if self.pulse.is_about_a_session() {
            // A session that the API did not let in, or that is offline: the broker keeps its
            // state, and whoever comes back for it is asked about then.
            return now(Decision::Unavailable, Ground::Session);
        }
        if self.is_locked_out(question.username, client.id(), client.address()) {
            return now(Decision::Deny, Ground::TooManyFailures);
        }
        let asked = match self.engine.ask(key, question) {
            Asked::Later(ticket) if self.may_delay(client) && self.logins.may_wait(&key) => {
                match self.delay(&admission, question, ticket) {
                    Ok(()) => return (Reply::Later, Ground::OnItsWay),
                    Err(ticket) => Asked::Later(ticket),
                }
            }
            asked => asked,
        };
        let outcome = self.wait(asked, Payer::Logins);
        let decision = self.decide_login(client, question.username, &outcome);
        if decision == Decision::Defer {
            self.sessions.begin_at_broker(admission, question.username);
        } else if decision == Decision::Allow {
            if attempt.username.is_none() {
                // A client that keeps no name is disconnected at SIGHUP unless the broker lets in
                // whoever has none; nobody is asked about it then.
                client.set_username(question.username);
            }
            let terms = outcome.as_ref().ok().and_then(|answer| answer.terms.clone());
            let again = self.is_asked_again(terms.as_ref());
            let question_again = again.then(|| self.engine.seal(question)).flatten();
            self.begin(admission, question.username, terms, question_again);
        }
        now(decision, Ground::of(Kind::Login, outcome))
    }

    fn begin(
        &self,
        admission: Admission,
        username: &str,
        terms: Option<Arc<Terms>>,
        question: Option<SealedQuestion>,
    ) {
        let due = self.next_check();
        self.sessions.begin(admission, username, terms.as_ref(), question, due);
    }

    /// Lets the client wait for its ticket; gives it back if the broker does not take the name that
    /// a waiting client bears.
    fn delay(
        &self,
        admission: &Admission,
        question: &Question<'_>,
        ticket: Ticket,
    ) -> Result<(), Ticket> {
        let placeholder = self.logins.placeholder(question.username);
        if !question.client.set_username(&placeholder) {
            return Err(ticket);
        }
        let waiting = Waiting {
            client_id: admission.client_id.clone(),
            username: question.username.to_owned(),
            address: question.client.address().map(str::to_owned),
            placeholder,
            key: admission.key,
            question: self.engine.seal(question),
            terms: None,
        };
        self.logins.wait(waiting, ticket);
        Ok(())
    }

    /// Whether this client can wait for its answer: the broker must be able to let it, must look
    /// up regularly to finish it, and must be able to say later whatever there may be to say.
    fn may_delay(&self, client: &dyn Client) -> bool {
        self.config.delayed_login
            && self.abilities.delays_logins
            && self.config.on_error != OnError::Defer
            && !self.gets_a_reason(client)
            && self.pulse.is_regular()
    }

    fn gets_a_reason(&self, client: &dyn Client) -> bool {
        self.config.unavailable_reply == UnavailableReply::Reason
            && self.abilities.tells_reasons
            && client.protocol_version() == 5
    }

    fn decide_login(&self, client: &dyn Client, username: &str, outcome: &Outcome) -> Decision {
        self.note_verdict(outcome, username, client.id(), client.address());
        match policy::decide(Kind::Login, outcome, self.config.on_error) {
            Decision::Unavailable if self.gets_a_reason(client) => Decision::UnavailableAloud,
            decision => decision,
        }
    }

    /// Notes what the API said about a login.
    fn note_verdict(&self, outcome: &Outcome, username: &str, id: &str, address: Option<&str>) {
        match outcome.as_ref().map(|answer| answer.verdict) {
            Ok(Verdict::Allow) => self.lockout.let_in(address, username),
            Ok(Verdict::Deny) => {
                self.lockout.denied(address, username);
                self.note_denial(username, id, address, Denial::Api);
            }
            Ok(Verdict::Ignore) | Err(_) => {}
        }
    }

    /// Whether whoever comes from there under this name was denied too often; then this is another denial.
    fn is_locked_out(&self, username: &str, id: &str, address: Option<&str>) -> bool {
        let refuses = self.lockout.refuses(address, username);
        if refuses {
            self.note_denial(username, id, address, Denial::TooManyFailures);
        }
        refuses
    }

    /// Counts, and writes the line that intrusion prevention looks for: the address comes first, and
    /// what a client may choose is quoted, so that no name can pass for an address.
    fn note_denial(&self, username: &str, id: &str, address: Option<&str>, why: Denial) {
        self.tally.denied(Kind::Login, why);
        let (ip, reason) = (address.unwrap_or("unknown"), why.name());
        log::info!(
            logger: *self.journal,
            "login denied: ip={ip} username={} clientid={} reason={reason}",
            quoted(username),
            quoted(id)
        );
    }

    fn encoded<'a>(&self, password: &'a [u8]) -> Option<Password<'a>> {
        match self.config.password_encoding {
            PasswordEncoding::Utf8 => std::str::from_utf8(password).ok().map(Password::Text),
            PasswordEncoding::Base64 => Some(Password::Base64(password)),
        }
    }

    /// Finishes a login that waited. The client may have left meanwhile; then nobody hears it.
    pub(super) fn finish_login(&self, broker: &dyn Broker, waiting: Waiting, outcome: &Outcome) {
        defect::place("finish_login");
        if let Err(failure) = outcome {
            self.report(failure);
        }
        let decision = self.decide_waiting(&waiting, outcome);
        self.tally.decided(Kind::Login, decision);
        match decision {
            Decision::Allow => {
                let client_id = waiting.client_id.clone();
                let terms = outcome.as_ref().ok().and_then(|answer| answer.terms.clone());
                self.logins.set_entering(Some(Waiting { terms, ..waiting }));
                // The broker comes back with questions, and with `connected`, before this returns.
                broker.finish_login(&client_id, true);
                self.logins.set_entering(None);
            }
            Decision::Deny => {
                broker.finish_login(&waiting.client_id, false);
            }
            Decision::Defer => {
                // The broker's other means can only be asked at once, so the client tries again.
                self.logins.hurry_next(waiting.key);
                broker.close_by_username(&waiting.placeholder);
            }
            Decision::Unavailable | Decision::UnavailableAloud => {
                broker.close_by_username(&waiting.placeholder);
            }
        }
    }

    /// Whoever guesses many passwords at once has them all on their way before the first is denied: none
    /// of them counts that is right after too many were wrong.
    fn decide_waiting(&self, waiting: &Waiting, outcome: &Outcome) -> Decision {
        let Waiting { username, client_id, address, .. } = waiting;
        let decision = policy::decide(Kind::Login, outcome, self.config.on_error);
        if decision == Decision::Allow
            && self.is_locked_out(username, client_id, address.as_deref())
        {
            return Decision::Deny;
        }
        self.note_verdict(outcome, username, client_id, address.as_deref());
        decision
    }

    /// A client is connected.
    pub fn connected(&self, client: &dyn Client, username: Option<&str>) {
        self.membership.note_client(client.id());
        if username.and_then(|name| self.enter(client, name)).is_none() {
            self.sessions.forget_departed(client.handle());
        }
    }

    /// If this client is one that waited and that the broker lets in at this moment, it gets its own
    /// name back, which is returned, and its session begins.
    pub(super) fn enter(&self, client: &dyn Client, username: &str) -> Option<String> {
        let waited = self.logins.enter(username)?;
        client.set_username(&waited.username);
        let Waiting { client_id, key, username, terms, question, .. } = waited;
        let question = question.filter(|_| self.is_asked_again(terms.as_ref()));
        let admission = Admission { handle: client.handle(), client_id, key };
        self.begin(admission, &username, terms, question);
        Some(username)
    }
}
