//! Who may log in: now, later, or not at all.

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Authenticator;
use super::denials::LoginFacts;
use crate::answer::{Decision, Failure, Outcome, SessionGrants};
use crate::authorizer::recipient;
use crate::block_budget::Payer;
use crate::broker::Broker;
use crate::cache::Key;
use crate::decide::{self, Login, LoginStep, Reason};
use crate::policy;
use crate::pool::{Asked, Pending, Urgency};
use crate::question::{About, Client, Kind, Question};
use crate::sealed::SealedQuestion;
use crate::sessions::{AuthenticatedBy, SessionKey};

/// A client's attempt to log in, or the broker's question whether a session may stay.
pub struct Attempt<'a> {
    pub client: &'a dyn Client,
    /// None where the client gave none, or an empty one.
    pub username: Option<&'a str>,
    pub password: &'a [u8],
    /// The broker, where it asks on its own thread; 2.1 asks about its HTTP API on another.
    pub broker: Option<&'a dyn Broker>,
}

/// What the broker is told about a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginReply {
    Now(Decision),
    /// The client waits; a tick finishes its login.
    Later,
}

pub(super) fn now(decision: Decision, reason: Reason) -> (LoginReply, Reason) {
    (LoginReply::Now(decision), reason)
}

impl Authenticator {
    /// May this client log in, and why?
    pub(crate) fn login(&self, attempt: &Attempt<'_>) -> (LoginReply, Reason) {
        let judged = self.reply_to_login(attempt);
        if let LoginReply::Now(decision) = judged.0 {
            self.services.stats.decided(Kind::Login, decision);
            // At SIGHUP nobody comes in.
            let comes_in = attempt.broker.is_some()
                && judged.1 != Reason::Session
                && !self.services.tick_monitor.is_about_a_session();
            if comes_in && matches!(decision, Decision::Allow | Decision::Defer) {
                let username = self.name_or_stand_in(attempt.username);
                let (client, is_certain) = (attempt.client, decision == Decision::Allow);
                let name = is_certain
                    .then(|| self.services.sessions.renamed(client.handle(), client.id()));
                let name = name.flatten();
                let username = name.as_deref().unwrap_or(username);
                self.authorizer.enters(recipient(client, username), !client.clean_session());
                self.note_came(client, username, is_certain);
                if is_certain {
                    self.authorizer.ask_what_was_asked(client, username);
                }
            }
        }
        judged
    }

    /// The name that a client is asked about under: its own, or what stands for clients without one.
    pub(super) fn name_or_stand_in<'a>(&'a self, username: Option<&'a str>) -> &'a str {
        username.or_else(|| self.services.config.stand_in()).unwrap_or_default()
    }

    fn reply_to_login(&self, attempt: &Attempt<'_>) -> (LoginReply, Reason) {
        // Before anything else, and whatever comes of it: the other instances rely on it.
        if attempt.broker.is_some() && !self.services.tick_monitor.is_about_a_session() {
            self.services.attempts.supersede(attempt.client.id(), self.services.clock.now());
        }
        let login = Login {
            username: attempt.username,
            password: attempt.password,
            has_placeholder: attempt
                .username
                .is_some_and(|name| self.services.attempts.is_placeholder(name)),
            is_about_a_session: self.services.tick_monitor.is_about_a_session(),
            has_password_file: self
                .services
                .files
                .as_ref()
                .is_some_and(|files| files.has_passwords()),
        };
        match decide::login(&self.services.config, login, |name| self.is_local(name)) {
            LoginStep::Ask(username, about) => self.ask_as_given(attempt, username, about),
            LoginStep::Decided(decision, reason) => {
                if decision == Decision::Deny {
                    self.note_refusal(attempt, &reason);
                }
                now(decision, reason)
            }
        }
    }

    /// Asks about a login as the client gave it when it came.
    fn ask_as_given(
        &self,
        attempt: &Attempt<'_>,
        username: &str,
        about: About<'_>,
    ) -> (LoginReply, Reason) {
        let question = Question { client: attempt.client, username, attributes: None, about };
        match self.name_given(attempt, &question) {
            Some(given) => self.ask_login(attempt, &Question { username: &given, ..question }),
            None => self.ask_login(attempt, &question),
        }
    }

