//! Time, passed in, so that a test decides what time it is.

#![forbid(unsafe_code)]

use std::time::Instant;

/// A monotonic clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> Instant;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
pub struct ManualClock {
    now: std::sync::Mutex<Instant>,
}

#[cfg(test)]
impl ManualClock {
    pub fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { now: std::sync::Mutex::new(SystemClock.now()) })
    }

    pub fn advance(&self, by: std::time::Duration) {
        *self.now.lock().unwrap() += by;
    }
}

#[cfg(test)]
impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }
}
