//! The plugin's configuration: what it is after every option was read, checked and defaulted.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::api_format::ApiFormat;
use crate::field::FieldLists;
use crate::policy::OnError;
use crate::question::Kind;
use crate::secret::Secret;

mod choices;
mod credentials;
mod described;
mod edit_distance;
mod error;
mod fleet;
mod leftovers;
mod legacy;
mod options;
mod raw_config;
mod read;
mod resolved;
mod special;
mod tokens;
mod values;
pub use credentials::Identity;
pub use credentials::{Credentials, Sources};
pub use described::{Described, described, route_option};
pub use edit_distance::edit_distance;
pub use error::ConfigError;
pub use fleet::FleetConfig;
pub(crate) use fleet::{FleetCredentials, RedisKind, RedisServer};
pub use read::{read, read_for};
pub use resolved::{Origin, Setting, settings};
pub use special::SpecialChars;
pub(crate) use tokens::TokenUsername;
pub use tokens::TokensConfig;

/// Everything that the plugin was told.
#[derive(Clone, Debug)]
pub struct Config {
    pub endpoints: Vec<Endpoint>,
    /// The port of each endpoint that named none of its own.
    pub port: u16,
    pub https: bool,
    pub routes: Routes,
    pub fields: FieldLists,
    pub api_format: ApiFormat,
    pub sources: Sources,
    /// What was read from the sources at the start.
    pub credentials: Credentials,
    /// For a whole request, from connecting to the answer's last byte.
    pub timeout: Duration,
    /// For reaching the API: the TCP connection and the TLS handshake.
    pub connect_timeout: Duration,
    /// Requests in flight at once, and so workers.
    pub connections: usize,
    /// Whether the API's certificate is verified.
    pub tls_verify: bool,
    pub(crate) user_agent: String,
    pub cache: CacheConfig,
    pub breaker: BreakerConfig,
    /// The longest that one question may hold up the broker.
    pub max_block: Duration,
    /// The share of the time that all waits together may take, in percent.
    pub max_block_percent: u8,
    pub on_error: OnError,
    /// What follows for a publish or a subscription that nobody can decide.
    pub(crate) acl_unavailable: AclUnavailable,
    /// For how long a delivery may wait for its answer, and how much memory all of them may take.
    pub hold: Duration,
    pub hold_max_bytes: u64,
    /// The name to ask under for a client without one.
    pub anonymous_username: Option<String>,
    /// The same, for what it may do alone.
    pub(crate) anonymous_access: Option<String>,
    pub empty_credentials: EmptyCredentials,
    pub password_encoding: PasswordEncoding,
    pub local_users: Option<LocalUsersConfig>,
    /// mosquitto-go-auth's backend `files`; none: it is not among the `backends`.
    pub files: Option<FilesConfig>,
    /// What is said about tokens; see [`Config::tokens`].
    pub(crate) tokens: TokensConfig,
    /// Characters that no name of a client may hold; none: any may.
    pub special_chars: SpecialChars,
    /// Denials after which an address and username are refused unasked; 0: never.
    pub login_failures_max: usize,
    pub login_failures_window: Duration,
    pub websocket_address: WebsocketAddress,
    /// Whether logins may be answered later, where the broker can do that.
    pub delayed_login: bool,
    pub(crate) unavailable_reply: UnavailableReply,
    pub log_level: LevelFilter,
    /// Whether each request has a trace id, which the log tells.
    pub trace: bool,
    /// Of what the API is told, if there is a route for that.
    pub(crate) events: Vec<EventKind>,
    /// Where metrics are served; none: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// How often the topics below `$SYS` are brought up to date; none: never.
    pub sys_interval: Option<Duration>,
    /// The brokers that this one shares answers with; none: it is alone.
    pub fleet: Option<FleetConfig>,
    /// What there is to say about the options at every start, as a warning.
    pub warnings: Vec<String>,
}

/// What follows for a client that gives no username, or no password, and is not asked about under
/// another name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum EmptyCredentials {
    /// Without a username it is left to the broker; a password may be empty.
    #[default]
    Own,
    /// It is denied unasked.
    Deny,
}

