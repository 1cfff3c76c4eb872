//! A client's Will is judged by the client's own rules, when it has gone; and whoever was never let
//! in leaves none.

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{
    ROUTES, granting_what_the_password_spells as spelled, logged_in, may_publish, rules, saying,
    unix_time, vanish,
};

/// What the broker's own file says to whatever is left to it.
const EVERYTHING: &str = "topic readwrite #\npattern readwrite #\n";

/// A broker whose API grants what a password spells, and has no route to ask about checks.
fn broker(version: Version, api: &AuthServer) -> Broker {
    Broker::config(version).acl_file(EVERYTHING).plugin(api.options([ROUTES[0]])).start()
}

/// Somebody who sees all wills.
fn watcher(broker: &Broker) -> Client {
    let root = logged_in(broker, Protocol::V5, "root");
    root.subscribe("wills/#").expect_granted();
    root
}

/// A client of `ann` with these rules, and with a Will.
fn with_will(broker: &Broker, protocol: Protocol, rules: &str) -> ClientBuilder {
    let builder = broker.client("c").protocol(protocol).credentials("ann", rules);
    builder.will("wills/c", "gone")
}

/// Nothing was published to the watcher's filter.
#[track_caller]
fn expect_nothing(watcher: &Client) {
    watcher.publish("wills/marker", "seen");
    assert_eq!(watcher.expect_message(), ("wills/marker".into(), "seen".into()));
}

/// CONNECT of `ann` in MQTT 5 with a Will that is delayed by so many seconds.
fn delayed_will(id: &str, rules: &str, seconds: u32) -> Vec<u8> {
    let field =
        |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let property = |name: u8, value: u32| [&[5, name][..], &value.to_be_bytes()].concat();
    let (username, password, will_qos_1, will, clean) = (0x80, 0x40, 0x08, 0x04, 0x02);
    let flags = username | password | will_qos_1 | will | clean;
    let parts = [
        field("MQTT"),
        vec![5, flags, 0, 60],
        property(0x11, 60),
        field(id),
        property(0x18, seconds),
        field(&format!("wills/{id}")),
        field("gone"),
        field("ann"),
        field(rules),
    ];
    raw::packet(0x10, &parts.concat())
}

const MAY: &str = "allow publish wills/c";
const MAY_NOT: &str = "deny publish wills/c; allow publish #";

