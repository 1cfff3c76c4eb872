//! Eclipse Paho's client for Java, on which SINETStream for Java is built: MQTT 3.1.1 over TCP,
//! websockets and TLS.

use std::sync::atomic::{AtomicBool, Ordering};

use mosquitto_test::prelude::*;

use crate::clients::{
    self, TLS, WAYS, Way, api, asked, broker, broker_with_tls, hold_logins, printed, whole_session,
};

const OVER: [&Way; 3] = [&WAYS[0], &WAYS[2], &TLS];

const CLOSED: &str = "MqttException: Connection lost (32109), java.io.EOFException";

fn start(broker: &Broker, way: &Way, password: &str, more: &[&str]) -> Program {
    let package = "paho-java/node_modules/react-native-mqtt-clients/android/libs";
    let archives = clients::installed(package).join("*");
    let mut command = clients::java("paho-java", archives.to_str().unwrap());
    command.args(more);
    clients::start(command, broker, way, password)
}

/// One client for each way to reach the broker, which trusts this authority.
fn start_all<'w>(broker: &Broker, certs: &Certs, password: &str) -> [(Program, &'w Way); 3] {
    let ca = certs.ca_file().to_str().unwrap();
    OVER.map(|way| {
        let trust: &[&str] = if way.name == TLS.name { &["--ca", ca] } else { &[] };
        (start(broker, way, password, trust), way)
    })
}

/// What a session that went well prints once it is connected.
fn expected(way: &Way) -> Vec<String> {
    let subscribed = [
        format!("subscribed {}/#", way.name),
        "subscribed others/#: MqttException: MqttException (128)".to_owned(),
    ];
    [&subscribed[..], &clients::printed_once_subscribed(way)].concat()
}

on_every_broker! {
    fn a_whole_session(version) {
        let (api, certs) = (api(), Certs::new());
        let broker = broker_with_tls(version, &api, &certs);
        let logins = hold_logins(version, &api);
        let clients = start_all(&broker, &certs, "green");
        logins.release(clients.len());
        for (client, way) in &clients {
            client.wait_for_log("ended");
            assert_eq!(printed(client), [vec!["connected".to_owned()], expected(way)].concat());
            assert_eq!(asked(&api, way.name), whole_session(way.name));
        }
    }

    fn a_wrong_password_is_thrown(version) {
        let (api, certs) = (api(), Certs::new());
        let broker = broker_with_tls(version, &api, &certs);
        for (client, way) in &start_all(&broker, &certs, "blue") {
            client.wait_for_log("ended");
            let refused = "MqttSecurityException: Not authorized to connect (5)";
            assert_eq!(printed(client), [refused, "ended"]);
            assert_eq!(asked(&api, way.name), ["login"]);
        }
    }

    fn while_the_api_is_down_its_first_connect_throws(version) {
        let (api, certs) = (api(), Certs::new());
        api.stop();
        let broker = broker_with_tls(version, &api, &certs);
        let clients = start_all(&broker, &certs, "green");
        for (client, _) in &clients {
            client.wait_for_log(CLOSED);
        }
        // The program tries again.
        api.restart();
        for (client, way) in &clients {
            client.wait_for_log("ended");
            let (before, session): (Vec<_>, Vec<_>) =
                printed(client).into_iter().partition(|line| line == CLOSED);
            assert!(!before.is_empty());
            assert_eq!(session, [vec!["connected".to_owned()], expected(way)].concat());
            assert_eq!(asked(&api, way.name), whole_session(way.name));
        }
    }

    fn without_a_version_it_falls_back_to_mqtt_3_1(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        // Over websockets it cannot, and hides what it was told.
        let refused = start(&broker, OVER[1], "blue", &["--version", "any"]);
        refused.wait_for_log("MqttException: MqttException (0), java.io.IOException: Already connected");
        drop(refused);
        let failed = AtomicBool::new(false);
        api.set_handler(move |request| {
            let fails = request.path == "/user" && !failed.swap(true, Ordering::Relaxed);
            if fails { Reply::status(503) } else { clients::answer(request) }
        });
        let way = OVER[0];
        let client = start(&broker, way, "green", &["--version", "any"]);
        client.wait_for_log("ended");
        // In MQTT 3.1 a subscription cannot be refused.
        let mut session = [vec!["connected".to_owned()], expected(way)].concat();
        session[2] = "subscribed others/#".to_owned();
        assert_eq!(printed(&client), session);
        assert_eq!(asked(&api, way.name), [vec!["login".to_owned()], whole_session(way.name)].concat());
    }

    fn a_lost_connection_comes_back_once_the_api_does(version) {
        let api = api();
        let mut broker = broker(version, &api, &[]);
        let way = OVER[0];
        let client = start(&broker, way, "green", &["--after", "loss"]);
        client.wait_for_log("\nconnected\n");
        api.stop();
        broker.restart();
        client.wait_for_log(&format!("lost: {CLOSED}"));
        // It is closed, and the next one as well.
        for _ in 0..2 {
            broker.wait_for_log_after(broker.log_mark(), "New connection from ");
        }
        api.forget_requests();
        api.restart();
        client.wait_for_log("ended");
        let lost = format!("lost: {CLOSED}");
        let before = ["connected", lost.as_str(), "connected again"].map(str::to_owned).to_vec();
        assert_eq!(printed(&client), [before, expected(way)].concat());
        assert_eq!(asked(&api, way.name), whole_session(way.name));
    }
}
