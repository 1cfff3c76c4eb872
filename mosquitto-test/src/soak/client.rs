//! A client that stays: it publishes, tries what it may not, receives, and now and then leaves.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::crowd::{Crowd, LIMIT};
use super::faults::Told;
use super::model::Span;
use super::policy::{self, Access};
use super::wire::{Packet, Wire};
use crate::mqtt::Protocol;
use crate::raw;

/// The longest that a client is silent; the broker expects to hear from it within 90 s.
const LONGEST_SILENCE: f64 = 45.0;

/// Publishes after which a client leaves and comes back, on average.
const STAY: u32 = 50;

/// How often `all/news` is published, which goes to half of all clients.
const NEWS_EVERY: Duration = Duration::from_secs(5);

pub struct Stayer {
    crowd: Rc<Crowd>,
    number: usize,
    protocol: Protocol,
    was_in: bool,
}

/// A request that the broker has not answered yet.
enum Pending {
    Publish { message: u64, topic: String, asked: Instant },
    Subscribe { filters: Vec<String>, asked: Instant },
}

impl Stayer {
    pub fn new(crowd: Rc<Crowd>, number: usize) -> Stayer {
        // A group has clients of both kinds; only MQTT 5 says whether a publish was allowed.
        let protocol = if number % 3 == 0 { Protocol::V3_1_1 } else { Protocol::V5 };
        Stayer { crowd, number, protocol, was_in: false }
    }

    pub async fn live(mut self, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            if let Some(wire) = self.log_in().await {
                tokio::select! {
                    () = self.stay(wire) => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
                self.crowd.left(self.number);
            } else {
                let _ = timeout(Duration::from_secs(1), stopping.changed()).await;
            }
        }
    }

    async fn log_in(&self) -> Option<Wire> {
        let _door = self.crowd.doors.acquire().await.ok()?;
        let (name, password) = (policy::username(self.number), policy::password(self.number));
        self.crowd.log_in(&format!("c{}", self.number), &name, &password, self.protocol).await
    }

    /// From the login to the end of the connection.
    async fn stay(&mut self, mut wire: Wire) {
        let own = policy::filter(policy::group(self.number));
        let filters = vec![own, policy::NEWS_FILTER.to_owned()];
        let mut pending = Some(self.subscribe(&mut wire, filters).await);
        let mut next = Instant::now() + self.pause();
        loop {
            let deadline = match &pending {
                Some(Pending::Publish { asked, .. } | Pending::Subscribe { asked, .. }) => {
                    *asked + LIMIT
                }
                None => next,
            };
            tokio::select! {
                packet = wire.next() => match packet {
                    // A DISCONNECT of MQTT 5 goes before the end of the connection.
                    None | Some(Packet::Other(0xe0)) => {
                        self.closed(pending);
                        // As client libraries do before they connect again.
                        sleep(Duration::from_secs(1)).await;
                        return;
                    }
                    Some(packet) => {
                        if !self.hear(&mut wire, packet, &mut pending).await {
                            return;
                        }
                    }
                },
                () = sleep_until(deadline.into()) => {
                    if pending.is_some() {
                        let who = self.number;
                        self.crowd.model.wrong(format!("u{who} has no answer after {LIMIT:?}"));
                        return;
                    }
                    if !self.crowd.is_everyone_in() {
                        next = Instant::now() + self.pause();
                    } else if fastrand::u32(..STAY) == 0 && self.number != 0 {
                        wire.send(&raw::disconnect_packet()).await;
                        return;
                    } else {
                        pending = Some(self.act(&mut wire).await);
                        next = Instant::now() + self.pause();
                    }
                }
            }
        }
    }

    /// How long until the client does something again.
    fn pause(&self) -> Duration {
        if self.number == 0 {
            return NEWS_EVERY;
        }
        let mean = self.crowd.plan.clients as f64 / (self.crowd.plan.rate * 0.8);
        let pause = -mean * (1.0 - fastrand::f64()).ln();
        Duration::from_secs_f64(pause.min(LONGEST_SILENCE))
    }

