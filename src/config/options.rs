//! The table of every option. Those in `docs/configuration.md` and the README are generated from here.

#![forbid(unsafe_code)]

use super::draft::Draft;
use super::values::{self, choice, flag, number};
use super::words::*;
use crate::field::Field;

mod plain_values;
use plain_values::{name, path, percent, tcp_port};

/// One option, as users know it.
pub struct Opt {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
    /// Checks the value and puts it into the draft.
    pub(super) set: Set,
}

/// How an option's value gets into the draft; what is allowed where it does not.
type Set = fn(&mut Draft, &str) -> Result<(), String>;

/// The options that begin like this name a header field each.
pub const HEADER_PREFIX: &str = "http_header_";

const YEAR_S: u64 = 365 * 24 * 60 * 60;
const LIFETIME_S: std::ops::RangeInclusive<u64> = 0..=YEAR_S;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=600_000;

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
        |draft, text| draft.port = Some(tcp_port(text)?)
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
         topic. Unset: what the rules in a login's answer do not allow is denied, and without \
         rules ACL checks are left to the broker's other means.",
        |draft, text| draft.routes.access = Some(values::route(text)?)
    ),
    opt!(
        "http_acl_batch_route",
        "unset",
        "The path that answers many ACL questions in one request, used when several wait. Needs \
         `http_acl_route`. Unset: each question is a request.",
        |draft, text| draft.routes.batch = Some(values::route(text)?)
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
        "Fields to add to the body of ACL questions: a comma list out of `clientid` (which it has \
         anyway), `peerhost`, `protocol`, `protocol_version`, `keepalive`, `clean_session`, \
         `cert_common_name`, `cert_subject`, `qos`, `retain`.",
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
        "Requests in flight at once, each on a kept-alive connection. A quarter of them is kept for \
         what holds up the broker.",
        |draft, text| draft.connections = Some(number(text, &(1..=1024), "connections")?)
    ),
    opt!(
        "tls_ca_file",
        "the system's roots",
        "A PEM file with the certificate authorities that `https` trusts, in place of the system's. \
         Like the files of `tls_cert_file`, `tls_key_file` and `http_header_NAME @path`, it is \
         read again on SIGHUP.",
        |draft, text| draft.sources.ca_file = Some(name(text)?)
    ),
    opt!(
        "tls_cert_file",
        "unset",
        "A PEM file with the certificate by which the plugin identifies itself to the API, and \
         those that vouch for it.",
        |draft, text| draft.sources.cert_file = Some(name(text)?)
    ),
    opt!(
        "tls_key_file",
        "unset",
        "A PEM file with the private key of `tls_cert_file`.",
        |draft, text| draft.sources.key_file = Some(name(text)?)
    ),
    opt!(
        "tls_verify",
        "`true`",
        "Whether the API's certificate is verified. `false` warns at every start.",
        |draft, text| draft.tls_verify = Some(flag(text)?)
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
        "cache_refresh_ahead",
        "`true`",
        "Ask again in the background for a permission that is in use, from half of its lifetime \
         on, so that a client in traffic never waits.",
        |draft, text| draft.cache_refresh_ahead = Some(flag(text)?)
    ),
    opt!(
        "cache_stale_if_error",
        "0",
        "Seconds past its life that a permission may still serve while the API fails.",
        |draft, text| draft.cache_stale_if_error = Some(number(text, &LIFETIME_S, "seconds")?)
    ),
    opt!(
        "cache_revalidate",
        "0",
        "Seconds after which a client that is connected is asked about again in the background, \
         with the login question that let it in; one that the API now denies is disconnected. 0: \
         never.",
        |draft, text| draft.cache_revalidate = Some(number(text, &LIFETIME_S, "seconds")?)
    ),
    opt!(
        "max_block_ms",
        "1000",
        "The longest that one question may hold up the broker, in milliseconds, where Mosquitto \
         offers no way to answer later. Past it a login is closed without an answer (the client \
         tries again, and the answer is cached by then), and a check gets `acl_unavailable`. 0: never.",
        |draft, text| draft.max_block_ms = Some(number(text, &(0..=60_000), "milliseconds")?)
    ),
    opt!(
        "max_block_percent",
        "50",
        "The share of the time that all such waits for logins together may take, in bursts of \
         `max_block_ms`; past it a login is handled as if `max_block_ms` had passed. What a client \
         does with topics is counted for that client alone: 5 seconds in a row, of which it gets \
         back a twentieth of the time. 100: only `max_block_ms` bounds either; 0: nothing is \
         waited for.",
        |draft, text| draft.max_block_percent = Some(percent(text)?)
    ),
    opt!(
        "hold_ms",
        "10000",
        "Milliseconds that a delivery waits for the API's answer before it is given up. The broker \
         does not wait meanwhile, and the API is asked again if it fails.",
        |draft, text| draft.hold_ms = Some(number(text, &(0..=600_000), "milliseconds")?)
    ),
    opt!(
        "hold_max_bytes",
        "16 MiB",
        "Memory for deliveries that wait for an answer, in bytes, KiB, MiB or GiB; a client may take \
         as much as is left for others. 0: none; the broker waits instead, up to `max_block_ms`.",
        |draft, text| draft.hold_max_bytes = Some(values::bytes(text, &(0..=1 << 40))?)
    ),
    opt!(
        "on_error",
        "`deny`",
        "What follows when the API fails and nothing is cached: `deny` (a login is closed without \
         an answer, so that the client tries again), `defer` (to the broker's other means, but for \
         no denial by the API while its superuser route fails), or `allow` (warns at every start).",
        |draft, text| draft.on_error = Some(choice(text, ON_ERROR)?)
    ),
    opt!(
        "breaker_failures",
        "5",
        "Consecutive failures after which a host is out of service: it is not asked, and if no \
         other is left, questions are answered by `on_error` at once. A host that answers is there, \
         whatever it says; 502, 503, 504, timeouts and lost connections count if at least three \
         different users or topics met with them.",
        |draft, text| draft.breaker_failures = Some(number(text, &(1..=1_000_000), "failures")?)
    ),
    opt!(
        "breaker_open_ms",
        "5000",
        "Milliseconds before a host that is out of service is tried again. Where no other host is \
         left, the question by which it is tried waits for the answer like any other.",
        |draft, text| draft.breaker_open_ms = Some(number(text, &TIMEOUT_MS, "milliseconds")?)
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
        "login_failures_max",
        "0",
        "Denied logins of one address and username within `login_failures_window` after which both \
         together are refused without asking. 0: never.",
        |draft, text| draft.login_failures_max = Some(number(text, &(0..=1000), "denials")?)
    ),
    opt!(
        "login_failures_window",
        "60",
        "Seconds for which a denied login counts.",
        |draft, text| draft.login_failures_window = Some(number(text, &(1..=86_400), "seconds")?)
    ),
    opt!(
        "delayed_login",
        "`true`",
        "On Mosquitto 2.1, answer logins later instead of holding up the broker; `false` for \
         clients that send packets before they have their CONNACK. Has no effect with `on_error \
         defer`, since the broker's other means can only be asked at once.",
        |draft, text| draft.delayed_login = Some(flag(text)?)
    ),
    opt!(
        "acl_unavailable",
        "`close`",
        "What follows for a subscription, or a publish with QoS 1 or 2, that nobody could decide, with \
         `on_error deny`: `close` (the connection is closed, so that the client connects again and asks \
         again; a publish with QoS 0 is dropped), or `deny` (the default with `compat`).",
        |draft, text| draft.acl_unavailable = Some(choice(text, ACL_UNAVAILABLE)?)
    ),
    opt!(
        "unavailable_reply",
        "`close`",
        "What a login sees that nobody could decide: `close` (closed without an answer, so that \
         every client tries again), or `reason` (MQTT 5 clients of Mosquitto 2.1 get reason code \
         0x88; their logins are not answered later, since the broker can say it only at once).",
        |draft, text| draft.unavailable_reply = Some(choice(text, UNAVAILABLE_REPLY)?)
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
        "http_response_mode",
        "`status`",
        "What decides: `status` (200, and what a JSON object may add), `json` (a 2xx whose body is \
         `{\"ok\": true}`), or `text` (a 2xx whose body is `ok`).",
        |draft, text| draft.dialect.response = choice(text, RESPONSE_MODE)?
    ),
    opt!(
        "http_params_mode",
        "`json`",
        "How a question is written: `json`, or `form` (the same names, form-encoded).",
        |draft, text| draft.dialect.params = choice(text, PARAMS_MODE)?
    ),
    opt!(
        "http_method",
        "`POST`",
        "`POST`, `PUT` or `GET`. The question is in the body, whichever it is.",
        |draft, text| draft.dialect.method = choice(text, METHOD)?
    ),
    opt!(
        "compat",
        "`none`",
        "`go-auth` or `auth-plug`: the options and meanings of mosquitto-go-auth's or \
         mosquitto-auth-plug's http backend, as `docs/migrating.md` says. Without it, \
         `http_getuser_uri` means `go-auth`, and `http_ip` or `http_hostname` means `auth-plug`.",
        |draft, text| draft.dialect.compat = choice(text, COMPAT)?
    ),
    opt!(
        "log_level",
        "`info`",
        "`error`, `warn`, `info`, `debug` or `trace`, into Mosquitto's own log. No level ever \
         prints a password or a header's value.",
        |draft, text| draft.log_level = Some(choice(text, LOG_LEVEL)?)
    ),
    opt!(
        "metrics_listen",
        "unset",
        "An address and port, such as `127.0.0.1:9180`, where Prometheus finds metrics at \
         `/metrics`; without a password, so that one that is not loopback warns at every start. \
         Unset: nowhere.",
        |draft, text| draft.metrics_listen = Some(values::listener(text)?)
    ),
    opt!(
        "sys_interval",
        "10",
        "Seconds between updates of the topics below `$SYS/broker/http-auth`. 0: there are none.",
        |draft, text| draft.sys_interval = Some(number(text, &(0..=65_535), "seconds")?)
    ),
];
