//! Worker threads, a bounded queue, and one flight per key.
//!
//! A *flight* is a question on its way to the API. Whoever asks the same question meanwhile gets a
//! [`Ticket`] for the flight that is already under way. Every flight lands: a worker that panics
//! lands its own as [`Failure::Internal`], and [`Pool::shut_down`] lands what still waits.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::answer::{Answer, Failure, Outcome};
use crate::sync::lock;

/// Questions that may wait for a worker. One callback at a time asks, so this is ample.
const QUEUE: usize = 1024;

/// Starts a named thread. The broker's process wants its signals on its own thread, so the real
/// one starts them with all signals blocked.
pub type Spawn = fn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

/// Asks the API; called on a worker.
type Work<J> = dyn Fn(J) -> Outcome + Send + Sync;

/// A bounded number of workers, started as they are needed.
pub struct Pool<K, J> {
    shared: Arc<Shared<K, J>>,
    max_workers: usize,
    spawn: Spawn,
}

struct Shared<K, J> {
    work: Box<Work<J>>,
    state: Mutex<State<K, J>>,
    /// Rung when a job is queued, and when the pool closes.
    bell: Condvar,
}

struct State<K, J> {
    queue: VecDeque<(K, J)>,
    flights: HashMap<K, Arc<Flight>>,
    workers: Vec<JoinHandle<()>>,
    idle: usize,
    closed: bool,
}

/// A question on its way.
#[derive(Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

/// The right to a flight's outcome.
pub struct Ticket(Arc<Flight>);

impl Ticket {
    /// Waits until the flight has landed, but no longer than `limit`.
    ///
    /// # Errors
    /// The flight failed, or it is still under way. It then goes on, and its answer is stored.
    pub fn wait(self, limit: Duration) -> Outcome {
        let outcome = lock(&self.0.outcome);
        let waited = self.0.landed.wait_timeout_while(outcome, limit, |outcome| outcome.is_none());
        let (outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
        outcome.clone().unwrap_or(Err(Failure::TimedOut))
    }

    /// A ticket for a flight that never took off.
    fn failed(failure: Failure) -> Self {
        let flight = Flight::default();
        flight.land(Err(failure));
        Self(Arc::new(flight))
    }
}

impl Flight {
    fn land(&self, outcome: Outcome) {
        *lock(&self.outcome) = Some(outcome);
        self.landed.notify_all();
    }
}

/// What came of asking.
pub enum Asked {
    /// The answer is known.
    Now(Answer),
    /// The question is on its way.
    Later(Ticket),
}

impl Asked {
    /// The outcome, after waiting for it no longer than `limit`.
    ///
    /// # Errors
    /// As [`Ticket::wait`].
    pub fn wait(self, limit: Duration) -> Outcome {
        match self {
            Self::Now(answer) => Ok(answer),
            Self::Later(ticket) => ticket.wait(limit),
        }
    }
}

impl<K, J> Pool<K, J>
where
    K: Clone + Eq + Hash + Send + 'static,
    J: Send + 'static,
{
    /// A pool without threads yet: `mosquitto -d` forks after plugins are loaded on some systems,
    /// and threads do not survive a fork.
    pub fn new(max_workers: usize, spawn: Spawn, work: Box<Work<J>>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            flights: HashMap::new(),
            workers: Vec::new(),
            idle: 0,
            closed: false,
        };
        let shared = Shared { work, state: Mutex::new(state), bell: Condvar::new() };
        Self { shared: Arc::new(shared), max_workers, spawn }
    }

    /// Joins the flight under this key, or starts one.
    ///
    /// `known` is asked once more while nobody can land: an answer that arrived between the
    /// asker's look into the cache and this call is found there, and not asked for again.
    pub fn ask(&self, key: &K, known: impl FnOnce() -> Option<Answer>, job: J) -> Asked {
        let mut state = lock(&self.shared.state);
        if let Some(flight) = state.flights.get(key) {
            return Asked::Later(Ticket(Arc::clone(flight)));
        }
        if let Some(answer) = known() {
            return Asked::Now(answer);
        }
        Asked::Later(self.take_off(&mut state, key, job).unwrap_or_else(Ticket::failed))
    }

