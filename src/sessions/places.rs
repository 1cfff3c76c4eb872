//! Live sessions by the broker's handle, and who is asked about after whom.
//!
//! The broker asks about a message's subscribers in the same order each time. Between two of them so
//! much of its own code and of the kernel's runs that hardly anything of the next one is left in the
//! processor's caches. So each place remembers who was asked about next. Where that comes true, nothing
//! has to be searched for; and what the one after will be judged by is fetched from memory ahead,
//! while the broker still delivers this message.

#![forbid(unsafe_code)]

use std::ptr;

use rustc_hash::FxHashMap;
use slab::Slab;

use super::Session;

/// A piece of memory, as its address and how many bytes it has.
pub type Piece = (usize, usize);

/// Has the processor fetch pieces of memory into its caches, if it likes. Nothing is read, so that an
/// address at which nothing lies any more does no harm.
pub type Fetch = fn(&[Piece]);

/// How much is worth fetching of what the broker holds of a client, and of a name, in bytes.
const AT_BROKER: usize = 512;
const NAME: usize = 1;

/// The sessions of connected clients.
pub struct Places {
    places: Slab<Place>,
    /// The broker chooses the handles, so that nobody can make them collide.
    by_handle: FxHashMap<usize, usize>,
    /// Who was asked about last of the many who are asked about in turn.
    last: usize,
    /// Who was asked about last of those who come as they like, often several times in a row.
    latest: usize,
    fetch: Fetch,
}

struct Place {
    session: Session,
    handle: usize,
    /// Who was asked about after this one.
    next: usize,
    /// Where the broker keeps the client's names.
    names: [usize; 2],
}

impl Places {
    pub fn new(fetch: Fetch) -> Self {
        Self { places: Slab::new(), by_handle: FxHashMap::default(), last: 0, latest: 0, fetch }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn get(&self, handle: usize) -> Option<&Session> {
        Some(&self.places.get(self.position(handle)?)?.session)
    }

    pub fn get_mut(&mut self, handle: usize) -> Option<&mut Session> {
        let position = self.position(handle)?;
        Some(&mut self.places.get_mut(position)?.session)
    }

    /// The same for one who may have been asked about a moment ago.
    pub fn again(&mut self, handle: usize) -> Option<&Session> {
        if !self.is_at(self.latest, handle) {
            self.latest = self.position(handle)?;
        }
        Some(&self.places.get(self.latest)?.session)
    }

    /// The same for one of the many of which the broker asks in turn. `names` are the addresses of its
    /// names.
    pub fn follow(&mut self, handle: usize, names: [usize; 2]) -> Option<&Session> {
        let expected = self.places.get(self.last).map_or(0, |last| last.next);
        let as_expected = self.is_at(expected, handle);
        let position = if as_expected { expected } else { self.position(handle)? };
        if as_expected {
            self.fetch_after(position);
        } else if let Some(last) = self.places.get_mut(self.last) {
            last.next = position;
        }
        self.last = position;
        let place = self.places.get_mut(position)?;
        place.names = names;
        Some(&place.session)
    }

    pub fn insert(&mut self, handle: usize, session: Session) {
        let position =
            self.places.insert(Place { session, handle, next: usize::MAX, names: [0; 2] });
        self.by_handle.insert(handle, position);
    }

    pub fn remove(&mut self, handle: usize) -> Option<Session> {
        let position = self.by_handle.remove(&handle)?;
        Some(self.places.try_remove(position)?.session)
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.places.iter().map(|(_, place)| (place.handle, &place.session))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Session)> {
        self.places.iter_mut().map(|(_, place)| (place.handle, &mut place.session))
    }

    fn position(&self, handle: usize) -> Option<usize> {
        self.by_handle.get(&handle).copied()
    }

    fn is_at(&self, position: usize, handle: usize) -> bool {
        self.places.get(position).is_some_and(|place| place.handle == handle)
    }

    /// Fetches what the client after this one will be judged by. Where it lies is told by its place,
    /// which has been fetched when it was the one after the next.
    fn fetch_after(&self, position: usize) {
        let next = |place: &Place| self.places.get(place.next);
        let Some(one) = self.places.get(position).and_then(next) else { return };
        let two = next(one).map_or((0, 0), |two| (ptr::from_ref(two) as usize, size_of::<Place>()));
        let [id, username] = one.names;
        let [allowed, answer] = one.session.elsewhere();
        (self.fetch)(&[
            (id, NAME),
            (username, NAME),
            allowed,
            answer,
            two,
            (one.handle, AT_BROKER),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::*;

    thread_local! {
        static FETCHED: RefCell<Vec<Piece>> = const { RefCell::new(Vec::new()) };
    }

    fn places() -> Places {
        Places::new(|pieces| FETCHED.with_borrow_mut(|fetched| fetched.extend(pieces)))
    }

    fn fetched() -> Vec<Piece> {
        FETCHED.take()
    }

    fn session(name: &str) -> Session {
        Session::of_nobody(name, "ann")
    }

    #[test]
    fn each_is_found_by_its_handle_in_whatever_order() {
        let (mut places, mut model) = (places(), HashMap::new());
        let mut random = fastrand::Rng::with_seed(1);
        for step in 0..20_000 {
            let handle = random.usize(1..50);
            match random.usize(..10) {
                0 if !model.contains_key(&handle) => {
                    places.insert(handle, session(&step.to_string()));
                    model.insert(handle, step.to_string());
                }
                1 => {
                    let removed =
                        places.remove(handle).map(|session| session.client_id.to_string());
                    assert_eq!(removed, model.remove(&handle));
                }
                _ => {
                    // Mostly in turn.
                    for handle in handle..handle + 5 {
                        let expected = model.get(&handle).map(String::as_str);
                        let found = places.follow(handle, [step, step]);
                        assert_eq!(found.map(|session| session.client_id.as_str()), expected);
                        let found = places.again(handle);
                        assert_eq!(found.map(|session| session.client_id.as_str()), expected);
                    }
                }
            }
            let found = places.get(handle).map(|session| session.client_id.as_str());
            assert_eq!(
                (found, places.len()),
                (model.get(&handle).map(String::as_str), model.len())
            );
        }
    }

    #[test]
    fn what_comes_next_is_fetched_once_it_came_in_the_same_order_before() {
        let mut places = places();
        (1..=4).for_each(|handle| places.insert(handle << 20, session(&handle.to_string())));
        let follow = |places: &mut Places, handle: usize| {
            places.follow(handle << 20, [handle * 1000, handle * 1000 + 1]);
            fetched()
        };
        assert!([1, 2, 3, 4, 1].into_iter().all(|handle| follow(&mut places, handle).is_empty()));
        for (handle, next, after_next) in [(2, 3, 4), (3, 4, 1), (4, 1, 2), (1, 2, 3)] {
            let pieces = follow(&mut places, handle);
            let place = &places.places[after_next - 1];
            for piece in [
                (next * 1000, NAME),
                (next * 1000 + 1, NAME),
                (next << 20, AT_BROKER),
                (ptr::from_ref(place) as usize, size_of::<Place>()),
            ] {
                assert!(pieces.contains(&piece), "{handle}: {piece:?} not in {pieces:?}");
            }
        }
        assert!(follow(&mut places, 4).is_empty(), "another order");
        places.remove(1 << 20);
        assert_eq!(follow(&mut places, 2).len(), 0);
    }
}
