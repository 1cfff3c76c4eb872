//! Three brokers that share answers, clients that move among them, and a Redis that fails, with every
//! decision judged.
//!
//! Users' rights are taken and given back, and a broker is told of each change, by `invalidate`. From the
//! moment that its response names a broker as one that has applied it, nothing else is right there than
//! what the API said since; at one that has not heard of it, what it knew is right until its life ends.
//! Redis meanwhile is killed and comes back with nothing or with what an older dump has, is stopped in its tracks for
//! moments and for longer, and is emptied; brokers crash and are started again, and read their configuration anew.

mod model;
mod mover;

use std::ffi::OsString;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::{AuthServer, Reply, Request};
use crate::broker::{Broker, Version};
use crate::control::{RESPONSES, TOPIC};
use crate::mqtt::Protocol;
use crate::redis::{Engine, IN_TOUCH, Redis};
use model::{Counts, LIFE, Model};
use mover::Movers;

/// How many brokers there are.
const BROKERS: usize = 3;

/// How long answers are believed by a broker that cannot hear of commands.
const BLIND: Duration = Duration::from_secs(8);

const SECRET: &str = "soak-canary-0123456789abcdefghijklmnop";

/// Who may do everything, and commands.
const ROOT: &str = "root";

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub version: Version,
    pub time: Duration,
    /// Clients that move.
    pub clients: usize,
}

/// What came of a run.
pub struct Report {
    pub plan: Plan,
    pub counts: Counts,
    /// How often the API was asked about a login, but for those of whoever commands.
    pub asked: u64,
    /// How many answers the brokers found in Redis, since each was started last.
    pub found: u64,
    faults: Faults,
}

/// What happened to Redis and to the brokers.
#[derive(Default)]
struct Faults {
    killed: usize,
    frozen: usize,
    emptied: usize,
    crashes: usize,
    reloads: usize,
    /// What brokers logged that have crashed.
    logs: Vec<String>,
}

/// Where all that the brokers log is to be written.
fn log_file() -> Option<OsString> {
    std::env::var_os("SOAK_LOG")
}

fn username(number: usize) -> String {
    format!("m{number}")
}

fn password(number: usize) -> String {
    format!("right-{number}")
}

fn number(username: &str) -> Option<usize> {
    username.strip_prefix('m')?.parse().ok()
}

/// Whether a user's right is to be let in at all; those of the others is to publish to a topic.
fn is_about_login(number: usize) -> bool {
    number % 2 == 0
}

/// Says what is right at that moment.
fn answer(model: &Model, request: &Request) -> Reply {
    let body = request.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    if text("username") == ROOT {
        return Reply::status(200).json(json!({"is_superuser": true}));
    }
    let Some(number) = number(text("username")).filter(|_| request.path == "/user") else {
        return Reply::status(403);
    };
    let has_right = model.now(number);
    if text("password") != password(number) || (is_about_login(number) && !has_right) {
        return Reply::status(403);
    }
    let allow = |topic: String| json!({"permission": "allow", "action": "publish", "topic": topic});
    let mut rules = vec![allow(format!("up/{number}"))];
    if has_right {
        rules.push(allow(format!("changing/{number}")));
    }
    rules.push(json!({"permission": "deny", "action": "all", "topic": "#"}));
    Reply::status(200).json(json!({ "acl": rules }))
}

fn broker(plan: Plan, api: &AuthServer, redis: &Redis, number: usize) -> Broker {
    let (life, blind) = (LIFE.as_secs().to_string(), BLIND.as_secs().to_string());
    let (address, name) = (redis.address(), format!("b{number}"));
    let options = [
        ("http_user_route", "/user"),
        ("http_acl_route", "/acl"),
        ("http_connections", "8"),
        ("http_timeout_ms", "30000"),
        ("cache_ttl", &life),
        ("max_block_ms", "60000"),
        ("max_block_percent", "100"),
        ("fleet_redis", &address),
        ("fleet_secret", "$FLEET_SECRET"),
        ("fleet_broker", &name),
        ("fleet_blind_ttl", &blind),
        ("log_level", if log_file().is_some() { "debug" } else { "info" }),
    ];
    let lines = ["log_type none", "log_type notice", "log_type information", "log_type warning"];
    let config = Broker::config(plan.version).plugin(api.options(options));
    let config = lines.into_iter().fold(config, |config, line| config.line(line));
    let broker = config.line("log_type error").env("FLEET_SECRET", SECRET).start();
    broker.wait_for_log(IN_TOUCH);
    broker
}

/// Runs three brokers as planned. The report says whether anything was wrong.
pub fn run(plan: Plan) -> Report {
    let model = Arc::new(Model::new(plan.clients));
    let asked = Arc::new(AtomicU64::new(0));
    let (judge, count) = (model.clone(), asked.clone());
    let api = AuthServer::answering(move |request| {
        let is_mover = request.path == "/user" && request.json()["username"] != ROOT;
        count.fetch_add(u64::from(is_mover), Ordering::Relaxed);
        answer(&judge, request)
    });
    let mut redis = Redis::start(Engine::beside(plan.version));
    let mut brokers: Vec<_> = (0..BROKERS).map(|n| broker(plan, &api, &redis, n)).collect();
    let ports: Vec<_> = brokers.iter().map(Broker::port).collect();
    let (stop, stopping) = watch::channel(false);
    let judge = model.clone();
    let clients = super::on_their_thread(move || {
        Rc::new(Movers { ports, model: judge, clients: plan.clients }).live(stopping)
    });
    let mut faults = disturb(plan, &mut brokers, &mut redis, &api, &model);
    let found = brokers.iter().map(found).sum();
    stop.send_replace(true);
    clients.join().expect("no client panicked");
    if let Some(file) = log_file() {
        faults.logs.extend(brokers.iter().map(Broker::log));
        std::fs::write(file, faults.logs.join("\n\n")).unwrap();
    }
    Report { plan, counts: model.counts(), asked: asked.load(Ordering::Relaxed), found, faults }
}

