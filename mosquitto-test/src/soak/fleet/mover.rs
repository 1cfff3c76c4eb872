//! Clients that go from broker to broker, and those who take and give back their rights.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::model::{Kind, Model, Question};
use super::{BROKERS, ROOT, is_about_login, password, username};
use crate::control::{RESPONSES, TOPIC};
use crate::mqtt::Protocol;
use crate::raw;
use crate::soak::faults::Told;
use crate::soak::wire::{Packet, Wire};

/// When any request must have been answered.
const LIMIT: Duration = Duration::from_secs(60);

/// Those who change rights, each of whom has a part of all users.
const OPERATORS: usize = 3;

/// How long each of them waits after a change.
const PAUSE: Duration = Duration::from_millis(300);

pub struct Movers {
    pub ports: Vec<u16>,
    pub model: Arc<Model>,
    pub clients: usize,
}

impl Movers {
    /// Everyone comes, and moves until the end.
    pub async fn live(self: Rc<Self>, stopping: watch::Receiver<bool>) {
        let operators = (0..OPERATORS)
            .map(|number| spawn_local(self.clone().change_rights(number, stopping.clone())));
        let movers = (0..self.clients)
            .map(|user| spawn_local(self.clone().go_about(user, stopping.clone())));
        let tasks: Vec<_> = operators.chain(movers).collect();
        for task in tasks {
            task.await.expect("no client panics");
        }
    }

