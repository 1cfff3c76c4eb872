//! Requests as they were seen, kept until they are shown.

#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mosquitto_http_auth::answer::Failure;
use mosquitto_http_auth::api::{Exchange, Observer, Reply, WireEvent};
use mosquitto_http_auth::question::Kind;
use mosquitto_http_auth::secret::Secret;
use mosquitto_http_auth::trace::TraceId;

use crate::wire_recorder::{self, Attempt};

/// A question to one host, and what came of it.
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) origin: String,
    pub(crate) body: Secret,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) took: Duration,
    /// By which the request is found in the API's log.
    pub(crate) trace: Option<TraceId>,
    pub(crate) outcome: Result<Reply, Failure>,
}

/// Sees everything that is asked.
#[derive(Default)]
pub(crate) struct Witness(Mutex<Vec<Seen>>);

impl Witness {
    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Witness {
    fn begins(&self) {
        wire_recorder::begin();
    }

    fn happens(&self, event: WireEvent<'_>) {
        wire_recorder::record(event);
    }

    fn exchanged(&self, exchange: Exchange<'_>) {
        let (attempts, took) = wire_recorder::end();
        let Exchange { origin, requests, outcome, trace } = exchange;
        // One client asks one question after the other.
        let [request] = requests else { return };
        let outcome = match outcome {
            Ok([reply]) => Ok(reply.clone()),
            Ok(_) => return,
            Err(failure) => Err(failure.clone()),
        };
        let seen = Seen {
            kind: request.kind,
            origin: origin.to_owned(),
            body: request.body.clone(),
            attempts,
            took,
            trace,
            outcome,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

impl Seen {
    /// The status of the answer.
    pub(crate) fn status(&self) -> Option<&str> {
        let answer = self.attempts.last()?.answer.as_ref()?;
        answer.line.split_once(' ').map(|(_, status)| status)
    }
}
