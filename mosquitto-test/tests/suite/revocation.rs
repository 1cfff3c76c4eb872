//! A client that is in is asked about again: when its session expires, with `cache_revalidate` from
//! time to time, and after SIGHUP. What the API says then holds, and only its no ends a session.
//! Whether a user is a superuser is asked once in each.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{command, operator};
use crate::support::{
    PASSWORD, ROUTES, certificate_listener, eventually, granting, log_in, logged_in, may_publish,
    rules, saying, with_certificate,
};

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Rules that hold for two seconds.
fn for_two_seconds(texts: &[&str]) -> Reply {
    saying(json!({"acl": rules(texts), "expire_at": unix_time() + 2}))
}

/// A broker that asks about logins alone, each time anew.
fn broker(version: Version, api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options = [ROUTES[0], ("cache_ttl", "0")].into_iter().chain(more.iter().copied());
    Broker::config(version).plugin(api.options(options)).start()
}

/// How often the API was asked about this user.
fn asked_about(api: &AuthServer, user: &str) -> usize {
    api.requests().iter().filter(|request| request.json()["username"] == user).count()
}

/// That of the topics `a` and `b` a client may use only one any more.
fn expect_change(client: &Client, to: &str) {
    eventually("the new rules hold", || may_publish(client, to));
    let other = if to == "a" { "b" } else { "a" };
    assert!(!may_publish(client, other));
}

const EVERY_SECOND: (&str, &str) = ("cache_revalidate", "1");

