//! What is told of clients in the log, and to the API as events.

#![forbid(unsafe_code)]

use super::Plugin;
use crate::question::{Client, ClientFacts};
use crate::stats::Kick;

impl Plugin {
    /// What is told of this client, under this name; an empty one is none.
    pub(super) fn facts<'a>(&self, client: &'a dyn Client, username: &'a str) -> ClientFacts<'a> {
        ClientFacts {
            client_id: client.id(),
            username,
            address: self.address(client),
            protocol: client.protocol(),
            protocol_version: client.protocol_version(),
        }
    }

    /// This client is let in, or left to the broker's other means if that is not `certain`. Mosquitto 2.0
    /// tells of nobody that it is connected.
    pub(super) fn note_came(&self, client: &dyn Client, username: &str, is_certain: bool) {
        if !self.capabilities.tells_who_connects && !self.tick_monitor.is_about_a_session() {
            self.events.came(client.handle(), self.facts(client, username), is_certain);
        }
    }

    /// The client of this identifier is about to be disconnected.
    pub(super) fn note_kicked(&self, why: Kick, client_id: &str) {
        self.events.kicked(why, |client| client.client_id == client_id);
    }
}
