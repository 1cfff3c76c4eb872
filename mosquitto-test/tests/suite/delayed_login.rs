//! On Mosquitto 2.1 a login waits for its answer while the broker serves everybody else, and no
//! answer ever counts for another attempt than its own.

use mosquitto_test::prelude::*;

use crate::support::{eventually, http_api_status, with_clock};
use serde_json::json;

const VERSION: Version = Version::V2_1_2;
const ROUTES: [(&str, &str); 2] = [("http_user_route", "/login"), ("http_acl_route", "/acl")];

/// An API that holds back its answer about the user `slow`, and knows the password `right`.
fn api(gate: &Gate) -> AuthServer {
    let gate = gate.clone();
    AuthServer::answering(move |request| {
        let body = request.json();
        let denied = request.path == "/login" && body["password"] != "right";
        let reply = Reply::status(if denied { 403 } else { 200 });
        let held = request.path == "/login" && body["username"] == "slow";
        if held { reply.after(&gate) } else { reply }
    })
}

fn broker(api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options = ROUTES.into_iter().chain(more.iter().copied());
    Broker::config(VERSION).plugin(api.options(options)).start()
}

/// That the broker serves others: a login that is not held, a publish and its delivery.
fn expect_service(broker: &Broker) {
    let client = broker.client("other").credentials("quick", "right").connect().expect_accepted();
    client.subscribe("here").expect_granted();
    client.publish("here", "and there");
    assert_eq!(client.expect_message(), ("here".into(), "and there".into()));
}

#[test]
fn others_are_served_while_a_login_waits() {
    for protocol in Protocol::BOTH {
        let gate = Gate::new();
        let api = api(&gate);
        let broker = broker(&api, &[]);
        let attempt = broker.client("c").protocol(protocol).credentials("slow", "right");
        let attempt = attempt.start_connecting();
        gate.wait_until_waiting(1);
        expect_service(&broker);
        assert!(attempt.is_pending());
        gate.open();
        attempt.outcome().expect_accepted();
    }
}

#[test]
fn a_denial_that_comes_later_is_refused_in_the_words_of_the_protocol() {
    for protocol in Protocol::BOTH {
        let gate = Gate::new();
        let api = api(&gate);
        let broker = broker(&api, &[]);
        let attempt = broker.client("c").protocol(protocol).credentials("slow", "wrong");
        let attempt = attempt.start_connecting();
        gate.wait_until_waiting(1);
        gate.open();
        assert_eq!(attempt.outcome().expect_refused(), protocol.refusal());
        broker
            .wait_for_log("login denied: ip=127.0.0.1 username=\"slow\" clientid=\"c\" reason=api");
    }
}

#[test]
fn whoever_is_let_in_later_is_known_by_its_own_name() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = broker(&api, &[]);
    let attempt = broker.client("c").credentials("slow", "right").start_connecting();
    gate.wait_until_waiting(1);
    gate.open();
    let client = attempt.outcome().expect_accepted();
    client.publish("a/b", "hello");
    let asked = api.requests_to("/acl").pop().unwrap().json();
    assert_eq!(asked, json!({"username": "slow", "clientid": "c", "topic": "a/b", "acc": 2}));
}

#[test]
fn messages_that_were_queued_are_checked_under_its_own_name() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = broker(&api, &[("cache_ttl", "0")]);
    gate.open();
    let session = broker.client("c").credentials("slow", "right").clean(false);
    let client = session.connect().expect_accepted();
    client.subscribe_many(&["q/#"])[0].expect_granted();
    client.disconnect();
    let other = broker.client("other").credentials("quick", "right").connect().expect_accepted();
    other.publish_message(Message::new("q/1", "kept").qos(1));
    api.forget_requests();
    gate.close();
    let attempt = session.start_connecting();
    gate.wait_until_waiting(1);
    gate.open();
    let client = attempt.outcome().expect_accepted();
    assert_eq!(client.expect_message(), ("q/1".into(), "kept".into()));
    for request in api.requests_to("/acl") {
        assert_eq!(request.json()["username"], "slow", "{:?}", request.text());
    }
}

