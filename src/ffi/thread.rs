//! Starts threads that take no signals.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread::{Builder, JoinHandle};

/// Starts a named thread with every signal blocked: SIGHUP and SIGTERM are the broker's, and they
/// must interrupt its own thread. A new thread inherits the mask of the one that starts it, so
/// there is no moment at which it could take one.
pub(crate) fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given, `pthread_sigmask` reads that one
    // and initialises the other; both sets are alive and properly aligned.
    let blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
    };
    let started = Builder::new().name(name).spawn(body);
    if blocked == 0 {
        // SAFETY: `before` was initialised by the call that succeeded above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    started
}

/// Whether the thread that calls this takes SIGHUP.
#[cfg(test)]
pub(crate) fn takes_sighup() -> bool {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: with no new set the call only writes the current one into `mask`.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
        libc::sigismember(mask.as_ptr(), libc::SIGHUP) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_takes_no_signals_and_its_starter_still_does() {
        let (tell, told) = std::sync::mpsc::channel();
        let body = move || tell.send(takes_sighup()).unwrap();
        spawn("worker".into(), Box::new(body)).unwrap().join().unwrap();
        assert!(!told.recv().unwrap());
        assert!(takes_sighup());
    }
}
