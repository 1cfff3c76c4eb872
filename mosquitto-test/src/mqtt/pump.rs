//! One thread for each client that drives rumqttc's event loop and keeps what it sees. It ends with
//! the connection: nothing reconnects behind a test's back.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5 as packets5;
use rumqttc::v5::mqttbytes::{self as mqtt5};
use rumqttc::{mqttbytes as mqtt4, v5};
use tokio::sync::Notify;

use super::{ClientBuilder, Message, Protocol, codes};
use crate::watch::{PATIENCE, Watched};

/// Larger than any packet of a test; rumqttc's own limit is 10 kB.
const MAX_PACKET: u32 = 1 << 24;
/// Far more requests than a test has under way, so that handing one over never blocks.
const QUEUE: usize = 10_000;

/// What the event loop has seen.
#[derive(Default)]
pub(super) struct Seen {
    connected: bool,
    messages: VecDeque<Message>,
    pub(super) acks: VecDeque<Ack>,
    pub(super) end: Option<End>,
}

/// The reason codes of a SUBACK, UNSUBACK, PUBACK or of a finished QoS 2 handshake.
pub(super) struct Ack(pub(super) Vec<u8>);

/// How a connection ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Refused(u8),
    Unreachable(String),
    Closed(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Refused(code) => write!(f, "the login was refused with {code:#x}"),
            End::Unreachable(text) => write!(f, "the broker could not be reached: {text}"),
            End::Closed(text) => write!(f, "the connection ended: {text}"),
        }
    }
}

impl Seen {
    /// `None` while the broker has not answered the CONNECT.
    pub(super) fn login(&self) -> Option<Result<(), End>> {
        if self.connected { Some(Ok(())) } else { self.end.clone().map(Err) }
    }

    pub(super) fn next_message(&mut self) -> Option<Result<Message, End>> {
        self.messages.pop_front().map(Ok).or_else(|| self.end.clone().map(Err))
    }
}

/// Requests to either of rumqttc's clients.
pub(super) enum Sender {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Sender {
    pub(super) fn subscribe(&self, filters: &[&str]) -> bool {
        match self {
            Sender::V4(client) => {
                let filter = |path: &&str| {
                    rumqttc::SubscribeFilter::new((*path).to_owned(), mqtt4::QoS::AtLeastOnce)
                };
                client.try_subscribe_many(filters.iter().map(filter)).is_ok()
            }
            Sender::V5(client) => {
                let filter = |path: &&str| packets5::Filter::new(*path, mqtt5::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.iter().map(filter)).is_ok()
            }
        }
    }

    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        match self {
            Sender::V4(client) => client.try_unsubscribe(filter).is_ok(),
            Sender::V5(client) => client.try_unsubscribe(filter).is_ok(),
        }
    }

    pub(super) fn publish(&self, message: &Message) -> bool {
        let payload = message.payload.clone();
        match self {
            Sender::V4(client) => {
                let qos = mqtt4::qos(message.qos).unwrap();
                client.try_publish(&message.topic, qos, message.retain, payload).is_ok()
            }
            Sender::V5(client) => {
                let qos = mqtt5::qos(message.qos).unwrap();
                client.try_publish(&message.topic, qos, message.retain, payload).is_ok()
            }
        }
    }

    pub(super) fn disconnect(&self) -> bool {
        match self {
            Sender::V4(client) => client.try_disconnect().is_ok(),
            Sender::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

/// The thread and all that is shared with it.
pub(super) struct Pump {
    sender: Sender,
    seen: Arc<Watched<Seen>>,
    stop: Arc<Notify>,
    turn: Mutex<()>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    pub(super) fn start(builder: &ClientBuilder) -> Pump {
        let seen = Arc::new(Watched::new(Seen::default()));
        let stop = Arc::new(Notify::new());
        let (sender, thread) = match builder.protocol {
            Protocol::V3_1_1 => {
                let (client, events) = open_v4(builder);
                (Sender::V4(client), spawn(stop.clone(), pump_v4(events, seen.clone())))
            }
            Protocol::V5 => {
                let (client, events) = rumqttc::v5::AsyncClient::new(options_v5(builder), QUEUE);
                (Sender::V5(client), spawn(stop.clone(), pump_v5(events, seen.clone())))
            }
        };
        Pump { sender, seen, stop, turn: Mutex::new(()), thread: Some(thread) }
    }

    pub(super) fn read<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        self.seen.read(look)
    }

    pub(super) fn wait<R>(&self, look: impl FnMut(&mut Seen) -> Option<R>) -> Option<R> {
        self.seen.wait(look)
    }

    pub(super) fn wait_within<R>(
        &self,
        limit: Duration,
        look: impl FnMut(&mut Seen) -> Option<R>,
    ) -> Option<R> {
        self.seen.wait_within(limit, look)
    }

    /// Holds off other threads' requests while one waits for its acknowledgement.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request over; one that rumqttc does not take is the test's mistake unless the
    /// connection has ended, which the wait that follows reports.
    #[track_caller]
    pub(super) fn send(&self, request: impl FnOnce(&Sender) -> bool) {
        let taken = request(&self.sender);
        assert!(
            taken || self.read(|seen| seen.end.is_some()),
            "rumqttc refuses to send this: use RawClient"
        );
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a pump until it ends or is told to stop, which drops its connection.
fn spawn(stop: Arc<Notify>, pump: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = stop.notified() => {}
                () = pump => {}
            }
        });
    })
}

