//! mosquitto-go-auth's options.

#![forbid(unsafe_code)]

use std::time::Duration;

use log::LevelFilter;

use super::{ConfigError, EmptyCredentials, Kind, Method, Outcome, Params, ResponseMode};
use super::{backends, common, jitter, lifetime, redis_cache, set_to, values};
use crate::config::raw_config::RawConfig;

pub(crate) fn set(raw: &mut RawConfig, name: &str, value: &str) -> Outcome {
    warn_without_effect(raw, name, value);
    let api_format = &mut raw.api_format;
    let is_true = value == "true";
    match name {
        // Whoever wrote `True` wants it verified.
        "http_verify_peer" => raw.tls_verify = value != "false",
        // A word that it does not know means the default, as it always did.
        "http_response_mode" => {
            api_format.response = match value {
                "json" => ResponseMode::Json,
                "text" => ResponseMode::Text,
                _ => ResponseMode::Status,
            }
        }
        "http_params_mode" => {
            api_format.params = if value == "form" { Params::Form } else { Params::Json }
        }
        "http_method" => {
            api_format.method = match value {
                "GET" => Method::Get,
                "PUT" => Method::Put,
                _ => Method::Post,
            }
        }
        "http_timeout" => {
            return set_to(&mut raw.timeout, values::seconds(value, 1..=600));
        }
        "http_user_agent" => value.clone_into(&mut raw.user_agent),
        "http_register" => return set_to(&mut raw.leftovers.register, kinds(value).map(Some)),
        "files_register" => {
            return set_to(&mut raw.leftovers.backends.register, kinds(value).map(Some));
        }
        // Older versions knew them without the prefix.
        "files_password_path" | "password_path" => {
            return backends::set_path(&mut raw.leftovers.backends.passwords, name, value);
        }
        "files_acl_path" | "acl_path" => {
            return backends::set_path(&mut raw.leftovers.backends.acl, name, value);
        }
        "hasher" | "files_hasher" | "hasher_salt_encoding" | "files_hasher_salt_encoding" => {
            raw.leftovers.backends.set_hasher(name, value);
        }
        "disable_superuser" => raw.leftovers.disable_superuser = is_true,
        "allow_empty_credentials" if is_true => {
            raw.empty_credentials = EmptyCredentials::Own;
            raw.anonymous_username = Some(String::new());
        }
        "cache" => raw.leftovers.cache = is_true,
        "auth_cache_seconds" => {
            return set_to(&mut raw.leftovers.auth_ttl, lifetime(value).map(Some));
        }
        "acl_cache_seconds" => {
            return set_to(&mut raw.leftovers.acl_ttl, lifetime(value).map(Some));
        }
        "auth_jitter_seconds" => return jitter(&mut raw.auth_jitter, value),
        "acl_jitter_seconds" => return jitter(&mut raw.acl_jitter, value),
        "log_level" => raw.log_level = Some(log_level(value)),
        _ => return not_ours(raw, name, value),
    }
    Outcome::Set
}

/// mosquitto-go-auth passed over in silence what it did not know, a word in capitals too.
fn warn_without_effect(raw: &mut RawConfig, name: &str, value: &str) {
    let (known, meaning): (&[&str], _) = match name {
        "http_verify_peer" => (&["true", "false"], "true"),
        "disable_superuser"
        | "allow_empty_credentials"
        | "cache"
        | "check_prefix"
        | "use_clientid_as_username" => (&["true", "false"], "false"),
        "http_response_mode" => (&["status", "json", "text"], "status"),
        "http_params_mode" => (&["json", "form"], "json"),
        "http_method" => (&["POST", "PUT", "GET"], "POST"),
        "log_level" => (&["debug", "info", "warn", "warning", "error", "fatal", "panic"], "info"),
        _ => return,
    };
    super::warn_unless(raw, name, value, known, meaning);
}

