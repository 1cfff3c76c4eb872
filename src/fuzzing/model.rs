//! Two instances behind two listeners of one simulated broker, against what their APIs said.
//!
//! The events and their order are those of Mosquitto 2.0 and 2.1. All of it runs on one thread: a worker
//! waits until the model lets it work, and while a request is at the API, more may happen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{Connection, Stage};
use super::ledger::{Asked, Ledger, Subject};
use crate::answer::{Decision, Failure};
use crate::api::fuzzing::{Response, simulate};
use crate::clock::{Clock, ManualClock};
use crate::config;
use crate::login::LoginAttempts;
use crate::plugin::{Attempt, HostCapabilities, Instances, LoginReply, Plugin};

const NAMES: [&str; 3] = ["ann", "bob", "rules"];
const TOPICS: [&str; 3] = ["t", "u", "r/x"];
const MOUNT: &str = "m/";

/// For how long an answer is kept for somebody who was closed before it came.
const RETRY: Duration = Duration::from_secs(15);

mod clients;
mod host;

type Work = Box<dyn FnOnce() + Send>;

/// What becomes of a worker that is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Workers {
    /// It waits until the model lets it work.
    Wait,
    /// It is through before the asker waits for it.
    AtOnce,
}

thread_local! {
    static WORKERS: Cell<Workers> = const { Cell::new(Workers::Wait) };
    static WAITING: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
}

fn spawn(_: String, work: Work) -> io::Result<JoinHandle<()>> {
    if WORKERS.get() == Workers::AtOnce {
        work();
        // It has ended, so there is nothing to join.
        return Err(io::ErrorKind::WouldBlock.into());
    }
    WAITING.with_borrow_mut(|waiting| waiting.push(work));
    thread::Builder::new().spawn(|| {})
}

/// The simulated world: a broker, two instances, and their APIs.
struct World {
    plugins: [Plugin; 2],
    is_2_1: bool,
    /// How long answers may serve.
    ttl: Duration,
    clock: Arc<ManualClock>,
    choices: RefCell<Vec<u8>>,
    /// The broker's clients, by handle less one: a handle that is free is used again.
    clients: RefCell<Vec<Option<Connection>>>,
    ledger: RefCell<Ledger>,
    /// Who may log in, and who may use a topic, as each API sees it now.
    rights: RefCell<BTreeSet<(usize, &'static str, &'static str)>>,
    /// Of which users a client was closed because nobody could decide in time.
    closed: RefCell<BTreeSet<(usize, String)>>,
    /// How many requests are at the API.
    depth: Cell<usize>,
    /// The instance that may call the broker.
    ticking: Cell<usize>,
    /// What was wrong. The plugin contains panics in much of what it calls.
    faults: RefCell<Vec<String>>,
}

/// Events as the bytes choose them.
pub(super) fn run(data: &[u8]) {
    let [kind, events @ ..] = data else { return };
    let world = Rc::new(World::new(*kind, &events[..events.len().min(600)]));
    let answering = Rc::downgrade(&world);
    simulate(Some(Rc::new(move |url: &str, body: &[u8]| {
        answering.upgrade().map_or(Err(Failure::Stopping), |world| world.answer(url, body))
    })));
    for instance in 0..2 {
        world.connect(
            instance,
            &format!("boss-{instance}"),
            "boss",
            "good",
            false,
            Workers::AtOnce,
        );
    }
    world.tick();
    while !world.choices.borrow().is_empty() {
        world.event();
        assert!(world.faults.borrow().is_empty(), "{:?}", world.faults);
    }
    world.end();
    assert!(world.faults.borrow().is_empty(), "{:?}", world.faults);
    simulate(None);
}

impl World {
    fn new(kind: u8, events: &[u8]) -> Self {
        let is_2_1 = kind & 1 != 0;
        let ttl = if kind & 2 != 0 { 5 } else { 0 };
        let clock = ManualClock::new();
        let (attempts, instances) = (Arc::new(LoginAttempts::new().unwrap()), Arc::default());
        let start = |port: usize| {
            let (port, ttl) = (port.to_string(), ttl.to_string());
            let given = [
                ("http_host", "127.0.0.1"),
                ("http_port", &port),
                ("http_user_route", "/user"),
                ("http_acl_route", "/acl"),
                ("cache_ttl", &ttl),
                ("cache_deny_ttl", &ttl),
                ("cache_revalidate", if kind & 4 != 0 { "3" } else { "0" }),
                ("max_block_ms", "1"),
                ("max_block_percent", "100"),
                ("breaker_failures", "1000000"),
                ("log_level", "error"),
            ];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let capabilities = HostCapabilities {
                login_attempts: Arc::clone(&attempts),
                instances: Arc::<Instances>::clone(&instances),
                ..HostCapabilities::of(is_2_1, spawn)
            };
            Plugin::start(config::read(&given).unwrap(), clock.clone(), capabilities).unwrap()
        };
        Self {
            plugins: [start(1), start(2)],
            is_2_1,
            ttl: Duration::from_secs(ttl),
            clock,
            choices: RefCell::new(events.iter().rev().copied().collect()),
            clients: RefCell::default(),
            ledger: RefCell::default(),
            closed: RefCell::default(),
            rights: RefCell::default(),
            depth: Cell::new(0),
            ticking: Cell::new(0),
            faults: RefCell::default(),
        }
    }

