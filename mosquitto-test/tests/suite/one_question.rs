//! One question's error_map is not the host's: a user whose question always fails, an answer for one
//! alone, a batch that is too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{EVERY_QUESTION, ROUTES, log_in, logged_in, may_publish};

/// Tries to log in as `ghost`, and each time as another user, who publishes as well.
fn expect_others_served(version: Version, status: u16, more: &[(&str, &str)]) {
    let api = AuthServer::answering(move |request| {
        let is_ghost = request.text().contains("ghost");
        Reply::status(if is_ghost { status } else { 200 })
    });
    let broker = Broker::config(version).plugin(api.options(more.iter().copied())).start();
    for number in 0..12 {
        log_in(&broker, Protocol::V3_1_1, "ghost").expect_closed();
        let client = logged_in(&broker, Protocol::V5, &format!("user-{number}"));
        assert!(may_publish(&client, &format!("topic/{number}")), "{status}");
    }
    assert!(!broker.log_contains("out of service"), "{status}");
    // One that failed is left alone for a second.
    let asked = api.requests().iter().filter(|request| request.text().contains("ghost")).count();
    assert!(asked < 12, "{asked} requests for 12 attempts");
}

on_every_broker! {
    fn a_user_whose_question_always_fails_costs_nobody_anything(version) {
        for status in [500, 429, 503] {
            expect_others_served(version, status, &[&ROUTES[..], &EVERY_QUESTION[..2]].concat());
        }
        let uris = [("http_getuser_uri", "/user"), ("http_aclcheck_uri", "/acl")];
        for status in [500, 503] {
            expect_others_served(version, status, &uris);
        }
    }

    fn an_answer_that_nobody_may_keep_is_for_one_login(version) {
        // A one-time password: good once.
        let uses = Arc::new(AtomicUsize::new(0));
        let gate = Gate::new();
        let (counted, held) = (Arc::clone(&uses), gate.clone());
        let api = AuthServer::answering(move |_| {
            let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let reply = Reply::status(if is_first { 200 } else { 401 });
            reply.header("Cache-Control", "no-store").after(&held)
        });
        let options = [&ROUTES[..1], &EVERY_QUESTION[..2]].concat();
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let mut clients: Vec<_> = (0..4)
            .map(|number| {
                let mut raw = broker.raw();
                let (id, name, password) = (format!("client-{number}"), b"ann", b"123456");
                raw.send(raw::connect_packet(Protocol::V3_1_1, &id, Some(name), Some(password), true));
                raw
            })
            .collect();
        gate.wait_until_waiting(1);
        if version.is_2_1() {
            // All four wait for it.
            broker.wait_until_idle();
        }
        gate.open();
        let codes: Vec<_> = clients.iter_mut().map(RawClient::read_connack).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| **code == Some(5)).count(), 3, "{codes:?}");
        assert_eq!(uses.load(Ordering::SeqCst), 4);
    }

    fn a_batch_is_never_larger_than_most_apis_read(version) {
        const LIMIT: usize = 100_000;
        let api = AuthServer::answering(|request| match request.path.as_str() {
            _ if request.body.len() > LIMIT => Reply::status(413),
            "/batch" => {
                let count = request.json()["checks"].as_array().unwrap().len();
                Reply::status(200).json(json!({ "results": vec!["allow"; count] }))
            }
            _ => Reply::status(200),
        });
        let batches = [("http_acl_batch_route", "/batch"), ("http_connections", "1")];
        let options = [&ROUTES[..], &EVERY_QUESTION[..2], &batches].concat();
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let long = |end: &str| "x".repeat(60_000) + end;
        let names = (0..40).map(|number| format!("reader-{number}"));
        let readers: Vec<_> = [long("a"), long("b")]
            .into_iter()
            .chain(names)
            .map(|id| {
                let client = broker.client(&id).protocol(Protocol::V5).credentials("reader", "x");
                let client = client.connect().expect_accepted();
                client.subscribe("news").expect_granted();
                client
            })
            .collect();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        assert!(may_publish(&publisher, "news"));
        for reader in &readers {
            assert_eq!(reader.expect_message().0, "news");
        }
        assert!(api.requests().iter().all(|request| request.body.len() <= LIMIT));
    }
}

/// More logins wait than there are connections, and what the broker stands still for is asked all the
/// same. (Before 2.1 no login waits by itself.)
#[test]
fn logins_that_wait_leave_connections_to_what_the_broker_waits_for() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |request| {
        let reply = Reply::status(200);
        if request.text().contains("slow") { reply.after(&held) } else { reply }
    });
    let options = [&ROUTES[..], &EVERY_QUESTION[..2], &[("http_connections", "4")]].concat();
    let broker = Broker::config(Version::V2_1_2).plugin(api.options(options)).start();
    let publisher = logged_in(&broker, Protocol::V5, "publisher");
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let (mut raw, id) = (broker.raw(), format!("slow-{number}"));
            let (name, password) = (Some(id.as_bytes()), Some(&b"x"[..]));
            raw.send(raw::connect_packet(Protocol::V3_1_1, &id, name, password, true));
            raw
        })
        .collect();
    gate.wait_until_waiting(3);
    for number in 0..10 {
        assert!(may_publish(&publisher, &format!("topic/{number}")));
    }
    assert_eq!(gate.waiting(), 3, "a quarter of the connections is kept free");
    gate.open();
    for mut raw in waiting {
        assert_eq!(raw.read_connack(), Some(0));
    }
}
