//! All clients of a soak: those that stay, those that only look in, and the messages between them.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::Plan;
use super::client::Stayer;
use super::faults::Told;
use super::hostile::Attack;
use super::oracle::{Kind, Oracle, Span};
use super::policy::{self, Access};
use super::wire::{Packet, Wire};
use crate::mqtt::Protocol;

/// How many log in at once when all begin.
const ENTERING: usize = 50;

/// Clients that look in at the same time.
const VISITORS: usize = 20;

/// When what was published must have arrived, and any request been answered.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What the clients share.
pub struct Crowd {
    pub plan: Plan,
    pub port: u16,
    pub oracle: Arc<Oracle>,
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
    pub fn new(plan: Plan, port: u16, oracle: Arc<Oracle>, entered: Sender<()>) -> Crowd {
        let ledger = Ledger { subscribed: vec![None; plan.clients], ..Ledger::default() };
        Crowd {
            plan,
            port,
            oracle,
            doors: Semaphore::new(ENTERING),
            ledger: RefCell::new(ledger),
            entered,
        }
    }

    /// Everyone comes, and stays until the end.
    pub async fn live(self: Rc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut tasks: Vec<_> = (0..self.plan.clients)
            .map(|number| spawn_local(Stayer::new(self.clone(), number).live(stopping.clone())))
            .collect();
        for number in 0..VISITORS {
            tasks.push(spawn_local(self.clone().visit(number, stopping.clone())));
        }
        for attack in Attack::ALL {
            tasks.push(spawn_local(attack.go_on(self.clone(), stopping.clone())));
        }
        const LOOK: Duration = Duration::from_secs(1);
        let mut began = Instant::now();
        while timeout(LOOK, stopping.wait_for(|stop| *stop)).await.is_err() {
            self.oracle.late(began.elapsed().saturating_sub(LOOK));
            began = Instant::now();
            self.settle(LIMIT);
        }
        for task in tasks {
            task.await.expect("no client panics");
        }
        self.settle(Duration::ZERO);
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
            .filter(|reader| self.oracle.now(policy::may(*reader, Access::Read, topic)))
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
            let certain = self.oracle.is_certain(right, Span::since(message.sent));
            message.acknowledged = Some(certain || is_said_to_be_allowed);
        }
    }

    /// A client has received a message.
    pub fn delivered(&self, reader: usize, topic: &str, payload: &[u8]) {
        let mut ledger = self.ledger.borrow_mut();
        let session = ledger.subscribed[reader];
        let id = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<u64>().ok());
        let Some(message) = id.and_then(|id| ledger.messages.get_mut(&id)) else {
            return self.oracle.wrong(format!("u{reader} got an unknown message on {topic}"));
        };
        if message.topic != topic {
            return self.oracle.wrong(format!("u{reader} got {} on {topic}", message.topic));
        }
        let span = Span::since(message.sent);
        let about = || format!("{topic} to u{reader}, from u{}", message.sender);
        self.oracle.judge(
            Kind::Delivery,
            policy::may(reader, Access::Read, topic),
            span,
            Told::Yes,
            about,
        );
        // What was delivered was allowed to be published as well.
        let written = policy::may(message.sender, Access::Write, topic);
        if written == policy::Right::No {
            self.oracle.wrong(format!("{} came through", about()));
        }
        if let Some(session) = session {
            message.due.remove(&(reader, session));
        }
    }

    /// Looks whether what is this old has arrived.
    fn settle(&self, age: Duration) {
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
                        self.oracle.wrong(format!(
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
            self.oracle.wrong(format!("the broker takes no connection from {id}"));
            return None;
        };
        wire.connect(id, username, password).await;
        let told = match timeout(LIMIT, wire.next()).await {
            Ok(Some(Packet::Connack(0))) => Told::Yes,
            Ok(Some(Packet::Connack(code))) if code == protocol.refusal() => Told::No,
            // Mosquitto 2.1 takes leave of MQTT 5 clients even then.
            Ok(None | Some(Packet::Other(0xe0))) => Told::Nothing,
            other => {
                self.oracle.wrong(format!("{id} was told {other:?} on its login"));
                return None;
            }
        };
        self.oracle.judge_login(username, password, Span::since(asked), told);
        (told == Told::Yes).then_some(wire)
    }

    /// Looks in, again and again, under many names.
    async fn visit(self: Rc<Self>, number: usize, mut stopping: watch::Receiver<bool>) {
        let mut count = 0_u64;
        while !*stopping.borrow() {
            let pause = Duration::from_secs_f64(VISITORS as f64 / (self.plan.rate * 0.2));
            if !self.is_everyone_in() {
                // So that all come in as fast as they can.
                let _ = timeout(Duration::from_millis(100), stopping.changed()).await;
                continue;
            }
            count += 1;
            let protocol = Protocol::BOTH[fastrand::usize(..2)];
            let id = format!("visitor-{number}");
            let user = fastrand::usize(..self.plan.clients);
            match fastrand::u8(..5) {
                0 => {
                    let (name, password) = (policy::username(user), policy::password(user));
                    self.log_in(&id, &name, &password, protocol).await;
                }
                1 => {
                    self.log_in(&id, &policy::username(user), "wrong", protocol).await;
                }
                // A name that nobody bore before.
                2 => {
                    self.log_in(&id, &format!("stranger-{number}-{count}"), "x", protocol).await;
                }
                3 => {
                    let name = format!("{}-{}", policy::GUEST, number);
                    self.log_in(&id, &name, "x", protocol).await;
                }
                // Is gone before it has an answer. Mosquitto 2.1 lets nobody else in by the same
                // identifier until then.
                _ => {
                    let id = format!("leaver-{number}-{count}");
                    if let Ok(mut wire) = Wire::open(self.port, protocol).await {
                        wire.connect(&id, &policy::username(user), "wrong").await;
                    }
                }
            }
            sleep(pause).await;
        }
    }
}
