//! FuseSource's client for Java, over TCP in MQTT 3.1.1, which is all that it has of the four ways.

use std::path::Path;

use mosquitto_test::prelude::*;

use crate::clients::{self, WAYS, Way, api, asked, broker, hold_logins, printed, whole_session};

const WAY: &Way = &WAYS[0];

/// Where Debian's packages have the client and what it needs.
const JARS: [&str; 4] = ["mqtt-client", "hawtbuf", "hawtdispatch", "hawtdispatch-transport"];

fn start(broker: &Broker, password: &str) -> Program {
    let jars = JARS.map(|name| format!("/usr/share/java/{name}.jar"));
    for jar in &jars {
        assert!(Path::new(jar).exists(), "{jar} is missing: run mosquitto-test/install.sh once");
    }
    let command = clients::java("fusesource", &jars.join(":"));
    clients::start(command, broker, WAY, password)
}

/// What a session that went well prints once it is connected.
fn expected() -> Vec<String> {
    let subscribed = [
        "connected".to_owned(),
        format!("subscribed {}/#: 1", WAY.name),
        "subscribed others/#: 128".to_owned(),
    ];
    [&subscribed[..], &clients::printed_once_subscribed(WAY)].concat()
}

on_every_broker! {
    fn a_whole_session(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let logins = hold_logins(version, &api);
        let client = start(&broker, "green");
        logins.release(1);
        client.wait_for_log("ended");
        assert_eq!(printed(&client), [vec!["connecting".to_owned()], expected()].concat());
        assert_eq!(asked(&api, WAY.name), whole_session(WAY.name));
    }

    fn a_wrong_password_is_thrown(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let client = start(&broker, "blue");
        client.wait_for_log("ended");
        let refused = "MQTTException: Could not connect: CONNECTION_REFUSED_NOT_AUTHORIZED";
        // Where it reads the end of the connection along with the CONNACK, it takes that for a loss
        // and connects anew, though it has thrown.
        let mut printed = printed(&client);
        printed.retain(|line| line != "connecting");
        assert_eq!(printed, [refused, "ended"]);
        assert_eq!(asked(&api, WAY.name), ["login"]);
    }

    fn while_the_api_is_down_it_goes_on_trying(version) {
        let api = api();
        api.stop();
        let broker = broker(version, &api, &[]);
        let client = start(&broker, "green");
        client.wait_for_log("connecting\nconnecting");
        api.restart();
        client.wait_for_log("ended");
        let printed = printed(&client);
        let connected = printed.iter().position(|line| line == "connected").unwrap();
        let (before, session) = printed.split_at(connected);
        assert_eq!(session, expected());
        assert!(before.iter().all(|line| line == "connecting"), "{before:?}");
        assert_eq!(asked(&api, WAY.name), whole_session(WAY.name));
    }
}
