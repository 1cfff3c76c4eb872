//! What one sees of a broker's good and bad times in its metrics: for a picture of them.

use std::thread;
use std::time::Duration;

use mosquitto_test::broker::Version;

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::crowd::{Crowd, Pace};
use crate::link::Who;
use crate::prober::{self, KNOWN, Prober};
use crate::report::{Section, Table};
use crate::setup::{self, Mode};
use crate::stats::{millis, seconds};
use crate::traffic::Traffic;

const API_TAKES: Duration = Duration::from_millis(8);
const SLOW_API_TAKES: Duration = Duration::from_millis(400);

/// Answers expire while one watches; the broker is asked for few topics, so most checks hit.
const OPTIONS: [(&str, &str); 2] = [("cache_ttl", "10"), ("sys_interval", "1")];

pub fn run(args: &Args) -> Section {
    let (clients, storm) = (args.size(50, 10), args.size(4000, 50));
    let mut section = Section::new("Metrics while one watches", Scenario::Watched, args);
    section.text(format!(
        "{clients} clients publish to one another and logins come all the time. Then {storm} new \
         clients log in, the API takes {} in place of {}, and the API is down.",
        millis(SLOW_API_TAKES),
        millis(API_TAKES)
    ));
    let mut table = Table::new("broker | disconnected | lost messages | logins asked");
    for version in &args.versions {
        table.row(watch(*version, args, clients, storm));
    }
    section.table(table);
    section
}

fn watch(version: Version, args: &Args, clients: usize, storm: usize) -> [String; 4] {
    let api = Api::start(API_TAKES);
    let mut options = OPTIONS.to_vec();
    options.extend(args.metrics.as_deref().map(|address| ("metrics_listen", address)));
    let broker = setup::broker(version, Mode::Ours, &api, &options);
    let known = (0..KNOWN).map(|number| prober::known(number, format!("first-{number}")));
    drop(Crowd::log_in(broker.port(), known.collect(), Pace::Rush));
    let traffic = Traffic::start(broker.port(), clients);
    let prober = Prober::start(broker.port());
    let while_it_lasts = |what: &str, time: u64| {
        let time = args.size(Duration::from_secs(time), Duration::from_secs(1));
        println!("{} {what} for {}", version.name(), seconds(time));
        thread::sleep(time);
    };
    while_it_lasts("is calm", 25);
    let crowd = (0..storm).map(|number| Who::right(format!("storm-{number}"))).collect();
    let crowd = Crowd::log_in(broker.port(), crowd, Pace::PerSecond(400));
    while_it_lasts("has a crowd", 20);
    api.set_delay(SLOW_API_TAKES);
    while_it_lasts("asks a slow API", 25);
    drop(crowd);
    api.set_delay(API_TAKES);
    while_it_lasts("is calm", 20);
    api.kill();
    while_it_lasts("has no API", 20);
    api.restart();
    while_it_lasts("is calm", 30);
    prober.stop();
    let seen = traffic.stop();
    let lost = seen.messages.iter().filter(|message| message.took.is_none()).count();
    let row = [seen.cut_off, lost, api.logins()].map(|count| count.to_string());
    let [cut_off, lost, logins] = row;
    [version.name().to_owned(), cut_off, lost, logins]
}
