//! What happens to whom while the API is down, and how soon is all well again?

use std::ops::Range;
use std::thread;
use std::time::Duration;

use mosquitto_test::broker::Version;

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::chart::{self, Bar};
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::prober::{self, KNOWN, Kind, Probe, Prober};
use crate::report::{Section, Table, goal};
use crate::setup::{self, Mode};
use crate::stats::{Latency, percentile, seconds};
use crate::traffic::{Seen, Traffic};

const API_TAKES: Duration = Duration::from_millis(10);

/// How long after `breaker_open_ms` logins may take to work again.
const SLACK: Duration = Duration::from_secs(1);

/// How long to wait for a recovery that is late.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Seconds that answers live. With the first none ends meanwhile, so whoever is cut off had a live
/// one; with the second, the default, it depends on whether refreshes find the API well.
const LIVES: [&str; 2] = ["3600", "30"];

struct Outcome {
    version: Version,
    cache_ttl: &'static str,
    seen: Seen,
    probes: Vec<Probe>,
    /// From the API's death to its return.
    outages: Vec<Range<Duration>>,
    recoveries: Vec<Duration>,
}

pub fn run(args: &Args) -> Section {
    let rest = Duration::from_millis(args.size(5000, 500));
    let mut section = Section::new("Outages of the API", Scenario::Outage, args);
    section.text(format!(
        "The API is killed and comes back {} times, while {} clients publish to one another and \
         users log in all the time: users with a cached answer, new ones, and new ones with a \
         wrong password. *cut off*: disconnected clients in traffic, their lost messages, and \
         failed logins with a cached answer. *wrongly let in*: logins with a wrong password, ever; \
         new users, during an outage. *recovery*: from the API's return until a new user is let \
         in; `breaker_open_ms` is {}. With `cache_ttl` 3600 every answer outlives the run, so \
         nobody may be cut off; with the default of 30 this shows how well refreshes succeed while \
         the API is down most of the time.",
        args.size(20, 2),
        args.size(50, 10),
        rest.as_millis()
    ));
    let mut table = Table::new(
        "broker | cache_ttl | outages | disconnected | lost messages | \
         known users failed | cut off | wrongly let in | recovery p50 | recovery max | \
         goal",
    );
    let mut bars = Vec::new();
    for outcome in run_all(args, rest) {
        table.row(row(&outcome, rest));
        let mut recoveries = outcome.recoveries;
        recoveries.sort();
        for (what, percent) in [("p50", 50.0), ("max", 100.0)] {
            let recovery = percentile(&recoveries, percent);
            let label = format!("{}, ttl {}, {what}", outcome.version.name(), outcome.cache_ttl);
            let (value, text) = (recovery.as_secs_f64(), seconds(recovery));
            bars.push(Bar { label, value, text, group: usize::from(outcome.version.is_2_1()) });
        }
    }
    section.table(table);
    let title = "Seconds from the API's return until a new user is let in";
    section.chart("outage.svg", title, chart::bars(title, &bars));
    section
}

/// All at the same time: they wait far more than they work.
fn run_all(args: &Args, rest: Duration) -> Vec<Outcome> {
    thread::scope(|scope| {
        let versions = args.versions.iter().flat_map(|version| LIVES.map(|ttl| (*version, ttl)));
        let start = |(version, ttl)| scope.spawn(move || run_on(version, ttl, args, rest));
        let running: Vec<_> = versions.map(start).collect();
        running.into_iter().map(|run| run.join().expect("it runs to its end")).collect()
    })
}

fn run_on(version: Version, cache_ttl: &'static str, args: &Args, rest: Duration) -> Outcome {
    let api = Api::start(API_TAKES);
    let breaker_open_ms = rest.as_millis().to_string();
    let options = [("breaker_open_ms", breaker_open_ms.as_str()), ("cache_ttl", cache_ttl)];
    let broker = setup::broker(version, Mode::Ours, &api, &options);
    let known = (0..KNOWN).map(|number| prober::known(number, format!("first-{number}")));
    drop(Crowd::log_in(broker.port(), known.collect(), Pace::Rush));
    let traffic = Traffic::start(broker.port(), args.size(50, 10));
    let prober = Prober::start(broker.port());
    thread::sleep(Duration::from_secs(1));
    let mut outages = Vec::new();
    let mut recoveries = Vec::new();
    for number in 0..args.size(20, 2) {
        let began = clock::now();
        api.kill();
        let dead = clock::now();
        thread::sleep(down(number));
        let outage = dead..clock::now();
        api.restart();
        let recovery = recovery(&prober, clock::now());
        clock::say(&format!(
            "{} cache_ttl {cache_ttl:4} outage {}: down for {}, well again after {}",
            version.name(),
            number + 1,
            seconds(outage.end - began),
            seconds(recovery)
        ));
        outages.push(outage);
        recoveries.push(recovery);
        thread::sleep(Duration::from_secs(1));
    }
    let probes = prober.stop();
    Outcome { version, cache_ttl, seen: traffic.stop(), probes, outages, recoveries }
}

/// Between 1 s and 3 s, so that the API comes back at different points of the breaker's rest.
fn down(number: u64) -> Duration {
    Duration::from_millis(1000 + number * 731 % 2000)
}

/// How long until the first new user is let in.
fn recovery(prober: &Prober, back: Duration) -> Duration {
    loop {
        let probes = prober.probes();
        let let_in =
            |probe: &&Probe| probe.kind == Kind::Fresh && probe.let_in && probe.ended >= back;
        if let Some(first) = probes.iter().filter(let_in).map(|probe| probe.ended).min() {
            return first - back;
        }
        if clock::now() > back + GIVE_UP {
            return GIVE_UP;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn row(outcome: &Outcome, rest: Duration) -> [String; 11] {
    let (first, last) = (&outcome.outages[0], &outcome.outages[outcome.outages.len() - 1]);
    // Messages sent last may still have been under way when the traffic was stopped.
    let lost = Latency::within(&outcome.seen.messages, &(first.start..last.end)).lost;
    let probes = || outcome.probes.iter();
    let failed = probes().filter(|probe| probe.kind == Kind::Known && !probe.let_in).count();
    let cut_off = outcome.seen.cut_off + lost + failed;
    let in_outage = |probe: &Probe| {
        outcome.outages.iter().any(|o| o.contains(&probe.began) && o.contains(&probe.ended))
    };
    let wrong = |probe: &&Probe| {
        probe.let_in && (probe.kind == Kind::Wrong || probe.kind == Kind::Fresh && in_outage(probe))
    };
    let wrongly = probes().filter(wrong).count();
    let mut recoveries = outcome.recoveries.clone();
    recoveries.sort();
    let slowest = percentile(&recoveries, 100.0);
    let with_live_answer = outcome.cache_ttl == LIVES[0];
    let none_cut_off = match with_live_answer {
        true => goal(cut_off == 0, "none cut off"),
        false => "answers may end: not judged".to_owned(),
    };
    let verdicts = [
        none_cut_off,
        goal(wrongly == 0, "none wrongly let in"),
        goal(slowest <= rest + SLACK, &format!("recovery ≤ {}", seconds(rest + SLACK))),
    ];
    [
        outcome.version.name().to_owned(),
        outcome.cache_ttl.to_owned(),
        outcome.outages.len().to_string(),
        outcome.seen.cut_off.to_string(),
        lost.to_string(),
        failed.to_string(),
        cut_off.to_string(),
        wrongly.to_string(),
        seconds(percentile(&recoveries, 50.0)),
        seconds(slowest),
        verdicts.join("; "),
    ]
}
