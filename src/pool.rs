//! Worker threads, two bounded queues, and one request in flight per key.
//!
//! A question on its way to the API is *in flight*. Whoever asks the same question meanwhile gets a
//! [`Pending`] for the request that is under way already (single flight). Every request completes: a
//! worker that panics completes its own as [`Failure::Internal`], and [`Pool::shut_down`] completes what
//! still waits. After an invalidation ([`Pool::close_running`]) nobody joins a request that was under way.
//!
//! A worker that has nothing to do for a while ends: a process of one thread gets through its system
//! calls a little faster, and most of what a broker does is system calls.
//!
//! What the broker's thread waits for goes before a login that is answered later, and that before
//! what nobody waits for (a cached answer asked for again, a session checked again). A quarter of the
//! workers is kept for the first, and what nobody waits for never occupies more than half of them.

#![forbid(unsafe_code)]

use std::hash::Hash;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::answer::{Answer, Failure, Outcome};
use crate::sync::{catch_panic, lock};

mod in_flight;
mod postponed;
mod queue;
mod workers;
pub use in_flight::Pending;
pub(crate) use in_flight::{Completion, TraceOf};
pub(crate) use postponed::Postponed;
pub use queue::Urgency;

use queue::{Queue, Taken};
use workers::Workers;

/// Starts a named thread. The broker's process wants its signals on its own thread, so the real
/// one starts them with all signals blocked.
pub(crate) type Spawn =
    fn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

