//! What goes on after a panic.
//!
//! A panic is caught where it happens (in a callback or in a worker), so a lock that it
//! poisoned still guards sound data: no critical section here leaves any half-written.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whether or not another thread panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does one of several things; whether it was done. A panic must not keep the others from being
/// done. It is reported like one in a worker.
pub(crate) fn catch_panic(thing: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(thing)).is_ok()
}
