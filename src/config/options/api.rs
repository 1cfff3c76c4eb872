//! What is asked of whom: hosts, routes, fields, headers, time limits and TLS.

#![forbid(unsafe_code)]

use super::Preset::{Value, Words};
use super::plain_values::{name, tcp_port};
use super::show;
use super::{Opt, opt};
use crate::config::values::{self, choice, flag, millis, number};
use crate::field::Field;
use crate::question::Kind;

const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=600_000;

const PROTOCOL: &[(&str, bool)] = &[("http", false), ("https", true)];

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "http_host",
        Words("required"),
        "The API's host: a name or an address; or a comma list of `host[:port]`, of which the \
         plugin asks the next when one fails.",
        |raw, text| raw.hosts = values::hosts(text)?,
        |config| Some(show::hosts(config))
    ),
    opt!(
        "http_port",
        Words("80 or 443"),
        "The port of each host without a port of its own.",
        |raw, text| raw.port = Some(tcp_port(text)?),
        |config| Some(config.port.to_string())
    ),
    opt!(
        "http_protocol",
        Value("http"),
        "`http` or `https`.",
        |raw, text| raw.https = choice(text, PROTOCOL)?,
        |config| show::word(PROTOCOL, config.https)
    ),
    opt!(
        "http_user_route",
        Words("unset"),
        "The path (and query) that answers whether a user may log in. Unset: the plugin leaves \
         logins to the broker's other means. At least one of `http_user_route`, `http_acl_route` \
         and keys for tokens is required.",
        |raw, text| raw.routes.login = Some(values::route(text)?),
        |config| show::route(config.routes.login.as_deref())
    ),
    opt!(
        "http_superuser_route",
        Words("unset"),
        "The path that answers whether a user is a superuser, who may do everything. Unset: \
         nobody is.",
        |raw, text| raw.routes.superuser = Some(values::route(text)?),
        |config| show::route(config.routes.superuser.as_deref())
    ),
    opt!(
        "http_acl_route",
        Words("unset"),
        "The path that answers whether a user may publish to, receive from or subscribe to a \
         topic. Unset: the plugin denies what the rules in a login's answer do not allow, and \
         without rules leaves ACL checks to the broker's other means.",
        |raw, text| raw.routes.access = Some(values::route(text)?),
        |config| show::route(config.routes.access.as_deref())
    ),
    opt!(
        "http_acl_batch_route",
        Words("unset"),
        "The path that answers many ACL questions in one request; the plugin uses it when several \
         wait. Needs `http_acl_route` and `http_params_mode json`. Unset: each question is a request of \
         its own.",
        |raw, text| raw.routes.batch = Some(values::route(text)?),
        |config| show::route(config.routes.batch.as_deref())
    ),
    opt!(
        "http_user_fields",
        Words("unset"),
        "Fields to add to the body of login questions: a comma list out of `clientid`, \
         `peerhost`, `protocol`, `protocol_version`, `keepalive`, `clean_session`, \
         `cert_common_name`, `cert_subject`, `cert_fingerprint`, `cert_issuer`, `cert_serial`, \
         `cert_pem`.",
        |raw, text| raw.user_fields = values::fields(text, Field::FOR_LOGIN)?,
        |config| show::fields(config, Kind::Login)
    ),
    opt!(
        "http_acl_fields",
        Words("unset"),
        "Fields to add to the body of ACL questions: a comma list out of `clientid` (always \
         there), `peerhost`, `protocol`, `protocol_version`, `keepalive`, `clean_session`, \
         `cert_common_name`, `cert_subject`, `cert_fingerprint`, `cert_issuer`, `cert_serial`, \
         `cert_pem`, `qos`, `retain`, `client_attrs` (from the login's answer).",
        |raw, text| raw.acl_fields = values::fields(text, Field::FOR_ACCESS)?,
        |config| show::fields(config, Kind::Access)
    ),
    opt!(
        "http_header_NAME",
        Words("—"),
        "A header on every request, for example `http_header_Authorization`. The plugin reads a \
         value `@path` from that file, and `$NAME` from the environment. It never logs the value.",
        |_raw, _text| Err("http_header_NAME must end in the name of a header field")?,
        |_config| None
    ),
    opt!(
        "http_timeout_ms",
        Value("5000"),
        "Milliseconds that a whole request may take, from connecting to the answer's last byte.",
        |raw, text| raw.timeout = millis(text, TIMEOUT_MS)?,
        |config| show::millis(config.timeout)
    ),
    opt!(
        "http_connect_timeout_ms",
        Value("2000"),
        "Milliseconds that connecting to the API may take, including the TLS handshake.",
        |raw, text| raw.connect_timeout = millis(text, TIMEOUT_MS)?,
        |config| show::millis(config.connect_timeout)
    ),
    opt!(
        "http_connections",
        Value("32"),
        "Requests in flight at once, each on a kept-alive connection. The plugin keeps a quarter \
         of them for questions that hold up the broker.",
        |raw, text| raw.connections = number(text, &(1..=1024), "connections")?,
        |config| Some(config.connections.to_string())
    ),
    opt!(
        "breaker_failures",
        Value("5"),
        "Consecutive failures after which a host is out of service: the plugin does not ask it, \
         and if no other is left, decides questions by `on_error` at once. Any answer shows that \
         the host is there; 502, 503, 504, timeouts and lost connections count if they hit at \
         least three different users or topics.",
        |raw, text| raw.breaker_failures = number(text, &(1..=1_000_000), "failures")?,
        |config| Some(config.breaker.failures.to_string())
    ),
    opt!(
        "breaker_open_ms",
        Value("5000"),
        "Milliseconds before the plugin tries a host that is out of service again. Where no other \
         host is left, the question with which it tries waits for the answer like any other.",
        |raw, text| raw.breaker_open = millis(text, TIMEOUT_MS)?,
        |config| show::millis(config.breaker.rest)
    ),
    opt!(
        "tls_ca_file",
        Words("the system's roots"),
        "A PEM file with the certificate authorities that the plugin trusts for `https`, in place \
         of the system's. The plugin reads it again on SIGHUP, like the files of `tls_cert_file`, \
         `tls_key_file` and `http_header_NAME @path`.",
        |raw, text| raw.sources.ca_file = Some(name(text)?),
        |config| match &config.sources.ca_file {
            None if config.sources.verifies => Some("the system's roots".to_owned()),
            file => file.clone(),
        }
    ),
    opt!(
        "tls_cert_file",
        Words("unset"),
        "A PEM file with the certificate by which the plugin identifies itself to the API, and the \
         intermediate certificates.",
        |raw, text| raw.sources.cert_file = Some(name(text)?),
        |config| config.sources.cert_file.clone()
    ),
    opt!(
        "tls_key_file",
        Words("unset"),
        "A PEM file with the private key of `tls_cert_file`.",
        |raw, text| raw.sources.key_file = Some(name(text)?),
        |config| config.sources.key_file.clone()
    ),
    opt!(
        "tls_verify",
        Value("true"),
        "Whether the plugin verifies the API's certificate. `false` warns at every start.",
        |raw, text| raw.tls_verify = flag(text)?,
        |config| Some(config.tls_verify.to_string())
    ),
];
