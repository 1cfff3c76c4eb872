//! Reads the options that the broker hands over.

#![forbid(unsafe_code)]

use super::choices::COMPAT;
use super::fleet::SECRETS;
use super::options::{self, HEADER_PREFIX, Preset, options};
use super::raw_config::RawConfig;
use super::{Config, ConfigError, Routes, Sources, edit_distance, legacy, values};
use crate::api_format::{Compat, Params};
use crate::secret::Secret;
use crate::trace::TRACEPARENT;

/// Reads all options as the broker hands them over, without their `plugin_opt_` or `auth_opt_`.
///
/// # Errors
/// Every error that was found, not only the first.
pub fn read(given: &[(String, String)]) -> Result<Config, Vec<ConfigError>> {
    read_for(given, None)
}

/// The same for a library of this path: in place of a predecessor's file, it means what that meant.
///
/// # Errors
/// Every error that was found, not only the first.
pub fn read_for(
    given: &[(String, String)],
    library: Option<&str>,
) -> Result<Config, Vec<ConfigError>> {
    let (compat, told_by) = legacy::predecessor(given, library);
    let mut raw = blank(compat);
    if let (Some(sign), Some((word, _))) = (told_by, COMPAT.iter().find(|(_, c)| *c == compat)) {
        raw.warnings.push(format!("{sign}, so compat is {word}"));
    }
    let mut errors: Vec<ConfigError> =
        given.iter().filter_map(|(name, value)| set(&mut raw, name, value.trim()).err()).collect();
    errors.extend(doubled(given));
    let is_given = |names: &[&str]| given.iter().any(|(name, _)| names.contains(&name.as_str()));
    errors.extend(legacy::conclude(&mut raw, |name| is_given(&[name])).err().unwrap_or_default());
    let needs_no_api = raw.tokens.has_keys(&raw.sources) || raw.files.is_some();
    let asks_nobody = raw.routes == Routes::default() && raw.tokens.jwks_route.is_none();
    let needs_host = !(needs_no_api && asks_nobody);
    let names_host = |option: &str| ["http_host", "http_ip", "http_hostname"].contains(&option);
    let is_malformed = errors.iter().any(|error| error.option().is_some_and(names_host));
    if needs_host && raw.hosts.is_empty() && !is_malformed {
        errors.push(ConfigError::overall("option http_host is required: the API's host"));
    }
    let routes = ["http_user_route", "http_acl_route", "http_getuser_uri", "http_aclcheck_uri"];
    if !needs_no_api && !is_given(&routes) {
        errors.push(ConfigError::overall(
            "at least one of the options http_user_route and http_acl_route is required",
        ));
    }
    errors.extend(raw.tokens.errors(&raw.sources, |name| is_given(&[name])));
    errors.extend(batch_error(&raw));
    errors.extend(tls_error(&raw));
    if is_given(&["http_events"]) && raw.routes.events.is_none() {
        errors.push(ConfigError::overall("option http_events needs http_event_route"));
    }
    errors.extend(trace_error(&raw));
    raw.sources.fleet.is_there = !raw.fleet.servers.is_empty();
    raw.sources.fleet.tls = raw.fleet.tls;
    errors.extend(raw.fleet.check(&raw.sources.fleet, &mut raw.warnings));
    raw.sources.jwt_algorithms = raw.tokens.algorithms.clone();
    raw.sources.verifies = raw.https && raw.tls_verify;
    match raw.sources.read() {
        Ok(credentials) if errors.is_empty() => Ok(raw.into_config(credentials)),
        Ok(_) => Err(errors),
        Err(unreadable) => {
            errors.extend(unreadable);
            Err(errors)
        }
    }
}

const USER_AGENT: &str = concat!("mosquitto-http-auth/", env!("CARGO_PKG_VERSION"));

/// Nothing given: every option at its default, those of the predecessor's where there is one.
fn blank(compat: Compat) -> RawConfig {
    let mut raw = RawConfig::default();
    for option in options() {
        if let Preset::Value(value) = option.default {
            // The test `every_default_is_a_value_of_its_option` shows that each is taken.
            let _ = (option.set)(&mut raw, value);
        }
    }
    USER_AGENT.clone_into(&mut raw.user_agent);
    raw.api_format.compat = compat;
    legacy::preset(&mut raw);
    raw
}

