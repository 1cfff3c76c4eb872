//! For how long what a session remembers of an answer may be believed.
//!
//! A permission that was found here may be remembered elsewhere, with the entry itself: the cache marks as revoked an
//! entry that is replaced, taken out or expired, and one for which neither of its tables has room. While one of them
//! still has it, it holds. Only an invalidation marks no entries, since it looks for none; those are counted, and each
//! ends all that is remembered.

#![forbid(unsafe_code)]

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

use super::entry::Entry;

/// An answer that is good for as long as its entry is in the cache, up to a time at which the cache wants to
/// be asked again.
#[derive(Clone)]
pub(crate) struct CachedPermission {
    entry: Arc<Entry>,
    /// Kept here too: the entry lies elsewhere in memory, and each place that is looked at is one to wait
    /// for.
    until: Instant,
    /// How many invalidations there had been when it was found.
    invalidations: u64,
}

impl CachedPermission {
    pub(crate) fn new(entry: Arc<Entry>, refresh_ahead: bool, invalidations: u64) -> Self {
        let until = entry.undisturbed_until(refresh_ahead);
        Self { entry, until, invalidations }
    }

    /// Where in memory it lies that tells whether the entry is in the cache still.
    pub(crate) fn address(&self) -> usize {
        ptr::from_ref(&self.entry.tables) as usize
    }

    pub(crate) fn holds(&self, invalidations: u64, now: impl FnOnce() -> Instant) -> bool {
        self.invalidations == invalidations && !self.entry.is_revoked() && now() < self.until
    }
}

impl PartialEq for CachedPermission {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry) && self.invalidations == other.invalidations
    }
}

impl Eq for CachedPermission {}

impl fmt::Debug for CachedPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedPermission")
            .field("invalidations", &self.invalidations)
            .finish_non_exhaustive()
    }
}
