//! Decisions and their reasons, in words.

#![forbid(unsafe_code)]

use std::sync::Arc;

use mosquitto_http_auth::answer::{Decision, InvalidToken, SessionGrants, Verdict};
use mosquitto_http_auth::config::{Config, route_option};
use mosquitto_http_auth::decide::Reason;
use mosquitto_http_auth::policy::OnError;
use mosquitto_http_auth::question::Kind;

use crate::exchange::Seen;
use crate::exit;

/// A decision of the plugin's.
pub(crate) struct Judged {
    pub(crate) kind: Kind,
    pub(crate) decision: Decision,
    pub(crate) reason: Reason,
    /// The rule that decided, where one did.
    pub(crate) rule: Option<String>,
    /// What was asked for it.
    pub(crate) exchanges: Vec<Seen>,
    /// What the broker does about it by itself.
    pub(crate) beforehand: Option<&'static str>,
}

impl Judged {
    /// The exit status that says so.
    pub(crate) fn status(&self) -> u8 {
        match (&self.reason, self.decision) {
            (Reason::Failure(..), _) => exit::FAILED,
            (_, Decision::Allow) => exit::YES,
            (_, Decision::Deny) => exit::NO,
            (_, Decision::Defer) => exit::LEFT_TO_BROKER,
            (_, Decision::Unavailable | Decision::UnavailableWithReason) => exit::FAILED,
        }
    }

    /// What the answer to a login grants, or the token.
    pub(crate) fn granted(&self) -> Option<Arc<SessionGrants>> {
        if let Reason::Token(session_grants) = &self.reason {
            return session_grants.clone();
        }
        self.exchanges
            .iter()
            .find_map(|seen| seen.outcome.as_ref().ok()?.answer.session_grants.clone())
    }

