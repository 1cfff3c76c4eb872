//! Configurations that were written for mosquitto-go-auth's or mosquitto-auth-plug's http backend, and those
//! for an API that was written for EMQX, whose options are ours.
//!
//! The predecessors' options are read by their own names and with their own defaults. One that does nothing here
//! warns and never stops the start; one whose meaning is not offered stops it with a line that says
//! what to use instead.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::choices::COMPAT;
use super::raw_config::RawConfig;
use super::values::{self, choice, lifetime};
use super::{AclUnavailable, ConfigError, EmptyCredentials, Jitter};
use crate::api_format::{Compat, Method, Params, ResponseMode};
use crate::question::Kind;

mod auth_plug;
mod backends;
mod emqx;
mod go_auth;
mod redis_cache;

/// What became of an option.
pub(crate) enum Outcome {
    /// It was read.
    Set,
    /// It does nothing here: why, if there is more to say than that.
    Dead(&'static str),
    /// Its value is not one that is allowed; what is.
    Wrong(String),
    /// What it means is not offered; what to use instead.
    Refused(&'static str),
    /// The predecessor did not know it either.
    Unknown,
}

/// Whose configuration this is, and what tells so if `compat` does not: an option, or the name of the
/// library's file.
#[must_use]
pub(crate) fn predecessor(
    given: &[(String, String)],
    library: Option<&str>,
) -> (Compat, Option<String>) {
    let find = |names: &[&str]| {
        given.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(name, _)| name.as_str())
    };
    if let Some((_, value)) = given.iter().find(|(name, _)| name == "compat") {
        // A value that is not allowed is reported with the others.
        return (choice(value.trim(), COMPAT).unwrap_or(Compat::None), None);
    }
    let said = |name| Some(format!("option {name} is there"));
    // auth-plug has the others as well, but nothing else has these.
    if let Some(name) = find(&["http_ip", "http_hostname"]) {
        return (Compat::AuthPlug, said(name));
    }
    let name = library.and_then(|path| path.rsplit('/').next());
    if name == Some("auth-plug.so") {
        return (Compat::AuthPlug, Some("the library's file is auth-plug.so".to_owned()));
    }
    if let Some(name) = find(&["http_getuser_uri"]).or_else(|| find(&["backends"])) {
        return (Compat::GoAuth, said(name));
    }
    if name == Some("go-auth.so") {
        return (Compat::GoAuth, Some("the library's file is go-auth.so".to_owned()));
    }
    (Compat::None, None)
}

/// Reads an option of a predecessor; whether it was one.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn set(raw: &mut RawConfig, name: &str, value: &str) -> Result<bool, ConfigError> {
    let compat = raw.api_format.compat;
    let outcome = match compat {
        Compat::None | Compat::Emqx => return Ok(false),
        Compat::GoAuth => go_auth::set(raw, name, value),
        Compat::AuthPlug => auth_plug::set(raw, name, value),
    };
    match outcome {
        Outcome::Set => Ok(true),
        Outcome::Unknown => Ok(false),
        Outcome::Dead(why) => {
            let blank = if why.is_empty() { "" } else { ": " };
            raw.warnings.push(format!("option {name} does nothing here{blank}{why}"));
            Ok(true)
        }
        Outcome::Wrong(allowed) => Err(ConfigError::value(name, value, &allowed)),
        Outcome::Refused(instead) => {
            let text = format!("option {name} is not offered here: {instead}");
            Err(ConfigError::about(name, text))
        }
    }
}

/// Notes an option that neither the predecessor nor we know.
pub(crate) fn pass_over(raw: &mut RawConfig, name: &str) {
    raw.warnings.push(format!("option {} is not known and does nothing", name.escape_debug()));
}

/// Puts the predecessor's defaults in place of ours.
pub(crate) fn preset(raw: &mut RawConfig) {
    match raw.api_format.compat {
        Compat::None | Compat::Emqx => return,
        Compat::GoAuth => {}
        Compat::AuthPlug => auth_plug::preset(raw),
    }
    let exact = Jitter::Around(Duration::ZERO);
    (raw.auth_jitter, raw.acl_jitter) = (exact, exact);
    raw.empty_credentials = EmptyCredentials::Deny;
    // The plugins that came before closed no connection for a topic.
    raw.acl_unavailable = AclUnavailable::Deny;
}

