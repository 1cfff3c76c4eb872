//! Which clients are known to be connected, by their names.

#![forbid(unsafe_code)]

use super::{AuthenticatedBy, ClientRef, Session, SessionKey, Sessions};
use crate::sync::lock;

impl Sessions {
    /// Whether a client of this identifier is known to be connected.
    #[must_use]
    pub fn is_connected(&self, client_id: &str) -> bool {
        lock(&self.state).live.of_id(client_id).next().is_some()
    }

    /// Whether a client of this identifier is connected that the API let in.
    #[must_use]
    pub fn is_let_in(&self, client_id: &str) -> bool {
        let is_it = |session: &Session| session.authenticated_by == AuthenticatedBy::Api;
        lock(&self.state).live.of_id(client_id).any(|(_, session)| is_it(session))
    }

    /// Whether this client is connected, of whose login somebody was asked.
    #[must_use]
    pub(crate) fn is_logged_in(&self, client_ref: ClientRef<'_>) -> bool {
        let state = lock(&self.state);
        let session = state.live.get(client_ref.handle);
        session.is_some_and(|known| known.belongs_to(client_ref) && known.key.is_some())
    }

    /// The name that the client of this session gave, where the API gave it the one by which it is known.
    #[must_use]
    pub(crate) fn given_username(&self, client_ref: ClientRef<'_>) -> Option<String> {
        let state = lock(&self.state);
        let session =
            state.live.get(client_ref.handle).filter(|known| known.belongs_to(client_ref))?;
        session.given_username.as_deref().map(str::to_owned)
    }

    /// The name that the client of this session gave when the API let it in, if it is still connected.
    #[must_use]
    pub(crate) fn login_name(&self, session_key: &SessionKey) -> Option<String> {
        let state = lock(&self.state);
        let session = state
            .get(session_key)
            .filter(|session| session.authenticated_by == AuthenticatedBy::Api)?;
        Some(session.given_username.as_deref().unwrap_or(&session.username).to_owned())
    }

    /// The name that the API gave the client of this session in place of its own.
    #[must_use]
    pub fn renamed(&self, handle: usize, client_id: &str) -> Option<String> {
        let state = lock(&self.state);
        let session = state.live.get(handle).filter(|known| known.client_id == client_id)?;
        session.given_username.as_ref().map(|_| session.username.to_string())
    }

    /// The identifiers of this user's clients that are known to be connected, and who let each in.
    #[must_use]
    pub(crate) fn identifiers_of(&self, username: &str) -> Vec<(String, AuthenticatedBy)> {
        let state = lock(&self.state);
        let of_user = state.live.iter().filter(|(_, session)| session.username == username);
        of_user
            .map(|(_, session)| (session.client_id.to_string(), session.authenticated_by))
            .collect()
    }
}
