//! One host that answers: its URLs, its connections, and whether it is in service.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::breaker::Breaker;
use super::client::Client;
use super::observer::{self, Exchange, Observer};
use super::reply::{self, Reply};
use super::request_body::{self, Request};
use super::response::Response;
use super::status_hints::StatusHints;
use crate::answer::Failure;
use crate::api_format::ApiFormat;
use crate::clock::Clock;
use crate::config::{Config, Credentials, Routes};
use crate::question::Kind;
use crate::trace::TraceId;

/// One of the hosts in `http_host`.
pub(crate) struct Endpoint {
    /// The beginning of its URLs, for log lines.
    pub origin: String,
    pub breaker: Breaker,
    /// What its statuses say of the configuration.
    pub hints: StatusHints,
    urls: Routes,
    api_format: ApiFormat,
    client: Client,
    observer: Option<Arc<dyn Observer>>,
}

impl Endpoint {
    pub(crate) fn new(
        config: &Config,
        origin: String,
        clock: &Arc<dyn Clock>,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Self {
        let url = |kind| config.routes.of(kind).map(|route| format!("{origin}{route}"));
        let urls = Routes {
            login: url(Kind::Login),
            superuser: url(Kind::Superuser),
            access: url(Kind::Access),
            batch: config.routes.batch.as_ref().map(|route| format!("{origin}{route}")),
            events: config.routes.events.as_ref().map(|route| format!("{origin}{route}")),
        };
        Self {
            urls,
            hints: StatusHints::default(),
            breaker: Breaker::new(config.breaker.failures, config.breaker.rest),
            api_format: config.api_format.clone(),
            client: Client::new(config, Arc::clone(clock), observer.is_some()),
            observer: observer.cloned(),
            origin,
        }
    }

    /// Asks these questions, in one request if there are several: then all are answered, or none.
    /// `unix_time` is now.
    ///
    /// # Errors
    /// This endpoint did not answer. The status comes with it where there was a response all the
    /// same.
    pub(crate) fn ask(
        &self,
        requests: &[&Request],
        unix_time: Duration,
        trace: Option<TraceId>,
    ) -> (Option<u16>, Result<Vec<Reply>, Failure>) {
        let Some(observer) = &self.observer else {
            return self.ask_unobserved(requests, unix_time, trace);
        };
        let answered =
            observer::during(observer, || self.ask_unobserved(requests, unix_time, trace));
        let (origin, outcome) = (&*self.origin, answered.1.as_deref());
        observer.exchanged(Exchange { origin, requests, outcome, trace });
        answered
    }

    fn ask_unobserved(
        &self,
        requests: &[&Request],
        unix_time: Duration,
        trace: Option<TraceId>,
    ) -> (Option<u16>, Result<Vec<Reply>, Failure>) {
        match self.send(requests, trace) {
            Ok(response) => (Some(response.status), self.read(requests, &response, unix_time)),
            Err(failure) => (None, Err(failure)),
        }
    }

    /// Fetches the document at this route.
    ///
    /// # Errors
    /// The endpoint did not answer.
    pub(crate) fn fetch(&self, route: &str, trace: Option<TraceId>) -> Result<Response, Failure> {
        self.client.fetch(&format!("{}{route}", self.origin), trace)
    }

    /// Tells it of events; the status of its response.
    ///
    /// # Errors
    /// The endpoint did not answer.
    pub(crate) fn tell(&self, events: &[u8], trace: Option<TraceId>) -> Result<u16, Failure> {
        let url = self.urls.events.as_deref().ok_or(Failure::Internal)?;
        self.client.tell(url, events, trace)
    }

    fn send(&self, requests: &[&Request], trace: Option<TraceId>) -> Result<Response, Failure> {
        // A question is only asked where its kind has a route.
        if let [request] = requests {
            let url = self.urls.of(request.kind).ok_or(Failure::Internal)?;
            return self.client.ask(url, request.body.expose(), trace);
        }
        let url = self.urls.batch.as_deref().ok_or(Failure::Internal)?;
        self.client.ask(url, request_body::batch(requests).expose(), trace)
    }

    /// What the response to these questions says.
    fn read(
        &self,
        requests: &[&Request],
        response: &Response,
        unix_time: Duration,
    ) -> Result<Vec<Reply>, Failure> {
        if let [request] = requests {
            let mut reply = reply::read(request.kind, response, &self.api_format, unix_time)?;
            reply.answer.status = Some(response.status);
            return Ok(vec![reply]);
        }
        reply::read_batch(response, requests.len())
    }

    /// Lets go of connections that may lead to a host that is gone.
    pub(crate) fn drop_connections(&self) {
        self.client.drop_connections();
    }

    /// Uses other certificates and secrets from now on.
    pub(crate) fn renew(&self, credentials: &Credentials) {
        self.client.renew(credentials);
    }

    /// Cuts short what is under way, and refuses what comes later.
    pub(crate) fn interrupt(&self) {
        self.client.interrupt();
    }
}
