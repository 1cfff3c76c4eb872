//! What is kept of an answer, and the store of such entries: how much they take, and which have to go.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::OptionsBuilder;
use rustc_hash::FxBuildHasher;

use super::Key;
use crate::answer::{Answer, Verdict};

/// What one entry takes of `cache_max_bytes`: the entry, the place that refers to it, and what is
/// remembered of entries that had to go (`cargo bench --bench memory` tells).
pub const ENTRY_BYTES: u64 = 176;

/// How many parts the cache has, each with a lock and an even share of the room. While one is
/// swept, whoever looks into another does not wait; and an answer has to fit into one.
const PARTS: usize = 16;

/// An answer, and for how long it lives.
pub struct Entry {
    pub answer: Answer,
    /// When it was asked for, by which its age is counted.
    pub asked: Instant,
    pub life: Duration,
    /// The age, in milliseconds, from which on the next use asks for the answer again.
    pub refresh_at_ms: AtomicU64,
    /// Whether it has left the cache: replaced, evicted or taken out. What a session remembers of it ends
    /// then.
    pub revoked: AtomicBool,
}

impl Entry {
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub fn is_permission(&self) -> bool {
        self.answer.verdict == Verdict::Allow
    }

    /// Until when nothing is to be done about it: it ends then, or has to be asked for again.
    pub fn undisturbed_until(&self, refresh_ahead: bool) -> Instant {
        let is_refreshed = refresh_ahead && self.is_permission();
        let refresh_at = Duration::from_millis(self.refresh_at_ms.load(Ordering::Relaxed));
        let age = if is_refreshed { refresh_at.min(self.life) } else { self.life };
        // An end that the clock cannot count to is asked about each time.
        self.asked.checked_add(age).unwrap_or(self.asked)
    }

    /// A denial is never due: it ends with its lifetime, and is asked about anew.
    pub fn is_due(&self, age: Duration) -> bool {
        let age_ms = millis(age);
        let due = self.is_permission() && age_ms >= self.refresh_at_ms.load(Ordering::Relaxed);
        if due {
            let left = millis(self.life).saturating_sub(age_ms);
            self.refresh_at_ms.store(age_ms + left.div_ceil(2).max(1), Ordering::Relaxed);
        }
        due
    }
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Entries by key.
pub type Entries = quick_cache::sync::Cache<Key, Arc<Entry>, Weigher, FxBuildHasher, EvictionWatch>;

/// Revokes what goes when an answer is stored: what has to make room for it, and what it takes the place of.
#[derive(Clone)]
pub struct EvictionWatch;

impl quick_cache::Lifecycle<Key, Arc<Entry>> for EvictionWatch {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, entry: Arc<Entry>) {
        entry.revoke();
    }
}

/// Counts what an entry takes.
#[derive(Clone)]
pub struct Weigher;

impl quick_cache::Weighter<Key, Arc<Entry>> for Weigher {
    fn weight(&self, _: &Key, entry: &Arc<Entry>) -> u64 {
        ENTRY_BYTES + entry.answer.bytes() as u64
    }
}

/// Room for so many bytes, and about so many entries. Keys are hashes already, so that any hash of
/// them will do.
pub fn entries(count: usize, bytes: u64) -> Entries {
    let mut options = OptionsBuilder::new();
    options.shards(PARTS).estimated_items_capacity(count).weight_capacity(bytes);
    #[expect(clippy::expect_used, reason = "it fails only without these two numbers")]
    let options = options.build().expect("both numbers are given");
    Entries::with_options(options, Weigher, FxBuildHasher, EvictionWatch)
}
