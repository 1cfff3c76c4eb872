//! Who asks for what: the vocabulary of everything that the plugin may be asked.
//!
//! Questions borrow from the broker's event, so that one answered from the cache copies nothing.

#![forbid(unsafe_code)]

use std::any::Any;
use std::net::IpAddr;

mod attributes;
mod snapshot;
pub use attributes::Attributes;
pub(crate) use attributes::MOST_ATTRIBUTES;
pub use snapshot::ClientSnapshot;

/// What a client wants to do with a topic, by the broker's access numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A message is about to be delivered to the client.
    Read,
    /// The client publishes, or its Will is about to be published.
    Write,
    /// The client subscribes to a topic filter.
    Subscribe,
    /// The client gives a subscription up. Always allowed, never sent to the API.
    Unsubscribe,
}

impl Access {
    /// The number that the API sees as `acc`.
    #[must_use]
    pub fn acc(self) -> u64 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Subscribe => 4,
            Self::Unsubscribe => 8,
        }
    }
}

/// A part of the certificate that a client presented on a TLS listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificatePart {
    /// The subject's common name.
    CommonName,
    /// The whole subject, written as RFC 2253 says.
    Subject,
    /// The whole name of who issued it, written as RFC 2253 says.
    Issuer,
    /// The serial number, in lower-case hexadecimal digits, two for each byte.
    Serial,
    /// The SHA-256 of the certificate (its DER), in lower-case hexadecimal digits.
    Fingerprint,
    /// The certificate itself (RFC 7468, section 5).
    Pem,
}

/// What the broker knows about a client, looked up only when it is needed.
pub trait Client {
    /// The client identifier.
    fn id(&self) -> &str;
    /// What the broker calls the address that the client connected from: also the path of a Unix
    /// socket, or what a websocket client says of itself. None for a session that was restored from
    /// disk.
    fn address(&self) -> Option<&str>;
    /// `mqtt` or `websockets`.
    fn protocol(&self) -> &'static str;
    /// 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0.
    fn protocol_version(&self) -> u64;
    /// The keep alive, in seconds.
    fn keepalive(&self) -> u64;
    /// Clean Session (3.1.1) or Clean Start (5.0).
    fn clean_session(&self) -> bool;
    /// A part of the client's certificate; none without one.
    fn certificate(&self, part: CertificatePart) -> Option<String>;
    /// A number that is this client's own for as long as it is connected.
    fn handle(&self) -> usize;
    /// Has the broker know the client by this username from now on; whether it does.
    fn set_username(&self, username: &str) -> bool;
    /// Has the broker know the client by this identifier from now on, whose login it asks about; whether
    /// it does. What [`Client::id`] says stays.
    fn set_id(&self, id: &str) -> bool;
}

impl dyn Client + '_ {
    /// The address that the client connected from, an IPv4 one as such (RFC 4291, section 2.5.5.2).
    /// None where the broker names something else, as the path of a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.address()?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    /// The same; none for a client that came over a websocket, where such a client may have chosen
    /// the address.
    #[must_use]
    pub(crate) fn peer_unless_websocket(&self) -> Option<IpAddr> {
        self.peer().filter(|_| self.protocol() != WEBSOCKETS)
    }
}

/// What [`Client::protocol`] calls a client that came over a websocket, and every other one.
pub(crate) const WEBSOCKETS: &str = "websockets";
pub const MQTT: &str = "mqtt";

/// What is told of a client, in the log and to the API.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'a> {
    pub client_id: &'a str,
    /// Empty: it has none.
    pub username: &'a str,
    /// Where it comes from, if that is known and not for the client to choose.
    pub address: Option<IpAddr>,
    /// [`Client::protocol`] and [`Client::protocol_version`].
    pub protocol: &'static str,
    pub protocol_version: u64,
}

/// A password as the API gets to see it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Password<'a> {
    /// Sent as it is.
    Text(&'a str),
    /// Any bytes, sent as base64 (RFC 4648, section 4).
    Base64(&'a [u8]),
}

/// What is done to which topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Action<'a> {
    pub access: Access,
    /// A topic name, or for [`Access::Subscribe`] a topic filter.
    pub topic: &'a str,
    /// The message's QoS, or the QoS that a subscription asks for.
    pub qos: u8,
    pub retain: bool,
}

impl Action<'_> {
    #[must_use]
    pub(crate) fn flags(&self) -> MessageFlags {
        MessageFlags::of(self.access, self.qos, self.retain)
    }
}

