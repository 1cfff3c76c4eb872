//! Wakes the broker's thread the moment there is something for it.
//!
//! An idle broker looks up every 100 ms. A signal interrupts its sleep at once; one that arrives
//! between its look and its sleep is lost, so the signal is repeated until the broker acknowledges it. An
//! instance that has woken nobody for a while has no thread and costs nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::thread::spawn;
use crate::sync::lock;

/// How long until the signal is first repeated. Later repeats come at twice the distance each, so
/// that a broker that is busy is not showered.
const FIRST_REPEAT: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How long the thread waits for the next time before it ends.
const LINGER: Duration = Duration::from_secs(10);

/// One instance's waker.
pub(crate) struct BrokerWaker {
    broker: Thread,
    signal: libc::c_int,
    linger: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the broker is to wake up, readable without the lock: every tick asks.
    called: AtomicBool,
}

#[derive(Default)]
struct State {
    called: bool,
    closed: bool,
    /// Whether a thread repeats the signal, or will in a moment.
    repeats: bool,
    /// The thread that did so last.
    repeater: Option<JoinHandle<()>>,
}

impl BrokerWaker {
    /// A waker for the thread that calls this; none if no signal is free.
    pub(crate) fn for_this_thread() -> Option<Self> {
        let signal = free_signal()?;
        // SAFETY: the call has no preconditions.
        let broker = Thread(unsafe { libc::pthread_self() });
        Some(Self { broker, signal, linger: LINGER, shared: Arc::default() })
    }

    /// Wakes the broker's thread; from any thread.
    pub(crate) fn wake(&self) {
        let repeats = {
            let mut state = lock(&self.shared.state);
            if state.called || state.closed {
                return;
            }
            state.called = true;
            self.shared.called.store(true, Ordering::Release);
            std::mem::replace(&mut state.repeats, true)
        };
        self.broker.interrupt(self.signal);
        if repeats {
            self.shared.changed.notify_all();
        } else {
            self.start_repeater();
        }
    }

    /// The broker's thread is awake.
    pub(crate) fn acknowledge(&self) {
        if !self.shared.called.load(Ordering::Acquire) {
            return;
        }
        let mut state = lock(&self.shared.state);
        self.shared.called.store(false, Ordering::Relaxed);
        if state.called {
            state.called = false;
            self.shared.changed.notify_all();
        }
    }

    /// Wakes nobody from now on, and joins the thread.
    pub(crate) fn close(&self) {
        let repeater = {
            let mut state = lock(&self.shared.state);
            state.closed = true;
            state.repeater.take()
        };
        self.shared.changed.notify_all();
        join(repeater);
    }

    fn start_repeater(&self) {
        let (shared, broker, number) = (Arc::clone(&self.shared), self.broker, self.signal);
        let linger = self.linger;
        let body = move || shared.repeat(linger, || broker.interrupt(number));
        let repeater = spawn("http-auth-waker".to_owned(), Box::new(body)).ok();
        let mut state = lock(&self.shared.state);
        // Without the thread the first signal nearly always does, and the next tick always.
        state.repeats &= repeater.is_some();
        // What there was before has ended. Once the waker is closed nobody else joins.
        let over =
            if state.closed { repeater } else { std::mem::replace(&mut state.repeater, repeater) };
        drop(state);
        join(over);
    }
}

fn join(repeater: Option<JoinHandle<()>>) {
    if let Some(repeater) = repeater {
        // Nothing in it panics, and nobody could be told.
        let _ = repeater.join();
    }
}

impl Shared {
    /// Repeats the signal, ever more slowly, until it is acknowledged. Ends when the waker has
    /// woken nobody for a while.
    fn repeat(&self, linger: Duration, signal: impl Fn()) {
        let mut state = lock(&self.state);
        let mut pause = FIRST_REPEAT;
        while !state.closed {
            let (limit, called) = if state.called { (pause, true) } else { (linger, false) };
            let as_before = |state: &mut State| state.called == called && !state.closed;
            let waited = self.changed.wait_timeout_while(state, limit, as_before);
            let (locked, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if !timeout.timed_out() || !as_before(&mut state) {
                pause = FIRST_REPEAT;
            } else if called {
                signal();
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                break;
            }
        }
        state.repeats = false;
    }
}

/// The broker's thread, as others name it.
#[derive(Clone, Copy)]
struct Thread(libc::pthread_t);

// SAFETY: any thread of the process may signal any other by its identifier. musl's is a pointer,
// which nobody but the C library follows.
unsafe impl Send for Thread {}
// SAFETY: as above; the identifier never changes.
unsafe impl Sync for Thread {}

impl Thread {
    fn interrupt(self, signal: libc::c_int) {
        // SAFETY: this is the broker's main thread, which outlives every instance.
        unsafe { libc::pthread_kill(self.0, signal) };
    }
}

/// Does nothing: that the signal arrives is what interrupts a sleep.
extern "C" fn interrupted(_: libc::c_int) {}

/// A real-time signal that nobody else handles, with a handler that does nothing. All instances
/// share it: a handler belongs to the process. Mosquitto 2.1 uses the first real-time signal
/// itself, so the search begins behind it.
fn free_signal() -> Option<libc::c_int> {
    static SEARCH: Once = Once::new();
    static FOUND: Mutex<Option<libc::c_int>> = Mutex::new(None);

    SEARCH
        .call_once(|| *lock(&FOUND) = (libc::SIGRTMIN() + 3..libc::SIGRTMAX()).find(|s| take(*s)));
    *lock(&FOUND)
}

/// Installs the handler, if the signal has none.
fn take(number: libc::c_int) -> bool {
    // SAFETY: both structures are plain data for which all zeroes are valid; the handler does
    // nothing, which is safe in a signal handler.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(number, std::ptr::null(), &raw mut before) != 0
            || before.sa_sigaction != libc::SIG_DFL
        {
            return false;
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = interrupted as *const () as usize;
        // Sleeping in epoll_wait is interrupted all the same; other calls go on.
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(number, &raw const action, std::ptr::null_mut()) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps like the broker does: until an event, or for 10 s. Whether it was interrupted.
    fn sleep_is_interrupted() -> bool {
        // SAFETY: no descriptors are watched; the call only sleeps.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 10_000) == -1 }
    }

    #[test]
    fn waking_interrupts_a_sleep_even_if_the_first_signal_comes_too_early() {
        let waker = BrokerWaker::for_this_thread().unwrap();
        for _ in 0..20 {
            // Lost: this thread does not sleep yet. The repeat finds it asleep.
            waker.wake();
            assert!(sleep_is_interrupted());
            waker.acknowledge();
        }
        waker.close();
    }

    #[test]
    fn a_closed_waker_wakes_nobody() {
        let waker = BrokerWaker::for_this_thread().unwrap();
        waker.close();
        waker.wake();
        let state = lock(&waker.shared.state);
        assert!(!state.called && state.repeater.is_none());
    }

    #[test]
    fn the_thread_ends_when_it_wakes_nobody_and_another_starts_at_the_next_wake() {
        let mut waker = BrokerWaker::for_this_thread().unwrap();
        waker.linger = Duration::from_millis(1);
        for _ in 0..20 {
            waker.wake();
            assert!(sleep_is_interrupted());
            waker.acknowledge();
            while lock(&waker.shared.state).repeats {
                std::thread::yield_now();
            }
        }
        waker.close();
    }
}
