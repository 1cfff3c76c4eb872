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
pub(crate) struct InFlight {
    state: Mutex<Progress>,
    completed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// What everybody is told, from now on as well.
    outcome: Option<Outcome>,
    /// Outcomes of which each is for one asker.
    single: VecDeque<Outcome>,
    watchers: VecDeque<Watcher>,
    /// They are told the first outcome, whoever else is.
    listeners: Vec<Watcher>,
    /// How many [`Pending`]s there are that nothing was said to yet.
    pending: usize,
    /// The trace id of the request in which it is asked, once a worker has one.
    trace: Option<TraceId>,
}

type Watcher = Box<dyn FnOnce(Outcome) + Send>;

impl Progress {
    /// What the holder of a `Pending` is told, if there is anything.
    fn take(&mut self) -> Option<Outcome> {
        self.single.pop_front().or_else(|| self.outcome.clone())
    }
}

/// The right to the outcome of a request in flight. Dropped unused, it asks for nothing.
pub struct Pending {
    in_flight: Option<Arc<InFlight>>,
    fallback: Option<Answer>,
    /// What becomes of the outcome for whoever has this `Pending`.
    then: Option<Then>,
}

type Then = Box<dyn FnOnce(Outcome) -> Outcome + Send>;

/// Tells the trace id of a request in flight, also when the `Pending` has been used.
pub(crate) struct TraceOf(Arc<InFlight>);

impl TraceOf {
    /// None: no worker has asked yet, or requests have none.
    #[must_use]
    pub(crate) fn get(&self) -> Option<TraceId> {
        lock(&self.0.state).trace
    }
}

impl Pending {
    pub(super) fn new(in_flight: Arc<InFlight>) -> Self {
        lock(&in_flight.state).pending += 1;
        Self { in_flight: Some(in_flight), fallback: None, then: None }
    }

    /// Has this answer stand in where the request in flight fails, or does not complete in time.
    #[must_use]
    pub fn or(mut self, fallback: Option<Answer>) -> Self {
        self.fallback = fallback;
        self
    }

    /// Has `then` make something of the outcome: on the worker that completes the request, or on the thread
    /// that waits.
    #[must_use]
    pub fn then(mut self, then: impl FnOnce(Outcome) -> Outcome + Send + 'static) -> Self {
        self.then = Some(Box::new(then));
        self
    }

    /// Where to look for the trace id of the request by which the question is asked.
    #[must_use]
    pub(crate) fn trace_of(&self) -> Option<TraceOf> {
        self.in_flight.as_ref().map(|in_flight| TraceOf(Arc::clone(in_flight)))
    }

    /// Has `next` ask something else once this has an outcome, whether or not somebody still waits; whoever
    /// has the `Pending` that is returned waits for the outcome of both.
    #[must_use]
    pub fn followed_by(self, next: impl FnOnce(Outcome) -> Asked + Send + 'static) -> Self {
        let in_flight = Arc::new(InFlight::default());
        let pending = Self::new(Arc::clone(&in_flight));
        // If `next` panics, it completes as a failure.
        let completion = Completion::new(in_flight, || ());
        self.watch(move |outcome| match next(outcome) {
            Asked::Now(outcome) => completion.complete(outcome),
            Asked::Later(pending) => pending.watch(move |outcome| completion.complete(outcome)),
        });
        pending
    }