    fn ask_login(&self, attempt: &Attempt<'_>, question: &Question<'_>) -> (LoginReply, Reason) {
        let (client, session_key) = (attempt.client, self.session_key(question));
        let key = session_key.key;
        let login = self.login_facts(attempt, (key, question));
        if attempt.broker.is_none() {
            return self.ask_at_http_api(login, question);
        }
        if self.services.tick_monitor.may_be_about_a_session() {
            match self.services.sessions.authenticated_by(&session_key) {
                Some(AuthenticatedBy::Api) => {
                    self.check_again(&session_key, question);
                    return now(Decision::Allow, Reason::Session);
                }
                Some(AuthenticatedBy::Broker)
                    if self.services.tick_monitor.is_about_a_session() =>
                {
                    return now(Decision::Defer, Reason::Session);
                }
                _ => {}
            }
        }
        if self.services.tick_monitor.is_about_a_session() {
            // A session that the API did not let in, or that is offline: the broker keeps its
            // state, and whoever comes back for it is asked about then.
            return now(Decision::Unavailable, Reason::Session);
        }
        self.note_late_denials();
        if self.is_locked_out(login) {
            return now(Decision::Deny, Reason::TooManyFailures);
        }
        let asked_at = self.services.clock.now();
        let outcome = match self.known_login(&key, question) {
            Some(outcome) => outcome,
            None if !self.may_delay(client) => {
                let (outcome, late) =
                    self.ask_and_wait(login, question, (Urgency::Blocking, Payer::Logins));
                if let Some((pending, asked)) = late {
                    self.keep_for_next_try(login, pending, asked);
                }
                self.note_late_denials();
                if self.is_guess_too_many(login, &outcome) {
                    return now(Decision::Deny, Reason::TooManyFailures);
                }
                outcome
            }
            None if !self.logins.has_room() => {
                let mut asked = Asked::Now(Err(Failure::Overloaded));
                self.wait_for_login(&mut asked, Payer::Logins, question)
            }
            None => match self.services.engine.ask_api(key, question, Urgency::Waiting) {
                Asked::Later(pending) => {
                    return self.leave(login, &session_key, question, pending, asked_at);
                }
                mut asked => self.wait_for_login(&mut asked, Payer::Logins, question),
            },
        };
        let outcome = self.with_usable_name(outcome, question.username, true);
        let decision = self.decide_login(login, client, &outcome);
        if decision == Decision::Defer {
            self.services.sessions.begin_at_broker(session_key, question.username);
        } else if decision == Decision::Allow {
            let session_grants =
                outcome.as_ref().ok().and_then(|answer| answer.session_grants.clone());
            let name = SessionGrants::known_as(session_grants.as_ref(), question.username);
            // A client that keeps no name is disconnected at SIGHUP unless the broker lets in whoever has
            // none; nobody is asked about it then.
            let is_named = attempt.username == Some(name) || client.set_username(name);
            if !is_named && name != question.username {
                // What the API allows it is allowed under that name only.
                return now(Decision::Unavailable, Reason::Failure(Kind::Login, Failure::Internal));
            }
            let again = self.is_asked_again(session_grants.as_ref());
            let question_again =
                again.then(|| self.services.engine.seal(question)).flatten().map(Arc::new);
            let address = self.address(client);
            self.begin(session_key, question.username, address, session_grants, question_again);
        }
        now(decision, Reason::of(Kind::Login, outcome))
    }

    /// Asks about a login, and waits. What is taken back meanwhile is asked about again, for as long as logins
    /// may make whoever asks wait: another broker of the fleet may take it back, and while it is Mosquitto 2.1's
    /// HTTP API that waits, the control topic. What comes back as well was asked then, and has no answer yet.
    fn ask_and_wait(
        &self,
        login: LoginFacts<'_>,
        question: &Question<'_>,
        (urgency, payer): (Urgency, Payer<'_>),
    ) -> (Outcome, Option<(Pending, Instant)>) {
        let names = (question.client.id(), question.username);
        loop {
            let asked_at = self.services.clock.now();
            let taken_back = self.services.engine.times_outdated();
            let mut asked = self.services.engine.ask_api(login.key, question, urgency);
            let outcome = self.wait_for_login(&mut asked, payer, question);
            let is_current = self.services.engine.times_outdated() == taken_back;
            if !is_current && self.is_outdated(&outcome, names, asked_at) {
                continue;
            }
            return match (&outcome, asked) {
                (Err(Failure::NotYet), Asked::Later(pending)) => {
                    (outcome, Some((pending, asked_at)))
                }
                _ => (outcome, None),
            };
        }
    }

    pub(super) fn session_key(&self, question: &Question<'_>) -> SessionKey {
        let (client, key) = (question.client, self.services.engine.key(question));
        let identity = self.services.engine.identity(key, question);
        SessionKey { handle: client.handle(), client_id: client.id().to_owned(), key, identity }
    }

    /// Somebody wants to use Mosquitto 2.1's HTTP API. The broker waits on another thread than its own.
    fn ask_at_http_api(
        &self,
        login: LoginFacts<'_>,
        question: &Question<'_>,
    ) -> (LoginReply, Reason) {
        if self.is_locked_out(login) {
            return now(Decision::Deny, Reason::TooManyFailures);
        }
        let outcome = match self.services.engine.known_login(&login.key, question) {
            Some(answer) => Ok(answer),
            None => {
                let who = (Urgency::Waiting, Payer::HttpApi);
                let (outcome, late) = self.ask_and_wait(login, question, who);
                if let Some((pending, _)) = late {
                    self.note_when_denied(login, pending);
                }
                outcome
            }
        };
        if self.is_guess_too_many(login, &outcome) {
            return now(Decision::Deny, Reason::TooManyFailures);
        }
        let outcome = self.with_usable_name(outcome, question.username, false);
        let decision = self.decide_login(login, question.client, &outcome);
        now(decision, Reason::of(Kind::Login, outcome))
    }

    pub(super) fn begin(
        &self,
        session_key: SessionKey,
        username: &str,
        address: Option<IpAddr>,
        session_grants: Option<Arc<SessionGrants>>,
        question: Option<Arc<SealedQuestion>>,
    ) {
        let due = self.next_check();
        self.services.sessions.begin(
            session_key,
            username,
            address,
            session_grants.as_ref(),
            question,
            due,
        );
    }

    /// What is known about a login, from the cache or from a try before that was closed.
    fn known_login(&self, key: &Key, question: &Question<'_>) -> Option<Outcome> {
        if let Some(answer) = self.services.engine.known_login(key, question) {
            return Some(Ok(answer));
        }
        let names = (question.client.id(), question.username);
        self.services.retry_answers.take(key, |outcome, asked| {
            self.services.engine.is_outdated(question, asked)
                || self.is_outdated(outcome, names, asked)
        })
    }

    fn decide_login(
        &self,
        login: LoginFacts<'_>,
        client: &dyn Client,
        outcome: &Outcome,
    ) -> Decision {
        self.note_verdict(outcome, login);
        match policy::decide(Kind::Login, outcome, self.services.config.on_error) {
            Decision::Unavailable if self.gets_a_reason(client) => Decision::UnavailableWithReason,
            decision => decision,
        }
    }
}
