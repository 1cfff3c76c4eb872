//! From start to end: nothing runs before it is needed, and nothing is left at the end.

use std::time::{Duration, Instant};

use mosquitto_test::prelude::*;

fn options(api: &AuthServer) -> Vec<(String, String)> {
    api.options([("http_user_route", "/login"), ("http_acl_route", "/acl")])
}

on_every_broker! {
    fn threads_start_with_the_first_question_and_stay_few(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(options(&api)).start();
        let before = broker.threads();
        assert_eq!(api.connections(), 0, "nothing is asked before there is a question");
        for number in 0..20 {
            let name = format!("user-{number}");
            broker.client(&name).credentials(&name, "x").connect().expect_accepted();
        }
        // One question at a time needs one worker and one connection, and a few more where a
        // question comes before the worker of the last one rests. On 2.1 one more thread repeats
        // the signal that wakes the broker for a login that has waited.
        let workers = broker.threads() - before - usize::from(version.is_2_1());
        assert!((1..=4).contains(&workers), "{workers} workers");
        assert!((1..=4).contains(&api.connections()), "{} connections", api.connections());
    }

    fn the_broker_starts_while_the_api_is_down(version) {
        let api = AuthServer::start();
        api.stop();
        let broker = Broker::config(version).plugin(options(&api)).start();
        broker.client("c").credentials("ann", "x").connect().expect_closed();
        api.restart();
        broker.client("c").credentials("ann", "x").connect().expect_accepted();
    }

    fn ending_does_not_wait_for_an_api_that_does_not_answer(version) {
        let api = AuthServer::answering(|_| Reply::never());
        let mut more = options(&api);
        more.push(("http_timeout_ms".into(), "3000".into()));
        let mut broker = Broker::config(version).plugin(more).start();
        let attempt = broker.client("c").credentials("ann", "x").start_connecting();
        api.wait_for_requests(1);
        let begun = Instant::now();
        assert!(broker.stop().success());
        attempt.outcome().expect_closed();
        // The callback holds the broker until the request's own time limit, and no longer.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    fn the_open_files_stay_few(version) {
        let api = AuthServer::start();
        let mut more = options(&api);
        more.push(("cache_ttl".into(), "0".into()));
        let broker = Broker::config(version).plugin(more).start();
        broker.client("c").credentials("ann", "x").connect().expect_accepted();
        broker.wait_until_idle();
        let before = broker.open_files();
        for _ in 0..50 {
            broker.client("c").credentials("ann", "x").connect().expect_accepted().disconnect();
        }
        broker.wait_until_idle();
        assert!(broker.open_files() <= before + 2, "{} after {before}", broker.open_files());
    }

    fn sighup_keeps_clients_whose_answer_is_known(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(options(&api)).start();
        let clients: Vec<_> = (0..10)
            .map(|number| {
                let name = format!("user-{number}");
                broker.client(&name).credentials(&name, "x").connect().expect_accepted()
            })
            .collect();
        broker.reload();
        for client in &clients {
            assert_eq!(client.publish("a/b", "still here"), 0);
        }
        assert_eq!(api.requests_to("/login").len(), clients.len(), "the reload asked nothing");
    }
}
