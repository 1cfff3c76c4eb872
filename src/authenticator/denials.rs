//! What follows from a login's answer: lockout, the log, counters and events.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use log::Level;

use super::{Attempt, Authenticator};
use crate::answer::{Answer, InvalidToken, Outcome, Verdict};
use crate::cache::Key;
use crate::config::WebsocketAddress;
use crate::decide::Reason;
use crate::log_queue::quoted;
use crate::login::Applicant;
use crate::question::{Client, ClientFacts, Kind, Question};
use crate::stats::Denial;
use crate::trace::mark;

/// A login, as far as its verdict is noted.
#[derive(Clone, Copy)]
pub(super) struct LoginFacts<'a> {
    pub client: ClientFacts<'a>,
    /// The question's.
    pub(super) key: Key,
    /// Whether the client gave a username. One that gives none guesses at nobody's password, and shares the name
    /// under which it is asked about with all of its kind: it counts for no lockout.
    pub(super) is_named: bool,
}

impl<'a> LoginFacts<'a> {
    pub(super) fn of(applicant: &'a Applicant, key: Key) -> Self {
        Self { client: applicant.facts(), key, is_named: applicant.is_named }
    }
}

impl Authenticator {
    /// What is told of this client, under this name; an empty one is none.
    pub(super) fn facts<'a>(&self, client: &'a dyn Client, username: &'a str) -> ClientFacts<'a> {
        ClientFacts {
            client_id: client.id(),
            username,
            address: self.address(client),
            protocol: client.protocol(),
            protocol_version: client.protocol_version(),
        }
    }

    pub(super) fn login_facts<'a>(
        &self,
        attempt: &Attempt<'a>,
        (key, question): (Key, &Question<'a>),
    ) -> LoginFacts<'a> {
        let client = self.facts(attempt.client, question.username);
        LoginFacts { client, key, is_named: attempt.username.is_some() }
    }

    /// This client is let in, or left to the broker's other means if that is not `certain`. Mosquitto 2.0
    /// tells of nobody that it is connected.
    pub(super) fn note_came(&self, client: &dyn Client, username: &str, is_certain: bool) {
        if !self.tells_who_connects {
            self.services.events.came(client.handle(), self.facts(client, username), is_certain);
        }
    }

    /// Notes what the API said about a login.
    pub(super) fn note_verdict(&self, outcome: &Outcome, login: LoginFacts<'_>) {
        let Ok(answer) = outcome else { return };
        let facts = login.client;
        match answer.verdict {
            Verdict::Allow if login.is_named => self.lockout.let_in(facts.address, facts.username),
            Verdict::Deny if !self.late_denials.has_noted(login) => {
                self.note_denial_by_api(answer, login);
            }
            _ => {}
        }
    }

    /// Counts a denial, and says why it is one.
    pub(super) fn note_denial_by_api(&self, answer: &Answer, login: LoginFacts<'_>) {
        let facts = login.client;
        if login.is_named {
            self.lockout.denied(facts.address, facts.username);
        }
        let why = answer.why_invalid();
        let by_file = answer.is_of_password_file();
        let other = if by_file { Denial::PasswordFile } else { Denial::Api };
        let denial = why.map_or(other, Into::into);
        self.note_denial(facts, denial, Some(answer));
        if let Some(InvalidToken::Claims(problem)) = why {
            log::info!(
                logger: *self.services.log_queue,
                "the claims of a token of {} cannot be used: {}",
                quoted(facts.username),
                quoted(problem)
            );
        }
    }

    /// Where the client comes from, if that is not for the client to choose.
    pub(super) fn address(&self, client: &dyn Client) -> Option<IpAddr> {
        match self.services.config.websocket_address {
            WebsocketAddress::Trust => client.peer(),
            WebsocketAddress::Unknown => client.peer_unless_websocket(),
        }
    }

    /// Whether whoever comes from there under this name was denied too often; then this is another denial.
    pub(super) fn is_locked_out(&self, login: LoginFacts<'_>) -> bool {
        let facts = login.client;
        let refuses = login.is_named && self.lockout.refuses(facts.address, facts.username);
        if refuses {
            self.note_denial(facts, Denial::TooManyFailures, None);
        }
        refuses
    }

    /// Whether this answer would let in a guess that was under way while too many others were denied.
    pub(super) fn is_guess_too_many(&self, login: LoginFacts<'_>, outcome: &Outcome) -> bool {
        let is_allowed = outcome.as_ref().is_ok_and(|answer| answer.verdict == Verdict::Allow);
        is_allowed && self.is_locked_out(login)
    }

    /// Notes that a login is denied that nobody was asked about.
    pub(super) fn note_refusal(&self, attempt: &Attempt<'_>, reason: &Reason) {
        let stand_in = match reason {
            // Whoever has no token is told apart by what it gave.
            Reason::InvalidToken(_) => None,
            _ => self.services.config.anonymous_username.as_deref(),
        };
        let username = attempt.username.or(stand_in).unwrap_or_default();
        self.note_denial(self.facts(attempt.client, username), reason.denial(), None);
    }

    /// Counts, and writes the line that intrusion prevention looks for: the address comes first, and
    /// what a client may choose is quoted, so that no name can pass for an address. What the API's answer
    /// tells comes last: its status, and why it is a no.
    fn note_denial(&self, facts: ClientFacts<'_>, why: Denial, answer: Option<&Answer>) {
        self.services.stats.denied(Kind::Login, why);
        self.services.events.denied(why, facts);
        if !self.services.log_queue.keeps(Level::Info) {
            return;
        }
        let ip = facts.address.map_or("unknown".to_owned(), |address| address.to_string());
        let reason = why.name();
        let status = answer.and_then(|answer| answer.status);
        let status = status.map(|status| format!(" status={status}")).unwrap_or_default();
        let trace = mark(answer.and_then(Answer::trace));
        let said = answer.and_then(|answer| answer.reason.as_deref());
        let said = said.map(|said| format!(" api_reason={said:?}")).unwrap_or_default();
        log::info!(
            logger: *self.services.log_queue,
            "login denied: ip={ip} username={} clientid={} reason={reason}{status}{trace}{said}",
            quoted(facts.username),
            quoted(facts.client_id)
        );
    }
}
