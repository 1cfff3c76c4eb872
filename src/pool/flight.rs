//! A question on its way, and those who wait for it.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::answer::{Answer, Failure, Outcome};
use crate::sync::lock;

/// A question on its way.
#[derive(Default)]
pub struct Flight {
    state: Mutex<Progress>,
    landed: Condvar,
}

#[derive(Default)]
struct Progress {
    outcome: Option<Outcome>,
    watchers: Vec<Box<dyn FnOnce(Outcome) + Send>>,
}

/// The right to a flight's outcome.
pub struct Ticket {
    flight: Arc<Flight>,
    fallback: Option<Answer>,
}

impl Ticket {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self { flight, fallback: None }
    }

    /// Has this answer stand in where the flight fails, or does not land in time.
    #[must_use]
    pub fn or(self, fallback: Option<Answer>) -> Self {
        Self { fallback, ..self }
    }

    /// Waits until the flight has landed, but no longer than `limit`.
    ///
    /// # Errors
    /// The flight failed, or it is still under way. It then goes on, and its answer is stored.
    pub fn wait(self, limit: Duration) -> Outcome {
        let state = lock(&self.flight.state);
        let flying = |state: &mut Progress| state.outcome.is_none();
        let waited = self.flight.landed.wait_timeout_while(state, limit, flying);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let outcome = state.outcome.clone().unwrap_or(Err(Failure::NotYet));
        or(outcome, self.fallback)
    }

    /// Has `watcher` called with the outcome: at once if the flight has landed, and otherwise on
    /// the worker that lands it.
    pub fn watch(self, watcher: impl FnOnce(Outcome) + Send + 'static) {
        let fallback = self.fallback;
        let watcher = move |outcome| watcher(or(outcome, fallback));
        let mut state = lock(&self.flight.state);
        match state.outcome.clone() {
            None => state.watchers.push(Box::new(watcher)),
            Some(outcome) => {
                drop(state);
                watcher(outcome);
            }
        }
    }
}

fn or(outcome: Outcome, fallback: Option<Answer>) -> Outcome {
    outcome.or_else(|failure| fallback.ok_or(failure))
}

impl Flight {
    /// Tells everyone who waits, and whoever asks from now on.
    pub fn land(&self, outcome: Outcome) {
        let watchers = {
            let mut state = lock(&self.state);
            state.outcome = Some(outcome.clone());
            std::mem::take(&mut state.watchers)
        };
        self.landed.notify_all();
        for watcher in watchers {
            // One that panics must not keep the others from being told, nor bring down a worker
            // that lands its flights because it has panicked itself.
            let _ = catch_unwind(AssertUnwindSafe(|| watcher(outcome.clone())));
        }
    }
}

/// A worker's duty to land the flight that it is at. Dropped without a word, as after a panic, it
/// lands it as a failure.
pub struct Landing<'a>(Option<Box<dyn FnOnce(Outcome) + 'a>>);

impl<'a> Landing<'a> {
    pub(super) fn new(land: impl FnOnce(Outcome) + 'a) -> Self {
        Self(Some(Box::new(land)))
    }

    /// Tells everyone who waits. What the worker does afterwards, nobody waits for.
    pub fn land(mut self, outcome: Outcome) {
        if let Some(land) = self.0.take() {
            land(outcome);
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if let Some(land) = self.0.take() {
            land(Err(Failure::Internal));
        }
    }
}

#[cfg(test)]
impl Ticket {
    /// A ticket, and the way to land its flight.
    pub fn for_test() -> (Self, impl FnOnce(Outcome)) {
        let flight = Arc::new(Flight::default());
        (Self::new(Arc::clone(&flight)), move |outcome| flight.land(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_watcher_that_panics_keeps_nobody_from_being_told() {
        let flight = Arc::new(Flight::default());
        let told = Arc::new(Mutex::new(0));
        for number in 0..4 {
            let told = Arc::clone(&told);
            Ticket::new(Arc::clone(&flight)).watch(move |_| {
                assert!(number % 2 == 1, "a defect, on purpose");
                *lock(&told) += 1;
            });
        }
        flight.land(Ok(Answer::ALLOW));
        assert_eq!(*lock(&told), 2);
        assert_eq!(Ticket::new(flight).wait(NOW), Ok(Answer::ALLOW));
    }

    #[test]
    fn a_watcher_that_panics_while_a_worker_does_brings_nothing_down() {
        let flight = Arc::new(Flight::default());
        Ticket::new(Arc::clone(&flight)).watch(|_| panic!("a defect, on purpose"));
        let landed = Arc::clone(&flight);
        let worker = catch_unwind(AssertUnwindSafe(move || {
            let _landing = Landing::new(|outcome| landed.land(outcome));
            panic!("another, on purpose");
        }));
        assert!(worker.is_err());
        assert_eq!(Ticket::new(flight).wait(NOW), Err(Failure::Internal));
    }
}