    async fn act(&self, wire: &mut Wire) -> Pending {
        let group = policy::group(self.number);
        let topic = match fastrand::u8(..20) {
            _ if self.number == 0 => policy::NEWS.to_owned(),
            0..9 => policy::topic(group, "open"),
            9..12 => policy::topic(group, "secret"),
            12..14 => policy::topic(group, "closed"),
            14..16 => policy::topic(group, "changing"),
            16 => policy::topic(group + 1, "open"),
            17 => policy::NEWS.to_owned(),
            _ => return self.subscribe(wire, vec![policy::filter(group + 1)]).await,
        };
        let message = self.crowd.publish(self.number, &topic);
        let asked = Instant::now();
        let payload = message.to_string();
        wire.send(&raw::publish_packet(self.protocol, &topic, payload.as_bytes(), Some(1))).await;
        Pending::Publish { message, topic, asked }
    }

    async fn subscribe(&self, wire: &mut Wire, filters: Vec<String>) -> Pending {
        let asked = Instant::now();
        wire.send(&raw::subscribe_packet(self.protocol, 2, &filters)).await;
        Pending::Subscribe { filters, asked }
    }

    /// Acts on a packet; `false` if the client is to come in anew.
    async fn hear(
        &mut self,
        wire: &mut Wire,
        packet: Packet,
        pending: &mut Option<Pending>,
    ) -> bool {
        match (packet, pending.take()) {
            (Packet::Publish { topic, payload, id }, before) => {
                *pending = before;
                self.crowd.delivered(self.number, &topic, &payload);
                if let Some(id) = id {
                    let [high, low] = id.to_be_bytes();
                    wire.send(&raw::packet(0x40, &[high, low])).await;
                }
            }
            (Packet::Puback { code, .. }, Some(Pending::Publish { message, topic, asked })) => {
                // 0x10 says that nobody has subscribed.
                let told = if [0, 0x10].contains(&code) { Told::Yes } else { Told::No };
                let is_said = self.protocol == Protocol::V5;
                self.crowd.acknowledged(message, is_said && told == Told::Yes);
                // MQTT 3.1.1 acknowledges what it drops.
                if is_said {
                    self.judge(Access::Write, &topic, asked, told);
                }
            }
            (Packet::Suback { codes }, Some(Pending::Subscribe { filters, asked })) => {
                for (filter, code) in filters.iter().zip(&codes) {
                    let told = if *code < 0x80 { Told::Yes } else { Told::No };
                    self.judge(Access::Subscribe, filter, asked, told);
                }
                if filters.len() > 1 {
                    if codes.iter().any(|code| *code >= 0x80) {
                        // For want of the API, or it was judged already.
                        sleep(Duration::from_secs(1)).await;
                        return false;
                    }
                    self.crowd.came_in(self.number, !self.was_in);
                    self.was_in = true;
                }
            }
            (packet, _) => {
                self.crowd.model.wrong(format!("u{} got {packet:?}", self.number));
                return false;
            }
        }
        true
    }

    /// The broker closes the connection of a client whose question nobody could decide, and only then.
    fn closed(&self, pending: Option<Pending>) {
        match pending {
            Some(Pending::Publish { topic, asked, .. }) => {
                self.judge(Access::Write, &topic, asked, Told::Nothing);
            }
            Some(Pending::Subscribe { filters, asked }) => {
                self.judge(Access::Subscribe, &filters[0], asked, Told::Nothing);
            }
            None => {
                let who = self.number;
                self.crowd.model.wrong(format!("u{who} was disconnected when idling"));
            }
        }
    }

    fn judge(&self, access: Access, topic: &str, asked: Instant, told: Told) {
        let span = Span::since(asked);
        self.crowd.model.judge_access(self.number, access, topic, span, told);
    }
}
