//! The table of every option, and the two stages that read it: each value is checked on its own
//! into a [`Draft`], then the draft as a whole becomes a [`Config`].
//!
//! The tables in `README.md` and `docs/options.md` are generated from here.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::values::{self, choice, flag, number};
use super::{
    CacheConfig, Config, Endpoint, Header, LocalUsersAcl, LocalUsersConfig, Mistake,
    PasswordEncoding, Routes,
};
use crate::field::{Field, FieldLists};
use crate::policy::OnError;

/// One option, as users know it.
pub struct Opt {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
    set: Set,
}

/// How an option's value gets into the draft; what is allowed where it does not.
type Set = fn(&mut Draft, &str) -> Result<(), String>;

/// The options that begin like this name a header field each.
const HEADER_PREFIX: &str = "http_header_";

const YEAR_S: u64 = 365 * 24 * 60 * 60;
const LIFETIME_S: std::ops::RangeInclusive<u64> = 0..=YEAR_S;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=600_000;

/// What each option says, before it is known whether all of them go together.
#[derive(Default)]
struct Draft {
    hosts: Option<Vec<(String, Option<u16>)>>,
    port: Option<u16>,
    https: bool,
    routes: Routes,
    user_fields: Vec<Field>,
    acl_fields: Vec<Field>,
    headers: Vec<Header>,
    timeout_ms: Option<u64>,
    connect_timeout_ms: Option<u64>,
    connections: Option<u64>,
    ca_file: Option<Vec<Vec<u8>>>,
    cache_ttl: Option<u64>,
    cache_auth_ttl: Option<u64>,
    cache_acl_ttl: Option<u64>,
    cache_deny_ttl: Option<u64>,
    cache_max_bytes: Option<u64>,
    on_error: Option<OnError>,
    anonymous_username: Option<String>,
    password_encoding: Option<PasswordEncoding>,
    local_users_file: Option<PathBuf>,
    local_users_acl: Option<LocalUsersAcl>,
    deny_special_chars: Option<bool>,
    log_level: Option<LevelFilter>,
}

macro_rules! opt {
    ($name:literal, $default:literal, $meaning:literal, |$draft:ident, $text:ident| $set:expr) => {
        Opt {
            name: $name,
            default: $default,
            meaning: $meaning,
            set: |$draft, $text| {
                $set;
                Ok(())
            },
        }
    };
}

