//! Who is connected: the command `listClients`.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::command::Listing;
use crate::events::{ConnectedClient, Page};
use crate::plugin::Plugin;

/// How many bytes the names in one response may have: they are as long as clients like.
const MOST_BYTES: usize = 256 << 10;

impl Plugin {
    /// Some of the clients that are connected, as events tell of them. With `next`, the list goes on behind
    /// that identifier.
    pub(super) fn list_clients(&self, listing: &Listing) -> Value {
        self.services.events.settle();
        let Page { clients, total, mut has_more } =
            self.services.events.list(listing.after.as_deref(), listing.count);
        let mut bytes = 0;
        let fits = |client: &&ConnectedClient| {
            let is_first = bytes == 0;
            bytes += client.client_id.len() + client.username.as_ref().map_or(0, |name| name.len());
            is_first || bytes <= MOST_BYTES
        };
        let listed: Vec<_> = clients.iter().take_while(fits).collect();
        has_more |= listed.len() < clients.len();
        let next = listed.last().filter(|_| has_more).map(|client| &client.client_id);
        let described: Vec<_> = listed.iter().map(|client| described(client)).collect();
        let mut list = json!({ "totalCount": total, "clients": described });
        if let Some(next) = next {
            list["next"] = next.as_str().into();
        }
        list
    }
}

fn described(client: &ConnectedClient) -> Value {
    json!({
        "clientid": client.client_id.as_str(),
        "username": client.username.as_deref(),
        "peerhost": client.address,
        "protocol": client.protocol(),
        "protocol_version": client.protocol_version,
        "connected_at": client.since.as_millis() as f64 / 1e3,
    })
}
