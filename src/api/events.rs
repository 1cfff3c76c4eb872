//! Events, which the API is told and not asked about.

#![forbid(unsafe_code)]

use log::Level;

use super::Api;
use crate::answer::Failure;
use crate::stats::Route;
use crate::trace::mark;

/// What the API made of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It has them.
    Taken,
    /// It does not want them, by this status.
    Refused(u16),
}

impl Api {
    /// Sends so many events to the first host that answers; called on the worker for events. Hosts in
    /// service come first. What comes of it puts none into service nor out of it: a host may not know the
    /// route and answer questions all the same.
    ///
    /// # Errors
    /// No host answered: why the last one did not. The events may have arrived all the same.
    pub fn tell(&self, body: &[u8], count: usize) -> Result<Told, Failure> {
        let mut outcome = Err(Failure::OutOfService);
        let trace = self.new_trace();
        for endpoint in self.in_service_first() {
            (_, outcome, _) = self.counted(Route::Event, || {
                let status = endpoint.tell(body, trace);
                (status.as_ref().ok().copied(), status.and_then(told))
            });
            let Err(failure) = &outcome else { break };
            let origin = &endpoint.origin;
            self.log_queue.seldom(Level::Warn, format!("events {} {origin}", failure.name()), || {
                let trace = mark(trace);
                format!(
                    "the API at {origin} failed: {failure}; it was told of {count} events{trace}"
                )
            });
        }
        outcome
    }
}

/// What a status says of events: any success takes them, and by 408, 425, 429 and 5xx a server says that it
/// could not (RFC 9110, section 15; RFC 6585, section 4; RFC 8470, section 5.2).
///
/// # Errors
/// It says so.
pub(crate) fn told(status: u16) -> Result<Told, Failure> {
    match status {
        200..=299 => Ok(Told::Taken),
        408 | 425 | 429 | 500..=599 => Err(Failure::Status(status)),
        _ => Ok(Told::Refused(status)),
    }
}
