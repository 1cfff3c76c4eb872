//! How long does it take until ten thousand strangers are in?

use std::time::Duration;

use mosquitto_test::broker::Version;

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::chart::{self, Bar};
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::link::Who;
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stats::{millis, percentile, seconds};

const API_TAKES: Duration = Duration::from_millis(20);

/// The default of `http_connections`.
const CONNECTIONS: u32 = 32;

struct Outcome {
    clients: u32,
    took: Duration,
    login_p99: Duration,
    retries: usize,
    asked: usize,
    most_in_flight: usize,
}

pub fn run(args: &Args) -> Section {
    let clients: u32 = args.size(10_000, 500);
    let mut section = Section::new("A storm of logins", Scenario::Storm, args);
    section.text(format!(
        "{clients} new clients log in, fewer than 100 at a time, and stay; the API takes {} for \
         each, and the plugin asks {CONNECTIONS} questions at once. The ideal is the time that the \
         API or the bare broker needs, whichever is longer. *blocking* (`delayed_login false`, \
         `max_block_ms 60000`, `max_block_percent 100`) is measured with fewer clients, and its \
         time multiplied.",
        millis(API_TAKES)
    ));
    let mut bars = Vec::new();
    for version in &args.versions {
        let table = run_on(*version, clients, args, &mut bars);
        section.table(table);
    }
    let title = format!("Seconds until {clients} clients are in");
    section.chart("storm.svg", &title, chart::bars(&title, &bars));
    section
}

fn run_on(version: Version, clients: u32, args: &Args, bars: &mut Vec<Bar>) -> Table {
    let mut table = Table::new(
        "broker | mode | all in after | ideal | ratio | logins/s | login p99 | \
         retries | requests | at once | goal",
    );
    let mut ideal = API_TAKES * clients / CONNECTIONS;
    for (group, mode) in [Mode::None, Mode::Ours, Mode::Blocking].into_iter().enumerate() {
        let count = if mode == Mode::Blocking { args.size(300, 20) } else { clients };
        let outcome = one(version, mode, count);
        let scaled = outcome.took.mul_f64(f64::from(clients) / f64::from(outcome.clients));
        clock::say(&format!(
            "{} {:9} {count} in after {}",
            version.name(),
            mode.name(),
            seconds(outcome.took)
        ));
        if mode == Mode::None {
            ideal = ideal.max(outcome.took);
        }
        let label = format!("{} {}", version.name(), mode.name());
        bars.push(Bar { label, value: scaled.as_secs_f64(), text: seconds(scaled), group });
        table.row(row(version, mode, &outcome, scaled, ideal));
    }
    table
}

fn one(version: Version, mode: Mode, clients: u32) -> Outcome {
    let api = Api::start(API_TAKES);
    let broker = setup::broker(version, mode, &api, &[]);
    let strangers = (0..clients).map(|number| Who::right(format!("stranger-{number}")));
    let crowd = Crowd::log_in(broker.port(), strangers.collect(), Pace::Rush);
    Outcome {
        clients,
        took: crowd.took(),
        login_p99: percentile(&crowd.waits, 99.0),
        retries: crowd.retries,
        asked: api.logins(),
        most_in_flight: api.most_in_flight(),
    }
}

fn row(
    version: Version,
    mode: Mode,
    outcome: &Outcome,
    scaled: Duration,
    ideal: Duration,
) -> [String; 11] {
    let ratio = scaled.div_duration_f64(ideal);
    let estimated = outcome.took != scaled;
    let all_in = if estimated {
        format!("{} ({} for {})", seconds(scaled), seconds(outcome.took), outcome.clients)
    } else {
        seconds(scaled)
    };
    // The goal is set for the broker on which logins can wait.
    let judged = mode == Mode::Ours && version.is_2_1();
    [
        version.name().to_owned(),
        mode.name().to_owned(),
        all_in,
        if mode == Mode::None { String::new() } else { seconds(ideal) },
        if mode == Mode::None { String::new() } else { format!("{ratio:.2}") },
        format!("{:.0}", f64::from(outcome.clients) / outcome.took.as_secs_f64()),
        millis(outcome.login_p99),
        outcome.retries.to_string(),
        outcome.asked.to_string(),
        outcome.most_in_flight.to_string(),
        if judged { goal(ratio <= 1.5, "≤ 1.5 × ideal") } else { String::new() },
    ]
}
