//! The API as the plugin sees it: a question goes in, an answer or a failure comes out.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use log::Level;

use crate::answer::{Answer, Failure, Freshness};
use crate::clock::Clock;
use crate::config::{Config, Credentials};
use crate::failpoint;
use crate::log_queue::LogQueue;
use crate::question::Kind;
use crate::rules::{RuleSetInterner, Syntax};
use crate::stats::{Route, Stats};
use crate::sync::lock;
use crate::trace::{TraceId, mark};

mod breaker;
mod client;
mod connector;
mod documents;
mod endpoint;
mod error_map;
mod events;
mod framing;
mod freshness;
mod hardened_transport;
mod observer;
#[cfg(any(test, fuzzing))]
mod played;
mod reply;
mod request_body;
mod response;
mod response_body;
mod response_fields;
#[cfg(any(test, fuzzing))]
mod simulated;
mod status_hints;
mod strict_chunks;
pub(crate) use breaker::Sign;
pub use events::Told;
pub use observer::{Exchange, Observer, WireEvent};
pub use reply::Reply;
pub use request_body::{Request, describe};
pub(crate) use response_fields::claims;

use breaker::{Change, Trial};
use endpoint::Endpoint;
use response_fields::ResponseFields;

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::client::PlayedClient;
    pub(crate) use super::played::{ELSEWHERE, End, Played, SECOND};
    pub(crate) use super::reply::{read, read_batch};
    pub(crate) use super::response::Response;
    pub(crate) use super::simulated::set as simulate;
    pub(crate) use crate::api::events::told;
}

/// Asks the configured endpoints in order, until one answers.
pub struct Api {
    endpoints: Vec<Endpoint>,
    /// Whether each question has a trace id.
    traces: bool,
    trial: Mutex<Trial>,
    rules: RuleSetInterner,
    /// How rules are written.
    syntax: Syntax,
    log_queue: Arc<LogQueue>,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
}

/// How an endpoint does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Health {
    pub origin: String,
    pub(crate) in_service: bool,
    /// How often it was put out of service.
    pub outages: u64,
}

/// A probe that this thread has taken on. A panic is a probe that failed, or nobody would ever
/// probe the endpoint again.
struct Claim<'a> {
    endpoint: &'a Endpoint,
    clock: &'a dyn Clock,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.endpoint.breaker.record(self.clock.now(), Sign::Unclear, 0);
        }
    }
}

impl Api {
    /// The `observer`, if there is one, sees every request.
    #[must_use]
    pub fn new(
        config: &Config,
        log_queue: Arc<LogQueue>,
        clock: Arc<dyn Clock>,
        stats: Arc<Stats>,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Self {
        let endpoint = |origin| Endpoint::new(config, origin, &clock, observer);
        let origins = config.endpoints.iter().map(|endpoint| endpoint.origin(config.https));
        let endpoints = origins.map(endpoint).collect();
        Self {
            endpoints,
            traces: config.trace,
            trial: Mutex::default(),
            rules: RuleSetInterner::default(),
            syntax: config.api_format.compat.syntax(),
            log_queue,
            clock,
            stats,
        }
    }

    /// How each endpoint does.
    #[must_use]
    pub(crate) fn endpoints(&self) -> Vec<Health> {
        let health = |endpoint: &Endpoint| Health {
            origin: endpoint.origin.clone(),
            in_service: endpoint.breaker.in_service(),
            outages: endpoint.breaker.outages(),
        };
        self.endpoints.iter().map(health).collect()
    }

    /// The trace id of a question that is about to be asked, if questions have any. It is the same whatever
    /// hosts are asked, and for all questions that go together.
    #[must_use]
    pub fn new_trace(&self) -> Option<TraceId> {
        self.traces.then(TraceId::random)
    }

    /// Whether any endpoint is in service.
    #[must_use]
    pub(crate) fn in_service(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.breaker.in_service())
    }

    /// Whether a question would be let through as a probe of an endpoint that is out of service.
    #[must_use]
    pub(crate) fn wants_probe(&self, failed_before: bool) -> bool {
        let now = self.clock.now();
        self.endpoints.iter().any(|endpoint| endpoint.breaker.wants_probe(now, failed_before))
    }