/// Asks the API; called on a worker, with the jobs that it takes at once.
type Work<J> = dyn Fn(Vec<(J, Completion<'_>)>) + Send + Sync;

/// Which jobs a worker may take at once, and how many. What waits in the queue then goes together:
/// under load, that is most of it.
pub(crate) struct Batching<J> {
    pub most: usize,
    pub(crate) joins: fn(&J) -> bool,
    /// How many bytes all of them may have; one that has more goes alone.
    pub(crate) most_bytes: usize,
    pub bytes: fn(&J) -> usize,
}

/// A bounded number of workers, started as they are needed.
pub(crate) struct Pool<K, J> {
    shared: Arc<Shared<K, J>>,
}

struct Shared<K, J> {
    work: Box<Work<J>>,
    batching: Batching<J>,
    spawn: Spawn,
    max_workers: usize,
    /// How long a worker waits for something to do.
    linger: Duration,
    state: Mutex<State<K, J>>,
    /// Notified when a job is queued, and when the pool closes.
    wakeup: Condvar,
}

struct State<K, J> {
    queue: Queue<K, J>,
    workers: Workers,
    /// Whether one of them is not at work yet.
    starting: bool,
    idle: usize,
    /// Workers that are at a job, by its urgency.
    busy: [usize; 4],
    closed: bool,
}

/// How busy a pool is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// How many questions wait for a worker that somebody waits for: the broker, or a client.
    pub(crate) urgent: usize,
    /// How many that nobody waits for.
    pub quiet: usize,
    /// Threads that there are.
    pub workers: usize,
    pub(crate) most_workers: usize,
}

impl Load {
    /// How many questions of each sort may wait.
    pub(crate) const MOST_URGENT: usize = queue::URGENT;
    pub(crate) const MOST_QUIET: usize = queue::QUIET;
}

/// What came of asking.
pub enum Asked {
    /// It is known, or known to have failed.
    Now(Outcome),
    /// The question is on its way.
    Later(Pending),
}

impl Asked {
    /// Where to look for the trace id of the request by which it is asked.
    #[must_use]
    pub(crate) fn trace_of(&self) -> Option<TraceOf> {
        match self {
            Self::Now(_) => None,
            Self::Later(pending) => pending.trace_of(),
        }
    }
}

impl<K, J> Pool<K, J>
where
    K: Clone + Eq + Hash + Send + 'static,
    J: Send + 'static,
{
    /// A pool without threads yet: they do not survive a fork, and `mosquitto -d` forks.
    pub(crate) fn new(
        max_workers: usize,
        linger: Duration,
        batching: Batching<J>,
        spawn: Spawn,
        work: Box<Work<J>>,
    ) -> Self {
        let state = State {
            queue: Queue::default(),
            workers: Workers::default(),
            starting: false,
            idle: 0,
            busy: [0; 4],
            closed: false,
        };
        let (state, wakeup) = (Mutex::new(state), Condvar::new());
        let shared = Shared { work, batching, spawn, max_workers, linger, state, wakeup };
        Self { shared: Arc::new(shared) }
    }

    /// Joins the request in flight under this key, or starts one.
    ///
    /// `known` is asked once more while nobody can complete: an answer that arrived between the
    /// asker's look into the cache and this call is found there, and not asked for again.
    pub(crate) fn ask(
        &self,
        key: &K,
        urgency: Urgency,
        known: impl FnOnce() -> Option<Answer>,
        job: impl FnOnce() -> J,
    ) -> Asked {
        let mut state = lock(&self.shared.state);
        if let Some(in_flight) = state.queue.join(key, urgency) {
            self.shared.wakeup.notify_one();
            return Asked::Later(Pending::new(in_flight));
        }
        if let Some(answer) = known() {
            return Asked::Now(Ok(answer));
        }
        match self.enqueue(state, key, job(), urgency) {
            Ok(pending) => Asked::Later(pending),
            Err(failure) => Asked::Now(Err(failure)),
        }
    }

    /// Joins the request in flight under this key, or starts one that nobody waits for.
    ///
    /// # Errors
    /// The pool is closed, or its queue is full.
    pub(crate) fn ask_quietly(&self, key: &K, job: impl FnOnce() -> J) -> Result<Pending, Failure> {
        let state = lock(&self.shared.state);
        if let Some(in_flight) = state.queue.in_flight(key) {
            return Ok(Pending::new(Arc::clone(in_flight)));
        }
        self.enqueue(state, key, job(), Urgency::Background)
    }

    /// How busy it is.
    #[must_use]
    pub(crate) fn load(&self) -> Load {
        let state = lock(&self.shared.state);
        let [blocking, waiting, deliveries, quiet] = state.queue.lengths();
        Load {
            urgent: blocking + waiting + deliveries,
            quiet,
            workers: state.workers.count(),
            most_workers: self.shared.max_workers,
        }
    }

    /// Whether a question is on its way.
    #[must_use]
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        lock(&self.shared.state).queue.in_flight(key).is_some()
    }

    /// The `Pending` of a question that is on its way.
    #[must_use]
    pub(crate) fn join(&self, key: &K) -> Option<Pending> {
        lock(&self.shared.state).queue.in_flight(key).map(|it| Pending::new(Arc::clone(it)))
    }

    /// Keeps others from joining what is under way: its answers may be older than what they are to
    /// rely on. Questions that no worker has taken yet are asked later than now.
    pub(crate) fn close_running(&self) {
        lock(&self.shared.state).queue.close_running();
    }

    /// Starts a request for each of these questions that is not on its way yet: somebody is about
    /// to wait for them. As many as leave half of the queue free go before what nobody waits for.
    pub(crate) fn ask_ahead(&self, questions: impl Iterator<Item = (K, J)>) {
        // Before the lock, so that nobody waits for whatever work this is.
        let questions: Vec<_> = questions.collect();
        if questions.is_empty() {
            return;
        }
        let mut state = lock(&self.shared.state);
        if state.closed {
            return;
        }
        let queued = state.queue.len();
        for (key, job) in questions {
            state.queue.push_ahead(&key, job);
        }
        // To wake a thread takes the broker's own longer than all else of a login whose answer is known.
        let wanted = (state.queue.len() - queued).min(state.idle);
        drop(state);
        (0..wanted).for_each(|_| self.shared.wakeup.notify_one());
        self.shared.grow();
    }

    fn enqueue(
        &self,
        mut state: MutexGuard<'_, State<K, J>>,
        key: &K,
        job: J,
        urgency: Urgency,
    ) -> Result<Pending, Failure> {
        if state.closed {
            return Err(Failure::Stopping);
        }
        // Before a worker can take it: an answer for one alone is told to none who has no `Pending` yet.
        let pending = Pending::new(state.queue.push(key, job, urgency)?);
        drop(state);
        self.shared.wakeup.notify_one();
        self.shared.grow();
        Ok(pending)
    }

    /// Completes every request that still waits, lets the workers finish the ones they are at, and
    /// joins them. `interrupt` is called once nothing new can start: it should cut short what is
    /// under way.
    pub(crate) fn shut_down(&self, interrupt: impl FnOnce()) {
        let (waiting, workers) = {
            let mut state = lock(&self.shared.state);
            state.closed = true;
            (state.queue.drain_queued(), state.workers.take_threads())
        };
        self.shared.wakeup.notify_all();
        for in_flight in waiting {
            in_flight.complete(Err(Failure::Stopping));
        }
        interrupt();
        join(workers);
    }
}

