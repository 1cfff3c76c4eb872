//! Clients that come and go while deliveries wait for them.
//!
//! A session that is kept may end, and another client have its identifier, without the plugin hearing of
//! either: no broker tells that a session has expired, 2.0 tells of nobody that it has connected, and nobody
//! asks about the login of a client that comes by a certificate. So 2.0's offline sessions are certain only
//! within the pass of the broker's loop in which it asks about them, and those of 2.1 until it tells
//! who has connected.

#![forbid(unsafe_code)]

use super::state::{Entry, Presence};
use super::{HeldDeliveries, Recipient};
use crate::question::{Client as _, Departure};
use crate::sync::lock;

impl HeldDeliveries {
    /// The client of this handle has left; how many deliveries are dropped for that.
    pub(crate) fn left(&self, handle: usize, departure: Departure) -> usize {
        if !self.any() {
            return 0;
        }
        let mut state = lock(&self.state);
        if state.stays_out(handle) {
            return 0;
        }
        let Some(client_id) = state.client_ids.get(&handle).cloned() else { return 0 };
        let Some(held) = state.clients.get_mut(&client_id) else { return 0 };
        if held.entry.is_some() {
            // The broker ends the connection, or the session, that it takes over from.
            let dropped = state.settle(&client_id);
            self.note_any(&state);
            return dropped;
        }
        let is_clean = held.client.protocol_version() < 5 && held.client.clean_session();
        match (departure, held.presence) {
            (Departure::Offline, _) => held.presence = Presence::Offline,
            (Departure::Unclear, Presence::Online) if !is_clean => state.wait_for_name(&client_id),
            // 2.0 says a second time that a session is offline when another takes it over, of whom it asks
            // next.
            (Departure::Unclear, Presence::Unnamed | Presence::Named) => {
                state.wait_for_name(&client_id);
            }
            (Departure::Ended | Departure::Unclear, _) => {
                let dropped = state.forget(&client_id);
                self.note_any(&state);
                return dropped;
            }
        }
        0
    }

    /// This user may come in under this identifier, on a new connection; `keeps`: it goes on with the
    /// session that there is. Whether it is in is known in another pass of the broker's loop, or by what
    /// the broker does next.
    pub(crate) fn enters(&self, recipient: Recipient<'_>, keeps: bool) {
        if !self.any() {
            return;
        }
        let mut state = lock(&self.state);
        let Some(held) = state.clients.get(recipient.client_id) else { return };
        let is_same_user = held.username == recipient.username;
        if held.handle == recipient.handle && is_same_user && held.presence == Presence::Online {
            // The broker asks about a session that it has (SIGHUP).
            return;
        }
        let keeps = keeps && is_same_user;
        state.enters(recipient.client_id, Entry { handle: recipient.handle, keeps });
    }

    /// The broker did not let in whoever was to come in by this handle.
    pub(crate) fn stays_out(&self, handle: usize) {
        lock(&self.state).stays_out(handle);
    }

    /// Whoever came and was not sent away since is in; how many deliveries are dropped for that. For another
    /// pass of the broker's loop than that in which they came, or for what the broker asks after it has let them in.
    pub(crate) fn settle(&self) -> usize {
        let mut state = lock(&self.state);
        let entered = std::mem::take(&mut state.entered);
        let dropped = entered.iter().map(|client_id| state.settle(client_id)).sum();
        self.note_any(&state);
        dropped
    }

    /// The broker names the user that has this identifier now, which `keeps` the session that there is if
    /// its connection is a new one; whether it is, and how many deliveries of others are dropped. `is_online`:
    /// the broker will tell when it leaves.
    pub(crate) fn named(
        &self,
        recipient: Recipient<'_>,
        keeps: bool,
        is_online: bool,
    ) -> (bool, usize) {
        if !self.any() {
            return (false, 0);
        }
        let mut state = lock(&self.state);
        let state = &mut *state;
        let dropped = state.settle(recipient.client_id);
        let Some(held) = state.clients.get_mut(recipient.client_id) else {
            self.note_any(state);
            return (false, dropped);
        };
        let is_new = held.handle != recipient.handle;
        if held.username != recipient.username || is_new && !keeps {
            let dropped = dropped + state.forget(recipient.client_id);
            self.note_any(state);
            return (false, dropped);
        }
        if is_new {
            state.goes_on(recipient.client_id, recipient.handle, is_online);
        } else {
            state.is_named(recipient.client_id, is_online);
        }
        (is_new, dropped)
    }

    /// Another pass of the broker's loop begins: what it named may be gone in it.
    pub(crate) fn unname(&self) {
        if !self.any() {
            return;
        }
        let mut state = lock(&self.state);
        for client_id in std::mem::take(&mut state.named) {
            let is_named = |presence| presence == Presence::Named;
            if state.clients.get(&client_id).is_some_and(|held| is_named(held.presence)) {
                state.wait_for_name(&client_id);
            }
        }
    }
}
