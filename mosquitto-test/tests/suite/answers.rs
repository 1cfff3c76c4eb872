//! What the body of an answer means. JSON may say more than the status, and what it says must be
//! whole: half an answer is none.

use std::time::{SystemTime, UNIX_EPOCH};

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    NOT_AUTHORIZED, ROUTES, broker_with, log_in, logged_in, may_publish, saying, subscribe_refusal,
    wait_for_failure,
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

/// A 200 with this body, which is JSON by its type whatever it is.
fn body(text: impl AsRef<[u8]>) -> Reply {
    Reply::status(200).header("Content-Type", "application/json").body(text)
}

/// What is said with a known key must be as the contract has it; each of these is not.
fn broken() -> Vec<(&'static str, Reply)> {
    let rule = |rule: Value| {
        let good = json!({"permission": "allow", "action": "all", "topic": "#"});
        saying(json!({"acl": [good, rule]}))
    };
    vec![
        ("cut", body(r#"{"result": "de"#)),
        ("cut-rules", body(r##"{"acl":[{"permission":"allow","action":"all","topic":"#"}"##)),
        ("followed", body(r#"{"result":"allow"} and more"#)),
        ("two", body(r#"{"result":"allow"}{"result":"deny"}"#)),
        ("latin-1", body(b"{\"result\":\"allow\",\"user\":\"Andr\xe9\"}")),
        (
            "utf-16",
            body(
                "{\"result\":\"deny\"}"
                    .encode_utf16()
                    .flat_map(u16::to_be_bytes)
                    .collect::<Vec<_>>(),
            ),
        ),
        ("result-twice", body(r#"{"result":"deny","result":"allow"}"#)),
        ("acl-twice", body(r#"{"acl":[],"result":"allow","acl":null}"#)),
        (
            "rule-twice",
            body(
                r##"{"acl":[{"permission":"deny","action":"all","topic":"#","permission":"allow"}]}"##,
            ),
        ),
        ("result", saying(json!({"result": "Allow"}))),
        ("result-type", saying(json!({"result": true}))),
        ("ttl", saying(json!({"ttl": "300"}))),
        ("ttl-negative", saying(json!({"ttl": -1}))),
        ("ttl-fraction", saying(json!({"ttl": -0.5}))),
        ("expire-at", saying(json!({"expire_at": "2030-01-01T00:00:00Z"}))),
        ("is-superuser", saying(json!({"is_superuser": "yes"}))),
        ("acl", saying(json!({"acl": {"permission": "allow", "action": "all", "topic": "#"}}))),
        ("rule-type", rule(json!("allow all #"))),
        ("rule-permission", rule(json!({"action": "all", "topic": "#"}))),
        ("rule-action", rule(json!({"permission": "deny", "action": "put", "topic": "#"}))),
        ("rule-topic", rule(json!({"permission": "deny", "action": "all"}))),
        ("rule-filter", rule(json!({"permission": "deny", "action": "all", "topic": "a/#/b"}))),
        ("rule-name", rule(json!({"permission": "deny", "action": "all", "topic": "${tenant}"}))),
        ("rule-qos", rule(json!({"permission": "deny", "action": "all", "topic": "#", "qos": 3}))),
        (
            "rule-condition",
            rule(json!({"permission": "deny", "action": "all", "topic": "#", "zone": "z"})),
        ),
    ]
}

/// A JSON object of this many bytes that denies.
fn long_denial(bytes: usize) -> Reply {
    let frame = json!({"result": "deny", "padding": ""}).to_string().len();
    let padding = "x".repeat(bytes - frame);
    saying(json!({"result": "deny", "padding": padding}))
}

const LONGEST: usize = 4 * 1024 * 1024;

on_every_broker! {
    fn the_result_decides_a_login(version) {
        let result = |result: Value| saying(json!({"result": result}));
        let api = api(vec![
            ("allowed", result(json!("allow"))),
            ("denied", result(json!("deny"))),
            ("null", result(Value::Null)),
            ("marked", body("\u{feff}{\"result\": \"deny\"}")),
        ]);
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "marked").expect_refused();
            for user in ["allowed", "null", "nothing-said"] {
                log_in(&broker, protocol, user).expect_accepted();
            }
            assert_eq!(log_in(&broker, protocol, "denied").expect_refused(), protocol.refusal());
        }
        broker.wait_for_log("login denied: ip=127.0.0.1 username=\"denied\" clientid=\"denied\"");
    }

    fn the_result_decides_a_check(version) {
        let denied = saying(json!({"result": "deny"}));
        let allowed = saying(json!({"result": "allow"}));
        let api = api(vec![("no", denied.clone()), ("no/#", denied), ("yes", allowed)]);
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            let client = logged_in(&broker, protocol, "ann");
            client.subscribe("+").expect_granted();
            assert_eq!(client.subscribe("no/#").expect_refused(), subscribe_refusal(protocol));
            let code = client.publish("no", "dropped");
            assert_eq!(code, if protocol == Protocol::V5 { 0x87 } else { 0 });
            client.publish("yes", "hello");
            assert_eq!(client.expect_message(), ("yes".into(), "hello".into()));
        }
    }

    fn a_superuser_is_one_only_if_the_result_does_not_say_otherwise(version) {
        let result = |result: &str| saying(json!({"result": result}));
        let superusers = [("yes", "allow"), ("no", "deny"), ("neither", "ignore")];
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/superuser" => {
                let name = request.json()["username"].as_str().unwrap().to_owned();
                result(superusers.iter().find(|(user, _)| *user == name).unwrap().1)
            }
            "/acl" => Reply::status(403),
            _ => Reply::status(200),
        });
        let broker = broker_with(version, &api, &[("http_superuser_route", "/superuser")]);
        for (user, may) in [("yes", true), ("no", false), ("neither", false)] {
            let client = logged_in(&broker, Protocol::V5, user);
            assert_eq!(may_publish(&client, "t"), may, "{user}");
        }
        assert_eq!(api.requests_to("/acl").len(), 2);
    }

    fn a_login_that_is_ignored_is_decided_by_the_password_file(version) {
        for ttl in ["0", "30"] {
            let api = AuthServer::answering(|_| saying(json!({"result": "ignore"})));
            let broker = Broker::config(version)
                .password_file(&[("ann", "right")])
                .acl_file("pattern readwrite #\n")
                .plugin(api.options([ROUTES[0], ("cache_ttl", ttl)]))
                .start();
            for protocol in Protocol::BOTH {
                let login = |user: &str, password: &str| {
                    let builder = broker.client("c").protocol(protocol);
                    let login = builder.credentials(user, password);
                    match login.connect() {
                        // Mosquitto 2.1 let it wait, and can ask its file only at once.
                        Login::Closed if version.is_2_1() => login.connect(),
                        login => login,
                    }
                };
                let ann = login("ann", "right").expect_accepted();
                assert_eq!(login("ann", "wrong").expect_refused(), protocol.refusal());
                assert_eq!(login("nobody", "right").expect_refused(), protocol.refusal());
                assert_ne!(ann.publish("a/b", "x"), NOT_AUTHORIZED);
            }
            assert!(!broker.log_contains("login denied"), "it was the file that refused");
        }
    }

    fn a_login_that_waited_and_is_ignored_is_decided_when_it_tries_again(version) {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let held = gate.clone();
        api.set_handler(move |_| saying(json!({"result": "ignore"})).after(&held));
        let broker = Broker::config(version)
            .password_file(&[("V3_1_1", "right"), ("V5", "right")])
            .plugin(api.options([ROUTES[0]]))
            .start();
        for protocol in Protocol::BOTH {
            for password in ["right", "wrong"] {
                gate.close();
                let user = format!("{protocol:?}");
                let builder = broker.client("c").protocol(protocol).credentials(&user, password);
                let attempt = builder.start_connecting();
                gate.wait_until_waiting(1);
                gate.open();
                let mut login = attempt.outcome();
                if version.is_2_1() {
                    login.expect_closed();
                    login = builder.connect();
                }
                match password {
                    "right" => drop(login.expect_accepted()),
                    _ => assert_eq!(login.expect_refused(), protocol.refusal()),
                }
            }
        }
        assert_eq!(api.requests().len(), 4, "the next attempt finds the answer");
    }

    fn a_check_that_is_ignored_is_decided_by_the_acl_file(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/acl" => saying(json!({"result": "ignore"})),
            _ => Reply::status(200),
        });
        let options = api.options(ROUTES);
        let acl = "user ann\ntopic readwrite open/#\n";
        let broker = Broker::config(version).acl_file(acl).plugin(options).start();
        for protocol in Protocol::BOTH {
            let client = logged_in(&broker, protocol, "ann");
            client.subscribe("#").expect_granted();
            client.publish("closed/a", "dropped by the file");
            client.publish("open/a", "hello");
            assert_eq!(client.expect_message(), ("open/a".into(), "hello".into()));
        }
        assert!(!api.requests_to("/acl").is_empty());
    }

    fn a_check_that_is_ignored_is_denied_where_nothing_else_decides(version) {
        let api = api(vec![("t", saying(json!({"result": "ignore"})))]);
        let broker = broker_with(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(!may_publish(&client, "t") && may_publish(&client, "u"));
        client.subscribe("t").expect_refused();
    }

    fn a_yes_until_a_time_that_is_over_is_a_no(version) {
        let api = AuthServer::answering(|_| saying(json!({"result": "allow", "expire_at": 1})));
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            assert_eq!(log_in(&broker, protocol, "ann").expect_refused(), protocol.refusal());
        }
    }

    fn half_an_answer_to_a_login_is_a_failure(version) {
        let api = api(broken());
        let broker = broker_with(version, &api, &[("cache_ttl", "600")]);
        for (user, _) in broken() {
            for protocol in Protocol::BOTH {
                log_in(&broker, protocol, user).expect_closed();
            }
            assert_eq!(asked_about(&api, user), 2, "{user}: a failure is never kept");
        }
        api.set_handler(|_| Reply::status(200));
        for (user, _) in broken() {
            log_in(&broker, Protocol::V5, user).expect_accepted();
        }
    }

    fn half_an_answer_to_a_check_is_a_failure_and_the_client_stays(version) {
        let api = api(broken());
        let broker = broker_with(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        let for_checks = ["cut", "cut-rules", "followed", "two", "latin-1", "utf-16", "result-twice",
                          "result", "result-type",
                          "ttl", "ttl-negative", "ttl-fraction"];
        for topic in for_checks {
            assert!(!may_publish(&client, topic), "{topic}");
            client.subscribe(topic).expect_refused();
        }
        // What only a login's answer can grant is nobody's business here.
        for topic in ["is-superuser", "acl", "acl-twice", "rule-type", "expire-at"] {
            assert!(may_publish(&client, topic), "{topic}");
        }
        broker.wait_for_log(" failed: broken answer (its JSON is broken: ");
    }

    fn the_log_says_what_is_wrong_with_an_answer(version) {
        for (user, problem) in [
            ("cut", "its JSON is broken: EOF while parsing a string"),
            ("utf-16", "its JSON is broken: it is not UTF-8"),
            ("result-twice", "\"result\" is there twice; allowed: once"),
            ("result", "\"result\" is \"Allow\"; allowed: \"allow\", \"deny\", \"ignore\""),
            ("ttl", "\"ttl\" is \"300\"; allowed: "),
            ("rule-filter", "rule 2: "),
        ] {
            let api = api(broken());
            let broker = broker_with(version, &api, &[]);
            log_in(&broker, Protocol::V5, user).expect_closed();
            // Quotes are escaped, since the line holds text of the API's.
            let problem = problem.escape_debug();
            broker.wait_for_log(&format!(" failed: broken answer ({problem}"));
            broker.wait_for_log(&format!("; it was asked about the login of \"{user}\""));
        }
    }

    fn json_may_be_4_mib_long_and_no_longer(version) {
        let (longest, longer) = (long_denial(LONGEST), long_denial(LONGEST + 1));
        let api = api(vec![("longest", longest), ("longer", longer)]);
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "longest").expect_refused();
        log_in(&broker, Protocol::V5, "longer").expect_closed();
        let why = format!("broken answer (its body is longer than {LONGEST} bytes)");
        wait_for_failure(&broker, &why, "the login of \"longer\"");
    }

    fn json_that_agrees_and_keys_that_nobody_knows_say_nothing(version) {
        let unknown = json!({"user": {"name": "ann"}, "Result": "deny", "ok": false, "acl_": 7});
        let rule = json!({"permission": "allow", "action": "all", "topic": "#", "comment": "all"});
        let api = api(vec![
            ("empty", body("")),
            ("blank", body(" \r\n")),
            ("array", body("[]")),
            ("string", body(r#""Allowed""#)),
            ("number", body("0")),
            ("true", body("true")),
            ("null", body("null")),
            ("no-keys", body("{}")),
            ("unknown", saying(unknown)),
            ("in-a-rule", saying(json!({"acl": [rule]}))),
        ]);
        let broker = broker_with(version, &api, &[]);
        for user in ["empty", "blank", "array", "string", "number", "true", "null", "no-keys",
                     "unknown", "in-a-rule"] {
            let client = logged_in(&broker, Protocol::V5, user);
            assert!(may_publish(&client, "t"), "{user}");
        }
        assert_eq!(api.connections(), 1);
    }

    fn a_mark_of_the_byte_order_does_not_hide_what_is_said(version) {
        let api = api(vec![
            ("denied", body("\u{feff}{\"result\": \"deny\"}")),
            ("cut", body("\u{feff}{\"result\": ")),
        ]);
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "denied").expect_refused();
        log_in(&broker, Protocol::V5, "cut").expect_closed();
    }

    fn seconds_may_have_a_fraction(version) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let api = api(vec![
            ("later", saying(json!({"expire_at": now + 600.5, "ttl": 60.5}))),
            ("past", saying(json!({"expire_at": now - 0.5}))),
            ("brief", saying(json!({"ttl": 0.5}))),
        ]);
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "past").expect_refused();
        for (user, asked) in [("later", 1), ("brief", 2)] {
            for _ in 0..2 {
                log_in(&broker, Protocol::V5, user).expect_accepted();
            }
            assert_eq!(asked_about(&api, user), asked, "{user}");
        }
    }

    fn a_rule_may_have_several_topics(version) {
        let rule = json!({"permission": "allow", "action": "publish", "topics": ["a", "b/+"]});
        let none = json!({"permission": "deny", "action": "all", "topics": []});
        let api = AuthServer::answering(move |_| saying(json!({"acl": [none, rule]})));
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let client = logged_in(&broker, Protocol::V5, "ann");
        let may = ["a", "b/1", "b", "c"].map(|topic| may_publish(&client, topic));
        assert_eq!(may, [true, true, false, false]);
    }

    fn topics_beside_a_topic_deny_and_do_not_allow(version) {
        let both = |permission: &str, topic: &str, more: &str| {
            json!({"permission": permission, "action": "all", "topic": topic, "topics": [more]})
        };
        let all = json!({"permission": "allow", "action": "all", "topic": "b/#"});
        let acl = [both("allow", "a", "c"), both("deny", "b/1", "b/2"), all];
        let api = AuthServer::answering(move |_| saying(json!({"acl": acl})));
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let client = logged_in(&broker, Protocol::V5, "ann");
        let may = ["a", "c", "b/1", "b/2", "b/3"].map(|topic| may_publish(&client, topic));
        assert_eq!(may, [true, false, false, false, true]);
    }

    fn who_is_a_superuser_by_the_logins_answer_is_never_asked_about(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => saying(json!({"is_superuser": request.json()["username"] == "root"})),
            _ => Reply::status(403),
        });
        let more = [("http_superuser_route", "/superuser"), ("cache_ttl", "0")];
        let broker = broker_with(version, &api, &more);
        for protocol in Protocol::BOTH {
            let root = logged_in(&broker, protocol, "root");
            root.subscribe("#").expect_granted();
            root.publish("a/b", "hello");
            assert_eq!(root.expect_message(), ("a/b".into(), "hello".into()));
        }
        assert_eq!(api.requests().len(), 2, "only the two logins were asked about");
        assert!(!may_publish(&logged_in(&broker, Protocol::V5, "ann"), "a/b"));
        assert!(api.requests_to("/superuser").is_empty(), "the answer said that ann is none");
        assert_eq!(api.requests_to("/acl").len(), 1);
    }
}
