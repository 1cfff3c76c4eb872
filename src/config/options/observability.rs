//! What is told about the plugin: log, metrics and topics.

#![forbid(unsafe_code)]

use super::Preset::{Value, Words};
use super::show;
use super::{Opt, opt};
use crate::config::choices::{EVENTS, LOG_LEVEL};
use crate::config::values::{self, choice, choices, flag, seconds};

pub(super) static OPTIONS: &[Opt] = &[
    opt!(
        "log_level",
        Value("info"),
        "`error`, `warn`, `info`, `debug` or `trace`, into Mosquitto's own log. No level ever \
         prints a password or a header's value.",
        |raw, text| raw.log_level = Some(choice(text, LOG_LEVEL)?),
        |config| show::word(LOG_LEVEL, config.log_level)
    ),
    opt!(
        "http_trace",
        Value("false"),
        "`true`: each request to the API has a `traceparent` header (W3C Trace Context), and its \
         trace id is in the log lines about that question as `trace=…`, in `checkAccess` and in \
         the output of the command `mosquitto-http-auth`. A question to several hosts, or in a \
         batch with others, has one id.",
        |raw, text| raw.trace = flag(text)?,
        |config| Some(config.trace.to_string())
    ),
    opt!(
        "http_event_route",
        Words("unset"),
        "The path at which the plugin tells the API who connects and disconnects, some time after \
         it happened: in order, many events in a request, and at least once. Nobody waits for it; \
         while the API fails, the latest 10000 events wait. Unset: it tells the API nothing.",
        |raw, text| raw.routes.events = Some(values::route(text)?),
        |config| show::route(config.routes.events.as_deref())
    ),
    opt!(
        "http_events",
        Value("connected,disconnected"),
        "The events that the plugin sends: a comma list out of `connected`, `disconnected`, \
         `login_denied` and `kicked` (the plugin disconnects a client). Needs `http_event_route`.",
        |raw, text| raw.events = choices(text, EVENTS)?,
        |config| Some(config.events.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(","))
    ),
    opt!(
        "metrics_listen",
        Words("unset"),
        "An address and port, such as `127.0.0.1:9180`, where Prometheus finds metrics at \
         `/metrics`. There is no password, so an address that is not loopback warns at every \
         start. Unset: nowhere.",
        |raw, text| raw.metrics_listen = Some(values::listener(text)?),
        |config| config.metrics_listen.map(|address| address.to_string())
    ),
    opt!(
        "sys_interval",
        Value("10"),
        "Seconds between updates of the topics below `$SYS/broker/http-auth`. 0: there are none.",
        |raw, text| raw.sys_interval = seconds(text, 0..=65_535)?,
        |config| show::seconds(config.sys_interval.unwrap_or_default())
    ),
];
