//! Rules in a login's answer decide what the client may do with topics, and no request is made for
//! it. The first one that matches counts.

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    NOT_AUTHORIZED, ROUTES, granting, logged_in, may_publish, rules, saying, subscribe_refusal,
};

/// An API that grants these rules to whoever logs in, and denies all checks that it is asked about.
/// `root` may do everything.
fn api(granted: Value) -> AuthServer {
    AuthServer::answering(move |request| match request.path.as_str() {
        "/user" if request.json()["username"] == "root" => saying(json!({"is_superuser": true})),
        "/user" => saying(json!({"acl": granted})),
        _ => Reply::status(403),
    })
}

/// A broker with this API and an ACL route, so that a check which rules leave open would be seen.
fn broker(version: Version, api: &AuthServer) -> Broker {
    Broker::config(version).plugin(api.options(ROUTES)).start()
}

/// A broker that has nobody to ask about checks; its own file would allow them all.
fn broker_without_acl_route(version: Version, api: &AuthServer) -> Broker {
    let acl = "pattern readwrite #\n";
    Broker::config(version).acl_file(acl).plugin(api.options([ROUTES[0]])).start()
}

/// One rule more than a text can say.
fn rule(text: &str, key: &str, value: Value) -> Value {
    let mut rule = rules(&[text])[0].take();
    rule[key] = value;
    rule
}

/// Whether a client of MQTT 5 may publish this.
fn may_send(client: &Client, message: Message) -> bool {
    client.publish_message(message) != NOT_AUTHORIZED
}

#[track_caller]
fn expect_subscriptions(client: &Client, granted: &[&str], refused: &[&str]) {
    for filter in granted {
        assert!(matches!(client.subscribe(filter), Subscription::Granted(_)), "{filter}");
    }
    for filter in refused {
        assert!(matches!(client.subscribe(filter), Subscription::Refused(_)), "{filter}");
    }
}

