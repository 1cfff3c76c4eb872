//! What came of a question: the API's answer, or the reason why there is none.

#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use crate::question::Attributes;
use crate::rules::Rules;
use crate::trace::TraceId;

/// What a reason takes beside its text, about.
const REASON_BYTES: usize = 32;

/// What the API said. Only an answer is ever cached.
#[derive(Clone, Eq, Debug)]
pub struct Answer {
    pub verdict: Verdict,
    /// What a yes to a login says beyond it.
    pub session_grants: Option<Arc<SessionGrants>>,
    /// The status of the response, for the log.
    pub status: Option<u16>,
    /// Why it is a no, where the API says so: for the log, and for nobody else.
    pub reason: Option<Arc<str>>,
    /// Where it comes from, if more is to be told of that.
    pub(crate) source: Option<Arc<Source>>,
}

/// Where an answer comes from.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Nobody was asked: this came of looking at a token.
    Token(TokenVerdict),
    /// Nobody was asked: the password file of mosquitto-go-auth's backend `files` says so.
    PasswordFile,
    /// A request that bore this trace id.
    Traced(TraceId),
}

/// What came of looking at a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TokenVerdict {
    /// It lets its bearer in.
    Valid,
    Invalid(InvalidToken),
}

/// Why a token lets nobody in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InvalidToken {
    /// It is no token at all, too long, or demands what is not understood (RFC 7515, section 4.1.11).
    Malformed,
    /// It is signed by an algorithm that is not allowed, or not with its key.
    Algorithm,
    /// No key of its `kid` is known, and none without a `kid` has signed it; or it has no `kid`, and there are no
    /// keys at all.
    UnknownKey,
    Signature,
    /// `exp` is over (RFC 7519, section 4.1.4).
    Expired,
    /// `nbf` is still to come (section 4.1.5).
    NotYetValid,
    Issuer,
    Audience,
    /// A claim is not what it must be, by what it says.
    Claims(String),
    /// It is somebody else's.
    Username,
    /// A password that is none, where nothing else is taken.
    Missing,
}

/// For how long the API lets an answer be used.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Freshness {
    /// None: as long as the configuration says.
    pub lifetime: Option<Duration>,
    /// The longest that it may stand in, past its life, for one that cannot be had; none: the configuration
    /// alone says.
    pub(crate) stale: Option<Duration>,
}

/// The status that came with it does not make it another answer, nor does the request's trace.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        (self.verdict, &self.session_grants, &self.reason, self.token())
            == (other.verdict, &other.session_grants, &other.reason, other.token())
    }
}

/// The answer's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Allow,
    Deny,
    /// The API leaves the question to the broker's other means.
    Ignore,
}

/// What a yes to a login grants, for as long as the session lasts or until it is asked again.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct SessionGrants {
    /// The name by which the client is known from then on; none: the one that it gave.
    pub username: Option<String>,
    /// What else the API says of the client; none: the answer does not say.
    pub attributes: Option<Arc<Attributes>>,
    /// Whether the user may do everything; none: the answer does not say.
    pub is_superuser: Option<bool>,
    /// What the client may do with which topics; none: the answer does not say.
    pub rules: Option<Arc<Rules>>,
    /// When the client must be asked about again, in seconds of Unix time.
    pub expire_at: Option<u64>,
}

impl SessionGrants {
    /// The name by which a client is known on these grants that gave this one.
    #[must_use]
    pub fn known_as<'a>(session_grants: Option<&'a Arc<Self>>, given: &'a str) -> &'a str {
        session_grants
            .and_then(|session_grants| session_grants.username.as_deref())
            .unwrap_or(given)
    }

    /// About how much memory they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { username, attributes, rules, .. } = self;
        size_of::<Self>()
            + username.as_ref().map_or(0, String::len)
            + attributes.as_ref().map_or(0, |attributes| attributes.bytes())
            + rules.as_ref().map_or(0, |rules| rules.bytes())
    }
}

impl Answer {
    pub const ALLOW: Self = Self::new(Verdict::Allow);
    pub(crate) const DENY: Self = Self::new(Verdict::Deny);
    pub(crate) const IGNORE: Self = Self::new(Verdict::Ignore);

    /// An answer that says no more than this.
    #[must_use]
    pub const fn new(verdict: Verdict) -> Self {
        Self { verdict, session_grants: None, status: None, reason: None, source: None }
    }

    /// The same, and why it says so.
    #[must_use]
    pub fn because(self, reason: Option<String>) -> Self {
        Self { reason: reason.map(Into::into), ..self }
    }

    /// A yes because of a token.
    #[must_use]
    pub(crate) fn of_token(session_grants: SessionGrants) -> Self {
        let source = Some(Arc::new(Source::Token(TokenVerdict::Valid)));
        Self { session_grants: Some(Arc::new(session_grants)), source, ..Self::ALLOW }
    }

    /// A no because of a token.
    #[must_use]
    pub fn invalid(why: InvalidToken) -> Self {
        let source = Some(Arc::new(Source::Token(TokenVerdict::Invalid(why))));
        Self { source, ..Self::DENY }
    }

