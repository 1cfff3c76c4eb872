//! An API that is down hurts nobody for longer than it must.

use std::time::Duration;

use mosquitto_test::prelude::*;

use crate::support::eventually;

fn broker(version: Version, api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let routes = [("http_user_route", "/login"), ("http_acl_route", "/acl")];
    Broker::config(version)
        .plugin(api.options(routes.into_iter().chain(more.iter().copied())))
        .start()
}

/// Logs in as a new user, whom nothing is known about.
fn log_in(broker: &Broker, number: usize) -> Login {
    let name = format!("user-{number}");
    broker.client(&name).credentials(&name, "x").connect()
}

on_every_broker! {
    fn an_api_that_keeps_failing_is_not_asked_until_it_answers_a_probe(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let more = [("breaker_failures", "3"), ("breaker_open_ms", "60000")];
        let broker = broker(version, &api, &more);
        for number in 0..10 {
            log_in(&broker, number).expect_closed();
        }
        assert_eq!(api.requests().len(), 3);
        broker.wait_for_log("keeps failing and is out of service");
    }

    fn it_is_asked_again_after_a_while_and_serves_once_it_is_back(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let more = [("breaker_failures", "2"), ("breaker_open_ms", "100")];
        let broker = broker(version, &api, &more);
        for number in 0..3 {
            log_in(&broker, number).expect_closed();
        }
        broker.wait_for_log("is out of service");
        // A probe that fails changes nothing.
        let asked = api.requests().len();
        while api.requests().len() == asked {
            log_in(&broker, 100).expect_closed();
        }
        api.set_handler(|_| Reply::status(200));
        while !log_in(&broker, 101).is_accepted() {}
        broker.wait_for_log("is back");
        log_in(&broker, 102).expect_accepted();
    }

    fn the_first_login_after_an_outage_is_answered(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let rest = Duration::from_millis(200);
        let more = [("breaker_failures", "3"), ("breaker_open_ms", "200"), ("max_block_ms", "60000")];
        let broker = broker(version, &api, &more);
        for number in 0..3 {
            log_in(&broker, number).expect_closed();
        }
        broker.wait_for_log("is out of service");
        api.set_handler(|_| Reply::status(200));
        std::thread::sleep(rest);
        log_in(&broker, 3).expect_accepted();
        broker.wait_for_log("is back");
    }

    fn known_answers_serve_through_an_outage(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[("breaker_failures", "1"), ("acl_unavailable", "deny")]);
        let client = log_in(&broker, 1).expect_accepted();
        assert_eq!(client.publish("a/b", "hello"), 0);
        api.stop();
        log_in(&broker, 2).expect_closed();
        log_in(&broker, 1).expect_accepted();
        let again = log_in(&broker, 1).expect_accepted();
        again.subscribe("marker").expect_refused();
        assert!(again.is_connected());
    }

    fn a_permission_serves_past_its_life_only_while_the_api_fails_and_a_denial_never(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("user-1") => Reply::status(200),
            Some("user-2") => Reply::status(403),
            _ => Reply::status(200).header("Cache-Control", "must-revalidate"),
        });
        let more = [
            ("cache_ttl", "1"),
            ("cache_stale_if_error", "600"),
            ("cache_refresh_ahead", "false"),
            ("breaker_failures", "1"),
        ];
        let broker = broker(version, &api, &more);
        log_in(&broker, 1).expect_accepted();
        log_in(&broker, 3).expect_accepted();
        log_in(&broker, 2).expect_refused();
        api.set_handler(|_| Reply::status(503));
        // The denial's end is the event: from then on nobody can tell, and it is closed.
        while !matches!(log_in(&broker, 2), Login::Closed) {}
        eventually("what must be asked again has ended", || {
            matches!(log_in(&broker, 3), Login::Closed)
        });
        log_in(&broker, 1).expect_accepted();
    }

    fn a_permission_in_use_is_asked_for_again_before_it_ends(version) {
        let api = AuthServer::start();
        let more = [("cache_ttl", "2"), ("max_block_ms", "0"), ("acl_unavailable", "deny")];
        let broker = broker(version, &api, &more);
        // With `max_block_ms 0` an answer that is not cached is never waited for.
        let client = loop {
            if let Login::Accepted(client) = log_in(&broker, 1) {
                break client;
            }
        };
        while api.requests_to("/acl").is_empty() || client.publish("a/b", "x") != 0 {
            let _ = client.publish("a/b", "x");
        }
        let asked = |path: &str| api.requests_to(path).len();
        while asked("/login") < 4 {
            log_in(&broker, 1).expect_accepted();
        }
    }

    fn more_questions_than_the_queue_holds_fail_at_once_and_the_rest_are_asked(version) {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |_| Reply::status(200).after(&held));
        // One worker that is held, and callbacks that never wait: every login stays in the queue.
        let more = [("http_connections", "1"), ("max_block_ms", "0"), ("delayed_login", "false")];
        let broker = broker(version, &api, &more);
        let log_in = |number: usize| {
            let name = format!("user-{number}");
            let mut raw = broker.raw();
            raw.send(raw::connect_packet(Protocol::V3_1_1, &name, Some(name.as_bytes()), None, true));
            raw.read_connack()
        };
        let mut asked = 0;
        while !broker.log_contains("more questions wait for the API than the queue holds") {
            assert!(asked < 10_000, "the queue has no bound");
            assert_eq!(log_in(asked), None, "nobody can tell, so it is closed");
            asked += 1;
        }
        gate.open();
        // Those that found room were asked after all: the first of them is known by now.
        while log_in(0) != Some(0) {}
        assert_eq!(api.requests()[0].json()["username"], "user-0");
    }
}
