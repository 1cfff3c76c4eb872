//! What happens to everyone else's messages while a thousand strangers log in?

use std::ops::Range;
use std::thread;
use std::time::Duration;

use mosquitto_test::broker::Version;

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::chart::{self, Bar};
use crate::clock::{self, ms};
use crate::crowd::{Crowd, Pace};
use crate::link::Who;
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stats::{Latency, millis, percentile, seconds, worst_by_time};
use crate::traffic::{Message, Traffic};

const API_MS: u64 = 50;

/// How many strangers come in a second: somewhat fewer than 32 requests at once can serve, so that
/// storms of the same force are compared. Left to itself, a cached one would be over at once.
const PACE: Pace = Pace::PerSecond(500);

const MODES: [Mode; 3] = [Mode::Cached, Mode::Ours, Mode::Blocking];

/// What the plugin promises where logins cannot wait: its default `max_block_ms`, and a little.
const LONGEST: Duration = Duration::from_millis(1050);

/// All storms of one mode.
#[derive(Default)]
struct Outcome {
    calm: Latency,
    storm: Latency,
    /// The 99th percentile of each turn: how much of it is the machine's doing?
    p99s: Vec<Duration>,
    took: Vec<Duration>,
    waits: Vec<Duration>,
    retries: usize,
    cut_off: usize,
    /// The worst message over time, in the first storm.
    line: Vec<(f64, f64)>,
}

pub fn run(args: &Args) -> Section {
    let mut section = Section::new("Messages during a storm of logins", Scenario::Stall, args);
    section.text(format!(
        "{} clients publish 10 messages a second each (QoS 0) to one another. {} new clients log \
         in, 500 in a second and fewer than 100 at a time, and the API takes {} for each. \
         *cached*: the same logins, with their answers in the cache; *ours*: the defaults; \
         *blocking*: `delayed_login false`, `max_block_ms 60000`, `max_block_percent 100`. Times \
         are from publish to delivery, for messages published during the storm.",
        args.size(100, 5),
        args.size(1000, 20),
        millis(args.api_takes(API_MS))
    ));
    for version in &args.versions {
        run_on(*version, args, &mut section);
    }
    section
}

fn run_on(version: Version, args: &Args, section: &mut Section) {
    let mut outcomes: [Outcome; 3] = Default::default();
    // In turns, so that whatever else the machine does meets all modes alike.
    for turn in 0..args.size(3, 1) {
        for (mode, outcome) in MODES.into_iter().zip(&mut outcomes) {
            if mode == Mode::Blocking && (turn > 0 || args.api_ms.is_some()) {
                continue;
            }
            one_turn(version, mode, args, outcome);
            outcome.print_turn(version, mode, turn);
        }
    }
    section.table(table(version, &outcomes));
    charts(version, outcomes, section);
}

/// Storms in one mode until they have lasted long enough to count messages.
fn one_turn(version: Version, mode: Mode, args: &Args, outcome: &mut Outcome) {
    let api = Api::start(args.api_takes(API_MS));
    let broker = setup::broker(version, mode, &api, &[]);
    let traffic = Traffic::start(broker.port(), args.size(100, 5));
    let clients = args.size(1000, 20);
    if mode == Mode::Cached {
        drop(Crowd::log_in(broker.port(), strangers(0, clients), Pace::Rush));
        thread::sleep(Duration::from_millis(args.size(500, 200)));
    }
    let calm = pass(args.size(Duration::from_secs(1), Duration::from_millis(300)));
    let mut storms: Vec<Range<Duration>> = Vec::new();
    let mut lasted = Duration::ZERO;
    while lasted < args.size(Duration::from_secs(3), Duration::from_millis(20)) {
        let round = if mode == Mode::Cached { 0 } else { storms.len() };
        let crowd = Crowd::log_in(broker.port(), strangers(round, clients), PACE);
        lasted += crowd.took();
        storms.push(crowd.began..crowd.ended);
        outcome.took.push(crowd.took());
        outcome.retries += crowd.retries;
        outcome.waits.extend_from_slice(&crowd.waits);
        drop(crowd);
        // They leave, and that is not part of it.
        thread::sleep(Duration::from_millis(args.size(500, 200)));
    }
    let seen = traffic.stop();
    outcome.cut_off += seen.cut_off;
    outcome.note(&seen.messages, &calm, &storms);
}

impl Outcome {
    fn print_turn(&self, version: Version, mode: Mode, turn: usize) {
        clock::say(&format!(
            "{} {:8} turn {turn}: storm {}, p99 {}, so far: calm p99 {}, max {}, {} retries",
            version.name(),
            mode.name(),
            seconds(self.took[self.took.len() - 1]),
            millis(self.p99s[self.p99s.len() - 1]),
            millis(self.calm.p99()),
            millis(self.storm.max()),
            self.retries
        ));
    }

