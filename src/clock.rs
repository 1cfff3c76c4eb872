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

/// A time of day at which something ends. The clock that it is compared with may be set, or stand still
/// while the machine is suspended: whichever of the two clocks comes to it first ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline {
    /// In seconds of Unix time.
    unix: u64,
    /// The same by the time that never goes back; none if that cannot count so far.
    monotonic: Option<Instant>,
}

impl Deadline {
    /// At this Unix time, in seconds.
    #[must_use]
    pub(crate) fn at(unix: u64, clock: &dyn Clock) -> Self {
        let left = Duration::from_secs(unix).saturating_sub(clock.unix_time());
        Self { unix, monotonic: clock.now().checked_add(left) }
    }

    /// In seconds of Unix time.
    #[must_use]
    pub(crate) fn unix(&self) -> u64 {
        self.unix
    }

    /// As it seemed when it was set.
    #[must_use]
    pub(crate) fn monotonic(&self) -> Option<Instant> {
        self.monotonic
    }

    #[must_use]
    pub(crate) fn is_over(&self, clock: &dyn Clock) -> bool {
        self.unix <= clock.unix_time().as_secs()
            || self.monotonic.is_some_and(|end| end <= clock.now())
    }
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
#[cfg(any(test, fuzzing))]
pub(crate) struct ManualClock {
    began: Instant,
    now: std::sync::Mutex<Instant>,
    /// How far the time of day was set ahead, in seconds.
    set: std::sync::atomic::AtomicI64,
}

/// When a manual clock begins, in seconds of Unix time.
#[cfg(any(test, fuzzing))]
pub(crate) const BEGINNING: u64 = 1_700_000_000;

#[cfg(any(test, fuzzing))]
impl ManualClock {
    pub(crate) fn new() -> std::sync::Arc<Self> {
        let began = SystemClock.now();
        std::sync::Arc::new(Self {
            began,
            now: std::sync::Mutex::new(began),
            set: std::sync::atomic::AtomicI64::new(0),
        })
    }

    /// Somebody sets the time of day, this much later.
    #[cfg(test)]
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.set.fetch_add(seconds, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }
}

#[cfg(any(test, fuzzing))]
impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn unix_time(&self) -> Duration {
        let set = self.set.load(std::sync::atomic::Ordering::Relaxed);
        Duration::from_secs(BEGINNING.saturating_add_signed(set))
            + self.now().duration_since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_over_by_whichever_clock_comes_to_it_first() {
        let clock = ManualClock::new();
        let deadline = || Deadline::at(clock.unix_time().as_secs() + 3600, &*clock);
        let slow = deadline();
        assert!(!slow.is_over(&*clock));
        clock.set_ahead(3600);
        assert!(slow.is_over(&*clock), "the clock was an hour slow, or the machine was suspended");
        let fast = deadline();
        clock.set_ahead(-3600);
        clock.advance(Duration::from_secs(3599));
        assert!(!fast.is_over(&*clock));
        clock.advance(Duration::from_secs(1));
        assert!(fast.is_over(&*clock), "the clock was set back, but an hour is over");
        assert!(Deadline::at(0, &*clock).is_over(&*clock));
        assert!(!Deadline::at(u64::MAX, &*clock).is_over(&*clock));
    }
}
