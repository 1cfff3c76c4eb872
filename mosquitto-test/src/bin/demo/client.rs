//! The demo's MQTT clients: one blocking socket each, so that the times shown are the broker's and
//! not a client library's.
//!
//! They speak MQTT 5, which tells a client that its publish was denied; MQTT 3.1.1 has no word for it.

use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw::{self, RawClient};

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;

pub struct Client(RawClient);

/// MQTT's reason code; from 0x80 on it is a refusal.
pub type Code = u8;

impl Client {
    /// A refused client is gone.
    pub fn log_in(port: u16, id: &str, user: &str, password: &str) -> (Code, Option<Client>) {
        let mut client = Client(RawClient::connect_to(port));
        let (user, password) = (Some(user.as_bytes()), Some(password.as_bytes()));
        client.0.send(raw::connect_packet(Protocol::V5, id, user, password, true));
        let code = client.read(CONNACK)[1];
        (code, (code == 0).then_some(client))
    }

    pub fn subscribe(&mut self, filter: &str) -> Code {
        self.0.send(raw::subscribe_packet(Protocol::V5, 1, &[filter]));
        // Packet identifier, an empty list of properties, and a code for each filter.
        self.read(SUBACK)[3]
    }

    /// With QoS 1, which has an answer.
    pub fn publish(&mut self, topic: &str, payload: &str) -> Code {
        self.0.send(raw::publish_packet(Protocol::V5, topic, payload.as_bytes(), Some(1)));
        // No code after the packet identifier is a success.
        self.read(PUBACK).get(2).copied().unwrap_or(0)
    }

    /// The next message, which is acknowledged: its topic and its payload.
    pub fn receive(&mut self) -> (String, String) {
        let message = self.read(PUBLISH);
        let (topic, rest) = message[2..].split_at(usize::from(message[1]));
        let (packet_id, rest) = rest.split_at(2);
        self.0.send(raw::packet(PUBACK, packet_id));
        // An empty list of properties is in between.
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(topic), text(&rest[1..]))
    }

    /// The next message, which came with QoS 0 as the plugin's responses do.
    pub fn response(&mut self) -> String {
        let message = self.read(PUBLISH);
        let topic = usize::from(u16::from_be_bytes([message[0], message[1]]));
        // An empty list of properties is in between.
        String::from_utf8_lossy(&message[2 + topic + 1..]).into_owned()
    }

    /// Returns once the broker has closed the connection.
    pub fn wait_closed(mut self) {
        self.0.wait_closed();
    }

    fn read(&mut self, kind: u8) -> Vec<u8> {
        match self.0.read_packet() {
            Some((first, rest)) if first & 0xf0 == kind => rest,
            Some((first, _)) => panic!("the broker sent {first:#04x}, not {kind:#04x}"),
            None => panic!("the broker closed the connection"),
        }
    }
}
