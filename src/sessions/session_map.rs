//! Live sessions by the broker's handle, and who is asked about after whom.
//!
//! The broker asks about a message's subscribers in the same order each time. Between two of them so
//! much of its own code and of the kernel's runs that hardly anything of the next one is left in the
//! processor's caches. So with each session it is remembered who was asked about next. Where that comes
//! true, what the one after will be judged by is fetched from memory ahead, while the broker still delivers
//! this message.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::ptr;

use rustc_hash::FxHashMap;

use super::Session;

/// A range of memory, as its address and how many bytes it has.
pub(crate) type MemoryRange = (usize, usize);

/// Has the processor fetch ranges of memory into its caches, if it likes. Nothing is read, so that an
/// address at which nothing lies any more does no harm.
pub(crate) type Fetch = fn(&[MemoryRange]);

/// How much is worth fetching of what the broker holds of a client, and of a name, in bytes.
const AT_BROKER: usize = 512;
const NAME: usize = 1;

/// The sessions of connected clients.
pub(crate) struct SessionMap {
    /// The broker chooses the handles, so that nobody can make them collide.
    sessions: FxHashMap<usize, Box<Slot>>,
    /// The handles by a hash of the client identifier, which has a random key, since clients choose those. While
    /// one takes another's session over, both have it.
    by_id: BTreeSet<(u64, usize)>,
    hasher: RandomState,
    /// Who was asked about last of the many who are asked about in turn, and who came after that before.
    last: usize,
    expected: usize,
    fetch: Fetch,
}

struct Slot {
    session: Session,
    /// The handle that was asked about after this one; 0: none.
    next: usize,
    /// Where the broker keeps the client's names.
    names: Cell<[usize; 2]>,
}

