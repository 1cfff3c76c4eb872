//! One counter for each of a fixed set of names.

#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted apart.
pub(crate) trait Label {
    /// Every name there is.
    const NAMES: &'static [&'static str];
    /// Where this one's name stands among them.
    fn index(&self) -> usize;
}

/// How often each was counted; those that never were are there too.
pub(crate) type Counted = Vec<(&'static str, u64)>;

/// Counters that take no lock.
pub(crate) struct Counters<L> {
    counts: Box<[AtomicU64]>,
    of: PhantomData<fn(L)>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self { counts: L::NAMES.iter().map(|_| AtomicU64::new(0)).collect(), of: PhantomData }
    }
}

impl<L: Label> Counters<L> {
    pub(crate) fn add(&self, label: &L) {
        self.add_many(label, 1);
    }

    pub(crate) fn add_many(&self, label: &L, count: u64) {
        self.counts[label.index()].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counted {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        L::NAMES.iter().copied().zip(counts).collect()
    }
}