fn open_v4(builder: &ClientBuilder) -> (rumqttc::AsyncClient, rumqttc::EventLoop) {
    let mut options = rumqttc::MqttOptions::new(&builder.id, "127.0.0.1", builder.port);
    options
        .set_keep_alive(builder.keep_alive)
        .set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize);
    options.set_clean_session(builder.clean);
    if let Some((username, password)) = &builder.credentials {
        options.set_credentials(username, password);
    }
    if let Some(will) = &builder.will {
        let qos = mqtt4::qos(will.qos).unwrap();
        options.set_last_will(rumqttc::LastWill::new(
            &will.topic,
            will.payload.clone(),
            qos,
            will.retain,
        ));
    }
    let (client, mut events) = rumqttc::AsyncClient::new(options, QUEUE);
    events.network_options.set_connection_timeout(2 * PATIENCE.as_secs());
    (client, events)
}

fn options_v5(builder: &ClientBuilder) -> v5::MqttOptions {
    let mut options = v5::MqttOptions::new(&builder.id, "127.0.0.1", builder.port);
    options.set_keep_alive(builder.keep_alive).set_connection_timeout(2 * PATIENCE.as_secs());
    options.set_clean_start(builder.clean).set_max_packet_size(Some(MAX_PACKET));
    if !builder.clean {
        options.set_session_expiry_interval(Some(builder.session_expiry));
    }
    if let Some((username, password)) = &builder.credentials {
        options.set_credentials(username, password);
    }
    if let Some(will) = &builder.will {
        let qos = mqtt5::qos(will.qos).unwrap();
        options.set_last_will(packets5::LastWill::new(
            &will.topic,
            will.payload.clone(),
            qos,
            will.retain,
            None,
        ));
    }
    options
}

async fn pump_v4(mut events: rumqttc::EventLoop, seen: Arc<Watched<Seen>>) {
    loop {
        match events.poll().await {
            Ok(rumqttc::Event::Incoming(packet)) => seen.update(|seen| note_v4(seen, packet)),
            Ok(rumqttc::Event::Outgoing(_)) => {}
            Err(error) => return seen.update(|seen| seen.end = Some(end_v4(&error))),
        }
    }
}

fn note_v4(seen: &mut Seen, packet: rumqttc::Packet) {
    use rumqttc::Packet;
    match packet {
        Packet::ConnAck(_) => seen.connected = true,
        Packet::Publish(p) => {
            let (qos, payload) = (p.qos as u8, p.payload.to_vec());
            seen.messages.push_back(Message { topic: p.topic, payload, qos, retain: p.retain });
        }
        Packet::SubAck(ack) => {
            let code = |code: &rumqttc::SubscribeReasonCode| match code {
                rumqttc::SubscribeReasonCode::Success(qos) => *qos as u8,
                rumqttc::SubscribeReasonCode::Failure => 0x80,
            };
            seen.acks.push_back(Ack(ack.return_codes.iter().map(code).collect()));
        }
        Packet::PubAck(_) | Packet::PubComp(_) | Packet::UnsubAck(_) => {
            seen.acks.push_back(Ack(vec![0]))
        }
        _ => {}
    }
}

fn end_v4(error: &rumqttc::ConnectionError) -> End {
    use rumqttc::ConnectionError;
    match error {
        ConnectionError::ConnectionRefused(code) => End::Refused(*code as u8),
        ConnectionError::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            End::Unreachable(e.to_string())
        }
        other => End::Closed(other.to_string()),
    }
}

async fn pump_v5(mut events: v5::EventLoop, seen: Arc<Watched<Seen>>) {
    loop {
        match events.poll().await {
            Ok(v5::Event::Incoming(packet)) => seen.update(|seen| note_v5(seen, packet)),
            Ok(v5::Event::Outgoing(_)) => {}
            Err(error) => return seen.update(|seen| seen.end = Some(end_v5(&error))),
        }
    }
}

fn note_v5(seen: &mut Seen, packet: packets5::Packet) {
    use packets5::Packet;
    let codes = match packet {
        Packet::ConnAck(_) => {
            seen.connected = true;
            return;
        }
        Packet::Publish(p) => {
            let topic = String::from_utf8_lossy(&p.topic).into_owned();
            let (qos, payload) = (p.qos as u8, p.payload.to_vec());
            seen.messages.push_back(Message { topic, payload, qos, retain: p.retain });
            return;
        }
        Packet::SubAck(ack) => ack.return_codes.iter().map(codes::subscribe).collect(),
        Packet::UnsubAck(ack) => ack.reasons.iter().map(codes::unsubscribe).collect(),
        Packet::PubAck(ack) => vec![codes::puback(ack.reason)],
        Packet::PubRec(ack) if codes::pubrec(ack.reason) >= 0x80 => vec![codes::pubrec(ack.reason)],
        Packet::PubComp(_) => vec![0],
        _ => return,
    };
    seen.acks.push_back(Ack(codes));
}

fn end_v5(error: &v5::ConnectionError) -> End {
    use v5::ConnectionError;
    match error {
        ConnectionError::ConnectionRefused(code) => End::Refused(codes::connack(*code)),
        ConnectionError::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            End::Unreachable(e.to_string())
        }
        other => End::Closed(other.to_string()),
    }
}