/// One host that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// The URL's beginning, up to where the route follows (RFC 3986, section 3.2). A default port
    /// is left out, as RFC 9110 (section 7.2) wants it for the Host field.
    #[must_use]
    pub fn origin(&self, https: bool) -> String {
        let (scheme, default_port) = if https { ("https", 443) } else { ("http", 80) };
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }
}

/// The path and query of each kind of question; none: that kind is left to the broker.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Routes {
    pub login: Option<String>,
    pub superuser: Option<String>,
    pub access: Option<String>,
    /// Where many questions of the kind `access` are asked in one request.
    pub batch: Option<String>,
    /// Where the API is told of events.
    pub events: Option<String>,
}

impl Routes {
    #[must_use]
    pub(crate) fn of(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Login => self.login.as_deref(),
            Kind::Superuser => self.superuser.as_deref(),
            Kind::Access => self.access.as_deref(),
        }
    }
}

/// A route as a log may show it: what stands in its query may be a secret.
#[must_use]
pub(crate) fn without_query(route: &str) -> Cow<'_, str> {
    match route.split_once('?') {
        Some((path, _)) => Cow::Owned(format!("{path}?…")),
        None => Cow::Borrowed(route),
    }
}

/// A header on every request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    pub name: String,
    pub value: Secret,
}

/// How long answers of one kind live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    pub allow: Duration,
    pub deny: Duration,
    pub jitter: Jitter,
}

/// What chance does to a lifetime, so that answers stored together do not expire together.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Jitter {
    /// Takes a share of it away: no answer is older than its lifetime.
    #[default]
    Shorter,
    /// Adds up to so much, or takes it away, as the plugins that came before did.
    Around(Duration),
}

impl Jitter {
    /// The largest share that is taken away.
    pub(crate) const SHARE: f64 = 0.10;

    /// A lifetime by chance, which is between 0 and 1.
    #[must_use]
    pub fn of(self, lifetime: Duration, chance: f64) -> Duration {
        match self {
            Self::Shorter => lifetime.mul_f64(1.0 - Self::SHARE * chance),
            Self::Around(most) => {
                let most = most.min(lifetime);
                lifetime - most + most.mul_f64(2.0 * chance)
            }
        }
    }
}

/// How long answers live, and how much room they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheConfig {
    /// What holds for each kind of answer that has no lifetime of its own.
    pub ttl: Duration,
    pub login: Lifetime,
    /// For answers about topics, and about who is a superuser.
    pub access: Lifetime,
    pub max_bytes: u64,
    /// Whether an answer in use is asked for again before it expires.
    pub(crate) refresh_ahead: bool,
    /// For how long past its life a permission may serve while the API fails.
    pub(crate) stale_if_error: Duration,
    /// How often clients that are in are asked about again; zero: never.
    pub revalidate: Duration,
}

/// When an endpoint is given up for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerConfig {
    /// Consecutive failures.
    pub failures: u64,
    /// How long before it is tried again.
    pub rest: Duration,
}

/// How passwords are written into JSON.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum PasswordEncoding {
    /// As text; a password that is not UTF-8 is denied.
    #[default]
    Utf8,
    /// As base64 of its bytes.
    Base64,
}

/// What a client sees of a login that nobody could decide.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum UnavailableReply {
    /// The connection is closed without a CONNACK; every client library tries again.
    #[default]
    Close,
    /// A CONNACK with reason code 0x88 (MQTT 5.0, section 3.2.2.2), where the broker can send it.
    Reason,
}

/// What a client sees of a publish or a subscription that nobody could decide.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum AclUnavailable {
    /// Its connection is closed, so that it connects and asks again; a publish with QoS 0 is dropped.
    #[default]
    Close,
    /// It is denied.
    Deny,
}

/// What the API can be told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EventKind {
    Connected,
    Disconnected,
    LoginDenied,
    /// The plugin disconnects a client.
    Kicked,
}

impl EventKind {
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::LoginDenied => "login_denied",
            Self::Kicked => "kicked",
        }
    }
}

/// What is made of the address of a client that comes over a websocket, where Mosquitto 2.0 takes it
/// from a header that the client sends.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum WebsocketAddress {
    /// It is not known.
    #[default]
    Unknown,
    /// A proxy in front of the broker overwrites the header.
    Trust,
}