/// Waits for threads that end.
fn join(workers: Vec<JoinHandle<()>>) {
    for worker in workers {
        // A worker contains the panics of its jobs; there is nobody to tell of another.
        let _ = worker.join();
    }
}

impl<K: Clone + Eq + Hash, J> State<K, J> {
    /// Whether another worker would have something to do.
    fn needs_a_worker(&self, max_workers: usize) -> bool {
        let has_work = self.idle < self.queue.len();
        has_work && !self.closed && !self.starting && self.workers.count() < max_workers
    }
}

impl<K, J> Shared<K, J>
where
    K: Clone + Eq + Hash + Send + 'static,
    J: Send + 'static,
{
    /// Starts a worker if one is needed. A new worker that leaves something to do starts the next
    /// one: whoever asks pays for one thread at most, though many ask within one pass of the
    /// broker's loop.
    fn grow(self: &Arc<Self>) {
        let number = {
            let mut state = lock(&self.state);
            if !state.needs_a_worker(self.max_workers) {
                return;
            }
            state.starting = true;
            state.workers.enlist()
        };
        let shared = Arc::clone(self);
        // Linux shows 15 bytes of a thread's name.
        let body = Box::new(move || shared.serve(number));
        let worker = (self.spawn)(format!("http-auth-{number}"), body);
        let mut state = lock(&self.state);
        match worker {
            // Closed meanwhile: whoever closes joins this thread, and it that one.
            Ok(worker) if state.closed => {
                drop(state);
                let _ = worker.join();
            }
            Ok(worker) => {
                let ended = state.workers.keep(worker);
                drop(state);
                join(ended);
            }
            Err(_) => {
                state.starting = false;
                state.workers.dismiss(number);
                // With other workers the jobs only wait longer.
                let is_alone = state.workers.count() == 0;
                let stranded = if is_alone { state.queue.drain_queued() } else { Vec::new() };
                drop(state);
                stranded.iter().for_each(|in_flight| in_flight.complete(Err(Failure::Internal)));
            }
        }
    }

    /// A worker's life.
    fn serve(self: &Arc<Self>, number: usize) {
        lock(&self.state).starting = false;
        while let Some((jobs, urgency)) = self.next(number) {
            self.grow();
            let jobs = jobs.into_iter().map(|(key, job, in_flight)| {
                let completion = Arc::clone(&in_flight);
                (
                    job,
                    Completion::new(completion, move || {
                        lock(&self.state).queue.close(&key, &in_flight)
                    }),
                )
            });
            let jobs = jobs.collect();
            // A panic drops the completions, which completes their requests as failures.
            catch_panic(|| (self.work)(jobs));
            lock(&self.state).busy[urgency as usize] -= 1;
            if urgency != Urgency::Blocking {
                self.wakeup.notify_one();
            }
        }
    }

    /// What this worker does next. None: it ends, and its number is free.
    fn next(&self, number: usize) -> Option<(Vec<Taken<K, J>>, Urgency)> {
        let mut state = lock(&self.state);
        let mut is_idle = false;
        while !state.closed {
            let [_, not_blocking @ ..] = state.busy;
            let [.., background] = not_blocking;
            let is_one_free = not_blocking.iter().sum::<usize>() < self.most_not_blocking();
            let may = |urgency| match urgency {
                Urgency::Blocking => true,
                Urgency::Waiting | Urgency::Delivery => is_one_free,
                Urgency::Background => is_one_free && background < self.max_workers.div_ceil(2),
            };
            if let Some(next) = state.queue.next(may, &self.batching) {
                state.busy[next.1 as usize] += 1;
                return Some(next);
            }
            if is_idle {
                break;
            }
            state.idle += 1;
            let waited = self.wakeup.wait_timeout(state, self.linger);
            let (locked, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            state.idle -= 1;
            is_idle = timeout.timed_out();
        }
        state.workers.dismiss(number);
        None
    }

    /// How many workers may be at what the broker's thread does not wait for.
    fn most_not_blocking(&self) -> usize {
        (self.max_workers - self.max_workers.div_ceil(4)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use super::queue::URGENT;
    use super::*;

    fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(body)
    }

    /// Far longer than anything here takes.
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A pool whose jobs are the functions that do them.
    type Job = Box<dyn FnOnce() -> Outcome + Send>;

    fn pool(max_workers: usize) -> Pool<u32, Job> {
        lingering(max_workers, TIMEOUT)
    }

    fn lingering(max_workers: usize, linger: Duration) -> Pool<u32, Job> {
        let batching =
            Batching { most: 1, joins: |_: &Job| false, most_bytes: 0, bytes: |_: &Job| 0 };
        Pool::new(max_workers, linger, batching, spawn, Box::new(work))
    }

    fn work(jobs: Vec<(Job, Completion<'_>)>) {
        for (job, completion) in jobs {
            completion.complete(job());
        }
    }

    fn ask(
        pool: &Pool<u32, Job>,
        key: u32,
        job: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Pending {
        match pool.ask(&key, Urgency::Blocking, || None, || Box::new(job)) {
            Asked::Later(pending) => pending,
            Asked::Now(outcome) => panic!("{outcome:?} at once"),
        }
    }

    fn workers(pool: &Pool<u32, Job>) -> usize {
        lock(&pool.shared.state).workers.count()
    }

    #[test]
    fn a_hundred_equal_questions_make_one_request() {
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
                        *lock(&answers) = Some(Answer::ALLOW);
                        Ok(Answer::ALLOW)
                    });
                    match pool.ask(&1, Urgency::Blocking, || lock(&known).clone(), || job) {
                        Asked::Now(outcome) => outcome,
                        Asked::Later(mut pending) => pending.wait(TIMEOUT),
                    }
                };
                thread::Builder::new().spawn(body).unwrap()
            })
            .collect();
        for asker in askers {
            assert_eq!(asker.join().unwrap(), Ok(Answer::ALLOW));
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
        let pending: Vec<_> = (0..10)
            .map(|key| {
                let gate = gate.clone();
                ask(&pool, key, move || {
                    lock(&gate).recv().unwrap();
                    Ok(Answer::DENY)
                })
            })
            .collect();
        while workers(&pool) < 3 {
            thread::yield_now();
        }
        for _ in 0..10 {
            release.send(()).unwrap();
        }
        for mut pending in pending {
            assert_eq!(pending.wait(TIMEOUT), Ok(Answer::DENY));
        }
        assert_eq!(workers(&pool), 3);
        pool.shut_down(|| {});
    }

    #[test]
    fn a_worker_that_panics_completes_its_request_and_works_on() {
        let pool = pool(1);
        let failed = ask(&pool, 1, || panic!("a defect, on purpose")).wait(TIMEOUT);
        assert_eq!(failed, Err(Failure::Internal));
        assert_eq!(ask(&pool, 1, || Ok(Answer::ALLOW)).wait(TIMEOUT), Ok(Answer::ALLOW));
        assert_eq!(workers(&pool), 1);
        pool.shut_down(|| {});
    }

    #[test]
    fn workers_end_when_there_is_nothing_to_do_and_others_start_when_there_is() {
        let pool = lingering(3, Duration::from_millis(1));
        for round in 0..100 {
            let pending = [1, 2, 3].map(|key| ask(&pool, key, || Ok(Answer::ALLOW)));
            for mut pending in pending {
                assert_eq!(pending.wait(TIMEOUT), Ok(Answer::ALLOW));
            }
            // Now they have ended, now some are about to.
            while round % 2 == 0 && workers(&pool) > 0 {
                thread::yield_now();
            }
        }
        pool.shut_down(|| {});
        assert_eq!(workers(&pool), 0);
    }

    /// Many threads ask the same few questions in every way, and the pool closes meanwhile.
    #[test]
    fn under_stress_no_question_is_asked_twice_at_once_and_every_pending_completes() {
        const KEYS: usize = 8;
        for round in 0..20 {
            let pool = Arc::new(lingering(4, Duration::from_micros(round * 10)));
            let under_way: Arc<[AtomicUsize; KEYS]> = Arc::default();
            let (completed, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let askers: Vec<_> = (0..6)
                .map(|asker| {
                    let (pool, under_way) = (pool.clone(), under_way.clone());
                    let (completed, asked) = (completed.clone(), asked.clone());
                    let body = move || {
                        for number in 0..200 {
                            let key = (asker * 7 + number) % KEYS;
                            let under_way = under_way.clone();
                            let job = move || -> Job {
                                Box::new(move || {
                                    assert_eq!(under_way[key].fetch_add(1, Ordering::SeqCst), 0);
                                    thread::yield_now();
                                    under_way[key].fetch_sub(1, Ordering::SeqCst);
                                    Ok(Answer::ALLOW)
                                })
                            };
                            let pending = match number % 4 {
                                0 => pool.ask_quietly(&(key as u32), job).ok(),
                                1 => {
                                    pool.ask_ahead([(key as u32, job())].into_iter());
                                    None
                                }
                                _ => match pool.ask(
                                    &(key as u32),
                                    Urgency::ALL[number % 4],
                                    || None,
                                    job,
                                ) {
                                    Asked::Later(pending) => Some(pending),
                                    Asked::Now(outcome) => {
                                        assert_eq!(outcome, Err(Failure::Stopping));
                                        None
                                    }
                                },
                            };
                            let Some(mut pending) = pending else { continue };
                            asked.fetch_add(1, Ordering::SeqCst);
                            let completed = completed.clone();
                            if number % 2 == 0 {
                                pending.watch(move |outcome| {
                                    assert!(matches!(outcome, Ok(_) | Err(Failure::Stopping)));
                                    completed.fetch_add(1, Ordering::SeqCst);
                                });
                            } else {
                                let outcome = pending.wait(TIMEOUT);
                                assert!(matches!(outcome, Ok(_) | Err(Failure::Stopping)));
                                completed.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    };
                    thread::Builder::new().spawn(body).unwrap()
                })
                .collect();
            if round % 2 == 0 {
                // In the middle of it.
                while asked.load(Ordering::SeqCst) < 100 {
                    thread::yield_now();
                }
                pool.shut_down(|| {});
            }
            askers.into_iter().for_each(|asker| asker.join().unwrap());
            pool.shut_down(|| {});
            assert_eq!(completed.load(Ordering::SeqCst), asked.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn shutting_down_completes_every_request_and_joins_every_thread() {
        let pool = pool(1);
        let (interrupt, interrupted) = mpsc::channel();
        let (started, is_started) = mpsc::channel();
        let mut under_way = ask(&pool, 1, move || {
            started.send(()).unwrap();
            interrupted.recv().unwrap();
            Err(Failure::ConnectionLost)
        });
        is_started.recv().unwrap();
        let mut queued = ask(&pool, 2, || Ok(Answer::ALLOW));
        pool.shut_down(move || interrupt.send(()).unwrap());
        assert_eq!(under_way.wait(TIMEOUT), Err(Failure::ConnectionLost));
        assert_eq!(queued.wait(TIMEOUT), Err(Failure::Stopping));
        let late = pool.ask(&3, Urgency::Blocking, || None, || Box::new(|| Ok(Answer::ALLOW)));
        assert!(matches!(late, Asked::Now(Err(Failure::Stopping))));
    }

    #[test]
    fn whoever_waits_no_longer_leaves_the_request_to_complete() {
        let pool = pool(1);
        let (release, gate) = mpsc::channel::<()>();
        let (completed, has_completed) = mpsc::channel();
        let mut pending = ask(&pool, 1, move || {
            gate.recv().unwrap();
            completed.send(()).unwrap();
            Ok(Answer::ALLOW)
        });
        assert_eq!(pending.wait(Duration::ZERO), Err(Failure::NotYet));
        release.send(()).unwrap();
        has_completed.recv().unwrap();
        pool.shut_down(|| {});
    }

    /// Keeps the only worker busy until the returned gate is dropped.
    fn busy(pool: &Pool<u32, Job>) -> mpsc::Sender<()> {
        let (release, gate) = mpsc::channel::<()>();
        let (started, is_started) = mpsc::channel();
        let _ = ask(pool, u32::MAX, move || {
            started.send(()).unwrap();
            let _ = gate.recv();
            Ok(Answer::ALLOW)
        });
        is_started.recv().unwrap();
        release
    }

    /// Says its name, and allows.
    fn telling(tell: &mpsc::Sender<&'static str>, name: &'static str) -> Job {
        let tell = tell.clone();
        Box::new(move || {
            tell.send(name).unwrap();
            Ok(Answer::ALLOW)
        })
    }

    #[test]
    fn what_somebody_waits_for_goes_first() {
        let pool = pool(1);
        let release = busy(&pool);
        let (tell, told) = mpsc::channel();
        let job = |name| telling(&tell, name);
        for (key, name) in [(1, "quiet"), (2, "hurried"), (3, "last")] {
            let _ = pool.ask_quietly(&key, || job(name)).unwrap();
        }
        let _ = pool.ask_quietly(&1, || job("not twice")).unwrap();
        let urgent = pool.ask(&4, Urgency::Blocking, || None, || job("urgent"));
        let hurried = pool.ask(&2, Urgency::Waiting, || None, || job("not needed"));
        drop(release);
        for asked in [urgent, hurried] {
            let Asked::Later(mut pending) = asked else { panic!("nothing is known") };
            assert_eq!(pending.wait(TIMEOUT), Ok(Answer::ALLOW));
        }
        let order: Vec<_> = told.iter().take(4).collect();
        assert_eq!(order, ["urgent", "hurried", "quiet", "last"]);
        pool.shut_down(|| {});
        drop(tell);
        assert!(told.recv().is_err(), "nothing ran twice");
    }

    #[test]
    fn a_flood_of_what_is_urgent_keeps_nothing_else_back() {
        let pool = pool(1);
        let release = busy(&pool);
        let (tell, told) = mpsc::channel();
        let job = |name| telling(&tell, name);
        for key in 0..100 {
            let _ = pool.ask(&key, Urgency::ALL[key as usize % 2], || None, || job("login"));
        }
        for key in 100..110 {
            let _ = pool.ask(&key, Urgency::Delivery, || None, || job("delivery"));
            let _ = pool.ask_quietly(&(key + 100), || job("quiet")).unwrap();
        }
        drop(release);
        let order: Vec<_> = told.iter().take(80).collect();
        for name in ["delivery", "quiet"] {
            assert_eq!(order.iter().filter(|one| **one == name).count(), 10, "{order:?}");
        }
        pool.shut_down(|| {});
    }

    #[test]
    fn whoever_asks_is_told_of_an_answer_for_one_alone_however_quickly_it_comes() {
        static HAS_COMPLETED: AtomicUsize = AtomicUsize::new(0);
        /// Goes on when the thread that it starts has done what there is to do.
        fn spawn_slowly(
            name: String,
            body: Box<dyn FnOnce() + Send>,
        ) -> io::Result<JoinHandle<()>> {
            let thread = spawn(name, body)?;
            while HAS_COMPLETED.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            Ok(thread)
        }
        let batching =
            Batching { most: 1, joins: |_: &u32| false, most_bytes: 0, bytes: |_: &u32| 0 };
        let work = |jobs: Vec<(u32, Completion<'_>)>| {
            for (_, completion) in jobs {
                assert!(completion.complete_for_one(Ok(Answer::ALLOW)).is_none());
                HAS_COMPLETED.fetch_add(1, Ordering::SeqCst);
            }
        };
        let pool = Pool::new(1, TIMEOUT, batching, spawn_slowly, Box::new(work));
        let Asked::Later(mut pending) = pool.ask(&1, Urgency::Waiting, || None, || 1) else {
            panic!("nothing is known")
        };
        assert_eq!(pending.wait(Duration::ZERO), Ok(Answer::ALLOW));
        pool.shut_down(|| {});
    }

    #[test]
    fn what_the_broker_stands_still_for_goes_before_what_is_asked_ahead() {
        let pool = pool(1);
        let release = busy(&pool);
        let (tell, told) = mpsc::channel();
        let job = |name| telling(&tell, name);
        pool.ask_ahead((1..=3).map(|key| (key, job("ahead"))));
        let blocking = pool.ask(&4, Urgency::Blocking, || None, || job("blocking"));
        let joined = pool.ask(&3, Urgency::Blocking, || None, || job("not twice"));
        let _ = pool.ask_quietly(&5, || job("quiet")).unwrap();
        drop(release);
        for asked in [blocking, joined] {
            let Asked::Later(mut pending) = asked else { panic!("nothing is known") };
            assert_eq!(pending.wait(TIMEOUT), Ok(Answer::ALLOW));
        }
        let order: Vec<_> = told.iter().take(5).collect();
        assert_eq!(order, ["blocking", "ahead", "ahead", "ahead", "quiet"]);
        pool.shut_down(|| {});
    }

    /// How often this thread has slept.
    fn slept(thread: &Path) -> u64 {
        let status =
            std::fs::read_to_string(Path::new("/proc").join(thread).join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    fn wait_for_an_idle_worker(pool: &Pool<u32, Job>) {
        while lock(&pool.shared.state).idle == 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn to_ask_nothing_ahead_wakes_nobody() {
        let pool = pool(1);
        let (tell, told) = mpsc::channel();
        let job = move || {
            tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            Ok(Answer::ALLOW)
        };
        assert_eq!(ask(&pool, 1, job).wait(TIMEOUT), Ok(Answer::ALLOW));
        let worker = told.recv().unwrap();
        wait_for_an_idle_worker(&pool);
        let before = slept(&worker);
        for _ in 0..1000 {
            pool.ask_ahead(std::iter::empty());
            thread::yield_now();
        }
        // It may not have slept yet when it counted as idle.
        assert!(slept(&worker) <= before + 1);
        pool.shut_down(|| {});
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
                    Ok(Answer::ALLOW)
                })
            };
            let _ = pool.ask_quietly(&key, job).unwrap();
        }
        assert_eq!(ask(&pool, 9, || Ok(Answer::DENY)).wait(TIMEOUT), Ok(Answer::DENY));
        pool.shut_down(move || drop(release));
    }

    #[test]
    fn a_watcher_hears_of_a_completion_before_and_after_it() {
        let pool = pool(1);
        let release = busy(&pool);
        let (tell, told) = mpsc::channel();
        let watcher = |name: &'static str| {
            let tell = tell.clone();
            move |outcome| tell.send((name, outcome)).unwrap()
        };
        let first = ask(&pool, 1, || Ok(Answer::DENY));
        let second = ask(&pool, 1, || Ok(Answer::ALLOW));
        first.watch(watcher("waiting"));
        drop(release);
        assert_eq!(told.recv().unwrap(), ("waiting", Ok(Answer::DENY)));
        second.watch(watcher("late"));
        assert_eq!(told.recv().unwrap(), ("late", Ok(Answer::DENY)));
        pool.shut_down(|| {});
    }

    #[test]
    fn what_waits_goes_together_as_far_as_it_joins() {
        let (tell, told) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let (tell, gate) = (Mutex::new(tell), Mutex::new(gate));
        let batching = Batching {
            most: 3,
            joins: |number: &u32| *number < 100,
            most_bytes: 10,
            bytes: |number: &u32| if *number == 6 { 11 } else { 1 },
        };
        let pool = Pool::new(
            1,
            TIMEOUT,
            batching,
            spawn,
            Box::new(move |jobs: Vec<(u32, Completion<'_>)>| {
                let numbers: Vec<_> = jobs.iter().map(|(number, _)| *number).collect();
                lock(&tell).send(numbers).unwrap();
                let _ = lock(&gate).recv();
                jobs.into_iter().for_each(|(_, completion)| completion.complete(Ok(Answer::ALLOW)));
            }),
        );
        let mut first = pool.ask_quietly(&200, || 200).unwrap();
        assert_eq!(told.recv().unwrap(), [200]);
        pool.ask_ahead([1, 2, 3, 4, 5, 100, 7, 6].map(|number| (number, number)).into_iter());
        let mut joined = pool.ask_quietly(&2, || 2).unwrap();
        drop(release);
        for together in [vec![1, 2, 3], vec![4, 5], vec![100], vec![7], vec![6]] {
            assert_eq!(told.recv().unwrap(), together);
        }
        assert_eq!(joined.wait(TIMEOUT), Ok(Answer::ALLOW));
        assert_eq!(first.wait(TIMEOUT), Ok(Answer::ALLOW));
        pool.shut_down(|| {});
    }

    #[test]
    fn the_queue_is_bounded() {
        let pool = pool(1);
        let release = busy(&pool);
        let waiting = u32::try_from(URGENT).unwrap();
        for key in 1..=waiting {
            let _ = ask(&pool, key, || Ok(Answer::ALLOW));
        }
        let refused =
            pool.ask(&(waiting + 1), Urgency::Blocking, || None, || Box::new(|| Ok(Answer::ALLOW)));
        assert!(matches!(refused, Asked::Now(Err(Failure::Overloaded))));
        pool.shut_down(move || drop(release));
    }

    #[test]
    fn without_a_single_thread_the_question_fails() {
        fn no_threads(_: String, _: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        let batching =
            Batching { most: 1, joins: |_: &Job| false, most_bytes: 0, bytes: |_: &Job| 0 };
        let pool: Pool<u32, Job> = Pool::new(4, TIMEOUT, batching, no_threads, Box::new(work));
        let mut asked = ask(&pool, 1, || Ok(Answer::ALLOW));
        assert_eq!(asked.wait(TIMEOUT), Err(Failure::Internal));
    }
}
