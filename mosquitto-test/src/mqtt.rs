//! MQTT clients for tests: they block until the broker has answered, and never reconnect.
//!
//! For "nothing may arrive", publish something permitted afterwards and expect that next: the broker
//! delivers in order, so what was not delivered before the marker never will be.

mod codes;
mod pump;

use std::time::Duration;

use crate::broker::secrets;
use crate::watch::PATIENCE;
use pump::{Ack, End, Pump, Sender};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    V3_1_1,
    V5,
}

impl Protocol {
    pub const BOTH: [Protocol; 2] = [Protocol::V3_1_1, Protocol::V5];

    /// The protocol's number in CONNECT.
    pub fn level(self) -> u8 {
        match self {
            Protocol::V3_1_1 => 4,
            Protocol::V5 => 5,
        }
    }

    /// The CONNACK code of a refused login.
    pub fn refusal(self) -> u8 {
        match self {
            Protocol::V3_1_1 => 5,
            Protocol::V5 => 0x87,
        }
    }
}

/// A client that is about to connect.
#[derive(Clone)]
pub struct ClientBuilder {
    pub(self) id: String,
    pub(self) port: u16,
    pub(self) protocol: Protocol,
    pub(self) credentials: Option<(String, String)>,
    pub(self) clean: bool,
    pub(self) session_expiry: u32,
    pub(self) keep_alive: Duration,
    pub(self) will: Option<Message>,
}

/// A message as it was published or delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

impl Message {
    /// QoS 1, not retained.
    pub fn new(topic: &str, payload: impl AsRef<[u8]>) -> Message {
        Message {
            topic: topic.to_owned(),
            payload: payload.as_ref().to_vec(),
            qos: 1,
            retain: false,
        }
    }

    pub fn qos(mut self, qos: u8) -> Message {
        self.qos = qos;
        self
    }

    pub fn retained(mut self) -> Message {
        self.retain = true;
        self
    }

    /// The payload, where it is text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the payload is text")
    }
}

/// What came of a login.
pub enum Login {
    Accepted(Client),
    /// A CONNACK with this code.
    Refused(u8),
    /// The broker closed the connection without a CONNACK.
    Closed,
}

/// A login under way: the broker has not answered yet, as far as we know.
pub struct Attempt {
    protocol: Protocol,
    pump: Pump,
}

/// A client that has logged in. Dropping it closes the connection without a DISCONNECT, as a crash
/// would: its will is published.
pub struct Client {
    pump: Pump,
}

/// What came of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subscription {
    Granted(u8),
    /// SUBACK's reason: 0x80 in MQTT 3.1.1, mostly 0x87 in MQTT 5.
    Refused(u8),
}

impl ClientBuilder {
    pub fn new(id: &str, port: u16) -> Self {
        ClientBuilder {
            id: id.to_owned(),
            port,
            protocol: Protocol::V3_1_1,
            credentials: None,
            clean: true,
            session_expiry: 3600,
            keep_alive: Duration::from_secs(60),
            will: None,
        }
    }

    /// MQTT 3.1.1 unless said otherwise.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    pub fn credentials(mut self, username: &str, password: &str) -> Self {
        self.credentials = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// `false` keeps the session: in MQTT 5 with an expiry of an hour, unless said otherwise.
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// For how many seconds the session is kept in MQTT 5, if it is.
    pub fn session_expiry(mut self, seconds: u32) -> Self {
        self.session_expiry = seconds;
        self
    }

    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    pub fn will(self, topic: &str, payload: impl AsRef<[u8]>) -> Self {
        self.will_message(Message::new(topic, payload))
    }

    pub fn will_message(mut self, will: Message) -> Self {
        self.will = Some(will);
        self
    }

    /// Another listener's port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Connects and waits for what the broker says.
    pub fn connect(&self) -> Login {
        self.start_connecting().outcome()
    }

    /// Connects, and leaves the waiting to [`Attempt::outcome`].
    pub fn start_connecting(&self) -> Attempt {
        if let Some((_, password)) = &self.credentials {
            secrets::sent(self.port, password.as_bytes());
        }
        Attempt { protocol: self.protocol, pump: Pump::start(self) }
    }
}

impl Attempt {
    /// Waits for what the broker says.
    pub fn outcome(self) -> Login {
        match self.pump.wait(|seen| seen.login()) {
            Some(Ok(())) => Login::Accepted(Client { pump: self.pump }),
            Some(Err(End::Refused(code))) => Login::Refused(code),
            Some(Err(End::Unreachable(why))) => panic!("cannot reach the broker: {why}"),
            Some(Err(End::Closed(_))) => Login::Closed,
            None => panic!("no CONNACK for a {:?} client within {PATIENCE:?}", self.protocol),
        }
    }

    /// Whether the broker has not answered yet.
    pub fn is_pending(&self) -> bool {
        self.pump.read(|seen| seen.login().is_none())
    }

    /// Closes the connection without waiting for the answer.
    pub fn abandon(self) {}
}

impl Login {
    #[track_caller]
    pub fn expect_accepted(self) -> Client {
        match self {
            Login::Accepted(client) => client,
            other => panic!("expected an accepted login, but {other:?}"),
        }
    }

