//! The answers in use, one step away.
//!
//! moka serves many threads at once, and keeps books about each use to know later what to let go of: a
//! look-up there takes some 900 instructions, which is more than the rest of a check. The broker asks on one
//! thread, mostly the same again. So what was found in moka is kept here as well: a table in which a key has a
//! few slots, and when these are taken, it takes one over. Only what was found is put in, so that a
//! flood of questions that are asked but once moves nothing here; and what is here stays, though moka lets it
//! go to make room for such a flood.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use super::Key;
use super::entry::Entry;
use crate::sync::lock;

/// How many slots a key has, beside each other.
const WAYS: usize = 4;

/// How many slots there are at first; a power of two.
const FEWEST: usize = 256;

/// How many there may be; a power of two.
const MOST: usize = 32_768;

/// Entries that moka has, or had room for when they were put here.
pub(crate) struct Front {
    table: Mutex<Table>,
    most: usize,
}

#[derive(Default)]
struct Table {
    slots: Vec<Option<(Key, Arc<Entry>)>>,
    used: usize,
}

impl Front {
    /// With `most` slots at most; none if that is 0.
    pub(crate) fn new(most: usize) -> Self {
        let most = if most == 0 { 0 } else { most.clamp(FEWEST, MOST).next_power_of_two() };
        Self { table: Mutex::default(), most }
    }

    /// The entry that has this key, if it is good still.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let table = lock(&self.table);
        let ways = table.slots.get(table.first_way(key)..)?.iter().take(WAYS);
        let (_, entry) = ways.flatten().find(|(known, _)| known == key)?;
        (!entry.is_revoked()).then(|| Arc::clone(entry))
    }

    /// Puts an entry in that was found in the cache after a look here was in vain.
    pub(crate) fn put(&self, key: Key, entry: Arc<Entry>) {
        let mut table = lock(&self.table);
        if self.most == 0 || !entry.enter() {
            return;
        }
        let is_crowded = table.used * 4 >= table.slots.len() * 3;
        if is_crowded && table.slots.len() < self.most {
            table.grow();
        }
        table.insert(key, entry);
    }

    /// Takes out what there is under a key, if it is not this.
    pub(crate) fn revoke_others(&self, key: &Key, entry: Option<&Arc<Entry>>) {
        let mut table = lock(&self.table);
        let first = table.first_way(key);
        let mut slots = table.slots.iter_mut().skip(first).take(WAYS).flatten();
        let known = slots.find(|(known, _)| known == key).map(|(_, known)| known);
        if let Some(known) = known.filter(|known| entry.is_none_or(|e| !Arc::ptr_eq(known, e))) {
            known.revoke();
        }
    }
}

impl Table {
    /// The first of a key's slots. Keys are hashes already, and the number of slots is a power of two.
    fn first_way(&self, key: &Key) -> usize {
        let groups = (self.slots.len() / WAYS).max(1);
        (key.short() as usize & (groups - 1)) * WAYS
    }

    /// Takes the slot of an older entry of this key, one that is free, or any.
    fn insert(&mut self, key: Key, entry: Arc<Entry>) {
        let first = self.first_way(&key);
        let ways = &mut self.slots[first..first + WAYS];
        let is_own =
            |slot: &Option<(Key, _)>| slot.as_ref().is_some_and(|(known, _)| *known == key);
        let own = ways.iter().position(is_own);
        let free = || ways.iter().position(Option::is_none);
        let way = own.or_else(free).unwrap_or((key.short() >> 32) as usize % WAYS);
        match ways[way].replace((key, entry)) {
            Some((_, before)) => before.leave(),
            None => self.used += 1,
        }
    }

