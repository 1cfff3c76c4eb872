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
        "The API's host: a name or an address. A comma list of `host[:port]` is tried in order: \
         where one fails, the next is asked.",
        |draft, text| draft.hosts = values::hosts(text)?,
        |config| Some(show::hosts(config))
    ),
    opt!(
        "http_port",
        Words("80 or 443"),
        "The port of every host that names none of its own.",
        |draft, text| draft.port = Some(tcp_port(text)?),
        |config| Some(config.port.to_string())
    ),
    opt!(
        "http_protocol",
        Value("http"),
        "`http` or `https`.",
        |draft, text| draft.https = choice(text, PROTOCOL)?,
        |config| show::word(PROTOCOL, config.https)
    ),
    opt!(
        "http_user_route",
        Words("unset"),
        "The path (and query) that answers whether a user may log in. Unset: logins are left to \
         the broker's other means. At least one of `http_user_route` and `http_acl_route` is \
         required.",
        |draft, text| draft.routes.login = Some(values::route(text)?),
        |config| show::route(config.routes.login.as_deref())
    ),
    opt!(
        "http_superuser_route",
        Words("unset"),
        "The path that answers whether a user is a superuser, who may do everything. Unset: \
         nobody is.",
        |draft, text| draft.routes.superuser = Some(values::route(text)?),
        |config| show::route(config.routes.superuser.as_deref())
    ),
    opt!(
        "http_acl_route",
        Words("unset"),
        "The path that answers whether a user may publish to, receive from or subscribe to a \
         topic. Unset: what the rules in a login's answer do not allow is denied, and without \
         rules ACL checks are left to the broker's other means.",
        |draft, text| draft.routes.access = Some(values::route(text)?),
        |config| show::route(config.routes.access.as_deref())
    ),
    opt!(
        "http_acl_batch_route",
        Words("unset"),
        "The path that answers many ACL questions in one request, used when several wait. Needs \
         `http_acl_route`. Unset: each question is a request.",
        |draft, text| draft.routes.batch = Some(values::route(text)?),
        |config| show::route(config.routes.batch.as_deref())
    ),
    opt!(
        "http_user_fields",
        Words("unset"),
        "Fields to add to the body of login questions: a comma list out of `clientid`, \
         `peerhost`, `protocol`, `protocol_version`, `keepalive`, `clean_session`, \
         `cert_common_name`, `cert_subject`, `cert_fingerprint`, `cert_issuer`, `cert_serial`, \
         `cert_pem`.",
        |draft, text| draft.user_fields = values::fields(text, Field::FOR_LOGIN)?,
        |config| show::fields(config, Kind::Login)
    ),
    opt!(
        "http_acl_fields",
        Words("unset"),
        "Fields to add to the body of ACL questions: a comma list out of `clientid` (which it has \
         anyway), `peerhost`, `protocol`, `protocol_version`, `keepalive`, `clean_session`, \
         `cert_common_name`, `cert_subject`, `cert_fingerprint`, `cert_issuer`, `cert_serial`, \
         `cert_pem`, `qos`, `retain`, `client_attrs` (what the login's answer said of the client).",
        |draft, text| draft.acl_fields = values::fields(text, Field::FOR_ACCESS)?,
        |config| show::fields(config, Kind::Access)
    ),
    opt!(
        "http_header_NAME",
        Words("—"),
        "A header on every request, for example `http_header_Authorization`. A value `@path` is \
         read from that file, `$NAME` from the environment. The value never reaches a log.",
        |_draft, _text| Err("http_header_NAME must end in the name of a header field")?,
        |_config| None
    ),
    opt!(
        "http_timeout_ms",
        Value("5000"),
        "Milliseconds that a whole request may take, from connecting to the answer's last byte.",
        |draft, text| draft.timeout = millis(text, TIMEOUT_MS)?,
        |config| show::millis(config.timeout)
    ),
    opt!(
        "http_connect_timeout_ms",
        Value("2000"),
        "Milliseconds that reaching the API may take, TLS handshake included.",
        |draft, text| draft.connect_timeout = millis(text, TIMEOUT_MS)?,
        |config| show::millis(config.connect_timeout)
    ),
    opt!(
        "http_connections",
        Value("32"),
        "Requests in flight at once, each on a kept-alive connection. A quarter of them is kept for \
         what holds up the broker.",
        |draft, text| draft.connections = number(text, &(1..=1024), "connections")?,
        |config| Some(config.connections.to_string())
    ),
    opt!(
        "breaker_failures",
        Value("5"),
        "Consecutive failures after which a host is out of service: it is not asked, and if no \
         other is left, questions are answered by `on_error` at once. A host that answers is there, \
         whatever it says; 502, 503, 504, timeouts and lost connections count if at least three \
         different users or topics met with them.",
        |draft, text| draft.breaker_failures = number(text, &(1..=1_000_000), "failures")?,
        |config| Some(config.breaker.failures.to_string())
    ),
    opt!(
        "breaker_open_ms",
        Value("5000"),
        "Milliseconds before a host that is out of service is tried again. Where no other host is \
         left, the question by which it is tried waits for the answer like any other.",
        |draft, text| draft.breaker_open = millis(text, TIMEOUT_MS)?,
        |config| show::millis(config.breaker.rest)
    ),
    opt!(
        "tls_ca_file",
        Words("the system's roots"),
        "A PEM file with the certificate authorities that `https` trusts, in place of the system's. \
         Like the files of `tls_cert_file`, `tls_key_file` and `http_header_NAME @path`, it is \
         read again on SIGHUP.",
        |draft, text| draft.sources.ca_file = Some(name(text)?),
        |config| match &config.sources.ca_file {
            None if config.sources.verifies => Some("the system's roots".to_owned()),
            file => file.clone(),
        }
    ),
    opt!(
        "tls_cert_file",
        Words("unset"),
        "A PEM file with the certificate by which the plugin identifies itself to the API, and \
         those that vouch for it.",
        |draft, text| draft.sources.cert_file = Some(name(text)?),
        |config| config.sources.cert_file.clone()
    ),
    opt!(
        "tls_key_file",
        Words("unset"),
        "A PEM file with the private key of `tls_cert_file`.",
        |draft, text| draft.sources.key_file = Some(name(text)?),
        |config| config.sources.key_file.clone()
    ),
    opt!(
        "tls_verify",
        Value("true"),
        "Whether the API's certificate is verified. `false` warns at every start.",
        |draft, text| draft.tls_verify = flag(text)?,
        |config| Some(config.tls_verify.to_string())
    ),
];
