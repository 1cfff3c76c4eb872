//! An API that was written for EMQX's HTTP authentication and authorization works unchanged (`compat emqx`):
//! what it is asked, and what its answers come to. The table of all answers is a unit test beside the code
//! that reads them; here some of its rows are seen in real brokers.

use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use serde_json::{Value, json};

use crate::support::{
    EVERY_QUESTION, PASSWORD, ROUTES, log_in, logged_in, may_publish, subscribe_refusal,
};
use crate::tokens::{claims, connect};

const COMPAT: (&str, &str) = ("compat", "emqx");
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Allowed,
    Denied,
    /// To the broker's own file, which knows one user and lets everybody publish and subscribe below `open`.
    Left,
    Failed,
}

use Outcome::{Allowed, Denied, Failed, Left};

/// Status, media type, body, and what comes of it.
type Row = (u16, &'static str, &'static str, Outcome);

const LOGINS: &[Row] = &[
    (200, JSON, r#"{"result": "allow", "is_superuser": false}"#, Allowed),
    (200, JSON, r#"{"result": "allow", "is_superuser": "true"}"#, Allowed),
    (200, FORM, "result=allow&is_superuser=true", Allowed),
    (204, "", "", Allowed),
    (200, JSON, r#"{"result": "deny"}"#, Denied),
    (200, FORM, "result=deny", Denied),
    (200, JSON, r#"{"is_superuser": true}"#, Denied),
    (200, JSON, "[]", Denied),
    (200, "", "", Denied),
    (200, "", r#"{"result": "allow"}"#, Denied),
    (200, "text/plain", r#"{"result": "allow"}"#, Denied),
    (201, JSON, r#"{"result": "allow"}"#, Denied),
    (403, JSON, r#"{"result": "allow"}"#, Denied),
    (200, JSON, r#"{"result": "ignore"}"#, Left),
    (200, FORM, "result=ignore", Left),
    (200, JSON, "not-json", Failed),
    (200, JSON, r#"{"result": "unexpected"}"#, Failed),
    (200, JSON, r#"{"result": "allow", "clientid_override": "x"}"#, Failed),
    (200, JSON, r#"{"result": "allow", "zone_override": "x"}"#, Failed),
    (
        200,
        JSON,
        r##"{"result": "allow", "acl": [{"permission": "allow", "action": "all", "topic": "#", "zone": "z"}]}"##,
        Failed,
    ),
    (503, JSON, r#"{"result": "allow"}"#, Failed),
];

const ACCESSES: &[Row] = &[
    (200, JSON, r#"{"result": "allow"}"#, Allowed),
    (200, "", r#"{"result": "allow"}"#, Allowed),
    (200, FORM, "result=allow", Allowed),
    (204, "", "", Allowed),
    (200, JSON, r#"{"result": "deny"}"#, Denied),
    (200, JSON, "{}", Denied),
    (200, JSON, "[]", Denied),
    (200, "", "", Denied),
    (200, "text/csv", "hi", Denied),
    (201, JSON, r#"{"result": "allow"}"#, Denied),
    (400, "text/plain", "Response body", Denied),
    (200, JSON, r#"{"result": "ignore"}"#, Left),
    (200, JSON, "not-json", Failed),
    (500, JSON, r#"{"result": "allow"}"#, Failed),
];

fn reply((status, media_type, body, _): Row) -> Reply {
    let reply = Reply::status(status);
    let typed =
        if media_type.is_empty() { reply } else { reply.header("Content-Type", media_type) };
    if body.is_empty() { typed } else { typed.body(body) }
}

/// The number behind `row-` in a text.
fn row(text: &str) -> Option<usize> {
    text.split_once("row-")?.1.split('/').next()?.parse().ok()
}

fn config(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> BrokerConfig {
    let options = [&ROUTES[..], &EVERY_QUESTION, &[COMPAT], more].concat();
    Broker::config(version).plugin(api.options(options))
}

fn allowing(more: Value) -> Reply {
    let mut body = json!({"result": "allow"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Reply::status(200).json(body)
}

on_every_broker! {
    fn an_api_for_emqx_decides_about_logins(version) {
        let api = AuthServer::answering(|request| {
            let name = request.json()["username"].as_str().unwrap().to_owned();
            reply(row(&name).map_or(LOGINS[0], |row| LOGINS[row]))
        });
        let users: Vec<_> = (0..LOGINS.len()).map(|row| format!("row-{row}")).collect();
        let users: Vec<_> = users.iter().map(|user| (user.as_str(), PASSWORD)).collect();
        let broker = config(version, &api, &[]).password_file(&users).start();
        for protocol in Protocol::BOTH {
            for (user, row) in users.iter().zip(LOGINS) {
                let login = log_in(&broker, protocol, user.0);
                match row.3 {
                    Allowed => login.expect_accepted().disconnect(),
                    // 2.1 closes the first of those that waited.
                    Left if version.is_2_1() && !login.is_accepted() => {
                        log_in(&broker, protocol, user.0).expect_accepted().disconnect();
                    }
                    Left => login.expect_accepted().disconnect(),
                    Denied => assert_eq!(login.expect_refused(), protocol.refusal(), "{row:?}"),
                    Failed => login.expect_closed(),
                }
            }
        }
        // Whoever is left to the file is let in by it, and by nobody else.
        let left = LOGINS.iter().position(|row| row.3 == Left).unwrap();
        let stranger = broker.client("c").credentials(users[left].0, "wrong");
        for _ in 0..2 {
            assert!(!stranger.clone().connect().is_accepted());
        }
        broker.wait_for_log("compat emqx: the answer has no \\\"result\\\"");
        broker.wait_for_log("compat emqx: the answer says nothing");
    }

    fn an_api_for_emqx_decides_about_topics(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => allowing(json!({})),
            _ => {
                let topic = request.json()["topic"].as_str().unwrap().to_owned();
                reply(row(&topic).map_or(ACCESSES[0], |row| ACCESSES[row]))
            }
        });
        let left = ACCESSES.iter().position(|row| row.3 == Left).unwrap();
        let file = format!("pattern readwrite row-{left}/left\n");
        let broker = config(version, &api, &[("cache_ttl", "0")]).acl_file(&file).start();
        for protocol in Protocol::BOTH {
            let subscriber = logged_in(&broker, protocol, "ann");
            let publisher = logged_in(&broker, Protocol::V5, "ben");
            for (number, (.., outcome)) in ACCESSES.iter().enumerate() {
                let topic = format!("row-{number}/left");
                let is_allowed = matches!(outcome, Allowed | Left);
                assert_eq!(may_publish(&publisher, &topic), is_allowed, "{number}");
                let subscribed = subscriber.subscribe(&topic);
                if is_allowed {
                    subscribed.expect_granted();
                    publisher.publish(&topic, "x");
                    assert_eq!(subscriber.expect_message(), (topic, "x".into()));
                } else {
                    assert_eq!(subscribed.expect_refused(), subscribe_refusal(protocol), "{number}");
                }
            }
            publisher.disconnect();
            subscriber.disconnect();
        }
    }

    fn an_api_for_emqx_is_asked_in_its_words(version) {
        for form in [false, true] {
            let api = AuthServer::answering(|request| match request.path.as_str() {
                "/user" => allowing(json!({"client_attrs": {"tenant": "acme"}})),
                _ => Reply::status(204),
            });
            let mode = if form { "form" } else { "json" };
            let more = [
                ("http_params_mode", mode),
                ("http_user_fields", "clientid,peerhost,cert_common_name,keepalive"),
                ("http_acl_fields", "qos,retain,cert_subject"),
            ];
            let broker = config(version, &api, &more).start();
            let client = logged_in(&broker, Protocol::V5, "ann");
            client.subscribe("a/+").expect_granted();
            client.publish("a/b", "x");
            assert_eq!(client.expect_message(), ("a/b".into(), "x".into()));
            let bodies: Vec<String> =
                api.wait_for_requests(4).iter().map(Request::text).collect();
            let expected = if form {
                [
                    format!("username=ann&password={PASSWORD}&clientid=ann&peerhost=127.0.0.1&cert_common_name=&keepalive=60"),
                    "username=ann&clientid=ann&topic=a%2F%2B&action=subscribe&qos=1&retain=false&cert_subject=".to_owned(),
                    "username=ann&clientid=ann&topic=a%2Fb&action=publish&qos=1&retain=false&cert_subject=".to_owned(),
                    "username=ann&clientid=ann&topic=a%2Fb&action=subscribe&qos=1&retain=false&cert_subject=".to_owned(),
                ]
            } else {
                [
                    format!(r#"{{"username":"ann","password":"{PASSWORD}","clientid":"ann","peerhost":"127.0.0.1","cert_common_name":"","keepalive":"60"}}"#),
                    r#"{"username":"ann","clientid":"ann","topic":"a/+","action":"subscribe","qos":"1","retain":"false","cert_subject":""}"#.to_owned(),
                    r#"{"username":"ann","clientid":"ann","topic":"a/b","action":"publish","qos":"1","retain":"false","cert_subject":""}"#.to_owned(),
                    r#"{"username":"ann","clientid":"ann","topic":"a/b","action":"subscribe","qos":"1","retain":"false","cert_subject":""}"#.to_owned(),
                ]
            };
            assert_eq!(bodies, expected);
        }
    }

    fn rules_are_written_as_for_emqx(version) {
        let acl = json!([
            {"permission": "deny", "action": "sub", "topics": ["$SYS/#", "eq #", "eq +/#"]},
            {"permission": "allow", "action": "pub", "topic": "t/%u/${foo}"},
            {"permission": "allow", "action": "all", "topic": "t/${username}/${client_attrs.tenant}/#"},
            {"permission": "allow", "action": "pub", "topic": "eq e/${clientid}"},
            {"permission": "allow", "action": "pub", "topics": ["m/${client_attrs.missing}", "m/1"]},
            {"permission": "allow", "action": "pub", "topic": "d/${$}{clientid}"},
            {"permission": "allow", "action": "pub", "topic": "q", "qos": ["1"], "retain": "0"},
            {"permission": "allow", "action": "pub", "topic": "n", "ipaddr": "127.0.0.0/8", "clientid_re": "^ann$"},
            {"permission": "deny", "action": "all", "topic": "#"},
        ]);
        let answer = json!({"acl": acl, "client_attrs": {"tenant": "acme"}, "expire_at": 4_000_000_000_u64});
        let later = json!({"acl": acl, "client_attrs": {"tenant": "acme"}});
        for answer in [answer, later] {
            // More than ten years ahead, which counts as a mistake.
            let is_broken = answer["expire_at"] != Value::Null;
            let api = AuthServer::answering(move |_| allowing(answer.clone()));
            let more = [&ROUTES[..1], &[COMPAT]].concat();
            let broker = Broker::config(version).plugin(api.options(more)).start();
            if is_broken {
                log_in(&broker, Protocol::V5, "ann").expect_closed();
                continue;
            }
            let client = logged_in(&broker, Protocol::V5, "ann");
            for (topic, may) in [
                ("t/%u/${foo}", true), ("t/ann/${foo}", false), ("t/ann/acme/x", true),
                ("t/ann/other/x", false), ("e/${clientid}", true), ("e/ann", false), ("m/", false),
                ("m/1", true), ("d/${clientid}", true), ("d/ann", false), ("q", true), ("n", true),
            ] {
                assert_eq!(may_publish(&client, topic), may, "{topic}");
            }
            client.subscribe("t/ann/acme/#").expect_granted();
            for filter in ["#", "+/#", "$SYS/#", "t/ann/#", "e/${clientid}"] {
                client.subscribe(filter).expect_refused();
            }
            client.publish("t/ann/acme/x", "hello");
            assert_eq!(client.expect_message(), ("t/ann/acme/x".into(), "hello".into()));
        }
    }

    fn a_superuser_of_emqx_may_do_everything(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => Reply::status(200).header("Content-Type", FORM).body("result=allow&is_superuser=true"),
            _ => Reply::status(403),
        });
        let broker = config(version, &api, &[]).start();
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&client, "t"));
        client.subscribe("#").expect_granted();
        assert!(api.requests_to("/acl").is_empty());
    }

    fn the_rules_of_a_token_are_written_as_for_emqx_too(version) {
        let issuer = Issuer::es256();
        let acl = json!([
            {"permission": "allow", "action": "pub", "topic": "%u/${foo}"},
            {"permission": "allow", "action": "pub", "topic": "eq ${username}"},
        ]);
        let config = Broker::config(version);
        let keys = config.file("keys", issuer.key_file());
        let options = [("jwt_key_file", keys.to_str().unwrap()), COMPAT];
        let broker = config.plugin(options).start();
        let token = issuer.token(&claims("ann", &json!({"acl": acl})));
        let client = connect(&broker, "c", "ann", &token).expect_accepted();
        for (topic, may) in [("%u/${foo}", true), ("ann/${foo}", false), ("${username}", true), ("ann", false)] {
            assert_eq!(may_publish(&client, topic), may, "{topic}");
        }
    }

    fn what_does_not_go_with_emqx_stops_the_start(version) {
        let api = AuthServer::start();
        for (option, named) in [
            (("http_response_mode", "json"), "http_response_mode"),
            (("http_method", "GET"), "http_method"),
            (("http_superuser_route", "/superuser"), "http_superuser_route"),
        ] {
            let failed = config(version, &api, &[option]).start_expecting_failure();
            let expected = format!("options compat emqx and {named} do not go together");
            assert!(failed.log.contains(&expected), "{}", failed.log);
        }
    }
}