/// What is done, but for the topic, in one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MessageFlags(u8);

impl MessageFlags {
    /// MQTT knows three levels of quality of service; whatever else a broker may say is a fourth.
    const OTHER_QOS: u8 = 3;

    #[must_use]
    pub(crate) const fn of(access: Access, qos: u8, retain: bool) -> Self {
        let kind = match access {
            Access::Read => 0,
            Access::Write => 1,
            Access::Subscribe => 2,
            Access::Unsubscribe => 3,
        };
        let qos = if qos < Self::OTHER_QOS { qos } else { Self::OTHER_QOS };
        Self(kind << 3 | qos << 1 | retain as u8)
    }
}

/// A delivery or a publish as the broker asks about it, in bytes that nobody has looked through yet:
/// that is enough to see whether the same was asked before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAclCheck<'a> {
    /// See [`Client::handle`].
    pub handle: usize,
    pub client_id: &'a [u8],
    pub username: &'a [u8],
    pub topic: &'a [u8],
    /// [`Access::Read`] or [`Access::Write`].
    pub access: Access,
    pub flags: MessageFlags,
}

/// How a client's connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Departure {
    /// Its session is over.
    Ended,
    /// It is offline; its session is kept.
    Offline,
    /// One or the other, or somebody else has its identifier: 2.0 says no more.
    Unclear,
}

/// Why a client's connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disconnection {
    /// The client said that it leaves.
    ByClient,
    ConnectionLost,
    /// It was silent for one and a half times its keep alive (MQTT 5.0, section 3.1.2.10).
    KeepAlive,
    /// Another came with its identifier.
    TakenOver,
    /// The plugin, or whoever administers the broker, disconnected it.
    Kicked,
    /// The broker ended.
    BrokerStopped,
    /// Whatever else, such as a breach of the protocol.
    Error,
}

impl Disconnection {
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ByClient => "client",
            Self::ConnectionLost => "connection-lost",
            Self::KeepAlive => "keep-alive",
            Self::TakenOver => "taken-over",
            Self::Kicked => "kicked",
            Self::BrokerStopped => "broker-stopped",
            Self::Error => "error",
        }
    }
}

/// Properties of MQTT 5 that only the broker can read.
pub struct Properties {
    pub list: Box<dyn Any + Send>,
    /// About how much memory they take.
    pub bytes: usize,
}

/// What a message is beside its topic, QoS and RETAIN flag, for whoever has to keep it.
pub trait Payload {
    fn bytes(&self) -> &[u8];
    /// A copy of its properties; none where the broker tells of none.
    fn properties(&self) -> Option<Properties>;
}

/// A question's name among all brokers of a fleet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SharedName(pub(crate) [u8; 24]);

/// The kinds of question; each has a route at the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Login,
    Superuser,
    Access,
}

/// One question for the API.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub client: &'a dyn Client,
    pub username: &'a str,
    /// What the API said of the client when it let it in.
    pub attributes: Option<&'a Attributes>,
    pub about: About<'a>,
}

/// What a [`Question`] is about.
#[derive(Clone, Copy)]
pub enum About<'a> {
    /// May this user log in?
    Login { password: Password<'a> },
    /// The same, of somebody who bears a token in place of a password; nobody is asked.
    Token(&'a str),
    /// Is this user a superuser?
    Superuser,
    /// May this user do this?
    Access(Action<'a>),
}

impl Question<'_> {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.about {
            About::Login { .. } | About::Token(_) => Kind::Login,
            About::Superuser => Kind::Superuser,
            About::Access(_) => Kind::Access,
        }
    }

    /// How long all that a client chooses of it is, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let about = match self.about {
            About::Login { password: Password::Text(text) } | About::Token(text) => text.len(),
            About::Login { password: Password::Base64(bytes) } => bytes.len(),
            About::Superuser => 0,
            About::Access(action) => action.topic.len(),
        };
        self.client.id().len() + self.username.len() + about
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeClient;

    #[test]
    fn an_address_is_one_that_parses() {
        let peer = |address: &str| {
            let client = FakeClient { address: Some(address.to_owned()), ..FakeClient::default() };
            (&client as &dyn Client).peer().map(|address| address.to_string())
        };
        assert_eq!(peer("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(peer("2001:DB8::1").as_deref(), Some("2001:db8::1"));
        for no_address in ["", "/run/mosquitto.sock", "192.0.2.7 username=", "192.0.2.7:1883"] {
            assert_eq!(peer(no_address), None, "{no_address}");
        }
    }
}
