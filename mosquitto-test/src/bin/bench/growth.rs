//! Does what the plugin costs grow with the clients that are connected?

use mosquitto_test::broker::Version;

use crate::args::{Args, Scenario};
use crate::clock;
use crate::lineup::{Stand, Way};
use crate::load::Work;
use crate::report::{Section, Table, goal};
use crate::throughput::{Outcome, measure, micros};
use crate::workers::Workers;

const COUNTS: [usize; 4] = [1, 10, 100, 10_000];

const QUICK_COUNTS: [usize; 4] = [1, 2, 5, 50];

/// How much more than with one client the plugin's part of an operation may cost with all.
const GOAL: f64 = 1.5;

/// Less than so many nanoseconds cannot be told from nothing.
const NOISE: f64 = 50.0;

const WAYS: [Way; 4] = [Way::Bare, Way::Files, Way::Cached(Workers::Any), Way::Rules(Workers::Any)];

/// All ways to do all work, with so many clients.
struct Level {
    outcomes: Vec<(Work, [Outcome; 4])>,
    resident: [u64; 4],
}

pub fn run(args: &Args) -> Section {
    let rounds = args.size(50, 2);
    let counts = args.size(COUNTS, QUICK_COUNTS);
    let most = counts[counts.len() - 1];
    let mut section = Section::new("Growth", Scenario::Growth, args);
    section.text(format!(
        "The same with {counts:?} clients connected, in {rounds} rounds each; all of them publish \
         in turn, and all receive the delivered message. Each cell: the throughput as a share of \
         that of the bare broker with as many clients, and the time that the broker's thread \
         spends on an operation beyond that of the bare broker. With more clients the broker reads \
         fewer messages of each at once, and a client's data is no longer in the processor's \
         nearest cache. *growth*: what {most} clients cost beyond the bare broker, relative to \
         what one costs. *resident*: the broker's memory at the end, with all answers cached, \
         including the plugin's own code and threads.",
    ));
    for version in &args.versions {
        let levels = counts.map(|count| level(*version, count, rounds));
        section.table(costs(*version, counts, &levels));
        section.table(memory(*version, most, &levels[levels.len() - 1]));
    }
    section
}

fn level(version: Version, clients: usize, rounds: usize) -> Level {
    clock::say(&format!("{}: setting up with {clients} clients", version.name()));
    let mut stands = WAYS.map(|way| Stand::set_up(version, way, clients));
    let outcomes = Work::ALL.map(|work| {
        clock::say(&format!("{}, {clients} clients: {}", version.name(), work.name()));
        (work, measure(&mut stands, work, rounds))
    });
    let resident = stands.each_ref().map(Stand::resident_bytes);
    Level { outcomes: outcomes.into(), resident }
}

fn costs(version: Version, counts: [usize; 4], levels: &[Level; 4]) -> Table {
    let head = ["broker", "operation", "mode"].map(str::to_owned).into_iter();
    let head = head.chain(counts.map(|count| format!("{count} connected")));
    let mut table = Table::with_head(head.chain(["growth".to_owned(), "goal".to_owned()]));
    for (nth, work) in Work::ALL.into_iter().enumerate() {
        for (at, way) in WAYS.into_iter().enumerate().skip(1) {
            let of = |level: &Level| level.outcomes[nth].1[at];
            let beyond = |level: &Level| of(level).cpu_ns - level.outcomes[nth].1[0].cpu_ns;
            let cell =
                |level: &Level| format!("{:.2} ×, {}", of(level).of_bare, micros(beyond(level)));
            let (one, most) = (beyond(&levels[0]), beyond(&levels[levels.len() - 1]));
            let (growth, verdict) = growth(one, most);
            let row = [version.name().to_owned(), work.name().to_owned(), way.name().to_owned()];
            table.row(
                row.into_iter()
                    .chain(levels.iter().map(cell))
                    .chain([growth, if way.is_ours() { verdict } else { String::new() }]),
            );
        }
    }
    table
}

/// What grows may not, and nothing may become something.
fn growth(one: f64, most: f64) -> (String, String) {
    if one < NOISE {
        return ("".into(), goal(most < NOISE, "no more than nothing"));
    }
    let growth = most / one;
    (format!("{growth:.2} ×"), goal(growth <= GOAL, "≤ 1.5 ×"))
}

fn memory(version: Version, clients: usize, level: &Level) -> Table {
    let mut table =
        Table::new("broker | mode | clients | resident | by client, what no plugin has not");
    for (way, resident) in WAYS.into_iter().zip(level.resident) {
        let resident = resident as f64;
        let more = (resident - level.resident[0] as f64) / clients as f64;
        table.row([
            version.name().to_owned(),
            way.name().to_owned(),
            clients.to_string(),
            format!("{:.1} MiB", resident / f64::from(1 << 20)),
            if way == Way::Bare { String::new() } else { format!("{more:.0} bytes") },
        ]);
    }
    table
}
