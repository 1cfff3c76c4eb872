//! Every option as it is in force, for whoever wants to see what a configuration amounts to.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::Config;
use super::options::{HEADER_PREFIX, Opt, options, source};

/// An option as it is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    pub name: String,
    /// In the option's own words, or in others where it has none: `unset`. Of a secret it tells
    /// only where it comes from.
    pub value: String,
    pub origin: Origin,
}

/// Why an option is as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    Given,
    Default,
    /// By the options and defaults of the plugin that came before, as `compat` says.
    Predecessor,
}

/// Every option, in the order of the documentation. `given` are the options that `config` was read
/// from.
#[must_use]
pub fn settings(config: &Config, given: &[(String, String)]) -> Vec<Setting> {
    let is_given = |name: &str| given.iter().any(|(given, _)| given == name);
    let usual = usual(config);
    let origin = |option: &Opt, value: &Option<String>| match &usual {
        _ if is_given(option.name) => Origin::Given,
        Some(usual) if (option.show)(usual) != *value => Origin::Predecessor,
        _ => Origin::Default,
    };
    let mut settings = Vec::new();
    for option in options() {
        if option.name.starts_with(HEADER_PREFIX) {
            settings.extend(config.sources.headers.iter().map(|(header, secret)| {
                let name = format!("{HEADER_PREFIX}{header}");
                let origin = if is_given(&name) { Origin::Given } else { Origin::Predecessor };
                Setting { origin, value: source(secret), name }
            }));
            continue;
        }
        let value = (option.show)(config);
        let origin = origin(option, &value);
        let value = value.unwrap_or_else(|| "unset".to_owned());
        settings.push(Setting { name: option.name.to_owned(), value, origin });
    }
    settings.extend(of_files(config));
    settings
}

/// The files of a predecessor's backend, whose options have no other names here.
fn of_files(config: &Config) -> impl Iterator<Item = Setting> {
    let files = config.files.as_ref();
    let path = |name: &str, path: Option<&PathBuf>| {
        let (name, value) = (name.to_owned(), path?.display().to_string());
        Some(Setting { name, value, origin: Origin::Given })
    };
    let passwords = files.and_then(|files| files.passwords.as_ref());
    let acl = files.and_then(|files| files.acl.as_ref());
    [path("files_password_path", passwords), path("files_acl_path", acl)].into_iter().flatten()
}