/// Puts together what the options mean with each other. `is_given` tells of an option whether it is
/// there.
///
/// # Errors
/// What does not go together.
pub(crate) fn conclude(
    raw: &mut RawConfig,
    is_given: impl Fn(&str) -> bool,
) -> Result<(), Vec<ConfigError>> {
    match raw.api_format.compat {
        Compat::None => Ok(()),
        Compat::GoAuth => go_auth::conclude(raw, is_given),
        Compat::AuthPlug => auth_plug::conclude(raw, is_given),
        Compat::Emqx => emqx::conclude(raw).map_err(|error| vec![error]),
    }
}

/// Warns of a value that the predecessor did not know, and that means what is said here.
fn warn_unless(raw: &mut RawConfig, name: &str, value: &str, known: &[&str], meaning: &str) {
    if !known.contains(&value) {
        let known = known.join(", ");
        raw.warnings.push(format!(
            "option {name}: {value:?} has no effect, and means {meaning}; known are, in just this \
             spelling: {known}"
        ));
    }
}

/// The option's format, if it is one of a predecessor's: in which `compat` it is known.
#[must_use]
pub(crate) fn known_elsewhere(name: &str, value: &str) -> Option<&'static str> {
    let is_known = |set: fn(&mut RawConfig, &str, &str) -> Outcome| {
        !matches!(set(&mut RawConfig::default(), name, value), Outcome::Unknown)
    };
    if is_known(go_auth::set) {
        return Some("go-auth");
    }
    is_known(auth_plug::set).then_some("auth-plug")
}

/// An option that both predecessors have in common.
fn common(raw: &mut RawConfig, name: &str, value: &str) -> Outcome {
    if name == "http_with_tls" {
        warn_unless(raw, name, value, &["true", "false"], "false");
    }
    let routes = &mut raw.routes;
    match name {
        "backends" => {
            raw.leftovers.backends.names = backends::names(value);
            Outcome::Set
        }
        "http_getuser_uri" => set_to(&mut routes.login, values::route(value).map(Some)),
        "http_superuser_uri" => set_to(&mut routes.superuser, values::route(value).map(Some)),
        "http_aclcheck_uri" => set_to(&mut routes.access, values::route(value).map(Some)),
        "http_with_tls" => {
            raw.https = value == "true";
            Outcome::Set
        }
        _ => Outcome::Unknown,
    }
}

fn set_to<T>(place: &mut T, read: Result<T, String>) -> Outcome {
    match read {
        Ok(value) => {
            *place = value;
            Outcome::Set
        }
        Err(allowed) => Outcome::Wrong(allowed),
    }
}

