//! The metrics that a broker of a fleet has besides.

#![forbid(unsafe_code)]

use super::Kind::{self, Counter, Gauge};
use super::{Family, Sample, Value, family, sample, wide};
use crate::fleet::Status;

pub(crate) static FLEET: &[Family] = &[
    family(
        "mosquitto_http_auth_fleet_in_touch",
        Gauge,
        "Whether the broker learns at once what is taken back at the others of its fleet: 1, or 0. \
         Like all metrics of a fleet, only with fleet_redis.",
        &[],
        |s| s.fleet.iter().map(|fleet| sample(&[], fleet.is_in_touch.into())).collect(),
    ),
    family(
        "mosquitto_http_auth_fleet_members",
        Gauge,
        "Brokers of the fleet that were heard of within the last minute, including this one.",
        &[],
        |s| s.fleet.iter().map(|fleet| sample(&[], wide(fleet.members.len()))).collect(),
    ),
    family(
        "mosquitto_http_auth_fleet_outbox",
        Gauge,
        "Commands that this broker has applied, and that the others cannot have received yet.",
        &[],
        |s| s.fleet.iter().map(|fleet| sample(&[], wide(fleet.outbox))).collect(),
    ),
    family(
        "mosquitto_http_auth_fleet_log_lag_seconds",
        Gauge,
        "For how long a command of another broker may have been missed: fractions of a second in touch, \
         growing while cut off.",
        &[],
        |s| {
            let of = |fleet: &Status| Value::Number(fleet.lag.as_secs_f64());
            s.fleet.iter().map(|fleet| Sample { labels: vec![], value: of(fleet) }).collect()
        },
    ),
    family(
        "mosquitto_http_auth_fleet_log_entries_total",
        Counter,
        "Entries of the log that this broker read for the first time, by what they do (epoch: \
         Redis was new, or had lost entries) and whether they come from here or from other \
         brokers.",
        &["do", "from"],
        |s| {
            let of = |(labels, count): &([&str; 2], u64)| sample(labels, *count);
            s.fleet.iter().flat_map(|fleet| fleet.counted.entries.iter().map(of)).collect()
        },
    ),
    family(
        "mosquitto_http_auth_fleet_gaps_total",
        Counter,
        "How often entries of the log were missing. Trimmed: this broker was away for longer than the log goes \
         back; rolled_back: Redis has lost them.",
        &["kind"],
        |s| s.fleet.iter().flat_map(|fleet| by_word(&fleet.counted.gaps)).collect(),
    ),
    family(
        "mosquitto_http_auth_fleet_lookups_total",
        Counter,
        "Answers that this broker looked up in Redis, by the result. Unreadable: written with \
         another fleet_secret, or changed. Failed: not in time. Skipped: Redis was out of service.",
        &["result"],
        |s| s.fleet.iter().flat_map(|fleet| by_word(&fleet.counted.lookups)).collect(),
    ),
    family(
        "mosquitto_http_auth_fleet_lookup_duration_seconds",
        Kind::Histogram,
        "How long questions waited for Redis, whatever the result.",
        &[],
        |s| {
            let of = |fleet: &Status| Value::Histogram(fleet.counted.took.clone());
            s.fleet.iter().map(|fleet| Sample { labels: vec![], value: of(fleet) }).collect()
        },
    ),
    family(
        "mosquitto_http_auth_fleet_writes_total",
        Counter,
        "Answers to share. Failed: Redis refused, or could not be reached; dropped: more waited \
         than the queue holds, or they waited for more than three seconds.",
        &["result"],
        |s| s.fleet.iter().flat_map(|fleet| by_word(&fleet.counted.writes)).collect(),
    ),
];

fn by_word(counts: &[(&str, u64)]) -> Vec<Sample> {
    counts.iter().map(|(word, count)| sample(&[word], *count)).collect()
}
