//! A message to many subscribers whose deliveries the API decides: they are asked about together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::support::{EVERY_QUESTION, ROUTES, logged_in, may_publish};

const SUBSCRIBERS: usize = 40;

/// An API that allows everything but deliveries to clients whose name ends in 3, and holds
/// deliveries back behind the gate. Also knows the batch route.
fn api(gate: &Gate) -> AuthServer {
    let gate = gate.clone();
    AuthServer::answering(move |request| {
        let body = request.json();
        match request.path.as_str() {
            "/acl" if body["acc"] == 1 => {
                Reply::status(if is_allowed(&body) { 200 } else { 403 }).after(&gate)
            }
            "/batch" => {
                let checks = body["checks"].as_array().unwrap();
                let word = |check| if is_allowed(check) { "allow" } else { "deny" };
                let results: Vec<_> = checks.iter().map(word).collect();
                Reply::status(200).json(json!({ "results": results })).after(&gate)
            }
            _ => Reply::status(200),
        }
    })
}

fn is_allowed(check: &Value) -> bool {
    check["acc"] != 1 || !check["clientid"].as_str().unwrap().ends_with('3')
}

fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    let options = api.options([&ROUTES, &EVERY_QUESTION[..], more].concat());
    Broker::config(version).plugin(options).start()
}

/// Clients that have subscribed to `news` in different ways.
fn subscribers(broker: &Broker) -> Vec<Client> {
    let filters = ["news", "+", "news/#", "#"];
    let subscriber = |number: usize| {
        let protocol = Protocol::BOTH[number % 2];
        let client = logged_in(broker, protocol, &format!("reader-{number}"));
        client.subscribe(filters[number % filters.len()]).expect_granted();
        client
    };
    (0..SUBSCRIBERS).map(subscriber).collect()
}

/// Everyone who may have it gets the message, and a later one to make sure that nobody else does.
fn expect_news(broker: &Broker, subscribers: &[Client]) {
    let publisher = logged_in(broker, Protocol::V5, "last");
    publisher.publish("news", "end");
    for (number, subscriber) in subscribers.iter().enumerate() {
        if !number.to_string().ends_with('3') {
            assert_eq!(subscriber.expect_message().1, "hello", "{number}");
            assert_eq!(subscriber.expect_message().1, "end", "{number}");
        }
        assert!(subscriber.try_message(std::time::Duration::ZERO).is_none(), "{number}");
    }
}

