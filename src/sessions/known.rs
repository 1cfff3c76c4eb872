//! Which clients are known to be connected, by their names.

#![forbid(unsafe_code)]

use super::Sessions;
use crate::sync::lock;

impl Sessions {
    /// Whether a client of this identifier is known to be connected.
    #[must_use]
    pub fn is_connected(&self, client_id: &str) -> bool {
        lock(&self.state).live.iter().any(|(_, session)| session.client_id == client_id)
    }

    /// The identifiers of this user's clients that are known to be connected.
    #[must_use]
    pub fn identifiers_of(&self, username: &str) -> Vec<String> {
        let state = lock(&self.state);
        let of_user = state.live.iter().filter(|(_, session)| session.username == username);
        of_user.map(|(_, session)| session.client_id.to_string()).collect()
    }
}
