//! Where the broker cannot answer later, one question holds it up for a bounded time, and all of
//! them together for a bounded share of the time.

use std::time::{Duration, Instant};

use mosquitto_test::prelude::*;

/// An API whose answers of one path are held back.
fn api(path: &'static str, gate: &Gate) -> AuthServer {
    let gate = gate.clone();
    AuthServer::answering(move |request| {
        let reply = Reply::status(200);
        if request.path == path { reply.after(&gate) } else { reply }
    })
}

fn broker(version: Version, api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options =
        [("http_user_route", "/login"), ("http_acl_route", "/acl"), ("delayed_login", "false")];
    Broker::config(version)
        .plugin(api.options(options.into_iter().chain(more.iter().copied())))
        .start()
}

on_every_broker! {
    fn a_login_that_takes_too_long_is_closed_and_its_answer_kept_for_the_retry(version) {
        for max_block_ms in ["0", "150"] {
            let gate = Gate::new();
            let api = api("/login", &gate);
            let broker = broker(version, &api, &[("max_block_ms", max_block_ms)]);
            for protocol in Protocol::BOTH {
                let login = broker.client("c").protocol(protocol).credentials("ann", "x").connect();
                login.expect_closed();
            }
            broker.wait_for_log("the API took longer than the broker may be held up");
            gate.open();
            while !broker.client("c").credentials("ann", "x").connect().is_accepted() {}
            assert_eq!(api.requests_to("/login").len(), 1, "the request went on in the background");
        }
    }

    fn a_check_that_takes_too_long_gets_on_error(version) {
        for (on_error, code) in [("deny", 0x87), ("defer", 0x87), ("allow", 0x10)] {
            let gate = Gate::new();
            let api = api("/acl", &gate);
            let more =
                [("max_block_ms", "100"), ("on_error", on_error), ("acl_unavailable", "deny")];
            let broker = broker(version, &api, &more);
            let builder = broker.client("c").protocol(Protocol::V5).credentials("ann", "x");
            let client = builder.connect().expect_accepted();
            assert_eq!(client.publish("a/b", "hello"), code, "{on_error}");
            gate.open();
            // Nobody was disconnected, and the answer is there once it has come.
            while client.publish("a/b", "hello") != 0x10 {}
            assert_eq!(api.requests_to("/acl").len(), 1);
        }
    }

    fn a_delivery_that_takes_too_long_leaves_the_publisher_alone(version) {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |request| {
            let read = request.json()["acc"] == 1;
            if read { Reply::status(200).after(&held) } else { Reply::status(200) }
        });
        let broker = broker(version, &api, &[("max_block_ms", "100")]);
        for protocol in Protocol::BOTH {
            let builder = broker.client("s").protocol(protocol).credentials("ann", "x");
            let subscriber = builder.connect().expect_accepted();
            subscriber.subscribe("a/#").expect_granted();
            let builder = broker.client("p").protocol(protocol).credentials("ann", "x");
            let publisher = builder.connect().expect_accepted();
            for _ in 0..3 {
                assert_eq!(publisher.publish("a/b", "hello"), 0);
            }
        }
        gate.open();
    }

    fn many_questions_together_take_a_share_of_the_time(version) {
        let gate = Gate::new();
        let api = api("/login", &gate);
        let more = [("max_block_ms", "1000"), ("max_block_percent", "5")];
        let broker = broker(version, &api, &more);
        let begun = Instant::now();
        for number in 0..30 {
            let name = format!("user-{number}");
            broker.client(&name).credentials(&name, "x").connect().expect_closed();
        }
        // Unbounded they would take 30 s. The first waits for a second, and pays for it for the
        // next twenty.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert_eq!(api.wait_for_requests(30).len(), 30, "every one of them was asked all the same");
        gate.open();
    }
}
