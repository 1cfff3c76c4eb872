//! A value that can be waited on. Tests wait for what they expect, with a deadline that only a
//! failure ever reaches, so none of them sleeps and hopes.

use std::env;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long any wait lasts before the test fails; generous, because machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The folder for Valgrind's reports, where the brokers are to run under it.
pub fn valgrind_reports() -> Option<PathBuf> {
    env::var_os("SUITE_VALGRIND").map(PathBuf::from)
}

/// [`PATIENCE`], and more of it where everything is slower.
pub fn patience() -> Duration {
    if valgrind_reports().is_some() { PATIENCE * 10 } else { PATIENCE }
}

/// A value behind a lock, and a condition variable that is notified whenever it changes.
#[derive(Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Self {
        Watched { value: Mutex::new(value), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // A test that panicked elsewhere must not hide its own message behind a poisoned lock.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the value and wakes everybody who waits for it.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `look` finds what it is after; `None` when [`PATIENCE`] has run out.
    pub fn wait<R>(&self, look: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        self.wait_within(patience(), look)
    }

    pub fn wait_within<R>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&mut value) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            value =
                self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
