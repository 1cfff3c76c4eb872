//! With nothing to ask: what do the checks themselves cost?

use std::time::Duration;

use mosquitto_test::broker::Version;

use super::{Stage, Way, bar};
use crate::args::Args;
use crate::audience::Delivery;
use crate::chart::Bar;
use crate::clock;
use crate::machine;
use crate::report::{Table, goal};
use crate::stats::{median, millis, percentile};
use crate::throughput::GOAL;
use crate::workers::Workers;

const WAYS: [Way; 6] = [
    Way::Nothing,
    Way::Yes,
    Way::Rules(Workers::Ended),
    Way::Rules(Workers::Idle),
    Way::Cache(Workers::Ended),
    Way::Cache(Workers::Idle),
];

const TOPIC: &str = "news/today";

/// The first messages find nothing in any cache, the processor's included.
const WARM_UP: usize = 10;

/// What became of a message, and what the broker's thread spent on it.
#[derive(Clone, Copy)]
struct Turn {
    delivery: Delivery,
    cpu: Duration,
}

/// What all messages of one way came to.
struct Outcome {
    /// Ascending.
    took: Vec<Duration>,
    lost: usize,
    /// The mean of what the broker's thread spent on a message.
    cpu: Duration,
    /// The median of what it spent, against the bare broker and against one whose plugin says yes.
    cpu_of_bare: f64,
    cpu_of_yes: f64,
    questions: usize,
}

pub fn run(version: Version, size: usize, args: &Args, bars: &mut Vec<Bar>) -> Table {
    let mut stages = WAYS.map(|way| Stage::set(version, way, size));
    let outcomes = measure(&mut stages, args.size(1000, 20));
    let mut table = Table::new(
        "broker | mode | p50 | × no plugin | p99 | broker's CPU | × no plugin | × yes | lost | \
         messages | questions | goal",
    );
    let bare = percentile(&outcomes[0].took, 50.0);
    for (way, outcome) in WAYS.into_iter().zip(&outcomes) {
        let p50 = percentile(&outcome.took, 50.0);
        let of_yes = outcome.cpu_of_yes;
        clock::say(&format!(
            "{} {:20} {}, CPU {of_yes:.3} × yes",
            version.name(),
            way.name(),
            millis(p50)
        ));
        bars.push(bar(version, way, p50));
        let is_met = of_yes <= GOAL && outcome.lost == 0;
        table.row([
            version.name().to_owned(),
            way.name().to_owned(),
            millis(p50),
            format!("{:.3}", p50.div_duration_f64(bare)),
            millis(percentile(&outcome.took, 99.0)),
            millis(outcome.cpu),
            format!("{:.3}", outcome.cpu_of_bare),
            format!("{of_yes:.3}"),
            outcome.lost.to_string(),
            outcome.took.len().to_string(),
            outcome.questions.to_string(),
            match way {
                Way::Nothing | Way::Yes => String::new(),
                _ => goal(is_met, &format!("CPU ≤ {GOAL} × yes")),
            },
        ]);
    }
    table
}

/// In turns, and each first as often as the others.
fn measure(stages: &mut [Stage; WAYS.len()], messages: usize) -> [Outcome; WAYS.len()] {
    for stage in &mut *stages {
        for _ in 0..WARM_UP {
            stage.audience.publish(TOPIC);
        }
    }
    let asked_before = stages.each_ref().map(|stage| stage.api.checks().0);
    let mut turns = [const { Vec::<Turn>::new() }; WAYS.len()];
    for turn in 0..messages {
        for place in 0..stages.len() {
            let way = (turn + place) % stages.len();
            turns[way].push(publish(&mut stages[way]));
        }
    }
    std::array::from_fn(|way| {
        let own = &turns[way];
        let mut took: Vec<_> = own.iter().map(|turn| turn.delivery.took).collect();
        took.sort();
        let of = |other: &[Turn]| {
            median(own.iter().zip(other).map(|(turn, other)| turn.cpu.div_duration_f64(other.cpu)))
        };
        Outcome {
            took,
            lost: own.iter().map(|turn| turn.delivery.lost).sum(),
            cpu: own.iter().map(|turn| turn.cpu).sum::<Duration>().div_f64(messages as f64),
            cpu_of_bare: of(&turns[0]),
            cpu_of_yes: of(&turns[1]),
            questions: stages[way].api.checks().0 - asked_before[way],
        }
    })
}

fn publish(stage: &mut Stage) -> Turn {
    stage.workers.prepare(&stage.broker);
    let ran = || machine::main_thread_ran(stage.broker.pid());
    let before = ran();
    let delivery = stage.audience.publish(TOPIC);
    Turn { delivery, cpu: ran() - before }
}