    fn take_off(&self, state: &mut State<K, J>, key: &K, job: J) -> Result<Ticket, Failure> {
        if state.closed {
            return Err(Failure::Stopping);
        }
        if state.queue.len() >= QUEUE {
            return Err(Failure::Overloaded);
        }
        if state.idle <= state.queue.len() && state.workers.len() < self.max_workers {
            match self.start_worker(state.workers.len()) {
                Ok(worker) => state.workers.push(worker),
                // With other workers the job only waits longer.
                Err(_) if state.workers.is_empty() => return Err(Failure::Internal),
                Err(_) => {}
            }
        }
        let flight = Arc::new(Flight::default());
        state.flights.insert(key.clone(), Arc::clone(&flight));
        state.queue.push_back((key.clone(), job));
        self.shared.bell.notify_one();
        Ok(Ticket(flight))
    }

    fn start_worker(&self, number: usize) -> io::Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        // Linux shows 15 bytes of a thread's name.
        (self.spawn)(format!("http-auth-{number}"), Box::new(move || shared.serve()))
    }

    /// Lands every flight that still waits, lets the workers finish the ones they are at, and
    /// joins them. `interrupt` is called once nothing new can start: it should cut short what is
    /// under way.
    pub fn shut_down(&self, interrupt: impl FnOnce()) {
        let (waiting, workers) = {
            let mut state = lock(&self.shared.state);
            state.closed = true;
            let waiting: Vec<_> = state.queue.drain(..).map(|(key, _)| key).collect();
            (waiting, std::mem::take(&mut state.workers))
        };
        self.shared.bell.notify_all();
        for key in waiting {
            self.shared.land(&key, Err(Failure::Stopping));
        }
        interrupt();
        for worker in workers {
            // A worker contains the panics of its jobs; there is nobody to tell of another.
            let _ = worker.join();
        }
    }
}