/// Every option that takes part, in the order of the documentation.
pub static OPTIONS: &[Opt] = &[
    opt!(
        "http_host",
        "required",
        "The API's host: a name or an address. A comma list of `host[:port]` is tried in order: \
         where one fails, the next is asked.",
        |draft, text| draft.hosts = Some(values::hosts(text)?)
    ),
    opt!(
        "http_port",
        "80 or 443",
        "The port of every host that names none of its own.",
        |draft, text| draft.port = Some(port(text)?)
    ),
    opt!("http_protocol", "`http`", "`http` or `https`.", |draft, text| draft.https =
        choice(text, &[("http", false), ("https", true)])?),
    opt!(
        "http_user_route",
        "unset",
        "The path (and query) that answers whether a user may log in. Unset: logins are left to \
         the broker's other means. At least one of `http_user_route` and `http_acl_route` is \
         required.",
        |draft, text| draft.routes.login = Some(values::route(text)?)
    ),
    opt!(
        "http_superuser_route",
        "unset",
        "The path that answers whether a user is a superuser, who may do everything. Unset: \
         nobody is.",
        |draft, text| draft.routes.superuser = Some(values::route(text)?)
    ),
    opt!(
        "http_acl_route",
        "unset",
        "The path that answers whether a user may publish to, receive from or subscribe to a \
         topic. Unset: ACL checks are left to the broker's other means.",
        |draft, text| draft.routes.access = Some(values::route(text)?)
    ),
    opt!(
        "http_user_fields",
        "unset",
        "Fields to add to the body of login questions: a comma list out of `clientid`, \
         `peerhost`, `protocol`, `protocol_version`, `keepalive`, `clean_session`, \
         `cert_common_name`, `cert_subject`.",
        |draft, text| draft.user_fields = values::fields(text, Field::FOR_LOGIN)?
    ),
    opt!(
        "http_acl_fields",
        "unset",
        "Fields to add to the body of ACL questions: a comma list out of `peerhost`, `protocol`, \
         `protocol_version`, `keepalive`, `clean_session`, `cert_common_name`, `cert_subject`, \
         `qos`, `retain`.",
        |draft, text| draft.acl_fields = values::fields(text, Field::FOR_ACCESS)?
    ),
    opt!(
        "http_header_NAME",
        "—",
        "A header on every request, for example `http_header_Authorization`. A value `@path` is \
         read from that file, `$NAME` from the environment. The value never reaches a log.",
        |_draft, _text| Err("http_header_NAME must end in the name of a header field")?
    ),
    opt!(
        "http_timeout_ms",
        "5000",
        "Milliseconds that a whole request may take, from connecting to the answer's last byte.",
        |draft, text| draft.timeout_ms = Some(number(text, &TIMEOUT_MS, "milliseconds")?)
    ),
    opt!(
        "http_connect_timeout_ms",
        "2000",
        "Milliseconds that reaching the API may take, TLS handshake included.",
        |draft, text| draft.connect_timeout_ms = Some(number(text, &TIMEOUT_MS, "milliseconds")?)
    ),
    opt!(
        "http_connections",
        "32",
        "Requests in flight at once, each on a kept-alive connection.",
        |draft, text| draft.connections = Some(number(text, &(1..=1024), "connections")?)
    ),
    opt!(
        "tls_ca_file",
        "the system's roots",
        "A PEM file with the certificate authorities that `https` trusts, in place of the system's.",
        |draft, text| draft.ca_file = Some(values::ca_file(text)?)
    ),
    opt!(
        "cache_ttl",
        "30",
        "Seconds that an answer lives. 0: nothing is cached, every question is asked.",
        |draft, text| draft.cache_ttl = Some(number(text, &LIFETIME_S, "seconds")?)
    ),
    opt!(
        "cache_auth_ttl",
        "`cache_ttl`",
        "Seconds that a permission to log in lives.",
        |draft, text| draft.cache_auth_ttl = Some(number(text, &LIFETIME_S, "seconds")?)
    ),
    opt!(
        "cache_acl_ttl",
        "`cache_ttl`",
        "Seconds that a permission on a topic lives, and that a superuser stays one.",
        |draft, text| draft.cache_acl_ttl = Some(number(text, &LIFETIME_S, "seconds")?)
    ),
    opt!(
        "cache_deny_ttl",
        "5, or `cache_ttl` where that is shorter",
        "Seconds that a denial of either kind lives.",
        |draft, text| draft.cache_deny_ttl = Some(number(text, &LIFETIME_S, "seconds")?)
    ),
    opt!(
        "cache_max_bytes",
        "64 MiB",
        "Memory that cached answers may take, in bytes, KiB, MiB or GiB.",
        |draft, text| draft.cache_max_bytes = Some(values::bytes(text, &(1 << 16..=1 << 40))?)
    ),
    opt!(
        "on_error",
        "`deny`",
        "What follows when the API fails and nothing is cached: `deny` (a login is closed without \
         an answer, so that the client tries again), `defer` (to the broker's other means), or \
         `allow` (warns at every start).",
        |draft, text| draft.on_error = Some(choice(text, ON_ERROR)?)
    ),
    opt!(
        "local_users_file",
        "unset",
        "The path of Mosquitto's own `password_file`: the users named in it are left to Mosquitto \
         and never asked of the API. Read again on SIGHUP.",
        |draft, text| draft.local_users_file = Some(path(text)?)
    ),
    opt!(
        "local_users_acl",
        "`allow`",
        "ACL checks of those users: `allow`, or `defer` (to `acl_file`, which grants every \
         subscription).",
        |draft, text| draft.local_users_acl = Some(choice(text, LOCAL_USERS_ACL)?)
    ),
    opt!(
        "deny_special_chars",
        "`true`",
        "Deny every ACL check, unasked, of a username or client identifier with `+` or `#` in it.",
        |draft, text| draft.deny_special_chars = Some(flag(text)?)
    ),
    opt!(
        "anonymous_username",
        "unset",
        "Ask the API under this name for clients without a username. Unset: they are left to the \
         broker.",
        |draft, text| draft.anonymous_username = Some(name(text)?)
    ),
    opt!(
        "password_encoding",
        "`utf8`",
        "How a password is written into JSON: `utf8` (other bytes are denied) or `base64`.",
        |draft, text| draft.password_encoding = Some(choice(text, PASSWORD_ENCODING)?)
    ),
    opt!(
        "log_level",
        "`info`",
        "`error`, `warn`, `info`, `debug` or `trace`, into Mosquitto's own log. No level ever \
         prints a password or a header's value.",
        |draft, text| draft.log_level = Some(choice(text, LOG_LEVEL)?)
    ),
];

