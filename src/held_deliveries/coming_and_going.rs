//! Clients that come and go while deliveries wait for them.

#![forbid(unsafe_code)]

use super::state::{Entry, Presence};
use super::{HeldDeliveries, Recipient};
use crate::question::Departure;
use crate::sync::lock;

impl HeldDeliveries {
    /// The client of this handle has left; how many deliveries are dropped for that.
    pub(crate) fn left(&self, handle: usize, departure: Departure) -> usize {
        if !self.any() {
            return 0;
        }
        let mut state = lock(&self.state);
        let Some(client_id) = state.client_ids.get(&handle).cloned() else { return 0 };
        let Some(held) = state.clients.get_mut(&client_id) else { return 0 };
        if let Presence::Entered(entry) = held.presence {
            if entry.handle == handle {
                // The broker did not let it in. What there was before is there still.
                held.presence = if entry.was_clear { Presence::Offline } else { Presence::Unclear };
                if held.handle != handle {
                    state.client_ids.remove(&handle);
                }
                return 0;
            }
            // The broker ends the connection, or the session, that it takes over from.
            let dropped = state.settle(&client_id);
            self.note_any(&state);
            return dropped;
        }
        let is_clean = held.client.protocol_version() < 5 && held.client.clean_session();
        match (departure, held.presence) {
            (Departure::Unclear, Presence::Online) if !is_clean => {
                held.presence = Presence::Unclear;
            }
            (Departure::Offline, _) => held.presence = Presence::Offline,
            // 2.0 says a second time that a session is offline when another takes it over.
            (Departure::Ended | Departure::Unclear, _) => {
                let dropped = state.forget(&client_id);
                self.note_any(&state);
                return dropped;
            }
        }
        0
    }

    /// This user is let in under this identifier, on a new connection or on the one that it has; how many
    /// deliveries are dropped for that. `is_certain`: the broker, too, will let it in; `keeps`: it goes
    /// on with the session that there is.
    pub(crate) fn came(&self, recipient: Recipient<'_>, keeps: bool, is_certain: bool) -> usize {
        if !self.any() {
            return 0;
        }
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(held) = state.clients.get_mut(recipient.client_id) else { return 0 };
        if held.belongs_to(recipient) && held.presence == Presence::Online {
            return 0;
        }
        let keeps = keeps && held.username == recipient.username;
        if !is_certain {
            let (handle, was_clear) = (recipient.handle, held.was_clear());
            held.presence = Presence::Entered(Entry { handle, keeps, was_clear });
            state.client_ids.insert(handle, recipient.client_id.into());
            state.entered.push(recipient.client_id.into());
            return 0;
        }
        if !keeps {
            let dropped = state.forget(recipient.client_id);
            self.note_any(state);
            return dropped;
        }
        state.goes_on(recipient.client_id, recipient.handle);
        0
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
}
