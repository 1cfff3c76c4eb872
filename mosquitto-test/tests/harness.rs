//! Brokers and clients of the harness, tried without the plugin: what the other tests stand on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "these are tests"
)]

use std::time::Duration;

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;

on_every_broker! {
    fn a_broker_starts_logs_reloads_and_stops(version) {
        let mut broker = Broker::config(version).allow_anonymous(true).start();
        assert!(broker.log_contains(&format!("mosquitto version {} running", version.name())));
        assert!(broker.is_running() && broker.threads() >= 1 && broker.open_files() > 3);
        broker.reload();
        broker.reload();
        assert_eq!(broker.log().matches("Reloading config.").count(), 2);
        assert!(broker.stop().success());
        assert!(!broker.is_running());
    }

    fn passwords_decide_until_they_change(version) {
        let broker = Broker::config(version).password_file(&[("ann", "right"), ("bob", "other")]).start();
        for protocol in Protocol::BOTH {
            let client = broker.client("one").protocol(protocol);
            client.clone().credentials("ann", "right").connect().expect_accepted().disconnect();
            let code = client.clone().credentials("ann", "wrong").connect().expect_refused();
            assert_eq!(code, protocol.refusal());
            client.connect().expect_refused();
        }
        broker.set_password("ann", "new");
        broker.remove_user("bob");
        broker.reload();
        broker.client("one").credentials("ann", "right").connect().expect_refused();
        broker.client("one").credentials("ann", "new").connect().expect_accepted();
        broker.client("one").credentials("bob", "other").connect().expect_refused();
    }

    fn a_reload_has_finished_when_it_returns(version) {
        let broker = Broker::config(version).password_file(&[("ann", "a"), ("bob", "b")]).start();
        for _ in 0..3 {
            let ann = broker.client("ann").credentials("ann", "a").connect().expect_accepted();
            broker.set_password("ann", "z");
            broker.reload();
            ann.wait_disconnected();
            broker.client("ann").credentials("ann", "a").connect().expect_refused();
            broker.set_password("ann", "a");
            broker.reload();
        }
    }

    fn messages_go_round_with_every_qos(version) {
        let broker = Broker::config(version).allow_anonymous(true).start();
        for protocol in Protocol::BOTH {
            let reader = broker.client("reader").protocol(protocol).connect().expect_accepted();
            let writer = broker.client("writer").protocol(protocol).connect().expect_accepted();
            assert_eq!(reader.subscribe("a/#"), Subscription::Granted(1));
            for qos in 0..=2 {
                assert_eq!(writer.publish_message(Message::new("a/b", [b'0' + qos]).qos(qos)), 0);
                assert_eq!(reader.expect_message(), ("a/b".to_owned(), qos.to_string()));
            }
            assert_eq!(reader.unsubscribe("a/#"), 0);
            writer.publish_qos0("a/b", "unheard");
            reader.subscribe_many(&["x", "y"]);
            writer.publish("y", "marker");
            assert_eq!(reader.expect_message().1, "marker");
            assert_eq!(reader.try_message(Duration::ZERO), None);
            let large = "x".repeat(1_000_000);
            writer.publish("x", &large);
            assert_eq!(reader.expect_message().1, large);
        }
    }

    fn a_denied_publish_and_its_code(version) {
        let broker = Broker::config(version).allow_anonymous(true).acl_file("topic read open\ntopic write open\n").start();
        let old = broker.client("old").connect().expect_accepted();
        assert_eq!(old.publish("closed", "x"), 0, "3.1.1 cannot be told");
        let new = broker.client("new").protocol(Protocol::V5).connect().expect_accepted();
        assert_eq!(new.publish("closed", "x"), 0x87);
        assert_eq!(new.publish_message(Message::new("closed", "x").qos(2)), 0x87);
        assert!(new.is_connected());
    }

    fn a_vanished_client_leaves_its_will(version) {
        let broker = Broker::config(version).allow_anonymous(true).start();
        for protocol in Protocol::BOTH {
            let heir = broker.client("heir").connect().expect_accepted();
            heir.subscribe("will").expect_granted();
            let mortal = broker.client("mortal").protocol(protocol).will("will", "gone");
            mortal.connect().expect_accepted().disconnect();
            mortal.connect().expect_accepted().vanish();
            assert_eq!(heir.expect_message().1, "gone");
            assert_eq!(heir.try_message(Duration::ZERO), None, "the polite end left none");
        }
    }

    fn a_takeover_disconnects_the_older(version) {
        let broker = Broker::config(version).allow_anonymous(true).start();
        let oldest = broker.client("same").protocol(Protocol::V5).connect().expect_accepted();
        let mut older = broker.raw();
        older.send(raw::connect_packet(Protocol::V5, "same", None, None, true));
        assert_eq!(older.read_connack(), Some(0));
        oldest.wait_disconnected();
        let newer = broker.client("same").protocol(Protocol::V5).connect().expect_accepted();
        let told = (version != Version::V2_0_11).then_some(0x8e);
        assert_eq!(older.wait_closed(), told, "2.0.11 closes without a DISCONNECT");
        assert!(newer.is_connected() && !oldest.is_connected());
    }

    fn sessions_survive_a_restart(version) {
        let mut broker = Broker::config(version).allow_anonymous(true).persistence().start();
        let port = broker.port();
        let sleeper = ClientBuilder::new("sleeper", port).clean(false);
        let awake = sleeper.connect().expect_accepted();
        awake.subscribe("t").expect_granted();
        awake.disconnect();
        broker.client("writer").connect().expect_accepted().publish("t", "kept");
        broker.restart();
        assert_eq!(broker.port(), port);
        assert_eq!(sleeper.connect().expect_accepted().expect_message().1, "kept");
    }

    fn raw_packets_are_answered(version) {
        let broker = Broker::config(version).allow_anonymous(true).start();
        for protocol in Protocol::BOTH {
            let mut client = broker.raw();
            let name: &[u8] = b"ann";
            client.send(raw::connect_packet(protocol, "raw", Some(name), Some(b"a\0\xff"), true));
            assert_eq!(client.read_connack(), Some(0));
            client.send(raw::subscribe_packet(protocol, 7, &["t"]));
            assert_eq!(client.read_packet().unwrap().0, 0x90);
            client.send(raw::publish_packet(protocol, "t", b"hello", Some(8)));
            let packets = [client.read_packet().unwrap().0, client.read_packet().unwrap().0];
            assert!(packets.contains(&0x40) && packets.contains(&0x32), "{packets:x?}");
            client.send(raw::ping_packet());
            assert_eq!(client.read_packet().unwrap().0, 0xd0);
            client.send(raw::disconnect_packet()).wait_closed();
        }
        let mut nonsense = broker.raw();
        nonsense.send(b"GET / HTTP/1.1\r\n\r\n").wait_closed();
    }

    fn listeners_differ(version) {
        let certs = Certs::new();
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|l| l.allow_anonymous(true))
            .listener(|l| l.password_file(&[("ann", "a")]))
            .listener(|l| l.tls(&certs).allow_anonymous(true))
            .listener(|l| l.tls(&certs).require_certificate(&certs).line("use_identity_as_username true"))
            .listener(|l| l.websockets().allow_anonymous(true))
            .start();
        broker.client("a").connect().expect_accepted();
        broker.client("b").port(broker.port_of(1)).connect().expect_refused();
        broker.client("b").port(broker.port_of(1)).credentials("ann", "a").connect().expect_accepted();
        let ca = certs.ca_file().to_str().unwrap();
        let tls = broker.port_of(2).to_string();
        let publish = ["-t", "t", "-m", "x", "-q", "1", "-p"];
        let output = broker.mosquitto_pub(&[&publish[..], &[&tls, "--cafile", ca]].concat());
        assert!(output.status.success(), "{output:?}");
        let stranger = Certs::new();
        let output = broker.mosquitto_pub(&[&publish[..], &[&tls, "--cafile", stranger.ca_file().to_str().unwrap()]].concat());
        assert!(!output.status.success());
        let (mutual, ann) = (broker.port_of(3).to_string(), certs.client("ann"));
        let files = ["--cafile", ca, "--cert", ann.cert.to_str().unwrap(), "--key", ann.key.to_str().unwrap()];
        let output = broker.mosquitto_pub(&[&publish[..], &[&mutual], &files].concat());
        assert!(output.status.success(), "{output:?}");
        broker.wait_for_log("u'ann'");
        broker.reload();
    }

    fn a_refused_configuration_is_reported(version) {
        let failed = Broker::config(version).line("no_such_option true").start_expecting_failure();
        assert!(failed.log.contains("no_such_option"), "{failed:?}");
    }

    fn the_mosquitto_programs_run(version) {
        let broker = Broker::config(version).password_file(&[("ann", "a")]).start();
        let retain = ["-u", "ann", "-P", "a", "-t", "t", "-m", "kept", "-r", "-q", "1"];
        assert!(broker.mosquitto_pub(&retain).status.success());
        let heard = broker.mosquitto_sub(&["-u", "ann", "-P", "a", "-t", "t", "-C", "1"]);
        assert_eq!(heard.stdout, b"kept\n");
        assert!(!broker.mosquitto_pub(&["-t", "t", "-m", "x"]).status.success());
    }
}

/// 2.0 needs a plain listener as well: "Unable to start any listening sockets".
#[test]
fn a_websockets_listener_alone_can_be_reloaded() {
    let mut broker = Broker::config(Version::V2_1_2).listener(Listener::websockets).start();
    broker.reload();
    broker.reload();
    assert!(broker.stop().success());
}

#[test]
#[should_panic(expected = "missing: run mosquitto-test/get-brokers.sh")]
fn a_missing_program_fails_the_test() {
    Version::V2_1_2.bin("no-such-program");
}
