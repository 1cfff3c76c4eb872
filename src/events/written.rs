//! Events as the API reads them.

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::clients::ConnectedClient;
use crate::config::EventKind;

/// One event. It holds no more than this: never a password, a token or a message.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    event: &'static str,
    /// When it happened, in seconds of Unix time.
    at: f64,
    username: Option<&'a str>,
    clientid: &'a str,
    peerhost: Option<IpAddr>,
    protocol: &'static str,
    protocol_version: u8,
    reason: Option<&'a str>,
}

impl Event<'_> {
    /// A JSON object (RFC 8259).
    pub(crate) fn write(
        kind: EventKind,
        client: &ConnectedClient,
        at: Duration,
        reason: Option<&str>,
    ) -> Arc<str> {
        let event = Event {
            event: kind.name(),
            at: at.as_millis() as f64 / 1e3,
            username: client.username.as_deref(),
            clientid: &client.client_id,
            peerhost: client.address,
            protocol: client.protocol(),
            protocol_version: client.protocol_version,
            reason,
        };
        // Texts and numbers have a JSON form, and memory takes them all.
        serde_json::to_string(&event).unwrap_or_default().into()
    }
}

/// The body of a request with these events.
pub(crate) fn body(events: &[Arc<str>]) -> String {
    format!("{{\"events\":[{}]}}", events.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::question::ClientFacts;

    fn written(client_id: &str, username: &str) -> Arc<str> {
        let facts = ClientFacts {
            client_id,
            username,
            address: Some([192, 0, 2, 7].into()),
            protocol: "websockets",
            protocol_version: 5,
        };
        let at = Duration::from_millis(1_790_000_000_123);
        let client = ConnectedClient::new(facts, at);
        Event::write(EventKind::Disconnected, &client, at, Some("keep-alive"))
    }

    #[test]
    fn an_event_is_that_of_the_contract() {
        assert_eq!(
            &*written("c", "ann"),
            r#"{"event":"disconnected","at":1790000000.123,"username":"ann","clientid":"c","peerhost":"192.0.2.7","protocol":"websockets","protocol_version":5,"reason":"keep-alive"}"#
        );
        assert!(written("c", "").contains(r#""username":null"#));
    }

    proptest! {
        #[test]
        fn whatever_clients_are_called_the_api_reads_it_back(
            names in proptest::collection::vec((any::<String>(), "\\PC+"), 1..9)
        ) {
            let events: Vec<_> = names.iter().map(|(id, name)| written(id, name)).collect();
            let read: Value = serde_json::from_str(&body(&events)).unwrap();
            let told = |event: &Value| (event["clientid"].clone(), event["username"].clone());
            let told: Vec<_> = read["events"].as_array().unwrap().iter().map(told).collect();
            let expected: Vec<_> = names.iter().map(|(id, name)| (json!(id), json!(name))).collect();
            prop_assert_eq!(told, expected);
        }
    }
}
