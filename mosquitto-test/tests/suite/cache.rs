//! The same question is asked once in its answer's lifetime, and never answered by another's answer.

use mosquitto_test::prelude::*;

use crate::support::{eventually, logged_in, may_publish};

fn broker(version: Version, api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let routes = [("http_user_route", "/login"), ("http_acl_route", "/acl")];
    let options = routes.into_iter().chain(more.iter().copied());
    Broker::config(version).plugin(api.options(options)).start()
}

/// Logs in with a username and password of its own for each of these, `times` times.
fn log_in(broker: &Broker, times: usize, credentials: &[(&str, &str)]) {
    for _ in 0..times {
        for (username, password) in credentials {
            let _ = broker.client("c").credentials(username, password).connect();
        }
    }
}

on_every_broker! {
    fn a_login_is_asked_once(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        log_in(&broker, 5, &[("ann", "x")]);
        assert_eq!(api.requests_to("/login").len(), 1);
    }

    fn a_denied_login_is_asked_once_too(version) {
        let api = AuthServer::answering(|_| Reply::status(403));
        let broker = broker(version, &api, &[]);
        log_in(&broker, 3, &[("ann", "x")]);
        assert_eq!(api.requests_to("/login").len(), 1);
    }

    fn credentials_are_never_confused(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        let alike = [("ab", "c"), ("a", "bc"), ("abc", ""), ("A", "bc"), ("a", "bc "), ("a", "b")];
        log_in(&broker, 2, &alike);
        assert_eq!(api.requests_to("/login").len(), alike.len());
    }

    fn a_right_password_is_not_answered_by_a_wrong_ones_denial(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.json()["password"] == "right" { 200 } else { 403 })
        });
        let broker = broker(version, &api, &[]);
        for _ in 0..2 {
            broker.client("c").credentials("ann", "wrong").connect().expect_refused();
            broker.client("c").credentials("ann", "right").connect().expect_accepted();
        }
        assert_eq!(api.requests_to("/login").len(), 2);
    }

    fn a_check_is_asked_once_for_each_client_topic_and_access(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[]);
        for id in ["one", "two"] {
            let client = broker.client(id).credentials("ann", "x").connect().expect_accepted();
            for _ in 0..3 {
                client.publish("a", "hello");
                client.publish("a/b", "hello");
            }
            client.subscribe("a").expect_granted();
            client.subscribe("a").expect_granted();
        }
        assert_eq!(api.requests_to("/acl").len(), 2 * 3);
    }

    fn the_first_denials_of_a_stranger_cost_nobody_else_a_question(version) {
        const OTHERS: usize = 60;
        let api = AuthServer::answering(|request| {
            let is_strange = request.json()["username"] == "stranger";
            Reply::status(if is_strange && request.path == "/acl" { 403 } else { 200 })
        });
        let broker = broker(version, &api, &[("cache_ttl", "600")]);
        let others: Vec<_> = (0..OTHERS)
            .map(|nth| {
                let client = logged_in(&broker, Protocol::V5, &format!("other-{nth}"));
                assert!(may_publish(&client, "state") && may_publish(&client, "alarm"));
                client
            })
            .collect();
        let reader = logged_in(&broker, Protocol::V5, "reader");
        reader.subscribe("state").expect_granted();
        assert!(may_publish(&others[0], "state"));
        assert_eq!(reader.expect_message().0, "state");
        let stranger = logged_in(&broker, Protocol::V5, "stranger");
        api.forget_requests();
        // Some hundreds in a second; each is about a topic that nobody asked about before.
        for nth in 0..OTHERS * 5 {
            assert!(!may_publish(&stranger, &format!("secret/{nth}")));
            let other = &others[nth % OTHERS];
            assert!(may_publish(other, if nth % 2 == 0 { "state" } else { "alarm" }));
        }
        (0..OTHERS * 5 / 2).for_each(|_| assert_eq!(reader.expect_message().0, "state"));
        let asked = api.requests_to("/acl");
        let of_others = asked.iter().filter(|request| request.json()["username"] != "stranger");
        assert_eq!((asked.len(), of_others.count()), (OTHERS * 5, 0));
    }

    fn what_is_asked_for_again_and_again_finds_room_in_a_full_cache(version) {
        let api = AuthServer::start();
        let small = [("cache_ttl", "600"), ("cache_refresh_ahead", "false"), ("cache_max_bytes", "65536")];
        let broker = broker(version, &api, &small);
        let once = logged_in(&broker, Protocol::V5, "once");
        assert!((0..400).all(|nth| may_publish(&once, &format!("once/{nth}"))));
        let readers: Vec<_> = (0..30)
            .map(|nth| {
                let reader = logged_in(&broker, Protocol::V5, &format!("reader-{nth}"));
                reader.subscribe("news").expect_granted();
                reader
            })
            .collect();
        let publisher = logged_in(&broker, Protocol::V5, "publisher");
        eventually("nobody is asked about a message to all", || {
            api.forget_requests();
            assert!(may_publish(&publisher, "news"));
            readers.iter().for_each(|reader| assert_eq!(reader.expect_message().0, "news"));
            api.requests_to("/acl").is_empty()
        });
    }

    fn a_lifetime_of_zero_asks_every_time(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[("cache_ttl", "0")]);
        log_in(&broker, 3, &[("ann", "x")]);
        assert_eq!(api.requests_to("/login").len(), 3);
        let client = broker.client("c").credentials("ann", "x").connect().expect_accepted();
        for _ in 0..3 {
            client.publish("a", "hello");
        }
        assert_eq!(api.requests_to("/acl").len(), 3);
    }

    fn only_denials_are_asked_again_where_their_lifetime_is_zero(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.json()["password"] == "right" { 200 } else { 403 })
        });
        let broker = broker(version, &api, &[("cache_deny_ttl", "0")]);
        log_in(&broker, 3, &[("ann", "right"), ("ann", "wrong")]);
        assert_eq!(api.requests_to("/login").len(), 1 + 3);
    }

    fn an_answer_ends_with_its_lifetime(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, &[("cache_auth_ttl", "1"), ("cache_acl_ttl", "600"), ("cache_refresh_ahead", "false")]);
        let client = broker.client("c").credentials("ann", "x").connect().expect_accepted();
        client.publish("a", "hello");
        // The event is the second request; without an expiry this ends at the test's patience.
        let begun = std::time::Instant::now();
        while api.requests_to("/login").len() < 2 {
            assert!(begun.elapsed() < mosquitto_test::watch::PATIENCE, "the answer never expired");
            broker.client("d").credentials("ann", "x").connect().expect_accepted();
        }
        // Jitter takes a tenth of the lifetime at most.
        assert!(begun.elapsed().as_millis() >= 850, "{:?}", begun.elapsed());
        client.publish("a", "hello");
        assert_eq!(api.requests_to("/acl").len(), 1, "the other kind has a lifetime of its own");
    }
}
