//! Logins by a token.

#![forbid(unsafe_code)]

use super::login::now;
use super::{Attempt, Authenticator, LoginReply};
use crate::answer::{Decision, InvalidToken};
use crate::decide::Reason;
use crate::jose;
use crate::question::About;

impl Authenticator {
    /// Replies to a login with a token in place of a password, or with none where only tokens let in.
    /// None: this is about another password.
    pub(super) fn reply_to_token(&self, attempt: &Attempt<'_>) -> Option<(LoginReply, Reason)> {
        let tokens = self.config.tokens()?;
        let username = attempt.username.unwrap_or_default();
        if let Some(token) = jose::token_in(attempt.password) {
            return Some(self.ask_as_given(attempt, username, About::Token(token)));
        }
        let gives_something = attempt.username.is_some() || !attempt.password.is_empty();
        if !tokens.only || !gives_something {
            return None;
        }
        if self.tick_monitor.is_about_a_session() {
            return Some(now(Decision::Unavailable, Reason::Session));
        }
        let why = InvalidToken::Missing;
        self.note_refusal(attempt, username, (&why).into());
        Some(now(Decision::Deny, Reason::InvalidToken(why)))
    }
}
