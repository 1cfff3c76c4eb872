//! What a verdict about a login that waited on Mosquitto 2.1 does when something has changed meanwhile:
//! another instance was asked, answers were declared outdated, somebody was kicked, the broker itself
//! refuses the client.

use mosquitto_test::mqtt::{Attempt, ClientBuilder};
use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{command, operator};
use crate::support::{eventually, instance_for_each};

const VERSION: Version = Version::V2_1_2;
const ROUTES: [(&str, &str); 2] = [("http_user_route", "/login"), ("http_acl_route", "/acl")];

/// An API that lets in whoever gives the password `right`, `root` at once and everybody else when the gate opens.
fn held(gate: &Gate) -> AuthServer {
    let gate = gate.clone();
    AuthServer::answering(move |request| {
        let body = request.json();
        if body["username"] == "root" {
            return Reply::status(200).json(json!({"is_superuser": true}));
        }
        let is_right = request.path != "/login" || body["password"] == "right";
        let reply = Reply::status(if is_right { 200 } else { 403 });
        if request.path == "/login" { reply.after(&gate) } else { reply }
    })
}

fn broker(api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options = ROUTES.into_iter().chain(more.iter().copied());
    Broker::config(VERSION).plugin(api.options(options)).start()
}

/// Tries until the API holds the answer back.
fn wait_in(gate: &Gate, builder: &ClientBuilder) -> Attempt {
    let before = gate.waiting();
    loop {
        let attempt = builder.start_connecting();
        while attempt.is_pending() {
            if gate.waiting() > before {
                return attempt;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_verdict_at_one_listener_is_none_for_who_waits_at_another() {
    for first_is_right in [true, false] {
        let (one_gate, two_gate) = (Gate::new(), Gate::new());
        let (one, two) = (held(&one_gate), held(&two_gate));
        let broker = instance_for_each(VERSION, [&one, &two].map(|api| api.options(ROUTES)));
        let password = |is_right| if is_right { "right" } else { "wrong" };
        let at = |listener, user, is_right| {
            let builder = broker.client("x").port(broker.port_of(listener));
            builder.credentials(user, password(is_right))
        };
        let first = wait_in(&one_gate, &at(0, "ann", first_is_right));
        first.abandon();
        let second = wait_in(&two_gate, &at(1, "admin", !first_is_right));
        one_gate.open();
        let verdict = if first_is_right { "allowed" } else { "denied" };
        broker.wait_for_log(&format!("about the login of \"ann\" (client \"x\"): {verdict}"));
        for _ in 0..2 {
            broker.wait_until_idle();
        }
        assert!(second.is_pending(), "the first's verdict was taken for the second's");
        two_gate.open();
        if first_is_right {
            second.outcome().expect_refused();
        } else {
            // Where its identifier had been occupied for long, it takes two tries.
            if let Login::Closed = second.outcome() {
                at(1, "admin", true).connect().expect_accepted();
            }
        }
    }
}

#[test]
fn a_guess_counts_and_is_logged_though_whoever_guessed_has_left() {
    let gate = Gate::new();
    let api = held(&gate);
    let broker = broker(&api, &[("login_failures_max", "2"), ("cache_ttl", "0")]);
    let guess = |password| broker.client("c").credentials("ann", password);
    for password in ["one", "two"] {
        wait_in(&gate, &guess(password)).abandon();
    }
    gate.open();
    let line = "login denied: ip=127.0.0.1 username=\"ann\" clientid=\"c\" reason=api";
    eventually("a line for each guess", || {
        broker.log().lines().filter(|logged| logged.contains(line)).count() == 2
    });
    guess("right").connect().expect_refused();
}

#[test]
fn a_yes_that_was_on_its_way_lets_nobody_in_after_an_invalidate() {
    let gate = Gate::new();
    let api = held(&gate);
    let broker = broker(&api, &[]);
    let operator = operator(&broker);
    let attempt = wait_in(&gate, &broker.client("c").credentials("ann", "right"));
    // From now on the API would deny it, and the answer that is on its way still is a yes.
    api.set_handler(|_| Reply::status(403));
    command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
    gate.open();
    assert_eq!(attempt.outcome().expect_refused(), Protocol::V3_1_1.refusal());
}

#[test]
fn who_is_kicked_waits_no_longer() {
    for target in [json!({"clientid": "c"}), json!({"username": "ann"})] {
        let gate = Gate::new();
        let api = held(&gate);
        let broker = broker(&api, &[]);
        let operator = operator(&broker);
        let attempt = wait_in(&gate, &broker.client("c").credentials("ann", "right"));
        let other = wait_in(&gate, &broker.client("d").credentials("ben", "right"));
        let mut kick = target;
        kick["command"] = "kick".into();
        command(&operator, json!([kick]));
        attempt.outcome().expect_closed();
        assert!(other.is_pending());
        gate.open();
        other.outcome().expect_accepted();
    }
}

#[test]
fn whom_the_broker_itself_refuses_after_a_late_yes_is_closed_at_once() {
    let gate = Gate::new();
    gate.open();
    let api = held(&gate);
    let connect =
        |protocol, id: &str| raw::connect_packet(protocol, id, Some(b"ann"), Some(b"right"), false);
    let plugin = api.options(ROUTES.into_iter().chain([("cache_ttl", "0")]));
    // Less than a client made by hand asks for.
    let config = Broker::config(VERSION).plugin(plugin.clone()).line("max_keepalive 60");
    let broker = config.start();
    let mut raw = broker.raw();
    raw.send(connect(Protocol::V3_1_1, "c"));
    assert_eq!(raw.read_connack(), Some(2));
    assert_eq!(raw.read_packet(), None);
    broker.wait_for_log("the API allows the login of \"ann\", and the broker itself refuses it");
    drop(broker);
    let broker = Broker::config(VERSION).plugin(plugin).line("global_max_clients 1").start();
    let _in = broker.client("in").credentials("root", "x").connect().expect_accepted();
    for (protocol, expected) in [(Protocol::V3_1_1, None), (Protocol::V5, Some(0x89))] {
        let id = format!("c-{protocol:?}");
        let mut raw = broker.raw();
        raw.send(connect(protocol, &id));
        if expected.is_some() {
            assert_eq!(raw.read_connack(), expected);
        }
        raw.wait_closed();
        broker.wait_for_log(&format!("disconnected \"{id}\": the API allows the login"));
    }
}

#[test]
fn nobody_logs_in_by_a_name_that_looks_like_a_placeholder() {
    let gate = Gate::new();
    gate.open();
    let api = held(&gate);
    let broker = broker(&api, &[]);
    broker.client("c").credentials("ann", "right").connect().expect_accepted();
    // Mosquitto's own line shows it.
    broker.wait_for_log("u'ann (login ");
    let log = broker.log();
    let placeholder = log.split("u'ann (login ").nth(1).unwrap().split('\'').next().unwrap();
    let (number, mark) = placeholder.split_once(", ").unwrap();
    assert!(number.len() == 16 && mark.len() == 17, "{placeholder}");
    let will = |name: &str| broker.client("c").credentials(name, "right").will("wills/c", "gone");
    for name in [format!("ann (login {placeholder}"), format!("eve (login {number:0>16}, {mark}")] {
        will(&name).connect().expect_refused();
        broker.wait_for_log("reason=reserved-name");
    }
    assert_eq!(api.requests_to("/login").len(), 1);
}

#[test]
fn a_name_as_long_as_there_are_holds_nobody_up() {
    let gate = Gate::new();
    let api = held(&gate);
    let broker = broker(&api, &[]);
    let long = "n".repeat(65_530);
    let attempt = wait_in(&gate, &broker.client("c").credentials(&long, "right"));
    // Whoever is let in meanwhile did not wait for the broker.
    broker.client("other").credentials("root", "x").connect().expect_accepted();
    assert!(attempt.is_pending());
    gate.open();
    let client = attempt.outcome().expect_accepted();
    client.publish("a/b", "hello");
    assert_eq!(api.requests_to("/acl").pop().unwrap().json()["username"], long);
}
