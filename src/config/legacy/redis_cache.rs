//! mosquitto-go-auth's cache in a Redis, in whose place brokers share answers as a fleet.

#![forbid(unsafe_code)]

use super::Outcome;
use crate::config::leftovers::RedisCache;
use crate::config::options::plain_values::{redis_database, redis_servers};
use crate::config::raw_config::RawConfig;
use crate::config::{ConfigError, RedisKind};
use crate::secret::Secret;

/// Where mosquitto-go-auth looked for a Redis when nothing was said, and for its database there.
const HOST: &str = "localhost";
const DATABASE: &str = "3";

/// The options that say where the Redis is.
const PLACES: [&str; 7] = [
    "cache_host",
    "cache_port",
    "cache_password",
    "cache_db",
    "cache_mode",
    "cache_addresses",
    "redis_cluster_addresses",
];

impl RedisCache {
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Outcome {
        let text = || Some(value.to_owned());
        match name {
            "cache_type" if value == "redis" => {
                self.is_chosen = true;
                return Outcome::Set;
            }
            "cache_type" => return Outcome::Dead("answers are cached in memory"),
            "cache_host" => self.host = text(),
            "cache_port" => self.port = text(),
            "cache_password" => self.password = Some(Secret::new(value.as_bytes().to_vec())),
            "cache_db" => self.database = text(),
            // Its documentation has the one word, and its code looked for the other.
            "cache_mode" => self.is_cluster = matches!(value, "cluster" | "true"),
            _ if PLACES.contains(&name) => self.addresses = text(),
            _ => return Outcome::Unknown,
        }
        self.names.push(name.to_owned());
        Outcome::Set
    }

    /// The servers, as `fleet_redis` has them.
    fn servers(&self) -> Result<String, ConfigError> {
        if self.is_cluster {
            return self.addresses.clone().ok_or_else(|| {
                let text = "option cache_mode cluster needs cache_addresses: a comma list of the \
                            nodes, each host[:port]";
                ConfigError::about("cache_mode", text.to_owned())
            });
        }
        let host = self.host.as_deref().unwrap_or(HOST);
        let port = self.port.as_ref().map(|port| format!(":{port}"));
        Ok(format!("{host}{}", port.unwrap_or_default()))
    }

    /// The option that names the servers.
    fn servers_by(&self) -> &'static str {
        match self {
            RedisCache { is_cluster: true, .. } => "cache_addresses",
            RedisCache { host: None, port: Some(_), .. } => "cache_port",
            _ => "cache_host",
        }
    }
}

/// Has the brokers share answers by the Redis that is named, if one is to be used. What `fleet_…` options
/// say goes before.
///
/// # Errors
/// What is wrong with these options, and that a secret is missing.
pub(crate) fn conclude(
    raw: &mut RawConfig,
    is_cached: bool,
    is_given: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    let given = std::mem::take(&mut raw.leftovers.redis_cache);
    let why = match () {
        () if !is_cached => "nothing is shared without cache true",
        () if !given.is_chosen => "answers are cached in memory",
        () if is_given("fleet_redis") => "fleet_redis names the Redis",
        () => return share(raw, given, is_given),
    };
    let chosen = given.is_chosen.then(|| "cache_type".to_owned());
    for name in chosen.iter().chain(&given.names) {
        raw.warnings.push(format!("option {name} does nothing here: {why}"));
    }
    Ok(())
}

fn share(
    raw: &mut RawConfig,
    given: RedisCache,
    is_given: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    if !is_given("fleet_secret") {
        let text = "option cache_type redis needs fleet_secret, the same at every broker, since what is \
                    in Redis is encrypted here: write it with mosquitto-http-auth fleet key, and name \
                    it by fleet_secret @FILE; without cache_type answers are cached in memory \
                    (docs/migrating.md)";
        return Err(ConfigError::about("cache_type", text.to_owned()));
    }
    let servers = given.servers()?;
    let wrong =
        |option: &str, value: &str, allowed: String| ConfigError::value(option, value, &allowed);
    let parsed =
        redis_servers(&servers).map_err(|text| wrong(given.servers_by(), &servers, text))?;
    raw.fleet.servers = parsed;
    if !is_given("fleet_redis_kind") && given.is_cluster {
        raw.fleet.kind = RedisKind::Cluster;
    }
    if !is_given("fleet_redis_database") && !given.is_cluster {
        let database = given.database.as_deref().unwrap_or(DATABASE);
        raw.fleet.database =
            redis_database(database).map_err(|text| wrong("cache_db", database, text))?;
    }
    if let Some(password) = given.password.filter(|_| !is_given("fleet_redis_password")) {
        if password.expose().starts_with(b"@") || password.expose().starts_with(b"$") {
            return Err(ConfigError::secret_value(
                "cache_password",
                "it begins with @ or $, which would name a file or a variable here; allowed: \
                 fleet_redis_password, with @FILE or $NAME",
            ));
        }
        raw.sources.fleet.password = Some(password).filter(|secret| !secret.expose().is_empty());
    }
    Ok(())
}
