//! How many checks a second are decided by 1, 10, 1,000 and 10,000 rules? And what do rules that are only for
//! some clients cost, once for each client that comes in?
//!
//! `cargo bench --bench rules` prints tables in Markdown; with `-- --quick` it only shows that it
//! works. `bench rules` of `mosquitto-test` runs it for the report.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, prints, and measures real time"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mosquitto_http_auth::question::{Access, Action};
use mosquitto_http_auth::rules::{Condition, Names, Network, Permission, Rule, Rules, Verb, Whom};

const COUNTS: [usize; 4] = [1, 10, 1000, 10_000];

const ACTIONS: [(&str, Access); 3] =
    [("publish", Access::Write), ("read", Access::Read), ("subscribe", Access::Subscribe)];

const NAMES: Names<'_> = Names::of("meter", "meter-1");

/// How many topics take turns, so that no check finds all of it in the processor's cache.
const TOPICS: usize = 512;

/// Which rule decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    First,
    Last,
    /// Another one each time.
    EachInTurn,
    None,
    /// What an API says to a device: its own topics, some groups, and nothing else.
    Device,
    /// As many levels with a placeholder beside each other: nothing leads to the right one.
    Crowded,
}

impl Case {
    const ALL: [Case; 6] =
        [Case::First, Case::Last, Case::EachInTurn, Case::None, Case::Device, Case::Crowded];

    fn name(self) -> &'static str {
        match self {
            Case::First => "the first matches",
            Case::Last => "the last matches",
            Case::EachInTurn => "each matches in turn",
            Case::None => "none matches",
            Case::Device => "a device's, with ${clientid}",
            Case::Crowded => "a/${clientid}-N/#, the last matches",
        }
    }

    fn rules(self, count: usize) -> Vec<Rule> {
        let others = |count| (0..count).map(other).collect::<Vec<_>>();
        let one = || vec![allow(Verb::All, "site/target/oven/#".into())];
        match self {
            Case::First => [one(), others(count - 1)].concat(),
            Case::Last => [others(count - 1), one()].concat(),
            Case::EachInTurn | Case::None => others(count),
            Case::Device if count == 1 => vec![allow(Verb::All, "devices/${clientid}/#".into())],
            Case::Device => device(count),
            Case::Crowded => {
                (0..count).map(|n| allow(Verb::All, format!("a/${{clientid}}-{n}/#"))).collect()
            }
        }
    }

    /// A topic of this number, or as much of a filter as the rule covers, and which rule decides.
    fn asked(self, count: usize, access: Access, number: usize) -> (String, Option<usize>) {
        let is_filter = access == Access::Subscribe;
        let end = if is_filter { format!("s-{number}/+") } else { format!("s-{number}") };
        match self {
            Case::First => (format!("site/target/oven/{end}"), Some(0)),
            Case::Last => (format!("site/target/oven/{end}"), Some(count - 1)),
            Case::EachInTurn => {
                // 7919 is a prime: all rules have their turn, and no two in a row are neighbours.
                let rule = number * 7919 % count;
                (matched_by_other(rule), Some(rule))
            }
            Case::None => (format!("site/0/oven/{end}"), None),
            Case::Device => {
                let (way, rule) = match access {
                    Access::Write => ("up", 0),
                    _ => ("down", 1.min(count - 1)),
                };
                (format!("devices/meter-1/{way}/{end}"), Some(rule))
            }
            Case::Crowded => (format!("a/meter-1-{}/{end}", count - 1), Some(count - 1)),
        }
    }
}

/// Rules of four kinds, none like another.
fn other(number: usize) -> Rule {
    let topic = match number % 4 {
        0 => format!("site/{number}/+/state"),
        1 => format!("site/{number}/press/#"),
        2 => format!("site/{number}/oven/temperature"),
        _ => format!("+/{number}/alarm"),
    };
    allow(Verb::All, topic)
}

fn matched_by_other(number: usize) -> String {
    match number % 4 {
        0 => format!("site/{number}/oven/state"),
        1 => format!("site/{number}/press/valve/state"),
        2 => format!("site/{number}/oven/temperature"),
        _ => format!("hall/{number}/alarm"),
    }
}

fn device(count: usize) -> Vec<Rule> {
    let own = [
        allow(Verb::Publish, "devices/${clientid}/up/#".into()),
        allow(Verb::Subscribe, "devices/${clientid}/down/#".into()),
    ];
    let group = |number| allow(Verb::Subscribe, format!("groups/{number}/${{clientid}}/#"));
    let rest = Rule { permission: Permission::Deny, ..allow(Verb::All, "#".into()) };
    own.into_iter().chain((3..count).map(group)).chain([rest]).collect()
}

fn allow(verb: Verb, topic: String) -> Rule {
    Rule {
        permission: Permission::Allow,
        verb,
        topic,
        qos: None,
        retain: None,
        condition: Condition::NONE,
    }
}

/// How many different conditions the rules have.
const CONDITIONS: [usize; 4] = [1, 8, 64, 256];