/// Why many questions cannot be asked in one request: it is JSON, and so is its answer.
fn batch_error(raw: &RawConfig) -> Option<ConfigError> {
    raw.routes.batch.as_ref()?;
    if raw.routes.access.is_none() {
        return Some(ConfigError::overall("option http_acl_batch_route needs http_acl_route"));
    }
    let api_format = &raw.api_format;
    let problem = if api_format.compat == Compat::AuthPlug {
        "compat auth-plug do not go together: its questions are forms, and many in one request are JSON"
    } else if api_format.params == Params::Form {
        "http_params_mode form do not go together: many questions in one request are JSON; allowed: json"
    } else if api_format.compat == Compat::GoAuth && !api_format.needs_body() {
        "http_response_mode status do not go together with compat go-auth: it ignores the body of an \
         answer, which answers many questions; allowed: json, text"
    } else {
        return None;
    };
    Some(ConfigError::overall(format!("options http_acl_batch_route and {problem}")))
}

/// Options about TLS that do not go together.
fn tls_error(raw: &RawConfig) -> Option<ConfigError> {
    let Sources { ca_file, cert_file, key_file, .. } = &raw.sources;
    if cert_file.is_some() != key_file.is_some() {
        return Some(ConfigError::overall(
            "options tls_cert_file and tls_key_file need each other",
        ));
    }
    let given = ca_file.as_ref().map(|_| "tls_ca_file");
    let given = given.or(cert_file.as_ref().map(|_| "tls_cert_file"));
    let given = given.filter(|_| !raw.https)?;
    Some(ConfigError::overall(format!("option {given} needs http_protocol https")))
}

/// Whoever writes a trace's header cannot have one made for each request.
fn trace_error(raw: &RawConfig) -> Option<ConfigError> {
    let mut names = raw.sources.headers.iter().map(|(name, _)| name);
    let given = names.find(|name| raw.trace && name.eq_ignore_ascii_case(TRACEPARENT))?;
    let option = format!("{HEADER_PREFIX}{given}");
    let text =
        format!("option {option} and http_trace true do not go together; allowed: one of them");
    Some(ConfigError::about(&option, text))
}

/// An error for each option that is given more than once.
fn doubled(given: &[(String, String)]) -> Vec<ConfigError> {
    let mut seen: Vec<(String, &str, usize)> = Vec::new();
    let mut errors = Vec::new();
    for (name, value) in given {
        let identity = identity(name);
        let Some((_, first, count)) = seen.iter_mut().find(|(other, ..)| *other == identity) else {
            seen.push((identity, value.trim(), 1));
            continue;
        };
        *count += 1;
        if *count == 2 {
            let is_known = options::find(name).is_some() && !SECRETS.contains(&name.as_str());
            errors.push(ConfigError::twice(name, is_known.then_some([*first, value.trim()])));
        }
    }
    errors
}

/// The name under which an option can be given once: header fields know no case.
fn identity(name: &str) -> String {
    match name.strip_prefix(HEADER_PREFIX) {
        Some(header) => format!("{HEADER_PREFIX}{}", header.to_ascii_lowercase()),
        None => name.to_owned(),
    }
}

fn set(raw: &mut RawConfig, name: &str, value: &str) -> Result<(), ConfigError> {
    // What was not UTF-8 arrives as U+FFFD, which nobody means.
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err(ConfigError::secret_value(name, "the value is not UTF-8"));
    }
    if legacy::set(raw, name, value)? {
        return Ok(());
    }
    if let Some(header) = name.strip_prefix(HEADER_PREFIX) {
        let problem = |problem: String| ConfigError::secret_value(name, &problem);
        values::header_name(header).map_err(problem)?;
        raw.sources.headers.push((header.to_owned(), Secret::new(value.as_bytes().to_vec())));
        return Ok(());
    }
    let Some(option) = options::find(name) else {
        if raw.api_format.compat.is_predecessor() {
            legacy::pass_over(raw, name);
            return Ok(());
        }
        if let Some(compat) = legacy::known_elsewhere(name, value) {
            let text = format!(
                "option {name} is not known without plugin_opt_compat {compat}, as it is \
                 mosquitto-{compat}'s; docs/migrating.md names ours"
            );
            return Err(ConfigError::about(name, text));
        }
        let (nearest, is_near) = nearest(name);
        let shown = (!is_secretive(name, nearest)).then_some(value);
        return Err(ConfigError::unknown(name, shown, nearest, is_near));
    };
    (option.set)(raw, value).map_err(|allowed| ConfigError::value(name, value, &allowed))
}

