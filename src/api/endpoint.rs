//! One host that answers: its URLs, its connections, and whether it is in service.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::breaker::Breaker;
use super::client::Client;
use super::wire::{self, Request};
use crate::answer::{Failure, Outcome};
use crate::clock::Clock;
use crate::config::{Config, Routes};
use crate::question::Kind;

/// One of the hosts in `http_host`.
pub struct Endpoint {
    /// The beginning of its URLs, for log lines.
    pub origin: String,
    pub breaker: Breaker,
    urls: Routes,
    client: Client,
}

impl Endpoint {
    pub fn new(config: &Config, origin: String, clock: &Arc<dyn Clock>) -> Self {
        let url = |kind| config.routes.of(kind).map(|route| format!("{origin}{route}"));
        let urls = Routes {
            login: url(Kind::Login),
            superuser: url(Kind::Superuser),
            access: url(Kind::Access),
        };
        Self {
            urls,
            breaker: Breaker::new(config.breaker.failures, config.breaker.rest),
            client: Client::new(config, Arc::clone(clock)),
            origin,
        }
    }

    /// # Errors
    /// This endpoint did not answer.
    pub fn ask(&self, request: &Request) -> Outcome {
        // A question is only asked where its kind has a route.
        let url = self.urls.of(request.kind).ok_or(Failure::Internal)?;
        self.client.post(url, request.body.expose()).and_then(wire::judge)
    }

    /// Lets go of connections that may lead to a host that is gone.
    pub fn drop_connections(&self) {
        self.client.drop_connections();
    }

    /// Cuts short what is under way, and refuses what comes later.
    pub fn interrupt(&self) {
        self.client.interrupt();
    }
}
