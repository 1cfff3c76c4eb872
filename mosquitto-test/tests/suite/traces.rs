//! One id per question: in the request's `traceparent`, and in the broker's lines about that question.

use std::collections::BTreeSet;

use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use serde_json::json;

use crate::control::{command, operator};
use crate::support::{
    EVERY_QUESTION, NOT_AUTHORIZED, ROUTES, broker_with, eventually, log_in, logged_in,
};

const TRACE: [(&str, &str); 2] = [("http_trace", "true"), ("log_level", "debug")];

/// The ids of a request's trace and of the request itself, by W3C Trace Context, section 3.2.
pub fn ids(request: &Request) -> (String, String) {
    let header = request.header("traceparent").expect("the request has a trace");
    let [version, trace, parent, flags] = header.split('-').collect::<Vec<_>>()[..] else {
        panic!("{header}")
    };
    let is_id = |text: &str, length| {
        text.len() == length
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && text.bytes().any(|byte| byte != b'0')
    };
    assert!(version == "00" && is_id(trace, 32) && is_id(parent, 16) && flags == "01", "{header}");
    (trace.to_owned(), parent.to_owned())
}

fn trace(request: &Request) -> String {
    ids(request).0
}

on_every_broker! {
    fn a_denial_leads_to_the_request_that_it_comes_from(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" if request.json()["username"] == "eve" => Reply::status(401),
            "/acl" => Reply::status(403).json(json!({"reason": "not yours"})),
            _ => Reply::status(200),
        });
        let broker = broker_with(version, &api, &TRACE);
        log_in(&broker, Protocol::V5, "eve").expect_refused();
        let login = trace(&api.requests()[0]);
        let denied = format!(
            "username=\"eve\" clientid=\"eve\" reason=api status=401 trace={login}"
        );
        broker.wait_for_log(&denied);
        broker.wait_for_log("about the login of \"eve\" (client \"eve\"): denied in ");
        let mark = broker.log_mark();
        log_in(&broker, Protocol::V3_1_1, "eve").expect_refused();
        // What is remembered comes from that request still.
        broker.wait_for_log_after(mark, &denied);
        assert_eq!(api.requests().len(), 1);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert_eq!(ann.publish("a", "x"), NOT_AUTHORIZED);
        let access = trace(&api.requests_to("/acl")[0]);
        let about = "whether \"ann\" (client \"ann\") may publish to \"a\"";
        broker.wait_for_log(&format!("the API says about {about}: \"not yours\" trace={access}"));
        broker.wait_for_log(&format!("acc=2 topic=\"a\" reason=api trace={access}"));
        let traces: BTreeSet<_> = api.requests().iter().map(trace).collect();
        assert_eq!(traces.len(), api.requests().len(), "each question has an id of its own");
    }

    fn a_question_that_fails_or_takes_too_long_has_an_id_too(version) {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |request| match request.json()["topic"].as_str() {
            Some("slow") => Reply::status(200).after(&held),
            Some("sick") => Reply::status(500),
            _ => Reply::status(200),
        });
        let more = [("acl_unavailable", "deny"), ("max_block_ms", "200")];
        let options = api.options([&ROUTES, &TRACE[..], &more].concat());
        let broker = Broker::config(version).plugin(options).start();
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert_eq!(ann.publish("slow", "x"), NOT_AUTHORIZED);
        let of = |topic: &str| {
            let requests = api.requests_to("/acl");
            let request = requests.iter().find(|request| request.json()["topic"] == topic);
            request.map(trace)
        };
        let slow = of("slow").unwrap();
        broker.wait_for_log("the API took longer than the broker may be held up");
        broker.wait_for_log(&format!("; it is denied trace={slow}"));
        gate.open();
        ann.publish("sick", "x");
        let sick = of("sick").unwrap();
        broker.wait_for_log(&format!("may publish to \"sick\" trace={sick}"));
        eventually("the answer is there", || ann.publish("slow", "x") != NOT_AUTHORIZED);
    }

    fn all_hosts_that_are_asked_see_the_same_trace(version) {
        let first = AuthServer::answering(|_| Reply::status(503));
        let second = AuthServer::answering(|_| Reply::status(401));
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", first.port(), second.port());
        let place = [("http_host", hosts.as_str())];
        let options = [&place, &ROUTES[..], &EVERY_QUESTION, &TRACE].concat();
        let broker = Broker::config(version).plugin(options).start();
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        let (one, other) = (ids(&first.requests()[0]), ids(&second.requests()[0]));
        assert_eq!(one.0, other.0);
        assert_ne!(one.1, other.1, "each request has an id of its own within the trace");
        broker.wait_for_log(&format!("the login of \"ann\" (client \"ann\") trace={}", one.0));
        broker.wait_for_log(&format!("reason=api status=401 trace={}", one.0));
    }

    fn a_command_is_told_which_request_it_was(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            match body["topic"].as_str() {
                _ if body["username"] == "root" => Reply::status(200).json(json!({"is_superuser": true})),
                Some("sick") => Reply::status(500),
                Some("no") => Reply::status(403),
                _ => Reply::status(200),
            }
        });
        let broker = broker_with(version, &api, &TRACE);
        let operator = operator(&broker);
        for topic in ["yes", "no", "sick"] {
            let check = json!({"command": "checkAccess", "username": "ann", "clientid": "c",
                               "topic": topic, "acc": "write"});
            let response = command(&operator, json!([check])).remove(0);
            let requests = api.requests_to("/acl");
            let asked = requests.iter().find(|request| request.json()["topic"] == topic).unwrap();
            assert_eq!(response["data"]["trace"], trace(asked), "{response}");
        }
        let check = json!({"command": "checkAccess", "username": "a+", "clientid": "c",
                           "topic": "yes", "acc": "write"});
        let response = command(&operator, json!([check])).remove(0);
        assert_eq!(response["data"]["decidedBy"], "deny_special_chars");
        assert_eq!(response["data"].get("trace"), None, "nobody was asked: {response}");
    }

    fn keys_are_fetched_with_an_id_too(version) {
        let keys = [Issuer::es256().jwk("a")];
        let api = AuthServer::answering(move |_| Reply::status(200).json(json!({"keys": keys})));
        let broker = Broker::config(version)
            .plugin(api.options([("http_jwks_route", "/keys"), TRACE[0]]))
            .start();
        broker.wait_for_log("the API has 1 public keys that verify tokens");
        ids(&api.requests_to("/keys")[0]);
    }

    fn without_the_option_nothing_is_said_of_traces(version) {
        let api = AuthServer::answering(|_| Reply::status(401));
        let broker = broker_with(version, &api, &[("log_level", "debug")]);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        broker.wait_for_log("reason=api status=401");
        assert_eq!(api.requests()[0].header("traceparent"), None);
        assert!(!broker.log_contains("trace="));
    }
}

