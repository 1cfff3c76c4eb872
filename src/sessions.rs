//! The clients that the API let in and that are still connected.
//!
//! On SIGHUP the broker asks about every session again and disconnects each for which the answer
//! is not a plain yes. That pass is answered from here: a client that is connected with the
//! credentials that the API accepted stays, and is checked again in the background.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Mutex;

use crate::cache::Key;
use crate::sync::lock;

/// Live clients by the broker's handle, which is a client's own for as long as it is connected.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<usize, Session>>);

/// What is known of a live client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    pub handle: usize,
    pub client_id: String,
    /// The login question that the API answered with yes.
    pub key: Key,
}

impl Sessions {
    /// A client was let in. What was known of its handle belonged to another.
    pub fn begin(&self, session: Session) {
        lock(&self.0).insert(session.handle, session);
    }

    /// A client left.
    pub fn end(&self, handle: usize) {
        lock(&self.0).remove(&handle);
    }

    /// Whether this very client is still connected, let in with this very question.
    #[must_use]
    pub fn holds(&self, session: &Session) -> bool {
        lock(&self.0).get(&session.handle) == Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(handle: usize, client_id: &str, key: u32) -> Session {
        Session { handle, client_id: client_id.into(), key: Key::from_number(key) }
    }

    #[test]
    fn a_session_is_known_by_handle_identifier_and_credentials_until_it_ends() {
        let sessions = Sessions::default();
        sessions.begin(session(1, "c", 7));
        assert!(sessions.holds(&session(1, "c", 7)));
        assert!(!sessions.holds(&session(2, "c", 7)), "another connection");
        assert!(!sessions.holds(&session(1, "d", 7)), "another client on the same handle");
        assert!(!sessions.holds(&session(1, "c", 8)), "other credentials");
        sessions.end(1);
        assert!(!sessions.holds(&session(1, "c", 7)));
    }

    #[test]
    fn a_handle_that_is_used_again_belongs_to_the_new_client() {
        let sessions = Sessions::default();
        sessions.begin(session(1, "c", 7));
        sessions.begin(session(1, "d", 8));
        assert!(!sessions.holds(&session(1, "c", 7)));
        assert!(sessions.holds(&session(1, "d", 8)));
    }
}