const ON_ERROR: &[(&str, OnError)] =
    &[("deny", OnError::Deny), ("defer", OnError::Defer), ("allow", OnError::Allow)];

const LOCAL_USERS_ACL: &[(&str, LocalUsersAcl)] =
    &[("allow", LocalUsersAcl::Allow), ("defer", LocalUsersAcl::Defer)];

const PASSWORD_ENCODING: &[(&str, PasswordEncoding)] =
    &[("utf8", PasswordEncoding::Utf8), ("base64", PasswordEncoding::Base64)];

const LOG_LEVEL: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

fn port(text: &str) -> Result<u16, String> {
    let port = number(text, &(1..=65535), "a TCP port");
    port.ok().and_then(|port| port.try_into().ok()).ok_or("a port from 1 to 65535".to_owned())
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path of a file".to_owned()) } else { Ok(text.into()) }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name".to_owned()) } else { Ok(text.to_owned()) }
}

/// Reads all options as the broker hands them over, without their `plugin_opt_` or `auth_opt_`.
///
/// # Errors
/// Every mistake that was found, not only the first.
pub fn read(given: &[(String, String)]) -> Result<Config, Vec<Mistake>> {
    let mut draft = Draft::default();
    let mut mistakes: Vec<Mistake> = given
        .iter()
        .filter_map(|(name, value)| set(&mut draft, name, value.trim()).err())
        .collect();
    let names: Vec<String> = given.iter().map(|(name, _)| identity(name)).collect();
    mistakes
        .extend(values::doubled(names.iter().map(String::as_str)).into_iter().map(Mistake::twice));
    let hosts_given = given.iter().any(|(name, _)| name == "http_host");
    if !hosts_given {
        mistakes.push(Mistake::overall("option http_host is required: the API's host"));
    }
    if !given.iter().any(|(name, _)| name == "http_user_route" || name == "http_acl_route") {
        mistakes.push(Mistake::overall(
            "at least one of the options http_user_route and http_acl_route is required",
        ));
    }
    if draft.ca_file.is_some() && !draft.https {
        mistakes.push(Mistake::overall("option tls_ca_file needs http_protocol https"));
    }
    if mistakes.is_empty() {
        draft.into_config().map_err(|mistake| vec![mistake])
    } else {
        Err(mistakes)
    }
}

/// The name under which an option can be given once: header fields know no case.
fn identity(name: &str) -> String {
    match name.strip_prefix(HEADER_PREFIX) {
        Some(header) => format!("{HEADER_PREFIX}{}", header.to_ascii_lowercase()),
        None => name.to_owned(),
    }
}

fn set(draft: &mut Draft, name: &str, value: &str) -> Result<(), Mistake> {
    // What was not UTF-8 arrives as U+FFFD, which nobody means.
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Mistake::secret_value(name, "the value is not UTF-8"));
    }
    if let Some(header) = name.strip_prefix(HEADER_PREFIX) {
        let problem = |problem: String| Mistake::secret_value(name, &problem);
        values::header_name(header).map_err(problem)?;
        let value = values::header_value(value).map_err(problem)?;
        draft.headers.push(Header { name: header.to_owned(), value });
        return Ok(());
    }
    let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
        let nearest = nearest(name);
        let secret = nearest.is_some_and(|name| name.starts_with(HEADER_PREFIX)) || secretive(name);
        return Err(Mistake::unknown(name, (!secret).then_some(value), nearest));
    };
    (option.set)(draft, value).map_err(|allowed| Mistake::value(name, value, &allowed))
}

