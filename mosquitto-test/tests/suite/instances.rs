//! Several instances in one broker share nothing: each has its own API, clients and commands.

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use crate::control::{RESPONSES, TOPIC, command};
use crate::support::{ROUTES, instance_for_each, may_publish, saying};

/// An API that lets in whoever gives this password.
fn api(password: &'static str) -> AuthServer {
    AuthServer::answering(move |request| {
        Reply::status(if request.json()["password"] == password { 200 } else { 403 })
    })
}

fn options(api: &AuthServer, level: &str) -> Vec<(String, String)> {
    api.options([("http_user_route", "/login"), ("log_level", level)])
}

/// An API that lets in whoever gives this password, lets `root` do everything, and others everything but
/// to command.
fn api_with_operator(password: &'static str) -> AuthServer {
    AuthServer::answering(move |request| {
        let body = request.json();
        let topic = body["topic"].as_str().unwrap_or_default();
        match request.path.as_str() {
            "/user" if body["password"] != password => Reply::status(403),
            "/user" if body["username"] == "root" => saying(json!({"is_superuser": true})),
            _ => Reply::status(if topic.starts_with('$') { 403 } else { 200 }),
        }
    })
}

fn log_in(broker: &Broker, listener: usize, id: &str, user: &str, password: &str) -> Client {
    let builder = broker.client(id).port(broker.port_of(listener)).protocol(Protocol::V5);
    let client = builder.credentials(user, password).connect().expect_accepted();
    if user == "root" {
        client.subscribe(RESPONSES).expect_granted();
    }
    client
}

/// The port of the API that an operator's status is about.
fn port_in_status(operator: &Client) -> u16 {
    let status = command(operator, json!([{"command": "getStatus"}])).remove(0);
    let url = status["data"]["endpoints"][0]["url"].as_str().unwrap_or_default();
    url.rsplit(':').next().unwrap().parse().unwrap_or_else(|_| panic!("{status}"))
}

/// A broker with an instance at one listener, and nothing at another.
fn with_an_open_listener(version: Version, api: &AuthServer) -> Broker {
    Broker::config(version)
        .per_listener_settings()
        .listener(|listener| listener.plugin(api.options(ROUTES)))
        .listener(|listener| listener.allow_anonymous(true))
        .start()
}

