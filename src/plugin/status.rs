//! How an instance does, told to whoever asks, on any thread.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::ConfigError;
use crate::engine::Engine;
use crate::events::Events;
use crate::failpoint;
use crate::held_deliveries::HeldDeliveries;
use crate::log_queue::LogQueue;
use crate::login::Logins;
use crate::metrics::{self, Server, Snapshot};
use crate::pool::Spawn;
use crate::sessions::Sessions;
use crate::stats::Stats;

/// Where the numbers come from.
pub(crate) struct Status {
    pub engine: Arc<Engine>,
    pub events: Arc<Events>,
    pub logins: Arc<Logins>,
    pub sessions: Arc<Sessions>,
    pub held: Arc<HeldDeliveries>,
    pub log_queue: Arc<LogQueue>,
    pub stats: Arc<Stats>,
    pub cache_max_bytes: u64,
    /// In Unix time.
    pub started: Duration,
}

impl Status {
    /// How things stand now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let status = self.engine.status();
        let (held, held_bytes) = self.held.size();
        Snapshot {
            counts: self.stats.counts(),
            answers: status.answers,
            answers_bytes: status.answers_bytes,
            answers_max_bytes: self.cache_max_bytes,
            load: status.load,
            endpoints: status.endpoints,
            events_waiting: self.events.waiting(),
            sessions: self.sessions.len(),
            logins_waiting: self.logins.waiting(),
            held,
            held_bytes,
            log_lines_dropped: self.log_queue.dropped(),
            fleet: self.engine.fleet().map(|fleet| fleet.status()),
            started: self.started,
        }
    }
}

/// Serves the metrics on this address, if there is one.
pub(crate) fn serve(
    status: &Arc<Status>,
    address: Option<SocketAddr>,
    spawn: Spawn,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Server>, ConfigError> {
    let Some(address) = address else { return Ok(None) };
    let (status, clock) = (Arc::clone(status), Arc::clone(clock));
    let page = Box::new(move || {
        failpoint::reached("metrics");
        status.engine.tidy_up();
        metrics::text(&status.snapshot())
    });
    let problem = |error| {
        ConfigError::overall(format!("option metrics_listen: cannot listen on {address} ({error})"))
    };
    Server::start(address, spawn, clock, page).map(Some).map_err(problem)
}

#[cfg(any(test, fuzzing))]
impl super::Plugin {
    /// How many clients are remembered, by why.
    pub fn remembered(&self) -> std::collections::BTreeMap<&'static str, usize> {
        [
            ("logins", self.authenticator.logins().waiting()),
            ("sessions", self.services.sessions.len()),
        ]
        .into()
    }
}