/// The known name that takes the fewest corrections, if it takes few enough to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let distance = |known: &str| {
        // A header's name is the user's own: compare as much of both as the prefix has.
        let start = name.get(..HEADER_PREFIX.len()).unwrap_or(name);
        match known.strip_suffix("NAME") {
            Some(prefix) => strsim::damerau_levenshtein(start, prefix),
            None => strsim::damerau_levenshtein(name, known),
        }
    };
    let (distance, nearest) =
        OPTIONS.iter().map(|option| (distance(option.name), option.name)).min()?;
    (distance <= name.len().max(6) / 3).then_some(nearest)
}

/// Whether a name that is not known looks as if its value were a secret.
fn secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "key", "auth", "credential", "header"]
        .iter()
        .any(|word| name.contains(word))
}

impl Draft {
    fn into_config(self) -> Result<Config, Mistake> {
        let default_port = self.port.unwrap_or(if self.https { 443 } else { 80 });
        let endpoint = |(host, port): (String, Option<u16>)| Endpoint {
            host,
            port: port.unwrap_or(default_port),
        };
        let millis = |given: Option<u64>, default| Duration::from_millis(given.unwrap_or(default));
        let timeout = millis(self.timeout_ms, 5000);
        let cache = self.cache();
        Ok(Config {
            endpoints: self.hosts.unwrap_or_default().into_iter().map(endpoint).collect(),
            https: self.https,
            routes: self.routes,
            fields: FieldLists::with_extra(&self.user_fields, &self.acl_fields),
            headers: self.headers,
            timeout,
            connect_timeout: millis(self.connect_timeout_ms, 2000).min(timeout),
            connections: usize::try_from(self.connections.unwrap_or(32)).unwrap_or(32),
            roots: roots(self.https, self.ca_file)?,
            cache,
            on_error: self.on_error.unwrap_or(OnError::Deny),
            anonymous_username: self.anonymous_username,
            password_encoding: self.password_encoding.unwrap_or(PasswordEncoding::Utf8),
            local_users: self.local_users_file.map(|file| LocalUsersConfig {
                file,
                acl: self.local_users_acl.unwrap_or(LocalUsersAcl::Allow),
            }),
            deny_special_chars: self.deny_special_chars.unwrap_or(true),
            log_level: self.log_level.unwrap_or(LevelFilter::Info),
        })
    }

    fn cache(&self) -> CacheConfig {
        let ttl = self.cache_ttl.unwrap_or(30);
        let seconds = |given: Option<u64>, default| Duration::from_secs(given.unwrap_or(default));
        CacheConfig {
            login_ttl: seconds(self.cache_auth_ttl, ttl),
            access_ttl: seconds(self.cache_acl_ttl, ttl),
            deny_ttl: seconds(self.cache_deny_ttl, ttl.min(5)),
            max_bytes: self.cache_max_bytes.unwrap_or(64 << 20),
        }
    }
}

fn roots(https: bool, ca_file: Option<Vec<Vec<u8>>>) -> Result<Vec<Vec<u8>>, Mistake> {
    match (https, ca_file) {
        (false, _) => Ok(Vec::new()),
        (true, Some(authorities)) => Ok(authorities),
        (true, None) => values::system_roots().map_err(Mistake::overall),
    }
}