/// The users that are left to Mosquitto's own `password_file`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalUsersConfig {
    pub file: PathBuf,
    pub acl: LocalUsersAcl,
}

/// The files of mosquitto-go-auth's backend `files`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilesConfig {
    pub passwords: Option<PathBuf>,
    pub acl: Option<PathBuf>,
    pub(crate) salt: SaltEncoding,
    /// Whether `http` is not among the backends, so that the files have the last word.
    pub alone: bool,
    /// Which checks `files_register` has the files decide.
    pub(crate) decides_logins: bool,
    pub(crate) decides_access: bool,
}

/// How the salt of a password's hash is written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum SaltEncoding {
    #[default]
    Base64,
    /// As it is.
    Utf8,
}

/// What follows for the ACL checks of local users.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum LocalUsersAcl {
    #[default]
    Allow,
    /// To the broker's other means, such as `acl_file`.
    Defer,
}

impl Config {
    /// The name to ask under for a client without one, be it about its login or about topics alone.
    pub(crate) fn stand_in(&self) -> Option<&str> {
        self.anonymous_username.as_deref().or(self.anonymous_access.as_deref())
    }

    /// The same for a broker in which clients that come over a websocket can choose their address, or
    /// cannot, so that it is believed. One that is not believed is not sent either.
    #[must_use]
    pub(crate) fn where_websockets_choose(self, they_choose: bool) -> Self {
        if !they_choose {
            return Self { websocket_address: WebsocketAddress::Trust, ..self };
        }
        match self.websocket_address {
            WebsocketAddress::Trust => self,
            WebsocketAddress::Unknown => {
                Self { fields: self.fields.without_websocket_addresses(), ..self }
            }
        }
    }
}

impl fmt::Display for Config {
    /// The line that the plugin logs when it starts. Holds no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> = self.endpoints.iter().map(|e| e.origin(self.https)).collect();
        write!(f, "asking {}", origins.join(", "))?;
        for (what, kind) in
            [("user", Kind::Login), ("superuser", Kind::Superuser), ("acl", Kind::Access)]
        {
            write!(
                f,
                ", {what} route {}",
                self.routes.of(kind).map_or("unset".into(), without_query)
            )?;
        }
        let seconds = |ttl: Duration| ttl.as_secs();
        write!(
            f,
            ", answers live {} s (logins), {} s (ACLs), {} s (denials)",
            seconds(self.cache.login.allow),
            seconds(self.cache.access.allow),
            seconds(self.cache.access.deny)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn what_may_be_a_secret_in_a_routes_query_is_not_shown() {
        let given = [
            ("http_host", "a"),
            ("http_user_route", "/u?key=hunter2"),
            ("http_superuser_route", "/s?key=hunter2"),
            ("http_acl_route", "/a?key=hunter2"),
            ("http_acl_batch_route", "/b?key=hunter2"),
            ("http_jwks_route", "/j?key=hunter2"),
            ("http_event_route", "/e?key=hunter2"),
        ];
        let mut given = fake::pairs(&given);
        let config = read(&given).unwrap();
        let line = config.to_string();
        assert!(line.contains("user route /u?…") && !line.contains("hunter2"), "{line}");
        let settings = format!("{:?}", settings(&config, &given));
        for shown in ["/u?…", "/s?…", "/a?…", "/b?…", "/j?…", "/e?…"] {
            assert!(settings.contains(shown), "{shown}: {settings}");
        }
        assert!(!settings.contains("hunter2"), "{settings}");
        given.push(("http_acl_route".to_owned(), "/a b?key=hunter2".to_owned()));
        let errors = format!("{:?}", read(&given).unwrap_err());
        assert!(!errors.contains("hunter2"), "{errors}");
    }

    #[test]
    fn an_origin_leaves_its_default_port_out() {
        let origin = |host: &str, port, https| Endpoint { host: host.into(), port }.origin(https);
        assert_eq!(origin("api", 80, false), "http://api");
        assert_eq!(origin("api", 443, false), "http://api:443");
        assert_eq!(origin("api", 443, true), "https://api");
        assert_eq!(origin("::1", 8080, true), "https://[::1]:8080");
    }
}
