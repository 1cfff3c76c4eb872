//! What do brokers that share answers ask, how soon do they hear of what was taken back, and what does it cost
//! them?

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::broker::{Broker, Version};
use mosquitto_test::redis::{Engine, IN_TOUCH, Redis};
use tempfile::TempDir;

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::link::Who;
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stats::{millis, seconds};

mod command;
mod known;
mod outage;

const API_TAKES: Duration = Duration::from_millis(20);

/// Answers do not end meanwhile.
const DAY: (&str, &str) = ("cache_auth_ttl", "86400");

/// How long nothing more is written once all is.
const SETTLED: Duration = Duration::from_secs(3);

/// Long enough for brokers to hear of each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API, a Redis and a secret, for as many brokers as are wanted.
struct Ground {
    version: Version,
    api: Api,
    redis: Redis,
    secret: PathBuf,
    _dir: TempDir,
}

impl Ground {
    fn new(version: Version) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("fleet.key");
        std::fs::write(&secret, "bench-secret-0123456789abcdefghij").unwrap();
        let redis = Redis::start(Engine::beside(version));
        Ground { version, api: Api::start(API_TAKES), redis, secret, _dir: dir }
    }

    /// A broker of the fleet, once it is in touch.
    fn broker(&self, name: &str, more: &[(&str, &str)]) -> Broker {
        let (redis, secret) = (self.redis.address(), format!("@{}", self.secret.display()));
        let fleet =
            [("fleet_redis", redis.as_str()), ("fleet_secret", &secret), ("fleet_broker", name)];
        let options = [&fleet[..], more].concat();
        let broker = setup::broker(self.version, Mode::Ours, &self.api, &options);
        broker.wait_for_log(IN_TOUCH);
        broker
    }

    fn brokers<const N: usize>(&self, more: &[(&str, &str)]) -> [Broker; N] {
        std::array::from_fn(|number| self.broker(&format!("b{number}"), more))
    }

    /// Waits until so many answers are in Redis, or no more of them come: a broker that was cut off meanwhile, as on a
    /// machine that is too busy, does not share what it asked.
    fn wait_for_answers(&self, count: usize) {
        let there = || self.redis.ask(&["DBSIZE"])[0].parse::<usize>().unwrap();
        let (mut known, mut since) = (there(), Instant::now());
        while known < count && since.elapsed() < SETTLED {
            thread::sleep(Duration::from_millis(100));
            let now = there();
            if now != known {
                (known, since) = (now, Instant::now());
            }
        }
    }
}

/// Clients of these numbers.
fn clients(numbers: std::ops::Range<usize>) -> Vec<Who> {
    numbers.map(|number| Who::right(format!("client-{number}"))).collect()
}

pub fn run(args: &Args) -> Section {
    let count = args.size(10_000, 200);
    let mut section = Section::new("Several brokers", Scenario::Fleet, args);
    section.text(format!(
        "Brokers that share answers by a Redis (7.0 with Mosquitto 2.0, Valkey 8.0 with 2.1) on the same \
         machine as they, the API (it takes {}) and the clients, beside brokers without `fleet_redis` in the same run.",
        millis(API_TAKES)
    ));
    section.text(format!(
        "**Who comes back.** {count} clients log in and leave; then the broker is killed and started again, \
         and all come back. *in turn*: the same clients log in at three brokers, one after another \
         (`cache_ttl 60`). *rolling*: each of three brokers is killed and started again, and its \
         clients go to the next. `cache_auth_ttl` is a day."
    ));
    let mut table = Table::new("broker | what | mode | logins | all in after | requests | goal");
    for version in &args.versions {
        crash(*version, count, &mut table);
        in_turn(*version, count, &mut table);
        rolling(*version, count, &mut table);
    }
    section.table(table);
    command::run(args, &mut section);
    outage::run(args, &mut section);
    known::run(args, &mut section);
    section
}

fn row(
    table: &mut Table,
    version: Version,
    what: [&str; 2],
    crowds: &[(usize, Duration)],
    requests: usize,
    goal: String,
) {
    let logins: usize = crowds.iter().map(|(count, _)| count).sum();
    let took: Duration = crowds.iter().map(|(_, took)| *took).sum();
    let [what, mode] = what.map(str::to_owned);
    clock::say(&format!("{} {what}, {mode}: {requests} requests", version.name()));
    table.row([
        version.name().to_owned(),
        what,
        mode,
        logins.to_string(),
        seconds(took),
        requests.to_string(),
        goal,
    ]);
}

/// Has these clients log in, and says how many they were and how long it took.
fn enter(broker: &Broker, clients: Vec<Who>) -> (usize, Duration) {
    let count = clients.len();
    (count, Crowd::log_in(broker.port(), clients, Pace::Rush).took())
}

fn crash(version: Version, count: usize, table: &mut Table) {
    for is_fleet in [false, true] {
        let ground = Ground::new(version);
        let mut broker = if is_fleet {
            ground.broker("b0", &[DAY])
        } else {
            setup::broker(version, Mode::Ours, &ground.api, &[DAY])
        };
        enter(&broker, clients(0..count));
        if is_fleet {
            ground.wait_for_answers(count);
        }
        let before = ground.api.logins();
        broker.crash_and_restart();
        let crowd = enter(&broker, clients(0..count));
        let requests = ground.api.logins() - before;
        let met = requests <= count / 1000 && crowd.1 <= Duration::from_secs(2);
        let goal = match is_fleet && version.is_2_1() {
            true => goal(met, "≤ 0.1 % requests, ≤ 2 s"),
            false => String::new(),
        };
        let mode = if is_fleet { "fleet" } else { "alone" };
        row(table, version, ["killed and started again", mode], &[crowd], requests, goal);
    }
}

fn in_turn(version: Version, count: usize, table: &mut Table) {
    for is_fleet in [false, true] {
        let ground = Ground::new(version);
        let life = [("cache_ttl", "60")];
        let brokers: [Broker; 3] = if is_fleet {
            ground.brokers(&life)
        } else {
            std::array::from_fn(|_| setup::broker(version, Mode::Ours, &ground.api, &life))
        };
        let crowds: Vec<_> = brokers
            .iter()
            .map(|broker| {
                let crowd = enter(broker, clients(0..count));
                if is_fleet {
                    ground.wait_for_answers(count);
                }
                crowd
            })
            .collect();
        let requests = ground.api.logins();
        let goal = match is_fleet {
            true => goal(requests * 10 <= count * 11, "≤ 1.1 × those of one broker"),
            false => String::new(),
        };
        let mode = if is_fleet { "fleet" } else { "alone" };
        row(table, version, ["in turn", mode], &crowds, requests, goal);
    }
}

fn rolling(version: Version, count: usize, table: &mut Table) {
    let ground = Ground::new(version);
    let mut brokers: [Broker; 3] = ground.brokers(&[DAY]);
    let third = count / 3;
    let part = |number: usize| clients(number * third..(number + 1) * third);
    for (number, broker) in brokers.iter().enumerate() {
        enter(broker, part(number));
    }
    ground.wait_for_answers(3 * third);
    let before = ground.api.logins();
    let mut crowds = Vec::new();
    for number in 0..3 {
        brokers[number].crash_and_restart();
        crowds.push(enter(&brokers[(number + 1) % 3], part(number)));
        brokers[number].wait_for_log(IN_TOUCH);
        crowds.push(enter(&brokers[number], part(number)));
    }
    let requests = ground.api.logins() - before;
    let goal = goal(requests <= 6 * third / 1000, "≤ 0.1 % of logins are asked about");
    row(table, version, ["rolling", "fleet"], &crowds, requests, goal);
}