impl<K: Eq + Hash, J> Shared<K, J> {
    /// A worker's life.
    fn serve(&self) {
        while let Some((key, job)) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(job)));
            self.land(&key, outcome.unwrap_or(Err(Failure::Internal)));
        }
    }

    fn next(&self) -> Option<(K, J)> {
        let mut state = lock(&self.state);
        loop {
            if let Some(next) = state.queue.pop_front() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn land(&self, key: &K, outcome: Outcome) {
        let flight = lock(&self.state).flights.remove(key);
        if let Some(flight) = flight {
            flight.land(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use super::*;

    fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(body)
    }

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A pool whose jobs are the functions that do them.
    type Job = Box<dyn FnOnce() -> Outcome + Send>;

    fn pool(max_workers: usize) -> Pool<u32, Job> {
        Pool::new(max_workers, spawn, Box::new(|job: Job| job()))
    }

    fn ask(
        pool: &Pool<u32, Job>,
        key: u32,
        job: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Ticket {
        match pool.ask(&key, || None, Box::new(job)) {
            Asked::Later(ticket) => ticket,
            Asked::Now(_) => panic!("nothing is known"),
        }
    }

    fn workers(pool: &Pool<u32, Job>) -> usize {
        lock(&pool.shared.state).workers.len()
    }

    #[test]
    fn a_hundred_equal_questions_make_one_flight() {
        let pool = Arc::new(pool(8));
        let requests = Arc::new(AtomicUsize::new(0));
        let known = Arc::new(Mutex::new(None));
        let start = Arc::new(Barrier::new(100));
        let askers: Vec<_> = (0..100)
            .map(|_| {
                let (pool, start) = (pool.clone(), start.clone());
                let (requests, known) = (requests.clone(), known.clone());
                let body = move || {
                    start.wait();
                    let answers = known.clone();
                    let job: Job = Box::new(move || {
                        requests.fetch_add(1, Ordering::SeqCst);
                        *lock(&answers) = Some(Answer::Allow);
                        Ok(Answer::Allow)
                    });
                    match pool.ask(&1, || *lock(&known), job) {
                        Asked::Now(answer) => Ok(answer),
                        Asked::Later(ticket) => ticket.wait(PATIENCE),
                    }
                };
                thread::Builder::new().spawn(body).unwrap()
            })
            .collect();
        for asker in askers {
            assert_eq!(asker.join().unwrap(), Ok(Answer::Allow));
        }
        assert_eq!(requests.load(Ordering::SeqCst), 1);
        pool.shut_down(|| {});
    }

    #[test]
    fn threads_start_when_they_are_needed_and_no_more_than_allowed() {
        let pool = pool(3);
        assert_eq!(workers(&pool), 0);
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let tickets: Vec<_> = (0..10)
            .map(|key| {
                let gate = gate.clone();
                ask(&pool, key, move || {
                    lock(&gate).recv().unwrap();
                    Ok(Answer::Deny)
                })
            })
            .collect();
        assert_eq!(workers(&pool), 3);
        for _ in 0..10 {
            release.send(()).unwrap();
        }
        for ticket in tickets {
            assert_eq!(ticket.wait(PATIENCE), Ok(Answer::Deny));
        }
        pool.shut_down(|| {});
    }

    #[test]
    fn a_worker_that_panics_lands_its_flight_and_works_on() {
        let pool = pool(1);
        let failed = ask(&pool, 1, || panic!("a defect, on purpose")).wait(PATIENCE);
        assert_eq!(failed, Err(Failure::Internal));
        assert_eq!(ask(&pool, 1, || Ok(Answer::Allow)).wait(PATIENCE), Ok(Answer::Allow));
        assert_eq!(workers(&pool), 1);
        pool.shut_down(|| {});
    }

    #[test]
    fn shutting_down_lands_every_flight_and_joins_every_thread() {
        let pool = pool(1);
        let (interrupt, interrupted) = mpsc::channel();
        let (started, is_started) = mpsc::channel();
        let under_way = ask(&pool, 1, move || {
            started.send(()).unwrap();
            interrupted.recv().unwrap();
            Err(Failure::ConnectionLost)
        });
        is_started.recv().unwrap();
        let queued = ask(&pool, 2, || Ok(Answer::Allow));
        pool.shut_down(move || interrupt.send(()).unwrap());
        assert_eq!(under_way.wait(PATIENCE), Err(Failure::ConnectionLost));
        assert_eq!(queued.wait(PATIENCE), Err(Failure::Stopping));
        assert_eq!(ask(&pool, 3, || Ok(Answer::Allow)).wait(PATIENCE), Err(Failure::Stopping));
    }

    #[test]
    fn whoever_waits_no_longer_leaves_the_flight_to_land() {
        let pool = pool(1);
        let (release, gate) = mpsc::channel::<()>();
        let (landed, has_landed) = mpsc::channel();
        let ticket = ask(&pool, 1, move || {
            gate.recv().unwrap();
            landed.send(()).unwrap();
            Ok(Answer::Allow)
        });
        assert_eq!(ticket.wait(Duration::ZERO), Err(Failure::TimedOut));
        release.send(()).unwrap();
        has_landed.recv().unwrap();
        pool.shut_down(|| {});
    }

    #[test]
    fn the_queue_is_bounded() {
        let pool = pool(1);
        let (interrupt, interrupted) = mpsc::channel::<()>();
        let (started, is_started) = mpsc::channel();
        let _blocker = ask(&pool, 0, move || {
            started.send(()).unwrap();
            let _ = interrupted.recv();
            Ok(Answer::Allow)
        });
        is_started.recv().unwrap();
        let waiting = u32::try_from(QUEUE).unwrap();
        for key in 1..=waiting {
            let _ = ask(&pool, key, || Ok(Answer::Allow));
        }
        let refused = ask(&pool, waiting + 1, || Ok(Answer::Allow)).wait(PATIENCE);
        assert_eq!(refused, Err(Failure::Overloaded));
        pool.shut_down(move || drop(interrupt));
    }

    #[test]
    fn without_a_single_thread_the_question_fails_at_once() {
        fn no_threads(_: String, _: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        let pool: Pool<u32, Job> = Pool::new(4, no_threads, Box::new(|job: Job| job()));
        assert_eq!(ask(&pool, 1, || Ok(Answer::Allow)).wait(PATIENCE), Err(Failure::Internal));
    }
}
