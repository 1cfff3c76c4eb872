//! How much of a broker's throughput is left?

use mosquitto_test::broker::Version;

use crate::args::{Args, Scenario};
use crate::chart::{self, Bar};
use crate::clock;
use crate::lineup::{Stand, Turn, Way};
use crate::load::Work;
use crate::report::{Section, Table, goal};
use crate::stats::median;
use crate::workers::Workers;

/// How many clients are connected.
pub const CLIENTS: usize = 100;

const WAYS: [Way; 7] = [
    Way::Bare,
    Way::Yes,
    Way::Files,
    Way::Cached(Workers::Ended),
    Way::Cached(Workers::Idle),
    Way::Rules(Workers::Ended),
    Way::Rules(Workers::Idle),
];

/// What the broker's thread may spend on what is known, of what it spends with a plugin that says yes.
pub const GOAL: f64 = 1.02;

/// What counts as not behind: equal to two places.
const EQUAL: f64 = 0.995;

/// What all turns of one way came to.
#[derive(Clone, Copy)]
pub struct Outcome {
    pub way: Way,
    pub per_second: f64,
    /// The median of what each round came to, against the bare broker and against files.
    pub of_bare: f64,
    pub of_files: f64,
    /// What the broker's thread spent on one operation, in nanoseconds, and as above.
    pub cpu_ns: f64,
    pub cpu_of_bare: f64,
    /// None where nobody says yes to everything.
    cpu_of_yes: Option<f64>,
}

pub fn run(args: &Args) -> Section {
    let rounds = args.size(200, 3);
    let mut section = Section::new("Throughput", Scenario::Throughput, args);
    section.text(format!(
        "Seven brokers with {CLIENTS} clients each, which log in with a password. *no plugin*: the \
         bare broker, which lets everyone do everything; *yes*: a plugin of a few lines of C that \
         says yes to everything, which is the least that a plugin costs; *files*: Mosquitto's own \
         `password_file` and `acl_file`, with the same three rules as patterns; *cached*: the \
         plugin, every answer in its cache; *rules*: the plugin, with rules in the answers to \
         logins. *with threads*: the plugin's workers live, and have nothing to do; else they have \
         ended. They take turns of some thirty milliseconds, {rounds} times, each as often first as \
         the others; only the clients of the broker whose turn it is are active. (A turn begins \
         with the broker's data out of the processor's caches, so that shorter turns show more of \
         what that costs.) All have \
         `set_tcp_nodelay`. Ratios are medians over the rounds. *broker's CPU*: the time that the \
         broker's thread spends on one operation, which depends much less on other load on the \
         machine. Connects include the disconnect. Nobody subscribes to the published messages, so \
         that nothing hides the check. Deliveries are those of a message to all {CLIENTS}, QoS 0. \
         *files* spend most of a connect on the hash of the password, which is slow on purpose. \
         *goal*: for the CPU, {GOAL} × that of *yes*.",
    ));
    for version in &args.versions {
        run_on(*version, rounds, &mut section);
    }
    section
}

fn run_on(version: Version, rounds: usize, section: &mut Section) {
    let mut table = Table::new(
        "broker | operation | mode | per second | × no plugin | × files | broker's CPU | \
         × no plugin | × yes | goal",
    );
    let mut bars = Vec::new();
    clock::say(&format!("{}: setting up", version.name()));
    let mut stands = WAYS.map(|way| Stand::set_up(version, way, CLIENTS));
    for work in Work::ALL {
        for outcome in measure(&mut stands, work, rounds) {
            let Outcome { way, per_second, of_bare, of_files, cpu_ns, cpu_of_bare, .. } = outcome;
            let cpu_of_yes = outcome.cpu_of_yes.expect("one of them says yes");
            clock::say(&format!(
                "{} {}, {}: {per_second:.0}/s, {of_bare:.3} × no plugin, CPU {cpu_of_yes:.3} × yes",
                version.name(),
                work.name(),
                way.name()
            ));
            let label = format!("{} {}", work.name(), way.name());
            let text = format!("{of_bare:.2}");
            bars.push(Bar { label, value: of_bare, text, group: way.group() });
            table.row([
                version.name().to_owned(),
                work.name().to_owned(),
                way.name().to_owned(),
                format!("{per_second:.0}"),
                format!("{of_bare:.3}"),
                format!("{of_files:.3}"),
                micros(cpu_ns),
                format!("{cpu_of_bare:.3}"),
                format!("{cpu_of_yes:.3}"),
                if way.is_ours() { judge(cpu_of_yes, of_files) } else { String::new() },
            ]);
        }
    }
    section.table(table);
    let name = version.name();
    let title = format!("Mosquitto {name}: throughput as a share of a bare broker's");
    section.chart(format!("throughput-{name}.svg"), &title, chart::shares(&title, &bars));
}

fn judge(cpu_of_yes: f64, of_files: f64) -> String {
    let against_yes = goal(cpu_of_yes <= GOAL, &format!("CPU ≤ {GOAL} × yes"));
    format!("{against_yes}; {}", goal(of_files >= EQUAL, "not behind files"))
}

pub fn micros(ns: f64) -> String {
    format!("{:.2} µs", ns / 1000.0)
}

/// In turns, and each first as often as the others.
pub fn measure<const N: usize>(stands: &mut [Stand; N], work: Work, rounds: usize) -> [Outcome; N] {
    let mut turns = [const { Vec::<Turn>::new() }; N];
    for round in 0..rounds {
        for place in 0..stands.len() {
            let which = (round + place) % stands.len();
            let stand = &mut stands[which];
            turns[which].push(stand.take_turn(work, steps(work, stand.way)));
        }
    }
    let of = |way: Way| stands.iter().zip(&turns).find(|(stand, _)| stand.way == way);
    let [bare, yes, files] = [Way::Bare, Way::Yes, Way::Files].map(|way| Some(of(way)?.1));
    let [bare, files] = [bare, files].map(|turns| turns.expect("it is always there"));
    std::array::from_fn(|at| {
        let own = &turns[at];
        let median_of = |of_turn: fn(&Turn) -> f64| median(own.iter().map(of_turn));
        let ratio = |to: &Vec<Turn>, of_turn: fn(&Turn) -> f64| {
            median(own.iter().zip(to).map(|(turn, other)| of_turn(turn) / of_turn(other)))
        };
        Outcome {
            way: stands[at].way,
            per_second: median_of(Turn::per_second),
            of_bare: ratio(bare, Turn::per_second),
            of_files: ratio(files, Turn::per_second),
            cpu_ns: median_of(Turn::cpu_ns),
            cpu_of_bare: ratio(bare, Turn::cpu_ns),
            cpu_of_yes: yes.map(|yes| ratio(yes, Turn::cpu_ns)),
        }
    })
}

/// How many steps make some thirty milliseconds.
pub fn steps(work: Work, way: Way) -> usize {
    match (work, way) {
        // Each has a slow hash.
        (Work::Connect, Way::Files) => 1,
        (Work::Connect, _) => 12,
        (Work::PublishQos0, _) => 40,
        (Work::PublishQos1, _) => 8,
        (Work::Deliver, _) => 12,
    }
}
