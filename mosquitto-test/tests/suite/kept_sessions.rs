//! A session that the broker keeps while its client is away goes on to be judged: by the rules that
//! it had, and by those that the client has when it comes back.

use std::sync::atomic::{AtomicUsize, Ordering};

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{command, operator};
use crate::support::{
    ROUTES, broker_with, eventually, granting_what_the_password_spells as spelled, logged_in,
    rules, saying, unix_time, vanish,
};

/// A client with these rules, whose session is kept; its protocol is its name.
fn sleeper(broker: &Broker, protocol: Protocol, rules: &str) -> ClientBuilder {
    let name = format!("{protocol:?}");
    broker.client(&name).protocol(protocol).credentials(&name, rules).clean(false)
}

/// Subscribes and leaves.
fn go_to_sleep(broker: &Broker, protocol: Protocol, rules: &str) {
    let client = sleeper(broker, protocol, rules).connect().expect_accepted();
    client.subscribe("q/#").expect_granted();
    vanish(broker, &format!("{protocol:?}"), client);
}

/// What a client gets until a message to `q/marker`, which it must be allowed to read; markers that
/// were meant for others and queued for it too are passed over.
fn messages_until_marker(client: &Client, publisher: &Client) -> Vec<String> {
    static MARKERS: AtomicUsize = AtomicUsize::new(0);
    let marker = format!("marker {}", MARKERS.fetch_add(1, Ordering::Relaxed));
    publisher.publish("q/marker", &marker);
    let mut topics = Vec::new();
    loop {
        match client.expect_message() {
            (_, payload) if payload == marker => return topics,
            (topic, _) if topic == "q/marker" => {}
            (topic, _) => topics.push(topic),
        }
    }
}

const ALL: &str = "allow subscribe q/#";
const NOT_A: &str = "deny read q/a; allow subscribe q/#";
const NOT_B: &str = "deny read q/b; allow subscribe q/#";

