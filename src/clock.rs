//! Time, passed in, so that a test decides what time it is.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What time it is.
pub trait Clock: Send + Sync {
    /// The time by which durations are measured; it never goes back.
    fn now(&self) -> Instant;
    /// The time of day, in Unix time; it may be set.
    fn unix_time(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
pub struct ManualClock {
    began: Instant,
    now: std::sync::Mutex<Instant>,
}

/// When a manual clock begins, in seconds of Unix time.
#[cfg(test)]
pub const BEGINNING: u64 = 1_700_000_000;

#[cfg(test)]
impl ManualClock {
    pub fn new() -> std::sync::Arc<Self> {
        let began = SystemClock.now();
        std::sync::Arc::new(Self { began, now: std::sync::Mutex::new(began) })
    }

    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }
}

#[cfg(test)]
impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap()
    }
    fn unix_time(&self) -> Duration {
        Duration::from_secs(BEGINNING) + self.now().duration_since(self.began)
    }
}
