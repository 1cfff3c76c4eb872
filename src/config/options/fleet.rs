//! How several brokers share answers, and hear of what was taken back.

#![forbid(unsafe_code)]

use super::Preset::{Value, Words};
use super::plain_values::{kinds, name, redis_database, redis_servers};
use super::show;
use super::{Opt, opt};
use crate::config::fleet::KINDS;
use crate::config::values::{choice, flag, millis, seconds};
use crate::secret::Secret;

fn secret(text: &str) -> Result<Option<Secret>, String> {
    if text.is_empty() {
        return Err(
            "@ and the path of a file, or $ and the name of an environment variable".to_owned()
        );
    }
    Ok(Some(Secret::new(text.as_bytes().to_vec())))
}

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "fleet_redis",
        Words("unset"),
        "The Redis or Valkey through which brokers share answers: `host[:port]` or the path of a \
         Unix socket; a comma list of Sentinels, or of nodes of a Cluster. Unset: this broker is \
         alone.",
        |raw, text| raw.fleet.servers = redis_servers(text)?,
        |config| {
            let servers = &config.fleet.as_ref()?.servers;
            Some(servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    ),
    opt!(
        "fleet_redis_kind",
        Value("single"),
        "What `fleet_redis` names: `single`, `sentinel` or `cluster`.",
        |raw, text| raw.fleet.kind = choice(text, KINDS)?,
        |config| {
            let kind = config.fleet.as_ref().map(|fleet| fleet.kind).unwrap_or_default();
            show::word(KINDS, kind)
        }
    ),
    opt!(
        "fleet_redis_master",
        Words("required for `sentinel`"),
        "The name by which Sentinels know the master.",
        |raw, text| raw.fleet.master = Some(name(text)?),
        |config| config.fleet.as_ref()?.master.clone()
    ),
    opt!(
        "fleet_redis_username",
        Words("unset"),
        "The ACL user at Redis. Unset: the default user.",
        |raw, text| raw.fleet.username = Some(name(text)?),
        |config| config.fleet.as_ref()?.username.clone()
    ),
    opt!(
        "fleet_redis_password",
        Words("unset"),
        "The password at Redis, as `@path` or `$NAME`; read again on SIGHUP.",
        |raw, text| raw.sources.fleet.password = secret(text)?,
        |config| config.sources.fleet.password.as_ref().map(show::source)
    ),
    opt!(
        "fleet_redis_database",
        Value("0"),
        "The number of the database at Redis; not with `cluster`.",
        |raw, text| raw.fleet.database = redis_database(text)?,
        |config| Some(config.fleet.as_ref().map_or(0, |fleet| fleet.database).to_string())
    ),
    opt!(
        "fleet_redis_tls",
        Value("false"),
        "Whether the plugin uses TLS to Redis, Sentinels and nodes.",
        |raw, text| raw.fleet.tls = flag(text)?,
        |config| Some(config.fleet.as_ref().is_some_and(|fleet| fleet.tls).to_string())
    ),
    opt!(
        "fleet_redis_tls_ca_file",
        Words("the system's roots"),
        "A PEM file with the certificate authorities that the plugin trusts there, in place of the \
         system's.",
        |raw, text| raw.sources.fleet.ca_file = Some(name(text)?),
        |config| config.sources.fleet.ca_file.clone()
    ),
    opt!(
        "fleet_redis_timeout_ms",
        Value("50"),
        "Milliseconds that one question may wait for Redis. Then the plugin asks the API.",
        |raw, text| raw.fleet.timeout = millis(text, 1..=10_000)?,
        |config| show::millis(config.fleet.as_ref()?.timeout)
    ),
    opt!(
        "fleet_secret",
        Words("required with `fleet_redis`"),
        "What all brokers of the fleet know and Redis does not, as `@path` or `$NAME`: at least 32 \
         random bytes on a line. The plugin uses further lines only to decrypt.",
        |raw, text| raw.sources.fleet.secret = secret(text)?,
        |config| config.sources.fleet.secret.as_ref().map(show::source)
    ),
    opt!(
        "fleet_name",
        Value("mqtt"),
        "The fleet's name, which distinguishes fleets that use one Redis.",
        |raw, text| raw.fleet.name = name(text)?,
        |config| config.fleet.as_ref().map(|fleet| fleet.name.clone())
    ),
    opt!(
        "fleet_scope",
        Words("a digest"),
        "Brokers of one scope share answers. Unset: those with the same routes, method, modes, \
         fields and headers, including their values.",
        |raw, text| raw.fleet.scope = Some(name(text)?),
        |config| config.fleet.as_ref()?.scope.clone()
    ),
    opt!(
        "fleet_broker",
        Words("the host's name"),
        "This broker's name, different from all others'.",
        |raw, text| raw.fleet.broker = name(text)?,
        |config| config.fleet.as_ref().map(|fleet| fleet.broker.clone())
    ),
    opt!(
        "fleet_share",
        Value("login,superuser,access"),
        "The kinds of answers that brokers share, a comma list. `none`: brokers learn only what \
         was taken back.",
        |raw, text| raw.fleet.share = kinds(text)?,
        |config| config.fleet.as_ref().map(|fleet| show::kinds(&fleet.share))
    ),
    opt!(
        "fleet_blind_ttl",
        Value("300"),
        "The longest, in seconds, that this broker uses an answer while it cannot learn what was \
         taken back elsewhere, as long as the API answers.",
        |raw, text| raw.fleet.blind_ttl = seconds(text, 1..=86_400)?,
        |config| show::seconds(config.fleet.as_ref()?.blind_ttl)
    ),
    opt!(
        "fleet_ack_ms",
        Value("1000"),
        "Milliseconds that the response to a command waits for the other brokers.",
        |raw, text| raw.fleet.ack = millis(text, 0..=60_000)?,
        |config| show::millis(config.fleet.as_ref()?.ack)
    ),
];