    /// Twice as many slots, for what is good still.
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(FEWEST);
        let mut slots = Vec::with_capacity(size);
        slots.resize_with(size, || None);
        let before = std::mem::replace(&mut self.slots, slots);
        self.used = 0;
        let kept = before.into_iter().flatten().filter(|(_, entry)| !entry.is_revoked());
        kept.for_each(|(key, entry)| self.insert(key, entry));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicU64};
    use std::time::Duration;

    use super::*;
    use crate::answer::Answer;
    use crate::clock::{Clock as _, SystemClock};

    /// One that moka has.
    fn entry() -> Arc<Entry> {
        Arc::new(Entry {
            answer: Answer::ALLOW,
            asked: SystemClock.now(),
            life: Duration::from_secs(1),
            stale_s: 0,
            refresh_at_ms: AtomicU64::new(0),
            tables: AtomicU8::new(1),
            shared_age_ms: None,
        })
    }

    fn find(front: &Front, key: u32) -> Option<Arc<Entry>> {
        front.get(&Key::from_number(key))
    }

    fn knows(front: &Front, key: u32) -> bool {
        find(front, key).is_some()
    }

    fn put(front: &Front, key: u32) -> Arc<Entry> {
        let entry = entry();
        front.put(Key::from_number(key), Arc::clone(&entry));
        entry
    }

    #[test]
    fn what_was_put_in_is_found_until_it_is_revoked() {
        let front = Front::new(1000);
        assert!(!knows(&front, 1));
        let first = put(&front, 1);
        assert!(knows(&front, 1) && !knows(&front, 2));
        first.revoke();
        assert!(!knows(&front, 1));
        front.put(Key::from_number(1), first);
        assert!(!knows(&front, 1), "nobody may believe it any more");
        let second = put(&front, 1);
        assert!(find(&front, 1).is_some_and(|found| Arc::ptr_eq(&found, &second)));
        assert_eq!(lock(&front.table).used, 1, "it took the older one's slot");
    }

    #[test]
    fn what_moka_has_no_room_for_is_found_until_another_takes_its_slot() {
        let front = Front::new(1000);
        let first = put(&front, 1);
        first.leave();
        assert!(knows(&front, 1) && !first.is_revoked());
        let second = put(&front, 1);
        assert!(first.is_revoked() && !second.is_revoked());
        let elsewhere = entry();
        elsewhere.leave();
        assert!(elsewhere.is_revoked(), "it was never here");
    }

    #[test]
    fn another_answer_revokes_what_is_here_and_not_itself() {
        let front = Front::new(1000);
        let (key, first, second) = (Key::from_number(1), put(&front, 1), entry());
        front.revoke_others(&Key::from_number(2), None);
        front.revoke_others(&key, Some(&first));
        assert!(knows(&front, 1));
        front.revoke_others(&key, Some(&second));
        assert!(first.is_revoked() && !second.is_revoked() && !knows(&front, 1));
        front.put(key, Arc::clone(&second));
        front.revoke_others(&key, None);
        assert!(second.is_revoked());
    }

    #[test]
    fn it_grows_with_what_is_put_in_up_to_its_size() {
        let front = Front::new(1024);
        (0..512).for_each(|number| drop(put(&front, number)));
        assert!((0..512).all(|number| knows(&front, number)));
        (512..5000).for_each(|number| drop(put(&front, number)));
        assert_eq!(lock(&front.table).slots.len(), 1024);
        assert_eq!(lock(&front.table).used, 1024);
        assert!(knows(&front, 4999));
        let kept = (0..5000).filter(|number| knows(&front, *number));
        assert_eq!(kept.count(), 1024, "others took the rest of the slots");
    }

    #[test]
    fn what_was_revoked_takes_no_slot_in_a_larger_table() {
        let front = Front::new(1024);
        (0..FEWEST as u32 / 2).for_each(|number| put(&front, number).revoke());
        let kept = FEWEST as u32 / 2..FEWEST as u32;
        kept.clone().for_each(|number| drop(put(&front, number)));
        assert!(kept.clone().all(|number| knows(&front, number)));
        assert_eq!(lock(&front.table).used, kept.len());
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let front = Front::new(0);
        let entry = put(&front, 1);
        entry.leave();
        assert!(!knows(&front, 1) && entry.is_revoked());
    }
}