fn jitter(place: &mut Jitter, value: &str) -> Outcome {
    set_to(place, lifetime(value).map(Jitter::Around))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheConfig, Config, SaltEncoding, SpecialChars, read, read_for};
    use crate::fake;
    use crate::field::Field;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let options = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let split = |line: &str| {
            let (name, value) = line.split_once(' ').unwrap();
            (name.to_owned(), value.to_owned())
        };
        options.map(split).collect()
    }

    fn config(text: &str) -> Config {
        read(&pairs(text)).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn errors(text: &str) -> String {
        let errors = read(&pairs(text)).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const GO_AUTH: &str = "backends http
        http_host api.example.com
        http_port 8080
        http_getuser_uri /user?check_acl=true
        http_superuser_uri /superuser
        http_aclcheck_uri /acl";

    fn go_auth(more: &str) -> Config {
        config(&format!("{GO_AUTH}\n{more}"))
    }

    const AUTH_PLUG: &str = "backends http
        http_ip 127.0.0.1
        http_getuser_uri /auth
        http_superuser_uri /superuser
        http_aclcheck_uri /acl";

    fn auth_plug(more: &str) -> Config {
        config(&format!("{AUTH_PLUG}\n{more}"))
    }

    #[test]
    fn go_auth_is_known_by_its_option_and_keeps_its_defaults() {
        let config = go_auth("");
        assert_eq!(config.api_format.compat, Compat::GoAuth);
        assert!(config.warnings[0].contains("http_getuser_uri"), "{:?}", config.warnings);
        assert_eq!(config.endpoints[0].origin(config.https), "http://api.example.com:8080");
        assert_eq!(config.routes.login.as_deref(), Some("/user?check_acl=true"));
        assert_eq!(config.fields.of(Kind::Login)[0], Field::ClientId);
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert_eq!(config.cache.login.allow, Duration::ZERO, "no cache unless it is switched on");
        assert_eq!(config.empty_credentials, EmptyCredentials::Deny);
    }

    #[test]
    fn go_auths_cache_has_one_lifetime_for_both_answers() {
        let cache = go_auth("cache true").cache;
        assert_eq!(
            (cache.login.allow, cache.login.deny),
            (Duration::from_secs(30), Duration::from_secs(30))
        );
        assert_eq!(cache.access.jitter, Jitter::Around(Duration::ZERO));
        let more =
            "cache true\nauth_cache_seconds 300\nauth_jitter_seconds 30\nacl_cache_seconds 0";
        let cache = go_auth(more).cache;
        assert_eq!(cache.login.deny, Duration::from_secs(300));
        assert_eq!(cache.login.jitter, Jitter::Around(Duration::from_secs(30)));
        assert_eq!(cache.access.allow, Duration::ZERO);
        assert_eq!(go_auth("auth_cache_seconds 300").cache.login.allow, Duration::ZERO);
    }

    #[test]
    fn our_own_options_count_beside_a_predecessors() {
        let ttls = |cache: CacheConfig| {
            let CacheConfig { login, access, .. } = cache;
            [login.allow, login.deny, access.allow, access.deny].map(|ttl| ttl.as_secs())
        };
        for (more, expected) in [
            ("cache_auth_ttl 7", [7, 7, 0, 0]),
            ("cache_acl_ttl 8", [0, 0, 8, 8]),
            ("cache_auth_ttl 7\nauth_cache_seconds 60\nacl_cache_seconds 60", [7, 7, 0, 0]),
            ("cache_deny_ttl 3", [0, 3, 0, 3]),
            ("cache true\ncache_deny_ttl 3\nacl_cache_seconds 60", [30, 3, 60, 3]),
            ("cache true\ncache_auth_ttl 7\nauth_cache_seconds 60", [7, 7, 30, 30]),
            ("cache_ttl 9\nauth_cache_seconds 60", [60, 60, 9, 9]),
        ] {
            assert_eq!(ttls(go_auth(more).cache), expected, "{more}");
        }
        assert_eq!(ttls(auth_plug("cache_deny_ttl 3").cache), [0, 3, 300, 3]);
        let both = "cache_auth_ttl 7\nauth_cacheseconds 60\ncache_acl_ttl 8\ncacheseconds 60";
        assert_eq!(ttls(auth_plug(both).cache), [7, 7, 8, 8]);
        let more = "http_user_fields peerhost,clientid\nhttp_acl_fields qos,clientid";
        for (config, own) in [(go_auth(more), go_auth("")), (auth_plug(more), auth_plug(""))] {
            let added = |kind| {
                let own = own.fields.of(kind);
                let added = config.fields.of(kind).iter().filter(|field| !own.contains(field));
                assert!(config.fields.of(kind).starts_with(own), "{config:?}");
                added.copied().collect::<Vec<_>>()
            };
            let login: &[_] = match config.api_format.compat {
                Compat::GoAuth => &[Field::PeerHost],
                _ => &[Field::PeerHost, Field::ClientId],
            };
            assert_eq!(
                (added(Kind::Login).as_slice(), added(Kind::Access)),
                (login, vec![Field::Qos])
            );
        }
        let forms = auth_plug("http_params_mode json");
        assert_eq!(forms.api_format.params, Params::Form);
        let said = "option http_params_mode does nothing here: auth-plug's questions are forms";
        assert!(forms.warnings.iter().any(|line| line == said), "{forms:?}");
        assert_eq!(auth_plug("http_params_mode form").warnings.len(), 1);
    }

    #[test]
    fn go_auth_falls_back_where_it_does_not_know_a_mode() {
        let api_format = go_auth("http_response_mode jsn\nhttp_method post").api_format;
        assert_eq!((api_format.response, api_format.method), (ResponseMode::Status, Method::Post));
        let more = "http_response_mode json\nhttp_params_mode form\nhttp_method PUT";
        let api_format = go_auth(more).api_format;
        assert_eq!(api_format.response, ResponseMode::Json);
        assert_eq!((api_format.params, api_format.method), (Params::Form, Method::Put));
        let said = errors(&format!("{GO_AUTH}\nhttp_params_mode form\nhttp_method GET"));
        assert!(said.contains("http_method GET"), "{said}");
    }

    #[test]
    fn a_value_without_effect_warns_and_what_is_not_false_verifies() {
        for (given, meaning) in [
            ("http_with_tls True", "means false"),
            ("http_with_tls yes", "means false"),
            ("http_response_mode JSON", "means status"),
            ("http_params_mode Form", "means json"),
            ("http_method post", "means POST"),
            ("cache yes", "means false"),
            ("log_level verbose", "means info"),
        ] {
            let (name, value) = given.split_once(' ').unwrap();
            let warnings = go_auth(given).warnings;
            let said = warnings.iter().find(|line| line.contains(name)).unwrap();
            assert!(said.contains(&format!("{value:?}")) && said.contains(meaning), "{said}");
        }
        for value in ["True", "yes", "1"] {
            let config = go_auth(&format!("http_with_tls true\nhttp_verify_peer {value}"));
            assert!(config.tls_verify && config.warnings[1].contains("means true"), "{config:?}");
        }
        assert_eq!(go_auth("http_with_tls false\ncache true").warnings.len(), 1);
        assert!(auth_plug("http_with_tls TRUE").warnings[1].contains("http_with_tls"));
    }

    #[test]
    fn a_name_of_another_api_format_is_met_with_what_to_write() {
        let own = "http_host api\nhttp_acl_route /acl\n";
        let said = errors(&format!("{own}auth_cache_seconds 30"));
        assert!(said.contains("mosquitto-go-auth") && said.contains("compat go-auth"), "{said}");
        let said = errors(&format!("{own}acl_cacheseconds 30"));
        assert!(said.contains("compat auth-plug"), "{said}");
        assert!(!errors(&format!("{own}http_basic_auth_key hunter2")).contains("hunter2"));
    }

    #[test]
    fn tls_without_a_word_about_verification_stops_the_start() {
        let said = errors(&format!("{GO_AUTH}\nhttp_with_tls true"));
        let both =
            said.contains("http_verify_peer true") && said.contains("http_verify_peer false");
        assert!(both, "{said}");
        assert!(go_auth("http_with_tls true\nhttp_verify_peer true").tls_verify);
        assert!(!go_auth("http_with_tls true\nhttp_verify_peer false").tls_verify);
        assert!(!go_auth("http_with_tls false\nhttp_verify_peer false").https);
    }

    #[test]
    fn go_auth_asks_only_what_is_registered() {
        let routes = go_auth("http_register user, acl").routes;
        assert!(routes.login.is_some() && routes.superuser.is_none() && routes.access.is_some());
        assert!(go_auth("disable_superuser true").routes.superuser.is_none());
        assert!(errors(&format!("{GO_AUTH}\nhttp_register user,admin")).contains("http_register"));
    }

    #[test]
    fn options_that_do_nothing_warn_and_do_not_stop() {
        for dead in [
            "http_mode remote",
            "http_host_whitelist *",
            "retry_count 2",
            "log_dest file",
            "log_file /x",
            "files_password_path /x",
            "cache_host x",
            "cache_type redis",
            "cache_password x",
            "cache true\ncache_port 1",
            "cache_reset true",
            "cache_refresh true",
            "cache_type go-cache",
            "exhaust_backend_first true",
            "pg_host localhost",
            "no_such_option 1",
        ] {
            let name = dead.rsplit('\n').next().and_then(|line| line.split(' ').next()).unwrap();
            let warnings = go_auth(dead).warnings;
            assert!(warnings.iter().any(|line| line.contains(name)), "{dead}: {warnings:?}");
        }
    }

    #[test]
    fn what_is_not_offered_stops_with_what_to_use_instead() {
        for (refused, instead) in [
            ("check_prefix true", "http"),
            ("use_clientid_as_username true", "use_username_as_clientid"),
        ] {
            let said = errors(&format!("{GO_AUTH}\n{refused}"));
            assert!(said.contains("is not offered here") && said.contains(instead), "{said}");
        }
    }

    /// mosquitto-go-auth's options of a cache in Redis, with a secret.
    fn redis_cache(more: &str) -> String {
        static SECRET: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
        let secret = SECRET.get_or_init(|| {
            let file = std::env::temp_dir().join(format!("redis-cache-{}", std::process::id()));
            std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
            file
        });
        let secret = secret.display();
        format!("{GO_AUTH}\ncache true\ncache_type redis\nfleet_secret @{secret}\n{more}")
    }

    #[test]
    fn go_auths_cache_in_redis_becomes_a_fleet() {
        use crate::config::RedisKind::{Cluster, Single};
        let fleet = |more: &str| {
            let fleet = config(&redis_cache(more)).fleet.unwrap();
            let servers: Vec<_> = fleet.servers.iter().map(ToString::to_string).collect();
            (servers.join(" "), fleet.kind, fleet.database)
        };
        assert_eq!(fleet(""), ("localhost:6379".to_owned(), Single, 3));
        let single = "cache_host r\ncache_port 7\ncache_db 0";
        assert_eq!(fleet(single), ("r:7".to_owned(), Single, 0));
        for mode in ["cluster", "true"] {
            for addresses in ["cache_addresses", "redis_cluster_addresses"] {
                let cluster = format!("cache_mode {mode}\n{addresses} a:1, b:2\ncache_db 5");
                assert_eq!(fleet(&cluster), ("a:1 b:2".to_owned(), Cluster, 0));
            }
        }
        assert_eq!(fleet("fleet_redis own\ncache_db 7"), ("own:6379".to_owned(), Single, 0));
        assert_eq!(fleet("fleet_redis_database 9").2, 9);
        let doubled = config(&redis_cache("fleet_redis own\ncache_host r")).warnings;
        let said = "option cache_host does nothing here: fleet_redis names the Redis";
        assert!(doubled.iter().any(|line| line == said), "{doubled:?}");
    }

    #[test]
    fn go_auths_password_at_redis_is_a_secret() {
        let config = config(&redis_cache("cache_password hunter2"));
        assert_eq!(config.credentials.fleet.password.unwrap().expose(), b"hunter2");
        let warned = config.warnings.iter().any(|line| line.contains("stands in clear"));
        assert!(warned && !format!("{:?}", config.warnings).contains("hunter2"));
        let own = self::config(&redis_cache("cache_password hunter2\nfleet_redis_password own"));
        assert_eq!(own.credentials.fleet.password.unwrap().expose(), b"own");
        for literal in ["@hunter2", "$hunter2"] {
            let said = errors(&redis_cache(&format!("cache_password {literal}")));
            assert!(said.contains("fleet_redis_password") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_cache_in_redis_needs_a_secret_and_says_what_else_is_wrong() {
        let said = errors(&format!("{GO_AUTH}\ncache true\ncache_type redis\ncache_password x"));
        assert!(said.starts_with("option cache_type redis needs fleet_secret"), "{said}");
        for (more, option) in [
            ("cache_mode cluster\ncache_host x", "cache_mode cluster needs cache_addresses"),
            ("cache_db three", "cache_db: \"three\" is not allowed"),
            ("cache_port many", "cache_port: \"localhost:many\" is not allowed"),
            ("cache_host http://r/", "cache_host: \"http://r/\" is not allowed"),
            ("cache_mode true\ncache_addresses a:b", "cache_addresses: \"a:b\" is not allowed"),
        ] {
            let said = errors(&redis_cache(more));
            assert!(said.starts_with(&format!("option {option}")), "{said}");
        }
    }

    fn with_backends(names: &str, more: &str) -> String {
        format!("{}\n{more}", GO_AUTH.replace("backends http", &format!("backends {names}")))
    }

    #[test]
    fn each_backend_that_is_not_offered_is_named_with_what_to_use_instead() {
        let said = errors(&with_backends("jwt, mysql,http,grpc", ""));
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        for (line, (name, instead)) in lines.iter().zip([
            ("jwt", "jwt_key_file"),
            ("mysql", "a small API"),
            ("grpc", "a small API"),
        ]) {
            assert!(
                line.starts_with(&format!("option backends: {name} is not offered; ")),
                "{line}"
            );
            assert!(line.contains(instead) && line.contains("docs/migrating.md"), "{line}");
        }
        assert!(errors(&with_backends("http,htpp", "")).contains("allowed: files, http"));
        let alone = config("backends files\nfiles_password_path /x\nhttp_getuser_uri /user");
        assert!(alone.files.unwrap().alone && alone.endpoints.is_empty());
        assert_eq!(alone.routes.login, None);
        let auth_plugs = AUTH_PLUG.replace("backends http", "backends files,http");
        assert!(errors(&auth_plugs).contains("local_users_file"));
    }

    #[test]
    fn files_are_read_by_either_of_their_names() {
        for [passwords, acl] in
            [["files_password_path", "files_acl_path"], ["password_path", "acl_path"]]
        {
            let more = format!("{passwords} /etc/pw\n{acl} /etc/acl");
            let files = config(&with_backends("files, http", &more)).files.unwrap();
            assert_eq!(files.passwords.as_deref(), Some("/etc/pw".as_ref()));
            assert_eq!(files.acl.as_deref(), Some("/etc/acl".as_ref()));
            assert_eq!(files.salt, SaltEncoding::Base64);
            assert!(files.decides_logins && files.decides_access);
        }
        let both = "password_path /a\nfiles_password_path /b";
        assert!(errors(&with_backends("files,http", both)).contains("by its other name"));
        let plain = config(&with_backends("http", "files_password_path /x"));
        assert_eq!(plain.files, None);
        assert!(plain.warnings[1].contains("files is not among the backends"), "{plain:?}");
    }

    #[test]
    fn what_decides_is_what_is_registered_and_hashes_are_of_pbkdf2() {
        let files = |more: &str| config(&with_backends("files,http", more)).files.unwrap();
        let registered = files("files_register user\nfiles_password_path /x");
        assert!(registered.decides_logins && !registered.decides_access);
        assert_eq!(files("hasher_salt_encoding utf-8").salt, SaltEncoding::Utf8);
        let own = files("hasher_salt_encoding utf-8\nfiles_hasher pbkdf2");
        assert_eq!(own.salt, SaltEncoding::Base64, "the backend's own hasher has its own options");
        let more = "hasher pbkdf2\nhasher_iterations 100000\nhasher_algorithm sha512";
        assert_eq!(config(&with_backends("files,http", more)).warnings.len(), 1);
        for (more, name) in [
            ("hasher bcrypt", "hasher"),
            ("files_hasher argon2id\nhasher pbkdf2", "files_hasher"),
            ("files_register user", "files_register"),
        ] {
            let said = errors(&with_backends("files,http", more));
            assert!(said.starts_with(&format!("option {name}")), "{said}");
        }
        assert_eq!(go_auth("hasher bcrypt").files, None, "no file holds a hash");
    }

    #[test]
    fn a_library_in_place_of_a_predecessors_file_means_what_that_meant() {
        let own = pairs("http_host api\nhttp_user_route /user");
        let of = |library| {
            let config = read_for(&own, library).unwrap();
            (config.api_format.compat, config.warnings)
        };
        let (compat, warnings) = of(Some("/usr/share/mosquitto/go-auth.so"));
        assert_eq!(compat, Compat::GoAuth);
        assert_eq!(warnings, ["the library's file is go-auth.so, so compat is go-auth"]);
        assert_eq!(of(Some("/x/auth-plug.so")).0, Compat::AuthPlug);
        assert_eq!(of(Some("/x/libmosquitto_http_auth.so")).0, Compat::None);
        assert_eq!(of(None).0, Compat::None);
        let said_otherwise = [own.clone(), pairs("compat none")].concat();
        let config = read_for(&said_otherwise, Some("/x/go-auth.so")).unwrap();
        assert_eq!(config.api_format.compat, Compat::None);
        assert_eq!(config_of("backends http\nhttp_host api\nhttp_user_route /u"), Compat::GoAuth);
    }

    fn config_of(text: &str) -> Compat {
        config(text).api_format.compat
    }

    #[test]
    fn go_auths_log_levels_are_known() {
        use log::LevelFilter::{Debug, Error, Info, Warn};
        for (given, level) in [
            ("debug", Debug),
            ("info", Info),
            ("warn", Warn),
            ("warning", Warn),
            ("error", Error),
            ("fatal", Error),
            ("panic", Error),
            ("loud", Info),
        ] {
            assert_eq!(go_auth(&format!("log_level {given}")).log_level, level, "{given}");
        }
    }

    #[test]
    fn auth_plug_is_known_by_its_option_and_keeps_its_defaults() {
        let config = auth_plug("");
        assert_eq!(
            (config.api_format.compat, config.api_format.params),
            (Compat::AuthPlug, Params::Form)
        );
        assert_eq!(config.endpoints[0].origin(config.https), "http://127.0.0.1");
        assert_eq!(config.cache.login.allow, Duration::ZERO);
        assert_eq!(config.cache.access.deny, Duration::from_secs(300));
        assert_eq!(config.anonymous_access.as_deref(), Some("anonymous"));
        assert_eq!(config.special_chars, SpecialChars::new(b"+#/"));
        let config = auth_plug("cacheseconds 60\nauth_cacheseconds 10\nauth_cachejitter 3");
        assert_eq!(config.cache.access.allow, Duration::from_secs(60));
        assert_eq!(config.cache.login.jitter, Jitter::Around(Duration::from_secs(3)));
    }

    #[test]
    fn auth_plugs_host_name_goes_into_the_header() {
        let config = auth_plug("http_hostname api.example.com\nhttp_port 8080");
        assert_eq!(config.endpoints[0].origin(false), "http://127.0.0.1:8080");
        let host = config.credentials.headers.iter().find(|header| header.name == "Host").unwrap();
        assert_eq!(host.value.expose(), b"api.example.com");
        let config =
            super::tests::config(&AUTH_PLUG.replace("http_ip 127.0.0.1", "http_hostname api"));
        assert_eq!(config.endpoints[0].origin(false), "http://api");
    }

    #[test]
    fn auth_plugs_host_name_beside_an_address_is_any_header() {
        for odd in ["my~host", "api/auth", "a b"] {
            let config = auth_plug(&format!("http_hostname {odd}"));
            let mut headers = config.credentials.headers.iter();
            let host = headers.find(|header| header.name == "Host").unwrap();
            assert_eq!(host.value.expose(), odd.as_bytes());
            assert_eq!(config.endpoints[0].origin(false), "http://127.0.0.1");
        }
        let said = errors(&format!("{AUTH_PLUG}\nhttp_hostname a\u{1}b"));
        assert!(said.starts_with("option http_hostname: the header's value "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let both = AUTH_PLUG.replace("127.0.0.1", "a~b");
        let said = errors(&format!("{both}\nhttp_hostname a~b"));
        assert!(said.starts_with("option http_ip: ") && said.lines().count() == 1, "{said}");
    }

    #[test]
    fn auth_plugs_host_is_one_or_stops_the_start() {
        for (name, wrong) in
            [("http_ip", "http://10.0.0.1"), ("http_ip", ""), ("http_hostname", "api/auth")]
        {
            let given = [(name, wrong), ("http_getuser_uri", "/auth")];
            let errors = read(&fake::pairs(&given)).unwrap_err();
            let [error] = errors.as_slice() else { panic!("{errors:?}") };
            let said = error.to_string();
            let expected =
                format!("option {name}: {wrong:?} is not allowed; allowed: a comma list");
            assert!(said.starts_with(&expected), "{said}");
        }
        let said = errors("compat go-auth\nhttp_ip 10.0.0.1\nhttp_getuser_uri /auth");
        assert_eq!(said, "option http_host is required: the API's host");
    }

    #[test]
    fn a_host_beside_auth_plugs_own_is_said_to_have_no_effect() {
        let both = auth_plug("http_host other");
        assert_eq!(both.endpoints[0].origin(false), "http://127.0.0.1");
        let said = "option http_host does nothing here: http_ip names the host";
        assert!(both.warnings.iter().any(|line| line == said), "{:?}", both.warnings);
        let named = config("http_hostname api\nhttp_host other\nhttp_getuser_uri /auth");
        assert_eq!(named.endpoints[0].origin(false), "http://api");
        assert!(named.warnings[1].contains("http_hostname names the host"), "{named:?}");
        let own = config("compat auth-plug\nhttp_host api\nhttp_getuser_uri /auth");
        assert_eq!((own.endpoints.len(), own.warnings.len()), (1, 0), "{own:?}");
    }

    #[test]
    fn auth_plugs_parameters_come_from_the_environment() {
        let config = auth_plug("http_getuser_params path=PATH,none=DOES_NOT_EXIST");
        let prefix = config.api_format.prefix(Kind::Login);
        assert!(prefix.starts_with("path=") && prefix.ends_with("&none=NULL&"), "{prefix}");
        assert_eq!(config.api_format.prefix(Kind::Access), "");
    }

    #[test]
    fn auth_plugs_key_is_a_secret() {
        let config = auth_plug("http_basic_auth_key aHVudGVyMg==");
        let header = config
            .credentials
            .headers
            .iter()
            .find(|header| header.name == "Authorization")
            .unwrap();
        assert_eq!(header.value.expose(), b"Basic aHVudGVyMg==");
        assert!(!format!("{config:?}").contains("aHVudGVy"));
    }

    #[test]
    fn a_mix_of_both_is_what_compat_says() {
        let text = format!("{GO_AUTH}\ncompat none");
        assert!(errors(&text).contains("http_getuser_uri is not known"));
        let own = "http_host api\nhttp_user_route /user\ncompat go-auth";
        assert_eq!(config(own).fields.of(Kind::Login)[0], Field::ClientId);
    }

    #[test]
    fn an_api_for_emqx_is_configured_with_our_own_options_and_defaults() {
        const EMQX: &str = "http_host api\nhttp_user_route /auth\nhttp_acl_route /acl\ncompat emqx";
        let own = config(EMQX.strip_suffix("\ncompat emqx").unwrap());
        let emqx = config(EMQX);
        assert_eq!((&emqx.cache, emqx.warnings.len()), (&own.cache, 0));
        assert_eq!(emqx.special_chars, own.special_chars);
        assert_eq!(emqx.fields.of(Kind::Login), own.fields.of(Kind::Login));
        let access = [Field::Username, Field::ClientId, Field::Topic, Field::Action];
        assert_eq!(emqx.fields.of(Kind::Access), access);
        let more = config(&format!("{EMQX}\nhttp_params_mode form\nhttp_acl_fields qos,clientid"));
        assert_eq!(more.fields.of(Kind::Access), [&access[..], &[Field::Qos]].concat());
        for other in ["http_response_mode json", "http_method GET", "http_superuser_route /s"] {
            let said = errors(&format!("{EMQX}\n{other}"));
            let name = other.split_once(' ').unwrap().0;
            assert!(said.contains(&format!("options compat emqx and {name} do not go together")));
        }
        assert!(errors(&format!("{EMQX}\nauth_cache_seconds 3")).contains("compat go-auth"));
        assert!(errors(&format!("{EMQX}\npool_size 8")).contains("pool_size is not known"));
    }
}
