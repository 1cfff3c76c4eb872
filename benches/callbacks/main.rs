//! What does a call from the broker cost, when the answer is known?
//!
//! `cargo bench --bench callbacks` measures time and counts allocations. `callbacks CASE COUNT`
//! makes that many calls and nothing else; under callgrind that counts instructions, which are the
//! same on every run. `callbacks tail` tells how long the slowest of many calls take, `callbacks strangers` what
//! calls take while somebody is denied something new a hundred times a second.
#![allow(unsafe_code, reason = "the benchmark plays the broker, whose interface is C")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, shows what the plugin logs, and starts threads"
)]

// The plugin's C functions are all that is called of it.
use mosquitto_http_auth as _;

mod api;
mod broker;
mod strangers;
mod tail;

use std::env;
use std::ffi::{CStr, CString};
use std::hint::black_box;

use api::Api;
use broker::{Client, Plugin};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// What a device is usually given: its own topics, and some that all share.
const TEN_RULES: &str = r##"{"acl": [
    {"permission": "allow", "action": "publish", "topic": "devices/${clientid}/up/#"},
    {"permission": "allow", "action": "subscribe", "topic": "devices/${clientid}/down/#"},
    {"permission": "allow", "action": "all", "topic": "sites/north/+/state"},
    {"permission": "allow", "action": "all", "topic": "sites/south/+/state"},
    {"permission": "deny", "action": "all", "topic": "sites/#"},
    {"permission": "allow", "action": "subscribe", "topic": "firmware/+/stable"},
    {"permission": "allow", "action": "subscribe", "topic": "time"},
    {"permission": "allow", "action": "publish", "topic": "log/${username}/#"},
    {"permission": "allow", "action": "all", "topic": "news/#"},
    {"permission": "deny", "action": "all", "topic": "#"}
]}"##;

/// How many take turns. Of many, none finds its data in the processor's nearest cache.
const CLIENTS: [usize; 3] = [1, 1000, 10_000];

/// What is asked again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    /// A delivery, whose answer is in the cache.
    CachedAccess,
    /// A delivery, which rules decide.
    Rules,
    /// A login, whose answer is in the cache.
    CachedLogin,
}

/// A plugin that knows the answers, and clients that take turns.
struct Stage {
    case: Case,
    api: Api,
    plugin: Plugin,
    clients: Vec<Client>,
    password: CString,
    topic: CString,
    next: usize,
}

impl Case {
    const ALL: [Case; 3] = [Case::CachedAccess, Case::Rules, Case::CachedLogin];

    fn name(self) -> &'static str {
        match self {
            Case::CachedAccess => "cached-access",
            Case::Rules => "rules",
            Case::CachedLogin => "cached-login",
        }
    }
}

impl Stage {
    fn set(case: Case, clients: usize) -> Self {
        Self::with(case, clients, &[])
    }

    fn with(case: Case, clients: usize, more: &[(&str, &str)]) -> Self {
        let answer = if case == Case::Rules { TEN_RULES } else { "" };
        let api = Api::start(answer);
        let port = api.port.to_string();
        let options = [
            ("http_host", "127.0.0.1"),
            ("http_port", &port),
            ("http_user_route", "/user"),
            ("http_acl_route", "/acl"),
            ("cache_ttl", "3600"),
            ("log_level", "warn"),
        ];
        let plugin = Plugin::load(&[&options, more].concat());
        let clients = (0..clients)
            .map(|number| Client::new(&format!("meter-{number:05}"), &format!("user-{number:05}")))
            .collect();
        let text = |text| CString::new(text).unwrap();
        let (password, topic) = (text("correct horse"), text("news/2026/today"));
        let stage = Self { case, api, plugin, clients, password, topic, next: 0 };
        for client in &stage.clients {
            // While the machine is busy, an answer may come too late for the first attempt.
            while !stage.plugin.login(client, &stage.password) {}
            while !stage.plugin.may_read(client, &stage.topic) {}
        }
        stage
    }

    /// One call, about the next client.
    fn ask(&mut self) {
        let client = &self.clients[self.next];
        self.next = (self.next + 1) % self.clients.len();
        let topic: &CStr = black_box(&self.topic);
        let allowed = match self.case {
            Case::CachedLogin => self.plugin.login(client, &self.password),
            Case::CachedAccess | Case::Rules => self.plugin.may_read(client, topic),
        };
        assert!(allowed);
    }
}

#[divan::bench(args = CLIENTS, sample_size = 10_000)]
fn cached_access(bencher: Bencher<'_, '_>, clients: usize) {
    measure(bencher, Case::CachedAccess, clients);
}

#[divan::bench(args = CLIENTS, sample_size = 10_000)]
fn rules(bencher: Bencher<'_, '_>, clients: usize) {
    measure(bencher, Case::Rules, clients);
}

#[divan::bench(args = CLIENTS, sample_size = 10_000)]
fn cached_login(bencher: Bencher<'_, '_>, clients: usize) {
    measure(bencher, Case::CachedLogin, clients);
}

fn measure(bencher: Bencher<'_, '_>, case: Case, clients: usize) {
    let mut stage = Stage::set(case, clients);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| stage.ask());
}

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "tail") {
        return tail::print();
    }
    if arguments.iter().any(|argument| argument == "strangers") {
        return strangers::print();
    }
    let case = arguments.first().and_then(|name| Case::ALL.into_iter().find(|c| c.name() == name));
    match (case, arguments.get(1).map(|count| count.parse::<usize>())) {
        (Some(case), Some(Ok(count))) => {
            let mut stage = Stage::set(case, 100);
            (0..count).for_each(|_| stage.ask());
        }
        _ => divan::main(),
    }
}
