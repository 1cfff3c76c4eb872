//! The reasons that are counted apart.

#![forbid(unsafe_code)]

use super::counters::Label;
use crate::answer::{Failure, InvalidToken};

macro_rules! labels {
    ($($(#[$about:meta])* $vis:vis $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl Label for $name {
            const NAMES: &'static [&'static str] = &[$($text,)*];
            fn index(&self) -> usize {
                *self as usize
            }
        }

        impl $name {
            #[must_use]
            #[allow(dead_code, reason = "not every word is asked for by itself")]
            pub(crate) fn name(self) -> &'static str {
                Self::NAMES[self.index()]
            }
        }
    )*};
}

labels! {
    /// Why an answer was not known.
    pub Miss {
        /// There is none: it was never asked for, or went long ago.
        Absent = "absent",
        /// Its life is over.
        Expired = "expired",
        /// Somebody declared it outdated.
        Outdated = "outdated",
        /// Answers of this kind are not kept.
        NotKept = "not kept",
    }

    /// Why the broker was told no.
    pub(crate) Denial {
        /// The API said so.
        Api = "api",
        /// The password is no text, and is to be sent as one.
        NotUtf8 = "not-utf8",
        /// The username has the form of a name that the plugin gives to clients while they wait.
        ReservedName = "reserved-name",
        /// The API denied this address and username too often recently.
        TooManyFailures = "too-many-failures",
        /// Without a username or a password nobody is asked about.
        EmptyCredentials = "empty-credentials",
        /// The username or the client identifier could pass for a topic filter.
        SpecialChars = "special-chars",
        /// A rule that came with the login's answer says so.
        Rule = "rule",
        /// No such rule allows it, and there is no route to ask.
        NoRule = "no-rule",
        /// A token is none, is too long, or demands what is not understood.
        TokenMalformed = "token-malformed",
        /// A token is signed by an algorithm that is not allowed, or not with its key.
        TokenAlgorithm = "token-algorithm",
        /// No key of a token's `kid` is known.
        TokenKey = "token-key",
        TokenSignature = "token-signature",
        TokenExpired = "token-expired",
        TokenNotYetValid = "token-not-yet-valid",
        TokenIssuer = "token-issuer",
        TokenAudience = "token-audience",
        /// A claim is not what it must be.
        TokenClaims = "token-claims",
        /// A token is somebody else's, or names nobody.
        TokenUsername = "token-username",
        /// The password is no token, and `jwt_only` wants one.
        TokenMissing = "token-missing",
        /// A password file of mosquitto-go-auth's backend `files` does not let in, and there is no route to ask.
        PasswordFile = "password-file",
        /// Neither does its access list.
        AclFile = "acl-file",
        /// Nobody has let this client in.
        NotLetIn = "not-let-in",
    }

    /// What became of a delivery that waited for its answer.
    pub(crate) HeldEnd {
        /// The API allows it, and it was sent.
        Delivered = "delivered",
        /// The API, or a rule, denies it.
        Denied = "denied",
        /// There was no answer within `hold_ms`.
        Expired = "expired",
        /// There was no room for it.
        NoRoom = "no-room",
        /// The API leaves it to the broker's other means, which cannot be asked later.
        LeftToBroker = "left-to-broker",
        /// The client's session is over, or somebody else has its identifier.
        Gone = "gone",
        /// What the client may do was declared outdated, or the client was disconnected.
        Revoked = "revoked",
    }

    /// What followed for a publish or a subscription that nobody could decide.
    pub(crate) Undecided {
        /// The connection was closed, so that the client subscribes again.
        SubscribeClosed = "subscribe-closed",
        /// The connection was closed, so that the client publishes again.
        PublishClosed = "publish-closed",
        /// A message with QoS 0 was lost.
        PublishDropped = "publish-dropped",
        /// It was denied.
        Denied = "denied",
    }

    /// What became of an event that the API was to be told.
    pub(crate) EventEnd {
        /// It has it.
        Sent = "sent",
        /// It does not want it.
        Refused = "refused",
        /// More waited than may.
        NoRoom = "no-room",
        /// The broker ended before.
        Unsent = "unsent",
    }

    /// Why a client was disconnected.
    pub(crate) Kick {
        /// The API was asked about it again, and no longer lets it in.
        Revoked = "revoked",
        /// The API was asked about it again, and gives it another name.
        Renamed = "renamed",
        /// Somebody commanded it.
        Command = "command",
        /// The API let it in, and the broker itself refused it.
        RefusedByBroker = "refused-by-broker",
    }
}

impl From<&InvalidToken> for Denial {
    fn from(why: &InvalidToken) -> Self {
        match why {
            InvalidToken::Malformed => Self::TokenMalformed,
            InvalidToken::Algorithm => Self::TokenAlgorithm,
            InvalidToken::UnknownKey => Self::TokenKey,
            InvalidToken::Signature => Self::TokenSignature,
            InvalidToken::Expired => Self::TokenExpired,
            InvalidToken::NotYetValid => Self::TokenNotYetValid,
            InvalidToken::Issuer => Self::TokenIssuer,
            InvalidToken::Audience => Self::TokenAudience,
            InvalidToken::Claims(_) => Self::TokenClaims,
            InvalidToken::Username => Self::TokenUsername,
            InvalidToken::Missing => Self::TokenMissing,
        }
    }
}

impl Label for Failure {
    const NAMES: &'static [&'static str] = Failure::NAMES;
    fn index(&self) -> usize {
        self.kind()
    }
}
