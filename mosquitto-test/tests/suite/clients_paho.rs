//! Eclipse Paho's Python client, over TCP and websockets, in MQTT 3.1.1 and 5.

use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

use crate::clients::{self, WAYS, Way, api, asked, broker, hold_logins, printed, whole_session};

fn client() -> Command {
    let mut command = Command::new(clients::installed("paho/bin/python"));
    command.arg(repository("mosquitto-test/clients/paho/client.py"));
    command
}

/// One client for each way to reach the broker.
fn start(broker: &Broker, password: &str) -> [(Program, Way); 4] {
    WAYS.map(|way| (clients::start(client(), broker, &way, password), way))
}

/// The same, subscribing before they have their CONNACK.
fn start_early(broker: &Broker) -> [(Program, Way); 4] {
    WAYS.map(|way| {
        let mut command = client();
        command.arg("--early");
        (clients::start(command, broker, &way, "green"), way)
    })
}

/// What a session that went well prints, whatever came before it.
fn expected(way: &Way) -> Vec<String> {
    let own = |what: &str, how: &str| format!("{what} {}/{how}", way.name);
    // In MQTT 3.1.1 a refused subscription has no reason, and a refused publish is acknowledged.
    let (subscribe, publish) = if way.is_5() {
        ("Not authorized", "Not authorized")
    } else {
        ("Unspecified error", "Success")
    };
    vec![
        "connected: Success".to_owned(),
        own("subscribed", "#: Granted QoS 1"),
        format!("subscribed others/#: {subscribe}"),
        own("published", "secret: Success"),
        own("message", "open: hello"),
        own("published", "open: Success"),
        format!("published others/x: {publish}"),
        "disconnected: Normal disconnection".to_owned(),
    ]
}

on_every_broker! {
    fn a_whole_session(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let logins = hold_logins(version, &api);
        let clients = start(&broker, "green");
        logins.release(clients.len());
        for (client, way) in &clients {
            client.wait_for_log("Normal disconnection");
            assert_eq!(printed(client), expected(way));
            assert_eq!(asked(&api, way.name), whole_session(way.name));
        }
    }

    fn a_wrong_password_is_tried_again_and_again(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        for (client, way) in &start(&broker, "blue") {
            let reason = if way.is_5() { "Protocol error" } else { "Unspecified error" };
            let refused = format!("refused: Not authorized\ndisconnected: {reason}\n");
            client.wait_for_log(&refused.repeat(2));
            assert_eq!(asked(&api, way.name), ["login"]);
        }
    }

    fn while_the_api_is_down_it_goes_on_trying(version) {
        let api = api();
        api.stop();
        let broker = broker(version, &api, &[]);
        let clients = start(&broker, "green");
        for (client, _) in &clients {
            client.wait_for_log("disconnected: ");
        }
        api.restart();
        for (client, way) in &clients {
            client.wait_for_log("Normal disconnection");
            let said = way.is_5() && version.is_2_1();
            let reason = if said { "Administrative action" } else { "Unspecified error" };
            let closed = format!("disconnected: {reason}");
            let (before, session): (Vec<_>, Vec<_>) =
                printed(client).into_iter().partition(|line| *line == closed);
            assert!(!before.is_empty());
            assert_eq!(session, expected(way));
            assert_eq!(asked(&api, way.name), whole_session(way.name));
        }
    }

    fn without_delayed_login_it_may_subscribe_before_its_connack(version) {
        let api = api();
        let broker = broker(version, &api, &[("delayed_login", "false")]);
        for (client, way) in &start_early(&broker) {
            client.wait_for_log("Normal disconnection");
            assert_eq!(printed(client), expected(way));
        }
    }
}

/// It does not wait by itself, so this is up to the program that uses it.
#[test]
fn a_subscription_before_the_connack_is_lost_where_logins_are_delayed() {
    let api = api();
    let broker = broker(Version::V2_1_2, &api, &[]);
    let logins = hold_logins(Version::V2_1_2, &api);
    let clients = start_early(&broker);
    for (client, way) in &clients {
        broker.wait_for_log(&format!(
            "Protocol error from {}: SUBSCRIBE before session is active.",
            way.name
        ));
        client.wait_for_log("disconnected: ");
    }
    logins.release(clients.len());
    for (client, way) in &clients {
        // It comes back, and says nothing of the subscription.
        client.wait_for_log("connected: Success");
        assert!(!client.log().contains("subscribed"));
        assert_eq!(asked(&api, way.name), ["login"]);
    }
}
