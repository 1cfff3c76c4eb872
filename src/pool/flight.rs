//! A question on its way, and those who wait for it.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Asked;
use crate::answer::{Answer, Failure, Outcome};
use crate::sync::lock;
use crate::trace::TraceId;

/// A question on its way.
#[derive(Default)]
pub struct Flight {
    state: Mutex<Progress>,
    landed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// What everybody is told, from now on as well.
    outcome: Option<Outcome>,
    /// Outcomes of which each is for one asker.
    single: VecDeque<Outcome>,
    watchers: VecDeque<Watcher>,
    /// How many tickets were given out that nothing was said to yet.
    tickets: usize,
    /// The trace id of the request in which it is asked, once a worker has one.
    trace: Option<TraceId>,
}

type Watcher = Box<dyn FnOnce(Outcome) + Send>;

impl Progress {
    /// What the holder of a ticket is told, if there is anything.
    fn take(&mut self) -> Option<Outcome> {
        self.single.pop_front().or_else(|| self.outcome.clone())
    }
}

/// The right to a flight's outcome. Dropped unused, it asks for nothing.
pub struct Ticket {
    flight: Option<Arc<Flight>>,
    fallback: Option<Answer>,
    /// What becomes of the outcome for whoever has this ticket.
    then: Option<Then>,
}

type Then = Box<dyn FnOnce(Outcome) -> Outcome + Send>;

/// Tells the trace id of a flight, also when the ticket has been used.
pub struct TraceOf(Arc<Flight>);

impl TraceOf {
    /// None: no worker has asked yet, or requests have none.
    #[must_use]
    pub fn get(&self) -> Option<TraceId> {
        lock(&self.0.state).trace
    }
}

impl Ticket {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        lock(&flight.state).tickets += 1;
        Self { flight: Some(flight), fallback: None, then: None }
    }

    /// Has this answer stand in where the flight fails, or does not land in time.
    #[must_use]
    pub fn or(mut self, fallback: Option<Answer>) -> Self {
        self.fallback = fallback;
        self
    }

    /// Has `then` make something of the outcome: on the worker that lands the flight, or on the thread
    /// that waits.
    #[must_use]
    pub fn then(mut self, then: impl FnOnce(Outcome) -> Outcome + Send + 'static) -> Self {
        self.then = Some(Box::new(then));
        self
    }

    /// Where to look for the trace id of the request by which the question is asked.
    #[must_use]
    pub fn trace_of(&self) -> Option<TraceOf> {
        self.flight.as_ref().map(|flight| TraceOf(Arc::clone(flight)))
    }

    /// Has `next` ask something else once this has an outcome, whether or not somebody still waits; whoever
    /// has the ticket that is returned waits for the outcome of both.
    #[must_use]
    pub fn followed_by(self, next: impl FnOnce(Outcome) -> Asked + Send + 'static) -> Self {
        let flight = Arc::new(Flight::default());
        let ticket = Self::new(Arc::clone(&flight));
        // If `next` panics, it lands as a failure.
        let landing = Landing::new(flight, || ());
        self.watch(move |outcome| match next(outcome) {
            Asked::Now(outcome) => landing.land(outcome),
            Asked::Later(ticket) => ticket.watch(move |outcome| landing.land(outcome)),
        });
        ticket
    }

    /// Waits until the flight has landed, but no longer than `limit`.
    ///
    /// # Errors
    /// The flight failed, or it is still under way. It then goes on, and its answer is stored.
    pub fn wait(mut self, limit: Duration) -> Outcome {
        let Some(flight) = self.flight.take() else { return Err(Failure::Internal) };
        let state = lock(&flight.state);
        let flying = |state: &mut Progress| state.outcome.is_none() && state.single.is_empty();
        let waited = flight.landed.wait_timeout_while(state, limit, flying);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.tickets -= 1;
        let outcome = state.take().unwrap_or(Err(Failure::NotYet));
        drop(state);
        made(outcome, self.then.take(), self.fallback.take())
    }

    /// Has `watcher` called with the outcome: at once if the flight has landed, and otherwise on
    /// the worker that lands it.
    pub fn watch(mut self, watcher: impl FnOnce(Outcome) + Send + 'static) {
        let Some(flight) = self.flight.take() else { return };
        let (then, fallback) = (self.then.take(), self.fallback.take());
        let watcher = move |outcome| watcher(made(outcome, then, fallback));
        let mut state = lock(&flight.state);
        match state.take() {
            None => state.watchers.push_back(Box::new(watcher)),
            Some(outcome) => {
                state.tickets -= 1;
                drop(state);
                watcher(outcome);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(flight) = &self.flight {
            lock(&flight.state).tickets -= 1;
        }
    }
}

fn made(outcome: Outcome, then: Option<Then>, fallback: Option<Answer>) -> Outcome {
    let outcome = match then {
        Some(then) => then(outcome),
        None => outcome,
    };
    outcome.or_else(|failure| fallback.ok_or(failure))
}

impl Flight {
    /// Tells everyone who waits, and whoever asks from now on.
    pub fn land(&self, outcome: Outcome) {
        let watchers = {
            let mut state = lock(&self.state);
            state.outcome = Some(outcome.clone());
            let watchers = std::mem::take(&mut state.watchers);
            state.tickets -= watchers.len();
            watchers
        };
        self.landed.notify_all();
        for watcher in watchers {
            tell(watcher, outcome.clone());
        }
    }

    /// Tells one of those who wait, or who come for it with the tickets that they have; whether
    /// others still wait for an outcome of their own.
    fn land_for_one(&self, outcome: Outcome) -> bool {
        let mut state = lock(&self.state);
        let watcher = state.watchers.pop_front();
        if watcher.is_some() {
            state.tickets -= 1;
        } else if state.tickets > state.single.len() {
            state.single.push_back(outcome.clone());
            self.landed.notify_one();
        }
        let others_wait = state.tickets > state.single.len();
        drop(state);
        if let Some(watcher) = watcher {
            tell(watcher, outcome);
        }
        others_wait
    }
}

/// One that panics must not keep the others from being told, nor bring down a worker that lands its
/// flights because it has panicked itself.
fn tell(watcher: Watcher, outcome: Outcome) {
    let _ = catch_unwind(AssertUnwindSafe(|| watcher(outcome)));
}

/// A worker's duty to land the flight that it is at. Dropped without a word, as after a panic, it
/// lands it as a failure.
pub struct Landing<'a> {
    flight: Arc<Flight>,
    /// Keeps others from joining the flight.
    close: Option<Box<dyn FnOnce() + Send + 'a>>,
    has_landed: bool,
}

