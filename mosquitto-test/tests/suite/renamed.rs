//! A login's answer may say who the client is: its name from then on, and more.

use mosquitto_test::mqtt::ClientBuilder;
use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::control::{command, operator};
use crate::support::{
    NOT_AUTHORIZED, PASSWORD, ROUTES, eventually, logged_in, may_publish, rules, saying, unix_time,
    vanish,
};

/// An API to which whoever calls itself `dev-NAME` is NAME, and may use what is NAME's own. `root` may do
/// everything.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let body = request.json();
        let given = body["username"].as_str().unwrap_or_default();
        match (request.path.as_str(), given) {
            ("/user", "root") => saying(json!({"is_superuser": true})),
            ("/user", _) => saying(named(given)),
            _ => Reply::status(403),
        }
    })
}

fn named(given: &str) -> Value {
    let name = given.strip_prefix("dev-").unwrap_or("nobody");
    let rules = rules(&["allow all own/${username}/#", "allow publish wills/${username}"]);
    json!({"username": name, "acl": rules})
}

fn broker(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> Broker {
    Broker::config(version).plugin(api.options([&ROUTES[..1], more].concat())).start()
}

/// A client that calls itself so, with another identifier.
fn device(broker: &Broker, protocol: Protocol, given: &str) -> ClientBuilder {
    broker.client(&format!("id-{given}")).protocol(protocol).credentials(given, PASSWORD)
}

/// What the API was asked of logins, but for `root`'s.
fn names_asked(api: &AuthServer) -> Vec<String> {
    let asked = api.requests_to("/user").into_iter();
    let names = asked.map(|request| request.json()["username"].as_str().unwrap().to_owned());
    names.filter(|name| name != "root").collect()
}

on_every_broker! {
    fn a_client_is_known_by_the_name_that_the_api_gives_it(version) {
        for delayed in ["true", "false"] {
            let api = api();
            let broker = broker(version, &api, &[("delayed_login", delayed)]);
            let root = logged_in(&broker, Protocol::V5, "root");
            root.subscribe("wills/#").expect_granted();
            for protocol in Protocol::BOTH {
                let given = format!("dev-{protocol:?}");
                let own = format!("own/{protocol:?}/x");
                let client = device(&broker, protocol, &given)
                    .will(&format!("wills/{protocol:?}"), "gone")
                    .connect()
                    .expect_accepted();
                client.subscribe(&own).expect_granted();
                client.subscribe(&format!("own/{given}/x")).expect_refused();
                // Mosquitto asks about its sessions under the name that it knows, with the password that it
                // kept; the API was asked about neither by this name.
                broker.reload();
                client.publish(&own, "still here");
                assert_eq!(client.expect_message(), (own.clone(), "still here".into()));
                client.vanish();
                let will = format!("wills/{protocol:?}");
                assert_eq!(root.expect_message(), (will, "gone".into()));
                assert!(names_asked(&api).iter().all(|name| name.starts_with("dev-")));
            }
        }
    }

    fn the_acl_route_is_asked_about_the_name_and_the_attributes(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => {
                let attributes = json!({"tenant": "acme", "a \"b\"": "é&="});
                saying(json!({"username": "ann", "client_attrs": attributes}))
            }
            _ => Reply::status(200),
        });
        for mode in ["json", "form"] {
            api.forget_requests();
            let fields = [("http_acl_fields", "client_attrs"), ("http_params_mode", mode)];
            let options = api.options([&ROUTES[..], &fields].concat());
            let broker = Broker::config(version).plugin(options).start();
            let client = logged_in(&broker, Protocol::V5, "device");
            assert!(may_publish(&client, "t"));
            let asked = api.requests_to("/acl").pop().unwrap();
            if mode == "json" {
                let asked = asked.json();
                assert_eq!(asked["username"], "ann");
                assert_eq!(asked["client_attrs"], json!({"tenant": "acme", "a \"b\"": "é&="}));
            } else {
                let json = "%7B%22a+%5C%22b%5C%22%22%3A%22%C3%A9%26%3D%22%2C%22tenant%22%3A%22acme%22%7D";
                let form = format!("username=ann&clientid=device&topic=t&acc=2&client_attrs={json}");
                assert_eq!(asked.text(), form);
            }
        }
    }

    fn what_one_client_was_allowed_for_its_attributes_no_other_is(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            match request.path.as_str() {
                "/user" => {
                    let tenant = body["username"].clone();
                    saying(json!({"username": "shared", "client_attrs": {"tenant": tenant}}))
                }
                _ if body["client_attrs"]["tenant"] == "acme" => Reply::status(200),
                _ => Reply::status(403),
            }
        });
        let fields = [("http_acl_fields", "client_attrs")];
        let options = api.options([&ROUTES[..], &fields].concat());
        let broker = Broker::config(version).plugin(options).start();
        let client = |id: &str, user: &str| {
            let client = broker.client(id).protocol(Protocol::V5).credentials(user, PASSWORD);
            client.connect().expect_accepted()
        };
        for _ in 0..2 {
            assert!(may_publish(&client("same", "acme"), "t"));
            assert!(!may_publish(&client("same", "other"), "t"));
        }
    }

    fn attributes_stand_in_rules_under_the_guard_of_names(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let tenant = &body["password"];
            let rules = rules(&[
                "deny all t/${client_attrs.missing}/x", "allow all t/${client_attrs.tenant}/#",
                "allow all n-${client_attrs.tenant}-${username}", "deny all #",
            ]);
            saying(json!({"client_attrs": {"tenant": tenant}, "acl": rules}))
        });
        let broker = broker(version, &api, &[]);
        let client = |tenant: &str| {
            let client = broker.client("c").protocol(Protocol::V5).credentials("ann", tenant);
            client.connect().expect_accepted()
        };
        let acme = client("acme");
        for (topic, may) in [
            ("t/acme/x", true), ("t/acme", true), ("t/other/x", false), ("n-acme-ann", true),
            ("n-other-ann", false), ("t/${client_attrs.tenant}/x", false), ("t//x", false),
        ] {
            assert_eq!(may_publish(&acme, topic), may, "{topic}");
        }
        acme.subscribe("t/acme/#").expect_granted();
        acme.subscribe("t/+/#").expect_refused();
        for tenant in ["a/b", "+", "#", "a#"] {
            let client = client(tenant);
            for topic in ["t/a/b", "t/a", "t/x", "t"] {
                assert!(!may_publish(&client, topic), "{tenant}: {topic}");
            }
            client.subscribe("t/+/#").expect_refused();
            client.subscribe("t/#").expect_refused();
        }
    }

    fn a_name_that_cannot_be_one_breaks_the_answer(version) {
        let api = AuthServer::answering(|request| {
            let name = request.json()["password"].as_str().unwrap_or_default().to_owned();
            saying(json!({"username": serde_json::from_str::<Value>(&name).unwrap()}))
        });
        let config = Broker::config(version).password_file(&[("filey", "right")]);
        let file = config.password_path().display().to_string();
        let local = [("local_users_file", file.as_str()), ("breaker_failures", "1000")];
        let options = api.options([&ROUTES[..1], &local].concat());
        let broker = config.plugin(options).start();
        for protocol in Protocol::BOTH {
            let login = |name: &str| {
                broker.client("c").protocol(protocol).credentials("ann", name).connect()
            };
            for name in [r#""a/b""#, r##""#""##, r#""+a""#, r#""""#, "7", r#""a\nb""#, r#""a\u0000""#, "[]"] {
                login(name).expect_closed();
            }
            login(r#""filey""#).expect_closed();
            login("null").expect_accepted();
            login(r#""ben""#).expect_accepted();
        }
        broker.wait_for_log("an answer to a login cannot be used: \"username\" is \"filey\", a user of local_users_file");
    }

    fn a_kept_session_goes_on_under_the_name(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            let given = format!("dev-{protocol:?}");
            let topic = format!("own/{protocol:?}/x");
            let sleeper = || device(&broker, protocol, &given).clean(false);
            let client = sleeper().connect().expect_accepted();
            client.subscribe(&topic).expect_granted();
            vanish(&broker, &format!("id-{given}"), client);
            root.publish(&topic, "while away");
            let client = sleeper().connect().expect_accepted();
            assert_eq!(client.expect_message(), (topic.clone(), "while away".into()));
            root.publish(&topic, "again");
            assert_eq!(client.expect_message(), (topic, "again".into()));
        }
    }

    fn a_client_is_asked_about_again_as_it_first_called_itself(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let until = unix_time() + 2;
            match body["username"].as_str().unwrap() {
                "dev-ann" => saying(json!({"username": "ann", "expire_at": until, "acl": rules(&["allow publish ${username}"])})),
                _ => Reply::status(403),
            }
        });
        let broker = broker(version, &api, &[("cache_ttl", "0")]);
        let client = device(&broker, Protocol::V5, "dev-ann").connect().expect_accepted();
        assert!(may_publish(&client, "ann"));
        api.wait_for_requests(3);
        assert!(may_publish(&client, "ann") && client.is_connected());
        assert!(names_asked(&api).iter().all(|name| name == "dev-ann"));
        // A name that is another now is one that the client has when it comes again.
        api.set_handler(|_| saying(json!({"username": "ben", "acl": rules(&["allow publish ${username}"])})));
        client.wait_disconnected();
        broker.wait_for_log("disconnected \"id-dev-ann\": the API now gives it another name");
        let client = device(&broker, Protocol::V5, "dev-ann").connect().expect_accepted();
        assert!(may_publish(&client, "ben") && !may_publish(&client, "ann"));
    }

    fn commands_know_a_client_by_its_name(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let operator = operator(&broker);
        let login = || device(&broker, Protocol::V5, "dev-ann").connect().expect_accepted();
        let client = login();
        let asked = names_asked(&api).len();
        let check = json!({"command": "checkAccess", "username": "ann", "clientid": "id-dev-ann",
                           "topic": "own/ann/x", "acc": "publish"});
        let response = command(&operator, json!([check])).remove(0);
        assert_eq!(response["data"]["decision"], "allow", "{response}");
        let invalidate = json!([{"command": "invalidate", "username": "ann"}]);
        let response = command(&operator, invalidate).remove(0);
        assert_eq!(response["data"]["sessionsAskedAgain"], 1, "{response}");
        eventually("it is asked about again", || names_asked(&api).len() > asked);
        command(&operator, json!([{"command": "kick", "username": "ann"}]));
        client.wait_disconnected();
        // An answer that gives the name is outdated with it.
        vanish(&broker, "id-dev-ann", login());
        api.set_handler(|_| Reply::status(403));
        vanish(&broker, "id-dev-ann", login());
        command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        device(&broker, Protocol::V5, "dev-ann").connect().expect_refused();
    }
}

#[test]
fn a_login_that_waits_gets_the_name_that_its_answer_gives() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |request| {
        let name = request.json()["username"].as_str().unwrap_or_default().to_owned();
        saying(named(&name)).after(&held)
    });
    let broker = broker(Version::V2_1_2, &api, &[]);
    for protocol in Protocol::BOTH {
        gate.close();
        let given = format!("dev-{protocol:?}");
        let attempt = device(&broker, protocol, &given).start_connecting();
        gate.wait_until_waiting(1);
        gate.open();
        let client = attempt.outcome().expect_accepted();
        client.subscribe(&format!("own/{protocol:?}/x")).expect_granted();
        client.subscribe(&format!("own/{given}/x")).expect_refused();
        broker.reload();
        client.publish(format!("own/{protocol:?}/x").as_str(), "still here");
        assert_eq!(client.expect_message().1, "still here");
        let code = client.publish(&format!("own/{given}/x"), "denied");
        assert_eq!(code, if protocol == Protocol::V5 { NOT_AUTHORIZED } else { 0 });
    }
    gate.open();
}