/// How many answers a broker has found in Redis.
fn found(broker: &Broker) -> u64 {
    let root = broker.client("status").protocol(Protocol::V5).credentials(ROOT, "x");
    let root = root.connect().expect_accepted();
    root.subscribe(RESPONSES).expect_granted();
    root.publish(TOPIC, json!({"commands": [{"command": "getStatus"}]}).to_string());
    let status: Value = serde_json::from_str(&root.expect_message().1).expect("it is JSON");
    let hits = &status["responses"][0]["data"]["fleet"]["lookups"]["hit"];
    hits.as_u64().unwrap_or_else(|| panic!("no lookups in {status}"))
}

/// How often each thing happens, and how long Redis is left in peace before a broker crashes: one that
/// starts believes a Redis that was set back until another has noticed (`docs/fleet.md`).
const FAULT: Duration = Duration::from_secs(9);
const PEACE: Duration = Duration::from_secs(5);
const CRASH: Duration = Duration::from_secs(25);
const RELOAD: Duration = Duration::from_secs(7);
/// What disturbs ends before the run does, so that all can be seen to be well again.
const CALM_END: Duration = Duration::from_secs(8);

/// Lets the time pass, with what disturbs.
fn disturb(
    plan: Plan,
    brokers: &mut [Broker],
    redis: &mut Redis,
    api: &AuthServer,
    model: &Model,
) -> Faults {
    let mut faults = Faults::default();
    let began = Instant::now();
    let mut count = 0;
    let mut last = began;
    while began.elapsed() + CALM_END < plan.time {
        thread::sleep(Duration::from_millis(100));
        api.forget_requests();
        let is_due =
            |every: Duration, done: usize| began.elapsed() >= every.mul_f64(done as f64 + 0.5);
        if is_due(RELOAD, faults.reloads) {
            let number = faults.reloads % BROKERS;
            model.reloads(number);
            brokers[number].signal(libc::SIGHUP);
            faults.reloads += 1;
        }
        if is_due(CRASH, faults.crashes) && last.elapsed() > PEACE {
            let number = faults.crashes % BROKERS;
            if log_file().is_some() {
                faults.logs.push(brokers[number].log());
            }
            model.goes_down(number);
            brokers[number].crash_and_restart();
            model.is_up(number);
            faults.crashes += 1;
        }
        if is_due(FAULT, count) {
            model.redis_loses();
            fail(count, redis, &mut faults);
            model.redis_loses();
            last = Instant::now();
            count += 1;
        }
    }
    thread::sleep(plan.time.saturating_sub(began.elapsed()));
    faults
}

/// One fault of Redis, from its beginning to its end.
fn fail(count: usize, redis: &mut Redis, faults: &mut Faults) {
    let moment = |millis| thread::sleep(Duration::from_millis(millis));
    match count % 5 {
        0 => {
            faults.frozen += 1;
            redis.freeze();
            moment(700);
            redis.thaw();
        }
        1 => {
            // Without what came since the last dump, if there was one.
            faults.killed += 1;
            redis.kill();
            moment(2500);
            redis.restart();
        }
        2 => {
            faults.emptied += 1;
            redis.ask(&["FLUSHALL"]);
            moment(1000);
            redis.dump();
        }
        3 => {
            // Longer than until the brokers count as cut off.
            faults.frozen += 1;
            redis.freeze();
            moment(5000);
            redis.thaw();
        }
        _ => {
            faults.killed += 1;
            redis.restart();
            moment(1000);
            redis.dump();
        }
    }
}

impl Report {
    /// Whether nothing was wrong, and everything was tried; if not, what.
    pub fn verdict(&self) -> Result<(), String> {
        let mut faults = self.counts.wrong.clone();
        let counts = &self.counts;
        if counts.judged.iter().any(|[yes, no, _]| *yes == 0 || *no == 0) {
            faults.push(format!("not everything was tried: {:?}", counts.judged));
        }
        if counts.certain == 0 || counts.acknowledged == 0 {
            faults.push("no revocation was acknowledged by all and tried after it".to_owned());
        }
        if self.found == 0 {
            faults.push("nothing was shared".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { plan, counts, faults, .. } = self;
        writeln!(
            f,
            "Three Mosquitto {}, {} clients that move, for {} s",
            plan.version.name(),
            plan.clients,
            plan.time.as_secs()
        )?;
        writeln!(
            f,
            "  disturbed: Redis killed {} times, stopped {}, emptied {}; {} crashes of brokers, {} SIGHUPs",
            faults.killed, faults.frozen, faults.emptied, faults.crashes, faults.reloads
        )?;
        writeln!(
            f,
            "  the API was asked about {} logins; in the end the brokers had found {} answers in Redis",
            self.asked, self.found
        )?;
        write!(f, "{counts}")
    }
}
