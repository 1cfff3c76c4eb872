//! What is asked over and over is decided as it was before, for as long as nothing has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::support::{eventually, granting, logged_in, may_publish, rules, saying};

const LOGIN: (&str, &str) = ("http_user_route", "/user");
const ACL: (&str, &str) = ("http_acl_route", "/acl");

/// Longer than what is kept of a topic beside its client.
fn long() -> String {
    format!("long/{}", "x".repeat(200))
}

/// Whether somebody may be sent the news: those whose name begins with `a`.
fn by_name(request: &Request) -> Reply {
    let body = request.json();
    let reads_news = body["acc"] == 1 && body["topic"] == "news";
    let is_one_of_us = body["username"].as_str().unwrap_or_default().starts_with('a');
    Reply::status(if !reads_news || is_one_of_us { 200 } else { 403 })
}

/// The same, as rules; each for its own client, or alike for many.
fn by_rules(request: &Request) -> Reply {
    let body = request.json();
    let name = body["username"].as_str().unwrap_or_default().to_owned();
    let list: Value = if name.starts_with('a') {
        rules(&["allow all own/${clientid}", "allow all #"])
    } else {
        rules(&["deny read news", "allow all #"])
    };
    saying(json!({ "acl": list }))
}

/// One message after the other to the same subscribers, of whom some leave and others come.
fn deliver(broker: &Broker) {
    let speaker = logged_in(broker, Protocol::V5, "a-speaker");
    let enter = |name: &str| {
        let client = logged_in(broker, Protocol::V5, name);
        client.subscribe("news").expect_granted();
        client.subscribe("end").expect_granted();
        client
    };
    let names = ["ann", "ben", "anton", "bob", "anna"];
    let mut clients: Vec<_> = names.iter().map(|name| (*name, enter(name))).collect();
    for round in 0..6 {
        let text = format!("message {round}");
        assert_eq!(speaker.publish("news", &text), 0);
        for (name, client) in clients.iter().filter(|(name, _)| name.starts_with('a')) {
            assert_eq!(client.expect_message(), ("news".into(), text.clone()), "{name}");
        }
        if round == 3 {
            clients.remove(2).1.disconnect();
            clients.push(("bert", enter("bert")));
        }
    }
    assert_eq!(speaker.publish("end", "now"), 0);
    for (name, client) in &clients {
        assert_eq!(client.expect_message(), ("end".into(), "now".into()), "{name}");
    }
}

on_every_broker! {
    fn a_permission_that_is_taken_back_is_believed_no_longer_than_its_lifetime(version) {
        let denies = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&denies);
        let api = AuthServer::answering(move |request| {
            let no = request.path == "/acl" && told.load(Ordering::Relaxed);
            Reply::status(if no { 403 } else { 200 })
        });
        let options = [LOGIN, ACL, ("cache_ttl", "1"), ("cache_deny_ttl", "60")];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!((0..20).all(|_| may_publish(&client, "a")));
        denies.store(true, Ordering::Relaxed);
        eventually("the API's no is obeyed", || !may_publish(&client, "a"));
        assert!((0..20).all(|_| !may_publish(&client, "a")));
    }

    fn topics_in_turn_are_each_decided_as_before(version) {
        let long = long();
        let topics = ["a", "b", &long, "c", "no/1", "b", "no/2", "a"];
        let by_topic = |request: &Request| {
            let topic = request.json()["topic"].as_str().unwrap_or_default().to_owned();
            Reply::status(if topic.starts_with("no/") { 403 } else { 200 })
        };
        let by_rules = |_: &Request| granting(&["deny publish no/#", "allow publish #"]);
        let apis = [AuthServer::answering(by_topic), AuthServer::answering(by_rules)];
        for (api, routes) in apis.iter().zip([&[LOGIN, ACL][..], &[LOGIN]]) {
            let broker = Broker::config(version).plugin(api.options(routes.iter().copied())).start();
            let client = logged_in(&broker, Protocol::V5, "ann");
            for _ in 0..4 {
                for topic in topics {
                    assert_eq!(may_publish(&client, topic), !topic.starts_with("no/"), "{topic}");
                }
            }
            let asked = if routes.len() > 1 { 6 } else { 0 };
            assert_eq!(api.requests_to("/acl").len(), asked, "each is asked about once at most");
        }
    }

    fn messages_reach_whom_the_api_lets_have_them(version) {
        let api = AuthServer::answering(by_name);
        let broker = Broker::config(version).plugin(api.options([LOGIN, ACL])).start();
        deliver(&broker);
    }

    fn messages_reach_whom_rules_let_have_them(version) {
        let api = AuthServer::answering(by_rules);
        let broker = Broker::config(version).plugin(api.options([LOGIN])).start();
        deliver(&broker);
    }

    fn what_was_recalled_for_one_passes_no_gate_that_stops_another(version) {
        // The rules allow everything to everybody who has them.
        let api = AuthServer::answering(|_| granting(&["allow all #"]));
        let config = Broker::config(version).password_file(&[("filey", "right")]);
        let file = config.password_path().display().to_string();
        let local = [("local_users_file", file.as_str()), ("local_users_acl", "defer")];
        let config = config.acl_file("user filey\ntopic read marker\n");
        let broker = config.plugin(api.options([&[LOGIN][..], &local].concat())).start();
        let speaker = logged_in(&broker, Protocol::V5, "speaker");
        let listener = logged_in(&broker, Protocol::V5, "listener");
        listener.subscribe("news/#").expect_granted();
        for (id, next) in [("c1", "a#b+c"), ("c2", "filey")] {
            let session = |name: &str, password: &str| {
                let client = broker.client(id).protocol(Protocol::V5).clean(false);
                client.credentials(name, password).connect().expect_accepted()
            };
            let ann = session("ann", "x");
            ann.subscribe("news/#").expect_granted();
            for text in ["one", "two"] {
                assert_eq!(speaker.publish("news/a", text), 0);
                assert_eq!(ann.expect_message().1, text);
                assert_eq!(listener.expect_message().1, text);
            }
            let taker = session(next, "right");
            for text in ["three", "four", "five"] {
                assert_eq!(speaker.publish("news/a", text), 0);
                assert_eq!(listener.expect_message().1, text);
            }
            // The answer comes behind whatever was sent before.
            assert!(!may_publish(&taker, "news/a"));
            assert!(taker.try_message(Duration::ZERO).is_none(), "{next} was sent a message");
            taker.disconnect();
        }
    }

    fn whoever_has_become_a_local_user_is_the_brokers_from_then_on(version) {
        let api = AuthServer::answering(|_| granting(&["allow publish #"]));
        let config = Broker::config(version).password_file(&[("filey", "right")]);
        let file = config.password_path().display().to_string();
        let local = [("local_users_file", file.as_str()), ("local_users_acl", "defer")];
        let config = config.acl_file("user ann\ntopic write open/#\n");
        let broker = config.plugin(api.options([&[LOGIN][..], &local].concat())).start();
        let client = broker.client("c").protocol(Protocol::V5).credentials("ann", "secret");
        let client = client.connect().expect_accepted();
        assert!((0..3).all(|_| may_publish(&client, "closed/a")));
        broker.set_password("ann", "secret");
        broker.reload();
        broker.wait_for_log("2 local users");
        assert!((0..3).all(|_| !may_publish(&client, "closed/a") && may_publish(&client, "open/a")));
    }
}