/// Options of which nothing is left, and those that must not be lost in silence.
fn not_ours(raw: &mut RawConfig, name: &str, value: &str) -> Outcome {
    let is_true = value == "true";
    match name {
        "check_prefix" if is_true => Outcome::Refused(
            "no prefix of a username chooses where it is looked for; files come first, and then http",
        ),
        "use_clientid_as_username" if is_true => Outcome::Refused(
            "use Mosquitto's own use_username_as_clientid, or let the API look at clientid",
        ),
        "use_clientid_as_username" | "check_prefix" | "allow_empty_credentials" => Outcome::Set,
        "retry_count" => Outcome::Dead(
            "a question that fails is not repeated; several hosts can be named instead",
        ),
        "cache_refresh" => {
            Outcome::Dead("an answer in use is asked for again, and never merely prolonged")
        }
        "log_dest" | "log_file" => Outcome::Dead("lines go into Mosquitto's own log"),
        "http_mode"
        | "http_host_whitelist"
        | "exhaust_backend_first"
        | "strip_prefix"
        | "prefixes"
        | "cache_reset" => Outcome::Dead(""),
        // What only new hashes are made by.
        "hasher_iterations" | "hasher_keylen" | "hasher_salt_size" | "hasher_algorithm"
        | "hasher_cost" | "hasher_memory" | "hasher_parallelism" => Outcome::Set,
        _ => match raw.leftovers.redis_cache.set(name, value) {
            Outcome::Unknown => common(raw, name, value),
            outcome => outcome,
        },
    }
}

fn kinds(value: &str) -> Result<Vec<Kind>, String> {
    let kind = |word: &str| match word.trim() {
        "user" => Ok(Kind::Login),
        "superuser" => Ok(Kind::Superuser),
        "acl" => Ok(Kind::Access),
        _ => Err("a comma list out of user, superuser, acl".to_owned()),
    };
    value.split(',').map(kind).collect()
}

fn log_level(value: &str) -> LevelFilter {
    match value {
        "debug" => LevelFilter::Debug,
        "warn" | "warning" => LevelFilter::Warn,
        "error" | "fatal" | "panic" => LevelFilter::Error,
        _ => LevelFilter::Info,
    }
}

pub(crate) fn conclude(
    raw: &mut RawConfig,
    is_given: impl Fn(&str) -> bool,
) -> Result<(), Vec<ConfigError>> {
    backends::conclude(raw)?;
    let wrong = |text: &str| vec![ConfigError::overall(text)];
    let says_whether = is_given("http_verify_peer") || is_given("tls_verify");
    if raw.https && !says_whether {
        return Err(wrong(
            "option http_with_tls true needs one of http_verify_peer true (the API's certificate is \
             verified, which is what you want) and http_verify_peer false (it is not, as \
             mosquitto-go-auth did when nothing was said)",
        ));
    }
    if raw.api_format.method == Method::Get && raw.api_format.params == Params::Form {
        return Err(wrong(
            "options http_method GET and http_params_mode form do not go together; allowed: form \
             with POST or PUT, and GET with json",
        ));
    }
    let registered = raw.leftovers.register.take();
    let is_asked = |kind| registered.as_ref().is_none_or(|kinds| kinds.contains(&kind));
    let routes = &mut raw.routes;
    routes.login = routes.login.take().filter(|_| is_asked(Kind::Login));
    routes.access = routes.access.take().filter(|_| is_asked(Kind::Access));
    let superuser = is_asked(Kind::Superuser) && !raw.leftovers.disable_superuser;
    routes.superuser = routes.superuser.take().filter(|_| superuser);
    // Its lifetimes count where its cache is on. Ours always do, and go before.
    if raw.leftovers.cache || is_given("cache_ttl") {
        raw.cache_auth_ttl = raw.cache_auth_ttl.or(raw.leftovers.auth_ttl);
        raw.cache_acl_ttl = raw.cache_acl_ttl.or(raw.leftovers.acl_ttl);
    } else {
        raw.cache_ttl = Duration::ZERO;
    }
    let is_cached = raw.leftovers.cache;
    redis_cache::conclude(raw, is_cached, is_given).map_err(|error| vec![error])
}
