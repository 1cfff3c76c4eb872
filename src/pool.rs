//! Worker threads, two bounded queues, and one flight per key.
//!
//! A *flight* is a question on its way to the API. Whoever asks the same question meanwhile gets a
//! [`Ticket`] for the flight that is already under way. Every flight lands: a worker that panics
//! lands its own as [`Failure::Internal`], and [`Pool::shut_down`] lands what still waits.
//!
//! Questions that somebody waits for go before those that nobody waits for (a cached answer asked
//! for again, a session checked again), and those never occupy more than half of the workers.

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

/// Questions with somebody waiting that may queue for a worker. More of them could not be answered
/// before their askers give up.
const URGENT: usize = 4096;

/// Questions without anybody waiting that may queue; each is as large as its request.
const QUIET: usize = 65_536;

/// Starts a named thread. The broker's process wants its signals on its own thread, so the real
/// one starts them with all signals blocked.
pub type Spawn = fn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

/// Asks the API; called on a worker.
type Work<J> = dyn Fn(J, Landing<'_>) + Send + Sync;

/// A bounded number of workers, started as they are needed.
pub struct Pool<K, J> {
    shared: Arc<Shared<K, J>>,
    spawn: Spawn,
}

struct Shared<K, J> {
    work: Box<Work<J>>,
    max_workers: usize,
    state: Mutex<State<K, J>>,
    /// Rung when a job is queued, and when the pool closes.
    bell: Condvar,
}

struct State<K, J> {
    urgent: VecDeque<K>,
    quiet: VecDeque<K>,
    flights: HashMap<K, (Arc<Flight>, Stage<J>)>,
    workers: Vec<JoinHandle<()>>,
    idle: usize,
    /// Workers that are at a quiet job.
    quiet_workers: usize,
    closed: bool,
}

/// How far a flight has come. A quiet one that somebody has come to wait for stands in both
/// queues; whoever takes its job first flies it, and its other entry is passed over.
enum Stage<J> {
    Queued { job: J, urgent: bool },
    Flying,
}

/// A question on its way.
#[derive(Default)]
struct Flight {
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
    fn new(flight: Arc<Flight>) -> Self {
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
    fn land(&self, outcome: Outcome) {
        let watchers = {
            let mut state = lock(&self.state);
            state.outcome = Some(outcome.clone());
            std::mem::take(&mut state.watchers)
        };
        self.landed.notify_all();
        for watcher in watchers {
            watcher(outcome.clone());
        }
    }
}

/// What came of asking.
pub enum Asked {
    /// It is known, or known to have failed.
    Now(Outcome),
    /// The question is on its way.
    Later(Ticket),
}

/// A worker's duty to land the flight that it is at. Dropped without a word, as after a panic, it
/// lands it as a failure.
pub struct Landing<'a>(Option<Box<dyn FnOnce(Outcome) + 'a>>);

impl Landing<'_> {
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

impl<K, J> Pool<K, J>
where
    K: Clone + Eq + Hash + Send + 'static,
    J: Send + 'static,
{
    /// A pool without threads yet: they do not survive a fork, and `mosquitto -d` forks.
    pub fn new(max_workers: usize, spawn: Spawn, work: Box<Work<J>>) -> Self {
        let state = State {
            urgent: VecDeque::new(),
            quiet: VecDeque::new(),
            flights: HashMap::new(),
            workers: Vec::new(),
            idle: 0,
            quiet_workers: 0,
            closed: false,
        };
        let shared = Shared { work, max_workers, state: Mutex::new(state), bell: Condvar::new() };
        Self { shared: Arc::new(shared), spawn }
    }

    /// Joins the flight under this key, or starts one.
    ///
    /// `known` is asked once more while nobody can land: an answer that arrived between the
    /// asker's look into the cache and this call is found there, and not asked for again.
    pub fn ask(
        &self,
        key: &K,
        known: impl FnOnce() -> Option<Answer>,
        job: impl FnOnce() -> J,
    ) -> Asked {
        let mut state = lock(&self.shared.state);
        if let Some(flight) = state.hurry(key) {
            self.shared.bell.notify_one();
            return Asked::Later(Ticket::new(flight));
        }
        if let Some(answer) = known() {
            return Asked::Now(Ok(answer));
        }
        match self.take_off(&mut state, key, job(), true) {
            Ok(flight) => Asked::Later(Ticket::new(flight)),
            Err(failure) => Asked::Now(Err(failure)),
        }
    }

    /// Joins the flight under this key, or starts one, that nobody waits for.
    ///
    /// # Errors
    /// The pool is closed, its queue is full, or it has no thread.
    pub fn ask_quietly(&self, key: &K, job: impl FnOnce() -> J) -> Result<Ticket, Failure> {
        let mut state = lock(&self.shared.state);
        let flight = match state.flights.get(key) {
            Some((flight, _)) => Arc::clone(flight),
            None => self.take_off(&mut state, key, job(), false)?,
        };
        Ok(Ticket::new(flight))
    }

    fn take_off(
        &self,
        state: &mut State<K, J>,
        key: &K,
        job: J,
        urgent: bool,
    ) -> Result<Arc<Flight>, Failure> {
        if state.closed {
            return Err(Failure::Stopping);
        }
        let (queue, capacity) =
            if urgent { (&state.urgent, URGENT) } else { (&state.quiet, QUIET) };
        if queue.len() >= capacity {
            return Err(Failure::Overloaded);
        }
        let waiting = state.urgent.len() + state.quiet.len();
        if state.idle <= waiting && state.workers.len() < self.shared.max_workers {
            match self.start_worker(state.workers.len()) {
                Ok(worker) => state.workers.push(worker),
                // With other workers the job only waits longer.
                Err(_) if state.workers.is_empty() => return Err(Failure::Internal),
                Err(_) => {}
            }
        }
        let flight = Arc::new(Flight::default());
        state.flights.insert(key.clone(), (Arc::clone(&flight), Stage::Queued { job, urgent }));
        let queue = if urgent { &mut state.urgent } else { &mut state.quiet };
        queue.push_back(key.clone());
        self.shared.bell.notify_one();
        Ok(flight)
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
            let mut waiting = Vec::new();
            state.flights.retain(|_, (flight, stage)| {
                let queued = matches!(stage, Stage::Queued { .. });
                if queued {
                    waiting.push(Arc::clone(flight));
                }
                !queued
            });
            (waiting, std::mem::take(&mut state.workers))
        };
        self.shared.bell.notify_all();
        for flight in waiting {
            flight.land(Err(Failure::Stopping));
        }
        interrupt();
        for worker in workers {
            // A worker contains the panics of its jobs; there is nobody to tell of another.
            let _ = worker.join();
        }
    }
}