on_every_broker! {
    fn only_what_its_rules_allow_is_queued_for_a_client_that_is_away(version) {
        let api = AuthServer::answering(spelled);
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, NOT_A);
        }
        for topic in ["q/a", "q/b"] {
            root.publish(topic, "while away");
        }
        for protocol in Protocol::BOTH {
            // Now it may read both, but nobody kept the one for it.
            let client = sleeper(&broker, protocol, ALL).connect().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/b"]);
        }
        assert_eq!(api.requests().len(), 1 + 2 * 2, "only logins were asked about");
    }

    fn what_is_taken_back_from_one_user_takes_nothing_from_those_who_are_away(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("root") => saying(json!({"is_superuser": true})),
            _ => spelled(request),
        });
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = operator(&broker);
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, ALL);
        }
        let invalidate = json!([{"command": "invalidate", "username": "somebody else"}]);
        command(&root, invalidate).remove(0);
        root.publish("q/a", "while away");
        for protocol in Protocol::BOTH {
            let client = sleeper(&broker, protocol, ALL).connect().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/a"]);
        }
    }

    fn it_goes_on_however_often_the_client_comes_and_goes(version) {
        let api = AuthServer::answering(spelled);
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            let mut client = sleeper(&broker, protocol, NOT_A).connect().expect_accepted();
            client.subscribe("q/#").expect_granted();
            for (before, after) in [(NOT_A, NOT_A), (NOT_A, NOT_B), (NOT_B, NOT_B), (NOT_B, ALL)] {
                client.disconnect();
                for topic in ["q/a", "q/b", "q/c"] {
                    root.publish(topic, "while away");
                }
                client = sleeper(&broker, protocol, after).connect().expect_accepted();
                let denied = |topic: &str| {
                    (before == NOT_A || after == NOT_A) && topic == "q/a"
                        || (before == NOT_B || after == NOT_B) && topic == "q/b"
                };
                let expected: Vec<_> =
                    ["q/a", "q/b", "q/c"].into_iter().filter(|topic| !denied(topic)).collect();
                let came = messages_until_marker(&client, &root);
                assert_eq!(came, expected, "{protocol:?}: {before}, then {after}");
            }
        }
    }

    fn what_was_queued_and_may_no_longer_be_read_is_gone(version) {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let held = gate.clone();
        api.set_handler(move |request| match request.json()["password"].as_str() {
            Some(NOT_B) => spelled(request).after(&held),
            _ => spelled(request),
        });
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, ALL);
            for topic in ["q/a", "q/b"] {
                root.publish(topic, "while away");
            }
            gate.close();
            let attempt = sleeper(&broker, protocol, NOT_B).start_connecting();
            gate.wait_until_waiting(1);
            gate.open();
            let client = attempt.outcome().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/a"]);
            client.disconnect();
            let client = sleeper(&broker, protocol, ALL).connect().expect_accepted();
            let came = messages_until_marker(&client, &root);
            assert!(came.is_empty(), "{came:?} came although it was dropped");
        }
    }

    fn a_live_session_that_is_taken_over_is_judged_by_the_new_rules(version) {
        let api = AuthServer::answering(spelled);
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            let old = sleeper(&broker, protocol, ALL).connect().expect_accepted();
            old.subscribe("q/#").expect_granted();
            let new = sleeper(&broker, protocol, NOT_A).connect().expect_accepted();
            old.wait_disconnected();
            for topic in ["q/a", "q/b"] {
                root.publish(topic, "hello");
            }
            assert_eq!(messages_until_marker(&new, &root), ["q/b"]);
        }
    }

    fn what_comes_after_its_login_has_expired_waits_for_the_next_login_to_judge_it(version) {
        let api = AuthServer::answering(|request| match request.json()["password"].as_str() {
            Some("until then") => {
                saying(json!({"expire_at": unix_time() + 2, "acl": rules(&["allow subscribe q/#"])}))
            }
            _ => spelled(request),
        });
        let options = api.options([ROUTES[0], ("cache_ttl", "0")]);
        let broker = Broker::config(version).plugin(options).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, "until then");
            let end = unix_time() + 2;
            eventually("its login expires", || unix_time() > end);
            for topic in ["q/a", "q/b"] {
                root.publish(topic, "while away");
            }
            let client = sleeper(&broker, protocol, NOT_A).connect().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/b"]);
        }
    }

    fn another_user_gets_nothing_of_it_but_what_its_own_rules_allow(version) {
        let api = AuthServer::answering(spelled);
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, ALL);
            for topic in ["q/a", "q/b"] {
                root.publish(topic, "while away");
            }
            let other = sleeper(&broker, protocol, "").credentials("ben", NOT_A);
            let other = other.connect().expect_accepted();
            assert_eq!(messages_until_marker(&other, &root), ["q/b"]);
        }
    }

    fn sighup_changes_nothing_of_it(version) {
        let api = AuthServer::answering(spelled);
        let options = api.options([ROUTES[0], ("cache_ttl", "0")]);
        let broker = Broker::config(version).plugin(options).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, NOT_A);
        }
        broker.reload();
        for topic in ["q/a", "q/b"] {
            root.publish(topic, "while away");
        }
        for protocol in Protocol::BOTH {
            let client = sleeper(&broker, protocol, ALL).connect().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/b"]);
        }
    }

    fn a_question_about_its_user_while_the_client_is_away_takes_no_rule_from_it(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => spelled(request),
            _ => Reply::status(403),
        });
        let options = api.options([ROUTES[0], ("http_superuser_route", "/superuser")]);
        let broker = Broker::config(version).plugin(options).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, NOT_A);
        }
        assert!(api.requests_to("/superuser").is_empty(), "a rule that allows is enough");
        // Whether a superuser might read the first is asked only now.
        for topic in ["q/a", "q/b", "q/a", "q/c"] {
            root.publish(topic, "while away");
        }
        eventually("both are asked about", || api.requests_to("/superuser").len() == 2);
        for protocol in Protocol::BOTH {
            let client = sleeper(&broker, protocol, NOT_A).connect().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/b", "q/c"]);
        }
    }

    fn whether_its_user_is_a_superuser_is_asked_once_when_the_client_comes_back(version) {
        for status in [200, 403] {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/user" if request.json()["username"] == "root" => spelled(request),
                "/superuser" => Reply::status(status),
                _ => Reply::status(200),
            });
            let superuser = [("http_superuser_route", "/superuser"), ("cache_ttl", "0")];
            let options = api.options(ROUTES.into_iter().chain(superuser));
            let broker = Broker::config(version).plugin(options).start();
            let root = operator(&broker);
            for protocol in Protocol::BOTH {
                go_to_sleep(&broker, protocol, "x");
                for topic in ["q/1", "q/2", "q/3"] {
                    root.publish(topic, "while away");
                }
                eventually("all are decided", || {
                    let status = command(&root, json!([{"command": "getStatus"}])).remove(0);
                    status["data"]["deliveriesWaiting"] == 0
                });
                api.forget_requests();
                let client = sleeper(&broker, protocol, "x").connect().expect_accepted();
                let mut topics = messages_until_marker(&client, &root);
                // The order over several topics is that of the answers.
                topics.sort();
                assert_eq!(topics, ["q/1", "q/2", "q/3"]);
                assert_eq!(api.requests_to("/superuser").len(), 1, "{protocol:?}, {status}");
                client.disconnect();
                drop(sleeper(&broker, protocol, "x").clean(true).connect().expect_accepted());
            }
        }
    }

    fn a_session_from_before_a_restart_queues_everything_and_is_judged_when_it_returns(version) {
        let api = AuthServer::answering(spelled);
        let options = api.options([ROUTES[0]]);
        let mut broker = Broker::config(version).persistence().plugin(options).start();
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, ALL);
        }
        for round in 0..2 {
            broker.restart();
            let root = logged_in(&broker, Protocol::V5, "root");
            for topic in ["q/a", "q/b"] {
                root.publish(topic, "while away");
            }
            for (protocol, rules, expected) in
                [(Protocol::V3_1_1, NOT_A, "q/b"), (Protocol::V5, NOT_B, "q/a")]
            {
                let client = sleeper(&broker, protocol, rules).connect().expect_accepted();
                assert_eq!(messages_until_marker(&client, &root), [expected], "{round}");
                client.disconnect();
            }
        }
    }

    fn a_session_from_before_a_restart_is_asked_about_where_there_is_an_acl_route(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" if request.json()["username"] == "root" => spelled(request),
            "/user" => Reply::status(200),
            _ => Reply::status(if request.json()["topic"] == "q/a" { 403 } else { 200 }),
        });
        let options = api.options(ROUTES);
        let mut broker = Broker::config(version).persistence().plugin(options).start();
        for protocol in Protocol::BOTH {
            go_to_sleep(&broker, protocol, "x");
        }
        broker.restart();
        api.forget_requests();
        let root = logged_in(&broker, Protocol::V5, "root");
        for topic in ["q/a", "q/b"] {
            root.publish(topic, "while away");
        }
        for protocol in Protocol::BOTH {
            let id = format!("{protocol:?}");
            for topic in ["q/a", "q/b"] {
                let about = json!({"username": id, "clientid": id, "topic": topic, "acc": 1});
                let is_about = |request: &Request| request.json() == about;
                eventually(&about.to_string(), || api.requests_to("/acl").iter().any(is_about));
            }
            // What waits for its answer may come after a message on another topic.
            broker.wait_for_log(&format!("(client \"{id}\") may receive from \"q/b\": allowed"));
        }
        // It is queued for the session in the tick after that.
        broker.wait_until_idle();
        broker.wait_until_idle();
        // Nobody kept what was denied.
        api.set_handler(|_| Reply::status(200));
        for protocol in Protocol::BOTH {
            let client = sleeper(&broker, protocol, "x").connect().expect_accepted();
            assert_eq!(messages_until_marker(&client, &root), ["q/b"]);
        }
    }

    fn what_an_acl_file_allows_is_queued_and_delivered_however_long_the_login_takes(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("root") => saying(json!({"is_superuser": true})),
            _ => Reply::status(200),
        });
        let acl = "pattern read q/%u\npattern read q/marker\n";
        for ttl in ["0", "600"] {
            let options = api.options([ROUTES[0], ("cache_ttl", ttl)]);
            let broker = Broker::config(version).acl_file(acl).plugin(options).start();
            let root = logged_in(&broker, Protocol::V5, "root");
            for protocol in Protocol::BOTH {
                go_to_sleep(&broker, protocol, "x");
            }
            for topic in ["q/V3_1_1", "q/other", "q/V5"] {
                root.publish(topic, "while away");
            }
            for protocol in Protocol::BOTH {
                let client = sleeper(&broker, protocol, "x").connect().expect_accepted();
                let expected = format!("q/{protocol:?}");
                assert_eq!(messages_until_marker(&client, &root), [expected], "cache_ttl {ttl}");
            }
        }
    }

    fn a_session_from_before_a_restart_that_has_no_rules_is_left_to_the_acl_file(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("root") => saying(json!({"is_superuser": true})),
            _ => Reply::status(200),
        });
        let acl = "user V3_1_1\ntopic read q/b\ntopic read q/marker\n";
        let options = api.options([ROUTES[0]]);
        let config = Broker::config(version).persistence().acl_file(acl).plugin(options);
        let mut broker = config.start();
        go_to_sleep(&broker, Protocol::V3_1_1, "x");
        broker.restart();
        let root = logged_in(&broker, Protocol::V5, "root");
        for topic in ["q/a", "q/b"] {
            root.publish(topic, "while away");
        }
        // The answer is known, so that the login need not wait.
        let other = broker.client("other").credentials("V3_1_1", "x").connect().expect_accepted();
        other.disconnect();
        let client = sleeper(&broker, Protocol::V3_1_1, "x").connect().expect_accepted();
        assert_eq!(messages_until_marker(&client, &root), ["q/b"]);
    }

    fn of_clients_that_left_the_last_ones_are_remembered(version) {
        // With so many rules each, these clients are more than what is remembered.
        const CLIENTS: usize = 70;
        const RULES: usize = 3000;
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let user = body["username"].as_str().unwrap_or_default();
            let rule = |topic: String| {
                json!({"permission": "allow", "action": "subscribe", "topic": topic})
            };
            match (request.path.as_str(), user) {
                ("/user", "root") => saying(json!({"is_superuser": true})),
                ("/user", _) => {
                    let others = (0..RULES).map(|n| rule(format!("other/{user}/{n}/of-many/#")));
                    let rules: Vec<_> = others.chain([rule(format!("q/{user}"))]).collect();
                    saying(json!({"acl": rules}))
                }
                _ => Reply::status(403),
            }
        });
        let broker = broker_with(version, &api, &[("cache_ttl", "0")]);
        let root = logged_in(&broker, Protocol::V5, "root");
        let client = |user: &str| broker.client(user).credentials(user, "x").clean(false).connect();
        for nth in 0..CLIENTS {
            let user = format!("user-{nth}");
            let client = client(&user).expect_accepted();
            client.subscribe(&format!("q/{user}")).expect_granted();
            client.disconnect();
        }
        assert!(api.requests_to("/acl").is_empty(), "everybody has rules");
        let [first, recent, last] = [0, CLIENTS - 20, CLIENTS - 1].map(|nth| format!("user-{nth}"));
        for user in [&first, &recent, &last] {
            root.publish(&format!("q/{user}"), "while away");
        }
        // Of the first one nothing is known any more, so that the API is asked, which denies.
        eventually("the question", || !api.requests_to("/acl").is_empty());
        let asked: Vec<_> = api.requests_to("/acl").iter().map(Request::json).collect();
        let about = json!({"username": first, "clientid": first, "acc": 1, "topic": "q/user-0"});
        assert_eq!(asked, [about]);
        for user in [&recent, &last] {
            let back = client(user).expect_accepted();
            assert_eq!(back.expect_message(), (format!("q/{user}"), "while away".into()));
        }
        let back = client(&first).expect_accepted();
        root.publish("q/user-0", "when it is back");
        assert_eq!(back.expect_message(), ("q/user-0".into(), "when it is back".into()));
    }
}
