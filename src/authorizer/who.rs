//! Who wants to do what.

#![forbid(unsafe_code)]

use crate::broker::Broker;
use crate::decide::Subject;
use crate::question::{About, Access, Action, Client, Payload, Question};
use crate::sessions::{ClientRef, Grants};

/// Who wants to do something, and what is known of it without asking.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub client: &'a dyn Client,
    pub username: &'a str,
    pub grants: &'a Grants,
    /// The broker, where it asks on its own thread; 2.1 asks about its HTTP API on another.
    pub broker: Option<&'a dyn Broker>,
}

impl<'a> Who<'a> {
    pub(crate) fn subject(self) -> Subject<'a> {
        Subject {
            client_id: self.client.id(),
            username: self.username,
            is_away: self.broker.is_some()
                && (self.client.address().is_none() || self.grants.has_expired),
            file_allows: None,
        }
    }

    /// A question about this client.
    pub(crate) fn question(self, about: About<'a>) -> Question<'a> {
        let Self { client, username, grants, .. } = self;
        Question { client, username, attributes: grants.attributes.as_deref(), about }
    }
}

/// What the broker asks.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    pub client: &'a dyn Client,
    /// None where the client has none.
    pub username: Option<&'a str>,
    pub action: Action<'a>,
    /// The message, where it can be delivered later.
    pub message: Option<&'a dyn Payload>,
    /// The broker, where it asks on its own thread; 2.1 asks about its HTTP API on another.
    pub broker: Option<&'a dyn Broker>,
}

/// What the broker is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccessReply {
    Allow,
    Deny,
    Defer,
    /// The client's connection is to be closed.
    Close,
}

pub(crate) fn client_ref<'a>(client: &'a dyn Client, username: &'a str) -> ClientRef<'a> {
    ClientRef { handle: client.handle(), client_id: client.id(), username }
}

/// Whether the broker will tell when this client leaves. (Version 0 is a stand-in: the broker's own
/// for whoever published a retained message, or 2.1's for its HTTP API.)
pub(crate) fn is_connected(client: &dyn Client) -> bool {
    client.address().is_some() && client.protocol_version() != 0
}

/// Whether this is a stand-in for whoever published a retained message (`check_retain_source`).
pub(super) fn is_retain_source(client: &dyn Client, action: Action<'_>) -> bool {
    client.protocol_version() == 0 && action.access == Access::Write
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeBroker, FakeClient};

    #[test]
    fn only_the_broker_asks_for_sessions_whose_client_is_away() {
        let broker = FakeBroker::default();
        let restored = FakeClient { address: None, ..FakeClient::default() };
        let expired = Grants::default().expired();
        for (client, grants, is_away) in [
            (&FakeClient::default(), &Grants::default(), false),
            (&FakeClient::default(), &expired, true),
            (&restored, &Grants::default(), true),
            (&restored, &expired, true),
        ] {
            let who = Who { client, username: "ann", grants, broker: Some(&broker) };
            assert_eq!(who.subject().is_away, is_away);
            assert!(!Who { broker: None, ..who }.subject().is_away, "2.1's HTTP API asks");
        }
    }
}