/// The known name that takes the fewest corrections, and whether it takes few enough to be meant; or
/// the shortest of which the name is a part.
fn nearest(name: &str) -> (&'static str, bool) {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // A header's name is the user's own: compare as much of both as the prefix has.
    let start = name.get(..HEADER_PREFIX.len()).unwrap_or(&name);
    let rank = |known: &'static str| {
        let (given, wanted) = match known.strip_suffix("NAME") {
            Some(prefix) => (start, prefix),
            None => (name.as_str(), known),
        };
        let distance = edit_distance(given, wanted);
        let is_part = name.len() > 3 && known.contains(name.as_str());
        let is_near = distance <= given.len().max(6) / 3 || is_part;
        (!is_near, distance, known)
    };
    let ranked = options().map(|option| rank(option.name)).min();
    ranked.map_or((HEADER_PREFIX, false), |(is_far, _, known)| (known, !is_far))
}

/// Whether a name that is not known looks as if its value were a secret: what makes it look so is not
/// in the name that was probably meant.
fn is_secretive(name: &str, nearest: &str) -> bool {
    let name = name.to_ascii_lowercase();
    nearest.starts_with(HEADER_PREFIX)
        || SECRETS.contains(&nearest)
        || ["pass", "secret", "token", "key", "auth", "credential", "header"]
            .iter()
            .any(|word| name.contains(word) && !nearest.contains(word))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use log::LevelFilter;

    use super::*;
    use crate::config::{
        BreakerConfig, CacheConfig, Endpoint, Jitter, Lifetime, PasswordEncoding, SpecialChars,
    };
    use crate::fake::{self, pairs};
    use crate::field::Field;
    use crate::policy::OnError;

    /// The configuration of these options and the two that are required.
    fn config(given: &[(&str, &str)]) -> Config {
        let required = [("http_host", "api"), ("http_user_route", "/user")];
        fake::config(&[&required, given].concat())
    }

    fn errors(given: &[(&str, &str)]) -> Vec<String> {
        let required = [("http_host", "api"), ("http_user_route", "/user")];
        let errors = read(&pairs(&[&required, given].concat())).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = config(&[]);
        assert_eq!(config.endpoints, [Endpoint { host: "api".into(), port: 80 }]);
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert_eq!(config.connect_timeout, Duration::from_secs(2));
        assert_eq!(config.connections, 32);
        let lifetime = Lifetime {
            allow: Duration::from_secs(30),
            deny: Duration::from_secs(5),
            jitter: Jitter::Shorter,
        };
        assert_eq!(
            config.cache,
            CacheConfig {
                ttl: Duration::from_secs(30),
                login: lifetime,
                access: lifetime,
                max_bytes: 64 << 20,
                refresh_ahead: true,
                stale_if_error: Duration::ZERO,
                revalidate: Duration::ZERO,
            }
        );
        let breaker = BreakerConfig { failures: 5, rest: Duration::from_secs(5) };
        assert_eq!(config.breaker, breaker);
        assert_eq!((config.max_block, config.max_block_percent), (Duration::from_secs(1), 50));
        assert_eq!(config.on_error, OnError::Deny);
        assert_eq!(config.password_encoding, PasswordEncoding::Utf8);
        assert_eq!((config.local_users, config.anonymous_username), (None, None));
        assert_eq!(config.special_chars, SpecialChars::new(b"+#"));
        assert_eq!(config.log_level, LevelFilter::Info);
        assert_eq!(config.metrics_listen, None);
        assert_eq!(config.sys_interval, Some(Duration::from_secs(10)));
    }

    #[test]
    fn topics_below_sys_can_be_done_without() {
        assert_eq!(config(&[("sys_interval", "0")]).sys_interval, None);
        assert_eq!(config(&[("sys_interval", "1")]).sys_interval, Some(Duration::from_secs(1)));
    }

    #[test]
    fn each_lifetime_can_be_set_apart() {
        let ttls = |given: &[(&str, &str)]| {
            let cache = config(given).cache;
            [cache.login.allow, cache.access.allow, cache.login.deny].map(|ttl| ttl.as_secs())
        };
        assert_eq!(ttls(&[("cache_ttl", "60")]), [60, 60, 5]);
        assert_eq!(ttls(&[("cache_ttl", "3")]), [3, 3, 3]);
        assert_eq!(ttls(&[("cache_ttl", "0")]), [0, 0, 0]);
        assert_eq!(ttls(&[("cache_auth_ttl", "9"), ("cache_acl_ttl", "8")]), [9, 8, 5]);
        assert_eq!(ttls(&[("cache_ttl", "1"), ("cache_deny_ttl", "7")]), [1, 1, 7]);
    }

    #[test]
    fn hosts_without_a_port_take_the_common_one() {
        let ports = |given: &[(&str, &str)]| -> Vec<u16> {
            let required = [("http_acl_route", "/acl")];
            let config = read(&pairs(&[&required, given].concat())).unwrap();
            config.endpoints.iter().map(|endpoint| endpoint.port).collect()
        };
        assert_eq!(ports(&[("http_host", "a,b:81")]), [80, 81]);
        assert_eq!(ports(&[("http_host", "a,b:81"), ("http_port", "8080")]), [8080, 81]);
    }

    #[test]
    fn blanks_around_a_value_do_not_count() {
        assert_eq!(config(&[("cache_ttl", " 7 ")]).cache.login.allow, Duration::from_secs(7));
    }

    #[test]
    fn every_error_is_said_in_a_line_of_its_own() {
        let said = errors(&[("cache_ttl", "soon"), ("on_error", "maybe"), ("colour", "red")]);
        assert_eq!(
            said,
            [
                "option cache_ttl: \"soon\" is not allowed; allowed: a whole number of seconds \
                 from 0 to 31536000",
                "option on_error: \"maybe\" is not allowed; allowed: deny, defer, allow",
                "option colour is not known (given: \"red\"); the nearest known name is compat, \
                 docs/configuration.md has all of them",
            ]
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one() {
        let said = |name: &str| errors(&[(name, "1")]).join("");
        assert!(said("cache_tll").ends_with("the nearest known name is cache_ttl"));
        assert!(said("htp_timeout_ms").ends_with("the nearest known name is http_timeout_ms"));
        assert!(said("HTTP_PORT").ends_with("the nearest known name is http_port"));
        assert!(said("http-host").ends_with("the nearest known name is http_host"));
        assert!(said("user_route").ends_with("the nearest known name is http_user_route"));
        assert!(said("timeout").ends_with("the nearest known name is http_timeout_ms"));
        for far in ["colour", "x", "an_option_of_something_else_altogether"] {
            assert!(said(far).contains("the nearest known name is "), "{}", said(far));
            assert!(said(far).ends_with("docs/configuration.md has all of them"), "{}", said(far));
        }
        assert!(said("http_heder_X-Key").ends_with("the nearest known name is http_header_NAME"));
    }

    #[test]
    fn options_of_later_versions_are_unknown_until_they_do_something() {
        for name in ["metrics_path", "pid_file"] {
            assert!(errors(&[(name, "1")])[0].contains("is not known"), "{name}");
        }
    }

    #[test]
    fn a_doubled_option_is_an_error() {
        let twice = [("cache_ttl", "1"), ("cache_ttl", " 2 ")];
        let said = "option cache_ttl is given twice (\"1\", then \"2\"); allowed: once";
        assert_eq!(errors(&twice), [said]);
        let thrice = [("cache_ttl", "1"), ("cache_ttl", "2"), ("cache_ttl", "3")];
        assert_eq!(errors(&thrice), [said]);
        let headers = [("http_header_x-key", "1"), ("http_header_X-Key", "1")];
        assert_eq!(errors(&headers), ["option http_header_X-Key is given twice; allowed: once"]);
    }

    #[test]
    fn many_questions_in_one_request_are_json_and_so_is_their_answer() {
        let own = [("http_host", "api"), ("http_acl_route", "/acl")];
        let go_auth = [("http_host", "api"), ("http_aclcheck_uri", "/acl"), ("compat", "go-auth")];
        let auth_plug = [("http_ip", "api"), ("http_aclcheck_uri", "/acl")];
        let form = ("http_params_mode", "form");
        let json = ("http_response_mode", "json");
        for (given, more, problem) in [
            (&own[..], &[][..], None),
            (&own, &[("http_response_mode", "text")], None),
            (&own, &[("compat", "emqx")], None),
            (&own, &[form], Some("http_params_mode form")),
            (&own, &[form, ("compat", "emqx")], Some("http_params_mode form")),
            (&go_auth, &[], Some("http_response_mode status")),
            (&go_auth, &[json], None),
            (&go_auth, &[json, form], Some("http_params_mode form")),
            (&auth_plug, &[], Some("compat auth-plug")),
        ] {
            let batch = [("http_acl_batch_route", "/batch")];
            let read = read(&pairs(&[given, more, &batch].concat()));
            let said: Vec<_> =
                read.err().unwrap_or_default().iter().map(ToString::to_string).collect();
            let begin = problem.map(|problem| {
                format!("options http_acl_batch_route and {problem} do not go together")
            });
            assert_eq!(said.len(), usize::from(begin.is_some()), "{said:?}");
            assert!(said.iter().all(|line| line.starts_with(begin.as_ref().unwrap())), "{said:?}");
        }
    }

    #[test]
    fn events_need_a_route() {
        let said = errors(&[("http_events", "kicked")]);
        assert_eq!(said, ["option http_events needs http_event_route"]);
        let events = |given: &[(&str, &str)]| {
            let config = config(given);
            config.events.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
        };
        let route = ("http_event_route", "/events");
        assert_eq!(events(&[route]), "connected,disconnected");
        let all = "kicked,login_denied,disconnected,connected";
        assert_eq!(events(&[route, ("http_events", all)]), all);
        for wrong in ["", "all", "connected,connected", "connected,", "Connected"] {
            let said = errors(&[route, ("http_events", wrong)]).join("");
            assert!(
                said.contains("out of connected, disconnected, login_denied, kicked"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_trace_has_one_header() {
        for name in ["http_header_traceparent", "http_header_TraceParent"] {
            let said = errors(&[(name, "x"), ("http_trace", "true")]);
            assert_eq!(
                said,
                [format!(
                    "option {name} and http_trace true do not go together; allowed: one of them"
                )]
            );
        }
        assert!(config(&[("http_trace", "true")]).trace);
        assert!(!config(&[("http_header_traceparent", "x")]).trace);
    }

    #[test]
    fn what_is_required_is_asked_for() {
        let said: Vec<_> = read(&[]).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(said[0].contains("http_host is required"), "{said:?}");
        assert!(said[1].contains("http_user_route and http_acl_route"), "{said:?}");
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn no_message_shows_what_may_be_a_secret() {
        for given in [
            ("http_header_Authorization", "hunter2\u{7}"),
            ("http_header_Content-Length", "hunter2"),
            ("http_heder_Authorization", "hunter2"),
            ("http_password", "hunter2"),
            ("bearer_token", "hunter2"),
            ("http_host", "http://ann:hunter2@api.example.com"),
            ("http_user_route", "https://ann:hunter2@api.example.com/user"),
            ("http_url", "ann:hunter2@api.example.com"),
        ] {
            let said = errors(&[given]).join("\n");
            assert!(!said.contains("hunter2"), "{said}");
            assert!(said.contains(given.0), "{said}");
        }
    }

    #[test]
    fn a_slip_in_the_name_of_what_is_no_secret_does_not_hide_the_value() {
        for name in ["cache_auth_tll", "tls_key_fiel", "password_encodng", "cache_auth_ttls"] {
            let said = errors(&[(name, "v4lue")]).join("\n");
            assert!(said.contains("(given: \"v4lue\")"), "{said}");
        }
        for name in ["tls_key_pass", "http_auth", "http_basic_auth", "api_key", "cache_password"] {
            let said = errors(&[(name, "v4lue")]).join("\n");
            assert!(!said.contains("v4lue"), "{said}");
        }
    }

    #[test]
    fn the_configuration_does_not_print_a_header() {
        let config = config(&[("http_header_Authorization", "hunter2")]);
        assert!(!format!("{config:?} {config}").contains("hunter2"));
    }

    #[test]
    fn a_private_authority_without_https_is_an_error() {
        let folder = std::env::temp_dir().join(format!("options-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let empty = folder.join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        let empty = empty.to_str().unwrap();
        let said = errors(&[("http_protocol", "https"), ("tls_ca_file", empty)]);
        assert!(said[0].contains("it holds none"), "{said:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_table_names_every_field() {
        let meaning = |name: &str| options::find(name).unwrap().meaning;
        for (option, fields) in
            [("http_user_fields", Field::FOR_LOGIN), ("http_acl_fields", Field::FOR_ACCESS)]
        {
            for field in fields {
                assert!(meaning(option).contains(&format!("`{}`", field.name())), "{field:?}");
            }
        }
    }
}