    /// Waits until the request in flight has completed, but no longer than `limit`. If it has not by then, it
    /// goes on, and this is good still.
    ///
    /// # Errors
    /// The request in flight failed, or it is still under way.
    pub fn wait(&mut self, limit: Duration) -> Outcome {
        let Some(in_flight) = self.in_flight.take() else { return Err(Failure::Internal) };
        let state = lock(&in_flight.state);
        let is_open = |state: &mut Progress| state.outcome.is_none() && state.single.is_empty();
        let waited = in_flight.completed.wait_timeout_while(state, limit, is_open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(outcome) = state.take() else {
            drop(state);
            self.in_flight = Some(in_flight);
            return self.fallback.clone().ok_or(Failure::NotYet);
        };
        state.pending -= 1;
        drop(state);
        made(outcome, self.then.take(), self.fallback.take())
    }

    /// Has `watcher` called with the outcome: at once if the request has completed, and otherwise on
    /// the worker that completes it.
    pub fn watch(mut self, watcher: impl FnOnce(Outcome) + Send + 'static) {
        let Some(in_flight) = self.in_flight.take() else { return };
        let (then, fallback) = (self.then.take(), self.fallback.take());
        let watcher = move |outcome| watcher(made(outcome, then, fallback));
        let mut state = lock(&in_flight.state);
        match state.take() {
            None => state.watchers.push_back(Box::new(watcher)),
            Some(outcome) => {
                state.pending -= 1;
                drop(state);
                watcher(outcome);
            }
        }
    }

    /// Has `listener` called with the outcome that comes first, and leaves it to others also where it is for one
    /// asker alone: nothing is asked for a listener's sake.
    pub(crate) fn listen(mut self, listener: impl FnOnce(Outcome) + Send + 'static) {
        let (then, fallback) = (self.then.take(), self.fallback.take());
        let listener = move |outcome| listener(made(outcome, then, fallback));
        let Some(in_flight) = &self.in_flight else { return };
        let mut state = lock(&in_flight.state);
        match state.single.front().or(state.outcome.as_ref()).cloned() {
            None => state.listeners.push(Box::new(listener)),
            Some(outcome) => {
                drop(state);
                listener(outcome);
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.in_flight {
            lock(&in_flight.state).pending -= 1;
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

impl InFlight {
    /// Tells everyone who waits, and whoever asks from now on.
    pub(crate) fn complete(&self, outcome: Outcome) {
        let (listeners, watchers) = {
            let mut state = lock(&self.state);
            state.outcome = Some(outcome.clone());
            let watchers = std::mem::take(&mut state.watchers);
            state.pending -= watchers.len();
            (std::mem::take(&mut state.listeners), watchers)
        };
        self.completed.notify_all();
        for watcher in listeners.into_iter().chain(watchers) {
            tell(watcher, outcome.clone());
        }
    }

    /// Tells one of those who wait, or who come for it with a `Pending`; whether
    /// others still wait for an outcome of their own.
    fn complete_for_one(&self, outcome: Outcome) -> bool {
        let mut state = lock(&self.state);
        let mut told = std::mem::take(&mut state.listeners);
        let watcher = state.watchers.pop_front();
        if watcher.is_some() {
            state.pending -= 1;
        } else if state.pending > state.single.len() {
            state.single.push_back(outcome.clone());
            self.completed.notify_one();
        }
        let others_wait = state.pending > state.single.len();
        drop(state);
        told.extend(watcher);
        for watcher in told {
            tell(watcher, outcome.clone());
        }
        others_wait
    }
}

/// One that panics must not keep the others from being told, nor bring down a worker that completes its
/// requests in flight because it has panicked itself.
fn tell(watcher: Watcher, outcome: Outcome) {
    let _ = catch_unwind(AssertUnwindSafe(|| watcher(outcome)));
}

/// A worker's duty to complete the request that it is at. Dropped without a word, as after a panic, it
/// completes it as a failure.
pub(crate) struct Completion<'a> {
    in_flight: Arc<InFlight>,
    /// Keeps others from joining the request in flight.
    close: Option<Box<dyn FnOnce() + Send + 'a>>,
    has_completed: bool,
}

impl<'a> Completion<'a> {
    pub(super) fn new(in_flight: Arc<InFlight>, close: impl FnOnce() + Send + 'a) -> Self {
        Self { in_flight, close: Some(Box::new(close)), has_completed: false }
    }

    /// The question is now asked in a request with this trace id.
    pub(crate) fn note_trace(&self, trace: TraceId) {
        lock(&self.in_flight.state).trace = Some(trace);
    }

    /// Tells everyone who waits. What the worker does afterwards, nobody waits for.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    /// Tells one of those who wait, since this outcome is for one alone. Where others wait, the worker
    /// has to ask for them anew: it gets its duty back.
    #[must_use]
    pub(crate) fn complete_for_one(mut self, outcome: Outcome) -> Option<Self> {
        self.close();
        if self.in_flight.complete_for_one(outcome) {
            return Some(self);
        }
        self.has_completed = true;
        None
    }

    fn close(&mut self) {
        if let Some(close) = self.close.take() {
            close();
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.has_completed, true) {
            self.close();
            self.in_flight.complete(outcome);
        }
    }
}

impl Drop for Completion<'_> {
    fn drop(&mut self) {
        self.finish(Err(Failure::Internal));
    }
}

#[cfg(test)]
impl Pending {
    /// A `Pending`, and the way to complete its request.
    pub(crate) fn for_test() -> (Self, impl FnOnce(Outcome)) {
        let in_flight = Arc::new(InFlight::default());
        (Self::new(Arc::clone(&in_flight)), move |outcome| in_flight.complete(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_watcher_that_panics_keeps_nobody_from_being_told() {
        let in_flight = Arc::new(InFlight::default());
        let told = Arc::new(Mutex::new(0));
        for number in 0..4 {
            let told = Arc::clone(&told);
            Pending::new(Arc::clone(&in_flight)).watch(move |_| {
                assert!(number % 2 == 1, "a defect, on purpose");
                *lock(&told) += 1;
            });
        }
        in_flight.complete(Ok(Answer::ALLOW));
        assert_eq!(*lock(&told), 2);
        assert_eq!(Pending::new(in_flight).wait(NOW), Ok(Answer::ALLOW));
    }

    #[test]
    fn a_watcher_that_panics_while_a_worker_does_brings_nothing_down() {
        let in_flight = Arc::new(InFlight::default());
        Pending::new(Arc::clone(&in_flight)).watch(|_| panic!("a defect, on purpose"));
        let completed = Arc::clone(&in_flight);
        let worker = catch_unwind(AssertUnwindSafe(move || {
            let _completion = Completion::new(completed, || {});
            panic!("another, on purpose");
        }));
        assert!(worker.is_err());
        assert_eq!(Pending::new(in_flight).wait(NOW), Err(Failure::Internal));
    }

    #[test]
    fn what_follows_is_asked_whoever_waits_and_a_panic_in_it_is_a_failure() {
        let (first, complete) = Pending::for_test();
        let asked = Arc::new(Mutex::new(None));
        let note = Arc::clone(&asked);
        let (second, complete_second) = Pending::for_test();
        let both = first.followed_by(move |outcome| {
            *lock(&note) = Some(outcome);
            Asked::Later(second)
        });
        drop(both);
        complete(Ok(Answer::DENY));
        assert_eq!(*lock(&asked), Some(Ok(Answer::DENY)));
        complete_second(Ok(Answer::ALLOW));

        let (first, complete) = Pending::for_test();
        let mut both = first.followed_by(|_| Asked::Now(Ok(Answer::ALLOW)));
        complete(Ok(Answer::DENY));
        assert_eq!(both.wait(NOW), Ok(Answer::ALLOW));

        let (first, complete) = Pending::for_test();
        let mut both = first.followed_by(|_| panic!("a defect, on purpose"));
        complete(Ok(Answer::DENY));
        assert_eq!(both.wait(NOW), Err(Failure::Internal));
    }

    #[test]
    fn an_outcome_for_one_alone_is_told_to_one() {
        let in_flight = Arc::new(InFlight::default());
        let (first, mut second, third) = (
            Pending::new(Arc::clone(&in_flight)),
            Pending::new(Arc::clone(&in_flight)),
            Pending::new(Arc::clone(&in_flight)),
        );
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        first.watch(move |outcome| lock(&hears).push(outcome));
        let completion = Completion::new(Arc::clone(&in_flight), || {});
        let completion = completion.complete_for_one(Ok(Answer::ALLOW)).unwrap();
        assert_eq!(*lock(&told), [Ok(Answer::ALLOW)]);
        // One that has its `Pending` and has not come yet gets one as well, and nobody else does.
        let completion = completion.complete_for_one(Ok(Answer::ALLOW)).unwrap();
        assert_eq!(second.wait(NOW), Ok(Answer::ALLOW));
        drop(third);
        assert!(completion.complete_for_one(Ok(Answer::ALLOW)).is_none(), "nobody else waits");
    }

    #[test]
    fn a_listener_takes_nothing_from_whoever_asks() {
        let in_flight = Arc::new(InFlight::default());
        let asker = || Pending::new(Arc::clone(&in_flight));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listen = || {
            let heard = Arc::clone(&heard);
            asker().listen(move |outcome| lock(&heard).push(outcome));
        };
        listen();
        let mut waiting = asker();
        let completion = Completion::new(Arc::clone(&in_flight), || {});
        assert!(completion.complete_for_one(Ok(Answer::DENY)).is_none(), "one alone waits");
        assert_eq!(*lock(&heard), [Ok(Answer::DENY)]);
        listen();
        assert_eq!(lock(&heard).len(), 2, "what nobody has fetched is heard at once");
        assert_eq!(waiting.wait(NOW), Ok(Answer::DENY));
        listen();
        in_flight.complete(Ok(Answer::ALLOW));
        listen();
        assert_eq!(lock(&heard)[2..], [Ok(Answer::ALLOW), Ok(Answer::ALLOW)]);
    }
}
