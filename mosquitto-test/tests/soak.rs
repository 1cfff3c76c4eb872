//! A minute of mixed traffic on every broker at once, with every decision judged; see
//! `mosquitto_test::soak`. `SOAK_SECONDS` and `SOAK_CLIENTS` say otherwise.

#![allow(clippy::disallowed_methods, reason = "tests have real time and real threads")]

use std::env;
use std::thread;
use std::time::Duration;

use mosquitto_test::broker::Version;
use mosquitto_test::soak::{Plan, fleet, run};

fn number(name: &str, default: u32) -> u32 {
    let text = env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn nothing_is_wrong_and_nothing_grows() {
    let time = Duration::from_secs(number("SOAK_SECONDS", 60).into());
    let clients = number("SOAK_CLIENTS", 200) as usize;
    let brokers = Version::ALL.map(|version| {
        thread::spawn(move || {
            let report = run(Plan { version, time, clients, rate: 60.0 });
            println!("{report}");
            report.verdict()
        })
    });
    let verdicts = brokers.map(|broker| broker.join().expect("the run came to its end"));
    assert_eq!(verdicts, [Ok(()), Ok(()), Ok(())]);
}

#[test]
fn nothing_is_wrong_where_brokers_share_answers_and_redis_fails() {
    let time = Duration::from_secs(number("SOAK_SECONDS", 60).into());
    let clients = number("SOAK_CLIENTS", 60) as usize;
    let fleets = [Version::V2_0_21, Version::V2_1_2].map(|version| {
        thread::spawn(move || {
            let report = fleet::run(fleet::Plan { version, time, clients });
            println!("{report}");
            report.verdict()
        })
    });
    let verdicts = fleets.map(|fleet| fleet.join().expect("the run came to its end"));
    assert_eq!(verdicts, [Ok(()), Ok(())]);
}