on_every_broker! {
    fn each_instance_obeys_whom_it_let_in_and_disconnects_nobody_else(version) {
        let (one, two) = (api_with_operator("one"), api_with_operator("two"));
        let broker = instance_for_each(version, [&one, &two].map(|api| api.options(ROUTES)));
        let apis = [&one, &two];
        let operators = [
            log_in(&broker, 0, "operator-1", "root", "one"),
            log_in(&broker, 1, "operator-2", "root", "two"),
        ];
        let device = |listener: usize| {
            let id = format!("device-{}", listener + 1);
            log_in(&broker, listener, &id, "ann", ["one", "two"][listener])
        };
        let mut devices = [device(0), device(1)];
        for (this, other) in [(0, 1), (1, 0), (0, 1)] {
            assert_eq!(port_in_status(&operators[this]), apis[this].port());
            assert!(may_publish(&devices[other], "known"));
            // Neither its cache, nor its sessions, nor its API are the other's.
            apis.iter().for_each(|api| api.forget_requests());
            let id = format!("device-{}", other + 1);
            let said = command(&operators[this], json!([
                {"command": "invalidate", "all": true},
                {"command": "kick", "clientid": id},
                {"command": "kick", "username": "ann"},
            ]));
            assert!(said.iter().all(|response| response["error"].is_null()), "{said:?}");
            devices[this].wait_disconnected();
            assert!(may_publish(&devices[other], "known"), "{id} was disconnected");
            assert!(apis[other].requests().is_empty());
            // Mosquitto 2.0.11 has no ticks here, at which an answer that comes later could be sent.
            if version != Version::V2_0_11 {
                let check = json!([{"command": "checkAccess", "username": "ann", "clientid": id,
                                    "topic": "new", "acc": 2}]);
                let said = command(&operators[this], check);
                assert_eq!(said[0]["data"]["decision"], "allow", "{said:?}");
                assert!(apis[other].requests().is_empty());
                assert!(!apis[this].requests_to("/acl").is_empty());
            }
            devices[this] = device(this);
            // Whoever comes to the other listener is its instance's from then on.
            command(&operators[this], json!([{"command": "kick", "clientid": id}]));
            let stranger = log_in(&broker, this, &id, "ben", ["one", "two"][this]);
            devices[other].wait_disconnected();
            command(&operators[this], json!([{"command": "kick", "clientid": id}]));
            stranger.wait_disconnected();
            devices[other] = device(other);
        }
    }

    fn whoever_tries_in_vain_at_another_listener_takes_no_client_away(version) {
        let (one, two) = (api_with_operator("one"), api_with_operator("two"));
        let broker = instance_for_each(version, [one.options(ROUTES), two.options(ROUTES)]);
        let operator = log_in(&broker, 0, "operator-1", "root", "one");
        let other = log_in(&broker, 1, "operator-2", "root", "two");
        let device = log_in(&broker, 0, "device", "ann", "one");
        let stranger = broker.client("device").port(broker.port_of(1));
        stranger.credentials("eve", "wrong").connect().expect_refused();
        let kick = json!([{"command": "kick", "clientid": "device"}]);
        command(&other, kick.clone());
        assert!(may_publish(&device, "known"), "the other instance has not let it in");
        command(&operator, kick);
        device.wait_disconnected();
    }

    fn nobody_commands_an_instance_that_was_not_asked_what_it_may_do(version) {
        let api = api_with_operator("one");
        let broker = with_an_open_listener(version, &api);
        let operator = log_in(&broker, 0, "operator", "root", "one");
        let device = log_in(&broker, 0, "device", "ann", "one");
        let stranger = broker.client("stranger").port(broker.port_of(1)).protocol(Protocol::V5);
        let stranger = stranger.connect().expect_accepted();
        let kick = json!({"commands": [{"command": "kick", "clientid": "device"}]}).to_string();
        for _ in 0..3 {
            stranger.publish_qos0(TOPIC, &kick);
            // A message of somebody else, before which the broker has read that one.
            assert_eq!(port_in_status(&operator), api.port());
            assert!(may_publish(&device, "t"));
        }
        if version.is_2_1() {
            broker.wait_for_log("commands of \"stranger\" are not obeyed");
        }
    }

    fn nobody_commands_an_instance_that_asked_about_another_client_at_the_same_place(version) {
        let api = api_with_operator("one");
        let broker = with_an_open_listener(version, &api);
        let device = log_in(&broker, 0, "device", "ann", "one");
        let kick = json!({"commands": [{"command": "kick", "clientid": "device"}]}).to_string();
        let raw = |listener: usize, name: Option<&[u8]>| {
            let mut raw = RawClient::connect_to(broker.port_of(listener));
            raw.send(raw::connect_packet(Protocol::V3_1_1, "eve", name, name, true));
            assert_eq!(raw.read_connack(), Some(0));
            raw
        };
        for _ in 0..10 {
            // The broker mostly puts the next client into the memory of the one that has left.
            for (listener, name) in [(0, Some(&b"one"[..])), (1, None)] {
                let mut eve = raw(listener, name);
                eve.send(raw::publish_packet(Protocol::V3_1_1, TOPIC, kick.as_bytes(), None));
                eve.send(raw::ping_packet());
                eve.read_packet().unwrap();
                eve.send(raw::disconnect_packet()).wait_closed();
            }
            assert!(may_publish(&device, "t"));
        }
    }

    fn each_listener_asks_its_own_api_and_caches_for_itself(version) {
        let (one, two) = (api("one"), api("two"));
        let broker = instance_for_each(version, [options(&one, "debug"), options(&two, "error")]);
        for _ in 0..2 {
            for (listener, password, accepted) in
                [(0, "one", true), (0, "two", false), (1, "one", false), (1, "two", true)]
            {
                // On 2.1 a login that was denied costs the next one under its identifier a second try.
                let id = format!("{password} at {listener}");
                let builder = broker.client(&id).port(broker.port_of(listener));
                let login = builder.credentials("ann", password).connect();
                assert_eq!(login.is_accepted(), accepted, "{password} on listener {listener}");
            }
        }
        assert_eq!((one.requests().len(), two.requests().len()), (2, 2));
        // Each has a log level of its own: one tells of its requests, the other does not.
        let asked = |api: &AuthServer| format!("http://127.0.0.1:{}, about the login", api.port());
        broker.wait_for_log(&asked(&one));
        assert!(!broker.log_contains(&asked(&two)));
    }

    fn a_listener_without_the_plugin_is_left_alone(version) {
        let api = api("one");
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(options(&api, "info")))
            .listener(|listener| listener.allow_anonymous(true))
            .start();
        broker.client("c").port(broker.port_of(1)).connect().expect_accepted();
        broker.client("d").port(broker.port_of(0)).connect().expect_refused();
        assert!(api.requests().is_empty());
    }

    fn ending_joins_the_threads_of_every_instance(version) {
        let (one, two) = (api("one"), api("two"));
        let mut broker = instance_for_each(version, [options(&one, "info"), options(&two, "info")]);
        for (listener, password) in [(0, "one"), (1, "two")] {
            let builder = broker.client("c").port(broker.port_of(listener));
            builder.credentials("ann", password).connect().expect_accepted();
        }
        // A thread left behind would crash the broker when it unloads the library.
        assert!(broker.stop().success());
    }

    fn twice_in_one_scope_is_refused_before_2_1_and_works_from_then_on(version) {
        let (one, two) = (api("one"), api("two"));
        let config =
            Broker::config(version).plugin(options(&one, "info")).plugin(options(&two, "info"));
        if version.is_2_1() {
            let broker = config.start();
            // The first instance's denial is final, so its API alone decides.
            broker.client("c").credentials("ann", "one").connect().expect_accepted();
            broker.client("c").credentials("ann", "two").connect().expect_refused();
        } else {
            let failed = config.start_expecting_failure();
            assert!(failed.log.contains("a plugin can be loaded once per listener"), "{}", failed.log);
        }
    }
}

/// On 2.1 two instances may serve one listener: whichever decides what a client may do takes its commands.
#[test]
fn of_two_instances_in_one_scope_the_one_that_decides_takes_the_commands() {
    let leaves_it = AuthServer::answering(|_| saying(json!({"result": "ignore"})));
    let decides = api_with_operator("two");
    let more = ROUTES.into_iter().chain([("delayed_login", "false")]);
    let broker = Broker::config(Version::V2_1_2)
        .plugin(leaves_it.options(more.clone()))
        .plugin(decides.options(more))
        .start();
    let operator = log_in(&broker, 0, "operator", "root", "two");
    assert_eq!(port_in_status(&operator), decides.port());
    let device = log_in(&broker, 0, "device", "ann", "two");
    let kick: Value = json!([{"command": "kick", "clientid": "device"}]);
    command(&operator, kick);
    device.wait_disconnected();
}
