//! From a command to the word that every broker has applied it.

use std::time::{Duration, Instant};

use mosquitto_test::control::{RESPONSES, TOPIC};
use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw::{self, RawClient};
use serde_json::{Value, json};

use super::Ground;
use crate::args::Args;
use crate::clock;
use crate::report::{Section, Table, goal};
use crate::stats::{millis, percentile};

const GOAL: Duration = Duration::from_millis(50);

pub fn run(args: &Args, section: &mut Section) {
    let (rounds, most) = args.size((500, 50), (20, 4));
    section.text(format!(
        "**From `invalidate` to applied.** A client commands one broker {rounds} times, one after another, \
         and waits for the response which says that all have applied it: of three brokers, and of {most}, all real \
         ones on this machine."
    ));
    let mut table = Table::new("broker | brokers | p50 | p99 | longest | goal");
    for version in &args.versions {
        for count in [3, most] {
            let ground = Ground::new(*version);
            let ack = [("fleet_ack_ms", "60000"), ("http_connections", "2")];
            let brokers: Vec<_> =
                (0..count).map(|number| ground.broker(&format!("b{number}"), &ack)).collect();
            let took = commands(brokers[0].port(), count, rounds);
            let [p50, p99, longest] = [50.0, 99.0, 100.0].map(|share| percentile(&took, share));
            clock::say(&format!("{} {count} brokers: p99 {}", version.name(), millis(p99)));
            table.row([
                version.name().to_owned(),
                count.to_string(),
                millis(p50),
                millis(p99),
                millis(longest),
                goal(p99 <= GOAL, "p99 ≤ 50 ms"),
            ]);
        }
    }
    section.table(table);
}

/// How long each took, ascending.
fn commands(port: u16, brokers: usize, rounds: usize) -> Vec<Duration> {
    let mut client = RawClient::connect_to(port);
    client.send(raw::connect_packet(Protocol::V5, "op", Some(b"op"), Some(b"right"), true));
    assert_eq!(client.read_connack(), Some(0));
    client.send(raw::subscribe_packet(Protocol::V5, 1, &[RESPONSES]));
    assert_eq!(client.read_packet().map(|(first, _)| first), Some(0x90));
    // Until each broker is known to that one.
    let began = Instant::now();
    while command(&mut client, 0).1 != brokers {
        assert!(began.elapsed() < super::PATIENCE, "not all brokers are known");
    }
    let mut took: Vec<_> = (1..=rounds)
        .map(|round| {
            let began = Instant::now();
            let applied = command(&mut client, round).0;
            assert_eq!(applied, brokers, "all have applied it");
            began.elapsed()
        })
        .collect();
    took.sort();
    took
}

/// How many brokers have applied it, and of how many.
fn command(client: &mut RawClient, round: usize) -> (usize, usize) {
    let command = json!({"command": "invalidate", "username": format!("nobody-{round}")});
    let payload = json!({"commands": [command]}).to_string();
    client.send(raw::publish_packet(Protocol::V5, TOPIC, payload.as_bytes(), None));
    let (first, body) = client.read_packet().expect("the broker responds");
    assert_eq!(first & 0xf6, 0x30, "a response comes with QoS 0");
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    // After an empty list of properties.
    let response: Value = serde_json::from_slice(&body[2 + topic + 1..]).expect("it is JSON");
    let fleet = &response["responses"][0]["data"]["fleet"];
    let number = |key: &str| fleet[key].as_u64().expect("it tells of the fleet") as usize;
    (number("applied"), number("brokers"))
}
