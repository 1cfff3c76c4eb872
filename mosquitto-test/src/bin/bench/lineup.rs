//! The ways to have a broker decide, side by side: each with a broker and clients of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use mosquitto_test::broker::{Broker, BrokerConfig, Version, plugin_path};
use mosquitto_test::mqtt::Protocol;

use crate::api::Api;
use crate::load::{GUESTS, PASSWORD, SPEAKER, Work, guest, resident, topic_of};
use crate::machine;
use crate::program;
use crate::workers::{Keeper, Workers};

/// How a broker decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It lets everyone do everything.
    Bare,
    /// A plugin that says yes to everything.
    Yes,
    /// Mosquitto's own `acl_file` and `password_file`.
    Files,
    /// The plugin, with all answers in its cache.
    Cached(Workers),
    /// The plugin, with rules in the answers to logins.
    Rules(Workers),
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Bare => "no plugin",
            Way::Yes => "yes",
            Way::Files => "files",
            Way::Cached(Workers::Idle) => "cached, with threads",
            Way::Cached(_) => "cached",
            Way::Rules(Workers::Idle) => "rules, with threads",
            Way::Rules(_) => "rules",
        }
    }

    pub fn is_ours(self) -> bool {
        matches!(self, Way::Cached(_) | Way::Rules(_))
    }

    /// Those of a kind have one color in a chart.
    pub fn group(self) -> usize {
        match self {
            Way::Bare | Way::Yes => 0,
            Way::Files => 1,
            Way::Cached(_) => 2,
            Way::Rules(_) => 3,
        }
    }

    fn workers(self) -> Workers {
        match self {
            Way::Cached(workers) | Way::Rules(workers) => workers,
            _ => Workers::Any,
        }
    }
}

/// What the API's rules say, in Mosquitto's words.
const ACL_FILE: &str = "pattern write devices/%c/up/#\n\
                        pattern read devices/%c/down/#\n\
                        pattern readwrite news/#\n";

/// A client that shows that what is measured is also decided.
const INSPECTOR: &str = "inspector";

/// A broker and its clients.
pub struct Stand {
    pub way: Way,
    broker: Broker,
    api: Api,
    load: Load,
    workers: Keeper,
}

/// What one turn came to.
#[derive(Clone, Copy)]
pub struct Turn {
    pub operations: f64,
    pub took: Duration,
    /// What the broker's thread ran.
    pub cpu: Duration,
}

impl Turn {
    pub fn per_second(&self) -> f64 {
        self.operations / self.took.as_secs_f64()
    }

    /// What the broker's thread spent on one operation, in nanoseconds.
    pub fn cpu_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.operations
    }
}

impl Stand {
    /// Returns when all clients are in and all answers known.
    pub fn set_up(version: Version, way: Way, clients: usize) -> Stand {
        Self::with_library(version, way, clients, &plugin_path())
    }

    /// The same with this build of the plugin.
    pub fn with_library(version: Version, way: Way, clients: usize, library: &Path) -> Stand {
        let api = Api::start(Duration::ZERO);
        if matches!(way, Way::Rules(_)) {
            api.give_rules();
        }
        let broker = configured(version, way, clients, (&api, library)).start();
        inspect(&broker, way);
        let load = Load::start(broker.port(), clients);
        Stand { way, broker, api, load, workers: Keeper::of(way.workers()) }
    }

    /// Has its clients work, and nobody else meanwhile.
    pub fn take_turn(&mut self, work: Work, steps: usize) -> Turn {
        self.workers.prepare(&self.broker);
        let asked = self.asked();
        let ran = machine::main_thread_ran(self.broker.pid());
        let (operations, took) = self.load.order(work, steps);
        let cpu = machine::main_thread_ran(self.broker.pid()) - ran;
        assert_eq!(self.asked(), asked, "all answers are known");
        Turn { operations, took, cpu }
    }

    fn asked(&self) -> usize {
        self.api.logins() + self.api.checks().0
    }