impl<K: Clone + Eq + Hash, J> State<K, J> {
    /// The flight under this key, which from now on somebody waits for.
    fn hurry(&mut self, key: &K) -> Option<Arc<Flight>> {
        let (flight, stage) = self.flights.get_mut(key)?;
        if let Stage::Queued { urgent: urgent @ false, .. } = stage {
            *urgent = true;
            self.urgent.push_back(key.clone());
        }
        Some(Arc::clone(flight))
    }

    /// The next job, and whether it is a quiet one.
    fn next(&mut self, max_quiet: usize) -> Option<(K, J, bool)> {
        loop {
            let may_be_quiet = self.quiet_workers < max_quiet;
            let key = match self.urgent.pop_front() {
                Some(key) => key,
                None if may_be_quiet => self.quiet.pop_front()?,
                None => return None,
            };
            let Some((_, stage)) = self.flights.get_mut(&key) else { continue };
            if let Stage::Queued { job, urgent } = std::mem::replace(stage, Stage::Flying) {
                return Some((key, job, !urgent));
            }
        }
    }
}

impl<K: Clone + Eq + Hash, J> Shared<K, J> {
    /// A worker's life.
    fn serve(&self) {
        while let Some((key, job, quiet)) = self.next() {
            let landing = Landing(Some(Box::new(|outcome| self.land(&key, outcome))));
            // A panic drops the landing, which lands the flight as a failure.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.work)(job, landing)));
            if quiet {
                lock(&self.state).quiet_workers -= 1;
                self.bell.notify_one();
            }
        }
    }

