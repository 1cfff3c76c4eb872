//! A superuser may do everything; of everyone else the ACL route is asked.

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{ROUTES, certificate_listener, logged_in, with_certificate};

/// An API whose superuser route answers `superuser`, and whose ACL route answers `acl`.
fn api(superuser: u16, acl: u16) -> AuthServer {
    AuthServer::answering(move |request| {
        Reply::status(match request.path.as_str() {
            "/superuser" => superuser,
            "/acl" => acl,
            _ => 200,
        })
    })
}

fn client(version: Version, api: &AuthServer, acl_route: bool) -> (Broker, Client) {
    let mut options = vec![
        ("http_user_route", "/login"),
        ("http_superuser_route", "/superuser"),
        // What is undecided is looked at here with the client connected.
        ("acl_unavailable", "deny"),
    ];
    if acl_route {
        options.push(("http_acl_route", "/acl"));
    }
    let broker = Broker::config(version).plugin(api.options(options)).start();
    let login = broker.client("c").protocol(Protocol::V5).credentials("ann", "x").connect();
    let client = login.expect_accepted();
    (broker, client)
}

on_every_broker! {
    fn a_superuser_may_do_everything_and_is_asked_about_by_name_alone(version) {
        let api = api(200, 403);
        let (_broker, client) = client(version, &api, true);
        client.subscribe("#").expect_granted();
        assert_eq!(client.publish("a/b", "hello"), 0);
        client.expect_message();
        let asked = api.requests_to("/superuser");
        assert_eq!(asked.len(), 1, "the answer is cached for every topic");
        assert_eq!(asked[0].json(), json!({"username": "ann"}));
        assert!(api.requests_to("/acl").is_empty());
    }

    fn an_answer_that_says_who_is_no_superuser_is_believed(version) {
        for said in [json!({"is_superuser": false}), json!({"result": "deny"}),
                     json!({"result": "allow", "is_superuser": false})] {
            let api = api(200, 403);
            api.set_handler(move |request| match request.path.as_str() {
                "/superuser" => Reply::status(200).json(said.clone()),
                "/acl" => Reply::status(403),
                _ => Reply::status(200),
            });
            let (_broker, client) = client(version, &api, true);
            assert_eq!(client.publish("a/b", "hello"), 0x87);
        }
    }

    fn of_anyone_else_the_acl_route_is_asked(version) {
        for (acl, code) in [(200, 0x10), (403, 0x87)] {
            let api = api(403, acl);
            let (_broker, client) = client(version, &api, true);
            // 0x10: nobody subscribes, but the publish is allowed.
            assert_eq!(client.publish("a/b", "hello"), code);
            assert_eq!(api.requests_to("/acl").len(), 1);
        }
    }

    fn a_yes_is_final_even_where_the_other_route_fails(version) {
        for (superuser, acl) in [(500, 200), (200, 500)] {
            let api = api(superuser, acl);
            let (_broker, client) = client(version, &api, true);
            assert_eq!(client.publish("a/b", "hello"), 0x10);
        }
    }

    fn a_superuser_route_that_fails_is_not_a_denial(version) {
        let api = api(500, 403);
        let (broker, client) = client(version, &api, true);
        assert_eq!(client.publish("a/b", "hello"), 0x87);
        broker.wait_for_log("status 500");
        // The failure was not stored: now that the route answers, it is asked again and believed.
        api.set_handler(|_| Reply::status(200));
        assert_eq!(client.publish("a/b", "hello"), 0x10);
    }

    fn a_superuser_route_that_fails_leaves_nothing_to_the_acl_file_that_the_api_denies(version) {
        // By a rule, by there being none, and by the other route.
        let rules = Reply::status(200).json(json!({"acl": [
            {"permission": "deny", "action": "all", "topic": "secret/#"},
            {"permission": "allow", "action": "all", "topic": "open/#"},
        ]}));
        for (login, acl) in [(rules.clone(), None), (rules, Some(403)), (Reply::status(200), Some(403))] {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/login" => login.clone(),
                "/superuser" => Reply::status(500),
                _ => Reply::status(acl.unwrap_or(500)),
            });
            let mut options = vec![
                ("http_user_route", "/login"),
                ("http_superuser_route", "/superuser"),
                ("on_error", "defer"),
                ("breaker_failures", "1000000"),
            ];
            options.extend(acl.map(|_| ("http_acl_route", "/acl")));
            let acl_file = "topic readwrite #\n user ann\ntopic readwrite #\n";
            let broker = Broker::config(version)
                .acl_file(acl_file)
                .plugin(api.options(options))
                .start();
            let client = broker.client("c").protocol(Protocol::V5).credentials("ann", "x");
            let client = client.connect().expect_accepted();
            assert_eq!(client.publish("secret/a", "x"), 0x87);
            assert_eq!(client.publish("other", "x"), 0x87);
            // A failure of the ACL route is a failure still.
            if acl.is_some() {
                api.set_handler(|_| Reply::status(500));
                assert_eq!(client.publish("more", "x"), 0x10);
            }
        }
    }

    fn whoever_comes_by_certificate_has_nothing_of_one_who_came_by_password(version) {
        let certs = Certs::new();
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => Reply::status(200).json(json!({"is_superuser": true})),
            _ => Reply::status(if request.json()["topic"] == "marker" { 200 } else { 403 }),
        });
        let config = Broker::config(version).plugin(api.options(ROUTES));
        let broker = certificate_listener(config, &certs);
        let watcher = logged_in(&broker, Protocol::V5, "watcher");
        watcher.subscribe("#").expect_granted();
        for _ in 0..15 {
            // The handle is free for the next one as soon as this one has left.
            let client = broker.client("c").credentials("sensor-7", "x").connect();
            let client = client.expect_accepted();
            client.publish("by-password", "x");
            assert_eq!(watcher.expect_message().0, "by-password");
            client.disconnect();
            for topic in ["by-certificate", "marker"] {
                with_certificate(&broker, &certs, &["-q", "1", "-t", topic, "-m", "x"]);
            }
            assert_eq!(watcher.expect_message().0, "marker");
        }
    }

    fn whoever_publishes_by_a_pre_shared_key_has_nothing_of_one_who_came_by_password(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => Reply::status(200).json(json!({"is_superuser": true})),
            _ => Reply::status(if request.json()["topic"] == "marker" { 200 } else { 403 }),
        });
        let config = Broker::config(version).plugin(api.options(ROUTES));
        let keys = config.file("keys", "sensor-7:c0ffee\n");
        let by_key = |listener: Listener| {
            listener
                .line("psk_hint anyone")
                .line(&format!("psk_file {}", keys.display()))
                .line("use_identity_as_username true")
        };
        let broker = config.listener(|listener| listener).listener(by_key).start();
        let watcher = logged_in(&broker, Protocol::V5, "watcher");
        watcher.subscribe("#").expect_granted();
        let port = broker.port_of(1).to_string();
        let key = ["-p", &port, "--psk", "c0ffee", "--psk-identity", "sensor-7"];
        for _ in 0..15 {
            // The handle is free for the next one as soon as this one has left.
            let client = broker.client("c").credentials("sensor-7", "x").connect();
            let client = client.expect_accepted();
            client.publish("by-password", "x");
            assert_eq!(watcher.expect_message().0, "by-password");
            client.disconnect();
            for topic in ["by-key", "marker"] {
                // With MQTT 5 it cannot be told from a Will that is delayed.
                let message = ["-V", "311", "-i", "c", "-q", "1", "-t", topic, "-m", "x"];
                let sent = broker.mosquitto_pub(&[&key[..], &message].concat());
                assert!(sent.status.success(), "{sent:?}");
            }
            assert_eq!(watcher.expect_message().0, "marker");
        }
    }

    fn without_an_acl_route_others_are_left_to_the_broker(version) {
        let api = api(403, 500);
        let (_broker, client) = client(version, &api, false);
        // Every plugin deferred and there is no acl_file: denied.
        assert_eq!(client.publish("a/b", "hello"), 0x87);
        assert!(api.requests_to("/acl").is_empty());
    }
}
