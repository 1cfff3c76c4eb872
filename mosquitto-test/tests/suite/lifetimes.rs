//! An answer may say for how long it holds, denials too: the `ttl` in its body goes before its
//! `Cache-Control`, and that before the options.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mosquitto_test::mqtt::Attempt;
use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{
    PASSWORD, broker_with, eventually, log_in, logged_in, may_publish, saying, unix_time,
    with_clock,
};

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

    fn a_login_expires_by_the_time_of_day_whatever_that_was_when_it_was_let_in(version) {
        // The broker's clock is an hour slow, and set right; and it is right, and set back.
        for (before, after) in [("-1h", "+0"), ("+0", "-1h")] {
            let api = api(vec![]);
            let expire_at = unix_time() + 3;
            let was_asked = AtomicBool::new(false);
            api.set_handler(move |request| {
                let is_ann = request.json()["username"] == "ann";
                match is_ann && was_asked.swap(true, Ordering::Relaxed) {
                    true => Reply::status(403),
                    false => saying(json!({"expire_at": expire_at})),
                }
            });
            let config = Broker::config(version);
            let clock = config.file("clock", before);
            let options = api.options([("http_user_route", "/user"), ("cache_ttl", "600")]);
            let broker = with_clock(config.plugin(options), &clock).start();
            // Mosquitto 2.0.21 takes the step for a time in which it heard nothing of the client.
            let patient = broker.client("ann").keep_alive(Duration::from_secs(65_000));
            let client = patient.credentials("ann", PASSWORD).connect().expect_accepted();
            // The broker answers a login before it tells that the client is connected.
            client.publish("t", "x");
            std::fs::write(&clock, after).unwrap();
            // Others come and go, since Mosquitto 2.1 does not tick while its clock is behind.
            let (mut others, mut count) = (Vec::new(), 0);
            let mut come_and_go = || {
                count += 1;
                let name = format!("other-{count}");
                others.push(broker.client(&name).credentials(&name, "x").start_connecting());
                others.retain(Attempt::is_pending);
                // Not to be waited for, but not to drown the broker.
                std::thread::sleep(Duration::from_millis(50));
            };
            eventually("it is asked about again, and denied", || {
                come_and_go();
                !client.is_connected()
            });
            assert!(unix_time() + 1 >= expire_at, "it was not asked about before its time");
            let again = broker.client("ann").credentials("ann", PASSWORD).start_connecting();
            eventually("a login is answered", || {
                come_and_go();
                !again.is_pending()
            });
            assert!(!again.outcome().is_accepted());
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

/// Where Mosquitto 2.0.11 does not tick, messages have those asked about whose time has come.
#[test]
fn messages_of_clients_without_a_name_have_others_asked_about_too() {
    let api = api(vec![]);
    let options = [("http_user_route", "/user"), ("cache_revalidate", "1"), ("cache_ttl", "0")];
    let broker = Broker::config(Version::V2_0_11)
        .per_listener_settings()
        .listener(|listener| listener.allow_anonymous(true).plugin(api.options(options)))
        .start();
    let _ann = logged_in(&broker, Protocol::V5, "ann");
    let anonymous = broker.client("nameless").protocol(Protocol::V5).connect().expect_accepted();
    eventually("ann is asked about again", || {
        may_publish(&anonymous, "t");
        api.requests_to("/user").len() > 1
    });
}
