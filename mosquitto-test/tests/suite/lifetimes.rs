//! An answer may say for how long it holds, denials too: the `ttl` in its body goes before its
//! `Cache-Control`, and that before the options.

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{broker_with, eventually, log_in, logged_in, may_publish, saying};

/// What a request is about: the topic, or where it has none the user.
fn about(request: &Request) -> String {
    let body = request.json();
    body["topic"].as_str().or(body["username"].as_str()).unwrap().to_owned()
}

/// An API that gives each user and topic the answer listed under its name, and else an empty 200.
fn api(answers: Vec<(&'static str, Reply)>) -> AuthServer {
    AuthServer::answering(move |request| {
        let name = about(request);
        let listed = answers.iter().find(|(known, _)| *known == name);
        listed.map_or(Reply::status(200), |(_, reply)| reply.clone())
    })
}

fn asked_about(api: &AuthServer, name: &str) -> usize {
    api.requests().iter().filter(|request| about(request) == name).count()
}

/// Answers, and how often three equal questions reach the API where nothing else is kept, and where
/// everything is.
fn kept_or_not() -> Vec<(&'static str, Reply, usize, usize)> {
    let ok = || Reply::status(200);
    let no = || Reply::status(403);
    let cache = |reply: Reply, value| reply.header("Cache-Control", value);
    let denied = |ttl: u64| saying(json!({"result": "deny", "ttl": ttl}));
    let ttl = |ttl: u64| saying(json!({"ttl": ttl}));
    vec![
        ("nothing-said", ok(), 3, 1),
        ("private", cache(ok(), "private"), 3, 1),
        ("max-age", cache(ok(), "max-age=600"), 1, 1),
        ("max-age-of-two", cache(ok(), "private, Max-Age=600"), 1, 1),
        ("max-age-0", cache(ok(), "max-age=0"), 3, 3),
        ("no-store", cache(ok(), "no-store"), 3, 3),
        ("no-cache", cache(ok(), "no-cache"), 3, 3),
        ("no-store-goes-first", cache(ok(), "max-age=600, no-store"), 3, 3),
        ("two-lines", cache(cache(ok(), "max-age=600"), "no-store"), 3, 3),
        ("old-already", cache(ok(), "max-age=600").header("Age", "600"), 3, 3),
        ("ttl", ttl(600), 1, 1),
        ("ttl-0", ttl(0), 3, 3),
        ("ttl-before-no-store", cache(ttl(600), "no-store"), 1, 1),
        ("ttl-0-before-max-age", cache(ttl(0), "max-age=600"), 3, 3),
        ("denied", no(), 3, 1),
        ("denied-max-age", cache(no(), "max-age=600"), 1, 1),
        ("denied-no-store", cache(no(), "no-store"), 3, 3),
        ("denied-by-result-ttl", denied(600), 1, 1),
        ("denied-by-result-ttl-0", denied(0), 3, 3),
        ("denied-by-result-ttl-first", cache(denied(600), "no-store"), 1, 1),
    ]
}

fn kept_or_not_api() -> AuthServer {
    api(kept_or_not().into_iter().map(|(name, reply, ..)| (name, reply)).collect())
}

/// One lifetime for answers of every kind.
fn lifetimes(ttl: &str) -> [(&'static str, &str); 3] {
    [("cache_ttl", ttl), ("cache_deny_ttl", ttl), ("cache_refresh_ahead", "false")]
}

on_every_broker! {
    fn an_answer_to_a_login_says_how_long_it_is_kept(version) {
        for (ttl, position) in [("0", 0), ("600", 1)] {
            let api = kept_or_not_api();
            let broker = broker_with(version, &api, &lifetimes(ttl));
            for (user, _, without, with) in kept_or_not() {
                for _ in 0..3 {
                    let accepted = log_in(&broker, Protocol::V3_1_1, user).is_accepted();
                    assert_eq!(accepted, !user.starts_with("denied"), "{user}");
                }
                let expected = [without, with][position];
                assert_eq!(asked_about(&api, user), expected, "{user}, cache_ttl {ttl}");
            }
        }
    }

    fn an_answer_to_a_check_says_how_long_it_is_kept(version) {
        for (ttl, position) in [("0", 0), ("600", 1)] {
            let api = kept_or_not_api();
            let broker = broker_with(version, &api, &lifetimes(ttl));
            let client = logged_in(&broker, Protocol::V5, "ann");
            for (topic, _, without, with) in kept_or_not() {
                for _ in 0..3 {
                    let may = may_publish(&client, topic);
                    assert_eq!(may, !topic.starts_with("denied"), "{topic}");
                }
                let expected = [without, with][position];
                assert_eq!(asked_about(&api, topic), expected, "{topic}, cache_ttl {ttl}");
            }
        }
    }

    fn an_answer_about_a_superuser_says_how_long_it_is_kept(version) {
        for (said, expected) in [(json!({"ttl": 600}), 1), (json!({"ttl": 0}), 3)] {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/superuser" => saying(said.clone()),
                _ => Reply::status(200),
            });
            let more = [("http_superuser_route", "/superuser"), ("cache_acl_ttl", "60")];
            let broker = broker_with(version, &api, &more);
            for session in ["one", "two", "three"] {
                let client = broker.client(session).credentials("ann", "x").connect();
                client.expect_accepted().publish("t", "x");
            }
            assert_eq!(api.requests_to("/superuser").len(), expected);
        }
    }

    fn a_ttl_that_is_longer_holds_when_others_have_expired(version) {
        let api = api(vec![("long", saying(json!({"ttl": 600})))]);
        let more = [("cache_ttl", "1"), ("cache_refresh_ahead", "false")];
        let broker = broker_with(version, &api, &more);
        let client = logged_in(&broker, Protocol::V5, "long");
        client.subscribe("long").expect_granted();
        eventually("others expire", || {
            client.publish("other", "x");
            log_in(&broker, Protocol::V5, "ann").expect_accepted();
            asked_about(&api, "other") >= 2 && asked_about(&api, "ann") >= 2
        });
        api.forget_requests();
        logged_in(&broker, Protocol::V5, "long").subscribe("long").expect_granted();
        assert_eq!(asked_about(&api, "long"), 0);
    }

    fn a_ttl_that_is_shorter_ends_before_the_configured_one(version) {
        let api = api(vec![("short", saying(json!({"ttl": 1})))]);
        let more = [("cache_ttl", "600"), ("cache_refresh_ahead", "false")];
        let broker = broker_with(version, &api, &more);
        let client = logged_in(&broker, Protocol::V5, "ann");
        eventually("the short ones expire", || {
            client.publish("short", "x");
            client.publish("other", "x");
            log_in(&broker, Protocol::V5, "short").expect_accepted();
            let asked = |path: &str| {
                let asked = api.requests_to(path);
                asked.iter().filter(|request| about(request) == "short").count()
            };
            asked("/acl") >= 2 && asked("/user") >= 2
        });
        assert_eq!(asked_about(&api, "other"), 1);
    }
}
