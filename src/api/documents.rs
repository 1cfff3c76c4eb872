//! Documents of the API that are no answer to a question: the keys that verify tokens.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Api, reply};
use crate::answer::Failure;
use crate::stats::Route;

impl Api {
    /// Fetches the document at this route, from whichever host has it, and for how long it may be kept;
    /// called on a worker. Hosts in service come first. What comes of it puts none into service nor out of
    /// it: a host may have no such document and answer questions all the same.
    ///
    /// # Errors
    /// No host has what `read` understands: why the last one has not.
    pub fn fetch<D>(
        &self,
        route: &str,
        about: &str,
        read: impl Fn(&[u8]) -> Result<D, String>,
    ) -> Result<(D, Option<Duration>), Failure> {
        let mut outcome = Err(Failure::OutOfService);
        let trace = self.new_trace();
        for endpoint in self.in_service_first() {
            (_, outcome, _) = self.counted(Route::Jwks, || {
                let response = endpoint.fetch(route, trace);
                let status = response.as_ref().ok().map(|response| response.status);
                (status, response.and_then(|response| reply::document(&response, &read)))
            });
            match &outcome {
                Ok(_) => break,
                Err(failure) => self.note_failure(&endpoint.origin, about, failure, trace),
            }
        }
        outcome
    }
}
