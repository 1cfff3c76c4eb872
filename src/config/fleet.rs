//! What a fleet of brokers shares answers by: a Redis, a secret, and how far each is trusted.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::time::Duration;

use super::{ConfigError, values};
use crate::question::Kind;
use crate::secret::Secret;

/// How short a secret may be, in bytes.
const SHORTEST_SECRET: usize = 32;

/// The options whose values are secrets.
pub(crate) const SECRETS: [&str; 2] = ["fleet_redis_password", "fleet_secret"];

/// A fleet that this broker belongs to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FleetConfig {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) kind: RedisKind,
    /// The name by which Sentinels know the master; nothing else has one.
    pub(crate) master: Option<String>,
    pub username: Option<String>,
    pub database: u32,
    pub tls: bool,
    /// What one question may wait for Redis.
    pub timeout: Duration,
    pub name: String,
    /// Who shares answers, where that is said.
    pub scope: Option<String>,
    /// This broker.
    pub broker: String,
    pub share: Vec<Kind>,
    pub(crate) blind_ttl: Duration,
    pub ack: Duration,
}

impl FleetConfig {
    /// A name that Redis takes for a connection's: printable, and without blanks.
    #[must_use]
    pub(crate) fn client_name(&self) -> String {
        self.broker.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
    }

    /// What does not go together, and what is to be warned of.
    pub(crate) fn check(
        &self,
        sources: &FleetSources,
        warnings: &mut Vec<String>,
    ) -> Option<ConfigError> {
        if self.servers.is_empty() {
            return None;
        }
        let in_clear = |secret: &Secret| !secret.expose().starts_with(b"@");
        let in_clear = |s: &Secret| in_clear(s) && !s.expose().starts_with(b"$");
        if sources.password.as_ref().is_some_and(in_clear) {
            warnings.push(
                "the password at Redis stands in clear in the configuration; fleet_redis_password \
                 @FILE or $NAME keeps it out of it"
                    .to_owned(),
            );
        }
        if !self.tls && self.servers.iter().any(RedisServer::is_remote) {
            warnings.push(
                "fleet_redis without fleet_redis_tls: whoever is between the broker and Redis can \
                 read the password, and forget or withhold what was taken back"
                    .to_owned(),
            );
        }
        let error = |text: &str| Some(ConfigError::overall(text.to_owned()));
        match (self.kind, &self.master) {
            (RedisKind::Sentinel, None) => {
                return error(
                    "option fleet_redis_master is required with fleet_redis_kind sentinel",
                );
            }
            (RedisKind::Single | RedisKind::Cluster, Some(_)) => {
                return error("option fleet_redis_master needs fleet_redis_kind sentinel");
            }
            _ => {}
        }
        if self.kind == RedisKind::Cluster && self.database != 0 {
            return error("option fleet_redis_database does not go with fleet_redis_kind cluster");
        }
        if self.kind == RedisKind::Single && self.servers.len() > 1 {
            return error(
                "option fleet_redis names several servers; allowed with fleet_redis_kind single: one",
            );
        }
        if self.username.is_some() && sources.password.is_none() {
            return error("option fleet_redis_username needs fleet_redis_password");
        }
        None
    }

    /// A fleet needs servers, and each of its brokers a name.
    pub(crate) fn if_there(self) -> Option<Self> {
        let broker = if self.broker.is_empty() { host_name() } else { self.broker };
        (!self.servers.is_empty()).then_some(Self { broker, ..self })
    }
}

/// Where a Redis, a Sentinel or a node listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RedisServer {
    Tcp { host: String, port: u16 },
    Unix(String),
}

impl RedisServer {
    /// Whether what goes there leaves the machine.
    #[must_use]
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp { host, .. } => {
                let address = host.parse().map(|ip: std::net::IpAddr| ip.is_loopback());
                host != "localhost" && !address.unwrap_or(false)
            }
        }
    }
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => f.write_str(path),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What the servers are that are named.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum RedisKind {
    #[default]
    Single,
    Sentinel,
    Cluster,
}