/// The table of options, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| option | default | meaning |\n| --- | --- | --- |\n");
    for option in OPTIONS {
        let _ = writeln!(text, "| `{}` | {} | {} |", option.name, option.default, option.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The configuration of these options and the two that are required.
    fn config(given: &[(&str, &str)]) -> Config {
        let required = [("http_host", "api"), ("http_user_route", "/user")];
        read(&pairs(&[&required, given].concat())).unwrap()
    }

    fn mistakes(given: &[(&str, &str)]) -> Vec<String> {
        let required = [("http_host", "api"), ("http_user_route", "/user")];
        let mistakes = read(&pairs(&[&required, given].concat())).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = config(&[]);
        assert_eq!(config.endpoints, [Endpoint { host: "api".into(), port: 80 }]);
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert_eq!(config.connect_timeout, Duration::from_secs(2));
        assert_eq!(config.connections, 32);
        assert_eq!(
            config.cache,
            CacheConfig {
                login_ttl: Duration::from_secs(30),
                access_ttl: Duration::from_secs(30),
                deny_ttl: Duration::from_secs(5),
                max_bytes: 64 << 20,
            }
        );
        assert_eq!(config.on_error, OnError::Deny);
        assert_eq!(config.password_encoding, PasswordEncoding::Utf8);
        assert_eq!((config.local_users, config.anonymous_username), (None, None));
        assert!(config.deny_special_chars);
        assert_eq!(config.log_level, LevelFilter::Info);
    }

    #[test]
    fn each_lifetime_can_be_set_apart() {
        let ttls = |given: &[(&str, &str)]| {
            let cache = config(given).cache;
            [cache.login_ttl, cache.access_ttl, cache.deny_ttl].map(|ttl| ttl.as_secs())
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
        assert_eq!(config(&[("cache_ttl", " 7 ")]).cache.login_ttl, Duration::from_secs(7));
    }

    #[test]
    fn every_mistake_is_said_in_a_line_of_its_own() {
        let said = mistakes(&[("cache_ttl", "soon"), ("on_error", "maybe"), ("colour", "red")]);
        assert_eq!(
            said,
            [
                "option cache_ttl: \"soon\" is not allowed; allowed: a whole number of seconds \
                 from 0 to 31536000",
                "option on_error: \"maybe\" is not allowed; allowed: deny, defer, allow",
                "option colour is not known (given: \"red\"); the README lists the known names",
            ]
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one() {
        let said = |name: &str| mistakes(&[(name, "1")]).join("");
        assert!(said("cache_tll").ends_with("the nearest known name is cache_ttl"));
        assert!(said("htp_timeout_ms").ends_with("the nearest known name is http_timeout_ms"));
        assert!(said("HTTP_PORT").contains("not known"));
        assert!(said("http_heder_X-Key").ends_with("the nearest known name is http_header_NAME"));
    }

    #[test]
    fn options_of_later_versions_are_unknown_until_they_do_something() {
        for name in ["max_block_ms", "delayed_login", "breaker_failures", "tls_verify", "compat"] {
            assert!(mistakes(&[(name, "1")])[0].contains("is not known"), "{name}");
        }
    }

    #[test]
    fn a_doubled_option_is_a_mistake() {
        let twice = [("cache_ttl", "1"), ("cache_ttl", "1")];
        assert_eq!(mistakes(&twice), ["option cache_ttl is given twice; allowed: once"]);
        let headers = [("http_header_X-Key", "1"), ("http_header_x-key", "1")];
        assert_eq!(mistakes(&headers), ["option http_header_x-key is given twice; allowed: once"]);
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
        ] {
            let said = mistakes(&[given]).join("\n");
            assert!(!said.contains("hunter2"), "{said}");
            assert!(said.contains(given.0), "{said}");
        }
    }

    #[test]
    fn the_configuration_does_not_print_a_header() {
        let config = config(&[("http_header_Authorization", "hunter2")]);
        assert!(!format!("{config:?} {config}").contains("hunter2"));
    }

    #[test]
    fn a_private_authority_without_https_is_a_mistake() {
        let folder = std::env::temp_dir().join(format!("options-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let empty = folder.join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        let empty = empty.to_str().unwrap();
        let said = mistakes(&[("http_protocol", "https"), ("tls_ca_file", empty)]);
        assert!(said[0].contains("it holds none"), "{said:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_table_names_every_field() {
        let meaning = |name: &str| OPTIONS.iter().find(|o| o.name == name).unwrap().meaning;
        for (option, fields) in
            [("http_user_fields", Field::FOR_LOGIN), ("http_acl_fields", Field::FOR_ACCESS)]
        {
            for field in fields {
                assert!(meaning(option).contains(&format!("`{}`", field.name())), "{field:?}");
            }
        }
    }
}