#[test]
fn a_login_that_nobody_can_decide_is_closed_without_an_answer() {
    for protocol in Protocol::BOTH {
        let gate = Gate::new();
        let (api, held) = (AuthServer::start(), gate.clone());
        api.set_handler(move |_| Reply::status(503).after(&held));
        let broker = broker(&api, &[]);
        let mut raw = broker.raw();
        raw.send(raw::connect_packet(protocol, "c", Some(b"slow"), Some(b"right"), true));
        gate.wait_until_waiting(1);
        gate.open();
        // No CONNACK: MQTT 3.1.1 sees the end, MQTT 5 a DISCONNECT before it.
        match (protocol, raw.read_packet()) {
            (Protocol::V3_1_1, packet) => assert_eq!(packet, None),
            (Protocol::V5, packet) => assert_eq!(packet.unwrap().0, 0xe0),
        }
    }
}

#[test]
fn a_reason_is_given_where_it_was_asked_for() {
    let api = AuthServer::answering(|_| Reply::status(503));
    let broker = broker(&api, &[("unavailable_reply", "reason")]);
    let connect = |protocol| {
        let mut raw = broker.raw();
        raw.send(raw::connect_packet(protocol, "c", Some(b"ann"), Some(b"right"), true));
        raw.read_connack()
    };
    assert_eq!(connect(Protocol::V5), Some(0x88));
    assert_eq!(connect(Protocol::V3_1_1), None);
}

#[test]
fn a_yes_for_one_who_left_does_not_admit_another() {
    let (good_gate, bad_gate) = (Gate::new(), Gate::new());
    let (good, bad) = (good_gate.clone(), bad_gate.clone());
    let api = AuthServer::answering(move |request| match request.json()["password"].as_str() {
        Some("right") => Reply::status(200).after(&good),
        Some("wrong") => Reply::status(403).after(&bad),
        _ => Reply::status(200),
    });
    let broker = broker(&api, &[("log_level", "debug")]);
    let first = broker.client("c").credentials("ann", "right").start_connecting();
    good_gate.wait_until_waiting(1);
    first.abandon();
    // Until the broker has noticed that the first has left, it closes the second unasked.
    let second = loop {
        let attempt = broker.client("c").credentials("ann", "wrong").start_connecting();
        if gate_reaches(&bad_gate, 1, &attempt) {
            break attempt;
        }
    };
    good_gate.open();
    broker.wait_for_log("about the login of \"ann\" (client \"c\"): allowed");
    // Whoever the yes was for, it has been dealt with once the broker has looked up twice.
    for _ in 0..2 {
        broker.wait_until_idle();
    }
    assert!(second.is_pending(), "the yes of the first was taken for the second's");
    bad_gate.open();
    assert_eq!(second.outcome().expect_refused(), Protocol::V3_1_1.refusal());
}

