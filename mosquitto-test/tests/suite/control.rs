//! The control topic: commands from whoever the ACL lets publish to it.

use std::thread;
use std::time::{Duration, Instant};

pub use mosquitto_test::control::{RESPONSES, TOPIC};
use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    EVERY_QUESTION, NOT_AUTHORIZED, PASSWORD, ROUTES, broker_with, eventually, http_api_status,
    may_publish,
};

/// An API that lets everybody in, lets `root` do everything, and everyone else what the ACL route
/// says: 200, unless the topic begins with `no/` or is the control topic.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let body = request.json();
        let topic = body["topic"].as_str().unwrap_or_default();
        match request.path.as_str() {
            "/user" if body["username"] == "root" => {
                Reply::status(200).json(json!({"is_superuser": true}))
            }
            "/acl" if topic.starts_with("no/") || topic.starts_with('$') => Reply::status(403),
            _ => Reply::status(200),
        }
    })
}

fn log_in(broker: &Broker, user: &str) -> Client {
    let client = broker.client(user).protocol(Protocol::V5).credentials(user, PASSWORD);
    client.connect().expect_accepted()
}

/// Sends commands, and returns the responses.
pub fn command(operator: &Client, commands: Value) -> Vec<Value> {
    operator.publish(TOPIC, json!({ "commands": commands }).to_string());
    responses(operator)
}

fn responses(operator: &Client) -> Vec<Value> {
    let (topic, payload) = operator.expect_message();
    assert_eq!(topic, RESPONSES);
    let response: Value = serde_json::from_str(&payload).unwrap();
    response["responses"].as_array().unwrap().clone()
}

/// The operator of a broker, ready to hear responses.
pub fn operator(broker: &Broker) -> Client {
    let operator = log_in(broker, "root");
    operator.subscribe(RESPONSES).expect_granted();
    operator
}

fn check(operator: &Client, user: &str, topic: &str, acc: Value) -> (String, String) {
    let check = json!({"command": "checkAccess", "username": user, "clientid": user,
                       "topic": topic, "acc": acc});
    let response = command(operator, json!([check])).remove(0);
    let word = |key: &str| response["data"][key].as_str().unwrap_or_default().to_owned();
    (word("decision"), word("decidedBy"))
}

