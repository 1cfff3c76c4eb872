//! Locks that outlive a panic.
//!
//! A panic is caught where it happens (in a callback or in a worker), so a lock that it
//! poisoned still guards sound data: no critical section here leaves any half-written.

#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whether or not another thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
