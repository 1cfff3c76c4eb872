//! A connection to the Redis that holds a fleet's data, and the few commands that the fleet needs.
//!
//! A fleet's keys have one hash tag, so that one server has all of them. Who that is, Sentinels or the nodes of
//! a Cluster tell; then it is one plain connection whose limits are all known here. A connection is
//! dropped after any error, since the reply to an earlier command could be taken for the next one's.

#![forbid(unsafe_code)]

use std::time::Duration;

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, TlsCertificates, Value, cmd,
};

use super::record::Position;
use crate::clock::millis;
use crate::config::{FleetConfig, FleetCredentials, RedisServer};
use crate::random::NoRandomBytes;

/// How long it may take to connect, and to answer what nobody waits for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// How many entries of the log are kept, about.
const LOG_LENGTH: usize = 10_000;

/// How many entries are read at once.
pub(crate) const PAGE: usize = 500;

/// Why something could not be done, in a few words, for a log line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LinkError {
    pub text: String,
    /// Whether it wants to know who asks.
    pub(super) is_anonymous: bool,
}

impl LinkError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_anonymous: false }
    }

    pub(crate) fn no_random_bytes() -> Self {
        Self::new(NoRandomBytes.to_string())
    }
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        let is_anonymous = error.code() == Some("NOAUTH");
        // What a hostile server says is cut, and shown as text of a foreigner.
        let text: String = error.to_string().chars().take(200).collect();
        Self { text: text.escape_debug().to_string(), is_anonymous }
    }
}

/// An entry of the log as Redis has it.
pub(crate) type RawEntry = (Position, Vec<u8>);

/// A field of the members' hash, and its value.
pub(crate) type RawMember = (Vec<u8>, Vec<u8>);

/// The keys of a fleet.
pub(crate) struct KeyNames {
    pub answers: String,
    pub log: String,
    pub members: String,
}

impl KeyNames {
    pub(crate) fn of(fleet: &str) -> Self {
        let key = |what: &str| format!("{{mha1:{fleet}}}:{what}");
        Self { answers: key("a:"), log: key("log"), members: key("members") }
    }
}

/// A connection.
pub(crate) struct Link {
    connection: Connection,
    /// The server, for a log line.
    pub server: String,
    /// Which of the masters it is, one after another, where Sentinels have named it.
    pub(crate) term: Option<u64>,
}

impl Link {
    pub(super) fn connect(
        config: &FleetConfig,
        credentials: &FleetCredentials,
        server: &RedisServer,
        database: u32,
    ) -> Result<Self, LinkError> {
        let info = connection_info(config, server, database, credentials.password.as_ref())?;
        let client = match (config.tls, server) {
            (true, RedisServer::Tcp { .. }) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: credentials.authorities.clone(),
                };
                Client::build_with_tls(info, certificates)?
            }
            _ => Client::open(info)?,
        };
        let connection = client.get_connection_with_timeout(TIMEOUT)?;
        let mut link = Self { connection, server: server.to_string(), term: None };
        link.limit(TIMEOUT)?;
        // Only now does TLS shake hands, where there is no password to send.
        link.ask(&cmd("PING"))?;
        Ok(link)
    }

    /// Limits how long a reply may stay away.
    pub(crate) fn limit(&mut self, limit: Duration) -> Result<(), LinkError> {
        self.connection.set_read_timeout(Some(limit))?;
        Ok(self.connection.set_write_timeout(Some(limit))?)
    }

    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, LinkError> {
        Ok(command.query(&mut self.connection)?)
    }

    /// The values under these names; none where there is none.
    pub(crate) fn get(&mut self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, LinkError> {
        let values = array(self.ask(cmd("MGET").arg(keys))?)?;
        if values.len() != keys.len() {
            return Err(LinkError::new("MGET has answered something else"));
        }
        Ok(values.into_iter().map(bytes).collect())
    }

    /// For how long the values under these names stay there; none where that is not known.
    pub(crate) fn lives(&mut self, keys: &[&str]) -> Result<Vec<Option<Duration>>, LinkError> {
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for key in keys {
            pipe.cmd("PTTL").arg(*key);
        }
        let replies: Vec<Value> = pipe.query(&mut self.connection)?;
        let life = |reply| match reply {
            Value::Int(-2) => Some(Duration::ZERO),
            Value::Int(ms) => u64::try_from(ms).ok().map(Duration::from_millis),
            _ => None,
        };
        Ok(replies.into_iter().map(life).collect())
    }

    /// Puts values under names, each for so long; how many were not taken.
    pub(crate) fn put<'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a str, &'a [u8], Duration)>,
    ) -> Result<usize, LinkError> {
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for (key, value, life) in entries {
            pipe.cmd("SET").arg(key).arg(value).arg("PX").arg(millis(life).max(1));
        }
        let replies: Vec<Value> = pipe.query(&mut self.connection)?;
        Ok(replies.iter().filter(|reply| !matches!(reply, Value::Okay)).count())
    }

    /// Adds an entry to the log, which keeps about the newest [`LOG_LENGTH`].
    pub(crate) fn append(&mut self, log: &str, sealed: &[u8]) -> Result<Position, LinkError> {
        let mut command = cmd("XADD");
        command.arg(log).arg("MAXLEN").arg("~").arg(LOG_LENGTH).arg("*").arg("e").arg(sealed);
        let id = bytes(self.ask(&command)?).and_then(|id| position(&id));
        id.ok_or_else(|| LinkError::new("XADD has answered something else"))
    }

    /// Entries of the log after this position; waits for the first one, if it is to.
    pub(crate) fn read(
        &mut self,
        log: &str,
        after: Position,
        wait: Option<Duration>,
    ) -> Result<Vec<RawEntry>, LinkError> {
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(PAGE);
        if let Some(wait) = wait {
            command.arg("BLOCK").arg(millis(wait).max(1));
        }
        command.arg("STREAMS").arg(log).arg(after.to_string());
        match self.ask(&command)? {
            Value::Nil => Ok(Vec::new()),
            reply => {
                let stream = array(reply)?.pop().ok_or_else(|| LinkError::new("no stream"))?;
                entries(array(stream)?.pop().ok_or_else(|| LinkError::new("no entries"))?)
            }
        }
    }

    /// The entry at this position, or the first one.
    pub(crate) fn entry(
        &mut self,
        log: &str,
        at: Option<Position>,
    ) -> Result<Option<RawEntry>, LinkError> {
        let mut command = cmd("XRANGE");
        match at {
            Some(at) => command.arg(log).arg(at.to_string()).arg(at.to_string()),
            None => command.arg(log).arg("-").arg("+"),
        };
        let reply = self.ask(command.arg("COUNT").arg(1))?;
        Ok(entries(reply)?.pop())
    }

    pub(crate) fn set_member(
        &mut self,
        key: &str,
        field: &str,
        sealed: &[u8],
    ) -> Result<(), LinkError> {
        self.ask(cmd("HSET").arg(key).arg(field).arg(sealed)).map(drop)
    }

    /// Removes members; there is one at least.
    pub(crate) fn remove_members(&mut self, key: &str, fields: &[&[u8]]) -> Result<(), LinkError> {
        self.ask(cmd("HDEL").arg(key).arg(fields)).map(drop)
    }

    pub(crate) fn members(&mut self, key: &str) -> Result<Vec<RawMember>, LinkError> {
        let flat = array(self.ask(cmd("HGETALL").arg(key))?)?;
        let mut flat = flat.into_iter().filter_map(bytes);
        let mut members = Vec::new();
        while let (Some(field), Some(value)) = (flat.next(), flat.next()) {
            members.push((field, value));
        }
        Ok(members)
    }
}