    /// What a password file says.
    #[must_use]
    pub(crate) fn of_password_file(verdict: Verdict) -> Self {
        Self { source: Some(Arc::new(Source::PasswordFile)), ..Self::new(verdict) }
    }

    /// Whether a password file says so.
    #[must_use]
    pub(crate) fn is_of_password_file(&self) -> bool {
        matches!(self.source.as_deref(), Some(Source::PasswordFile))
    }

    /// The same, of a request with this trace id.
    #[must_use]
    pub(crate) fn traced(self, trace: TraceId) -> Self {
        Self { source: Some(Arc::new(Source::Traced(trace))), ..self }
    }

    /// What came of looking at a token, where nobody was asked.
    #[must_use]
    pub(crate) fn token(&self) -> Option<&TokenVerdict> {
        match self.source.as_deref()? {
            Source::Token(verdict) => Some(verdict),
            Source::Traced(_) | Source::PasswordFile => None,
        }
    }

    /// The trace id of the request that it answers, if that had one.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        match self.source.as_deref()? {
            Source::Token(_) | Source::PasswordFile => None,
            Source::Traced(trace) => Some(*trace),
        }
    }

    /// Why a token lets nobody in, if that is what this is about.
    #[must_use]
    pub(crate) fn why_invalid(&self) -> Option<&InvalidToken> {
        match self.token()? {
            TokenVerdict::Invalid(why) => Some(why),
            TokenVerdict::Valid => None,
        }
    }

    /// About how much memory it takes beyond its own size, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let session_grants =
            self.session_grants.as_ref().map_or(0, |session_grants| session_grants.bytes());
        session_grants
            + self.reason.as_ref().map_or(0, |reason| REASON_BYTES + reason.len())
            + self.source.as_ref().map_or(0, |_| size_of::<Source>())
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is malformed, or longer than 16 KiB",
            Self::Algorithm => "its algorithm is not allowed, or not with its key",
            Self::UnknownKey => "no key of its kid is known",
            Self::Signature => "its signature is wrong",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::Issuer => "its iss is not jwt_issuer",
            Self::Audience => "its aud is not jwt_audience",
            Self::Claims(problem) => return write!(f, "its claims cannot be used: {problem}"),
            Self::Username => "it is for another username, or for one that no client may have",
            Self::Missing => "it does not have the form of one, and jwt_only is true",
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Allow => "allowed",
            Verdict::Deny => "denied",
            Verdict::Ignore => "left to the broker",
        })
    }
}

/// Why the API gave no answer. A failure is neither a yes nor a no: [`crate::policy`] alone says
/// what follows from it, and nothing ever stores one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The host's name has no address.
    UnknownHost,
    /// The host is there, but nothing listens on the port.
    Refused,
    /// No route leads to the host, or it did not take the connection in time.
    Unreachable,
    /// Connected, but the answer was not complete in time.
    TimedOut,
    /// The connection ended before the answer was complete.
    ConnectionLost,
    /// The TLS handshake failed, by what it says.
    Tls(String),
    /// A status by which the API itself says that it cannot answer (RFC 9110, section 15).
    Status(u16),
    /// What came is not HTTP, breaks off, or does not say what it has to say as it must.
    BrokenAnswer(String),
    /// The answer is still on its way, and the broker cannot be held up any longer for it.
    NotYet,
    /// The API failed too often recently; it is not asked until it has recovered.
    OutOfService,
    /// More questions wait than the queue holds.
    Overloaded,
    /// The plugin is being unloaded.
    Stopping,
    /// A defect in the plugin.
    Internal,
}

impl Failure {
    /// A name for each kind of failure.
    pub const NAMES: &'static [&'static str] = &[
        "unknown host",
        "connection refused",
        "unreachable",
        "timed out",
        "connection lost",
        "TLS failed",
        "failure status",
        "broken answer",
        "no answer yet",
        "out of service",
        "overloaded",
        "stopping",
        "internal error",
    ];

    /// Which of the names is this one's.
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::UnknownHost => 0,
            Self::Refused => 1,
            Self::Unreachable => 2,
            Self::TimedOut => 3,
            Self::ConnectionLost => 4,
            Self::Tls(_) => 5,
            Self::Status(_) => 6,
            Self::BrokenAnswer(_) => 7,
            Self::NotYet => 8,
            Self::OutOfService => 9,
            Self::Overloaded => 10,
            Self::Stopping => 11,
            Self::Internal => 12,
        }
    }

    /// A name for the kind of failure, the same for all of its details.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.kind()]
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Tls(detail) | Self::BrokenAnswer(detail) => {
                write!(f, "{} (", self.name())?;
                for character in detail.chars() {
                    match character {
                        '\'' => f.write_char(character)?,
                        _ => write!(f, "{}", character.escape_debug())?,
                    }
                }
                f.write_char(')')
            }
            _ => f.write_str(self.name()),
        }
    }
}

/// What asking came to.
pub type Outcome = Result<Answer, Failure>;

/// What the plugin tells the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    Allow,
    Deny,
    /// Leave it to the broker's other means.
    Defer,
    /// Nobody can tell now. Not a denial: a login may be tried again.
    Unavailable,
    /// The same, and an MQTT 5 client may be told so.
    UnavailableWithReason,
}