on_every_broker! {
    fn all_subscribers_are_asked_about_at_once(version) {
        let gate = Gate::new();
        let api = api(&gate);
        let broker = broker(version, &api, &[("http_connections", "64")]);
        let subscribers = subscribers(&broker);
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        publisher.publish_qos0("news", "hello");
        // The broker waits for one answer; all the others are on their way.
        gate.wait_until_waiting(SUBSCRIBERS);
        gate.open();
        expect_news(&broker, &subscribers);
        let deliveries = api.requests_to("/acl").into_iter().filter(|r| r.json()["acc"] == 1);
        assert_eq!(deliveries.count(), SUBSCRIBERS, "nobody is asked about twice");
    }

    fn many_questions_go_in_one_request_where_the_api_can_take_them(version) {
        let gate = Gate::new();
        gate.open();
        let api = api(&gate);
        let more = [("http_acl_batch_route", "/batch"), ("http_connections", "1")];
        let broker = broker(version, &api, &more);
        let subscribers = subscribers(&broker);
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        api.forget_requests();
        assert!(may_publish(&publisher, "news"));
        for (number, subscriber) in subscribers.iter().enumerate() {
            if !number.to_string().ends_with('3') {
                assert_eq!(subscriber.expect_message().1, "x", "{number}");
            }
        }
        assert_eq!(api.requests_to("/batch").len(), 1);
        let checks = api.requests_to("/batch")[0].json()["checks"].as_array().unwrap().clone();
        let clients: BTreeSet<_> = checks.iter().map(|check| check["clientid"].to_string()).collect();
        assert_eq!((checks.len(), clients.len()), (SUBSCRIBERS, SUBSCRIBERS));
        let one = checks.iter().find(|check| check["clientid"] == "reader-7").unwrap();
        let expected =
            json!({"username": "reader-7", "clientid": "reader-7", "topic": "news", "acc": 1});
        assert_eq!(*one, expected);
    }

    fn a_batch_that_is_not_answered_as_asked_is_asked_in_halves(version) {
        let answers: [fn() -> Reply; 4] = [
            || Reply::status(200).json(json!({ "results": ["allow"] })),
            || Reply::status(200),
            || Reply::status(404),
            || Reply::status(500),
        ];
        for answer in answers {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/batch" => answer(),
                _ if request.json()["clientid"] == "denied"
                    && request.json()["topic"] == "news"
                    && request.json()["acc"] == 1 =>
                {
                    Reply::status(403)
                }
                _ => Reply::status(200),
            });
            let more = [("http_acl_batch_route", "/batch"), ("http_connections", "1")];
            let broker = broker(version, &api, &more);
            let [one, denied, two] = ["one", "denied", "two"].map(|name| {
                let client = logged_in(&broker, Protocol::V5, name);
                client.subscribe("news").expect_granted();
                client
            });
            denied.subscribe("end").expect_granted();
            let publisher = logged_in(&broker, Protocol::V5, "publisher");
            assert!(may_publish(&publisher, "news"), "the publisher is not to blame");
            broker.wait_for_log("the API at ");
            broker.wait_for_log(" failed: ");
            for client in [&one, &two] {
                assert_eq!(client.expect_message().0, "news");
            }
            assert!(may_publish(&publisher, "end"));
            assert_eq!(denied.expect_message().0, "end");
        }
    }

    fn a_batch_that_is_refused_puts_no_host_out_of_service(version) {
        let api = AuthServer::answering(|request| {
            // One check that it does not like, and it likes none.
            Reply::status(if request.path == "/batch" { 400 } else { 200 })
        });
        let batches = [("http_acl_batch_route", "/batch"), ("http_connections", "1")];
        let options = [&ROUTES[..], &EVERY_QUESTION[..2], &batches, &[("breaker_failures", "1")]];
        let broker = Broker::config(version).plugin(api.options(options.concat())).start();
        let clients = ["one", "two", "three"].map(|name| {
            let client = logged_in(&broker, Protocol::V5, name);
            client.subscribe("news").expect_granted();
            client
        });
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        assert!(may_publish(&publisher, "news"));
        broker.wait_for_log(" failed: status 400; it was asked about ");
        assert!(clients.iter().all(Client::is_connected));
        logged_in(&broker, Protocol::V5, "later");
        assert!(!broker.log_contains("out of service"));
    }

    fn whoever_unsubscribed_or_left_is_not_asked_about(version) {
        let gate = Gate::new();
        gate.open();
        let api = api(&gate);
        let broker = broker(version, &api, &[]);
        let [stays, unsubscribes, leaves] = ["stays", "unsubscribes", "leaves"].map(|name| {
            let client = logged_in(&broker, Protocol::V5, name);
            client.subscribe("news").expect_granted();
            client
        });
        unsubscribes.unsubscribe("news");
        leaves.disconnect();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        assert!(may_publish(&publisher, "news"));
        assert_eq!(stays.expect_message().0, "news");
        let asked = api.requests_to("/acl").into_iter().filter(|r| r.json()["acc"] == 1);
        let asked: Vec<_> = asked.map(|request| request.json()["clientid"].clone()).collect();
        assert_eq!(asked, [json!("stays")]);
    }

    fn what_rules_decide_is_not_asked_about(version) {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let api = AuthServer::answering(move |request| {
            let body = request.json();
            let rule = json!({"permission": "allow", "action": "subscribe", "topic": "news"});
            match request.path.as_str() {
                "/user" if body["username"] == "ruled" => {
                    Reply::status(200).json(json!({ "acl": [rule] }))
                }
                "/acl" => {
                    counted.fetch_add(usize::from(body["acc"] == 1), Ordering::SeqCst);
                    Reply::status(200)
                }
                _ => Reply::status(200),
            }
        });
        let broker = broker(version, &api, &[]);
        let clients = ["ruled", "asked"].map(|name| {
            let client = logged_in(&broker, Protocol::V5, name);
            client.subscribe("news").expect_granted();
            client
        });
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        assert!(may_publish(&publisher, "news"));
        for client in &clients {
            assert_eq!(client.expect_message().0, "news");
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    fn without_a_cache_nothing_is_asked_for_ahead(version) {
        let gate = Gate::new();
        gate.open();
        let api = api(&gate);
        let broker = broker(version, &api, &[("cache_ttl", "0")]);
        let clients = ["one", "two", "four"].map(|name| {
            let client = logged_in(&broker, Protocol::V5, name);
            client.subscribe("news").expect_granted();
            client
        });
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        api.forget_requests();
        assert!(may_publish(&publisher, "news"));
        for client in &clients {
            assert_eq!(client.expect_message().0, "news");
        }
        assert_eq!(api.requests_to("/acl").len(), 4, "one write and three deliveries");
    }
}
