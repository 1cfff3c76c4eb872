//! What came of looking answers up.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// What came of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    Hit,
    Absent,
    /// It is over, or comes from a clock that is wrong.
    Expired,
    /// Something was taken back since it was asked for.
    Outdated,
    /// It was written with another secret, or changed.
    Unreadable,
    /// Redis did not answer in time, or said no.
    Failed,
    /// Redis is left alone.
    Skipped,
}

impl Lookup {
    pub const NAMES: [&'static str; 7] =
        ["hit", "absent", "expired", "outdated", "unreadable", "failed", "skipped"];
}

#[derive(Default)]
pub struct Counts {
    lookups: [AtomicU64; Lookup::NAMES.len()],
}

impl Counts {
    pub fn looked(&self, what: Lookup, times: usize) {
        self.lookups[what as usize].fetch_add(times as u64, Ordering::Relaxed);
    }

    pub fn lookups(&self) -> Vec<(&'static str, u64)> {
        let counts = self.lookups.iter().map(|count| count.load(Ordering::Relaxed));
        Lookup::NAMES.into_iter().zip(counts).collect()
    }
}
