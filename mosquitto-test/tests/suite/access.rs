//! Who may publish, receive and subscribe is what the API says of each topic.

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

/// An API that lets everyone in, and denies what these pairs of `acc` and topic name.
fn api(denied: &'static [(u64, &'static str)]) -> AuthServer {
    AuthServer::answering(move |request| {
        if request.path == "/login" {
            return Reply::status(200);
        }
        let body = request.json();
        let asked = (body["acc"].as_u64().unwrap(), body["topic"].as_str().unwrap());
        Reply::status(if denied.contains(&asked) { 403 } else { 200 })
    })
}

fn broker(version: Version, api: &AuthServer) -> Broker {
    let options = [("http_user_route", "/login"), ("http_acl_route", "/acl")];
    Broker::config(version).plugin(api.options(options)).start()
}

fn login(broker: &Broker, protocol: Protocol, id: &str) -> Client {
    broker.client(id).protocol(protocol).credentials(id, "x").connect().expect_accepted()
}

fn asked(api: &AuthServer, acc: u64) -> Vec<Value> {
    let bodies = api.requests_to("/acl").into_iter().map(|request| request.json());
    bodies.filter(|body| body["acc"] == acc).collect()
}

const READ: u64 = 1;
const WRITE: u64 = 2;
const SUBSCRIBE: u64 = 4;