#[test]
fn a_batch_has_one_id() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |request| {
        let body = request.json();
        match body["checks"].as_array() {
            Some(checks) => {
                let results = vec!["deny"; checks.len()];
                Reply::status(200).json(json!({ "results": results }))
            }
            None if body["topic"] == "held" => Reply::status(200).after(&held),
            None => Reply::status(200),
        }
    });
    let more = [("http_acl_batch_route", "/batch"), ("http_connections", "1")];
    let broker = broker_with(Version::V2_1_2, &api, &[&TRACE[..], &more].concat());
    let readers: Vec<_> = (0..5)
        .map(|number| {
            let reader = logged_in(&broker, Protocol::V5, &format!("reader-{number}"));
            reader.subscribe("news").expect_granted();
            reader
        })
        .collect();
    logged_in(&broker, Protocol::V5, "ann").publish("news", "x");
    eventually("a batch was asked", || !api.requests_to("/batch").is_empty());
    let batches = api.requests_to("/batch");
    for check in batches[0].json()["checks"].as_array().unwrap() {
        let id = check["clientid"].as_str().unwrap();
        let denied = format!("clientid=\"{id}\" acc=1 topic=\"news\" reason=api");
        broker.wait_for_log(&format!("{denied} trace={}", trace(&batches[0])));
    }
    gate.open();
    drop(readers);
}