/// The defaults that a predecessor's options and defaults differ from; none if there is none.
fn usual(config: &Config) -> Option<Config> {
    let required = [("http_host", "localhost"), ("http_user_route", "/")];
    let required = required.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config.api_format.compat.is_predecessor().then(|| super::read(&required).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::Preset;
    use crate::config::read;
    use crate::fake;

    fn in_force(options: &[(&str, &str)]) -> Vec<Setting> {
        let given = fake::pairs(options);
        settings(&read(&given).unwrap(), &given)
    }

    fn find<'a>(settings: &'a [Setting], name: &str) -> (&'a str, Origin) {
        let found = settings.iter().find(|setting| setting.name == name).unwrap();
        (&found.value, found.origin)
    }

    /// Every option has something else than its default here, so that none is forgotten.
    const UNUSUAL: &[(&str, &str)] = &[
        ("http_host", "a, [::1]:81"),
        ("http_port", "8080"),
        ("http_protocol", "https"),
        ("http_user_route", "/u"),
        ("http_superuser_route", "/s"),
        ("http_acl_route", "/a"),
        ("http_user_fields", "clientid,peerhost"),
        ("http_acl_fields", "qos,retain"),
        ("http_timeout_ms", "7"),
        ("http_connect_timeout_ms", "6"),
        ("http_connections", "5"),
        ("tls_verify", "false"),
        ("cache_ttl", "11"),
        ("cache_auth_ttl", "12"),
        ("cache_acl_ttl", "13"),
        ("cache_deny_ttl", "14"),
        ("cache_max_bytes", "65 MiB"),
        ("cache_refresh_ahead", "false"),
        ("cache_stale_if_error", "15"),
        ("cache_revalidate", "16"),
        ("max_block_ms", "17"),
        ("max_block_percent", "18"),
        ("on_error", "defer"),
        ("acl_unavailable", "deny"),
        ("hold_ms", "24"),
        ("hold_max_bytes", "25 MiB"),
        ("breaker_failures", "19"),
        ("breaker_open_ms", "20"),
        ("local_users_file", "/l"),
        ("local_users_acl", "defer"),
        ("deny_special_chars", "false"),
        ("login_failures_max", "21"),
        ("login_failures_window", "22"),
        ("websocket_address", "trust"),
        ("delayed_login", "false"),
        ("unavailable_reply", "reason"),
        ("anonymous_username", "nobody"),
        ("password_encoding", "base64"),
        ("http_jwks_route", "/keys"),
        ("jwt_algorithms", "ES256,EdDSA"),
        ("jwt_issuer", "https://issuer"),
        ("jwt_audience", "mqtt,account"),
        ("jwt_leeway", "26"),
        ("jwt_username_claim", "name"),
        ("jwt_username", "set"),
        ("jwt_only", "true"),
        ("http_response_mode", "json"),
        ("http_params_mode", "form"),
        ("http_method", "PUT"),
        ("http_trace", "true"),
        ("http_event_route", "/e"),
        ("http_events", "login_denied,kicked"),
        ("metrics_listen", "127.0.0.1:9180"),
        ("sys_interval", "23"),
        ("log_level", "trace"),
    ];

    /// The same for what does not go with a form.
    const UNUSUAL_JSON: &[(&str, &str)] =
        &[("http_host", "a:80"), ("http_acl_route", "/a"), ("http_acl_batch_route", "/b")];

    #[test]
    fn what_is_given_is_in_force() {
        for unusual in [UNUSUAL, UNUSUAL_JSON] {
            let settings = in_force(unusual);
            for (name, given) in unusual {
                let shown = if *given == "a, [::1]:81" { "a:8080, [::1]:81" } else { given };
                assert_eq!(find(&settings, name), (shown, Origin::Given), "{name}");
            }
        }
    }

    /// The same for what a fleet has, which needs a secret.
    const UNUSUAL_FLEET: &[(&str, &str)] = &[
        ("fleet_redis", "a:6379, [::1]:81, /run/redis"),
        ("fleet_redis_kind", "sentinel"),
        ("fleet_redis_master", "m"),
        ("fleet_redis_username", "u"),
        ("fleet_redis_database", "1"),
        ("fleet_redis_tls", "true"),
        ("fleet_redis_timeout_ms", "2"),
        ("fleet_name", "n"),
        ("fleet_scope", "s"),
        ("fleet_broker", "b"),
        ("fleet_share", "login"),
        ("fleet_blind_ttl", "3"),
        ("fleet_ack_ms", "4"),
    ];

    /// What of it is a secret, or a file.
    const FLEET_SECRETS: [&str; 3] =
        ["fleet_secret", "fleet_redis_password", "fleet_redis_tls_ca_file"];

    #[test]
    fn what_is_given_of_a_fleet_is_in_force() {
        let file = std::env::temp_dir().join(format!("fleet-secret-{}", std::process::id()));
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let secret = format!("@{}", file.display());
        let required = [
            ("http_host", "h"),
            ("http_user_route", "/u"),
            ("fleet_secret", &secret),
            ("fleet_redis_password", "s3cret"),
        ];
        let settings = in_force(&[&required, UNUSUAL_FLEET].concat());
        std::fs::remove_file(&file).unwrap();
        for (name, given) in UNUSUAL_FLEET {
            assert_eq!(find(&settings, name), (*given, Origin::Given), "{name}");
        }
        let from = format!("set, from the file {}", file.display());
        assert_eq!(find(&settings, "fleet_secret"), (from.as_str(), Origin::Given));
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn every_option_has_a_value_or_is_known_to_have_none() {
        let unset = in_force(&[("http_host", "a"), ("http_user_route", "/u")]);
        let usual = |name: &str| {
            [UNUSUAL, UNUSUAL_JSON, UNUSUAL_FLEET].concat().iter().any(|(known, _)| *known == name)
                || FLEET_SECRETS.contains(&name)
        };
        for option in options().filter(|option| !option.name.starts_with(HEADER_PREFIX)) {
            // No value of these is unusual and can be read here.
            let is_known = [
                "tls_ca_file",
                "tls_cert_file",
                "tls_key_file",
                "jwt_key_file",
                "jwt_secret_file",
                "compat",
            ]
            .contains(&option.name)
                || usual(option.name);
            assert!(is_known, "{} is missing in this test", option.name);
            let (value, _) = find(&unset, option.name);
            let default = match option.default {
                Preset::Value(value) => value,
                Preset::Words(words) => words,
            };
            match option.name {
                "http_host" => assert_eq!(value, "a:80"),
                "http_user_route" => assert_eq!(value, "/u"),
                "http_port" => assert_eq!(value, "80"),
                "tls_ca_file" => assert_eq!(value, "unset", "without TLS"),
                "cache_auth_ttl" | "cache_acl_ttl" => assert_eq!(value, "30"),
                "cache_deny_ttl" => assert_eq!(value, "5"),
                // Without a fleet it has neither.
                name if name.starts_with("fleet_") && value == "unset" => {}
                name => assert_eq!(value, default, "{name}"),
            }
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_option() {
        for option in options() {
            if let Preset::Value(value) = option.default {
                let taken =
                    (option.set)(&mut crate::config::raw_config::RawConfig::default(), value);
                assert_eq!(taken, Ok(()), "{}", option.name);
            }
        }
    }

    #[test]
    fn of_a_secret_only_its_source_is_shown() {
        let settings = in_force(&[
            ("http_host", "a"),
            ("http_user_route", "/u"),
            ("http_header_X-One", "s3cret"),
            ("http_header_X-Two", " $PATH"),
        ]);
        assert_eq!(find(&settings, "http_header_X-One"), ("set", Origin::Given));
        let (value, _) = find(&settings, "http_header_X-Two");
        assert_eq!(value, "set, from the environment variable PATH");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn a_predecessors_options_are_shown_by_our_names() {
        let settings = in_force(&[
            ("http_host", "a"),
            ("http_getuser_uri", "/u"),
            ("http_aclcheck_uri", "/a"),
            ("http_timeout", "3"),
        ]);
        assert_eq!(find(&settings, "http_user_route"), ("/u", Origin::Predecessor));
        assert_eq!(find(&settings, "http_timeout_ms"), ("3000", Origin::Predecessor));
        assert_eq!(find(&settings, "http_connections"), ("32", Origin::Default));
        assert_eq!(find(&settings, "http_user_fields"), ("clientid", Origin::Predecessor));
        assert_eq!(find(&settings, "cache_ttl"), ("0", Origin::Predecessor));
        assert_eq!(find(&settings, "compat"), ("go-auth", Origin::Predecessor));
        assert_eq!(find(&settings, "http_host"), ("a:80", Origin::Given));
    }
}