/// Whom rules are for, by a number.
type Kind = (&'static str, fn(usize) -> Condition);

const KINDS: [Kind; 3] = [
    ("`ipaddr` 10.N.0.0/16", |number| Condition {
        network: Network::read(&format!("10.{number}.0.0/16")),
        ..Condition::NONE
    }),
    ("`username_re` ^group-N-", |number| Condition {
        username: Some(format!("^group-{number}-")),
        ..Condition::NONE
    }),
    ("`clientid_re` ^(pump|oven|press)-N-[0-9a-f]+$", |number| Condition {
        client_id: Some(format!("^(pump|oven|press)-{number}-[0-9a-f]+$")),
        ..Condition::NONE
    }),
];

/// What it takes to find out which of the conditions a client meets, in nanoseconds.
fn conditions(kind: Kind, count: usize, rounds: usize) -> f64 {
    let rule = |number| Rule { condition: (kind.1)(number), ..allow(Verb::All, "a".into()) };
    let rules = Rules::compile((0..count).map(rule).collect()).unwrap();
    let whom = Whom {
        address: "10.0.0.7".parse().ok(),
        username: "group-0-meter",
        client_id: "press-0-0badc0de",
    };
    let mut taken: Vec<_> = (0..rounds * 20)
        .map(|_| {
            let began = Instant::now();
            black_box(rules.met_by(black_box(whom)));
            began.elapsed().as_nanos() as f64
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

/// One cell of the table.
struct Cell {
    rules: Rules,
    access: Access,
    topics: Vec<String>,
    /// How often all topics are judged in a round.
    repeats: u32,
    /// What each round came to, in nanoseconds for a check.
    rounds: Vec<f64>,
}

impl Cell {
    /// None: so many of these are refused.
    fn new(case: Case, access: Access, count: usize, round: Duration) -> Option<Cell> {
        let rules = match Rules::compile(case.rules(count)) {
            Err(_) if case == Case::Crowded => return None,
            compiled => compiled.unwrap(),
        };
        assert_eq!(rules.len(), count);
        let mut topics = Vec::new();
        for number in 0..TOPICS {
            let (topic, expected) = case.asked(count, access, number);
            let found = rules.judge(&action(access, &topic), NAMES);
            assert_eq!(found.map(|ruling| ruling.position), expected, "{topic}");
            topics.push(topic);
        }
        let mut cell = Cell { rules, access, topics, repeats: 1, rounds: Vec::new() };
        while cell.run() < round {
            cell.repeats *= 2;
        }
        Some(cell)
    }

    fn run(&self) -> Duration {
        let began = Instant::now();
        for _ in 0..self.repeats {
            for topic in &self.topics {
                black_box(self.rules.judge(&action(self.access, black_box(topic)), NAMES));
            }
        }
        began.elapsed()
    }

    fn measure(&mut self) {
        let checks = f64::from(self.repeats) * self.topics.len() as f64;
        self.rounds.push(self.run().as_nanos() as f64 / checks);
    }

    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

fn action(access: Access, topic: &str) -> Action<'_> {
    Action { access, topic, qos: 0, retain: false }
}

fn main() {
    // Cargo adds an argument of its own.
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, round) = if quick { (1, 0) } else { (31, 2) };
    let round = Duration::from_millis(round);
    let kinds = Case::ALL.into_iter().flat_map(|case| ACTIONS.map(|action| (case, action)));
    let kinds: Vec<_> = kinds.collect();
    let row = |(case, (_, access))| COUNTS.map(|count| Cell::new(case, access, count, round));
    let mut table: Vec<[Option<Cell>; COUNTS.len()]> = kinds.iter().copied().map(row).collect();
    // In turns, so that whatever else the machine does meets all alike.
    for _ in 0..rounds {
        table.iter_mut().flatten().flatten().for_each(Cell::measure);
    }
    let mut lines = vec![head()];
    for ((case, (action, _)), row) in kinds.into_iter().zip(&table) {
        let medians: Vec<f64> = row.iter().flatten().map(Cell::median).collect();
        let growth = format!("{:.1} ×", medians[medians.len() - 1] / medians[0]);
        let names = [case.name().to_owned(), action.to_owned()];
        let number = |ns: f64| format!("{}, {}/s", time(ns), rate(ns));
        let numbers = row.iter().map(|cell| {
            cell.as_ref().map_or_else(|| "refused".to_owned(), |cell| number(cell.median()))
        });
        lines.push(names.into_iter().chain(numbers).chain([growth]).collect());
    }
    print!("{}", markdown(&lines));
    let names = CONDITIONS.map(|count| format!("{count} different"));
    let mut lines = vec![["conditions of rules".to_owned()].into_iter().chain(names).collect()];
    for kind in KINDS {
        let cells = CONDITIONS.map(|count| time(conditions(kind, count, rounds)));
        lines.push([kind.0.to_owned()].into_iter().chain(cells).collect::<Vec<_>>());
    }
    print!(
        "\nWhat it takes to judge them, once for each client that comes in:\n\n{}",
        markdown(&lines)
    );
}

fn head() -> Vec<String> {
    let rules = |count: usize| match count {
        1 => "1 rule".to_owned(),
        1000.. => format!("{},{:03} rules", count / 1000, count % 1000),
        _ => format!("{count} rules"),
    };
    let names = ["rules", "check"].map(str::to_owned).into_iter();
    names.chain(COUNTS.map(rules)).chain(["growth".to_owned()]).collect()
}

fn time(ns: f64) -> String {
    if ns < 1e4 { format!("{ns:.0} ns") } else { format!("{:.1} µs", ns / 1e3) }
}

/// How many of these there are in a second.
fn rate(ns: f64) -> String {
    let per_second = 1e9 / ns;
    if per_second < 1e6 {
        format!("{:.0} k", per_second / 1e3)
    } else {
        format!("{:.1} M", per_second / 1e6)
    }
}

/// A table whose columns stand below each other as text, too.
fn markdown(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(move |line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let row = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let body: String = lines[1..].iter().map(|line| row(line)).collect();
    row(&lines[0]) + &row(&rule) + &body
}