    /// Notes a fault where this does not hold.
    fn claim(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.borrow_mut().push(what());
        }
    }

    fn choose<T: Copy>(&self, among: &[T]) -> T {
        let byte = self.choices.borrow_mut().pop().unwrap_or(0);
        among[usize::from(byte) % among.len()]
    }

    fn event(&self) {
        let workers = self.choose(&[Workers::AtOnce, Workers::Wait, Workers::AtOnce]);
        match self.choose(&[0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7, 8, 9, 10]) {
            0 => {
                let instance = self.choose(&[0, 1]);
                let id = self.choose(&["c", "d"]);
                let (name, password) = (self.choose(&NAMES), self.choose(&["good", "bad", "good"]));
                self.connect(instance, id, name, password, self.choose(&[false, true]), workers);
            }
            1 => self.pick().into_iter().for_each(|handle| self.leave(handle, true)),
            2 => self.work(),
            3 => self.subscribe(workers),
            4 => self.unsubscribe(),
            5 => self.publish(workers),
            6 => {
                let right =
                    (self.choose(&[0, 1]), self.choose(&NAMES), self.choose(&["", "t", "u"]));
                let mut rights = self.rights.borrow_mut();
                if !rights.remove(&right) {
                    rights.insert(right);
                }
            }
            7 => self.sighup(),
            8 => self.invalidate(),
            9 => self.kick(),
            _ => self.clock.advance(Duration::from_millis(self.choose(&[200, 1500, 6000]))),
        }
        if self.choose(&[true, true, true, false]) {
            self.tick();
        }
    }

    /// The API gets a request, and more may happen before it answers.
    fn answer(&self, url: &str, body: &[u8]) -> Result<Response, Failure> {
        let instance = usize::from(url.contains(":2/"));
        let body: Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let subject = if url.ends_with("/user") {
            Subject::Login { password: text("password") }
        } else {
            Subject::Access { topic: text("topic"), access: body["acc"].as_u64() }
        };
        let asked = Asked { instance, username: text("username"), subject };
        let number = self.ledger.borrow_mut().asked(asked.clone(), self.clock.now());
        if WORKERS.get() == Workers::Wait && self.depth.get() < 2 && self.choose(&[false, true]) {
            self.depth.set(self.depth.get() + 1);
            for _ in 0..3 {
                self.event();
                WORKERS.set(Workers::Wait);
            }
            self.depth.set(self.depth.get() - 1);
        }
        let fails = asked.username != "boss" && self.choose(&[0, 1, 2, 3, 4, 5]) == 5;
        let said = (!fails).then(|| self.allows(&asked));
        self.ledger.borrow_mut().answered(number, said);
        Ok(match said {
            None => Response::of(500, b""),
            Some(false) => Response::of(403, b""),
            Some(true) if asked.username == "rules" && url.ends_with("/user") => Response::of(
                200,
                br#"{"acl": [{"permission": "allow", "action": "all", "topic": "m/r/#"}]}"#,
            ),
            Some(true) => Response::of(200, b"{}"),
        })
    }

    fn allows(&self, asked: &Asked) -> bool {
        if asked.username == "boss" {
            return true;
        }
        let topic = match &asked.subject {
            Subject::Login { password } if password != "good" => return false,
            Subject::Login { .. } => "",
            Subject::Access { topic, .. } => topic.trim_start_matches(MOUNT),
        };
        let rights = self.rights.borrow();
        // Who has not been named yet may.
        !rights
            .iter()
            .any(|(i, name, t)| *i == asked.instance && *name == asked.username && *t == topic)
    }

    /// Runs the broker's call with its workers in this way.
    fn with<R>(&self, workers: Workers, call: impl FnOnce() -> R) -> R {
        let before = WORKERS.replace(workers);
        let result = call();
        WORKERS.set(before);
        result
    }

    /// One of the workers that wait works.
    fn work(&self) {
        let work =
            WAITING.with_borrow_mut(|waiting| (!waiting.is_empty()).then(|| waiting.remove(0)));
        if let Some(work) = work {
            work();
        }
    }

    /// All of them do, and nothing else happens.
    fn catch_up(&self) {
        let before = WORKERS.replace(Workers::AtOnce);
        while WAITING.with_borrow(|waiting| !waiting.is_empty()) {
            self.work();
        }
        WORKERS.set(before);
    }

    fn pick(&self) -> Option<usize> {
        let clients = self.clients.borrow();
        let some: Vec<_> = (0..clients.len())
            .filter(|at| clients[*at].as_ref().is_some_and(|c| c.username != "boss"))
            .collect();
        drop(clients);
        (!some.is_empty()).then(|| self.choose(&some))
    }

    fn find(&self, of: impl Fn(&Connection) -> bool) -> Option<usize> {
        self.clients.borrow().iter().position(|client| client.as_ref().is_some_and(&of))
    }

    fn get(&self, at: usize) -> Connection {
        self.clients.borrow()[at].clone().unwrap()
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Connection)) {
        change(self.clients.borrow_mut()[at].as_mut().unwrap());
    }

    fn sighup(&self) {
        self.plugins.iter().for_each(Plugin::reload);
        let clients = self.clients.borrow().len();
        for at in 0..clients {
            let Some(client) = self.clients.borrow()[at].clone() else { continue };
            if !matches!(client.stage, Stage::In | Stage::Offline) {
                continue;
            }
            let attempt = Attempt {
                client: &*client.identity,
                username: Some(&client.username),
                password: client.password.as_bytes(),
                broker: Some(self),
            };
            let plugin = &self.plugins[client.instance];
            let reply = self.with(Workers::Wait, || plugin.login(&attempt));
            // An offline one is not known, and the broker keeps its state.
            let stays = reply == LoginReply::Now(Decision::Allow);
            let should = client.stage == Stage::In;
            self.claim(stays == should, || format!("SIGHUP: {reply:?} for {client:?}"));
        }
        self.tick();
    }

    /// The broker hands commands to the first instance, whoever sends them.
    fn command(&self, instance: usize, command: &Value) {
        let payload = json!({ "commands": [command] }).to_string();
        let boss = |c: &Connection| c.username == "boss" && c.instance == instance;
        let Some(boss) = self.find(boss).map(|at| self.get(at)) else { return };
        self.with(Workers::Wait, || {
            self.plugins[instance].asked_about_commands(boss.identity.handle);
            self.plugins[0].control(&*boss.identity, payload.as_bytes());
        });
        // The other instance finds it at its next tick.
        self.tick();
    }

    fn invalidate(&self) {
        let (instance, name) = (self.choose(&[0, 1]), self.choose(&NAMES));
        self.command(instance, &json!({"command": "invalidate", "username": name}));
        self.ledger.borrow_mut().invalidated(instance, name);
    }

    fn kick(&self) {
        let instance = self.choose(&[0, 1]);
        let id = self.choose(&["c", "d"]);
        self.command(instance, &json!({"command": "kick", "clientid": id}));
        self.tick();
        // Who waits, too, and by the same tick or the next.
        self.tick();
        let stays = |client: &Connection| {
            let is_there = matches!(client.stage, Stage::In | Stage::Waiting);
            client.instance == instance && client.identity.id == id && is_there
        };
        self.claim(self.find(stays).is_none(), || {
            format!("{id} of {instance} was to be disconnected: {:?}", self.clients.borrow())
        });
    }

    fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
        for (instance, plugin) in self.plugins.iter().enumerate() {
            let before = self.ticking.replace(instance);
            self.with(Workers::Wait, || plugin.tick(self));
            plugin.write_log(self);
            self.ticking.set(before);
        }
    }

    /// All that is under way ends, and everybody goes; nothing is left of them.
    fn end(&self) {
        for _ in 0..3 {
            self.catch_up();
            self.tick();
        }
        let waits = self.find(|client| client.stage == Stage::Waiting).map(|at| self.get(at));
        self.claim(waits.is_none(), || format!("{waits:?} waits for ever"));
        let clients = self.clients.borrow().len();
        for at in 0..clients {
            if self.clients.borrow()[at].is_some() {
                self.remove(at);
            }
        }
        for plugin in &self.plugins {
            self.catch_up();
            self.with(Workers::Wait, || plugin.tick(self));
            let left = plugin.remembered();
            self.claim(left.values().all(|count| *count == 0), || format!("{left:?} are left"));
            plugin.shut_down();
        }
        WAITING.with_borrow_mut(Vec::clear);
    }
}