    /// What the broker takes of the machine's memory.
    pub fn resident_bytes(&self) -> u64 {
        machine::resident_bytes(self.broker.pid())
    }
}

/// A broker that logs what a broker logs by default.
pub fn quiet(version: Version) -> BrokerConfig {
    let log_types = ["none", "error", "warning", "notice", "information"];
    log_types
        .iter()
        .fold(Broker::config(version), |config, name| config.line(&format!("log_type {name}")))
}

fn configured(
    version: Version,
    way: Way,
    clients: usize,
    (api, library): (&Api, &Path),
) -> BrokerConfig {
    // Otherwise a burst of acknowledgements waits for the client's kernel, which takes its time.
    let config = quiet(version).line("set_tcp_nodelay true");
    match way {
        Way::Bare => config.allow_anonymous(true),
        Way::Files => with_files(config, clients),
        Way::Yes => config.plugin_at(program::yes_plugin(), [("", ""); 0]),
        Way::Cached(_) | Way::Rules(_) => {
            let kept = [("cache_ttl", "3600"), ("cache_max_bytes", "268435456")];
            let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned()));
            config.plugin_at(library, api.options().into_iter().chain(kept))
        }
    }
}

/// Everybody has the same password, and so may have the same salt and hash, which saves hashing it
/// ten thousand times.
fn with_files(config: BrokerConfig, clients: usize) -> BrokerConfig {
    let config = config.password_file(&[(INSPECTOR, PASSWORD)]).acl_file(ACL_FILE);
    let path = config.password_path();
    let line = fs::read_to_string(&path).expect("mosquitto_passwd has written it");
    let (_, hash) = line.trim().split_once(':').expect("a user and a hash");
    let names = (0..clients).map(resident).chain((0..GUESTS).map(guest));
    let lines = names.chain([SPEAKER.to_owned()]).map(|name| format!("{name}:{hash}\n"));
    fs::write(&path, line.clone() + &lines.collect::<String>()).expect("the file can be written");
    config
}

/// What is allowed is allowed, and where somebody decides, what is denied is denied. (The API
/// itself allows everything.)
fn inspect(broker: &Broker, way: Way) {
    const NOT_AUTHORIZED: u8 = 0x87;
    let client = broker.client(INSPECTOR).protocol(Protocol::V5).credentials(INSPECTOR, PASSWORD);
    let client = client.connect().expect_accepted();
    let allowed = client.publish(&topic_of(INSPECTOR), "x");
    assert_ne!(allowed, NOT_AUTHORIZED, "with {} a client may publish", way.name());
    let foreign = client.publish(&topic_of("another"), "x");
    let is_denied = matches!(way, Way::Files | Way::Rules(_));
    assert_eq!(foreign == NOT_AUTHORIZED, is_denied, "with {} as another", way.name());
    client.disconnect();
}

/// The process with the clients.
struct Load {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The word by which this program knows that it is to be the clients.
pub const LOAD: &str = "load";

impl Load {
    fn start(port: u16, clients: usize) -> Load {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args([LOAD, &port.to_string(), &clients.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program starts once more");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it has an output"));
        let mut load = Load { process, orders, answers };
        assert_eq!(load.answer(), "ready");
        load
    }

    fn order(&mut self, work: Work, steps: usize) -> (f64, Duration) {
        let orders = self.orders.as_mut().expect("it takes orders");
        writeln!(orders, "{} {steps}", work.word()).expect("the clients live");
        let answer = self.answer();
        let (operations, nanos) = answer.split_once(' ').expect("two numbers");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        (number(operations) as f64, Duration::from_nanos(number(nanos)))
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the clients answer");
        assert!(!line.is_empty(), "the clients have ended");
        line.trim().to_owned()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_yes_lets_everybody_do_everything_on_every_broker() {
        for version in Version::ALL {
            let api = Api::start(Duration::ZERO);
            // Without a plugin nobody would get in: nothing says that they may be anonymous.
            let broker = configured(version, Way::Yes, 1, (&api, &plugin_path())).start();
            inspect(&broker, Way::Yes);
        }
    }
}
