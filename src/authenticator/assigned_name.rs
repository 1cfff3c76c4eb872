//! The name that the API's answer to a login gives the client in place of its own.

#![forbid(unsafe_code)]

use std::time::Instant;

use log::Level;

use super::Attempt;
use super::Authenticator;
use crate::answer::{Answer, Failure, InvalidToken, Outcome, SessionGrants};
use crate::authorizer::client_ref;
use crate::log_queue::quoted;
use crate::question::Question;

impl Authenticator {
    /// The name that a client gave when it came, if the broker asks about its session under one that the API
    /// gave it: its login is asked about as the client first gave it.
    pub(super) fn name_given(
        &self,
        attempt: &Attempt<'_>,
        question: &Question<'_>,
    ) -> Option<String> {
        if attempt.broker.is_none() || !self.services.tick_monitor.may_be_about_a_session() {
            return None;
        }
        let client = attempt.client;
        let given = self.services.sessions.given_username(client_ref(client, question.username))?;
        let session_key = self.session_key(&Question { username: &given, ..*question });
        self.services.sessions.holds(&session_key).then_some(given)
    }

    /// Whether an answer was declared outdated since it was asked for, by the client's names or by the one
    /// that it gives it.
    pub(super) fn is_outdated(
        &self,
        outcome: &Outcome,
        (client_id, given): (&str, &str),
        asked: Instant,
    ) -> bool {
        let Ok(answer) = outcome else { return false };
        let is_about = |name| self.services.engine.is_login_outdated(client_id, name, asked);
        is_about(given) || is_about(SessionGrants::known_as(answer.session_grants.as_ref(), given))
    }

    /// An answer that gives the client a name which it cannot have is broken: Mosquitto's own users are not
    /// the API's, and names that clients bear while they wait are nobody's. Whoever asks the broker's HTTP
    /// API cannot be renamed at all. A token that does so lets nobody in.
    pub(super) fn with_usable_name(
        &self,
        outcome: Outcome,
        given: &str,
        can_rename: bool,
    ) -> Outcome {
        let session_grants =
            outcome.as_ref().ok().and_then(|answer| answer.session_grants.as_ref());
        let Some(name) =
            session_grants.and_then(|session_grants| session_grants.username.as_deref())
        else {
            return outcome;
        };
        let problem = if self.is_local(name) {
            "a user of local_users_file"
        } else if self.services.attempts.is_placeholder(name) {
            "a name that the plugin gives to clients while they wait"
        } else if !can_rename && name != given {
            "what a client of Mosquitto's HTTP API cannot become"
        } else {
            return outcome;
        };
        if outcome.as_ref().is_ok_and(|answer| answer.token().is_some()) {
            return Ok(Answer::invalid(InvalidToken::Username));
        }
        let text = format!("\"username\" is {}, {problem}", quoted(name));
        self.services.log_queue.seldom(Level::Warn, problem, || {
            format!("an answer to a login cannot be used: {text}")
        });
        Err(Failure::BrokenAnswer(text))
    }
}