impl<'a> Landing<'a> {
    pub(super) fn new(flight: Arc<Flight>, close: impl FnOnce() + Send + 'a) -> Self {
        Self { flight, close: Some(Box::new(close)), has_landed: false }
    }

    /// The question is now asked in a request with this trace id.
    pub fn note_trace(&self, trace: TraceId) {
        lock(&self.flight.state).trace = Some(trace);
    }

    /// Tells everyone who waits. What the worker does afterwards, nobody waits for.
    pub fn land(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    /// Tells one of those who wait, since this outcome is for one alone. Where others wait, the worker
    /// has to ask for them anew: it gets its duty back.
    #[must_use]
    pub fn land_for_one(mut self, outcome: Outcome) -> Option<Self> {
        self.close();
        if self.flight.land_for_one(outcome) {
            return Some(self);
        }
        self.has_landed = true;
        None
    }

    fn close(&mut self) {
        if let Some(close) = self.close.take() {
            close();
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.has_landed, true) {
            self.close();
            self.flight.land(outcome);
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.finish(Err(Failure::Internal));
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
            let _landing = Landing::new(landed, || {});
            panic!("another, on purpose");
        }));
        assert!(worker.is_err());
        assert_eq!(Ticket::new(flight).wait(NOW), Err(Failure::Internal));
    }

    #[test]
    fn what_follows_is_asked_whoever_waits_and_a_panic_in_it_is_a_failure() {
        let (first, land) = Ticket::for_test();
        let asked = Arc::new(Mutex::new(None));
        let note = Arc::clone(&asked);
        let (second, land_second) = Ticket::for_test();
        let both = first.followed_by(move |outcome| {
            *lock(&note) = Some(outcome);
            Asked::Later(second)
        });
        drop(both);
        land(Ok(Answer::DENY));
        assert_eq!(*lock(&asked), Some(Ok(Answer::DENY)));
        land_second(Ok(Answer::ALLOW));

        let (first, land) = Ticket::for_test();
        let both = first.followed_by(|_| Asked::Now(Ok(Answer::ALLOW)));
        land(Ok(Answer::DENY));
        assert_eq!(both.wait(NOW), Ok(Answer::ALLOW));

        let (first, land) = Ticket::for_test();
        let both = first.followed_by(|_| panic!("a defect, on purpose"));
        land(Ok(Answer::DENY));
        assert_eq!(both.wait(NOW), Err(Failure::Internal));
    }

    #[test]
    fn an_outcome_for_one_alone_is_told_to_one() {
        let flight = Arc::new(Flight::default());
        let (first, second, third) = (
            Ticket::new(Arc::clone(&flight)),
            Ticket::new(Arc::clone(&flight)),
            Ticket::new(Arc::clone(&flight)),
        );
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        first.watch(move |outcome| lock(&hears).push(outcome));
        let landing = Landing::new(Arc::clone(&flight), || {});
        let landing = landing.land_for_one(Ok(Answer::ALLOW)).unwrap();
        assert_eq!(*lock(&told), [Ok(Answer::ALLOW)]);
        // One that has its ticket and has not come yet gets one as well, and nobody else does.
        let landing = landing.land_for_one(Ok(Answer::ALLOW)).unwrap();
        assert_eq!(second.wait(NOW), Ok(Answer::ALLOW));
        drop(third);
        assert!(landing.land_for_one(Ok(Answer::ALLOW)).is_none(), "nobody else waits");
    }
}
