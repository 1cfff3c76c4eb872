//! What clients that have left may do, in bounded space: of those that were needed last.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::{ClientRef, Grants};
use crate::cache::InvalidationScope;
use crate::clock::Deadline;
use crate::sync::lock;

/// How much memory may go to all of them, in bytes.
const MOST_BYTES: usize = 16 << 20;

/// What one takes beside its rules and names: the entry, and the bookkeeping for it.
const ENTRY_BYTES: usize = 250;

/// A client that has left.
#[derive(Clone)]
pub(crate) struct EndedSession {
    pub client_id: SmolStr,
    pub username: SmolStr,
    /// The name that it gave, where the API gave it another.
    pub given_username: Option<Box<str>>,
    pub grants: Grants,
    /// When what it was let in for ends.
    pub expiry: Option<Deadline>,
    /// In which pass of the broker's loop it left.
    pub pass: u64,
}

impl EndedSession {
    pub(crate) fn belongs_to(&self, client_ref: ClientRef<'_>) -> bool {
        self.client_id == client_ref.client_id && self.username == client_ref.username
    }

    fn is_covered(&self, scope: &InvalidationScope) -> bool {
        scope.is_about_either(&self.client_id, &self.username, self.given_username.as_deref())
    }

    fn bytes(&self) -> usize {
        let rules = self.grants.rules.as_ref().map_or(0, |rules| rules.bytes());
        let attributes = self.grants.attributes.as_ref().map_or(0, |all| all.bytes());
        let given = self.given_username.as_ref().map_or(0, |name| name.len());
        ENTRY_BYTES + self.client_id.len() + self.username.len() + given + rules + attributes
    }
}

/// Clients that have left, by the handle that they had.
#[derive(Default)]
pub(crate) struct EndedSessions(Mutex<State>);

#[derive(Default)]
struct State {
    /// With when each was needed last, as a number that grows.
    known: FxHashMap<usize, (u64, Arc<EndedSession>)>,
    by_need: BTreeMap<u64, usize>,
    next: u64,
    bytes: usize,
}

impl State {
    fn remove(&mut self, handle: usize) {
        let Some((number, ended)) = self.known.remove(&handle) else { return };
        self.by_need.remove(&number);
        self.bytes -= ended.bytes();
    }

    fn number(&mut self, handle: usize) -> u64 {
        self.next += 1;
        self.by_need.insert(self.next, handle);
        self.next
    }
}

impl EndedSessions {
    /// One that is too large for the space is not kept.
    pub(crate) fn insert(&self, handle: usize, ended: EndedSession) {
        let mut state = lock(&self.0);
        state.remove(handle);
        let bytes = ended.bytes();
        if bytes > MOST_BYTES {
            return;
        }
        while state.bytes + bytes > MOST_BYTES {
            let Some((_, handle)) = state.by_need.pop_first() else { break };
            state.remove(handle);
        }
        let number = state.number(handle);
        state.known.insert(handle, (number, Arc::new(ended)));
        state.bytes += bytes;
    }

    pub(crate) fn get(&self, handle: usize) -> Option<Arc<EndedSession>> {
        let mut state = lock(&self.0);
        let (number, ended) = state.known.get(&handle)?;
        let (before, ended) = (*number, Arc::clone(ended));
        state.by_need.remove(&before);
        let now = state.number(handle);
        if let Some((number, _)) = state.known.get_mut(&handle) {
            *number = now;
        }
        Some(ended)
    }

    pub(crate) fn remove(&self, handle: usize) {
        lock(&self.0).remove(handle);
    }

    pub(crate) fn remove_covered(&self, scope: &InvalidationScope) {
        let mut state = lock(&self.0);
        let known = state.known.iter();
        let covered = known.filter(|(_, (_, ended))| ended.is_covered(scope));
        let covered: Vec<_> = covered.map(|(handle, _)| *handle).collect();
        covered.into_iter().for_each(|handle| state.remove(handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name_bytes: usize) -> EndedSession {
        let (client_id, username) = ("x".repeat(name_bytes).into(), SmolStr::default());
        let (given_username, grants) = (None, Grants::default());
        EndedSession { client_id, username, given_username, grants, expiry: None, pass: 0 }
    }

    /// The handles that are known, and that the books agree about them.
    fn known(clients: &EndedSessions) -> Vec<usize> {
        let state = lock(&clients.0);
        let mut known: Vec<_> = state.known.keys().copied().collect();
        known.sort_unstable();
        let mut by_need: Vec<_> = state.by_need.values().copied().collect();
        by_need.sort_unstable();
        assert_eq!(known, by_need);
        let bytes = state.known.values().map(|(_, ended)| ended.bytes()).sum::<usize>();
        assert!(bytes == state.bytes && bytes <= MOST_BYTES, "{bytes}, {}", state.bytes);
        known
    }

    const QUARTER: usize = MOST_BYTES / 4 - ENTRY_BYTES;

    #[test]
    fn those_that_were_needed_last_are_kept() {
        let clients = EndedSessions::default();
        (0..6).for_each(|handle| clients.insert(handle, ended(QUARTER)));
        assert_eq!(known(&clients), [2, 3, 4, 5]);
        assert!(clients.get(2).is_some() && clients.get(0).is_none());
        clients.insert(6, ended(QUARTER));
        assert_eq!(known(&clients), [2, 4, 5, 6]);
        clients.insert(7, ended(2 * QUARTER));
        assert_eq!(known(&clients), [2, 6, 7]);
    }

    #[test]
    fn what_does_not_fit_at_all_is_not_kept() {
        let clients = EndedSessions::default();
        clients.insert(1, ended(10));
        clients.insert(2, ended(10));
        clients.insert(2, ended(MOST_BYTES));
        assert_eq!(known(&clients), [1]);
    }

    #[test]
    fn a_handle_is_known_once_and_can_be_forgotten() {
        let clients = EndedSessions::default();
        for bytes in [10, 20, 5] {
            clients.insert(1, ended(bytes));
            assert_eq!(known(&clients), [1]);
        }
        clients.insert(2, ended(1));
        clients.remove(1);
        clients.remove(1);
        assert_eq!(known(&clients), [2]);
    }

    #[test]
    fn those_that_are_meant_are_forgotten_and_no_others() {
        let scope = |username: Option<&str>, client_id: Option<&str>| {
            let [username, client_id] = [username, client_id].map(|name| name.map(str::to_owned));
            InvalidationScope { username, client_id, ..InvalidationScope::default() }
        };
        for (scope, left) in [
            (scope(Some("ann"), None), [2, 3].as_slice()),
            (scope(Some("given"), None), &[1, 2]),
            (scope(None, Some("c2")), &[1, 3]),
            (scope(Some("ann"), Some("c2")), &[1, 2, 3]),
            (scope(None, None), &[]),
        ] {
            let clients = EndedSessions::default();
            for (handle, username, given) in
                [(1, "ann", None), (2, "bob", None), (3, "eve", Some("given"))]
            {
                let (client_id, username) = (format!("c{handle}").into(), username.into());
                let given_username = given.map(Into::into);
                clients.insert(
                    handle,
                    EndedSession { client_id, username, given_username, ..ended(1) },
                );
            }
            clients.remove_covered(&scope);
            assert_eq!(known(&clients), left, "{scope:?}");
        }
    }
}
