//! For how long what somebody else remembers of an answer may be believed.
//!
//! A permission that was found here may be remembered elsewhere, one step nearer to where it is asked
//! for. Whoever does so is not told when it goes. Instead it holds for an era at most, and the era ends
//! when a permission ends before its time, or when that cannot be told.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts the eras.
#[derive(Default)]
pub struct Era(AtomicU64);

/// For how long an answer is good elsewhere: for the era in which it was found, and up to a time at
/// which the cache wants to be asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Good {
    era: u64,
    until: Instant,
}

impl Era {
    /// To be read before an answer is looked for: what goes meanwhile is good no more.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// To be called after a permission has gone.
    pub fn end(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Whether something is good that was found in this era, or would be, at this time.
    pub fn allows(&self, good: &Good, now: impl FnOnce() -> Instant) -> bool {
        good.era == self.now() && now() < good.until
    }
}

impl Good {
    pub fn new(era: u64, until: Instant) -> Self {
        Self { era, until }
    }
}
