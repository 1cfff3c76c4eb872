//! The answers in use, one step away.
//!
//! The cache proper serves many threads at once, and keeps books about each use to know later what
//! to let go of. The broker asks on one thread, mostly the same again. So what was found once is
//! kept here as well: a table in which a key has a few places to be in, and when these are taken,
//! it takes one over. Only what was found is put in, so that a flood of questions that are asked
//! but once moves nothing.

#![forbid(unsafe_code)]

use std::sync::Mutex;

use super::Key;
use crate::sync::lock;

/// How many places a key has, beside each other.
const WAYS: usize = 4;

/// How many places there are at first; a power of two.
const FEWEST: usize = 256;

/// How many there may be; a power of two.
const MOST: usize = 32_768;

/// Values that are in the cache proper, or were when they were put here.
pub struct Near<T> {
    table: Mutex<Table<T>>,
    most: usize,
}

struct Table<T> {
    places: Vec<Option<(Key, T)>>,
    used: usize,
    /// How many values were taken out, which tells whether one that is to be put in may be old.
    removals: u64,
}

/// Nothing is known of a key. What is found for it elsewhere may be put in, unless something was
/// taken out since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unknown {
    removals: u64,
}

impl<T> Near<T> {
    /// With `most` places at most; none if that is 0.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = if most == 0 { 0 } else { most.next_power_of_two().clamp(FEWEST, MOST) };
        let table = Table { places: Vec::new(), used: 0, removals: 0 };
        Self { table: Mutex::new(table), most }
    }

    /// What `view` makes of the value that has this key.
    ///
    /// # Errors
    /// There is none.
    pub fn look<R>(&self, key: &Key, view: impl FnOnce(&T) -> R) -> Result<R, Unknown> {
        let table = lock(&self.table);
        let found = table
            .places
            .get(table.way(key, 0)..)
            .and_then(|ways| ways.iter().take(WAYS).flatten().find(|(known, _)| known == key));
        match found {
            Some((_, value)) => Ok(view(value)),
            None => Err(Unknown { removals: table.removals }),
        }
    }

    /// Puts a value in that was found in the cache proper after a look here was in vain.
    pub fn put(&self, key: Key, value: T, unknown: Unknown) {
        let mut table = lock(&self.table);
        if table.removals != unknown.removals || self.most == 0 {
            return;
        }
        let is_crowded = table.used * 2 >= table.places.len();
        if is_crowded && table.places.len() < self.most {
            table.grow();
        }
        table.insert(key, value);
    }

    /// Takes a value out: the cache proper has another one by now, or none.
    pub fn remove(&self, key: &Key) {
        let mut table = lock(&self.table);
        table.removals += 1;
        let first = table.way(key, 0);
        for place in table.places.iter_mut().skip(first).take(WAYS) {
            if place.as_ref().is_some_and(|(known, _)| known == key) {
                *place = None;
                table.used -= 1;
                return;
            }
        }
    }
}

impl<T> Table<T> {
    /// One of the places of a key. Keys are hashes already, and the number of places is a power of
    /// two.
    fn way(&self, key: &Key, way: usize) -> usize {
        let groups = (self.places.len() / WAYS).max(1);
        (key.short() as usize & (groups - 1)) * WAYS + way
    }

    fn insert(&mut self, key: Key, value: T) {
        let free = (0..WAYS).map(|way| self.way(&key, way)).find(|at| self.places[*at].is_none());
        let any = || self.way(&key, (key.short() >> 32) as usize % WAYS);
        let place = free.unwrap_or_else(any);
        if self.places[place].replace((key, value)).is_none() {
            self.used += 1;
        }
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(FEWEST);
        let mut places = Vec::with_capacity(size);
        places.resize_with(size, || None);
        let before = std::mem::replace(&mut self.places, places);
        self.used = 0;
        before.into_iter().flatten().for_each(|(key, value)| self.insert(key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(near: &Near<u32>, key: u32) -> Option<u32> {
        near.look(&Key::from_number(key), |value| *value).ok()
    }

    fn put(near: &Near<u32>, key: u32, value: u32) {
        let key = Key::from_number(key);
        let unknown = near.look(&key, |_| ()).expect_err("it is not known yet");
        near.put(key, value, unknown);
    }

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let near = Near::new(1000);
        assert_eq!(find(&near, 1), None);
        put(&near, 1, 10);
        assert_eq!(find(&near, 1), Some(10));
        near.remove(&Key::from_number(2));
        assert_eq!(find(&near, 1), Some(10));
        near.remove(&Key::from_number(1));
        assert_eq!(find(&near, 1), None);
    }

    #[test]
    fn a_value_that_was_found_before_another_took_its_place_is_not_put_in() {
        let near = Near::new(1000);
        let key = Key::from_number(1);
        let unknown = near.look(&key, |_: &u32| ()).expect_err("nothing is known yet");
        near.remove(&key);
        near.put(key, 10, unknown);
        assert_eq!(find(&near, 1), None);
    }

    #[test]
    fn it_grows_with_what_is_put_in_up_to_its_size() {
        let near = Near::new(1024);
        (0..512).for_each(|number| put(&near, number, number));
        assert!((0..512).all(|number| find(&near, number) == Some(number)));
        (512..5000).for_each(|number| put(&near, number, number));
        assert_eq!(lock(&near.table).places.len(), 1024);
        assert_eq!(lock(&near.table).used, 1024);
        assert_eq!(find(&near, 4999), Some(4999));
        let kept = (0..5000).filter(|number| find(&near, *number).is_some());
        assert_eq!(kept.count(), 1024, "others took the rest of the places");
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let near = Near::new(0);
        put(&near, 1, 10);
        assert_eq!(find(&near, 1), None);
    }
}
