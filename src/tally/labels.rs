//! The reasons that are counted apart.

#![forbid(unsafe_code)]

use super::counters::Label;
use crate::answer::Failure;

macro_rules! labels {
    ($($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
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
            pub fn name(self) -> &'static str {
                Self::NAMES[self.index()]
            }
        }
    )*};
}

labels! {
    /// Why an answer was not known.
    Miss {
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
    Denial {
        /// The API said so.
        Api = "api",
        /// The password is no text, and is to be sent as one.
        NotUtf8 = "not-utf8",
        /// The username has the form of a name that the plugin gives to clients while they wait.
        ReservedName = "reserved-name",
        /// The API denied this address and username too often lately.
        TooManyFailures = "too-many-failures",
        /// Without a username or a password nobody is asked about.
        EmptyCredentials = "empty-credentials",
        /// The username or the client identifier could pass for a topic filter.
        SpecialChars = "special-chars",
        /// A rule that came with the login's answer says so.
        Rule = "rule",
        /// No such rule allows it, and there is no route to ask.
        NoRule = "no-rule",
        /// Nobody has let this client in.
        NotLetIn = "not-let-in",
    }

    /// What became of a delivery that waited for its answer.
    HeldEnd {
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
    Undecided {
        /// The connection was closed, so that the client subscribes again.
        SubscribeClosed = "subscribe-closed",
        /// The connection was closed, so that the client publishes again.
        PublishClosed = "publish-closed",
        /// A message with QoS 0 was lost.
        PublishDropped = "publish-dropped",
        /// It was denied.
        Denied = "denied",
    }

    /// Why a client was disconnected.
    Kick {
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

impl Label for Failure {
    const NAMES: &'static [&'static str] = Failure::NAMES;
    fn index(&self) -> usize {
        self.kind()
    }
}
