//! A delivery whose answer is not known yet is made later: nobody waits for it, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{command, operator};
use crate::support::{
    ROUTES, certificate_listener, logged_in, may_publish, subscribe_refusal, vanish,
};

/// An API that allows everything, and takes so long for deliveries.
fn slow(milliseconds: u64) -> AuthServer {
    AuthServer::answering(move |request| {
        if request.json()["acc"] == 1 {
            thread::sleep(Duration::from_millis(milliseconds));
        }
        Reply::status(200)
    })
}

/// An API that allows everything, but deliveries only once the gate is open, and then with this status.
fn gated(gate: &Gate, status: u16) -> AuthServer {
    let gate = gate.clone();
    AuthServer::answering(move |request| match request.json()["acc"].as_u64() {
        Some(1) if request.json()["topic"] != "end" => Reply::status(status).after(&gate),
        _ => Reply::status(200),
    })
}

fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    Broker::config(version).plugin(api.options([&ROUTES, more].concat())).start()
}

/// A client whose session is kept.
fn kept(broker: &Broker, protocol: Protocol, user: &str) -> Client {
    let builder = broker.client("kept").protocol(protocol).clean(false);
    builder.credentials(user, "x").connect().expect_accepted()
}

/// Whether the next message to this client is one that came after whatever it must not get.
#[track_caller]
fn expect_nothing_before_the_end(broker: &Broker, client: &Client) {
    client.subscribe("end").expect_granted();
    let publisher = logged_in(broker, Protocol::V5, "last");
    // Whatever was to be sent is sent by a tick; the second of two messages comes after one.
    for _ in 0..2 {
        assert!(may_publish(&publisher, "end"));
        assert_eq!(client.expect_message().0, "end");
        broker.wait_until_idle();
    }
}

