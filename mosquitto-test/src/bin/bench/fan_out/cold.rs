//! With everything to ask: how long does it take, and who else has to wait?

use std::thread;
use std::time::Duration;

use mosquitto_test::broker::Version;

use super::{API_TAKES, Stage, Way, bar};
use crate::args::Args;
use crate::audience::Delivery;
use crate::chart::Bar;
use crate::clock;
use crate::report::{Table, goal};
use crate::stats::{Latency, millis, percentile};
use crate::traffic::{Message, Traffic};
use crate::workers::Workers;

/// Every answer is in the cache.
const CACHED: Way = Way::Cache(Workers::Any);

/// The first two are what the others are measured by.
const WAYS: [Way; 4] = [Way::OneByOne, CACHED, Way::Api, Way::Batches];

/// Clients beside the audience that publish to each other, which makes 200 messages a second.
const OTHERS: usize = 20;

/// How many times as long as with every answer in the cache others may have to wait.
const PAUSE_GOAL: f64 = 2.0;

/// How much of the time that one question after another takes it may take.
const GOAL: f64 = 1.0 / 20.0;

struct Outcome {
    /// Ascending.
    took: Vec<Duration>,
    lost: usize,
    /// None where nobody was there to see it.
    longest_pause: Option<Duration>,
    questions: usize,
    requests: usize,
}

/// What the outcomes are measured by.
struct Measure {
    serial: Duration,
    cached_pause: Option<Duration>,
}

pub fn run(version: Version, size: usize, args: &Args, bars: &mut Vec<Bar>) -> Table {
    let mut table = Table::new(
        "broker | mode | p50 | max | of one by one | lost | messages | questions | requests | \
         longest pause of others | × cached | goal",
    );
    let mut measure = Measure { serial: Duration::MAX, cached_pause: None };
    for way in WAYS {
        let outcome = one(version, way, size, args);
        let p50 = percentile(&outcome.took, 50.0);
        match way {
            Way::OneByOne => measure.serial = p50,
            CACHED => measure.cached_pause = outcome.longest_pause,
            _ => {}
        }
        clock::say(&format!(
            "{} {:13} {}, {} lost",
            version.name(),
            way.name(),
            millis(p50),
            outcome.lost
        ));
        if way != CACHED {
            bars.push(bar(version, way, p50));
        }
        table.row(row(version, way, &outcome, &measure));
    }
    table
}

fn one(version: Version, way: Way, size: usize, args: &Args) -> Outcome {
    let mut stage = Stage::set(version, way, size);
    // Whoever asks one by one is busy enough with that.
    let with_others = way != Way::OneByOne;
    let traffic = with_others.then(|| Traffic::start(stage.broker.port(), OTHERS));
    stage.api.set_delay(API_TAKES);
    let (questions, requests) = stage.api.checks();
    let messages = if with_others { args.size(10, 2) } else { 1 };
    let topic = |number| match way {
        CACHED => "news/today".to_owned(),
        _ => format!("news/{number}"),
    };
    if way == CACHED {
        stage.audience.publish(&topic(0));
    }
    let mut deliveries = Vec::new();
    for number in 0..messages {
        // By then the broker may be held up for as long as ever.
        thread::sleep(Duration::from_secs(1));
        deliveries.push(stage.audience.publish(&topic(number)));
    }
    let (questions, requests) = (stage.api.checks().0 - questions, stage.api.checks().1 - requests);
    let seen = traffic.map(Traffic::stop);
    let mut took: Vec<_> = deliveries.iter().map(|delivery| delivery.took).collect();
    took.sort();
    Outcome {
        took,
        lost: deliveries.iter().map(|delivery| delivery.lost).sum(),
        longest_pause: seen.map(|seen| longest_pause(&seen.messages, &deliveries)),
        questions,
        requests,
    }
}

/// The slowest message that was sent while one to the whole audience was delivered.
fn longest_pause(messages: &[Message], deliveries: &[Delivery]) -> Duration {
    let spans = deliveries.iter().map(|delivery| delivery.sent..delivery.sent + delivery.took);
    let slowest = spans.map(|span| Latency::within(messages, &span).max());
    slowest.max().unwrap_or_default()
}

fn row(version: Version, way: Way, outcome: &Outcome, measure: &Measure) -> [String; 12] {
    let p50 = percentile(&outcome.took, 50.0);
    let share = p50.div_duration_f64(measure.serial);
    let ratio = outcome.longest_pause.zip(measure.cached_pause);
    let ratio = ratio.map(|(pause, cached)| pause.div_duration_f64(cached));
    let verdict = |ratio: f64| {
        [
            goal(share <= GOAL, "≤ 1/20 of one by one"),
            goal(outcome.lost == 0, "none lost"),
            goal(ratio <= PAUSE_GOAL, &format!("pause ≤ {PAUSE_GOAL} × cached")),
        ]
        .join("; ")
    };
    [
        version.name().to_owned(),
        way.name().to_owned(),
        millis(p50),
        millis(percentile(&outcome.took, 100.0)),
        format!("1/{:.1}", 1.0 / share),
        outcome.lost.to_string(),
        outcome.took.len().to_string(),
        outcome.questions.to_string(),
        outcome.requests.to_string(),
        outcome.longest_pause.map(millis).unwrap_or_default(),
        ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        ratio.filter(|_| way != CACHED).map(verdict).unwrap_or_default(),
    ]
}