on_every_broker! {
    fn a_will_is_judged_by_the_rules_of_the_client_that_left(version) {
        let api = AuthServer::answering(spelled);
        let broker = broker(version, &api);
        let watcher = watcher(&broker);
        for protocol in Protocol::BOTH {
            for rules in [MAY_NOT, "allow subscribe wills/c", "allow publish wills/${username}"] {
                let client = with_will(&broker, protocol, rules).connect().expect_accepted();
                vanish(&broker, "c", client);
                expect_nothing(&watcher);
            }
            for rules in [MAY, "allow publish wills/${clientid}"] {
                let client = with_will(&broker, protocol, rules).connect().expect_accepted();
                vanish(&broker, "c", client);
                assert_eq!(watcher.expect_message(), ("wills/c".into(), "gone".into()), "{rules}");
            }
        }
    }

    fn a_will_with_quality_of_service_or_retained_is_judged_as_such(version) {
        let retained = |retain: bool| {
            json!({"acl": [{"permission": "allow", "action": "publish", "topic": "wills/c",
                            "qos": 1, "retain": retain}]})
        };
        let api = AuthServer::answering(move |request| {
            match request.json()["password"].as_str() {
                Some("live") => saying(retained(false)),
                Some("retained") => saying(retained(true)),
                _ => saying(json!({"is_superuser": true})),
            }
        });
        let broker = broker(version, &api);
        let watcher = watcher(&broker);
        let live = Message::new("wills/c", "live");
        let wills = [live.clone(), Message::new("wills/c", "kept").retained(), live.qos(0)];
        let expected = [("live", [true, false, false]), ("retained", [false, true, false])];
        for (password, published) in expected {
            for (will, published) in wills.iter().zip(published) {
                let builder = broker.client("c").credentials("ann", password);
                let client = builder.will_message(will.clone()).connect().expect_accepted();
                vanish(&broker, "c", client);
                if published {
                    assert_eq!(watcher.next_message().payload, will.payload);
                }
                expect_nothing(&watcher);
            }
        }
    }

    fn a_will_that_is_delayed_is_judged_by_the_rules_of_its_client_too(version) {
        let api = AuthServer::answering(spelled);
        let broker = broker(version, &api);
        let watcher = watcher(&broker);
        for (id, rules, seconds) in [("denied", MAY, 1), ("c", MAY, 2)] {
            let mut client = broker.raw();
            client.send(delayed_will(id, rules, seconds));
            assert_eq!(client.read_connack(), Some(0));
            client.close();
        }
        assert_eq!(watcher.expect_message(), ("wills/c".into(), "gone".into()));
        expect_nothing(&watcher);
    }

    fn a_will_that_is_delayed_is_judged_by_no_login_that_has_expired(version) {
        let api = AuthServer::answering(|request| {
            let soon = unix_time() + 2;
            match request.json()["password"].as_str() {
                Some("until then") => saying(json!({"expire_at": soon, "acl": rules(&[MAY])})),
                Some("superuser until then") => {
                    saying(json!({"expire_at": soon, "is_superuser": true, "acl": []}))
                }
                _ => spelled(request),
            }
        });
        let broker = broker(version, &api);
        let watcher = watcher(&broker);
        for password in ["until then", "superuser until then"] {
            for seconds in [4, 0] {
                let mut client = broker.raw();
                client.send(delayed_will("c", password, seconds));
                assert_eq!(client.read_connack(), Some(0));
                client.close();
                if seconds == 0 {
                    assert_eq!(watcher.expect_message(), ("wills/c".into(), "gone".into()));
                } else {
                    // This one leaves later, and its Will comes at about the same time or after.
                    let mut other = broker.raw();
                    other.send(delayed_will("d", "allow publish wills/d", seconds + 1));
                    assert_eq!(other.read_connack(), Some(0));
                    other.close();
                    assert_eq!(watcher.expect_message(), ("wills/d".into(), "gone".into()));
                }
            }
        }
    }

    fn a_disconnect_that_asks_for_the_will_has_it_judged(version) {
        let api = AuthServer::answering(spelled);
        let broker = broker(version, &api);
        let watcher = watcher(&broker);
        for rules in [MAY_NOT, MAY] {
            let mut client = broker.raw();
            client.send(delayed_will("c", rules, 0));
            assert_eq!(client.read_connack(), Some(0));
            let with_will = 0x04;
            client.send(raw::packet(0xe0, &[with_will]));
            client.wait_closed();
            if rules == MAY {
                assert_eq!(watcher.expect_message(), ("wills/c".into(), "gone".into()));
            }
            expect_nothing(&watcher);
        }
    }

    fn at_the_brokers_end_wills_are_judged_like_any_other(version) {
        let api = AuthServer::answering(spelled);
        let options = api.options([ROUTES[0]]);
        let mut broker = Broker::config(version).persistence().plugin(options).start();
        let client = |id: &str| {
            let will = Message::new(&format!("wills/{id}"), "gone").retained();
            let builder = broker.client(id).credentials("ann", MAY).will_message(will);
            builder.connect().expect_accepted()
        };
        let (_allowed, _denied) = (client("c"), client("denied"));
        broker.restart();
        let watcher = watcher(&broker);
        assert_eq!(watcher.expect_message(), ("wills/c".into(), "gone".into()));
        expect_nothing(&watcher);
    }

    fn whoever_takes_over_is_judged_by_its_own_rules_and_the_old_will_by_the_old_ones(version) {
        for is_known in [false, true] {
            let api = AuthServer::answering(spelled);
            let broker = broker(version, &api);
            let watcher = watcher(&broker);
            for protocol in Protocol::BOTH {
                for (old, new, published) in [(MAY, MAY_NOT, true), (MAY_NOT, MAY, false)] {
                    let before = with_will(&broker, protocol, old).connect().expect_accepted();
                    if is_known {
                        let other = broker.client("other").credentials("ann", new).connect();
                        other.expect_accepted().disconnect();
                    }
                    let builder = broker.client("c").protocol(Protocol::V5);
                    let after = builder.credentials("ann", new).connect().expect_accepted();
                    before.wait_disconnected();
                    if published {
                        assert_eq!(watcher.expect_message(), ("wills/c".into(), "gone".into()));
                    }
                    assert_eq!(may_publish(&after, "wills/c"), new == MAY);
                    if new == MAY {
                        assert_eq!(watcher.expect_message(), ("wills/c".into(), "x".into()));
                    }
                    expect_nothing(&watcher);
                }
            }
        }
    }

    fn whoever_was_never_let_in_leaves_no_will(version) {
        let api = AuthServer::answering(|request| match request.json()["password"].as_str() {
            Some("wrong") => Reply::status(403),
            Some("failing") => Reply::status(503),
            Some("ignored") => saying(json!({"result": "ignore"})),
            _ => spelled(request),
        });
        let broker = Broker::config(version)
            .password_file(&[("somebody", "else")])
            .acl_file(EVERYTHING)
            .plugin(api.options([ROUTES[0], ("breaker_failures", "1000")]))
            .start();
        let watcher = watcher(&broker);
        for victim in [false, true] {
            // What the victim may publish, those who come under its identifier may not.
            let builder = with_will(&broker, Protocol::V5, MAY);
            let victim = victim.then(|| builder.connect().expect_accepted());
            for protocol in Protocol::BOTH {
                for password in ["wrong", "failing", "ignored"] {
                    for _ in 0..2 {
                        let login = with_will(&broker, protocol, password).connect();
                        assert!(!login.is_accepted(), "{password}");
                        expect_nothing(&watcher);
                    }
                }
            }
            if let Some(victim) = victim {
                assert!(victim.is_connected());
                victim.disconnect();
            }
        }
    }
}

#[test]
fn whoever_leaves_while_its_login_waits_leaves_no_will() {
    for protocol in Protocol::BOTH {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let held = gate.clone();
        api.set_handler(move |request| match request.json()["username"].as_str() {
            Some("ann") => spelled(request).after(&held),
            _ => spelled(request),
        });
        let broker = broker(Version::V2_1_2, &api);
        let watcher = watcher(&broker);
        let waits = with_will(&broker, protocol, MAY).start_connecting();
        gate.wait_until_waiting(1);
        waits.abandon();
        // The broker has seen it leave once it takes the identifier again.
        while !broker.client("c").credentials("root", "x").connect().is_accepted() {}
        expect_nothing(&watcher);
        gate.open();
        broker.wait_until_idle();
        expect_nothing(&watcher);
    }
}
