//! What the API is told: the fields of a request, each with its name and its value.
//!
//! The cache's key and the request's body are both made from the same list of fields. So a key
//! holds exactly what the answer can depend on, and nothing else: it cannot go out of step.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::question::{
    About, Access, Action, Attributes, CertificatePart, Kind, Password, Question,
};

/// A field of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Username,
    Password,
    ClientId,
    Topic,
    Acc,
    /// What is done, in the words of EMQX.
    Action,
    PeerHost,
    /// The same, where a client that comes over a websocket can choose its address.
    PeerHostUnlessWebsocket,
    Protocol,
    ProtocolVersion,
    Keepalive,
    CleanSession,
    CertCommonName,
    CertSubject,
    CertFingerprint,
    CertIssuer,
    CertSerial,
    CertPem,
    Qos,
    Retain,
    ClientAttrs,
}

/// What a field holds for one question.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Base64(&'a [u8]),
    Number(u64),
    Flag(bool),
    Attributes(&'a Attributes),
    /// JSON `null`: the broker does not know, for example the certificate of a client without one.
    Absent,
}

impl Field {
    /// Fields that `http_user_fields` may add.
    pub(crate) const FOR_LOGIN: &'static [Self] = &[
        Self::ClientId,
        Self::PeerHost,
        Self::Protocol,
        Self::ProtocolVersion,
        Self::Keepalive,
        Self::CleanSession,
        Self::CertCommonName,
        Self::CertSubject,
        Self::CertFingerprint,
        Self::CertIssuer,
        Self::CertSerial,
        Self::CertPem,
    ];

    /// Fields that `http_acl_fields` may name. The client identifier is there anyway.
    pub(crate) const FOR_ACCESS: &'static [Self] = &[
        Self::ClientId,
        Self::PeerHost,
        Self::Protocol,
        Self::ProtocolVersion,
        Self::Keepalive,
        Self::CleanSession,
        Self::CertCommonName,
        Self::CertSubject,
        Self::CertFingerprint,
        Self::CertIssuer,
        Self::CertSerial,
        Self::CertPem,
        Self::Qos,
        Self::Retain,
        Self::ClientAttrs,
    ];

    /// The field's name on the wire and in the options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Password => "password",
            Self::ClientId => "clientid",
            Self::Topic => "topic",
            Self::Acc => "acc",
            Self::Action => "action",
            Self::PeerHost | Self::PeerHostUnlessWebsocket => "peerhost",
            Self::Protocol => "protocol",
            Self::ProtocolVersion => "protocol_version",
            Self::Keepalive => "keepalive",
            Self::CleanSession => "clean_session",
            Self::CertCommonName => "cert_common_name",
            Self::CertSubject => "cert_subject",
            Self::CertFingerprint => "cert_fingerprint",
            Self::CertIssuer => "cert_issuer",
            Self::CertSerial => "cert_serial",
            Self::CertPem => "cert_pem",
            Self::Qos => "qos",
            Self::Retain => "retain",
            Self::ClientAttrs => "client_attrs",
        }
    }

    /// What the field holds for this question.
    #[must_use]
    pub(crate) fn value<'a>(self, question: &Question<'a>) -> Value<'a> {
        let client = question.client;
        match self {
            Self::Username => question.username.into(),
            Self::Password => match question.about {
                About::Login { password: Password::Text(text) } => text.into(),
                About::Login { password: Password::Base64(bytes) } => Value::Base64(bytes),
                About::Token(_) | About::Superuser | About::Access(_) => Value::Absent,
            },
            Self::ClientId => client.id().into(),
            Self::PeerHost => client.peer().map(|address| address.to_string()).into(),
            Self::PeerHostUnlessWebsocket => {
                client.peer_unless_websocket().map(|address| address.to_string()).into()
            }
            Self::Protocol => client.protocol().into(),
            Self::ProtocolVersion => Value::Number(client.protocol_version()),
            Self::Keepalive => Value::Number(client.keepalive()),
            Self::CleanSession => Value::Flag(client.clean_session()),
            Self::CertCommonName
            | Self::CertSubject
            | Self::CertFingerprint
            | Self::CertIssuer
            | Self::CertSerial
            | Self::CertPem => {
                self.certificate_part().and_then(|part| client.certificate(part)).into()
            }
            Self::ClientAttrs => question.attributes.map_or(Value::Absent, Value::Attributes),
            Self::Topic | Self::Acc | Self::Action | Self::Qos | Self::Retain => {
                match question.about {
                    About::Access(action) => self.of_action(&action),
                    About::Login { .. } | About::Token(_) | About::Superuser => Value::Absent,
                }
            }
        }
    }

    /// What of the client's certificate the field tells; none of a field that is not about one.
    #[must_use]
    pub(crate) fn certificate_part(self) -> Option<CertificatePart> {
        match self {
            Self::CertCommonName => Some(CertificatePart::CommonName),
            Self::CertSubject => Some(CertificatePart::Subject),
            Self::CertFingerprint => Some(CertificatePart::Fingerprint),
            Self::CertIssuer => Some(CertificatePart::Issuer),
            Self::CertSerial => Some(CertificatePart::Serial),
            Self::CertPem => Some(CertificatePart::Pem),
            _ => None,
        }
    }

    fn of_action<'a>(self, action: &Action<'a>) -> Value<'a> {
        match self {
            Self::Topic => action.topic.into(),
            Self::Acc => Value::Number(action.access.acc()),
            // Whoever may subscribe to it may be sent it.
            Self::Action if action.access == Access::Write => "publish".into(),
            Self::Action => "subscribe".into(),
            Self::Qos => Value::Number(action.qos.into()),
            Self::Retain => Value::Flag(action.retain),
            _ => Value::Absent,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Absent, |text| Self::Text(Cow::Owned(text)))
    }
}

