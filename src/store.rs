//! Stores with room for so much, whose entries may end, by hashes of what they are about.
//!
//! All of them are one type of moka's: each further one would add about 100 kB to the library.

#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use moka::Entry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Values by hash. What is read is a copy.
pub(crate) struct Store<V> {
    entries: Cache<u128, Stored>,
    weight: fn(&V) -> usize,
}

#[derive(Clone)]
struct Stored {
    weight: u32,
    value: Arc<dyn Any + Send + Sync>,
}

/// When entries go.
#[derive(Clone, Default)]
pub(crate) struct Limits {
    /// How much all of them may weigh.
    pub most: u64,
    /// How long one stays.
    pub time_to_live: Option<Duration>,
    /// How long one stays that nobody looks at.
    pub time_to_idle: Option<Duration>,
    /// Which go when there is no more room.
    pub policy: EvictionPolicy,
}

fn entries(limits: Limits) -> Cache<u128, Stored> {
    let Limits { most, time_to_live, time_to_idle, policy } = limits;
    let mut builder = Cache::builder()
        .max_capacity(most)
        .weigher(|_, stored: &Stored| stored.weight)
        .eviction_policy(policy);
    if let Some(time) = time_to_live {
        builder = builder.time_to_live(time);
    }
    if let Some(time) = time_to_idle {
        builder = builder.time_to_idle(time);
    }
    builder.build()
}

impl Stored {
    fn read<V: Clone + 'static>(&self) -> Option<V> {
        self.value.downcast_ref().cloned()
    }
}

impl<V: Clone + Send + Sync + 'static> Store<V> {
    /// An empty store. `weight` says how much a value takes of the limit.
    #[must_use]
    pub(crate) fn new(limits: Limits, weight: fn(&V) -> usize) -> Self {
        Self { entries: entries(limits), weight }
    }

    fn stored(&self, value: V) -> Stored {
        let weight = u32::try_from((self.weight)(&value)).unwrap_or(u32::MAX);
        Stored { weight, value: Arc::new(value) }
    }

    pub(crate) fn get(&self, key: impl Into<u128>) -> Option<V> {
        self.entries.get(&key.into())?.read()
    }

    pub(crate) fn contains_key(&self, key: impl Into<u128>) -> bool {
        self.entries.contains_key(&key.into())
    }

    pub(crate) fn insert(&self, key: impl Into<u128>, value: V) {
        self.entries.insert(key.into(), self.stored(value));
    }

    /// Puts what `update` makes of the value in its place, and returns it. Other threads wait meanwhile.
    pub(crate) fn upsert(
        &self,
        key: impl Into<u128>,
        update: impl FnOnce(Option<V>) -> V,
    ) -> Option<V> {
        let entry = self.entries.entry(key.into()).and_upsert_with(|known| {
            let known = known.map(Entry::into_value);
            self.stored(update(known.and_then(|stored| stored.read())))
        });
        entry.value().read()
    }

    pub(crate) fn remove(&self, key: impl Into<u128>) -> Option<V> {
        self.entries.remove(&key.into())?.read()
    }
}

#[cfg(test)]
impl<V: Clone + Send + Sync + 'static> Store<V> {
    /// All values, and what they weigh, once those have gone that have to.
    pub(crate) fn settled(&self) -> (Vec<V>, u64) {
        self.entries.run_pending_tasks();
        let values = self.entries.iter().filter_map(|(_, stored)| stored.read()).collect();
        (values, self.entries.weighted_size())
    }
}
