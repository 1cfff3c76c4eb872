//! Who is connected, by what the broker tells.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use smol_str::SmolStr;

use crate::question::{ClientFacts, MQTT, WEBSOCKETS};

/// A client that is connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConnectedClient {
    pub client_id: SmolStr,
    /// None: it has none.
    pub username: Option<SmolStr>,
    /// Where it comes from, if that is known and not for the client to choose.
    pub address: Option<IpAddr>,
    pub(crate) is_websocket: bool,
    pub protocol_version: u8,
    /// Since when, in Unix time.
    pub since: Duration,
}

impl ConnectedClient {
    pub(crate) fn new(facts: ClientFacts<'_>, since: Duration) -> Self {
        Self {
            client_id: facts.client_id.into(),
            username: (!facts.username.is_empty()).then(|| facts.username.into()),
            address: facts.address,
            is_websocket: facts.protocol == WEBSOCKETS,
            protocol_version: facts.protocol_version.try_into().unwrap_or(u8::MAX),
            since,
        }
    }

    /// `mqtt` or `websockets`.
    #[must_use]
    pub(crate) fn protocol(&self) -> &'static str {
        if self.is_websocket { WEBSOCKETS } else { MQTT }
    }
}

/// A client whose login was answered, and that may be refused still.
pub(crate) struct Coming {
    pub handle: usize,
    pub client: ConnectedClient,
    /// Whether the plugin let it in, so that it is refused only if the broker itself does not take it.
    pub is_certain: bool,
    /// When it would have been refused.
    pub(crate) settles: Instant,
}

/// Some of the connected clients, in order.
pub(crate) struct Page {
    pub clients: Vec<ConnectedClient>,
    /// How many there are in all.
    pub total: usize,
    /// Whether there are more behind these.
    pub(crate) has_more: bool,
}

/// The connected clients by the broker's handle, which is a client's own for as long as it is connected.
#[derive(Default)]
pub(crate) struct Clients {
    connected: HashMap<usize, Connected>,
    coming: Vec<Coming>,
}

struct Connected {
    client: ConnectedClient,
    /// Whether the plugin disconnects it.
    is_kicked: bool,
}

impl Clients {
    /// Has a client wait until it is certain that it is not refused. False: it is connected already, and the
    /// broker asks about it anew, as it does on SIGHUP.
    pub(crate) fn expect(&mut self, coming: Coming) -> bool {
        let is_known = self.connected.get(&coming.handle).is_some_and(|known| {
            let (known, coming) = (&known.client, &coming.client);
            known.client_id == coming.client_id && known.username == coming.username
        });
        if !is_known {
            self.coming.retain(|other| other.handle != coming.handle);
            self.coming.push(coming);
        }
        !is_known
    }

    /// Takes those who came and are meant, in order.
    pub(crate) fn take_coming(&mut self, is_meant: impl Fn(&Coming) -> bool) -> Vec<Coming> {
        let (taken, rest) = std::mem::take(&mut self.coming).into_iter().partition(is_meant);
        self.coming = rest;
        taken
    }

    pub(crate) fn any_coming(&self) -> bool {
        !self.coming.is_empty()
    }

    /// Whether a client comes with this identifier: it takes over from whoever has it.
    pub(crate) fn is_coming(&self, client_id: &str) -> bool {
        self.coming.iter().any(|coming| coming.client.client_id == client_id)
    }

    /// This client is connected.
    pub(crate) fn insert(&mut self, handle: usize, client: ConnectedClient) {
        self.connected.insert(handle, Connected { client, is_kicked: false });
    }

    /// A client has left; and whether the plugin disconnects it.
    pub(crate) fn remove(&mut self, handle: usize) -> Option<(ConnectedClient, bool)> {
        self.connected.remove(&handle).map(|left| (left.client, left.is_kicked))
    }

    /// Those who are meant are disconnected by the plugin.
    pub(crate) fn kick(
        &mut self,
        is_meant: impl Fn(&ConnectedClient) -> bool,
    ) -> impl Iterator<Item = &ConnectedClient> {
        let meant = self.connected.values_mut().filter(move |known| is_meant(&known.client));
        meant.map(|known| {
            known.is_kicked = true;
            &known.client
        })
    }

    pub(crate) fn take_all(&mut self) -> Vec<ConnectedClient> {
        let connected = std::mem::take(&mut self.connected);
        connected.into_values().map(|connected| connected.client).collect()
    }

    /// The first `most` of those whose identifiers come behind this one. Looks at all of them, and keeps no
    /// more than these.
    pub(crate) fn list(&self, after: Option<&str>, most: usize) -> Page {
        let mut first = BinaryHeap::new();
        for (handle, connected) in &self.connected {
            let id = connected.client.client_id.as_str();
            if after.is_none_or(|after| id > after) {
                first.push((id, Reverse(*handle)));
                if first.len() > most + 1 {
                    first.pop();
                }
            }
        }
        let has_more = first.len() > most;
        let mut first = first.into_sorted_vec();
        first.truncate(most);
        let client = |(_, Reverse(handle)): (&str, Reverse<usize>)| {
            self.connected.get(&handle).map(|known| known.client.clone())
        };
        let clients = first.into_iter().filter_map(client).collect();
        Page { clients, total: self.connected.len(), has_more }
    }
}
