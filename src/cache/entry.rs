//! What is kept of an answer, and the store of such entries: how much they take, and which have to go.

#![forbid(unsafe_code)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use rustc_hash::FxBuildHasher;

use super::Key;
use crate::answer::{Answer, Verdict};
use crate::clock::millis;

/// What one entry takes of `cache_max_bytes`: the entry, and the places that refer to it (`cargo bench --bench memory` tells).
pub(crate) const ENTRY_BYTES: u64 = 490;

/// For how long an answer stays past its life, but no longer than that was: a miss can then tell that
/// it has expired.
const LINGER: Duration = Duration::from_secs(60);

/// An answer, and for how long it lives.
pub(crate) struct Entry {
    pub answer: Answer,
    /// When it was asked for, by which its age is counted.
    pub asked: Instant,
    pub life: Duration,
    /// For how many seconds past its life it may stand in for one that cannot be had.
    pub(crate) stale_s: u32,
    /// The age, in milliseconds, from which on the next use asks for the answer again.
    pub(crate) refresh_at_ms: AtomicU64,
    /// How many tables of the cache have it: moka, and the one in front of it. What a session remembers of
    /// it ends with the last, since nobody then knows it who could take it back.
    pub tables: AtomicU8,
    /// How old it was when it was found at another broker, in milliseconds; none: this one has asked the API.
    pub(crate) shared_age_ms: Option<NonZeroU32>,
}

impl Entry {
    /// Another table has it from now on. False: it may not, since it was revoked.
    #[must_use]
    pub(crate) fn enter(&self) -> bool {
        let one_more = |tables: u8| (tables > 0).then_some(tables + 1);
        self.tables.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// A table has room for it no longer.
    pub(crate) fn leave(&self) {
        let one_less = |tables: u8| tables.checked_sub(1);
        let _ = self.tables.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
    }

    /// Nobody is to believe it any more.
    pub(crate) fn revoke(&self) {
        self.tables.store(0, Ordering::Release);
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.tables.load(Ordering::Acquire) == 0
    }

    /// See [`Entry::stale_s`].
    pub(crate) fn stale(&self) -> Duration {
        Duration::from_secs(self.stale_s.into())
    }

    /// Whether it stays where another answer comes: one that this broker asked the API for then, or one that another
    /// broker had asked for that long before. What the API said here counts more: that another broker asked
    /// later, the clocks of two machines say.
    pub(crate) fn outlasts(
        &self,
        asked: Instant,
        shared_age: Option<Duration>,
        now: Instant,
    ) -> bool {
        let Some(age) = shared_age else {
            return self.shared_age_ms.is_none() && self.asked > asked;
        };
        let is_alive = now.saturating_duration_since(self.asked) < self.life;
        let own_age = self.shared_age_ms.map_or(0, NonZeroU32::get);
        let own_age = Duration::from_millis(own_age.into());
        // Compares `asked - age` of both; the ages are added to the other side, since an `Instant` may not go below its
        // origin.
        is_alive && self.asked + age > asked + own_age
    }

    pub(crate) fn is_permission(&self) -> bool {
        self.answer.verdict == Verdict::Allow
    }

    /// Until when nothing is to be done about it: it ends then, or has to be asked for again.
    pub(crate) fn undisturbed_until(&self, refresh_ahead: bool) -> Instant {
        let is_refreshed = refresh_ahead && self.is_permission();
        let refresh_at = Duration::from_millis(self.refresh_at_ms.load(Ordering::Relaxed));
        let age = if is_refreshed { refresh_at.min(self.life) } else { self.life };
        // An end that the clock cannot count to is asked about each time.
        self.asked.checked_add(age).unwrap_or(self.asked)
    }

    /// A denial is never due: it ends with its lifetime, and is asked about anew.
    pub(crate) fn is_due(&self, age: Duration) -> bool {
        let age_ms = millis(age);
        let due = self.is_permission() && age_ms >= self.refresh_at_ms.load(Ordering::Relaxed);
        if due {
            let left = millis(self.life).saturating_sub(age_ms);
            self.refresh_at_ms.store(age_ms + left.div_ceil(2).max(1), Ordering::Relaxed);
        }
        due
    }
}

/// Entries by key.
pub(crate) type Entries = moka::sync::Cache<Key, Arc<Entry>, FxBuildHasher>;

/// Room for so many bytes: of more than that, what was asked for longest ago goes. Keys are hashes already, so
/// that any hash of them will do.
pub(crate) fn entries(max_bytes: u64) -> Entries {
    moka::sync::Cache::builder()
        .max_capacity(max_bytes)
        .weigher(bytes)
        .eviction_policy(EvictionPolicy::lru())
        .expire_after(KeptFor)
        .eviction_listener(|_, entry: Arc<Entry>, cause| match cause {
            RemovalCause::Size => entry.leave(),
            RemovalCause::Replaced | RemovalCause::Explicit | RemovalCause::Expired => {
                entry.revoke()
            }
        })
        .build_with_hasher(FxBuildHasher)
}

fn bytes(_: &Key, entry: &Arc<Entry>) -> u32 {
    u32::try_from(ENTRY_BYTES + entry.answer.bytes() as u64).unwrap_or(u32::MAX)
}

/// For how long an entry is kept: past its life it may stand in for an answer that cannot be had.
struct KeptFor;

impl KeptFor {
    fn left(entry: &Entry, now: Instant) -> Option<Duration> {
        let kept = entry.life.checked_add(entry.stale().max(entry.life.min(LINGER)))?;
        Some(entry.asked.checked_add(kept)?.saturating_duration_since(now))
    }
}

impl Expiry<Key, Arc<Entry>> for KeptFor {
    fn expire_after_create(&self, _: &Key, entry: &Arc<Entry>, now: Instant) -> Option<Duration> {
        Self::left(entry, now)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Arc<Entry>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Self::left(entry, now)
    }
}