pub(crate) const KINDS: &[(&str, RedisKind)] = &[
    ("single", RedisKind::Single),
    ("sentinel", RedisKind::Sentinel),
    ("cluster", RedisKind::Cluster),
];

/// Where a fleet's secrets come from, and certificates.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct FleetSources {
    /// Whether there is a fleet at all.
    pub is_there: bool,
    pub tls: bool,
    /// As the options say it: itself, `@path` or `$NAME`.
    pub password: Option<Secret>,
    pub secret: Option<Secret>,
    pub ca_file: Option<String>,
}

/// What was read from there.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct FleetCredentials {
    pub password: Option<Secret>,
    /// Seals with the first one, and opens with all.
    pub secrets: Vec<Secret>,
    /// Certificates in PEM; none: the system's.
    pub authorities: Option<Vec<u8>>,
}

impl FleetSources {
    /// Whether there is anything that may change while the broker runs.
    pub(crate) fn may_change(&self) -> bool {
        let in_a_file = |secret: &Secret| secret.expose().starts_with(b"@");
        self.ca_file.is_some() || self.password.as_ref().is_some_and(in_a_file)
    }

    /// The files that options name, each with its option.
    pub(crate) fn files(&self) -> Vec<(&'static str, String)> {
        let in_a_file = |given: &Option<Secret>| {
            let given = String::from_utf8_lossy(given.as_ref()?.expose()).into_owned();
            Some(given.strip_prefix('@')?.to_owned())
        };
        let ca_file = self.ca_file.clone().filter(|_| self.tls);
        let [password, secret] = [&self.password, &self.secret].map(in_a_file);
        let named = SECRETS.into_iter().zip([password, secret]);
        let named = named.chain([("fleet_redis_tls_ca_file", ca_file)]);
        named.filter(|_| self.is_there).filter_map(|(name, file)| Some((name, file?))).collect()
    }

    pub(crate) fn read(&self) -> Result<FleetCredentials, ConfigError> {
        if !self.is_there {
            return Ok(FleetCredentials::default());
        }
        let problem = |problem: String| ConfigError::secret_value("fleet_redis_password", &problem);
        let password = self
            .password
            .as_ref()
            .map(|given| values::secret(&String::from_utf8_lossy(given.expose())).map_err(problem));
        let authorities = self.ca_file.as_ref().filter(|_| self.tls).map(|path| {
            let not_allowed =
                |allowed: String| ConfigError::value("fleet_redis_tls_ca_file", path, &allowed);
            values::certificates(path).map_err(not_allowed)?;
            fs::read(path).map_err(|error| not_allowed(format!("a readable file ({error})")))
        });
        let secrets =
            self.secrets().map_err(|text| ConfigError::secret_value("fleet_secret", &text))?;
        Ok(FleetCredentials {
            password: password.transpose()?,
            secrets,
            authorities: authorities.transpose()?,
        })
    }

    fn secrets(&self) -> Result<Vec<Secret>, String> {
        let given = self.secret.as_ref().ok_or_else(|| {
            "it is required with fleet_redis; allowed: @FILE or $NAME, where mosquitto-http-auth \
             fleet key has written a secret"
                .to_owned()
        })?;
        let given = String::from_utf8_lossy(given.expose());
        if !given.starts_with(['@', '$']) {
            return Err("it stands in the file itself; allowed: @FILE or $NAME".to_owned());
        }
        let text = values::secret(&given)?;
        let lines = text.expose().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let secrets: Vec<_> =
            lines.filter(|line| !line.is_empty()).map(|l| Secret::new(l.to_vec())).collect();
        match secrets.iter().find(|secret| secret.expose().len() < SHORTEST_SECRET) {
            Some(short) => Err(format!(
                "it has {} bytes; allowed: at least {SHORTEST_SECRET} random ones, in each line",
                short.expose().len()
            )),
            None if secrets.is_empty() => {
                Err("it is empty; allowed: at least 32 random bytes".to_owned())
            }
            None => Ok(secrets),
        }
    }
}

/// The name of this machine.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "broker".to_owned() } else { name.trim().to_owned() }
}