    /// Refused with that protocol's "not authorized"; returns the code.
    #[track_caller]
    pub fn expect_refused(self) -> u8 {
        match self {
            Login::Refused(code) if [5, 0x87].contains(&code) => code,
            other => panic!("expected a refused login, but {other:?}"),
        }
    }

    #[track_caller]
    pub fn expect_closed(self) {
        assert!(
            matches!(self, Login::Closed),
            "expected a connection closed without CONNACK, but {self:?}"
        );
    }

    pub fn is_accepted(&self) -> bool {
        matches!(self, Login::Accepted(_))
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Login::Accepted(_) => f.write_str("the login was accepted"),
            Login::Refused(code) => write!(f, "the login was refused with {code:#x}"),
            Login::Closed => f.write_str("the connection was closed without CONNACK"),
        }
    }
}

impl Subscription {
    #[track_caller]
    pub fn expect_granted(self) {
        assert!(
            matches!(self, Subscription::Granted(_)),
            "expected a granted subscription, but {self:?}"
        );
    }

    #[track_caller]
    pub fn expect_refused(self) -> u8 {
        match self {
            Subscription::Refused(code) => code,
            granted => panic!("expected a refused subscription, but {granted:?}"),
        }
    }
}

impl Client {
    /// Subscribes with QoS 1 and waits for the SUBACK.
    #[track_caller]
    pub fn subscribe(&self, filter: &str) -> Subscription {
        self.subscribe_many(&[filter])[0]
    }

    /// One SUBSCRIBE with several filters.
    #[track_caller]
    pub fn subscribe_many(&self, filters: &[&str]) -> Vec<Subscription> {
        let codes = self.acknowledged("SUBACK", |sender| sender.subscribe(filters));
        codes
            .into_iter()
            .map(|c| if c < 0x80 { Subscription::Granted(c) } else { Subscription::Refused(c) })
            .collect()
    }

    /// Unsubscribes and waits; the code is always 0 in MQTT 3.1.1.
    #[track_caller]
    pub fn unsubscribe(&self, filter: &str) -> u8 {
        self.acknowledged("UNSUBACK", |sender| sender.unsubscribe(filter))[0]
    }

    /// Publishes with QoS 1 and waits for the PUBACK; its code is always 0 in MQTT 3.1.1.
    #[track_caller]
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) -> u8 {
        self.publish_message(Message::new(topic, payload))
    }

    /// Publishes and waits for nothing.
    #[track_caller]
    pub fn publish_qos0(&self, topic: &str, payload: impl AsRef<[u8]>) {
        self.publish_message(Message::new(topic, payload).qos(0));
    }

    /// Publishes as the message says and waits for PUBACK, or PUBCOMP, or with QoS 0 for nothing.
    #[track_caller]
    pub fn publish_message(&self, message: Message) -> u8 {
        if message.qos == 0 {
            self.pump.send(|sender| sender.publish(&message));
            return 0;
        }
        self.acknowledged("PUBACK", |sender| sender.publish(&message))[0]
    }

    /// Sends a request and waits for the next acknowledgement: requests of a client are made one at
    /// a time, so it is that request's.
    #[track_caller]
    fn acknowledged(&self, kind: &str, request: impl FnOnce(&Sender) -> bool) -> Vec<u8> {
        let _one_at_a_time = self.pump.turn();
        self.pump.send(request);
        let acknowledgement = self.pump.wait(|seen| match seen.acks.pop_front() {
            Some(Ack(codes)) => Some(Ok(codes)),
            None => seen.end.clone().map(Err),
        });
        match acknowledgement {
            Some(Ok(codes)) => codes,
            Some(Err(end)) => panic!("expected a {kind}, but {end}"),
            None => panic!("no {kind} within {PATIENCE:?}"),
        }
    }

    /// The next message, as topic and payload.
    #[track_caller]
    pub fn expect_message(&self) -> (String, String) {
        let message = self.next_message();
        let payload = message.text().to_owned();
        (message.topic, payload)
    }

    /// The next message with all its particulars.
    #[track_caller]
    pub fn next_message(&self) -> Message {
        match self.pump.wait(|seen| seen.next_message()) {
            Some(Ok(message)) => message,
            Some(Err(end)) => panic!("expected a message, but {end}"),
            None => panic!("no message within {PATIENCE:?}"),
        }
    }

    /// The next message, if it arrives in time. Prefer a marker message to a wait for nothing.
    pub fn try_message(&self, limit: Duration) -> Option<Message> {
        self.pump.wait_within(limit, |seen| seen.next_message())?.ok()
    }

    /// Waits until the broker has closed the connection. For the reason in MQTT 5 use `RawClient`:
    /// rumqttc does not understand a DISCONNECT as short as Mosquitto's.
    #[track_caller]
    pub fn wait_disconnected(&self) {
        let end = self.pump.wait(|seen| seen.end.clone());
        assert!(end.is_some(), "the broker keeps the connection after {PATIENCE:?}");
    }

    pub fn is_connected(&self) -> bool {
        self.pump.read(|seen| seen.end.is_none())
    }

    /// Leaves with a DISCONNECT, and returns once the broker has closed.
    pub fn disconnect(self) {
        self.pump.send(Sender::disconnect);
        self.wait_disconnected();
    }

    /// Closes the connection without a DISCONNECT, as a crash would.
    pub fn vanish(self) {}
}
