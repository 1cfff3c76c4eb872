//! Values of options that need no more than a look: ports, shares, paths, names.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::config::RedisServer;
use crate::config::values::{hosts, number};
use crate::question::Kind;

pub(crate) fn tcp_port(text: &str) -> Result<u16, String> {
    let port = number(text, &(1..=65535), "a TCP port");
    port.ok().and_then(|port| port.try_into().ok()).ok_or("a port from 1 to 65535".to_owned())
}

pub(crate) fn percent(text: &str) -> Result<u8, String> {
    let percent = number(text, &(0..=100), "percent")?;
    percent.try_into().map_err(|_| "0 to 100".to_owned())
}

pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path of a file".to_owned()) } else { Ok(text.into()) }
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name")? } else { Ok(text.to_owned()) }
}

/// Redis servers: `host[:port]`, or the path of a Unix socket.
pub(crate) fn redis_servers(text: &str) -> Result<Vec<RedisServer>, String> {
    const PORT: u16 = 6379;
    let server = |text: &str| match text.trim() {
        path if path.starts_with('/') => Ok(vec![RedisServer::Unix(path.to_owned())]),
        host => {
            let tcp = |(host, port): (String, Option<u16>)| RedisServer::Tcp {
                host,
                port: port.unwrap_or(PORT),
            };
            Ok(hosts(host)?.into_iter().map(tcp).collect())
        }
    };
    let servers: Result<Vec<_>, String> = text.split(',').map(server).collect();
    let allowed = "host[:port] or the path of a Unix socket, or a comma list of Sentinels or nodes";
    servers.map(|servers| servers.concat()).map_err(|_| allowed.to_owned())
}

/// The number of a database at Redis.
pub(crate) fn redis_database(text: &str) -> Result<u32, String> {
    let database = number(text, &(0..=1_000_000), "a database")?;
    database.try_into().map_err(|_| "a database".to_owned())
}

/// The kinds of answers, by the words of `fleet_share`.
pub(crate) const KINDS: [(&str, Kind); 3] =
    [("login", Kind::Login), ("superuser", Kind::Superuser), ("access", Kind::Access)];

/// A comma list of kinds of answers; `none` is no kind.
pub(crate) fn kinds(text: &str) -> Result<Vec<Kind>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let kind = |word: &str| KINDS.iter().find(|(name, _)| *name == word.trim()).map(|(_, k)| *k);
    let kinds: Option<Vec<_>> = text.split(',').map(kind).collect();
    kinds.ok_or_else(|| "none, or a comma list out of login, superuser, access".to_owned())
}