    async fn go_about(self: Rc<Self>, user: usize, stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            let broker = fastrand::usize(..BROKERS);
            if fastrand::u8(..20) == 0 {
                // Under an identifier of its own, so that it drives nobody out.
                let at = self.log_in(user, broker, "x", "wrong").await;
                if let Some((told, question, _)) = at {
                    self.model.judge(Kind::Login, question, told, false);
                }
            }
            let right = password(user);
            let Some((told, question, wire)) = self.log_in(user, broker, "m", &right).await else {
                sleep(Duration::from_millis(500)).await;
                continue;
            };
            if is_about_login(user) {
                self.model.judge_right(Kind::Login, question, told);
            } else {
                self.model.judge(Kind::Login, question, told, true);
            }
            if told == Told::Yes {
                self.stay(wire, question, &stopping).await;
            }
            sleep(Duration::from_millis(fastrand::u64(50..1500))).await;
        }
    }

    /// What a login comes to; none, if the broker takes no connection.
    async fn log_in(
        &self,
        user: usize,
        broker: usize,
        kind: &str,
        password: &str,
    ) -> Option<(Told, Question, Wire)> {
        let asked = Instant::now();
        let Ok(mut wire) = Wire::open(self.ports[broker], Protocol::V5).await else {
            if !self.model.was_down(broker, asked, Instant::now()) {
                self.model.note(format!("b{broker} takes no connection"));
            }
            return None;
        };
        wire.connect(&format!("{kind}{user}"), &username(user), password).await;
        let packet = timeout(LIMIT, wire.next()).await;
        let question = Question { user, broker, came: asked, asked, told: Instant::now() };
        let told = match packet {
            Ok(Some(Packet::Connack(0))) => Told::Yes,
            Ok(Some(Packet::Connack(code))) if code == Protocol::V5.refusal() => Told::No,
            Ok(None | Some(Packet::Other(0xe0))) => Told::Nothing,
            other => {
                self.model.note(format!("m{user} was told {other:?} on its login at b{broker}"));
                return None;
            }
        };
        Some((told, question, wire))
    }

    /// Publishes for a while, mostly a short one.
    async fn stay(&self, mut wire: Wire, login: Question, stopping: &watch::Receiver<bool>) {
        let times = if fastrand::u8(..8) == 0 { 25 } else { 4 };
        for nth in 0..fastrand::usize(1..times) {
            if *stopping.borrow() {
                break;
            }
            sleep(Duration::from_millis(fastrand::u64(100..1000))).await;
            let user = login.user;
            let name = ["up", "down", "changing"][fastrand::usize(..3)];
            let (topic, asked) = (format!("{name}/{user}"), Instant::now());
            let id = Some(u16::try_from(nth + 1).expect("it publishes seldom"));
            wire.send(&raw::publish_packet(Protocol::V5, topic, b"x", id)).await;
            let packet = timeout(LIMIT, wire.next()).await;
            let question = Question { asked, told: Instant::now(), ..login };
            match packet {
                Ok(Some(Packet::Puback { code, .. })) => {
                    // 0x10 says that nobody has subscribed.
                    let told = if [0, 0x10].contains(&code) { Told::Yes } else { Told::No };
                    self.judge_publish(name, question, told);
                }
                Ok(None | Some(Packet::Other(0xe0))) => {
                    return self.model.judge_end(question, is_about_login(user));
                }
                other => return self.model.note(format!("m{user} was told {other:?} on {name}")),
            }
        }
        wire.send(&raw::disconnect_packet()).await;
    }

    fn judge_publish(&self, name: &str, question: Question, told: Told) {
        let goes = |told| self.model.judge_right(Kind::Publish, question, told);
        match (name, is_about_login(question.user), told) {
            ("down", ..) => self.model.judge(Kind::Publish, question, told, false),
            // Whoever lost the right to be there is disconnected, and denied nothing.
            (_, true, Told::Yes) => goes(told),
            ("changing", false, _) => goes(told),
            _ => self.model.judge(Kind::Publish, question, told, true),
        }
    }

    /// Takes rights and gives them back, and tells one of the brokers of each.
    async fn change_rights(self: Rc<Self>, number: usize, mut stopping: watch::Receiver<bool>) {
        let mut wires: [Option<Wire>; BROKERS] = Default::default();
        while timeout(PAUSE, stopping.wait_for(|stop| *stop)).await.is_err() {
            let part = fastrand::usize(..self.clients / OPERATORS);
            let (user, broker) = (part * OPERATORS + number, fastrand::usize(..BROKERS));
            let mut wire = match wires[broker].take() {
                Some(wire) => wire,
                None => match self.enter(number, broker).await {
                    Some(wire) => wire,
                    None => continue,
                },
            };
            let change = self.model.change(user);
            let told = Instant::now();
            let Some(response) = self.invalidate(&mut wire, user).await else { continue };
            wires[broker] = Some(wire);
            let fleet = &response["responses"][0]["data"]["fleet"];
            let Some(count) = fleet["brokers"].as_u64() else {
                self.model.note(format!("b{broker} responded {response}"));
                continue;
            };
            let waits = |other: &usize| {
                let waiting = fleet["waiting"].as_array().map_or(&[][..], Vec::as_slice);
                waiting.iter().any(|name| *name == format!("b{other}"))
            };
            // Who is not counted is not promised anything about.
            let heard: Vec<_> = if count == BROKERS as u64 {
                (0..BROKERS).filter(|other| !waits(other)).collect()
            } else {
                vec![broker]
            };
            self.model.acknowledged(user, change, &heard, told);
        }
    }

    async fn enter(&self, number: usize, broker: usize) -> Option<Wire> {
        let mut wire = Wire::open(self.ports[broker], Protocol::V5).await.ok()?;
        wire.connect(&format!("{ROOT}{number}"), ROOT, "x").await;
        if timeout(LIMIT, wire.next()).await.ok()?? != Packet::Connack(0) {
            return None;
        }
        wire.send(&raw::subscribe_packet(Protocol::V5, 1, &[RESPONSES])).await;
        matches!(timeout(LIMIT, wire.next()).await.ok()??, Packet::Suback { .. }).then_some(wire)
    }

    /// The response to an `invalidate`; none, if the connection ends before.
    async fn invalidate(&self, wire: &mut Wire, user: usize) -> Option<Value> {
        let command = json!({"command": "invalidate", "username": username(user)});
        let payload = json!({"commands": [command]}).to_string();
        wire.send(&raw::publish_packet(Protocol::V5, TOPIC, payload.as_bytes(), None)).await;
        match timeout(LIMIT, wire.next()).await {
            Ok(Some(Packet::Publish { payload, id, .. })) => {
                if let Some(id) = id {
                    wire.send(&raw::packet(0x40, &id.to_be_bytes())).await;
                }
                serde_json::from_slice(&payload).ok()
            }
            Ok(None | Some(Packet::Other(0xe0))) => None,
            other => {
                self.model.note(format!("{ROOT} was told {other:?}"));
                None
            }
        }
    }
}
