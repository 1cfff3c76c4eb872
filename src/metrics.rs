//! What an instance tells of itself: Prometheus metrics by HTTP, and topics below `$SYS`.
//!
//! Both come out of one [`Snapshot`] by way of a table ([`families`], [`topics`]), from which the
//! documentation is generated as well.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::api::Health;
use crate::fleet;
use crate::pool::Load;
use crate::stats::Counts;

mod connection;
mod families;
mod markdown;
mod server;
mod text;
mod topics;
pub use markdown::{markdown, names, topics_markdown};
pub(crate) use server::Server;
pub(crate) use text::text;
pub use topics::{TOPICS, Topic};

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::connection::read_request;
}

/// How things stand at one time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub counts: Counts,
    /// About how many answers are cached, how many bytes they take, and how many they may take.
    pub answers: u64,
    pub(crate) answers_bytes: u64,
    pub(crate) answers_max_bytes: u64,
    pub load: Load,
    pub endpoints: Vec<Health>,
    /// Events that wait to be sent.
    pub(crate) events_waiting: usize,
    pub sessions: usize,
    pub logins_waiting: usize,
    /// Deliveries that wait, and how many bytes they take.
    pub held: usize,
    pub(crate) held_bytes: usize,
    pub(crate) log_lines_dropped: u64,
    /// None: the broker belongs to no fleet.
    pub fleet: Option<fleet::Status>,
    /// When the plugin started, in Unix time.
    pub started: Duration,
}

impl Snapshot {
    /// That of an instance to which nothing has happened, and which asks this host.
    pub(crate) fn blank(origin: &str) -> Self {
        Self {
            counts: crate::stats::Stats::default().counts(),
            answers: 0,
            answers_bytes: 0,
            answers_max_bytes: 0,
            load: Load { urgent: 0, quiet: 0, workers: 0, most_workers: 0 },
            endpoints: vec![Health { origin: origin.to_owned(), in_service: true, outages: 0 }],
            events_waiting: 0,
            sessions: 0,
            logins_waiting: 0,
            held: 0,
            held_bytes: 0,
            log_lines_dropped: 0,
            fleet: Some(fleet::Status::blank()),
            started: Duration::ZERO,
        }
    }
}