on_every_broker! {
    fn what_rules_decide_is_never_asked(version) {
        let api = api(rules(&[
            "allow publish up/#", "deny read down/secret", "allow subscribe down/#", "deny all #",
        ]));
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let root = logged_in(&broker, protocol, "root");
            root.subscribe("+/#").expect_granted();
            let ann = logged_in(&broker, protocol, "ann");
            let code = ann.publish("down/1", "dropped");
            assert_eq!(code, if protocol == Protocol::V5 { NOT_AUTHORIZED } else { 0 });
            ann.publish_qos0("other", "dropped");
            assert_eq!(ann.publish("up/1", "hello"), 0);
            assert_eq!(root.expect_message(), ("up/1".into(), "hello".into()));
            assert_eq!(ann.subscribe("#").expect_refused(), subscribe_refusal(protocol));
            ann.subscribe("down/#").expect_granted();
            root.publish("down/secret", "not for ann");
            root.publish("down/open", "for ann");
            assert_eq!(ann.expect_message(), ("down/open".into(), "for ann".into()));
            assert!(ann.is_connected() && root.is_connected());
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn rules_hold_for_a_client_whose_login_took_its_time(version) {
        let (api, gate) = (api(rules(&["allow all a/#", "deny all #"])), Gate::new());
        let held = gate.clone();
        api.set_handler(move |_| granting(&["allow all a/#", "deny all #"]).after(&held));
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let name = format!("{protocol:?}");
            let builder = broker.client(&name).protocol(protocol).credentials(&name, "x");
            let attempt = builder.start_connecting();
            gate.wait_until_waiting(1);
            gate.open();
            let client = attempt.outcome().expect_accepted();
            gate.close();
            expect_subscriptions(&client, &["a/#"], &["b", "#"]);
            client.publish("b", "dropped");
            client.publish("a/1", "hello");
            assert_eq!(client.expect_message(), ("a/1".into(), "hello".into()));
        }
        assert!(api.requests_to("/acl").is_empty());
        gate.open();
    }

    fn the_first_rule_that_matches_counts(version) {
        let api = api(rules(&[
            "deny publish a/secret/#", "allow publish a/#", "allow publish a/secret/but",
            "deny publish b/#", "allow publish #",
        ]));
        let broker = broker(version, &api);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        for (topic, may) in [
            ("a", true), ("a/b", true), ("a/secret", false), ("a/secret/x", false),
            ("a/secret/but", false), ("b", false), ("b/c", false), ("c", true),
        ] {
            assert_eq!(may_publish(&ann, topic), may, "{topic}");
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn placeholders_stand_for_the_names_of_the_client_that_asks(version) {
        let api = api(rules(&[
            "allow publish one/${clientid}/${username}", "allow all two/dev-%c/%u/#", "deny all #",
        ]));
        let broker = broker(version, &api);
        let login = |id: &str| {
            let builder = broker.client(id).protocol(Protocol::V5).credentials("ann", "x");
            builder.connect().expect_accepted()
        };
        // The second is let in by the answer that the first got, and has its own name all the same.
        let (first, second) = (login("c1"), login("c2"));
        assert_eq!(api.requests_to("/user").len(), 1);
        for (client, own, other) in [(&first, "c1", "c2"), (&second, "c2", "c1")] {
            assert!(may_publish(client, &format!("one/{own}/ann")));
            assert!(!may_publish(client, &format!("one/{other}/ann")));
            assert!(!may_publish(client, &format!("one/{own}/ben")));
            assert!(!may_publish(client, "one/${clientid}/${username}"));
            let (own, other) = (format!("two/dev-{own}/ann/#"), format!("two/dev-{other}/ann/#"));
            expect_subscriptions(client, &[&own], &[&other, "two/+/ann/#", "two/dev-%c/%u/#"]);
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_name_that_is_more_than_one_level_is_never_put_in(version) {
        let api = api(rules(&["allow all u/${username}/#", "allow all c/%c", "allow all plain"]));
        let options = api.options([ROUTES[0], ("deny_special_chars", "false")]);
        let broker = Broker::config(version).plugin(options).start();
        for name in ["a/b", "/", "+", "#", "a+"] {
            let client = logged_in(&broker, Protocol::V5, name);
            let topics = ["u/a/b/x", "u/a/b", "u///", "u/x", "c/a/b", "c/x", "c//"];
            for topic in topics {
                assert!(!may_publish(&client, topic), "{name} and {topic}");
            }
            let filters = ["u/a/b/#", "u/+/#", "u/+/x", "u/#", "c/+", "c/#"];
            expect_subscriptions(&client, &["plain"], &filters);
        }
    }

    fn a_subscription_must_be_covered_whole(version) {
        let api = api(rules(&["allow subscribe a/+/c/#", "allow subscribe b", "deny all #"]));
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let ann = logged_in(&broker, protocol, "ann");
            expect_subscriptions(
                &ann,
                &["a/+/c/#", "a/x/c/#", "a/x/c", "a/+/c/+", "b"],
                &["#", "+", "+/#", "a/#", "a/+", "a/+/#", "a/+/+/#", "a/x/+", "b/#", "+/x/c"],
            );
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_wildcard_at_the_beginning_does_not_reach_topics_with_a_dollar(version) {
        let version_only = "allow subscribe $SYS/broker/version";
        let api = api(rules(&["allow all #", "allow all +/#", version_only]));
        let broker = broker_without_acl_route(version, &api);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        expect_subscriptions(
            &ann,
            &["#", "+/broker/version", "$SYS/broker/version"],
            &["$SYS/#", "$SYS/broker/#", "$CONTROL/#", "$other/a"],
        );
        assert!(may_publish(&ann, "other/$a") && !may_publish(&ann, "$other/a"));
        assert!(!may_publish(&ann, "$CONTROL/other/v1"));
    }

    fn what_is_denied_within_a_granted_subscription_is_not_delivered(version) {
        let api = api(rules(&[
            "deny subscribe a/secret/#", "allow subscribe a/#", "allow publish #",
        ]));
        let broker = broker_without_acl_route(version, &api);
        for protocol in Protocol::BOTH {
            let ann = logged_in(&broker, protocol, "ann");
            expect_subscriptions(&ann, &["a/#"], &["a/secret/#", "a/secret/x"]);
            ann.publish("a/secret/x", "not for ann");
            ann.publish("a/open", "for ann");
            assert_eq!(ann.expect_message(), ("a/open".into(), "for ann".into()));
        }
    }

    fn who_may_read_may_not_therefore_subscribe(version) {
        let api = api(rules(&["allow read a/#", "allow subscribe a/1", "allow publish a/#"]));
        let broker = broker_without_acl_route(version, &api);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        expect_subscriptions(&ann, &["a/1"], &["a/2", "a/#"]);
        ann.publish("a/1", "hello");
        assert_eq!(ann.expect_message(), ("a/1".into(), "hello".into()));
    }

    fn retained_messages_are_judged_too(version) {
        let api = api(rules(&["deny read a/secret", "allow all a/#"]));
        let broker = broker_without_acl_route(version, &api);
        let root = logged_in(&broker, Protocol::V5, "root");
        for topic in ["a/secret", "a/open"] {
            root.publish_message(Message::new(topic, "kept").retained());
        }
        for protocol in Protocol::BOTH {
            let ann = logged_in(&broker, protocol, "ann");
            ann.subscribe("a/#").expect_granted();
            assert_eq!(ann.expect_message(), ("a/open".into(), "kept".into()));
            ann.publish("a/later", "done");
            assert_eq!(ann.expect_message(), ("a/later".into(), "done".into()));
        }
    }

    fn unsubscribing_is_allowed_whatever_the_rules_say(version) {
        let api = api(rules(&["allow subscribe a/1", "allow subscribe marker", "allow publish #",
                              "deny all #"]));
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let ann = logged_in(&broker, protocol, "ann");
            ann.subscribe("a/1").expect_granted();
            assert_eq!(ann.unsubscribe("a/1"), 0);
            // 0x11: there was no such subscription.
            for filter in ["b", "#"] {
                assert!([0, 0x11].contains(&ann.unsubscribe(filter)), "{filter}");
            }
            ann.subscribe("marker").expect_granted();
            ann.publish("a/1", "nobody listens any more");
            ann.publish("marker", "seen");
            assert_eq!(ann.expect_message(), ("marker".into(), "seen".into()));
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_shared_subscription_is_judged_by_what_follows_its_group(version) {
        let api = api(rules(&["allow subscribe jobs/+", "allow publish #", "deny all #"]));
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let ann = logged_in(&broker, protocol, "ann");
            expect_subscriptions(
                &ann,
                &["$share/workers/jobs/+", "$share/jobs/jobs/1"],
                &["$share/jobs/+", "$share/jobs/#", "$share/workers/#", "$share/workers/jobs/#"],
            );
            assert_eq!(ann.unsubscribe("$share/jobs/jobs/1"), 0);
            ann.publish("jobs/1/secret", "not for ann");
            ann.publish("jobs/2", "dig");
            assert_eq!(ann.expect_message(), ("jobs/2".into(), "dig".into()));
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_literal_rule_means_exactly_its_text(version) {
        let api = api(rules(&[
            "allow subscribe eq a/#", "allow publish eq a/1", "deny subscribe eq #",
            "allow subscribe b/#", "deny all #",
        ]));
        let broker = broker(version, &api);
        let root = logged_in(&broker, Protocol::V5, "root");
        let ann = logged_in(&broker, Protocol::V5, "ann");
        expect_subscriptions(&ann, &["a/#", "b/#"], &["a/1", "a/+", "a", "a/1/#", "#"]);
        assert!(may_publish(&ann, "a/1"));
        assert_eq!(ann.expect_message().0, "a/1");
        assert!(!may_publish(&ann, "a/2") && !may_publish(&ann, "a"));
        // Who may subscribe to literally `a/#` is sent what arrives there.
        root.publish("a/2/3", "hello");
        assert_eq!(ann.expect_message(), ("a/2/3".into(), "hello".into()));
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_rule_may_be_for_some_qualities_of_service_only(version) {
        let api = api(json!([
            rule("allow publish a", "qos", json!(0)),
            rule("allow publish b", "qos", json!([1, 2])),
            rule("allow publish c", "qos", json!("0,2")),
            rule("allow subscribe one", "qos", json!(1)),
            rule("allow subscribe others", "qos", json!([0, 2])),
        ]));
        let broker = broker_without_acl_route(version, &api);
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("a").expect_granted();
        let ann = logged_in(&broker, Protocol::V5, "ann");
        for (topic, may) in [("a", [false, false]), ("b", [true, true]), ("c", [false, true])] {
            let may_at = |qos| may_send(&ann, Message::new(topic, "x").qos(qos));
            assert_eq!([1, 2].map(may_at), may, "{topic}");
        }
        ann.publish_qos0("b", "dropped");
        ann.publish_qos0("a", "hello");
        assert_eq!(root.expect_message(), ("a".into(), "hello".into()));
        // The client asks for QoS 1.
        expect_subscriptions(&ann, &["one"], &["others"]);
    }

    fn a_denial_for_some_qualities_of_service_denies_no_other_deliveries(version) {
        let api = api(json!([
            rule("deny subscribe news/#", "qos", json!([2])),
            rule("deny all news/secret", "qos", json!(0)),
            rule("allow subscribe #", "qos", json!([0, 1])),
        ]));
        let broker = broker_without_acl_route(version, &api);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        for filter in ["news/#", "other"] {
            ann.subscribe(filter).expect_granted();
        }
        let root = logged_in(&broker, Protocol::V5, "root");
        for (topic, qos) in [("news/2", 2), ("news/1", 1), ("news/secret", 1), ("other", 2)] {
            assert!(may_send(&root, Message::new(topic, "x").qos(qos)));
        }
        root.publish_qos0("news/secret", "x");
        root.publish_qos0("news/0", "x");
        let expected = ["news/1", "news/secret", "other", "news/0"];
        assert_eq!(expected.map(|_| ann.expect_message().0), expected);
    }

    fn a_rule_may_be_for_retained_messages_only_or_for_all_others(version) {
        let api = api(json!([
            rule("allow publish retained", "retain", json!(true)),
            rule("allow publish live", "retain", json!(false)),
            rule("allow publish both", "retain", json!("all")),
        ]));
        let broker = broker_without_acl_route(version, &api);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        for (topic, live, retained) in
            [("retained", false, true), ("live", true, false), ("both", true, true)]
        {
            assert_eq!(may_send(&ann, Message::new(topic, "x")), live, "{topic}");
            assert_eq!(may_send(&ann, Message::new(topic, "x").retained()), retained, "{topic}");
        }
    }

    fn what_no_rule_matches_is_asked_of_the_acl_route(version) {
        let api = api(rules(&["allow publish a", "deny publish b", "allow subscribe own/#"]));
        api.set_handler(|request| match request.path.as_str() {
            "/user" => granting(&["allow publish a", "deny publish b", "allow subscribe own/#"]),
            _ => {
                let topic = request.json()["topic"].as_str().unwrap().to_owned();
                Reply::status(if topic.starts_with("open") { 200 } else { 403 })
            }
        });
        let broker = broker(version, &api);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        let may = ["a", "b", "open/1", "closed/1"].map(|topic| may_publish(&ann, topic));
        assert_eq!(may, [true, false, true, false]);
        expect_subscriptions(&ann, &["own/#", "open/#"], &["closed/#", "#"]);
        ann.publish("open/2", "hello");
        assert_eq!(ann.expect_message(), ("open/2".into(), "hello".into()));
        let checks: Vec<_> = api.requests_to("/acl").iter().map(Request::json).collect();
        let asked = |topic: &str, acc: u8| {
            let about = json!({"username": "ann", "clientid": "ann", "topic": topic, "acc": acc});
            checks.contains(&about)
        };
        assert!(asked("open/1", 2) && asked("closed/1", 2) && asked("open/#", 4), "{checks:?}");
        assert!(asked("open/2", 1), "{checks:?}");
        assert!(!asked("a", 2) && !asked("b", 2) && !asked("own/#", 4), "{checks:?}");
    }

    fn what_no_rule_matches_is_denied_where_there_is_no_acl_route(version) {
        for (granted, may) in [(rules(&["allow all a"]), true), (json!([]), false)] {
            let api = api(granted);
            let broker = broker_without_acl_route(version, &api);
            let root = logged_in(&broker, Protocol::V5, "root");
            let ann = logged_in(&broker, Protocol::V5, "ann");
            assert_eq!(may_publish(&ann, "a"), may);
            assert_eq!(matches!(ann.subscribe("a"), Subscription::Granted(_)), may);
            // The broker's own file would allow all of this.
            assert!(!may_publish(&ann, "b"));
            expect_subscriptions(&ann, &[], &["b", "+", "#"]);
            assert!(may_publish(&root, "b"));
        }
    }

    fn a_denial_by_rules_is_final_only_for_one_who_is_no_superuser(version) {
        for (status, may) in [(200, true), (403, false)] {
            let api = AuthServer::answering(move |request| match request.path.as_str() {
                "/user" => granting(&["allow publish a", "deny publish #"]),
                _ => Reply::status(status),
            });
            let options = api.options([ROUTES[0], ("http_superuser_route", "/superuser")]);
            let broker = Broker::config(version).plugin(options).start();
            let ann = logged_in(&broker, Protocol::V5, "ann");
            assert!(may_publish(&ann, "a"));
            assert!(api.requests_to("/superuser").is_empty(), "a rule that allows is enough");
            assert_eq!(may_publish(&ann, "b"), may);
            assert_eq!(api.requests_to("/superuser").len(), 1);
        }
    }

    fn each_login_brings_rules_of_its_own(version) {
        let api = AuthServer::answering(|request| {
            granting(&[&format!("allow publish {}", request.json()["password"].as_str().unwrap())])
        });
        let broker = broker_without_acl_route(version, &api);
        for password in ["a", "b", "a"] {
            let builder = broker.client("c").protocol(Protocol::V5).credentials("ann", password);
            let client = builder.connect().expect_accepted();
            let may = ["a", "b"].map(|topic| may_publish(&client, topic));
            assert_eq!(may, ["a", "b"].map(|topic| topic == password));
        }
    }
}
