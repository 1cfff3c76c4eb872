//! SIGHUP on the broker's thread: held back, let through, and counted.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::{MaybeUninit, transmute};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plugin::Sighup;

thread_local! {
    /// How many instances of the plugin hold it back.
    static HOLDERS: Cell<usize> = const { Cell::new(0) };
}

/// What the plugin may do about SIGHUP.
pub(crate) const SIGHUP: Sighup =
    Sighup { hold_back, has_come, watch, taken: || TAKEN.load(Ordering::SeqCst) };

type Handler = extern "C" fn(c_int);

/// The broker's own handler, which is called after SIGHUP was counted.
static BROKERS: OnceLock<Handler> = OnceLock::new();

/// How often SIGHUP was taken, on whichever thread.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Counts, and hands on. Does nothing else, since this interrupts whatever the thread is doing. The library is never
/// unloaded while this is the handler: it is linked so that it stays (`build.rs`).
extern "C" fn count(signal: c_int) {
    TAKEN.fetch_add(1, Ordering::SeqCst);
    if let Some(handler) = BROKERS.get() {
        handler(signal);
    }
}

/// Has SIGHUP counted from now on, once for all instances; not if the process has no handler of the plain kind for it.
fn watch() {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action, the call only writes the current one.
    if unsafe { libc::sigaction(libc::SIGHUP, ptr::null(), before.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: the call succeeded, so that it is initialised.
    let before = unsafe { before.assume_init() };
    let is_plain = before.sa_flags & libc::SA_SIGINFO == 0
        && ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction);
    let own = count as Handler as usize;
    if !is_plain || before.sa_sigaction == own {
        return;
    }
    // SAFETY: a handler without SA_SIGINFO, and neither of the two constants, is such a function.
    let handler = unsafe { transmute::<usize, Handler>(before.sa_sigaction) };
    if BROKERS.set(handler).is_ok() {
        let counting = libc::sigaction { sa_sigaction: own, ..before };
        // SAFETY: the handler does only what a signal handler may do, and outlives the process's other code.
        unsafe { libc::sigaction(libc::SIGHUP, &raw const counting, ptr::null_mut()) };
    }
}

/// Whether SIGHUP has come, and is held back.
fn has_come() -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigpending` initialises the set that it is given, if it succeeds.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0
            && libc::sigismember(set.as_ptr(), libc::SIGHUP) == 1
    }
}

/// Holds SIGHUP back for one more instance, or for one fewer. Once nobody holds it back, one that came
/// meanwhile is taken at once. For the broker's own thread; the plugin's other threads take no signals, and
/// one of another library that takes SIGHUP is not held up by this.
fn hold_back(held: bool) {
    let before = HOLDERS.get();
    let after = if held { before + 1 } else { before.saturating_sub(1) };
    HOLDERS.set(after);
    let how = match (before, after) {
        (0, 1) => libc::SIG_BLOCK,
        (1, 0) => libc::SIG_UNBLOCK,
        _ => return,
    };
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that it is given, which is alive and properly aligned; the
    // others read and write it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGHUP);
        libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::super::thread::takes_sighup;
    use super::*;

    #[test]
    fn whenever_it_is_taken_it_is_counted_and_the_broker_hears_of_it() {
        static HEARD: AtomicU64 = AtomicU64::new(0);
        extern "C" fn broker(_: c_int) {
            HEARD.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: the handler only counts.
        unsafe { libc::signal(libc::SIGHUP, broker as Handler as usize) };
        for _ in 0..2 {
            watch();
        }
        for number in 1..=3 {
            // SAFETY: sends a signal to this thread, which has a handler for it.
            assert_eq!(unsafe { libc::raise(libc::SIGHUP) }, 0);
            let counts = [(SIGHUP.taken)(), HEARD.load(Ordering::SeqCst)];
            assert_eq!(counts, [number; 2]);
        }
    }

    #[test]
    fn it_is_held_back_as_long_as_any_instance_wants_it() {
        let steps = [true, true, false, false, false, true, false].map(|held| {
            hold_back(held);
            !takes_sighup()
        });
        assert_eq!(steps, [true, true, true, false, false, true, false]);
        assert!(!has_come());
    }
}
