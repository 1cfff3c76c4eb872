//! Logins that wait for their answers: whether one can, and what is kept of it meanwhile.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::Authenticator;
use super::denials::LoginFacts;
use super::login::{LoginReply, now};
use crate::answer::Decision;
use crate::cache::Key;
use crate::config::UnavailableReply;
use crate::decide::Reason;
use crate::login::{Applicant, KeptQuestion, Waiting};
use crate::policy::OnError;
use crate::pool::Pending;
use crate::question::{About, Client, Question};
use crate::sessions::SessionKey;

impl Authenticator {
    /// Has the client wait for its `Pending`; closes it where it cannot, and its next try finds the answer.
    pub(super) fn leave(
        &self,
        login: LoginFacts<'_>,
        session_key: &SessionKey,
        question: &Question<'_>,
        pending: Pending,
        asked: Instant,
    ) -> (LoginReply, Reason) {
        let may_wait = self.reload_hold.admit();
        let waiting = may_wait.then(|| self.prepare_to_wait(login, session_key, question, asked));
        match waiting.flatten() {
            Some(waiting) => {
                self.logins.wait(waiting, pending);
                (LoginReply::Later, Reason::OnItsWay)
            }
            None => {
                self.keep_for_next_try(login, pending, asked);
                now(Decision::Unavailable, Reason::OnItsWay)
            }
        }
    }

    /// Gives the client the name that it bears while it waits, and another identifier where it is not to keep
    /// others out who come under its own. None: the broker takes neither, and could not close it; or there is
    /// not enough memory for this one to wait.
    fn prepare_to_wait(
        &self,
        login: LoginFacts<'_>,
        session_key: &SessionKey,
        question: &Question<'_>,
        asked: Instant,
    ) -> Option<Waiting> {
        if !self.services.engine.memory().has_room_for(question.bytes()) {
            return None;
        }
        let client_id = &session_key.client_id;
        let placeholder = self.services.attempts.placeholder(question.username)?;
        // Before the broker forgets the client's own names.
        let applicant = Applicant::of(login.client, login.is_named);
        let kept = self.keep_question(session_key.key, question);
        let asks_ahead = self.authorizer.client_to_ask_ahead_for(question);
        if !question.client.set_username(&placeholder) {
            return None;
        }
        let broker_id = if self.services.attempts.may_wait(client_id, asked) {
            client_id.clone()
        } else {
            self.services.attempts.contest(client_id, asked, asked);
            question.client.set_id(&placeholder).then(|| placeholder.clone())?
        };
        let bytes = Waiting::bytes(&applicant, &broker_id, &placeholder);
        let memory = Arc::new(self.services.engine.memory().take(bytes));
        Some(Waiting {
            applicant,
            handle: session_key.handle,
            broker_id,
            placeholder,
            keeps_session: !question.client.clean_session(),
            key: session_key.key,
            identity: session_key.identity,
            question: kept,
            memory,
            asked,
            session_grants: None,
            asks_ahead,
            is_decided: false,
            is_closed: false,
        })
    }

    /// What is kept of a question while a login waits for its answer; nothing where nobody can have to ask it again
    /// but for an invalidation, after which the client may come again.
    fn keep_question(&self, key: Key, question: &Question<'_>) -> Option<Arc<KeptQuestion>> {
        let is_token = matches!(question.about, About::Token(_));
        if !(is_token
            || self.services.config.api_format.gives_session_grants()
            || self.is_asked_again(None))
        {
            return None;
        }
        let keep = || {
            let question = Arc::new(self.services.engine.seal(question)?);
            let memory = self.services.engine.memory().take(question.bytes());
            Some(Arc::new(KeptQuestion { question, memory }))
        };
        self.logins.question(&key).or_else(keep)
    }

    /// Whether this client can wait for its answer: the broker must be able to let it, must look
    /// up regularly to finish it, and must be able to say later whatever there may be to say.
    pub(super) fn may_delay(&self, client: &dyn Client) -> bool {
        self.services.config.delayed_login
            && self.delays_logins
            && self.services.config.on_error != OnError::Defer
            && !self.gets_a_reason(client)
            && self.services.tick_monitor.is_regular()
    }

    pub(super) fn gets_a_reason(&self, client: &dyn Client) -> bool {
        self.services.config.unavailable_reply == UnavailableReply::Reason
            && self.tells_reasons
            && client.protocol_version() == 5
    }
}