on_every_broker! {
    fn a_session_that_expires_is_asked_about_with_the_same_words_and_gets_new_rules(version) {
        for (ttl, revalidate, user_fields) in
            [("0", "0", "peerhost"), ("600", "600", "clientid,protocol_version")]
        {
            let (api, expires) = (AuthServer::start(), Arc::new(OnceLock::new()));
            let first_asked = expires.clone();
            api.set_handler(move |_| {
                let expire_at = *first_asked.get_or_init(|| unix_time() + 2);
                if unix_time() < expire_at {
                    saying(json!({"acl": rules(&["allow publish a"]), "expire_at": expire_at}))
                } else {
                    granting(&["allow publish b"])
                }
            });
            let options = [
                ROUTES[0], ("cache_ttl", ttl), ("cache_revalidate", revalidate),
                ("http_user_fields", user_fields),
            ];
            let broker = Broker::config(version).plugin(api.options(options)).start();
            let client = logged_in(&broker, Protocol::V5, "ann");
            assert!(may_publish(&client, "a"));
            let asked = api.wait_for_requests(2);
            assert!(unix_time() >= *expires.get().unwrap(), "not before its time");
            assert_eq!(asked[1].text(), asked[0].text());
            assert_eq!((&asked[1].path, &asked[1].method), (&asked[0].path, &asked[0].method));
            expect_change(&client, "b");
            assert_eq!(api.requests().len(), 2, "nothing expires any more");
        }
    }

    fn a_session_that_expires_and_is_denied_ends(version) {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let (held, is_over) = (gate.clone(), Arc::new(AtomicBool::new(false)));
        let over = is_over.clone();
        api.set_handler(move |request| {
            let told = request.json()["password"].as_str().unwrap().to_owned();
            match told.as_str() {
                _ if over.load(Ordering::Relaxed) => Reply::status(403),
                "held back" => for_two_seconds(&["allow publish a"]).after(&held),
                _ => for_two_seconds(&["allow publish a"]),
            }
        });
        let broker = broker(version, &api, &[]);
        let login = |id: &str, protocol, password| {
            broker.client(id).protocol(protocol).credentials("ann", password).start_connecting()
        };
        let slow = login("slow", Protocol::V5, "held back");
        gate.wait_until_waiting(1);
        gate.open();
        let clients = [
            slow, login("3.1.1", Protocol::V3_1_1, "secret"), login("5", Protocol::V5, "secret"),
        ].map(|attempt| attempt.outcome().expect_accepted());
        is_over.store(true, Ordering::Relaxed);
        for client in &clients {
            client.wait_disconnected();
        }
        for id in ["slow", "3.1.1", "5"] {
            broker.wait_for_log(&format!("disconnected \"{id}\": the API now denies its login"));
        }
        log_in(&broker, Protocol::V5, "ann").expect_refused();
    }

    fn while_the_api_fails_an_expired_session_goes_on_and_is_asked_about_until_it_answers(version) {
        let (api, status) = (AuthServer::start(), Arc::new(AtomicU16::new(200)));
        let answer = status.clone();
        api.set_handler(move |_| match answer.load(Ordering::Relaxed) {
            200 => for_two_seconds(&["allow publish a"]),
            status => Reply::status(status),
        });
        let broker = broker(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        status.store(503, Ordering::Relaxed);
        api.wait_for_requests(3);
        broker.wait_for_log(" failed: status 503; it was asked about the login of \"ann\"");
        assert!(may_publish(&client, "a"), "what it was granted holds meanwhile");
        status.store(403, Ordering::Relaxed);
        client.wait_disconnected();
    }

    fn an_api_that_is_gone_ends_no_session(version) {
        let api = AuthServer::answering(|_| for_two_seconds(&["allow publish a"]));
        let broker = broker(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        api.stop();
        broker.wait_for_log(" failed: connection refused; it was asked about the login of \"ann\"");
        assert!(may_publish(&client, "a"));
        api.set_handler(|_| granting(&["allow publish b"]));
        api.restart();
        expect_change(&client, "b");
    }

    fn an_expired_session_that_the_api_no_longer_answers_for_ends(version) {
        let api = AuthServer::answering(|_| for_two_seconds(&[]));
        let broker = broker(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        api.set_handler(|_| saying(json!({"result": "ignore"})));
        client.wait_disconnected();
        broker.wait_for_log("disconnected \"ann\": the API no longer answers for its login");
    }

    fn whoever_does_not_expire_is_asked_about_no_more(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("expires") => for_two_seconds(&[]),
            Some("has-rules") => granting(&["allow publish a"]),
            _ => Reply::status(200),
        });
        let broker = broker(version, &api, &[]);
        let names = ["plain", "has-rules", "expires"];
        let clients = names.map(|user| logged_in(&broker, Protocol::V5, user));
        api.wait_for_requests(names.len() + 2);
        assert_eq!((asked_about(&api, "plain"), asked_about(&api, "has-rules")), (1, 1));
        assert!(clients.iter().all(Client::is_connected));
    }

    fn whoever_has_left_is_asked_about_no_more(version) {
        let api = AuthServer::answering(|_| for_two_seconds(&[]));
        let broker = broker(version, &api, &[EVERY_SECOND]);
        let left = broker.client("left").credentials("left", "x").clean(false);
        left.connect().expect_accepted().disconnect();
        let _stays = logged_in(&broker, Protocol::V5, "stays");
        api.wait_for_requests(2 + 3);
        assert_eq!(asked_about(&api, "left"), 1);
    }

    fn with_cache_revalidate_clients_are_asked_about_from_time_to_time(version) {
        let api = AuthServer::answering(|_| granting(&["allow publish a"]));
        let broker = broker(version, &api, &[EVERY_SECOND]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        let ben = logged_in(&broker, Protocol::V3_1_1, "ben");
        let asked = api.wait_for_requests(2 + 2 * 2);
        let bodies = |user: &str| {
            let of_user = asked.iter().filter(move |request| request.json()["username"] == user);
            of_user.map(Request::text).collect::<Vec<_>>()
        };
        for user in ["ann", "ben"] {
            let bodies = bodies(user);
            assert!(bodies.len() >= 2, "{bodies:?}");
            assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
        }
        api.set_handler(|request| match request.json()["username"].as_str() {
            Some("ben") => Reply::status(403),
            _ => granting(&["allow publish b"]),
        });
        expect_change(&ann, "b");
        ben.wait_disconnected();
        broker.wait_for_log("disconnected \"ben\": the API now denies its login");
        assert!(ann.is_connected());
    }

    fn a_crowd_is_asked_about_a_few_at_a_time_and_holds_nobody_up(version) {
        const CONNECTIONS: usize = 4;
        let (api, gate) = (AuthServer::start(), Gate::new());
        let broker = broker(version, &api, &[EVERY_SECOND, ("http_connections", "4")]);
        let clients: Vec<_> =
            (0..50).map(|n| logged_in(&broker, Protocol::V3_1_1, &format!("user-{n}"))).collect();
        api.forget_requests();
        let held = gate.clone();
        api.set_handler(move |request| match request.json()["username"].as_str() {
            Some("late") => Reply::status(200),
            _ => Reply::status(200).after(&held),
        });
        // What nobody waits for leaves room for what somebody does.
        gate.wait_until_waiting(CONNECTIONS / 2);
        let late = logged_in(&broker, Protocol::V5, "late");
        late.publish("t", "the broker serves");
        gate.open();
        eventually("all are asked about", || {
            (0..50).all(|n| asked_about(&api, &format!("user-{n}")) >= 1)
        });
        // Each connection has one request at a time, so there were never more at once than these.
        assert!(api.connections() <= CONNECTIONS, "{} connections", api.connections());
        assert!(clients.iter().all(Client::is_connected));
    }

    fn an_answer_that_comes_after_a_newer_one_changes_nothing(version) {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let (held, asked) = (gate.clone(), AtomicU16::new(0));
        api.set_handler(move |request| {
            if request.json()["username"] == "root" {
                return saying(json!({"is_superuser": true}));
            }
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => granting(&["allow publish a"]),
                1 => granting(&["allow publish a"]).after(&held),
                _ => granting(&["allow publish b"]),
            }
        });
        let broker = broker(version, &api, &[("log_level", "debug")]);
        let root = operator(&broker);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        let answered = || broker.log().matches("about the login of \"ann\"").count();
        let invalidate = json!([{"command": "invalidate", "username": "ann"}]);
        gate.close();
        command(&root, invalidate.clone());
        gate.wait_until_waiting(1);
        command(&root, invalidate);
        expect_change(&ann, "b");
        assert_eq!(answered(), 2);
        gate.open();
        eventually("the older answer", || answered() == 3);
        broker.wait_until_idle();
        expect_change(&ann, "b");
    }

    fn sighup_brings_new_rules_once_the_old_answer_has_expired(version) {
        for (ttl, expected) in [("0", "b"), ("600", "a")] {
            let api = AuthServer::answering(|_| granting(&["allow publish a"]));
            let options = api.options([ROUTES[0], ("cache_ttl", ttl)]);
            let broker = Broker::config(version).plugin(options).start();
            let client = logged_in(&broker, Protocol::V5, "ann");
            assert!(may_publish(&client, "a") && !may_publish(&client, "b"));
            api.set_handler(|_| granting(&["allow publish b"]));
            broker.reload();
            if expected == "b" {
                api.wait_for_requests(2);
            }
            expect_change(&client, expected);
        }
    }

    fn whether_a_user_is_a_superuser_is_asked_once_in_a_session(version) {
        for (status, may) in [(200, true), (403, false)] {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/superuser" => Reply::status(status),
                "/acl" => Reply::status(403),
                _ => Reply::status(200),
            });
            let more = [("http_superuser_route", "/superuser"), ROUTES[1], ("cache_acl_ttl", "0")];
            let broker = broker(version, &api, &more);
            for session in 1..=3 {
                let client = logged_in(&broker, Protocol::V5, "ann");
                for topic in ["a", "b", "c", "a"] {
                    assert_eq!(may_publish(&client, topic), may, "{topic}");
                }
                assert_eq!(matches!(client.subscribe("a"), Subscription::Granted(_)), may);
                assert_eq!(api.requests_to("/superuser").len(), session, "{status}");
                client.disconnect();
            }
        }
    }

    fn whoever_is_asked_about_again_may_be_a_superuser_or_none_from_then_on(version) {
        let is_superuser = Arc::new(AtomicBool::new(false));
        let answer = is_superuser.clone();
        let api = AuthServer::answering(move |_| {
            saying(json!({"is_superuser": answer.load(Ordering::Relaxed)}))
        });
        let broker = broker(version, &api, &[EVERY_SECOND]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        for now in [false, true, false] {
            is_superuser.store(now, Ordering::Relaxed);
            eventually("the answer takes effect", || may_publish(&client, "a") == now);
        }
    }

    fn whether_a_certificates_user_is_a_superuser_is_asked_once_in_a_session(version) {
        for status in [200, 403] {
            let (certs, api) = (Certs::new(), AuthServer::start());
            api.set_handler(move |request| match request.path.as_str() {
                "/superuser" => Reply::status(status),
                _ => Reply::status(403),
            });
            let routes = [("http_superuser_route", "/superuser"), ROUTES[1], ("cache_ttl", "0")];
            let config = Broker::config(version).plugin(api.options(routes));
            let broker = certificate_listener(config, &certs);
            let subscribe = ["-t", "a", "-t", "b", "-t", "c", "-E"];
            let publish = ["-t", "a", "-m", "hello", "-q", "1"];
            for arguments in [&subscribe[..], &subscribe, &publish, &publish, &publish] {
                broker.wait_until_idle();
                api.forget_requests();
                with_certificate(&broker, &certs, arguments);
                let asked = api.requests_to("/superuser");
                assert_eq!(asked.len(), 1, "{status}: {arguments:?}");
                assert_eq!(asked[0].json(), json!({"username": "sensor-7"}));
            }
        }
    }

    fn a_session_is_asked_about_anew_where_logins_are_not_asked_about(version) {
        let is_superuser = Arc::new(AtomicBool::new(false));
        let answer = is_superuser.clone();
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/superuser" if answer.load(Ordering::Relaxed) => Reply::status(200),
            _ => Reply::status(403),
        });
        let routes = [("http_superuser_route", "/superuser"), ROUTES[1], ("cache_ttl", "0")];
        let config = Broker::config(version).password_file(&[("ann", PASSWORD)]);
        let broker = config.plugin(api.options(routes)).start();
        for session in 1..=8 {
            let now = session % 2 == 0;
            is_superuser.store(now, Ordering::Relaxed);
            // The broker is likely to put the next client where the one before was.
            broker.wait_until_idle();
            let client = logged_in(&broker, Protocol::V5, "ann");
            assert_eq!(["a", "b"].map(|topic| may_publish(&client, topic)), [now, now]);
            assert_eq!(api.requests_to("/superuser").len(), session);
            client.disconnect();
        }
    }
}

#[test]
fn a_broker_that_never_ticks_asks_about_expired_sessions_at_the_next_login() {
    // 2.0.11 with per_listener_settings has no ticks to leave work for.
    let api = AuthServer::answering(|_| for_two_seconds(&["allow publish a"]));
    let options = api.options([ROUTES[0], ("cache_ttl", "0")]);
    let broker = Broker::config(Version::V2_0_11)
        .per_listener_settings()
        .listener(|listener| listener.plugin(options))
        .start();
    let client = logged_in(&broker, Protocol::V5, "ann");
    api.set_handler(|request| {
        Reply::status(if request.json()["username"] == "ann" { 403 } else { 200 })
    });
    eventually("it is denied", || {
        log_in(&broker, Protocol::V5, "other").expect_accepted();
        !client.is_connected()
    });
}