    fn next(&self) -> Option<(K, J, bool)> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(next) = state.next(self.max_workers.div_ceil(2)) {
                state.quiet_workers += usize::from(next.2);
                return Some(next);
            }
            state.idle += 1;
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn land(&self, key: &K, outcome: Outcome) {
        let flight = lock(&self.state).flights.remove(key);
        if let Some((flight, _)) = flight {
            flight.land(outcome);
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
        Pool::new(
            max_workers,
            spawn,
            Box::new(|job: Job, landing: Landing<'_>| landing.land(job())),
        )
    }

    fn ask(
        pool: &Pool<u32, Job>,
        key: u32,
        job: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Ticket {
        match pool.ask(&key, || None, || Box::new(job)) {
            Asked::Later(ticket) => ticket,
            Asked::Now(outcome) => panic!("{outcome:?} at once"),
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
                    match pool.ask(&1, || *lock(&known), || job) {
                        Asked::Now(outcome) => outcome,
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
        let late = pool.ask(&3, || None, || Box::new(|| Ok(Answer::Allow)));
        assert!(matches!(late, Asked::Now(Err(Failure::Stopping))));
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
        assert_eq!(ticket.wait(Duration::ZERO), Err(Failure::NotYet));
        release.send(()).unwrap();
        has_landed.recv().unwrap();
        pool.shut_down(|| {});
    }

    /// Keeps the only worker busy until the returned gate is dropped.
    fn busy(pool: &Pool<u32, Job>) -> mpsc::Sender<()> {
        let (release, gate) = mpsc::channel::<()>();
        let (started, is_started) = mpsc::channel();
        let _ = ask(pool, u32::MAX, move || {
            started.send(()).unwrap();
            let _ = gate.recv();
            Ok(Answer::Allow)
        });
        is_started.recv().unwrap();
        release
    }

    #[test]
    fn what_somebody_waits_for_goes_first() {
        let pool = pool(1);
        let release = busy(&pool);
        let (tell, told) = mpsc::channel();
        let job = |name: &'static str| {
            let tell = tell.clone();
            move || -> Job {
                Box::new(move || {
                    tell.send(name).unwrap();
                    Ok(Answer::Allow)
                })
            }
        };
        for (key, name) in [(1, "quiet"), (2, "hurried"), (3, "last")] {
            let _ = pool.ask_quietly(&key, job(name)).unwrap();
        }
        let _ = pool.ask_quietly(&1, job("not twice")).unwrap();
        let urgent = pool.ask(&4, || None, job("urgent"));
        let hurried = pool.ask(&2, || None, job("not needed"));
        drop(release);
        for asked in [urgent, hurried] {
            let Asked::Later(ticket) = asked else { panic!("nothing is known") };
            assert_eq!(ticket.wait(PATIENCE), Ok(Answer::Allow));
        }
        let order: Vec<_> = told.iter().take(4).collect();
        assert_eq!(order, ["urgent", "hurried", "quiet", "last"]);
        pool.shut_down(|| {});
        drop(tell);
        assert!(told.recv().is_err(), "nothing ran twice");
    }

    #[test]
    fn quiet_jobs_leave_half_of_the_workers_free() {
        let pool = pool(2);
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for key in 0..5 {
            let gate = gate.clone();
            let job = || -> Job {
                Box::new(move || {
                    let _ = lock(&gate).recv();
                    Ok(Answer::Allow)
                })
            };
            let _ = pool.ask_quietly(&key, job).unwrap();
        }
        assert_eq!(ask(&pool, 9, || Ok(Answer::Deny)).wait(PATIENCE), Ok(Answer::Deny));
        pool.shut_down(move || drop(release));
    }

    #[test]
    fn a_watcher_hears_of_a_landing_before_and_after_it() {
        let pool = pool(1);
        let release = busy(&pool);
        let (tell, told) = mpsc::channel();
        let watcher = |name: &'static str| {
            let tell = tell.clone();
            move |outcome| tell.send((name, outcome)).unwrap()
        };
        let first = ask(&pool, 1, || Ok(Answer::Deny));
        let second = ask(&pool, 1, || Ok(Answer::Allow));
        first.watch(watcher("waiting"));
        drop(release);
        assert_eq!(told.recv().unwrap(), ("waiting", Ok(Answer::Deny)));
        second.watch(watcher("late"));
        assert_eq!(told.recv().unwrap(), ("late", Ok(Answer::Deny)));
        pool.shut_down(|| {});
    }

    #[test]
    fn the_queue_is_bounded() {
        let pool = pool(1);
        let release = busy(&pool);
        let waiting = u32::try_from(URGENT).unwrap();
        for key in 1..=waiting {
            let _ = ask(&pool, key, || Ok(Answer::Allow));
        }
        let refused = pool.ask(&(waiting + 1), || None, || Box::new(|| Ok(Answer::Allow)));
        assert!(matches!(refused, Asked::Now(Err(Failure::Overloaded))));
        pool.shut_down(move || drop(release));
    }

    #[test]
    fn without_a_single_thread_the_question_fails_at_once() {
        fn no_threads(_: String, _: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        let pool: Pool<u32, Job> = Pool::new(
            4,
            no_threads,
            Box::new(|job: Job, landing: Landing<'_>| landing.land(job())),
        );
        let asked = pool.ask(&1, || None, || Box::new(|| Ok(Answer::Allow)));
        assert!(matches!(asked, Asked::Now(Err(Failure::Internal))));
    }
}
