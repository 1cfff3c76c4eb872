//! Memory that is counted while somebody has it: names, passwords and topics are as long as clients like.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nobody takes more than this part of what is free, as a divisor.
const SHARE: usize = 16;

/// How much memory may be taken, and is.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    taken: AtomicUsize,
    most: usize,
}

/// Memory that somebody has, counted until this goes.
#[derive(Debug)]
pub(crate) struct MemoryPermit {
    bytes: usize,
    budget: Arc<MemoryBudget>,
}

impl MemoryBudget {
    /// So many bytes.
    #[must_use]
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most })
    }

    /// Whether somebody may have so many more bytes. Whoever wants little has room for longer than whoever
    /// wants much, so that none who take as much as they can keep others out.
    #[must_use]
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        bytes < self.free() / SHARE
    }

    /// Counts so many bytes.
    #[must_use]
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> MemoryPermit {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        MemoryPermit { bytes, budget: Arc::clone(self) }
    }

    /// How many bytes are taken.
    #[must_use]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many bytes are left.
    #[must_use]
    pub(crate) fn free(&self) -> usize {
        self.most.saturating_sub(self.taken())
    }
}

impl MemoryPermit {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn resize(&mut self, bytes: usize) {
        self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.budget.taken.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Eq for MemoryPermit {}

impl PartialEq for MemoryPermit {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_until_it_goes_and_leaves_room_for_whoever_wants_little() {
        let budget = MemoryBudget::new(1600);
        assert!(budget.has_room_for(99) && !budget.has_room_for(100));
        let mut permits = Vec::new();
        while budget.has_room_for(50) {
            permits.push(budget.take(50));
        }
        assert_eq!(budget.taken(), 800);
        assert!(budget.has_room_for(10));
        permits.clear();
        assert_eq!(budget.taken(), 0);
        let all = budget.take(5000);
        assert!(!budget.has_room_for(0));
        drop(all);
        assert!(budget.has_room_for(99));
    }
}