/// Waits until so many answers are held back, or the attempt has ended.
fn gate_reaches(gate: &Gate, count: usize, attempt: &mosquitto_test::mqtt::Attempt) -> bool {
    while attempt.is_pending() {
        if gate.waiting() >= count {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn two_passwords_racing_under_one_identifier_never_let_the_wrong_one_in() {
    // The API takes a moment, so that attempts overlap; nothing is cached, so that each is asked.
    let api = AuthServer::answering(|request| {
        let right = request.json()["password"] == "right";
        Reply::status(if right { 200 } else { 403 }).drip(std::time::Duration::from_micros(20))
    });
    let broker = broker(&api, &[("cache_ttl", "0"), ("log_level", "warn")]);
    let port = broker.port();
    let racer = |password: &'static str, stays: bool| {
        std::thread::spawn(move || {
            let mut accepted = 0;
            for _ in 0..1500 {
                let mut raw = RawClient::connect_to(port);
                let name = (Some(&b"ann"[..]), Some(password.as_bytes()));
                raw.send(raw::connect_packet(Protocol::V3_1_1, "c", name.0, name.1, true));
                // One leaves at once, so that its answer finds somebody else waiting, or nobody.
                if stays {
                    accepted += u32::from(raw.read_connack() == Some(0));
                }
            }
            accepted
        })
    };
    let leaving = racer("right", false);
    let wrong = [racer("wrong", true), racer("wrong", true)];
    leaving.join().unwrap();
    let let_in: u32 = wrong.into_iter().map(|racer| racer.join().unwrap()).sum();
    assert_eq!(let_in, 0, "a wrong password was let in");
    // The race ended with a working broker, and the right password still works.
    let mut raw = broker.raw();
    raw.send(raw::connect_packet(Protocol::V3_1_1, "d", Some(b"ann"), Some(b"right"), true));
    assert_eq!(raw.read_connack(), Some(0));
}

#[test]
fn a_second_connection_under_the_same_identifier_does_not_disturb_the_one_that_waits() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = broker(&api, &[]);
    let first = broker.client("c").credentials("slow", "right").start_connecting();
    gate.wait_until_waiting(1);
    broker.client("c").credentials("quick", "right").connect().expect_closed();
    gate.open();
    first.outcome().expect_accepted();
}

#[test]
fn a_session_is_taken_over_only_once_the_new_login_is_allowed() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = broker(&api, &[]);
    let old = broker.client("c").credentials("quick", "right").connect().expect_accepted();
    let new = broker.client("c").credentials("slow", "right").start_connecting();
    gate.wait_until_waiting(1);
    assert_eq!(old.publish("a/b", "still here"), 0);
    gate.open();
    new.outcome().expect_accepted();
    old.wait_disconnected();
}

#[test]
fn the_will_of_one_who_never_logged_in_is_not_published() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = broker(&api, &[]);
    let watcher = broker.client("w").credentials("quick", "right").connect().expect_accepted();
    watcher.subscribe("#").expect_granted();
    let builder = broker.client("c").credentials("slow", "right").will("wills/c", "gone");
    let attempt = builder.start_connecting();
    gate.wait_until_waiting(1);
    attempt.abandon();
    // The broker has seen it leave once it takes the identifier again.
    while !broker.client("c").credentials("quick", "right").connect().is_accepted() {}
    watcher.publish("marker", "seen");
    assert_eq!(watcher.expect_message(), ("marker".into(), "seen".into()));
    gate.open();
}

#[test]
fn it_can_be_switched_off() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = broker(&api, &[("delayed_login", "false"), ("max_block_ms", "200")]);
    broker.client("c").credentials("slow", "right").connect().expect_closed();
    gate.open();
}

#[test]
fn ending_with_logins_that_wait_is_clean() {
    let gate = Gate::new();
    let api = api(&gate);
    let mut broker = broker(&api, &[]);
    let attempts: Vec<_> = (0..20)
        .map(|n| broker.client(&format!("c{n}")).credentials("slow", "right").start_connecting())
        .collect();
    gate.wait_until_waiting(1);
    expect_service(&broker);
    assert!(broker.stop().success());
    for attempt in attempts {
        attempt.outcome().expect_closed();
    }
    gate.open();
}

#[test]
fn a_login_over_tls_waits_too() {
    let (gate, certs) = (Gate::new(), Certs::new());
    let api = api(&gate);
    let broker = Broker::config(VERSION)
        .plugin(api.options(ROUTES))
        .listener(|listener| listener)
        .listener(|listener| listener.tls(certs.server()))
        .start();
    let (port, ca) = (broker.port_of(1).to_string(), certs.ca_file().display().to_string());
    std::thread::scope(|scope| {
        let published = scope.spawn(|| {
            broker.mosquitto_pub(&[
                "-h",
                "localhost",
                "-p",
                &port,
                "--cafile",
                &ca,
                "-u",
                "slow",
                "-P",
                "right",
                "-t",
                "a/b",
                "-m",
                "hello",
                "-q",
                "1",
            ])
        });
        gate.wait_until_waiting(1);
        expect_service(&broker);
        gate.open();
        assert!(published.join().unwrap().status.success());
    });
}

