//! Why something is decided, for a person who asks and for the metrics.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::answer::{Failure, InvalidToken, Outcome, SessionGrants, TokenVerdict};
use crate::question::Kind;
use crate::stats::Denial;
use crate::trace::TraceId;

/// Why the broker is told what it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A login: there is no `http_user_route`.
    NoLoginRoute,
    /// The user is in `local_users_file`.
    LocalUser,
    /// The client has no username, and there is no name to ask under.
    NoUsername,
    /// The username or the password is empty, which mosquitto-go-auth and mosquitto-auth-plug deny.
    EmptyCredentials,
    /// A login: the password is not UTF-8, and `password_encoding` is `utf8`.
    NotUtf8,
    /// A login: the username has the form of the name that a client bears while its login waits.
    ReservedName,
    /// A login: `login_failures_max`.
    TooManyFailures,
    /// A login: the broker asks about a session that it has already, as it does on SIGHUP.
    Session,
    /// A login: it is answered later.
    OnItsWay,
    /// An unsubscribe, which is always allowed.
    Unsubscribe,
    /// The Will of a client that left before its login was answered.
    WillOfNobody,
    /// The client's login is not answered yet.
    NotLetIn,
    /// `deny_special_chars`.
    SpecialChars,
    /// The user is known to be a superuser.
    Superuser,
    /// A rule in the answer to the login, counted from 0.
    Rule(usize),
    /// No rule matches, and there is no `http_acl_route`, or the rules leave nothing to it.
    NoRule,
    /// The login's answer has no rules, and there is no `http_acl_route`.
    NoAccessRoute,
    /// A login: the password is a token that lets its bearer in, on these grants.
    Token(Option<Arc<SessionGrants>>),
    /// A login: the password is a token that does not, or none where only tokens do.
    InvalidToken(InvalidToken),
    /// A login: `files_password_path`.
    PasswordFile,
    /// `files_acl_path`.
    AclFile,
    /// The API answered a question of this kind, in a request with this trace id, if it had one.
    Answer(Kind, Option<TraceId>),
    /// The API did not answer a question of this kind, and `on_error` says what follows.
    Failure(Kind, Failure),
}

impl Reason {
    /// By which reason a no is counted.
    #[must_use]
    pub(crate) fn denial(&self) -> Denial {
        match self {
            Self::EmptyCredentials => Denial::EmptyCredentials,
            Self::NotUtf8 => Denial::NotUtf8,
            Self::ReservedName => Denial::ReservedName,
            Self::TooManyFailures => Denial::TooManyFailures,
            Self::WillOfNobody | Self::NotLetIn => Denial::NotLetIn,
            Self::SpecialChars => Denial::SpecialChars,
            Self::Rule(_) => Denial::Rule,
            Self::NoRule => Denial::NoRule,
            Self::PasswordFile => Denial::PasswordFile,
            Self::AclFile => Denial::AclFile,
            Self::InvalidToken(why) => why.into(),
            _ => Denial::Api,
        }
    }

    /// The trace id of the request whose answer decided, if it had one.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        match self {
            Self::Answer(_, trace) => *trace,
            _ => None,
        }
    }

    /// What was made of a question that the API was asked.
    #[must_use]
    pub fn of(kind: Kind, outcome: Outcome) -> Self {
        match outcome {
            Ok(answer) if answer.is_of_password_file() => Self::PasswordFile,
            Ok(answer) => match answer.token() {
                Some(TokenVerdict::Valid) => Self::Token(answer.session_grants),
                Some(TokenVerdict::Invalid(why)) => Self::InvalidToken(why.clone()),
                None => Self::Answer(kind, answer.trace()),
            },
            Err(failure) => Self::Failure(kind, failure),
        }
    }
}