/// The first of these that leads to a connection; what the last one had to say, if none does.
pub(super) fn first<'a, T: 'a>(
    places: impl IntoIterator<Item = &'a T>,
    mut connect: impl FnMut(&'a T) -> Result<Link, LinkError>,
) -> Result<Link, LinkError> {
    let mut error = LinkError::new("no server is named");
    for place in places {
        match connect(place) {
            Ok(link) => return Ok(link),
            Err(next) => error = next,
        }
    }
    Err(error)
}

/// The node of a Cluster that has the fleet's keys: the one that is asked, or the one that it names.
pub(super) fn by_node(
    config: &FleetConfig,
    credentials: &FleetCredentials,
    node: &RedisServer,
) -> Result<Link, LinkError> {
    let mut link = Link::connect(config, credentials, node, 0)?;
    let probe = cmd("PTTL").arg(KeyNames::of(&config.name).log).clone();
    for _ in 0..3 {
        let reply: Result<Value, RedisError> = probe.query(&mut link.connection);
        let error = match reply {
            Ok(_) => return Ok(link),
            Err(error) => error,
        };
        let Some((address, _)) = error.redirect_node() else { return Err(error.into()) };
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
            .ok_or_else(|| LinkError::new(format!("{node} names no other node")))?;
        // An empty name is the host that was asked.
        let host = match (host.is_empty(), node) {
            (true, RedisServer::Tcp { host, .. }) => host.clone(),
            _ => host,
        };
        link = Link::connect(config, credentials, &RedisServer::Tcp { host, port }, 0)?;
    }
    Err(LinkError::new("the nodes of the Cluster name one another"))
}

fn connection_info(
    config: &FleetConfig,
    server: &RedisServer,
    database: u32,
    password: Option<&crate::secret::Secret>,
) -> Result<ConnectionInfo, LinkError> {
    let address = match server {
        RedisServer::Unix(path) => ConnectionAddr::Unix(path.into()),
        RedisServer::Tcp { host, port } if config.tls => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
        RedisServer::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    settings = settings.set_db(i64::from(database));
    if let Some(password) = password {
        let password = std::str::from_utf8(password.expose())
            .map_err(|_| LinkError::new("the password is not UTF-8"))?;
        settings = settings.set_password(password);
        if let Some(username) = &config.username {
            settings = settings.set_username(username);
        }
    }
    Ok(address.into_connection_info()?.set_redis_settings(settings))
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, LinkError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(LinkError::new("Redis has answered something else than an array")),
    }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

fn position(bytes: &[u8]) -> Option<Position> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The entries in a reply; one without the field that entries have holds no bytes, which nobody can open.
fn entries(value: Value) -> Result<Vec<RawEntry>, LinkError> {
    let entry = |value| {
        let mut parts = array(value)?.into_iter();
        let id = parts.next().and_then(bytes).and_then(|id| position(&id));
        let at = id.ok_or_else(|| LinkError::new("an entry of the log has no ID"))?;
        let fields = parts.next().map(array).transpose()?.unwrap_or_default();
        let sealed = fields.into_iter().nth(1).and_then(bytes).unwrap_or_default();
        Ok((at, sealed))
    };
    array(value)?.into_iter().map(entry).collect()
}
