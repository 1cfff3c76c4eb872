//! What does a change cost? The library before it beside the one after it, in one run.

use std::path::Path;

use mosquitto_test::broker::{Version, plugin_path};

use crate::args::{Args, Scenario};
use crate::clock;
use crate::lineup::{Stand, Turn, Way};
use crate::load::Work;
use crate::report::{Section, Table, goal};
use crate::stats::median;
use crate::throughput::{CLIENTS, micros, steps};
use crate::workers::Workers;

const WAYS: [Way; 2] = [Way::Cached(Workers::Ended), Way::Rules(Workers::Ended)];

/// How much more the broker's thread may spend on what is known after the change.
const GOAL: f64 = 1.01;

pub fn run(args: &Args) -> Section {
    let rounds = args.size(200, 3);
    let before = args.before.as_deref().expect("the command line names it");
    let mut section = Section::new("Compare", Scenario::Compare, args);
    section.text(format!(
        "Two brokers with {CLIENTS} clients each, one with the library `{}`, one with this build's. They take turns, \
         {rounds} times, each as often first as the other. Ratios are medians over the rounds, of what it is after \
         the change to what it was before it; 1 is no difference.",
        before.display()
    ));
    let mut table = Table::new(
        "broker | operation | mode | per second | × before | broker's CPU | × before | goal",
    );
    for version in &args.versions {
        for way in WAYS {
            compare(*version, way, (before, rounds), &mut table);
        }
    }
    section.table(table);
    section
}

fn compare(version: Version, way: Way, (before, rounds): (&Path, usize), table: &mut Table) {
    let after = plugin_path();
    let mut stands =
        [before, &after].map(|library| Stand::with_library(version, way, CLIENTS, library));
    for work in Work::ALL {
        let mut turns: [Vec<Turn>; 2] = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for place in 0..2 {
                let which = (round + place) % 2;
                turns[which].push(stands[which].take_turn(work, steps(work, way)));
            }
        }
        let [before, after] = &turns;
        let ratio = |of_turn: fn(&Turn) -> f64| {
            median(after.iter().zip(before).map(|(after, before)| of_turn(after) / of_turn(before)))
        };
        let (throughput, cpu) = (ratio(Turn::per_second), ratio(Turn::cpu_ns));
        let (name, work, way) = (version.name(), work.name(), way.name());
        clock::say(&format!(
            "{name} {work}, {way}: {throughput:.3} × before, CPU {cpu:.3} × before"
        ));
        table.row([
            name.to_owned(),
            work.to_owned(),
            way.to_owned(),
            format!("{:.0}", median(after.iter().map(Turn::per_second))),
            format!("{throughput:.3}"),
            micros(median(after.iter().map(Turn::cpu_ns))),
            format!("{cpu:.3}"),
            goal(cpu <= GOAL, &format!("CPU ≤ {GOAL} × before")),
        ]);
    }
}
