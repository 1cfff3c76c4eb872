//! What a fleet costs a broker where Redis is not needed: known answers, and doing nothing.

use std::time::Duration;

use mosquitto_test::broker::Broker;

use super::{DAY, Ground, clients};
use crate::args::Args;
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::idle;
use crate::machine;
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stats::median;
use crate::throughput::micros;

/// How many logins a turn has.
const LOGINS: usize = 50;

pub fn run(args: &Args, section: &mut Section) {
    let (rounds, watched) = args.size((100, 30), (3, 1));
    section.text(format!(
        "**What it costs otherwise.** The same {LOGINS} clients, whose answers the broker knows, log in and leave, in turn at a \
         broker with a fleet and at one without, {rounds} times each: the median of what the broker's own thread spends on a \
         login. Then both do nothing for {watched} s: wake-ups of all threads."
    ));
    let mut table = Table::new(
        "broker | mode | a known login | × no fleet | goal | wake-ups/s, idle | more | goal",
    );
    for version in &args.versions {
        let ground = Ground::new(*version);
        let alone = setup::broker(*version, Mode::Ours, &ground.api, &[DAY]);
        let brokers = [alone, ground.broker("b0", &[DAY])];
        let mut ran: [Vec<f64>; 2] = Default::default();
        for round in 0..=rounds {
            for place in 0..2 {
                let which = (round + place) % 2;
                let took = turn(&brokers[which]);
                // The first turn of each fills caches, and does not count.
                if round > 0 {
                    ran[which].push(took);
                }
            }
        }
        let ran = ran.map(median);
        let wakeups = idle::wakeups(&brokers, Duration::from_secs(watched));
        for (which, mode) in ["no fleet", "fleet"].into_iter().enumerate() {
            let ratio = ran[which] / ran[0];
            let more = wakeups[which] - wakeups[0];
            clock::say(&format!("{} {mode}: {ratio:.3}, {more:.1} more", version.name()));
            let judged = |text: String| if which == 0 { String::new() } else { text };
            table.row([
                version.name().to_owned(),
                mode.to_owned(),
                micros(ran[which]),
                format!("{ratio:.3}"),
                judged(goal(ratio <= 1.02, "≤ 1.02 ×")),
                format!("{:.1}", wakeups[which]),
                judged(format!("{more:.1}")),
                judged(goal(more <= 3.0, "≤ 3 a second")),
            ]);
        }
    }
    section.table(table);
}

/// What the broker's thread runs for a login, in nanoseconds.
fn turn(broker: &Broker) -> f64 {
    let ran = machine::main_thread_ran(broker.pid());
    drop(Crowd::log_in(broker.port(), clients(0..LOGINS), Pace::Rush));
    let ran = machine::main_thread_ran(broker.pid()) - ran;
    ran.as_nanos() as f64 / LOGINS as f64
}