on_every_broker! {
    fn what_is_allowed_is_delivered(version) {
        let api = api(&[]);
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let subscriber = login(&broker, protocol, "sub");
            subscriber.subscribe("news/#").expect_granted();
            let publisher = login(&broker, protocol, "pub");
            assert_eq!(publisher.publish("news/today", "hello"), 0);
            assert_eq!(subscriber.expect_message(), ("news/today".into(), "hello".into()));
        }
    }

    fn each_check_is_a_question_of_exactly_four_fields(version) {
        let api = api(&[]);
        let broker = broker(version, &api);
        let subscriber = login(&broker, Protocol::V3_1_1, "sub");
        subscriber.subscribe("news/#").expect_granted();
        login(&broker, Protocol::V3_1_1, "pub").publish("news/today", "hello");
        subscriber.expect_message();
        let bodies: Vec<_> = api.requests_to("/acl").iter().map(Request::text).collect();
        assert_eq!(
            bodies,
            [
                r#"{"username":"sub","clientid":"sub","topic":"news/#","acc":4}"#,
                r#"{"username":"pub","clientid":"pub","topic":"news/today","acc":2}"#,
                r#"{"username":"sub","clientid":"sub","topic":"news/today","acc":1}"#,
            ]
        );
    }

    fn a_denied_publish_is_dropped_and_the_publisher_stays(version) {
        let api = api(&[(WRITE, "news/secret")]);
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let subscriber = login(&broker, protocol, "sub");
            subscriber.subscribe("news/#").expect_granted();
            let publisher = login(&broker, protocol, "pub");
            let code = publisher.publish("news/secret", "psst");
            assert_eq!(code, if protocol == Protocol::V5 { 0x87 } else { 0 });
            publisher.publish_qos0("news/secret", "psst");
            publisher.publish("news/today", "hello");
            assert_eq!(subscriber.expect_message(), ("news/today".into(), "hello".into()));
        }
    }

    fn a_denied_subscription_is_refused_and_the_others_of_its_packet_are_not(version) {
        let api = api(&[(SUBSCRIBE, "b/#")]);
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let client = login(&broker, protocol, "sub");
            let [a, b, c] = client.subscribe_many(&["a/#", "b/#", "c/#"])[..] else { panic!() };
            a.expect_granted();
            c.expect_granted();
            assert_eq!(b.expect_refused(), if protocol == Protocol::V5 { 0x87 } else { 0x80 });
        }
    }

    fn a_denied_delivery_skips_the_subscriber_and_leaves_the_publisher_alone(version) {
        let api = api(&[(READ, "news/secret")]);
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let subscriber = login(&broker, protocol, "sub");
            subscriber.subscribe("news/#").expect_granted();
            let publisher = login(&broker, protocol, "pub");
            assert_eq!(publisher.publish("news/secret", "psst"), 0);
            assert_eq!(publisher.publish("news/today", "hello"), 0);
            assert_eq!(subscriber.expect_message(), ("news/today".into(), "hello".into()));
        }
    }

    fn a_retained_message_is_checked_before_it_is_delivered(version) {
        let api = api(&[(READ, "news/secret")]);
        let broker = broker(version, &api);
        let publisher = login(&broker, Protocol::V3_1_1, "pub");
        publisher.publish_message(Message::new("news/secret", "psst").qos(1).retained());
        publisher.publish_message(Message::new("news/today", "hello").qos(1).retained());
        let subscriber = login(&broker, Protocol::V3_1_1, "sub");
        subscriber.subscribe("news/#").expect_granted();
        assert_eq!(subscriber.expect_message(), ("news/today".into(), "hello".into()));
        publisher.publish("news/later", "done");
        assert_eq!(subscriber.expect_message(), ("news/later".into(), "done".into()));
    }

    fn unsubscribing_is_always_allowed_and_never_asked(version) {
        // Whatever else is asked about this topic is denied once the handler changes.
        let api = api(&[]);
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let client = login(&broker, protocol, "sub");
            client.subscribe("news/#").expect_granted();
            assert_eq!(client.unsubscribe("news/#"), 0);
            client.subscribe("marker").expect_granted();
            client.publish("news/today", "nobody listens any more");
            client.publish("marker", "seen");
            assert_eq!(client.expect_message(), ("marker".into(), "seen".into()));
        }
        assert!(asked(&api, 8).is_empty());
    }

    fn a_shared_subscription_is_asked_about_as_it_was_written(version) {
        let api = api(&[]);
        let broker = broker(version, &api);
        let client = login(&broker, Protocol::V5, "sub");
        client.subscribe("$share/workers/jobs/+").expect_granted();
        client.publish("jobs/1", "dig");
        assert_eq!(client.expect_message(), ("jobs/1".into(), "dig".into()));
        assert_eq!(asked(&api, SUBSCRIBE)[0]["topic"], json!("$share/workers/jobs/+"));
        assert_eq!(asked(&api, READ)[0]["topic"], json!("jobs/1"));
    }

    fn a_will_is_asked_about_as_a_publish(version) {
        let api = api(&[(WRITE, "wills/denied")]);
        let broker = broker(version, &api);
        let watcher = login(&broker, Protocol::V3_1_1, "watcher");
        watcher.subscribe("wills/#").expect_granted();
        for (id, topic) in [("one", "wills/denied"), ("two", "wills/allowed")] {
            let builder = broker.client(id).credentials(id, "x").will(topic, "gone");
            builder.connect().expect_accepted().vanish();
        }
        assert_eq!(watcher.expect_message(), ("wills/allowed".into(), "gone".into()));
        let asked = asked(&api, WRITE);
        assert!(asked.contains(&json!({"username": "one", "clientid": "one",
                                       "topic": "wills/denied", "acc": 2})), "{asked:?}");
    }

    fn without_an_acl_route_checks_are_the_brokers_own_business(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version)
            .acl_file("user ann\ntopic readwrite open/#\n")
            .plugin(api.options([("http_user_route", "/login")]))
            .start();
        let client = broker.client("c").credentials("ann", "x").connect().expect_accepted();
        client.subscribe("#").expect_granted();
        client.publish("closed/a", "dropped by the file");
        client.publish("open/a", "hello");
        assert_eq!(client.expect_message(), ("open/a".into(), "hello".into()));
        assert_eq!(api.requests().len(), 1);
    }

    fn a_client_without_a_username_is_checked_by_the_broker(version) {
        let api = AuthServer::start();
        let options = [("http_user_route", "/login"), ("http_acl_route", "/acl")];
        let broker = Broker::config(version)
            .allow_anonymous(true)
            .acl_file("topic readwrite open/#\n")
            .plugin(api.options(options))
            .start();
        let client = broker.client("c").connect().expect_accepted();
        client.subscribe("#").expect_granted();
        client.publish("closed/a", "dropped by the file");
        client.publish("open/a", "hello");
        assert_eq!(client.expect_message(), ("open/a".into(), "hello".into()));
        assert!(api.requests().is_empty());
    }
}
