//! The API as the plugin sees it: a question goes in, an answer or a failure comes out.

#![forbid(unsafe_code)]

use std::sync::Arc;

use log::Level;

use crate::answer::{Failure, Outcome};
use crate::clock::Clock;
use crate::config::{Config, Routes};
use crate::journal::Journal;
use crate::question::Kind;

mod client;
mod dial;
mod wire;
pub use wire::Request;

use client::Client;

/// Asks the configured endpoints in order, until one answers.
pub struct Api {
    client: Client,
    targets: Vec<Target>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
}

/// One endpoint: where it answers which kind of question.
struct Target {
    origin: String,
    urls: Routes,
}

impl Api {
    #[must_use]
    pub fn new(config: &Config, journal: Arc<Journal>, clock: Arc<dyn Clock>) -> Self {
        let target = |origin: String| {
            let url = |kind| config.routes.of(kind).map(|route| format!("{origin}{route}"));
            let urls = Routes {
                login: url(Kind::Login),
                superuser: url(Kind::Superuser),
                access: url(Kind::Access),
            };
            Target { origin, urls }
        };
        let origins = config.endpoints.iter().map(|endpoint| endpoint.origin(config.https));
        Self {
            client: Client::new(config, Arc::clone(&clock)),
            targets: origins.map(target).collect(),
            journal,
            clock,
        }
    }

    /// Asks; called on a worker, and takes as long as the time limits allow.
    ///
    /// # Errors
    /// No endpoint answered: why the last one did not.
    pub fn ask(&self, request: &Request) -> Outcome {
        let mut outcome = Err(Failure::Internal);
        for target in &self.targets {
            let Some(url) = target.urls.of(request.kind) else { continue };
            let asked = self.clock.now();
            outcome = self.client.post(url, request.body.expose()).and_then(wire::judge);
            let took = self.clock.now().duration_since(asked);
            match &outcome {
                Ok(answer) => {
                    log::debug!(
                        logger: *self.journal,
                        "{url}, about {}: {answer} in {:.1} ms",
                        request.about,
                        took.as_secs_f64() * 1000.0
                    );
                    break;
                }
                Err(failure) => self.report(&target.origin, request, failure),
            }
        }
        outcome
    }

    /// An outage would fill the log: one line a second per kind of failure.
    fn report(&self, origin: &str, request: &Request, failure: &Failure) {
        self.journal.seldom(Level::Warn, failure.name(), || {
            format!("the API at {origin} failed: {failure}; it was asked about {}", request.about)
        });
    }

    /// Cuts short what is under way, and refuses what comes later.
    pub fn interrupt(&self) {
        self.client.interrupt();
    }
}
