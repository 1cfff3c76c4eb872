//! How many questions do the workers put to one API in a second, and what does that cost?
//!
//! `cargo bench --bench cold -- PORT CONNECTIONS SECONDS` asks an API on this machine whether
//! distinct users may log in, with a thousand questions waiting all the time, as in a storm of
//! logins. It prints how many were answered, and how many seconds that took on the clock, of the
//! workers' processor time, and of the asking thread's. `bench cold` of `mosquitto-test` runs it for
//! the report.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, prints, and measures real threads and real time"
)]

use std::env;
use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use log::LevelFilter;
use mosquitto_http_auth::answer::Outcome;
use mosquitto_http_auth::clock::{Clock, SystemClock};
use mosquitto_http_auth::config;
use mosquitto_http_auth::engine::Engine;
use mosquitto_http_auth::log_queue::LogQueue;
use mosquitto_http_auth::pool::{Asked, Urgency};
use mosquitto_http_auth::question::ClientSnapshot;
use mosquitto_http_auth::question::{About, Password, Question};
use mosquitto_http_auth::stats::Stats;

/// How many questions wait at most, and with how many of them more are asked.
const MOST: usize = 1000;
const FEW: usize = 500;

/// Questions on their way.
#[derive(Default)]
struct UnderWay {
    count: Mutex<usize>,
    few: Condvar,
}

impl UnderWay {
    fn one_less(&self) {
        let mut count = self.count.lock().unwrap();
        *count -= 1;
        if *count == FEW || *count == 0 {
            self.few.notify_one();
        }
    }

    fn wait_for(&self, most: usize) {
        let count = self.count.lock().unwrap();
        drop(self.few.wait_while(count, |count| *count > most).unwrap());
    }
}

fn main() {
    // Cargo adds an argument of its own.
    let arguments: Vec<u64> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [port, connections, seconds] = arguments[..] else {
        println!("usage: cargo bench --bench cold -- PORT CONNECTIONS SECONDS");
        return;
    };
    let engine = engine(port, connections);
    let meter = ClientSnapshot::named(0, "meter", "");
    let under_way = Arc::<UnderWay>::default();
    let began = Instant::now();
    let mut asked = 0_usize;
    while began.elapsed() < Duration::from_secs(seconds) {
        while *under_way.count.lock().unwrap() < MOST {
            ask(&engine, &meter, &format!("user-{asked:09}"), &under_way);
            asked += 1;
        }
        under_way.wait_for(FEW);
    }
    under_way.wait_for(0);
    let took = began.elapsed();
    let (workers, asker) = ran();
    let [took, workers, asker] = [took, workers, asker].map(|time| time.as_secs_f64());
    println!("{asked} {took} {workers} {asker}");
    engine.shut_down();
}

fn engine(port: u64, connections: u64) -> Engine {
    let options = [
        ("http_host", "127.0.0.1"),
        ("http_port", &port.to_string()),
        ("http_user_route", "/user"),
        ("http_connections", &connections.to_string()),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = config::read(&options).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let log_queue = LogQueue::new(LevelFilter::Warn, Arc::clone(&clock));
    let spawn =
        |name, body: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name).spawn(body);
    Engine::new(&config, log_queue, Arc::new(Stats::default()), clock, spawn, None, None).unwrap()
}

/// Asks as a login does that is answered later.
fn ask(engine: &Engine, meter: &ClientSnapshot, username: &str, under_way: &Arc<UnderWay>) {
    let password = Password::Text("correct horse");
    let question =
        Question { client: meter, username, attributes: None, about: About::Login { password } };
    match engine.ask(engine.key(&question), &question, Urgency::Waiting) {
        Asked::Later(pending) => {
            *under_way.count.lock().unwrap() += 1;
            let under_way = Arc::clone(under_way);
            pending.watch(move |outcome: Outcome| {
                assert!(outcome.is_ok(), "{outcome:?}");
                under_way.one_less();
            });
        }
        Asked::Now(outcome) => assert!(outcome.is_ok(), "{outcome:?}"),
    }
}

/// How long the workers ran, and the others.
fn ran() -> (Duration, Duration) {
    let (mut workers, mut others) = (Duration::ZERO, Duration::ZERO);
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let schedstat = fs::read_to_string(task.join("schedstat")).unwrap();
        let nanos = schedstat.split(' ').next().unwrap().parse().unwrap();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        let kind = if name.starts_with("http-auth") { &mut workers } else { &mut others };
        *kind += Duration::from_nanos(nanos);
    }
    (workers, others)
}