    /// Takes on a trial, if it is time for one: a question that is asked though no host is in service. Unlike a
    /// probe that fails it postpones nothing, so that any question will do, and it is one a second at most.
    #[must_use]
    pub(crate) fn claim_trial(&self) -> bool {
        lock(&self.trial).claim(self.clock.now())
    }

    /// Asks these questions, which one request can hold; called on a worker, and takes as long as
    /// the time limits allow. Endpoints in service come first, in order; where none of them answers,
    /// those that are due for a probe are asked. `failed_before`: whether one of the questions has
    /// failed recently.
    ///
    /// # Errors
    /// No endpoint answered: why the last one did not.
    pub fn ask(
        &self,
        requests: &[&Request],
        failed_before: bool,
        trace: Option<TraceId>,
    ) -> Result<Vec<Reply>, Failure> {
        let mut outcome = Err(Failure::OutOfService);
        let in_service = |endpoint: &&Endpoint| endpoint.breaker.in_service();
        for endpoint in self.endpoints.iter().filter(in_service) {
            outcome = self.ask_one(endpoint, requests, trace);
            if outcome.is_ok() {
                return outcome;
            }
        }
        let is_trial = outcome == Err(Failure::OutOfService) && lock(&self.trial).take();
        for endpoint in &self.endpoints {
            let asked = self.ask_out_of_service(endpoint, requests, failed_before, trace);
            let on_trial = || is_trial.then(|| self.ask_one(endpoint, requests, trace));
            if let Some(replies) = asked.or_else(on_trial) {
                outcome = replies;
            }
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Tries every endpoint that is due for a probe with this question, which another has answered:
    /// all that counts is whether it answers.
    pub fn probe(&self, request: &Request, failed_before: bool, trace: Option<TraceId>) {
        for endpoint in &self.endpoints {
            let _ = self.ask_out_of_service(endpoint, &[request], failed_before, trace);
        }
    }

    /// Asks an endpoint if it is due for a probe.
    fn ask_out_of_service(
        &self,
        endpoint: &Endpoint,
        requests: &[&Request],
        failed_before: bool,
        trace: Option<TraceId>,
    ) -> Option<Result<Vec<Reply>, Failure>> {
        if !endpoint.breaker.claim_probe(self.clock.now(), failed_before) {
            return None;
        }
        let _claim = Claim { endpoint, clock: &*self.clock };
        failpoint::reached("probe");
        Some(self.ask_one(endpoint, requests, trace))
    }

    fn ask_one(
        &self,
        endpoint: &Endpoint,
        requests: &[&Request],
        trace: Option<TraceId>,
    ) -> Result<Vec<Reply>, Failure> {
        let (status, mut outcome, took) =
            self.counted(route(requests), || endpoint.ask(requests, self.clock.unix_time(), trace));
        for reply in outcome.iter_mut().flatten() {
            self.share_rules(reply);
            if let Some(trace) = trace {
                reply.answer = reply.answer.clone().traced(trace);
            }
        }
        if let Some(status) = status {
            self.note_status(endpoint, route(requests), status, trace);
        }
        match &outcome {
            Ok(replies) => self.note(endpoint, requests, replies, took),
            Err(failure) => {
                let about = requests.first().map_or("nothing", |request| &request.about);
                self.note_failure(&endpoint.origin, about, failure, trace);
            }
        }
        let subject = requests.first().map_or(0, |request| request.subject);
        match endpoint.breaker.record(self.clock.now(), Sign::of_outcome(&outcome), subject) {
            Some(Change::OutOfService) => {
                endpoint.drop_connections();
                log::warn!(
                    logger: *self.log_queue,
                    "the API at {} keeps failing and is out of service until it answers a probe",
                    endpoint.origin
                );
            }
            Some(Change::Back) => {
                log::info!(logger: *self.log_queue, "the API at {} is back", endpoint.origin);
            }
            None => {}
        }
        outcome
    }

    /// Sends a request, and counts what status came back, after how long, and what it comes to.
    fn counted<T>(
        &self,
        route: Route,
        send: impl FnOnce() -> (Option<u16>, Result<T, Failure>),
    ) -> (Option<u16>, Result<T, Failure>, Duration) {
        let began = self.clock.now();
        let under_way = self.stats.request();
        let (status, outcome) = send();
        drop(under_way);
        let took = self.clock.now().duration_since(began);
        self.stats.requested(route, status, took);
        match &outcome {
            Ok(_) => self.stats.answered(),
            Err(failure) => self.stats.failed(failure),
        }
        (status, outcome, took)
    }

    /// The hosts, those in service first.
    fn in_service_first(&self) -> Vec<&Endpoint> {
        let mut endpoints: Vec<_> = self.endpoints.iter().collect();
        endpoints.sort_by_key(|endpoint| !endpoint.breaker.in_service());
        endpoints
    }

    /// Many clients are given the same rules; then all have one set.
    fn share_rules(&self, reply: &mut Reply) {
        let Some(session_grants) = reply.answer.session_grants.as_mut().and_then(Arc::get_mut)
        else {
            return;
        };
        session_grants.rules = session_grants.rules.take().map(|rules| self.rules.share(rules));
    }

    /// Reads an answer that another broker was given, in the words of [`ResponseFields`].
    /// None: it is none.
    pub(crate) fn read_shared(&self, json: &[u8]) -> Option<Answer> {
        let answer = shared_answer(json, self.syntax)?;
        let mut reply = Reply { answer, freshness: Freshness::default() };
        self.share_rules(&mut reply);
        Some(reply.answer)
    }

    fn note(&self, endpoint: &Endpoint, requests: &[&Request], replies: &[Reply], took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        for (request, Reply { answer, .. }) in requests.iter().zip(replies) {
            // A login has a line of its own, at each denial.
            let reason = answer.reason.as_ref().filter(|_| request.kind != Kind::Login);
            if let Some(reason) = reason {
                log::info!(
                    logger: *self.log_queue,
                    "the API says about {}: {reason:?}{}",
                    request.about,
                    mark(answer.trace())
                );
            }
            log::debug!(
                logger: *self.log_queue,
                "{}, about {}: {answer} in {ms:.1} ms{}",
                endpoint.origin,
                request.about,
                mark(answer.trace())
            );
        }
    }

    /// Says once a second what may be wrong with the configuration where the API answers with such a status.
    fn note_status(&self, endpoint: &Endpoint, to: Route, status: u16, trace: Option<TraceId>) {
        let Some(hint) = endpoint.hints.hint(to, status) else { return };
        let (origin, route) = (&endpoint.origin, to.name());
        self.log_queue.seldom(Level::Warn, format!("status {status} {route} {origin}"), || {
            let trace = mark(trace);
            format!("the API at {origin} answers on the {route} route with status {status}; {hint}{trace}")
        });
    }

    /// An outage would fill the log: one line a second for each host and kind of failure.
    fn note_failure(&self, origin: &str, about: &str, failure: &Failure, trace: Option<TraceId>) {
        self.log_queue.seldom(Level::Warn, format!("{} {origin}", failure.name()), || {
            let trace = mark(trace);
            format!("the API at {origin} failed: {failure}; it was asked about {about}{trace}")
        });
    }

    /// Uses other certificates and secrets from now on.
    pub(crate) fn renew(&self, credentials: &Credentials) {
        self.endpoints.iter().for_each(|endpoint| endpoint.renew(credentials));
    }

    /// Cuts short what is under way, and refuses what comes later.
    pub(crate) fn interrupt(&self) {
        self.endpoints.iter().for_each(Endpoint::interrupt);
    }
}

/// Reads an answer as it is shared among brokers: as the API says it to a login.
#[must_use]
pub(crate) fn shared_answer(json: &[u8], syntax: Syntax) -> Option<Answer> {
    let ResponseFields { verdict, session_grants, reason, .. } =
        ResponseFields::read(json, Kind::Login, syntax).ok()?;
    Some(
        Answer { session_grants: session_grants.map(Into::into), ..Answer::new(verdict?) }
            .because(reason),
    )
}

/// Where these questions go.
fn route(requests: &[&Request]) -> Route {
    match requests {
        [request] => match request.kind {
            Kind::Login => Route::User,
            Kind::Superuser => Route::Superuser,
            Kind::Access => Route::Acl,
        },
        _ => Route::AclBatch,
    }
}
