//! Rules that are only for some clients: `ipaddr`, `username_re` and `clientid_re`.

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::control::{command, operator};
use crate::support::{PASSWORD, ROUTES, eventually, may_publish, saying, vanish};

/// An API that gives everybody these rules, and lets `root` do everything.
fn api(rules: Value) -> AuthServer {
    AuthServer::answering(move |request| match request.json()["username"].as_str() {
        Some("root") => saying(json!({"is_superuser": true})),
        _ => saying(json!({"acl": rules})),
    })
}

fn rule(permission: &str, topic: &str, name: &str, condition: &str) -> Value {
    json!({"permission": permission, "action": "all", "topic": topic, name: condition})
}

fn everything() -> Value {
    json!({"permission": "allow", "action": "all", "topic": "#"})
}

fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    Broker::config(version).plugin(api.options([&ROUTES[..1], more].concat())).start()
}

fn client(broker: &Broker, protocol: Protocol, id: &str, user: &str) -> Client {
    let client = broker.client(id).protocol(protocol).credentials(user, PASSWORD);
    client.connect().expect_accepted()
}

on_every_broker! {
    fn a_rule_is_for_clients_that_come_from_there(version) {
        for delayed in ["true", "false"] {
            let api = api(json!([
                rule("deny", "open/elsewhere", "ipaddr", "192.0.2.0/24"),
                rule("deny", "open/denied", "ipaddr", "127.0.0.0/8"),
                rule("allow", "open/#", "ipaddr", "127.0.0.1"),
                rule("allow", "other/#", "ipaddr", "192.0.2.1"),
                rule("allow", "other/#", "ipaddr", "::/0"),
            ]));
            let broker = broker(version, &api, &[("delayed_login", delayed)]);
            let client = client(&broker, Protocol::V5, "c", "ann");
            for (topic, may) in [
                ("open/elsewhere", true), ("open/denied", false), ("open/x", true), ("other/x", false),
            ] {
                assert_eq!(may_publish(&client, topic), may, "{topic}");
            }
            client.subscribe("open/+").expect_granted();
            client.subscribe("other/x").expect_refused();
            client.publish("open/elsewhere", "here");
            assert_eq!(client.expect_message(), ("open/elsewhere".into(), "here".into()));
        }
    }

    fn a_rule_is_for_clients_that_are_called_so(version) {
        let api = api(json!([
            rule("deny", "locked/#", "clientid_re", "^guest-[0-9]+$"),
            rule("deny", "staff/#", "username_re", "^(?!x)|staff"),
        ]));
        // No pattern looks ahead, and half an answer is none.
        let broken = broker(version, &api, &[]);
        let attempt = broken.client("c").protocol(Protocol::V5).credentials("ann", PASSWORD);
        attempt.connect().expect_closed();
        broken.wait_for_log("rule 2: the pattern ");
        api.set_handler(|_| saying(json!({"acl": [
            rule("deny", "locked/#", "clientid_re", "^guest-[0-9]+$"),
            rule("allow", "staff/#", "username_re", "STAFF|staff"),
            rule("deny", "staff/#", "username_re", "."),
            everything(),
        ]})));
        let broker = broker(version, &api, &[]);
        for protocol in Protocol::BOTH {
            for (id, user, locked, staff) in [
                ("guest-7", "ann", false, false), ("guest-x", "ann", true, false),
                ("my-guest-7", "a-staff-1", true, true), ("guest-8", "STAFF", false, true),
            ] {
                let client = client(&broker, protocol, id, user);
                for (filter, may) in [("locked/x", locked), ("staff/x", staff), ("else", true)] {
                    let subscription = client.subscribe(filter);
                    if may {
                        subscription.expect_granted();
                    } else {
                        subscription.expect_refused();
                    }
                }
            }
        }
    }

    fn one_answer_serves_clients_that_meet_other_conditions(version) {
        let api = api(json!([
            rule("allow", "t/#", "clientid_re", "^one$"), rule("allow", "u/#", "clientid_re", "^two$"),
        ]));
        let broker = broker(version, &api, &[("cache_auth_ttl", "600")]);
        let one = client(&broker, Protocol::V5, "one", "ann");
        let two = client(&broker, Protocol::V5, "two", "ann");
        for _ in 0..2 {
            assert!(may_publish(&one, "t/x") && !may_publish(&one, "u/x"));
            assert!(may_publish(&two, "u/x") && !may_publish(&two, "t/x"));
            broker.reload();
        }
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn conditions_hold_when_a_client_is_asked_about_again_and_after_it_left(version) {
        let api = api(json!([
            rule("allow", "mine/#", "clientid_re", "^one$"), rule("deny", "#", "ipaddr", "127.0.0.1"),
            everything(),
        ]));
        let broker = broker(version, &api, &[]);
        let operator = operator(&broker);
        let watcher = client(&broker, Protocol::V5, "watcher", "root");
        watcher.subscribe("#").expect_granted();
        let will = |id: &str, topic: &str| {
            let client = broker.client(id).protocol(Protocol::V5).credentials("ann", PASSWORD);
            client.will(topic, id).connect().expect_accepted()
        };
        let (one, two) = (will("one", "mine/gone"), will("two", "mine/gone"));
        let asked = api.requests_to("/user").len();
        let invalidate = json!([{"command": "invalidate", "username": "ann"}]);
        let response = command(&operator, invalidate).remove(0);
        assert_eq!(response["data"]["sessionsAskedAgain"], 2, "{response}");
        eventually("they are asked about again", || api.requests_to("/user").len() > asked);
        for _ in 0..20 {
            assert!(may_publish(&one, "mine/x") && !may_publish(&one, "else"));
            assert!(!may_publish(&two, "mine/x") && !may_publish(&two, "else"));
        }
        for (id, expected) in [("one", "allow"), ("two", "deny")] {
            let check = json!([{"command": "checkAccess", "username": "ann", "clientid": id,
                                "topic": "mine/y", "acc": "publish"}]);
            let response = command(&operator, check).remove(0);
            assert_eq!(response["data"]["decision"], expected, "{response}");
        }
        vanish(&broker, "two", two);
        vanish(&broker, "one", one);
        loop {
            match watcher.expect_message() {
                (topic, id) if topic == "mine/gone" => break assert_eq!(id, "one"),
                _ => {}
            }
        }
    }

    fn where_the_address_is_not_known_what_denies_holds_and_what_allows_does_not(version) {
        let api = api(json!([
            rule("deny", "denied", "ipaddr", "127.0.0.1"), rule("deny", "elsewhere", "ipaddr", "192.0.2.1"),
            rule("allow", "allowed", "ipaddr", "127.0.0.1"), rule("deny", "allowed", "username_re", "ann"),
            everything(),
        ]));
        let is_known = version == Version::V2_1_2;
        for (trust, is_known) in [("unknown", is_known), ("trust", true)] {
            let options = api.options([&ROUTES[..1], &[("websocket_address", trust)]].concat());
            let config = Broker::config(version).plugin(options);
            let config = config.listener(|listener| listener).listener(Listener::websockets);
            let broker = config.start();
            let mut client = RawClient::connect_by_websocket(broker.port_of(1));
            let (user, password) = (Some(&b"ann"[..]), Some(PASSWORD.as_bytes()));
            client.send(raw::connect_packet(Protocol::V5, "c", user, password, true));
            assert_eq!(client.read_connack(), Some(0));
            for (topic, may) in
                [("denied", false), ("elsewhere", is_known), ("allowed", is_known), ("else", true)]
            {
                client.send(raw::subscribe_packet(Protocol::V5, 1, &[topic]));
                let (kind, rest) = client.read_packet().unwrap();
                assert_eq!(kind, 0x90, "a SUBACK");
                assert_eq!(*rest.last().unwrap() < 0x80, may, "{trust}: {topic}");
            }
        }
    }
}
