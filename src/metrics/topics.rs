//! The table of the topics below `$SYS` that tell how things stand.

#![forbid(unsafe_code)]

use super::Snapshot;
use crate::clock::millis;

/// One topic.
pub struct Topic {
    pub name: &'static str,
    pub meaning: &'static str,
    pub(crate) value: fn(&Snapshot) -> u64,
}

macro_rules! topic {
    ($name:literal, $meaning:literal, |$snapshot:ident| $value:expr) => {
        Topic {
            name: concat!("$SYS/broker/http-auth/", $name),
            meaning: $meaning,
            value: |$snapshot| $value,
        }
    };
}

/// Every topic, in the order of the documentation.
pub static TOPICS: &[Topic] = &[
    topic!("logins/allowed", "logins that were allowed", |s| s.counts.logins[0]),
    topic!("logins/denied", "logins that were denied", |s| s.counts.logins[1]),
    topic!("logins/deferred", "logins left to the broker's other means", |s| s.counts.logins[2]),
    topic!("logins/unavailable", "logins that nobody could decide", |s| s.counts.logins[3]),
    topic!("logins/waiting", "logins that wait for an answer, now", |s| wide(s.logins_waiting)),
    topic!("access/allowed", "ACL checks that were allowed", |s| s.counts.access[0]),
    topic!("access/denied", "ACL checks that were denied", |s| s.counts.access[1]),
    topic!("access/deferred", "ACL checks left to the broker's other means", |s| {
        s.counts.access[2]
    }),
    topic!("access/unavailable", "ACL checks that nobody could decide", |s| s.counts.access[3]),
    topic!("cache/hits", "questions whose answer was cached", |s| s.counts.hits),
    topic!("cache/misses", "questions whose answer was not cached", |s| {
        s.counts.misses.iter().map(|(_, count)| count).sum()
    }),
    topic!("cache/entries", "approximate number of answers in the cache, now", |s| s.answers),
    topic!("cache/bytes", "approximate bytes that they take, now", |s| s.answers_bytes),
    topic!("requests/answered", "requests that the API answered", |s| s.counts.answers),
    topic!("requests/failed", "requests that failed", |s| {
        s.counts.failures.iter().map(|(_, count)| count).sum()
    }),
    topic!("requests/in-flight", "requests under way, now", |s| s.counts.in_flight),
    topic!("requests/queued", "questions that wait for a worker, now", |s| {
        wide(s.load.urgent + s.load.quiet)
    }),
    topic!("endpoints/in-service", "hosts that are in service, now", |s| {
        wide(s.endpoints.iter().filter(|endpoint| endpoint.in_service).count())
    }),
    topic!("endpoints/outages", "how often a host was put out of service", |s| {
        s.endpoints.iter().map(|endpoint| endpoint.outages).sum()
    }),
    topic!("sessions", "connected clients that the plugin knows, now", |s| wide(s.sessions)),
    topic!("kicks", "clients that the plugin disconnected", |s| {
        s.counts.kicks.iter().map(|(_, count)| count).sum()
    }),
    topic!("held-ms", "milliseconds that the broker was held up", |s| millis(s.counts.held)),
];

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