fn payloads(client: &Client, count: usize) -> Vec<String> {
    (0..count).map(|_| client.expect_message().1).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// With which QoS the copies of a message arrive, the highest first, at a client whose three subscriptions match
/// it; `meanwhile` is done when it is published.
fn qos_of_copies(broker: &Broker, protocol: Protocol, meanwhile: impl FnOnce()) -> Vec<u8> {
    let mut reader = RawClient::connect_to(broker.port());
    let connect =
        raw::connect_packet(protocol, "reader", Some(&b"reader"[..]), Some(&b"x"[..]), true);
    assert_eq!(reader.send(connect).read_connack(), Some(0));
    for (filter, qos) in [("a/#", 0), ("a/b", 2), ("a/+", 1), ("end", 0)] {
        let mut subscribe = raw::subscribe_packet(protocol, 1, &[filter]);
        *subscribe.last_mut().unwrap() = qos;
        let (kind, _) = reader.send(subscribe).read_packet().unwrap();
        assert_eq!(kind, 0x90);
    }
    let publisher = logged_in(broker, Protocol::V5, "publisher");
    publisher.publish_message(Message::new("a/b", "x").qos(2));
    meanwhile();
    let mut copies = Vec::new();
    for _ in 0..2 {
        broker.wait_until_idle();
        assert!(may_publish(&publisher, "end"));
        while let Some((first, body)) = reader.read_packet() {
            let is_about = |topic: &str| body[2..].starts_with(topic.as_bytes());
            match first & 0xf0 {
                0x30 if is_about("end") => break,
                0x30 if is_about("a/b") => copies.push((first >> 1) & 3),
                _ => panic!("{first:#x} {body:?}"),
            }
        }
    }
    copies.sort_unstable_by(|one, other| other.cmp(one));
    copies
}

/// What `mosquitto_sub` prints of [`properties_that_arrive`], if all do.
const ALL_PROPERTIES: &str = "hello text/plain 1 answers c0ffee colour:blue colour:green";

/// Publishes a message with all properties that are for its readers, and does something then; what its
/// subscriber prints of them.
fn properties_that_arrive(broker: &Broker, then: impl FnOnce()) -> String {
    let who = |name: &'static str| ["-V", "5", "-q", "1", "-i", name, "-u", name, "-P", "x"];
    let properties = [
        ["content-type", "text/plain"],
        ["payload-format-indicator", "1"],
        ["response-topic", "answers"],
        ["correlation-data", "c0ffee"],
    ];
    let shape = ["-t", "news", "-C", "1", "-F", "%p %C %F %R %D %P"];
    let what = [&who("reader")[..], &shape].concat();
    thread::scope(|scope| {
        let reader = scope.spawn(|| broker.mosquitto_sub(&what));
        broker.wait_for_log("Sending SUBACK to reader");
        let mut what = who("publisher").to_vec();
        what.extend(["-t", "news", "-m", "hello"]);
        for property in properties {
            what.extend(["-D", "publish"].into_iter().chain(property));
        }
        for value in ["blue", "green"] {
            what.extend(["-D", "publish", "user-property", "colour", value]);
        }
        assert!(broker.mosquitto_pub(&what).status.success());
        then();
        let printed = String::from_utf8(reader.join().unwrap().stdout).unwrap();
        printed.trim().to_owned()
    })
}

on_every_broker! {
    fn nobody_waits_for_a_delivery_that_is_not_known(version) {
        let gate = Gate::new();
        let api = gated(&gate, 200);
        let broker = broker(version, &api, &[]);
        for protocol in Protocol::BOTH {
            let reader = logged_in(&broker, protocol, &format!("reader-{protocol:?}"));
            let topic = format!("news/{protocol:?}");
            reader.subscribe(&topic).expect_granted();
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            let begun = Instant::now();
            for number in numbers(20) {
                assert_eq!(publisher.publish(&topic, number), 0);
            }
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            gate.open();
            for number in numbers(20) {
                let message = reader.next_message();
                assert_eq!((message.text(), message.qos, message.retain), (&*number, 1, false));
            }
            gate.close();
        }
    }

    fn what_is_published_meanwhile_comes_after_what_waits(version) {
        for delay in [5, 20, 100] {
            let api = slow(delay);
            let broker = broker(version, &api, &[("cache_ttl", "0")]);
            let reader = logged_in(&broker, Protocol::V5, "reader");
            reader.subscribe("news/#").expect_granted();
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            let count = 15;
            for number in numbers(count) {
                publisher.publish("news/1", number);
            }
            assert_eq!(payloads(&reader, count), numbers(count), "{delay} ms");
        }
    }

    fn a_hundred_retained_messages_arrive(version) {
        for delay in [5, 20, 100] {
            let api = slow(delay);
            let broker = broker(version, &api, &[]);
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            for number in 0..100 {
                let topic = format!("dev/{number}/state");
                publisher.publish_message(Message::new(&topic, "on").retained());
            }
            let reader = logged_in(&broker, Protocol::V3_1_1, "reader");
            reader.subscribe("dev/+/state").expect_granted();
            let mut topics: Vec<_> = (0..100).map(|_| reader.expect_message().0).collect();
            topics.sort();
            topics.dedup();
            assert_eq!(topics.len(), 100, "{delay} ms");
        }
    }

    fn a_retained_message_that_is_answered_quickly_keeps_its_flag(version) {
        let api = slow(5);
        let broker = broker(version, &api, &[]);
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        publisher.publish_message(Message::new("dev/1", "on").retained());
        let reader = logged_in(&broker, Protocol::V3_1_1, "reader");
        reader.subscribe("dev/1").expect_granted();
        assert!(reader.next_message().retain);
    }

    fn what_was_queued_for_a_session_is_delivered_when_its_answers_have_ended(version) {
        for (protocol, delay) in Protocol::BOTH.into_iter().zip([5, 20]) {
            let api = slow(delay);
            let broker = broker(version, &api, &[("cache_ttl", "0"), ("max_block_ms", "60000")]);
            let reader = kept(&broker, protocol, "ann");
            reader.subscribe("jobs/#").expect_granted();
            vanish(&broker, "kept", reader);
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            for number in 0..100 {
                publisher.publish(&format!("jobs/{}", number % 10), number.to_string());
            }
            let reader = kept(&broker, protocol, "ann");
            let mut last = [None; 10];
            for _ in 0..100 {
                let message = reader.next_message();
                assert_eq!(message.qos, 1);
                let number: usize = message.text().parse().unwrap();
                assert!(last[number % 10] < Some(number), "the order within a topic");
                last[number % 10] = Some(number);
            }
        }
    }

    fn an_api_that_is_away_for_three_seconds_loses_no_delivery(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[("http_timeout_ms", "500")]);
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("news/#").expect_granted();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for number in 0..10 {
            assert!(may_publish(&publisher, &format!("news/{number}")));
            assert_eq!(reader.expect_message().0, format!("news/{number}"));
        }
        let other = logged_in(&broker, Protocol::V3_1_1, "other");
        other.subscribe("news/#").expect_granted();
        let away = Instant::now();
        api.set_handler(move |_| {
            Reply::status(if away.elapsed() < Duration::from_secs(3) { 503 } else { 200 })
        });
        // What is published is known to be allowed; who else gets it is not.
        for number in 0..10 {
            publisher.publish(&format!("news/{number}"), "x");
        }
        for number in 0..10 {
            assert_eq!(reader.expect_message().0, format!("news/{number}"));
        }
        let mut topics: Vec<_> = (0..10).map(|_| other.expect_message().0).collect();
        topics.sort();
        assert_eq!(topics, (0..10).map(|number| format!("news/{number}")).collect::<Vec<_>>());
        assert!(away.elapsed() >= Duration::from_secs(3));
    }

    fn a_host_that_is_back_is_found_before_deliveries_are_given_up(version) {
        let gate = Gate::new();
        let api = AuthServer::start();
        // No probe is due before the deliveries are given up.
        let more = [("hold_ms", "8000"), ("breaker_open_ms", "60000")];
        let broker = broker(version, &api, &more);
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("news/#").expect_granted();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        let held = gate.clone();
        let away = Instant::now();
        api.set_handler(move |request| {
            let is_delivery = request.path == "/acl" && request.json()["acc"] == 1;
            let is_away = is_delivery && away.elapsed() < Duration::from_secs(3);
            // All of them fail at once, so that there is none that has not.
            if is_away { Reply::status(503).after(&held) } else { Reply::status(200) }
        });
        for number in 0..10 {
            publisher.publish(&format!("news/{number}"), "x");
        }
        gate.wait_until_waiting(10);
        gate.open();
        broker.wait_for_log("is out of service");
        let mut topics: Vec<_> = (0..10).map(|_| reader.expect_message().0).collect();
        topics.sort();
        assert_eq!(topics, (0..10).map(|number| format!("news/{number}")).collect::<Vec<_>>());
        broker.wait_for_log(" is back");
    }

    fn the_qos_is_the_subscriptions_or_the_messages(version) {
        let gate = Gate::new();
        let api = gated(&gate, 200);
        let broker = broker(version, &api, &[]);
        let reader = logged_in(&broker, Protocol::V5, "reader");
        // Subscribed with QoS 1.
        reader.subscribe("news/#").expect_granted();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for qos in [0, 1, 2] {
            publisher.publish_message(Message::new("news/1", qos.to_string()).qos(qos));
        }
        gate.open();
        for qos in [0, 1, 1] {
            assert_eq!(reader.next_message().qos, qos);
        }
    }

    fn overlapping_subscriptions_get_as_many_copies_as_the_broker_makes(version) {
        for protocol in Protocol::BOTH {
            let bare = Broker::config(version).allow_anonymous(true).start();
            let made = qos_of_copies(&bare, protocol, || ());
            let gate = Gate::new();
            let api = gated(&gate, 200);
            let broker = broker(version, &api, &[]);
            let copies = qos_of_copies(&broker, protocol, || {
                gate.wait_until_waiting(1);
                gate.open();
            });
            if protocol == Protocol::V5 || version.is_2_1() {
                assert_eq!((copies, made), (vec![2, 1, 0], vec![2, 1, 0]));
            } else {
                // Which of them it is 2.0 does not care; here it is the best.
                assert_eq!((copies, made.len()), (vec![2], 1));
            }
        }
    }

    fn a_retained_message_does_not_arrive_if_its_source_may_no_longer_publish_it(version) {
        let gate = Gate::new();
        let revoked = Arc::new(AtomicBool::new(false));
        let (closed, is_revoked) = (gate.clone(), Arc::clone(&revoked));
        let api = AuthServer::answering(move |request| {
            let json = request.json();
            match (json["topic"].as_str(), json["acc"].as_u64()) {
                (Some("second"), Some(1)) => Reply::status(200).after(&closed),
                (Some("second"), Some(2)) if is_revoked.load(Ordering::Relaxed) => {
                    Reply::status(403)
                }
                _ => Reply::status(200),
            }
        });
        let config = Broker::config(version).line("check_retain_source true");
        let broker = config.plugin(api.options([&ROUTES[..], &[("cache_ttl", "0")]].concat())).start();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for topic in ["first", "second"] {
            publisher.publish_message(Message::new(topic, "x").retained());
        }
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("first").expect_granted();
        assert_eq!(reader.expect_message().0, "first");
        revoked.store(true, Ordering::Relaxed);
        reader.subscribe("second").expect_granted();
        // It has waited in vain by then.
        broker.wait_until_idle();
        gate.open();
        expect_nothing_before_the_end(&broker, &reader);
    }

    fn the_properties_of_mqtt_5_come_along_where_the_broker_tells_them(version) {
        let gate = Gate::new();
        let api = gated(&gate, 200);
        let broker = broker(version, &api, &[]);
        let printed = properties_that_arrive(&broker, || {
            // The broker has waited in vain by now, or not at all.
            gate.wait_until_waiting(1);
            gate.open();
        });
        assert_eq!(printed, if version.is_2_1() { ALL_PROPERTIES } else { "hello" });
    }

    fn a_message_whose_properties_the_broker_does_not_tell_keeps_them_if_the_api_is_quick(version) {
        let api = slow(20);
        let broker = broker(version, &api, &[]);
        assert_eq!(properties_that_arrive(&broker, || ()), ALL_PROPERTIES);
    }

    fn a_message_for_a_session_that_is_offline_expires_if_the_api_is_quick(version) {
        let api = slow(20);
        let broker = broker(version, &api, &[]);
        for protocol in Protocol::BOTH {
            let reader = kept(&broker, protocol, "ann");
            reader.subscribe("news").expect_granted();
            vanish(&broker, "kept", reader);
            let publish = |text: &str, properties: &[&str]| {
                let who = ["-V", "5", "-q", "1", "-i", "p", "-u", "p", "-P", "x", "-t", "news"];
                let what = [&who[..], &["-m", text], properties].concat();
                assert!(broker.mosquitto_pub(&what).status.success());
            };
            publish("expires", &["-D", "publish", "message-expiry-interval", "1"]);
            publish("stays", &[]);
            thread::sleep(Duration::from_millis(2100));
            let reader = kept(&broker, protocol, "ann");
            assert_eq!(reader.expect_message().1, "stays");
            reader.unsubscribe("news");
        }
    }

    fn a_denied_client_gets_nothing(version) {
        let gate = Gate::new();
        let api = gated(&gate, 403);
        let broker = broker(version, &api, &[]);
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("secret/#").expect_granted();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for number in numbers(5) {
            publisher.publish("secret/1", number);
        }
        gate.wait_until_waiting(1);
        gate.open();
        expect_nothing_before_the_end(&broker, &reader);
    }

    fn what_waits_is_not_sent_once_the_answer_has_changed_to_no(version) {
        for by_command in [true, false] {
            let gate = Gate::new();
            // The first answer is lost, and the next one is no.
            let api = gated(&gate, if by_command { 200 } else { 503 });
            let broker = broker(version, &api, &[]);
            let reader = logged_in(&broker, Protocol::V5, "reader");
            reader.subscribe("secret/#").expect_granted();
            let operator = operator(&broker);
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            publisher.publish("secret/1", "x");
            gate.wait_until_waiting(1);
            if by_command {
                command(&operator, json!([{"command": "invalidate", "username": "reader"}]));
            } else {
                api.set_handler(|request| match request.json()["topic"].as_str() {
                    Some("secret/1") => Reply::status(403),
                    _ => Reply::status(200),
                });
            }
            gate.open();
            expect_nothing_before_the_end(&broker, &reader);
        }
    }

    fn what_waits_for_a_user_is_not_sent_to_another_with_its_identifier(version) {
        for protocol in Protocol::BOTH {
            for goes_first in [true, false] {
                let gate = Gate::new();
                let api = gated(&gate, 200);
                let broker = broker(version, &api, &[]);
                let ann = kept(&broker, protocol, "ann");
                ann.subscribe("secret/#").expect_granted();
                let publisher = logged_in(&broker, Protocol::V5, "publisher");
                publisher.publish("secret/1", "for ann");
                gate.wait_until_waiting(1);
                let ann = if goes_first {
                    vanish(&broker, "kept", ann);
                    None
                } else {
                    Some(ann)
                };
                let bob = kept(&broker, protocol, "bob");
                gate.open();
                // Bob has taken Ann's session over with its subscription, so that later messages are his.
                expect_nothing_before_the_end(&broker, &bob);
                drop(ann);
            }
        }
    }

    fn what_waits_for_a_session_that_has_expired_is_not_sent_to_a_certificates_client(version) {
        let (gate, certs) = (Gate::new(), Certs::new());
        let api = gated(&gate, 200);
        let broker = certificate_listener(Broker::config(version).plugin(api.options(ROUTES)), &certs);
        let publisher = logged_in(&broker, Protocol::V3_1_1, "publisher");
        let ann = broker.client("c").protocol(Protocol::V5).clean(false).session_expiry(1);
        let ann = ann.credentials("ann", "x").connect().expect_accepted();
        ann.subscribe("secret/#").expect_granted();
        publisher.publish("secret/1", "for ann");
        gate.wait_until_waiting(1);
        vanish(&broker, "c", ann);
        // The broker asks about this one for the session that is offline.
        publisher.publish("secret/1", "for ann as well");
        broker.wait_for_log("Expiring client c due to timeout");
        let mut bob = RawClient::connect_with_certificate(broker.port_of(1), &certs.client("bob"));
        bob.send(raw::connect_packet(Protocol::V5, "c", None, None, true));
        assert_eq!(bob.read_connack(), Some(0));
        gate.open();
        // He does nothing but wait while the answer comes.
        broker.wait_until_idle();
        broker.wait_until_idle();
        bob.send(raw::subscribe_packet(Protocol::V5, 1, &["end"]));
        assert_eq!(bob.read_packet().map(|(kind, _)| kind), Some(0x90), "a SUBACK before all");
        for _ in 0..2 {
            publisher.publish("end", "x");
            let (kind, rest) = bob.read_packet().unwrap();
            assert_eq!((kind & 0xf0, &rest[2..5]), (0x30, b"end".as_slice()));
            broker.wait_until_idle();
        }
    }

    fn what_waits_for_an_offline_session_is_sent_when_its_client_is_back(version) {
        for protocol in Protocol::BOTH {
            let gate = Gate::new();
            let api = gated(&gate, 200);
            let more = [("hold_ms", "500"), ("cache_ttl", "0"), ("max_block_ms", "100")];
            let broker = broker(version, &api, &more);
            vanish(&broker, "kept", {
                let reader = kept(&broker, protocol, "ann");
                reader.subscribe("news/#").expect_granted();
                reader
            });
            let publisher = logged_in(&broker, Protocol::V3_1_1, "publisher");
            publisher.publish("news/1", "1");
            gate.wait_until_waiting(1);
            gate.open();
            // It is allowed, and older than hold_ms when the client comes.
            thread::sleep(Duration::from_millis(700));
            publisher.publish("news/1", "2");
            let reader = kept(&broker, protocol, "ann");
            assert_eq!(payloads(&reader, 2), numbers(3)[1..]);
        }
    }

    fn a_login_that_is_given_up_takes_nothing_from_the_session(version) {
        let (deliveries, logins) = (Gate::new(), Gate::new());
        let (delivery, login) = (deliveries.clone(), logins.clone());
        let api = AuthServer::answering(move |request| match request.json() {
            json if json["acc"] == 1 => Reply::status(200).after(&delivery),
            json if json["password"] == "slow" => Reply::status(200).after(&login),
            _ => Reply::status(200),
        });
        let broker = broker(version, &api, &[("cache_ttl", "0"), ("max_block_ms", "100")]);
        for protocol in Protocol::BOTH {
            deliveries.close();
            logins.close();
            let reader = kept(&broker, protocol, "ann");
            reader.subscribe("news/#").expect_granted();
            let publisher = logged_in(&broker, Protocol::V3_1_1, "publisher");
            publisher.publish("news/1", "x");
            deliveries.wait_until_waiting(1);
            vanish(&broker, "kept", reader);
            // Another user, who would end the session, and leaves before the answer.
            let bob = format!("bob-{protocol:?}");
            let builder = broker.client("kept").protocol(protocol).credentials(&bob, "slow");
            let attempt = builder.start_connecting();
            logins.wait_until_waiting(1);
            attempt.abandon();
            broker.wait_until_idle();
            logins.open();
            broker.wait_until_idle();
            broker.wait_until_idle();
            deliveries.open();
            let reader = kept(&broker, protocol, "ann");
            assert_eq!(reader.expect_message().1, "x");
            reader.disconnect();
            drop(broker.client("kept").credentials("ann", "x").connect().expect_accepted());
        }
    }

    fn what_waits_is_dropped_when_the_session_ends(version) {
        let gate = Gate::new();
        let api = gated(&gate, 200);
        let broker = broker(version, &api, &[]);
        for protocol in Protocol::BOTH {
            gate.close();
            let builder = broker.client("c").protocol(protocol).credentials("ann", "x");
            let first = builder.connect().expect_accepted();
            first.subscribe("news/#").expect_granted();
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            publisher.publish(&format!("news/{protocol:?}"), "x");
            gate.wait_until_waiting(1);
            first.disconnect();
            let second = builder.connect().expect_accepted();
            gate.open();
            expect_nothing_before_the_end(&broker, &second);
        }
    }

    fn what_waits_for_a_kept_session_is_sent_to_the_same_user(version) {
        for protocol in Protocol::BOTH {
            for takes_over in [true, false] {
                let gate = Gate::new();
                let api = gated(&gate, 200);
                let broker = broker(version, &api, &[]);
                let first = kept(&broker, protocol, "ann");
                first.subscribe("news/#").expect_granted();
                let publisher = logged_in(&broker, Protocol::V5, "publisher");
                publisher.publish("news/1", "early");
                gate.wait_until_waiting(1);
                if !takes_over {
                    vanish(&broker, "kept", first);
                    // The broker asks about this one for the session that is offline.
                    publisher.publish("news/1", "late");
                    let second = kept(&broker, protocol, "ann");
                    gate.open();
                    assert_eq!(payloads(&second, 2), ["early", "late"]);
                    continue;
                }
                let second = kept(&broker, protocol, "ann");
                first.wait_disconnected();
                publisher.publish("news/1", "late");
                gate.open();
                assert_eq!(payloads(&second, 2), ["early", "late"]);
            }
        }
    }

    fn what_does_not_fit_or_takes_too_long_is_counted_and_said(version) {
        let gate = Gate::new();
        let api = gated(&gate, 200);
        let more = [("hold_max_bytes", "10000"), ("hold_ms", "300"), ("sys_interval", "1")];
        let broker = broker(version, &api, &more);
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("news/#").expect_granted();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for number in numbers(30) {
            publisher.publish("news/1", number);
        }
        let lost = |why: &str| {
            format!("a delivery to \"reader\" (client \"reader\") on \"news/1\" was given up: {why}")
        };
        broker.wait_for_log(&lost("hold_max_bytes is used up"));
        broker.wait_for_log(&lost("the API did not say within hold_ms whether it may be made"));
        gate.open();
        publisher.publish("news/2", "x");
        assert_eq!(reader.expect_message().0, "news/2", "there is room again");
    }

    fn without_room_to_hold_anything_the_broker_waits(version) {
        let api = slow(20);
        let broker = broker(version, &api, &[("hold_max_bytes", "0")]);
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("news/#").expect_granted();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        for number in numbers(5) {
            publisher.publish("news/1", number);
        }
        assert_eq!(payloads(&reader, 5), numbers(5));
    }

    fn an_undecided_publish_or_subscribe_closes_the_connection(version) {
        let api = AuthServer::start();
        for mode in ["close", "deny"] {
            for protocol in Protocol::BOTH {
                api.set_handler(|_| Reply::status(200));
                let more = [("acl_unavailable", mode), ("breaker_failures", "1000")];
                let broker = broker(version, &api, &more);
                let [publisher, loser, reader] =
                    ["publisher", "loser", "reader"].map(|name| logged_in(&broker, protocol, name));
                api.set_handler(|_| Reply::status(503));
                // It may be lost, and is.
                loser.publish_qos0("a", "x");
                broker.wait_for_log("the message is lost, as it may be with QoS 0");
                assert!(loser.is_connected());
                if mode == "deny" {
                    let refusal = Subscription::Refused(subscribe_refusal(protocol));
                    assert_eq!(reader.subscribe("a"), refusal);
                    publisher.publish("a", "x");
                    continue;
                }
                thread::scope(|scope| {
                    scope.spawn(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(
                        || reader.subscribe("a"))));
                    reader.wait_disconnected();
                    scope.spawn(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(
                        || publisher.publish("a", "x"))));
                    publisher.wait_disconnected();
                });
                broker.wait_for_log("the connection is closed, to subscribe again");
                api.set_handler(|_| Reply::status(200));
                logged_in(&broker, protocol, "reader").subscribe("a").expect_granted();
                logged_in(&broker, protocol, "publisher").publish("a", "x");
            }
        }
    }
}

#[test]
fn a_broker_that_never_ticks_delivers_what_is_known_with_the_message_before_it() {
    // 2.0.11 with per_listener_settings has no ticks.
    let gate = Gate::new();
    let api = gated(&gate, 200);
    // With one connection, what was asked first has its answer before anything else is asked.
    let options = api.options([&ROUTES[..], &[("http_connections", "1")]].concat());
    let broker = Broker::config(Version::V2_0_11)
        .per_listener_settings()
        .listener(|listener| listener.plugin(options))
        .start();
    let reader = logged_in(&broker, Protocol::V5, "reader");
    reader.subscribe("news").expect_granted();
    let publisher = logged_in(&broker, Protocol::V5, "publisher");
    publisher.publish("news", "0");
    gate.open();
    assert!(may_publish(&publisher, "other"));
    publisher.publish("news", "1");
    assert_eq!(payloads(&reader, 2), numbers(2));
}