impl SessionMap {
    pub(crate) fn new(fetch: Fetch) -> Self {
        Self {
            sessions: FxHashMap::default(),
            by_id: BTreeSet::new(),
            hasher: RandomState::new(),
            last: 0,
            expected: 0,
            fetch,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn get(&self, handle: usize) -> Option<&Session> {
        Some(&self.sessions.get(&handle)?.session)
    }

    pub(crate) fn get_mut(&mut self, handle: usize) -> Option<&mut Session> {
        Some(&mut self.sessions.get_mut(&handle)?.session)
    }

    /// The same for one of the many of which the broker asks in turn. `names` are the addresses of its
    /// names.
    pub(crate) fn follow(&mut self, handle: usize, names: [usize; 2]) -> Option<&Session> {
        let as_expected = self.expected == handle;
        if !as_expected {
            if let Some(last) = self.sessions.get_mut(&self.last) {
                last.next = handle;
            }
        }
        let slot = self.sessions.get(&handle)?;
        slot.names.set(names);
        (self.last, self.expected) = (handle, slot.next);
        if as_expected {
            self.fetch_after(slot);
        }
        Some(&slot.session)
    }

    /// The sessions of this client identifier, with their handles.
    pub(crate) fn of_id<'a>(
        &'a self,
        client_id: &'a str,
    ) -> impl Iterator<Item = (usize, &'a Session)> {
        let found = self.candidates(client_id);
        let found = found.filter_map(|handle| Some((handle, self.get(handle)?)));
        found.filter(move |(_, session)| session.client_id == client_id)
    }

    /// The handles whose client identifiers have the hash of this one.
    fn candidates(&self, client_id: &str) -> impl Iterator<Item = usize> {
        let hash = self.hasher.hash_one(client_id);
        self.by_id.range((hash, 0)..=(hash, usize::MAX)).map(|(_, handle)| *handle)
    }

    pub(crate) fn insert(&mut self, handle: usize, session: Session) {
        self.remove(handle);
        self.by_id.insert((self.hasher.hash_one(&*session.client_id), handle));
        let slot = Slot { session, next: 0, names: Cell::default() };
        self.sessions.insert(handle, Box::new(slot));
    }

    pub(crate) fn remove(&mut self, handle: usize) -> Option<Session> {
        let session = self.sessions.remove(&handle)?.session;
        self.by_id.remove(&(self.hasher.hash_one(&*session.client_id), handle));
        Some(session)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.sessions.iter().map(|(handle, slot)| (*handle, &slot.session))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Session)> {
        self.sessions.iter_mut().map(|(handle, slot)| (*handle, &mut slot.session))
    }

    /// Fetches what the client after this one will be judged by. Where it lies is told by its slot,
    /// which has been fetched when it was the one after the next.
    fn fetch_after(&self, slot: &Slot) {
        let Some(one) = self.sessions.get(&slot.next) else { return };
        let two = self.sessions.get(&one.next).map_or((0, 0), |two| {
            let address = ptr::from_ref(&**two) as usize;
            (address, size_of::<Slot>())
        });
        let [id, username] = one.names.get();
        let [allowed, answer] = one.session.elsewhere();
        (self.fetch)(&[(id, NAME), (username, NAME), allowed, answer, two, (slot.next, AT_BROKER)]);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::*;

    thread_local! {
        static FETCHED: RefCell<Vec<MemoryRange>> = const { RefCell::new(Vec::new()) };
    }

    fn session_map() -> SessionMap {
        SessionMap::new(|ranges| FETCHED.with_borrow_mut(|fetched| fetched.extend(ranges)))
    }

    fn fetched() -> Vec<MemoryRange> {
        FETCHED.take()
    }

    fn session(name: &str) -> Session {
        Session::of_nobody(name, "ann")
    }

    #[test]
    fn each_is_found_by_its_handle_in_whatever_order() {
        let (mut map, mut model) = (session_map(), HashMap::new());
        let mut random = fastrand::Rng::with_seed(1);
        for step in 0..20_000 {
            let handle = random.usize(1..50);
            match random.usize(..10) {
                0 if !model.contains_key(&handle) => {
                    map.insert(handle, session(&step.to_string()));
                    model.insert(handle, step.to_string());
                }
                1 => {
                    let removed = map.remove(handle).map(|session| session.client_id.to_string());
                    assert_eq!(removed, model.remove(&handle));
                }
                _ => {
                    // Mostly in turn.
                    for handle in handle..handle + 5 {
                        let expected = model.get(&handle).map(String::as_str);
                        let found = map.follow(handle, [step, step]);
                        assert_eq!(found.map(|session| session.client_id.as_str()), expected);
                    }
                }
            }
            let found = map.get(handle).map(|session| session.client_id.as_str());
            assert_eq!((found, map.len()), (model.get(&handle).map(String::as_str), model.len()));
        }
    }

    #[test]
    fn all_sessions_of_an_identifier_are_found_by_it() {
        let mut map = session_map();
        for (handle, id) in [(1, "a"), (2, "b"), (3, "a"), (4, "aa"), (5, "")] {
            map.insert(handle, session(id));
        }
        let handles = |map: &SessionMap, id: &str| -> Vec<usize> {
            let found = map.of_id(id).map(|(handle, session)| (handle, &session.client_id));
            found.inspect(|(_, known)| assert_eq!(*known, id)).map(|(handle, _)| handle).collect()
        };
        assert_eq!(
            (handles(&map, "a"), handles(&map, ""), handles(&map, "c")),
            (vec![1, 3], vec![5], vec![])
        );
        map.insert(1, session("c"));
        map.remove(3);
        assert_eq!((handles(&map, "a"), handles(&map, "c")), (vec![], vec![1]));
        (1..=5).for_each(|handle| drop(map.remove(handle)));
        assert!(map.by_id.is_empty());
    }

    #[test]
    fn one_among_many_is_looked_for_among_few() {
        let mut map = session_map();
        let id = |handle: usize| format!("c-{handle}");
        (1..=5_000).for_each(|handle| map.insert(handle, session(&id(handle))));
        for handle in 1..=5_000 {
            assert_eq!(map.candidates(&id(handle)).collect::<Vec<_>>(), [handle]);
        }
    }

    #[test]
    fn what_comes_next_is_fetched_once_it_came_in_the_same_order_before() {
        let mut map = session_map();
        (1..=4).for_each(|handle| map.insert(handle << 20, session(&handle.to_string())));
        let follow = |map: &mut SessionMap, handle: usize| {
            map.follow(handle << 20, [handle * 1000, handle * 1000 + 1]);
            fetched()
        };
        assert!([1, 2, 3, 4, 1].into_iter().all(|handle| follow(&mut map, handle).is_empty()));
        for (handle, next, after_next) in [(2, 3, 4), (3, 4, 1), (4, 1, 2), (1, 2, 3)] {
            let ranges = follow(&mut map, handle);
            let slot = &*map.sessions[&(after_next << 20)];
            for range in [
                (next * 1000, NAME),
                (next * 1000 + 1, NAME),
                (next << 20, AT_BROKER),
                (ptr::from_ref(slot) as usize, size_of::<Slot>()),
            ] {
                assert!(ranges.contains(&range), "{handle}: {range:?} not in {ranges:?}");
            }
        }
        assert!(follow(&mut map, 4).is_empty(), "another order");
        map.remove(1 << 20);
        assert_eq!(follow(&mut map, 2).len(), 0);
    }
}