    /// For a program.
    pub(crate) fn word(&self) -> &'static str {
        match self.decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
            Decision::Defer => "defer",
            Decision::Unavailable | Decision::UnavailableWithReason => "unavailable",
        }
    }

    /// For a reader.
    pub(crate) fn in_words(&self) -> &'static str {
        match (self.decision, self.kind) {
            (Decision::Allow, _) => "allowed",
            (Decision::Deny, _) => "denied",
            (Decision::Defer, _) => "left to the broker's other means",
            (_, Kind::Login) => {
                "not decided: closed without an answer, so that the client tries again"
            }
            (_, _) => "not decided, and so denied",
        }
    }

    /// What decided: an option, or a word where none did.
    pub(crate) fn by(&self) -> &'static str {
        match &self.reason {
            Reason::NoLoginRoute => "http_user_route",
            Reason::LocalUser => "local_users_file",
            Reason::NoUsername => "anonymous_username",
            Reason::EmptyCredentials => "compat",
            Reason::NotUtf8 => "password_encoding",
            Reason::TooManyFailures => "login_failures_max",
            Reason::SpecialChars => "deny_special_chars",
            Reason::Superuser => "superuser",
            Reason::Rule(_) => "rule",
            Reason::NoRule => "no rule",
            Reason::NoAccessRoute => "http_acl_route",
            Reason::PasswordFile => "files_password_path",
            Reason::AclFile => "files_acl_path",
            Reason::Token(_) => "token",
            Reason::InvalidToken(InvalidToken::Missing) => "jwt_only",
            Reason::InvalidToken(_) => "token",
            Reason::Answer(kind, _) => route_option(*kind),
            Reason::Failure(..) => "on_error",
            Reason::Unsubscribe => "unsubscribe",
            // Only a broker asks like this.
            Reason::Session
            | Reason::OnItsWay
            | Reason::WillOfNobody
            | Reason::NotLetIn
            | Reason::ReservedName => "broker",
        }
    }

    /// Why, in a sentence.
    pub(crate) fn why(&self, config: &Config) -> String {
        match &self.reason {
            Reason::NoLoginRoute => {
                "http_user_route is unset, so nobody's login is asked".to_owned()
            }
            Reason::LocalUser => match self.kind {
                Kind::Login => {
                    "the user is in local_users_file, so password_file decides".to_owned()
                }
                _ => "the user is in local_users_file, so local_users_acl decides".to_owned(),
            },
            Reason::NoUsername => {
                "the client has no username, and anonymous_username is unset".to_owned()
            }
            Reason::EmptyCredentials => {
                "the username or the password is empty, and compat denies that".to_owned()
            }
            Reason::NotUtf8 => {
                "the password is not UTF-8; password_encoding base64 would send it".to_owned()
            }
            Reason::TooManyFailures => "login_failures_max was reached".to_owned(),
            Reason::SpecialChars => format!(
                "the username or the client identifier has one of {} in it",
                config.special_chars.iter().map(String::from).collect::<Vec<_>>().join(" ")
            ),
            Reason::Superuser => "the answer to the login says that it is a superuser".to_owned(),
            Reason::Rule(position) => {
                let rule = self.rule.clone().unwrap_or_else(|| format!("rule {}", position + 1));
                format!("{rule} of the login's answer matches")
            }
            Reason::NoRule if config.routes.access.is_some() => {
                "none of the lists in the token's claim acl holds it".to_owned()
            }
            Reason::NoRule => {
                "no rule of the login's answer matches, and http_acl_route is unset".to_owned()
            }
            Reason::NoAccessRoute => {
                "http_acl_route is unset, and there are no rules of a login (see --login)"
                    .to_owned()
            }
            Reason::Unsubscribe => "an unsubscribe is always allowed".to_owned(),
            Reason::PasswordFile if self.decision == Decision::Allow => {
                "the user and the password are in files_password_path".to_owned()
            }
            Reason::PasswordFile => {
                "the user and the password are not in files_password_path, and there is no route for \
                 logins"
                    .to_owned()
            }
            Reason::AclFile if self.decision == Decision::Allow => {
                "a line of files_acl_path allows it".to_owned()
            }
            Reason::AclFile => {
                "no line of files_acl_path allows it, and there is no route for topics".to_owned()
            }
            Reason::Token(_) => "the password is a token that lets its bearer in".to_owned(),
            Reason::InvalidToken(why) => format!("the password is no token that does ({why})"),
            Reason::Answer(kind, _) => self.answered(*kind, config),
            Reason::Failure(kind, failure) => {
                let option = match config.on_error {
                    OnError::Deny => "deny",
                    OnError::Defer => "defer",
                    OnError::Allow => "allow",
                };
                format!("{} failed ({failure}), and on_error is {option}", route_option(*kind))
            }
            Reason::Session
            | Reason::OnItsWay
            | Reason::WillOfNobody
            | Reason::NotLetIn
            | Reason::ReservedName => "the broker's own question".to_owned(),
        }
    }

    fn answered(&self, kind: Kind, config: &Config) -> String {
        let of_kind = |seen: &&Seen| seen.kind == kind && seen.outcome.is_ok();
        let seen = self.exchanges.iter().rfind(of_kind);
        let status = seen.and_then(Seen::status).unwrap_or("an answer");
        let mut text = format!("{} answered {status}", route_option(kind));
        let reply = seen.and_then(|seen| seen.outcome.as_ref().ok());
        if let Some(reply) = reply {
            // Of other successes only an API format whose bodies decide looks into the body.
            let is_success = status.starts_with("200 ")
                || (status.starts_with('2') && config.api_format.needs_body());
            match reply.answer.verdict {
                Verdict::Deny if is_success => text.push_str(", whose body is no yes"),
                Verdict::Ignore => text.push_str(", whose body says ignore"),
                _ => {}
            }
            if let Some(reason) = &reply.answer.reason {
                text.push_str(&format!(": {reason:?}"));
            }
        }
        if kind == Kind::Superuser {
            text.push_str(", so the user is a superuser");
        }
        text
    }
}
