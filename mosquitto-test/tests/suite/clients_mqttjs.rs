//! MQTT.js, over TCP and websockets, in MQTT 3.1.1 and 5.

use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

use crate::clients::{self, WAYS, Way, api, asked, broker, hold_logins, printed, whole_session};

/// One client for each way to reach the broker.
fn start(broker: &Broker, password: &str, more: &[&str]) -> [(Program, Way); 4] {
    WAYS.map(|way| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", clients::installed("mqttjs/node_modules"));
        command.arg(repository("mosquitto-test/clients/mqttjs/client.js")).args(more);
        (clients::start(command, broker, &way, password), way)
    })
}

/// What a session that went well prints, whatever came before it.
fn expected(way: &Way) -> Vec<String> {
    let own = |what: &str, how: &str| format!("{what} {}/{how}", way.name);
    // In MQTT 3.1.1 a refused subscription has no reason, and a refused publish is acknowledged.
    let (subscribe, publish) = if way.is_5() {
        ("Subscribe error: Not authorized", "Publish error: Not authorized")
    } else {
        ("Subscribe error: Unspecified error", "no error")
    };
    vec![
        "connected".to_owned(),
        own("subscribed", "#: no error"),
        format!("subscribed others/#: {subscribe}"),
        own("published", "secret: no error"),
        own("message", "open: hello"),
        own("published", "open: no error"),
        format!("published others/x: {publish}"),
        "closed".to_owned(),
        "ended".to_owned(),
    ]
}

fn check_a_whole_session(version: Version, more: &[&str]) {
    let api = api();
    let broker = broker(version, &api, &[]);
    let logins = hold_logins(version, &api);
    let clients = start(&broker, "green", more);
    logins.release(clients.len());
    for (client, way) in &clients {
        client.wait_for_log("ended");
        assert_eq!(printed(client), expected(way));
        assert_eq!(asked(&api, way.name), whole_session(way.name));
    }
}

on_every_broker! {
    fn a_whole_session(version) {
        check_a_whole_session(version, &[]);
    }

    fn a_wrong_password_ends_it(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        for (client, way) in &start(&broker, "blue", &[]) {
            client.wait_for_log("ended");
            let refused = if way.is_5() { "Not authorized (135)" } else { "Not authorized (5)" };
            let refused = format!("error: Connection refused: {refused}");
            assert_eq!(printed(client), [refused.as_str(), "closed", "ended"]);
            assert_eq!(asked(&api, way.name), ["login"]);
        }
    }

    fn while_the_api_is_down_it_goes_on_trying(version) {
        let api = api();
        api.stop();
        let broker = broker(version, &api, &[]);
        let clients = start(&broker, "green", &[]);
        for (client, _) in &clients {
            client.wait_for_log("reconnecting");
        }
        api.restart();
        for (client, way) in &clients {
            client.wait_for_log("ended");
            let printed = printed(client);
            let connected = printed.iter().position(|line| line == "connected").unwrap();
            let (before, session) = printed.split_at(connected);
            assert_eq!(session, expected(way));
            let said: &[&str] =
                if way.is_5() && version.is_2_1() { &["disconnected: 152"] } else { &[] };
            let attempt = [said, &["closed", "reconnecting"]].concat();
            assert_eq!(before, attempt.repeat(before.len() / attempt.len()));
            assert_eq!(asked(&api, way.name), whole_session(way.name));
        }
    }
}

#[test]
fn it_holds_a_subscription_back_until_its_connack() {
    check_a_whole_session(Version::V2_1_2, &["--early"]);
}