    fn note(&mut self, messages: &[Message], calm: &Range<Duration>, storms: &[Range<Duration>]) {
        self.calm.add(&Latency::within(messages, calm));
        let mut turn = Latency::default();
        for storm in storms {
            turn.add(&Latency::within(messages, storm));
        }
        self.p99s.push(turn.p99());
        self.storm.add(&turn);
        if self.line.is_empty() {
            self.line = worst_by_time(messages, &storms[0], Duration::from_millis(50));
        }
        self.waits.sort();
    }
}

/// Lets time pass, and says which.
pub fn pass(time: Duration) -> Range<Duration> {
    let began = clock::now();
    thread::sleep(time);
    began..clock::now()
}

fn strangers(round: usize, count: usize) -> Vec<Who> {
    (0..count).map(|number| Who::right(format!("stranger-{round}-{number}"))).collect()
}

fn table(version: Version, outcomes: &[Outcome; 3]) -> Table {
    let mut table = Table::new(
        "broker | mode | calm p99 | p50 | p99 | p99 by turn | max | lost | messages | \
         storm takes | login p99 | retries | goal",
    );
    let cached = outcomes[0].storm.p99();
    let measured = |(_, outcome): &(Mode, &Outcome)| !outcome.took.is_empty();
    for (mode, outcome) in MODES.into_iter().zip(outcomes).filter(measured) {
        let [p50, p99, max, lost] = outcome.storm.cells();
        let mean = outcome.took.iter().sum::<Duration>().div_f64(outcome.took.len() as f64);
        let by_turn: Vec<String> = outcome.p99s.iter().copied().map(millis).collect();
        let (calm, login) = (outcome.calm.p99(), percentile(&outcome.waits, 99.0));
        table.row([
            version.name().to_owned(),
            mode.name().to_owned(),
            millis(calm),
            p50,
            p99,
            by_turn.join(", "),
            max,
            lost,
            outcome.storm.count().to_string(),
            seconds(mean),
            millis(login),
            outcome.retries.to_string(),
            if mode == Mode::Ours { judge(version, outcome, cached) } else { String::new() },
        ]);
    }
    table
}

fn judge(version: Version, ours: &Outcome, cached: Duration) -> String {
    let p99 = ours.storm.p99();
    let verdict = if version.is_2_1() {
        let ratio = p99.div_duration_f64(cached);
        goal(ratio <= 3.0, &format!("p99 {ratio:.1} × cached ≤ 3 ×"))
    } else {
        goal(p99 <= LONGEST, &format!("p99 ≤ {}", millis(LONGEST)))
    };
    if ours.cut_off > 0 { format!("{verdict}; **{} cut off**", ours.cut_off) } else { verdict }
}

fn charts(version: Version, outcomes: [Outcome; 3], section: &mut Section) {
    let name = version.name();
    let mut bars = Vec::new();
    let mut lines = Vec::new();
    let mut phases = Vec::new();
    let measured = |(_, outcome): &(Mode, Outcome)| !outcome.took.is_empty();
    for (group, (mode, outcome)) in MODES.into_iter().zip(outcomes).filter(measured).enumerate() {
        let storm = &outcome.storm;
        let values = [("p50", storm.p50()), ("p99", storm.p99()), ("max", storm.max())];
        for (what, value) in values {
            let label = format!("{} {what}", mode.name());
            bars.push(Bar { label, value: ms(value), text: millis(value), group });
        }
        if mode == Mode::Ours {
            let last = outcome.took.iter().max().copied().unwrap_or_default();
            phases.push((last.as_secs_f64(), "all have logged in (ours)".to_owned()));
        }
        lines.push((mode.name().to_owned(), outcome.line));
    }
    let title = format!("Mosquitto {name}: publish to delivery during a storm of logins (ms)");
    section.chart(format!("stall-{name}.svg"), &title, chart::bars(&title, &bars));
    // The old behaviour goes on for so long that the others would be a dot beside it.
    let shown = lines.iter().take(2).filter_map(|(_, line)| line.last()).map(|point| point.0);
    let end = shown.fold(1.0, f64::max);
    for (_, line) in &mut lines {
        line.retain(|point| point.0 <= end);
    }
    let title = format!("Mosquitto {name}: the slowest message, from the storm's beginning");
    section.chart(format!("stall-{name}-time.svg"), &title, chart::lines(&title, &lines, &phases));
}
