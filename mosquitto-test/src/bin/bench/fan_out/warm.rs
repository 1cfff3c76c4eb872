//! With nothing to ask: what do the checks themselves cost?

use std::time::Duration;

use mosquitto_test::broker::Version;

use super::{Stage, Way, bar};
use crate::args::Args;
use crate::chart::Bar;
use crate::clock;
use crate::machine;
use crate::report::{Table, goal};
use crate::stats::{millis, percentile};

const WAYS: [Way; 3] = [Way::Nothing, Way::Rules, Way::Cache];

const TOPIC: &str = "news/today";

/// The first messages find nothing in any cache, the processor's included.
const WARM_UP: usize = 10;

/// How much longer than without a plugin it may take with rules.
const GOAL: f64 = 1.05;

struct Outcome {
    /// Ascending.
    took: Vec<Duration>,
    lost: usize,
    /// What the broker's thread spent on each message.
    cpu: Duration,
    questions: usize,
}

pub fn run(version: Version, size: usize, args: &Args, bars: &mut Vec<Bar>) -> Table {
    let mut stages = WAYS.map(|way| Stage::set(version, way, size));
    let outcomes = measure(&mut stages, args.size(1000, 20));
    let mut table = Table::new(
        "broker | mode | p50 | × no plugin | p99 | broker's CPU | × no plugin | lost | messages | \
         questions | goal",
    );
    let bare = &outcomes[0];
    for (way, outcome) in WAYS.into_iter().zip(&outcomes) {
        let p50 = percentile(&outcome.took, 50.0);
        clock::say(&format!("{} {:9} {}", version.name(), way.name(), millis(p50)));
        bars.push(bar(version, way, p50));
        let ratio = p50.div_duration_f64(percentile(&bare.took, 50.0));
        table.row([
            version.name().to_owned(),
            way.name().to_owned(),
            millis(p50),
            format!("{ratio:.3}"),
            millis(percentile(&outcome.took, 99.0)),
            millis(outcome.cpu),
            format!("{:.3}", outcome.cpu.div_duration_f64(bare.cpu)),
            outcome.lost.to_string(),
            outcome.took.len().to_string(),
            outcome.questions.to_string(),
            match way {
                Way::Rules => goal(ratio <= GOAL && outcome.lost == 0, "within 5 % of no plugin"),
                _ => String::new(),
            },
        ]);
    }
    table
}

/// In turns, and each first as often as the others.
fn measure(stages: &mut [Stage; 3], messages: usize) -> [Outcome; 3] {
    for stage in &mut *stages {
        for _ in 0..WARM_UP {
            stage.audience.publish(TOPIC);
        }
    }
    // The broker itself has one.
    stages.iter().for_each(|stage| stage.broker.wait_for_threads(1));
    let ran = |stage: &Stage| machine::main_thread_ran(stage.broker.pid());
    let before = [0, 1, 2].map(|way| (ran(&stages[way]), stages[way].api.checks().0));
    let mut deliveries = [0; 3].map(|_| Vec::with_capacity(messages));
    for turn in 0..messages {
        for place in 0..stages.len() {
            let way = (turn + place) % stages.len();
            deliveries[way].push(stages[way].audience.publish(TOPIC));
        }
    }
    [0, 1, 2].map(|way| {
        let stage = &stages[way];
        let (ran_before, checks_before) = before[way];
        let mut took: Vec<_> = deliveries[way].iter().map(|delivery| delivery.took).collect();
        took.sort();
        Outcome {
            took,
            lost: deliveries[way].iter().map(|delivery| delivery.lost).sum(),
            cpu: (ran(stage) - ran_before).div_f64(messages as f64),
            questions: stage.api.checks().0 - checks_before,
        }
    })
}
