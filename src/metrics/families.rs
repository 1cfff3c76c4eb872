//! The table of every metric: what it is called, what it tells, and where its numbers come from.

#![forbid(unsafe_code)]

use super::Snapshot;
use crate::pool::Load;
use crate::stats::{Counted, Histogram};

mod fleet;

/// The kinds of metric, as Prometheus knows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics of one name.
pub(crate) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [&'static str],
    pub samples: fn(&Snapshot) -> Vec<Sample>,
}

/// A number, and the values of the family's labels, in order.
pub(crate) struct Sample {
    pub labels: Vec<String>,
    pub value: Value,
}

pub(crate) enum Value {
    Number(f64),
    Histogram(Histogram),
}

use Kind::{Counter, Gauge};

const fn family(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Snapshot) -> Vec<Sample>,
) -> Family {
    Family { name, kind, help, labels, samples }
}

/// Every metric, in the order of the documentation.
pub(crate) fn families() -> impl Iterator<Item = &'static Family> {
    BROKER.iter().chain(fleet::FLEET)
}

/// The metrics of a broker alone.
static BROKER: &[Family] = &[
    family(
        "mosquitto_http_auth_questions_total",
        Counter,
        "Questions of the broker (logins, and ACL checks as access), by the plugin's decision. \
         Unavailable: nobody could decide; the plugin closes such a login; for the others see \
         undecided_total.",
        &["kind", "decision"],
        |s| {
            let of = |kind: &'static str, counts: [u64; 4]| {
                let decisions = ["allowed", "denied", "deferred", "unavailable"];
                let sample = move |(decision, count)| sample(&[kind, decision], count);
                decisions.into_iter().zip(counts).map(sample)
            };
            of("login", s.counts.logins).chain(of("access", s.counts.access)).collect()
        },
    ),
    family(
        "mosquitto_http_auth_denials_total",
        Counter,
        "Denied questions, by the reason.",
        &["kind", "reason"],
        |s| {
            let (logins, access) = (&s.counts.denied_logins, &s.counts.denied_access);
            let logins = counted(logins, |reason| vec!["login".to_owned(), reason]);
            let access = counted(access, |reason| vec!["access".to_owned(), reason]);
            logins.into_iter().chain(access).collect()
        },
    ),
    family(
        "mosquitto_http_auth_unanswered_total",
        Counter,
        "Questions without an answer, by the reason; on_error decides them. No answer yet: the \
         plugin could not hold up the broker any longer.",
        &["reason"],
        |s| by_name(&s.counts.unanswered),
    ),
    family(
        "mosquitto_http_auth_undecided_total",
        Counter,
        "Publishes, subscriptions and deliveries that nobody could decide, by what followed. Closed: the \
         client connects and asks again; dropped: a message with QoS 0 is lost.",
        &["what"],
        |s| by_name(&s.counts.undecided),
    ),
    family(
        "mosquitto_http_auth_held_deliveries_total",
        Counter,
        "Deliveries that waited for the API's answer, by what became of them. Expired: there was none \
         within hold_ms; no room: hold_max_bytes was used up; left to broker: the API leaves it to the \
         broker's other means, which cannot be asked later; gone: the client's session ended; revoked: \
         by a command.",
        &["outcome"],
        |s| by_name(&s.counts.held_deliveries),
    ),
    family(
        "mosquitto_http_auth_held_deliveries",
        Gauge,
        "Deliveries that wait for the API's answer.",
        &[],
        |s| one(wide(s.held)),
    ),
    family(
        "mosquitto_http_auth_held_bytes",
        Gauge,
        "Memory of the deliveries that wait; hold_max_bytes limits it.",
        &[],
        |s| one(wide(s.held_bytes)),
    ),
    family(
        "mosquitto_http_auth_cache_hits_total",
        Counter,
        "Questions whose answer was in the cache.",
        &[],
        |s| one(s.counts.hits),
    ),
    family(
        "mosquitto_http_auth_cache_misses_total",
        Counter,
        "Questions whose answer was not in the cache, by the reason. Absent: never asked, or \
         expired long ago; outdated: by the command invalidate; not kept: the lifetime is 0.",
        &["reason"],
        |s| by_name(&s.counts.misses),
    ),
    family(
        "mosquitto_http_auth_cache_entries",
        Gauge,
        "Approximate number of answers in the cache.",
        &[],
        |s| one(s.answers),
    ),
    family(
        "mosquitto_http_auth_cache_size_bytes",
        Gauge,
        "Approximate memory of the cached answers.",
        &[],
        |s| one(s.answers_bytes),
    ),
    family(
        "mosquitto_http_auth_cache_max_size_bytes",
        Gauge,
        "Memory that cached answers may take: cache_max_bytes.",
        &[],
        |s| one(s.answers_max_bytes),
    ),
    family(
        "mosquitto_http_auth_requests_total",
        Counter,
        "Requests to the API by route and response status, for every status seen so far. None: no response \
         came, or not all of it.",
        &["route", "status"],
        |s| {
            let of = |counts: &crate::stats::RouteCounts| {
                let route = counts.route.name();
                let statuses = counts.statuses.iter();
                statuses.map(|(status, count)| sample(&[route, status], *count)).collect::<Vec<_>>()
            };
            s.counts.requests.iter().flat_map(of).collect()
        },
    ),
    family(
        "mosquitto_http_auth_request_duration_seconds",
        Kind::Histogram,
        "Durations of requests, whether they succeeded or failed.",
        &["route"],
        |s| {
            let of = |counts: &crate::stats::RouteCounts| Sample {
                labels: vec![counts.route.name().to_owned()],
                value: Value::Histogram(counts.took.clone()),
            };
            s.counts.requests.iter().map(of).collect()
        },
    ),
    family(
        "mosquitto_http_auth_request_failures_total",
        Counter,
        "Requests that failed, by what went wrong. A status that means a failure (408, 425, 429, \
         5xx) is a failure status.",
        &["kind"],
        |s| by_name(&s.counts.failures),
    ),
    family("mosquitto_http_auth_requests_in_flight", Gauge, "Requests under way.", &[], |s| {
        one(s.counts.in_flight)
    }),
    family(
        "mosquitto_http_auth_workers",
        Gauge,
        "Threads that send requests; the plugin starts them when it needs them, and ends them when \
         it does not.",
        &[],
        |s| one(wide(s.load.workers)),
    ),
    family(
        "mosquitto_http_auth_max_workers",
        Gauge,
        "Threads that the plugin may start: http_connections.",
        &[],
        |s| one(wide(s.load.most_workers)),
    ),
    family(
        "mosquitto_http_auth_queue_length",
        Gauge,
        "Questions that wait for a worker: urgent ones, for which somebody waits, and quiet ones, \
         which refresh what the plugin knows.",
        &["queue"],
        |s| queues(s.load.urgent, s.load.quiet),
    ),
    family(
        "mosquitto_http_auth_queue_capacity",
        Gauge,
        "Questions that may wait.",
        &["queue"],
        |_| queues(Load::MOST_URGENT, Load::MOST_QUIET),
    ),
    family(
        "mosquitto_http_auth_endpoint_in_service",
        Gauge,
        "Whether the plugin asks a host (1), or the host failed too often in a row (0).",
        &["endpoint"],
        |s| s.endpoints.iter().map(|e| sample(&[&e.origin], u64::from(e.in_service))).collect(),
    ),
    family(
        "mosquitto_http_auth_endpoint_outages_total",
        Counter,
        "How often the plugin put a host out of service.",
        &["endpoint"],
        |s| s.endpoints.iter().map(|e| sample(&[&e.origin], e.outages)).collect(),
    ),
    family(
        "mosquitto_http_auth_broker_held_seconds_total",
        Counter,
        "Time for which the broker's one thread was held up, waiting for the API.",
        &[],
        |s| vec![Sample { labels: vec![], value: Value::Number(s.counts.held.as_secs_f64()) }],
    ),
    family(
        "mosquitto_http_auth_sessions",
        Gauge,
        "Connected clients that the plugin knows.",
        &[],
        |s| one(wide(s.sessions)),
    ),
    family(
        "mosquitto_http_auth_logins_waiting",
        Gauge,
        "Clients whose login the plugin answers later (Mosquitto 2.1).",
        &[],
        |s| one(wide(s.logins_waiting)),
    ),
    family(
        "mosquitto_http_auth_kicks_total",
        Counter,
        "Disconnections by the plugin. Revoked: the API no longer lets the client in; renamed: it \
         now gives the client another name; command: by the command kick, whichever clients it \
         found.",
        &["reason"],
        |s| by_name(&s.counts.kicks),
    ),
    family(
        "mosquitto_http_auth_events_total",
        Counter,
        "Events for http_event_route, by what became of them. Refused: the API does not want them; \
         no room: too many waited, and the plugin dropped the oldest, denied logins before all \
         others; unsent: the broker ended before.",
        &["outcome"],
        |s| by_name(&s.counts.events),
    ),
    family(
        "mosquitto_http_auth_events_waiting",
        Gauge,
        "Events that wait to be sent, or for the API's answer.",
        &[],
        |s| one(wide(s.events_waiting)),
    ),
    family(
        "mosquitto_http_auth_event_failures_total",
        Counter,
        "How often sending events failed with every host; the plugin then sends them again.",
        &[],
        |s| one(s.counts.event_failures),
    ),
    family(
        "mosquitto_http_auth_log_lines_dropped_total",
        Counter,
        "Log lines that the plugin dropped because more waited than it keeps.",
        &[],
        |s| one(s.log_lines_dropped),
    ),
    family(
        "mosquitto_http_auth_start_time_seconds",
        Gauge,
        "When the plugin started, in Unix time.",
        &[],
        |s| vec![Sample { labels: vec![], value: Value::Number(s.started.as_secs_f64()) }],
    ),
    family(
        "mosquitto_http_auth_build_info",
        Gauge,
        "Always 1; the label is the plugin's version.",
        &["version"],
        |_| vec![sample(&[env!("CARGO_PKG_VERSION")], 1)],
    ),
];

// Counters are far below 2^53, up to which a double tells every whole number.
fn number(count: u64) -> Value {
    Value::Number(count as f64)
}

fn sample(labels: &[&str], count: u64) -> Sample {
    Sample {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        value: number(count),
    }
}

fn one(count: u64) -> Vec<Sample> {
    vec![sample(&[], count)]
}

fn counted(counted: &Counted, labels: impl Fn(String) -> Vec<String>) -> Vec<Sample> {
    let sample = |(name, count): &(&str, u64)| Sample {
        labels: labels(snake_case(name)),
        value: number(*count),
    };
    counted.iter().map(sample).collect()
}

fn by_name(these: &Counted) -> Vec<Sample> {
    counted(these, |name| vec![name])
}

fn queues(urgent: usize, quiet: usize) -> Vec<Sample> {
    vec![sample(&["urgent"], wide(urgent)), sample(&["quiet"], wide(quiet))]
}

/// A name as labels have it elsewhere.
fn snake_case(name: &str) -> String {
    name.to_ascii_lowercase().replace([' ', '-'], "_")
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
