//! The broker asks about every session anew on SIGHUP: who is cut off, and who has to wait?

use std::net::TcpStream;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use mosquitto_test::broker::{Broker, Version};

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::chart;
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::link::Who;
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stall::pass;
use crate::stats::{Latency, millis, worst_by_time};
use crate::traffic::{Message, Traffic};

const API_TAKES: Duration = Duration::from_millis(100);

/// Logins are asked about again at once; topics are not what this is about.
const OPTIONS: [(&str, &str); 2] = [("cache_ttl", "1"), ("cache_acl_ttl", "600")];

/// A message that takes longer than this, and longer than any in calm, is late because of the pass.
const NOTICEABLE: Duration = Duration::from_millis(5);

/// Whatever is late after so long without anything late has another cause.
const CALM_AGAIN: Duration = Duration::from_millis(200);

struct Outcome {
    messages: Vec<Message>,
    calm: Range<Duration>,
    pass: Range<Duration>,
    /// Until all checks in the background have come back.
    after: Range<Duration>,
    disconnected: usize,
    asked_in_pass: usize,
    asked: usize,
}

pub fn run(args: &Args) -> Section {
    let clients = args.size(2000, 50);
    let mut section = Section::new("SIGHUP", Scenario::Sighup, args);
    section.text(format!(
        "{clients} clients with users of their own are connected, and {} more publish to one \
         another; the API takes {}, and `cache_ttl` is 1, so that no login is cached any more. \
         Then the broker gets SIGHUP and asks about each of them. *pass*: from the signal until \
         the broker serves again. *disturbed*: from the signal until every late message has \
         arrived and no more is late for {}; *late*: slower than {} and than every message in \
         calm.",
        args.size(50, 10),
        millis(API_TAKES),
        millis(CALM_AGAIN),
        millis(NOTICEABLE)
    ));
    let mut table = Table::new(
        "broker | mode | disconnected | pass | disturbed for | late messages | \
         calm p99 | p99 after | max after | lost | requests in the pass | \
         requests in all | goal",
    );
    for version in &args.versions {
        let mut lines = Vec::new();
        let mut phases = Vec::new();
        for mode in [Mode::None, Mode::Ours] {
            let outcome = one(*version, mode, clients, args);
            let row = row(*version, mode, &outcome);
            clock::say(&row.join("  "));
            table.row(row);
            let shown = outcome.calm.end..outcome.calm.end + Duration::from_secs(3);
            let line = worst_by_time(&outcome.messages, &shown, Duration::from_millis(20));
            if mode == Mode::Ours {
                let pass = (outcome.pass.end - outcome.pass.start).as_secs_f64();
                phases.push((pass, "the broker serves again (ours)".to_owned()));
            }
            lines.push((mode.name().to_owned(), line));
        }
        let name = version.name();
        let title = format!("Mosquitto {name}: the slowest message, from SIGHUP on");
        section.chart(format!("sighup-{name}.svg"), &title, chart::lines(&title, &lines, &phases));
    }
    section.table(table);
    section
}

fn one(version: Version, mode: Mode, clients: usize, args: &Args) -> Outcome {
    let api = Api::start(API_TAKES);
    let broker = setup::broker(version, mode, &api, &OPTIONS);
    let traffic = Traffic::start(broker.port(), args.size(50, 10));
    let users = (0..clients).map(|number| Who::right(format!("user-{number}")));
    let crowd = Crowd::log_in(broker.port(), users.collect(), Pace::Rush);
    // Longer than any login is cached, and until nothing is asked that has to do with logging in.
    wait_for_quiet(&api, args.size(Duration::from_secs(2), Duration::from_millis(1200)));
    let calm = pass(args.size(Duration::from_secs(2), Duration::from_millis(500)));
    let asked_before = api.logins();
    let pass = sighup(&broker);
    let asked_in_pass = api.logins() - asked_before;
    wait_for_quiet(&api, args.size(Duration::from_secs(2), Duration::from_millis(500)));
    let after = pass.start..clock::now();
    let seen = traffic.stop();
    Outcome {
        messages: seen.messages,
        calm,
        pass,
        after,
        disconnected: crowd.cut_off() + seen.cut_off,
        asked_in_pass,
        asked: api.logins() - asked_before,
    }
}

/// From the signal until the broker, which has one thread, notices a connection made after it began.
fn sighup(broker: &Broker) -> Range<Duration> {
    let mark = broker.log_mark();
    let began = clock::now();
    broker.signal(libc::SIGHUP);
    broker.wait_for_log_after(mark, "Reloading config.");
    let connection = TcpStream::connect(("127.0.0.1", broker.port())).expect("the broker listens");
    // From the mark on: so many clients have come that one of them may have had the same port.
    let port = connection.local_addr().unwrap().port();
    broker.wait_for_log_after(mark, &format!("New connection from 127.0.0.1:{port} "));
    began..clock::now()
}

/// Returns once no login has been asked about for so long.
fn wait_for_quiet(api: &Api, silence: Duration) {
    loop {
        let before = api.logins();
        thread::sleep(silence);
        if api.logins() == before {
            return;
        }
    }
}

fn row(version: Version, mode: Mode, outcome: &Outcome) -> [String; 13] {
    let calm = Latency::within(&outcome.messages, &outcome.calm);
    let after = Latency::within(&outcome.messages, &outcome.after);
    let late = NOTICEABLE.max(calm.max());
    let is_late = |message: &&Message| {
        outcome.after.contains(&message.sent) && message.took.is_some_and(|took| took > late)
    };
    let late: Vec<Message> = outcome.messages.iter().filter(is_late).copied().collect();
    let disconnected = outcome.disconnected;
    [
        version.name().to_owned(),
        mode.name().to_owned(),
        disconnected.to_string(),
        millis(outcome.pass.end - outcome.pass.start),
        millis(disturbed(outcome.pass.start, &late)),
        late.len().to_string(),
        millis(calm.p99()),
        millis(after.p99()),
        millis(after.max()),
        after.lost.to_string(),
        outcome.asked_in_pass.to_string(),
        outcome.asked.to_string(),
        if mode == Mode::Ours { goal(disconnected == 0, "none disconnected") } else { "".into() },
    ]
}

/// How long messages that are late follow one another, from here on.
fn disturbed(from: Duration, late: &[Message]) -> Duration {
    let mut until = from;
    for message in late {
        if message.sent > until + CALM_AGAIN {
            break;
        }
        until = until.max(message.sent + message.took.unwrap_or_default());
    }
    until - from
}