#[test]
fn the_brokers_own_http_interface_is_answered_at_once_from_its_own_thread() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = Broker::config(VERSION)
        .plugin(api.options(ROUTES))
        .listener(|listener| listener)
        .listener(|listener| listener.line("protocol http_api"))
        .start();
    assert_eq!(http_api_status(broker.port_of(1), "quick", "right"), "200");
    assert_eq!(http_api_status(broker.port_of(1), "quick", "wrong"), "401");
    expect_service(&broker);
    gate.open();
}

#[test]
fn a_websockets_login_waits_too() {
    let gate = Gate::new();
    let api = api(&gate);
    let broker = Broker::config(VERSION)
        .plugin(api.options(ROUTES))
        .listener(|listener| listener)
        .listener(|listener| listener.websockets())
        .start();
    let mut client = RawClient::connect_by_websocket(broker.port_of(1));
    let connect = raw::connect_packet(Protocol::V3_1_1, "c", Some(b"slow"), Some(b"right"), true);
    client.send(&connect);
    gate.wait_until_waiting(1);
    expect_service(&broker);
    gate.open();
    assert_eq!(client.read_connack(), Some(0));
    let asked = api.requests_to("/login");
    assert!(asked.iter().any(|request| request.json()["username"] == "slow"));
}

#[test]
fn a_wall_clock_that_steps_back_keeps_nobody_out() {
    // While the clock is behind, Mosquitto 2.1 does not tick, and nobody finishes what waits.
    let gate = Gate::new();
    gate.open();
    let api = api(&gate);
    let config = Broker::config(VERSION);
    let clock = config.file("clock", "+0");
    let config = config.plugin(api.options(ROUTES.into_iter().chain([("cache_ttl", "0")])));
    let broker = with_clock(config, &clock).start();
    broker.client("before").credentials("quick", "right").connect().expect_accepted();
    std::fs::write(&clock, "-1h").unwrap();
    // Equal questions under way would make one request; each of these is another user's.
    let login = |n: usize| {
        let name = format!("user-{n}");
        broker.client(&name).credentials(&name, "right")
    };
    // Who asks right after the step may wait; as soon as the missing ticks are noticed, everybody
    // is answered at once, and with them those who waited. So a few at a time try until then.
    let mut pending = Vec::new();
    let mut count = 0;
    while count == 0 || !pending.is_empty() {
        pending.push(login(count).start_connecting());
        count += 1;
        api.wait_for_requests(count + 1);
        let (still, answered): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|attempt| attempt.is_pending());
        answered.into_iter().for_each(|attempt| drop(attempt.outcome().expect_accepted()));
        pending = still;
    }
}

#[test]
fn sighup_while_the_wall_clock_is_behind_is_taken_and_keeps_nobody_out() {
    for delayed_login in ["false", "true"] {
        let api = AuthServer::start();
        let config = Broker::config(VERSION);
        let clock = config.file("clock", "+0");
        let options = [ROUTES[0], ("delayed_login", delayed_login)];
        let broker = with_clock(config.plugin(api.options(options)), &clock).start();
        let log_in = |id: &str| broker.client(id).credentials(id, "right").connect();
        let before = log_in("before").expect_accepted();
        std::fs::write(&clock, "-1h").unwrap();
        broker.signal(libc::SIGHUP);
        // Until a pass is over in which a login may have waited.
        eventually("SIGHUP", || {
            before.publish("here", "still");
            broker.log_contains("Reloading config.")
        });
        eventually("a login", || matches!(log_in("after"), Login::Accepted(_)));
        assert!(before.is_connected());
    }
}
