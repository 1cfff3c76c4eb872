//! How long until a message has reached a thousand subscribers?

mod cold;
mod warm;

use std::time::Duration;

use mosquitto_test::broker::{Broker, Version};

use crate::api::{self, Api};
use crate::args::{Args, Scenario};
use crate::audience::Audience;
use crate::chart::{self, Bar};
use crate::clock::ms;
use crate::report::Section;
use crate::setup::{self, Mode};
use crate::stats::millis;
use crate::workers::{Keeper, Workers};

/// What the API takes for a question that is measured.
const API_TAKES: Duration = Duration::from_millis(10);

/// What everybody subscribes to; each topic below it is another question.
const FILTER: &str = "news/+";

/// What decides deliveries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No plugin, so nothing.
    Nothing,
    /// A plugin that says yes to everything.
    Yes,
    /// Rules in the answers to logins.
    Rules(Workers),
    /// Answers in the cache.
    Cache(Workers),
    /// The API, one question in a request.
    Api,
    /// The API, many questions in a request.
    Batches,
    /// The API, one question after another.
    OneByOne,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Nothing => "no plugin",
            Way::Yes => "yes",
            Way::Rules(Workers::Idle) => "rules, with threads",
            Way::Rules(_) => "rules",
            Way::Cache(Workers::Idle) => "cached, with threads",
            Way::Cache(_) => "cached",
            Way::Api => "cold",
            Way::Batches => "cold, batches",
            Way::OneByOne => "one by one",
        }
    }

    fn options(self) -> &'static [(&'static str, &'static str)] {
        const KEPT: (&str, &str) = ("cache_acl_ttl", "600");
        match self {
            Way::Nothing | Way::Yes | Way::Rules(_) => &[],
            Way::Cache(_) | Way::Api => &[KEPT],
            Way::Batches => &[KEPT, api::BATCHES],
            Way::OneByOne => &[KEPT, ("http_connections", "1"), ("hold_ms", "60000")],
        }
    }
}

/// A broker and its clients.
struct Stage {
    api: Api,
    broker: Broker,
    audience: Audience,
    workers: Keeper,
}

impl Stage {
    /// Everybody enters while the API takes no time at all.
    fn set(version: Version, way: Way, size: usize) -> Stage {
        let api = Api::start(Duration::ZERO);
        if matches!(way, Way::Rules(_)) {
            api.give_rules();
        }
        let mode = match way {
            Way::Nothing => Mode::None,
            Way::Yes => Mode::Yes,
            _ => Mode::Ours,
        };
        let workers = match way {
            Way::Rules(workers) | Way::Cache(workers) => workers,
            _ => Workers::Any,
        };
        let broker = setup::broker(version, mode, &api, way.options());
        let audience = Audience::gather(broker.port(), size, FILTER);
        Stage { api, broker, audience, workers: Keeper::of(workers) }
    }
}

pub fn run(args: &Args) -> Section {
    let size = args.size(1000, 50);
    let mut section = Section::new("A message to many subscribers", Scenario::FanOut, args);
    section.text(format!(
        "One message (QoS 0) to {size} subscribers, from publishing it until the last of them has \
         it. *no plugin*: the bare broker; *yes*: a plugin of a few lines of C that says yes to \
         everything; *rules*: the answers to logins hold rules; *cached*: every answer is in the \
         cache. *with threads*: the plugin's workers live, and have nothing to do; else they have \
         ended, as in a broker whose clients are all connected. All take turns, message by message, \
         {} times. *broker's CPU*: the time that its thread spends on one message, a mean; ratios \
         are medians over the turns. *goal*: for the CPU, {} × that of *yes*, and nothing lost.",
        args.size(1000, 20),
        crate::throughput::GOAL
    ));
    let mut bars = Vec::new();
    for version in &args.versions {
        section.table(warm::run(*version, size, args, &mut bars));
    }
    section.text(format!(
        "The same with nothing in the cache (every message has a topic of its own) and an API that \
         takes {} for a request. *cold*: one question in a request, 32 requests at once; *cold, \
         batches*: with `http_acl_batch_route`; *one by one*: `http_connections 1`, so that one \
         question waits for the other, as in every earlier plugin, and one message is all; *cached*: \
         every answer is known. *longest pause of others*: the slowest message \
         among uninvolved clients, each of which publishes to another one, and how many times as \
         long as with *cached*. *goal*: for the median, for every message, and for that.",
        millis(API_TAKES)
    ));
    for version in &args.versions {
        section.table(cold::run(*version, size, args, &mut bars));
    }
    let title = format!("Milliseconds until {size} subscribers have a message");
    section.chart("fan-out.svg", &title, chart::bars(&title, &bars));
    section
}

fn bar(version: Version, way: Way, took: Duration) -> Bar {
    let group = match way {
        Way::Nothing | Way::Yes => 0,
        Way::Rules(_) | Way::Cache(_) => 2,
        Way::Api | Way::Batches => 3,
        Way::OneByOne => 1,
    };
    let label = format!("{} {}", version.name(), way.name());
    Bar { label, value: ms(took), text: millis(took), group }
}
