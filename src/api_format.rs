//! How questions and answers are written: in our own way, or as the plugins did that came before.

#![forbid(unsafe_code)]

use crate::question::Kind;
use crate::rules::Syntax;

/// The way in which an API is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiFormat {
    pub compat: Compat,
    pub method: Method,
    pub params: Params,
    pub response: ResponseMode,
    /// For auth-plug: what stands in front of each form, as `key=value&`, by kind of question.
    pub prefixes: [String; 3],
}

/// Whose meanings hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compat {
    None,
    /// mosquitto-go-auth's.
    GoAuth,
    /// mosquitto-auth-plug's.
    AuthPlug,
    /// Those of EMQX, for its HTTP authentication and authorization.
    Emqx,
}

impl Compat {
    /// Whether it is a plugin that came before this one, with its options, its defaults, and answers that are
    /// statuses alone.
    #[must_use]
    pub fn is_predecessor(self) -> bool {
        matches!(self, Self::GoAuth | Self::AuthPlug)
    }

    /// How rules are written.
    #[must_use]
    pub(crate) fn syntax(self) -> Syntax {
        if self == Self::Emqx { Syntax::Emqx } else { Syntax::Own }
    }
}

/// The method of every request (RFC 9110, section 9). Parameters go in the body, whichever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Post,
    Put,
    Get,
}

/// How a request's body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Params {
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
}

/// What decides in an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseMode {
    /// The status, and what a JSON object may add.
    Status,
    /// A successful status and `{"ok": true}`.
    Json,
    /// A successful status and `ok`.
    Text,
}

impl Default for ApiFormat {
    fn default() -> Self {
        Self {
            compat: Compat::None,
            method: Method::Post,
            params: Params::Json,
            response: ResponseMode::Status,
            prefixes: Default::default(),
        }
    }
}

impl ApiFormat {
    #[must_use]
    pub fn prefix(&self, kind: Kind) -> &str {
        match kind {
            Kind::Login => &self.prefixes[0],
            Kind::Superuser => &self.prefixes[1],
            Kind::Access => &self.prefixes[2],
        }
    }

    /// The media type of a request's body (RFC 9110, section 8.3.1).
    #[must_use]
    pub(crate) fn content_type(&self) -> &'static str {
        match self.params {
            Params::Json => "application/json",
            Params::Form => "application/x-www-form-urlencoded",
        }
    }

    /// Whether an answer to a login can say more than yes or no.
    #[must_use]
    pub fn gives_session_grants(&self) -> bool {
        self.response == ResponseMode::Status && !self.compat.is_predecessor()
    }

    /// Whether a successful answer's body decides, whatever its type.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.response != ResponseMode::Status
    }
}
