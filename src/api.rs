//! The API as the plugin sees it: a question goes in, an answer or a failure comes out.

#![forbid(unsafe_code)]

use std::sync::Arc;

use log::Level;

use crate::answer::{Answer, Failure, Outcome};
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::Journal;

mod breaker;
mod client;
mod dial;
mod endpoint;
mod wire;
pub use wire::Request;

use breaker::Change;
use endpoint::Endpoint;

/// Asks the configured endpoints in order, until one answers.
pub struct Api {
    endpoints: Vec<Endpoint>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
}

impl Api {
    #[must_use]
    pub fn new(config: &Config, journal: Arc<Journal>, clock: Arc<dyn Clock>) -> Self {
        let endpoint = |origin| Endpoint::new(config, origin, &clock);
        let origins = config.endpoints.iter().map(|endpoint| endpoint.origin(config.https));
        Self { endpoints: origins.map(endpoint).collect(), journal, clock }
    }

    /// Whether any endpoint is worth asking.
    #[must_use]
    pub fn in_service(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.breaker.in_service())
    }

    /// Whether an endpoint that is out of service is due to be tried again.
    #[must_use]
    pub fn wants_probe(&self) -> bool {
        let now = self.clock.now();
        self.endpoints.iter().any(|endpoint| endpoint.breaker.wants_probe(now))
    }

    /// Asks; called on a worker, and takes as long as the time limits allow.
    ///
    /// # Errors
    /// No endpoint answered: why the last one did not.
    pub fn ask(&self, request: &Request) -> Outcome {
        let mut outcome = Err(Failure::OutOfService);
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.breaker.in_service()) {
            outcome = self.ask_one(endpoint, request);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Tries every endpoint that is due to be tried again with this question, and returns the
    /// answer of the last one that is back.
    pub fn probe(&self, request: &Request) -> Option<Answer> {
        let due = self.endpoints.iter().filter(|e| e.breaker.claim_probe(self.clock.now()));
        due.filter_map(|endpoint| self.ask_one(endpoint, request).ok()).last()
    }

    fn ask_one(&self, endpoint: &Endpoint, request: &Request) -> Outcome {
        let asked = self.clock.now();
        let outcome = endpoint.ask(request);
        let now = self.clock.now();
        match &outcome {
            Ok(answer) => log::debug!(
                logger: *self.journal,
                "{}, about {}: {answer} in {:.1} ms",
                endpoint.origin,
                request.about,
                now.duration_since(asked).as_secs_f64() * 1000.0
            ),
            // An outage would fill the log: one line a second per kind of failure.
            Err(failure) => self.journal.seldom(Level::Warn, failure.name(), || {
                format!(
                    "the API at {} failed: {failure}; it was asked about {}",
                    endpoint.origin, request.about
                )
            }),
        }
        match endpoint.breaker.record(now, outcome.is_ok()) {
            Some(Change::OutOfService) => {
                endpoint.drop_connections();
                log::warn!(
                    logger: *self.journal,
                    "the API at {} keeps failing and is out of service until it answers a probe",
                    endpoint.origin
                );
            }
            Some(Change::Back) => {
                log::info!(logger: *self.journal, "the API at {} is back", endpoint.origin);
            }
            None => {}
        }
        outcome
    }

    /// Cuts short what is under way, and refuses what comes later.
    pub fn interrupt(&self) {
        self.endpoints.iter().for_each(Endpoint::interrupt);
    }
}