/// The fields of each kind of request, in the order of the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldLists {
    login: Vec<Field>,
    access: Vec<Field>,
}

impl FieldLists {
    /// The fields of the contract, and those that the options add.
    #[must_use]
    pub fn with_extra(login: &[Field], access: &[Field]) -> Self {
        Self {
            login: joined(&[Field::Username, Field::Password], login),
            access: joined(&[Field::Username, Field::ClientId, Field::Topic, Field::Acc], access),
        }
    }

    /// The same, with no address of a client that comes over a websocket.
    #[must_use]
    pub(crate) fn without_websocket_addresses(mut self) -> Self {
        for field in self.login.iter_mut().chain(&mut self.access) {
            if *field == Field::PeerHost {
                *field = Field::PeerHostUnlessWebsocket;
            }
        }
        self
    }

    /// The same with `action` in the place of `acc`, for APIs that were written for EMQX.
    #[must_use]
    pub(crate) fn of_emqx(login: &[Field], access: &[Field]) -> Self {
        let mut lists = Self::with_extra(login, access);
        for field in &mut lists.access {
            if *field == Field::Acc {
                *field = Field::Action;
            }
        }
        lists
    }

    /// The fields of mosquitto-go-auth, which sends them in the order of the alphabet, and those that the
    /// options add.
    #[must_use]
    pub(crate) fn of_go_auth(login: &[Field], access: &[Field]) -> Self {
        let own = [Field::Acc, Field::ClientId, Field::Topic, Field::Username];
        Self {
            login: joined(&[Field::ClientId, Field::Password, Field::Username], login),
            access: joined(&own, access),
        }
    }

    #[must_use]
    pub fn of(&self, kind: Kind) -> &[Field] {
        match kind {
            Kind::Login => &self.login,
            Kind::Superuser => &[Field::Username],
            Kind::Access => &self.access,
        }
    }
}

/// These fields, and those of the others that are not among them.
fn joined(fields: &[Field], others: &[Field]) -> Vec<Field> {
    let added = others.iter().filter(|field| !fields.contains(field));
    fields.iter().chain(added).copied().collect()
}
