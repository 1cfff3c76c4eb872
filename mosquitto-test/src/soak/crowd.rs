//! What all clients of a soak share: who is in, the messages between them, and logging in.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Plan;
use super::faults::Told;
use super::model::{Kind, Model, Span};
use super::policy::{self, Access};
use super::wire::{Packet, Wire};
use crate::mqtt::Protocol;

/// How many log in at once when all begin.
const ENTERING: usize = 50;

/// When what was published must have arrived, and any request been answered.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What the clients share.
pub struct Crowd {
    pub plan: Plan,
    pub port: u16,
    pub model: Arc<Model>,
    pub doors: Semaphore,
    ledger: RefCell<Ledger>,
    entered: Sender<()>,
}

/// Who is where, and what is on its way.
#[derive(Default)]
struct Ledger {
    /// For each client that stays: its session's number while it is subscribed to everything.
    subscribed: Vec<Option<u64>>,
    sessions: u64,
    /// How many came in for the first time.
    entered: usize,
    messages: HashMap<u64, Message>,
    order: VecDeque<u64>,
    next: u64,
}

struct Message {
    sender: usize,
    topic: String,
    sent: Instant,
    /// When the broker acknowledged it, and whether it must arrive.
    acknowledged: Option<bool>,
    /// Who was there and may read it: client and session.
    due: HashSet<(usize, u64)>,
}

impl Crowd {
    pub fn new(plan: Plan, port: u16, model: Arc<Model>, entered: Sender<()>) -> Crowd {
        let ledger = Ledger { subscribed: vec![None; plan.clients], ..Ledger::default() };
        Crowd {
            plan,
            port,
            model,
            doors: Semaphore::new(ENTERING),
            ledger: RefCell::new(ledger),
            entered,
        }
    }

    pub fn is_everyone_in(&self) -> bool {
        self.ledger.borrow().entered == self.plan.clients
    }

    /// A client is in and subscribed; returns its session's number.
    pub fn came_in(&self, number: usize, first: bool) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.sessions += 1;
        ledger.subscribed[number] = Some(ledger.sessions);
        if first {
            ledger.entered += 1;
            if ledger.entered == self.plan.clients {
                let _ = self.entered.send(());
            }
        }
    }

    /// A client leaves, or some of its subscriptions are in doubt.
    pub fn left(&self, number: usize) {
        self.ledger.borrow_mut().subscribed[number] = None;
    }

    /// Notes a message that is about to be published; returns its number.
    pub fn publish(&self, sender: usize, topic: &str) -> u64 {
        let ledger = &mut *self.ledger.borrow_mut();
        let everyone = if topic == policy::NEWS {
            0..self.plan.clients
        } else {
            let first = policy::group(sender) * policy::GROUP;
            first..(first + policy::GROUP).min(self.plan.clients)
        };
        let due = everyone
            .filter(|reader| self.model.now(policy::may(*reader, Access::Read, topic)))
            .filter_map(|reader| Some((reader, ledger.subscribed[reader]?)))
            .collect();
        let id = ledger.next;
        ledger.next += 1;
        let sent = Instant::now();
        let message = Message { sender, topic: topic.to_owned(), sent, acknowledged: None, due };
        ledger.messages.insert(id, message);
        ledger.order.push_back(id);
        id
    }

    /// The broker has acknowledged a message: those who may read it must get it, if it was allowed
    /// for certain, or the broker said that it was: a delivery is held while the API is away.
    pub fn acknowledged(&self, id: u64, is_said_to_be_allowed: bool) {
        let mut ledger = self.ledger.borrow_mut();
        if let Some(message) = ledger.messages.get_mut(&id) {
            let right = policy::may(message.sender, Access::Write, &message.topic);
            let certain = self.model.is_certain(right, Span::since(message.sent));
            message.acknowledged = Some(certain || is_said_to_be_allowed);
        }
    }

    /// A client has received a message.
    pub fn delivered(&self, reader: usize, topic: &str, payload: &[u8]) {
        let mut ledger = self.ledger.borrow_mut();
        let session = ledger.subscribed[reader];
        let id = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<u64>().ok());
        let Some(message) = id.and_then(|id| ledger.messages.get_mut(&id)) else {
            return self.model.wrong(format!("u{reader} got an unknown message on {topic}"));
        };
        if message.topic != topic {
            return self.model.wrong(format!("u{reader} got {} on {topic}", message.topic));
        }
        let span = Span::since(message.sent);
        let about = || format!("{topic} to u{reader}, from u{}", message.sender);
        self.model.judge(
            Kind::Delivery,
            policy::may(reader, Access::Read, topic),
            span,
            Told::Yes,
            about,
        );
        // What was delivered was allowed to be published as well.
        let written = policy::may(message.sender, Access::Write, topic);
        if written == policy::Right::No {
            self.model.wrong(format!("{} came through", about()));
        }
        if let Some(session) = session {
            message.due.remove(&(reader, session));
        }
    }

    /// Looks whether what is this old has arrived.
    pub fn settle(&self, age: Duration) {
        let ledger = &mut *self.ledger.borrow_mut();
        while let Some(id) = ledger.order.front() {
            let Some(message) = ledger.messages.get(id) else { break };
            if message.sent.elapsed() < age {
                break;
            }
            if message.acknowledged == Some(true) {
                for (reader, session) in &message.due {
                    // Who has left meanwhile, or will have by the end, need not have it.
                    if ledger.subscribed[*reader] == Some(*session) {
                        self.model.wrong(format!(
                            "u{reader} did not get {} from u{}, {:?} ago",
                            message.topic,
                            message.sender,
                            message.sent.elapsed()
                        ));
                    }
                }
            }
            ledger.messages.remove(id);
            ledger.order.pop_front();
        }
    }

    /// Logs in and judges what comes of it; the connection, if it is accepted.
    pub async fn log_in(
        &self,
        id: &str,
        username: &str,
        password: &str,
        protocol: Protocol,
    ) -> Option<Wire> {
        let asked = Instant::now();
        let Ok(mut wire) = Wire::open(self.port, protocol).await else {
            self.model.wrong(format!("the broker takes no connection from {id}"));
            return None;
        };
        wire.connect(id, username, password).await;
        let told = match timeout(LIMIT, wire.next()).await {
            Ok(Some(Packet::Connack(0))) => Told::Yes,
            Ok(Some(Packet::Connack(code))) if code == protocol.refusal() => Told::No,
            // Mosquitto 2.1 takes leave of MQTT 5 clients even then.
            Ok(None | Some(Packet::Other(0xe0))) => Told::Nothing,
            other => {
                self.model.wrong(format!("{id} was told {other:?} on its login"));
                return None;
            }
        };
        self.model.judge_login(id, (username, password), Span::since(asked), told);
        (told == Told::Yes).then_some(wire)
    }
}