on_every_broker! {
    fn an_idle_broker_responds_at_once(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let took = (0..20).map(|_| {
            let began = Instant::now();
            command(&operator, json!([{"command": "getStatus"}]));
            began.elapsed()
        });
        // Left to itself, the broker looks up every 100 ms.
        let fastest = took.min().unwrap();
        assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    }

    fn the_status_tells_what_happened(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let ann = log_in(&broker, "ann");
        assert!(may_publish(&ann, "t") && may_publish(&ann, "t") && !may_publish(&ann, "no/t"));
        let ask = json!([{"command": "getStatus", "correlationData": "one"}]);
        let response = command(&operator, ask).remove(0);
        assert_eq!(response["command"], "getStatus");
        assert_eq!(response["correlationData"], "one");
        let status = &response["data"];
        assert_eq!(status["logins"]["allowed"], 2, "{status}");
        assert_eq!(status["access"]["denied"], 1, "{status}");
        assert_eq!(status["requests"]["answered"], 4, "two logins and two topics: {status}");
        assert_eq!((&status["sessions"], &status["loginsWaiting"]), (&json!(2), &json!(0)));
        assert!(status["cache"]["hits"].as_u64().unwrap() >= 1, "{status}");
        assert_eq!(status["endpoints"][0]["inService"], true, "{status}");
    }

    fn mosquitto_rr_gets_an_answer(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let message = json!({"commands": [{"command": "getStatus"}]}).to_string();
        let output = broker.mosquitto_rr(&[
            "-i", "root", "-u", "root", "-P", PASSWORD, "-t", TOPIC, "-e", RESPONSES,
            "-m", &message,
        ]);
        let response: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(response["responses"][0]["data"]["sessions"], 1, "{response}");
    }

    fn whoever_the_acl_does_not_let_is_not_obeyed(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let (ann, ben) = (log_in(&broker, "ann"), log_in(&broker, "ben"));
        ann.subscribe(RESPONSES).expect_refused();
        let kick = json!({"commands": [{"command": "kick", "clientid": "ben"}]}).to_string();
        assert_eq!(ann.publish(TOPIC, kick), NOT_AUTHORIZED);
        // What root commands afterwards is obeyed, and ben is still there to be found.
        let operator = operator(&broker);
        let status = command(&operator, json!([{"command": "getStatus"}])).remove(0);
        assert_eq!(status["data"]["sessions"], 3);
        assert!(may_publish(&ben, "t"));
    }

    fn the_answer_goes_to_the_sender_alone(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let first = operator(&broker);
        let second = broker.client("second").protocol(Protocol::V5).credentials("root", PASSWORD);
        let second = second.connect().expect_accepted();
        second.subscribe(RESPONSES).expect_granted();
        second.subscribe("done").expect_granted();
        assert_eq!(command(&first, json!([{"command": "getStatus"}])).len(), 1);
        first.publish("done", "");
        assert_eq!(second.expect_message().0, "done");
    }

    fn an_invalidated_answer_is_asked_for_again(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let (ann, ben) = (log_in(&broker, "ann"), log_in(&broker, "ben"));
        let asked = || {
            api.forget_requests();
            for client in [&ann, &ben] {
                assert!(may_publish(client, "a/b") && may_publish(client, "c"));
            }
            let asked = api.requests_to("/acl");
            let name = |request: &Request| {
                let body = request.json();
                let word = |key: &str| body[key].as_str().unwrap().to_owned();
                format!("{} {}", word("username"), word("topic"))
            };
            asked.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(asked().len(), 4);
        assert!(asked().is_empty());
        for (named, expected) in [
            (json!({"username": "ann"}), vec!["ann a/b", "ann c"]),
            (json!({"clientid": "ben"}), vec!["ben a/b", "ben c"]),
            (json!({"topic": "a/#"}), vec!["ann a/b", "ben a/b"]),
            (json!({"topic": "c", "username": "ben"}), vec!["ben c"]),
            (json!({"username": "carol"}), vec![]),
            (json!({"all": true}), vec!["ann a/b", "ann c", "ben a/b", "ben c"]),
        ] {
            let mut invalidate = named;
            invalidate["command"] = "invalidate".into();
            let response = command(&operator, json!([invalidate])).remove(0);
            assert!(response["error"].is_null(), "{response}");
            assert_eq!(asked(), expected, "{invalidate}");
        }
    }

    fn an_invalidated_login_is_asked_for_again(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let logins = || api.requests_to("/user").len();
        log_in(&broker, "ann").disconnect();
        log_in(&broker, "ann").disconnect();
        assert_eq!(logins(), 2, "root and ann");
        command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        log_in(&broker, "ann");
        assert_eq!(logins(), 3);
    }

    fn a_session_whose_rules_are_outdated_gets_new_ones(version) {
        let rules = |topic: &'static str| {
            move |_: &Request| {
                let rule = json!({"permission": "allow", "action": "all", "topic": topic});
                Reply::status(200).json(json!({"is_superuser": false, "acl": [rule]}))
            }
        };
        let api = api();
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let operator = operator(&broker);
        api.set_handler(rules("old"));
        let ann = log_in(&broker, "ann");
        assert!(may_publish(&ann, "old") && !may_publish(&ann, "new"));
        api.set_handler(rules("new"));
        let command = command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        assert_eq!(command[0]["data"]["sessionsAskedAgain"], 1);
        eventually("ann's new rules", || may_publish(&ann, "new"));
        assert!(!may_publish(&ann, "old"));
    }

    fn whoever_is_kicked_is_disconnected(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let (ann, ben) = (log_in(&broker, "ann"), log_in(&broker, "ben"));
        let carol = log_in(&broker, "carol");
        let kicks = json!([
            {"command": "kick", "clientid": "ann"},
            {"command": "kick", "username": "ben"},
            {"command": "kick", "clientid": "nobody"},
        ]);
        assert!(command(&operator, kicks).iter().all(|response| response["error"].is_null()));
        ann.wait_disconnected();
        ben.wait_disconnected();
        assert!(may_publish(&carol, "t"));
    }

    fn an_operator_may_kick_itself(version) {
        let api = api();
        let mut broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let kick = json!({"commands": [{"command": "kick", "clientid": "root"}]}).to_string();
        operator.publish_qos0(TOPIC, kick);
        operator.wait_disconnected();
        assert!(broker.is_running());
        assert!(may_publish(&log_in(&broker, "ann"), "t"));
    }

    fn a_check_tells_what_decides(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let rule = |permission: &str, action: &str, topic: &str| {
                json!({"permission": permission, "action": action, "topic": topic})
            };
            match request.path.as_str() {
                "/user" if body["username"] == "root" => {
                    Reply::status(200).json(json!({"is_superuser": true}))
                }
                "/user" if body["username"] == "ann" => Reply::status(200).json(json!({"acl": [
                    rule("allow", "publish", "up/${username}"),
                    rule("deny", "all", "secret/#"),
                ]})),
                "/acl" if body["topic"] == "broken" => Reply::status(503),
                "/acl" if body["topic"] == "no" => Reply::status(403),
                _ => Reply::status(200),
            }
        });
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let _ann = log_in(&broker, "ann");
        let says = |user: &str, topic: &str, acc: Value, decision: &str, by: &str| {
            let said = check(&operator, user, topic, acc);
            assert!(said.0 == decision && said.1.contains(by), "{user} {topic}: {said:?}");
        };
        says("ann", "up/ann", json!(2), "allow", "rule 1");
        says("ann", "secret/x", json!("read"), "deny", "rule 2");
        says("ann", "other", json!("subscribe"), "allow", "http_acl_route");
        says("ann", "no", json!(1), "deny", "http_acl_route");
        says("ann", "broken", json!(1), "unavailable", "http_acl_route failed: status 503");
        says("root", "anything", json!(4), "allow", "superuser");
        says("stranger", "up/ann", json!(2), "allow", "http_acl_route");
        says("a+b", "t", json!(2), "deny", "deny_special_chars");
        let asked = api.requests_to("/acl");
        let expected = json!({"username": "stranger", "clientid": "stranger", "topic": "up/ann",
                              "acc": 2});
        assert!(asked.iter().any(|request| request.json() == expected));
    }

    fn a_check_does_not_hold_the_broker(version) {
        let gate = Gate::new();
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let ann = log_in(&broker, "ann");
        assert!(may_publish(&ann, "t"));
        let behind = gate.clone();
        api.set_handler(move |_| Reply::status(200).after(&behind));
        let check = json!({"command": "checkAccess", "username": "ann", "clientid": "ann",
                           "topic": "slow", "acc": 2});
        operator.publish(TOPIC, json!({"commands": [check]}).to_string());
        gate.wait_until_waiting(1);
        assert!(may_publish(&ann, "t"), "while the API is asked");
        gate.open();
        assert_eq!(responses(&operator)[0]["data"]["decision"], "allow");
    }

    fn what_nobody_can_be_called_and_what_is_said_twice_is_not_obeyed(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        let ann = log_in(&broker, "ann");
        for name in ["username", "clientid"] {
            let said = command(&operator, json!([{"command": "kick", name: "ann\u{0}b"}])).remove(0);
            assert!(said["error"].as_str().unwrap().contains("no U+0000"), "{said}");
        }
        let twice = r#"{"commands":[{"command":"kick","clientid":"nobody","clientid":"ann"}]}"#;
        operator.publish(TOPIC, twice);
        let said = responses(&operator).remove(0);
        let problem = said["error"].as_str().unwrap();
        assert!(problem.contains("\"clientid\" is there twice; allowed: once"), "{said}");
        assert!(may_publish(&ann, "t"));
    }

    fn what_is_no_command_is_answered_with_what_is_wrong(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let operator = operator(&broker);
        for payload in ["", "\u{0}", "{", "[]", "{\"commands\": 1}"] {
            operator.publish(TOPIC, payload);
            let response = responses(&operator).remove(0);
            assert!(response["error"].is_string(), "{payload:?}: {response}");
        }
        let mixed = json!([{"command": "dance"}, {"command": "kick"}, {"command": "getStatus"}]);
        let said = command(&operator, mixed);
        assert!(said[0]["error"].as_str().unwrap().contains("getStatus, invalidate, kick"));
        assert!(said[1]["error"].as_str().unwrap().contains("clientid"));
        assert!(said[2]["error"].is_null() && said[2]["data"].is_object());
    }

    /// The answer to a request that was sent before is older than the invalidation, whenever it comes.
    fn a_question_that_comes_after_an_invalidation_is_not_answered_by_a_request_from_before(version) {
        let api = api();
        let options = [ROUTES[0], ROUTES[1], ("max_block_ms", "100")];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let operator = operator(&broker);
        let gate = Gate::new();
        let held = gate.clone();
        api.set_handler(move |request| {
            let reply = Reply::status(200);
            if request.json()["username"] == "ann" { reply.after(&held) } else { reply }
        });
        let mut first = broker.raw();
        first.send(raw::connect_packet(Protocol::V3_1_1, "one", Some(b"ann"), Some(b"x"), true));
        gate.wait_until_waiting(1);
        let denies = |request: &Request| match request.json()["username"] == "ann" {
            true => Reply::status(403),
            false => Reply::status(200),
        };
        api.set_handler(denies);
        command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        let log_in = || broker.client("two").credentials("ann", "x").connect();
        eventually("the new answer decides", || match log_in() {
            Login::Refused(_) => true,
            Login::Accepted(_) => panic!("an answer from before the invalidation let ann in"),
            Login::Closed => false,
        });
        gate.open();
        // The old answer is there now, and nobody believes it.
        for _ in 0..3 {
            log_in().expect_refused();
        }
    }
}

#[test]
fn a_login_at_the_brokers_own_http_api_that_is_taken_back_meanwhile_lets_nobody_in() {
    let api = api();
    let broker = Broker::config(Version::V2_1_2)
        .plugin(api.options([&ROUTES, &EVERY_QUESTION[..]].concat()))
        .listener(|listener| listener)
        .listener(|listener| listener.line("protocol http_api"))
        .start();
    let operator = operator(&broker);
    let status = |password| http_api_status(broker.port_of(1), "ann", password);
    let invalidate = || command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
    assert_eq!(status("known"), "200");
    let gate = Gate::new();
    let held = gate.clone();
    api.set_handler(move |_| Reply::status(200).after(&held));
    thread::scope(|scope| {
        let waits = scope.spawn(|| status("new"));
        gate.wait_until_waiting(1);
        api.set_handler(|request| {
            let is_anns = request.path == "/user" && request.json()["username"] == "ann";
            Reply::status(if is_anns { 403 } else { 200 })
        });
        invalidate();
        gate.open();
        assert_eq!(waits.join().unwrap(), "401");
    });
    assert_eq!(status("known"), "401", "nor does what was cached");
}
