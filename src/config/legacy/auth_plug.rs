//! mosquitto-auth-plug's options.

#![forbid(unsafe_code)]

use std::env;
use std::time::Duration;

use log::LevelFilter;

use super::{ConfigError, Outcome, Params, backends, common, jitter, lifetime, set_to, values};
use crate::api_format::ApiFormat;
use crate::config::raw_config::RawConfig;
use crate::secret::Secret;

pub(crate) fn set(raw: &mut RawConfig, name: &str, value: &str) -> Outcome {
    match name {
        "http_ip" => return set_to(&mut raw.leftovers.ip, values::hosts(value).map(Some)),
        "http_hostname" => raw.leftovers.hostname = Some(value.to_owned()),
        "http_basic_auth_key" => {
            let value = Secret::new(format!("Basic {value}").into_bytes());
            raw.sources.headers.push(("Authorization".to_owned(), value));
        }
        "http_getuser_params" => return parameters(&mut raw.api_format, 0, value),
        "http_superuser_params" => return parameters(&mut raw.api_format, 1, value),
        "http_aclcheck_params" => return parameters(&mut raw.api_format, 2, value),
        "anonusername" => raw.anonymous_access = Some(value.to_owned()),
        "cacheseconds" | "acl_cacheseconds" => {
            return set_to(&mut raw.leftovers.acl_ttl, lifetime(value).map(Some));
        }
        "auth_cacheseconds" => {
            return set_to(&mut raw.leftovers.auth_ttl, lifetime(value).map(Some));
        }
        "acl_cachejitter" => return jitter(&mut raw.acl_jitter, value),
        // Its own code reads a misspelt name.
        "auth_cachejitter" | "auth_cacheijitter" => return jitter(&mut raw.auth_jitter, value),
        "log_quiet" => {
            let quiet = matches!(value, "true" | "1");
            raw.log_level = quiet.then_some(LevelFilter::Warn).or(raw.log_level);
        }
        "http_retry_count" => {
            return Outcome::Dead(
                "a question that fails is not repeated; several hosts can be named instead",
            );
        }
        "superusers" => return Outcome::Refused("let the API name them by http_superuser_uri"),
        _ => return common(raw, name, value),
    }
    Outcome::Set
}

/// `key=NAME,…`, each with the value of a variable of the environment.
fn parameters(api_format: &mut ApiFormat, kind: usize, value: &str) -> Outcome {
    let parameter = |pair: &str| {
        let (key, name) = pair.trim().split_once('=')?;
        let value = env::var(name).unwrap_or_else(|_| "NULL".to_owned());
        Some(values::form_parameter(key, &value))
    };
    match value.split(',').map(parameter).collect::<Option<String>>() {
        Some(prefix) => {
            api_format.prefixes[kind] = prefix;
            Outcome::Set
        }
        None => Outcome::Wrong("a comma list of key=NAME".to_owned()),
    }
}

/// Its defaults.
pub(crate) fn preset(raw: &mut RawConfig) {
    raw.port = Some(80);
    raw.timeout = Duration::from_secs(10);
    raw.cache_ttl = Duration::from_secs(300);
    raw.leftovers.auth_ttl = Some(Duration::ZERO);
    raw.anonymous_access = Some("anonymous".to_owned());
}

pub(crate) fn conclude(
    raw: &mut RawConfig,
    is_given: impl Fn(&str) -> bool,
) -> Result<(), Vec<ConfigError>> {
    if is_given("http_params_mode") && raw.api_format.params != Params::Form {
        let text = "option http_params_mode does nothing here: auth-plug's questions are forms";
        raw.warnings.push(text.to_owned());
    }
    raw.api_format.params = Params::Form;
    raw.cache_auth_ttl = raw.cache_auth_ttl.or(raw.leftovers.auth_ttl);
    raw.cache_acl_ttl = raw.cache_acl_ttl.or(raw.leftovers.acl_ttl);
    let of_host = name_host(raw, is_given("http_ip")).err();
    let of_backends = backends::conclude(raw).err().unwrap_or_default();
    let errors: Vec<_> = of_host.into_iter().chain(of_backends).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Takes the host from `http_ip`, beside which `http_hostname` is only the header `Host`, or else from
/// `http_hostname`.
///
/// # Errors
/// `http_hostname` is not what it is to be.
fn name_host(raw: &mut RawConfig, is_ip_given: bool) -> Result<(), ConfigError> {
    let (ip, hostname) = (raw.leftovers.ip.take(), raw.leftovers.hostname.take());
    let (name, hosts) = match (ip, hostname) {
        (ip, Some(text)) if is_ip_given => {
            values::header_value(&text)
                .map_err(|problem| ConfigError::secret_value("http_hostname", &problem))?;
            raw.sources.headers.push(("Host".to_owned(), Secret::new(text.into_bytes())));
            ("http_ip", ip)
        }
        (None, Some(text)) => {
            let hosts = values::hosts(&text)
                .map_err(|allowed| ConfigError::value("http_hostname", &text, &allowed))?;
            ("http_hostname", Some(hosts))
        }
        (ip, _) => ("http_ip", ip),
    };
    let Some(hosts) = hosts else { return Ok(()) };
    if !raw.hosts.is_empty() {
        let text = format!("option http_host does nothing here: {name} names the host");
        raw.warnings.push(text);
    }
    raw.hosts = hosts;
    Ok(())
}
