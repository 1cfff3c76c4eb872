//! Who may log in is what the API says of username and password.

use mosquitto_test::prelude::*;
use serde_json::json;

/// An API that knows one user.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let right = request.json() == json!({"username": "ann", "password": "right"});
        Reply::status(if right { 200 } else { 401 })
    })
}

fn broker(version: Version, api: &AuthServer) -> Broker {
    Broker::config(version).plugin(api.options([("http_user_route", "/login")])).start()
}

on_every_broker! {
    fn a_right_password_logs_in(version) {
        let api = api();
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            broker.client("c").protocol(protocol).credentials("ann", "right").connect().expect_accepted();
        }
    }

    fn a_wrong_password_is_refused_in_the_words_of_the_protocol(version) {
        let api = api();
        let broker = broker(version, &api);
        for protocol in Protocol::BOTH {
            let login = broker.client("c").protocol(protocol).credentials("ann", "wrong").connect();
            assert_eq!(login.expect_refused(), protocol.refusal());
        }
        broker.wait_for_log("login denied: ip=127.0.0.1 username=\"ann\" clientid=\"c\" reason=api");
    }

    fn the_api_gets_a_post_of_exactly_username_and_password(version) {
        let api = api();
        let broker = broker(version, &api);
        broker.client("c").credentials("ann", "right").connect().expect_accepted();
        let requests = api.requests();
        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/login"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.text(), r#"{"username":"ann","password":"right"}"#);
    }

    fn without_a_user_route_logins_are_the_brokers_own_business(version) {
        let api = api();
        let broker = Broker::config(version)
            .password_file(&[("filey", "right")])
            .plugin(api.options([("http_acl_route", "/acl")]))
            .start();
        broker.client("c").credentials("filey", "right").connect().expect_accepted();
        broker.client("c").credentials("filey", "wrong").connect().expect_refused();
        broker.client("c").credentials("ann", "right").connect().expect_refused();
        assert!(api.requests_to("/login").is_empty());
    }

    fn a_client_without_a_username_is_left_to_the_broker(version) {
        let api = AuthServer::start();
        for (allow_anonymous, accepted) in [(true, true), (false, false)] {
            let broker = Broker::config(version)
                .allow_anonymous(allow_anonymous)
                .plugin(api.options([("http_user_route", "/login")]))
                .start();
            for protocol in Protocol::BOTH {
                let login = broker.client("c").protocol(protocol).connect();
                assert_eq!(login.is_accepted(), accepted);
            }
            // An empty username is none, and never asked about either.
            let mut raw = broker.raw();
            raw.send(raw::connect_packet(Protocol::V3_1_1, "c", Some(b""), None, true));
            assert_eq!(raw.read_connack() == Some(0), accepted);
        }
        assert!(api.requests().is_empty());
    }

    fn a_client_without_a_username_is_asked_about_under_the_configured_name(version) {
        let api = AuthServer::start();
        let options =
            [("http_user_route", "/login"), ("http_acl_route", "/acl"), ("anonymous_username", "guest")];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let client = broker.client("c").connect().expect_accepted();
        client.publish("a/b", "hello");
        assert_eq!(api.requests_to("/login")[0].json(), json!({"username": "guest", "password": ""}));
        assert_eq!(api.requests_to("/acl")[0].json()["username"], "guest");
    }

    fn a_client_without_a_username_stays_at_sighup(version) {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let held = gate.clone();
        api.set_handler(move |request| match request.path.as_str() {
            "/login" => Reply::status(200).after(&held),
            _ => Reply::status(200),
        });
        gate.open();
        let options =
            [("http_user_route", "/login"), ("http_acl_route", "/acl"), ("anonymous_username", "guest")];
        // As far as the broker itself is concerned, nobody without a name may come in.
        let config = Broker::config(version).allow_anonymous(false);
        let broker = config.plugin(api.options(options)).start();
        let clients = ["asked", "known"].map(|id| {
            broker.client(id).protocol(Protocol::V5).connect().expect_accepted()
        });
        assert_eq!(api.requests_to("/login").len(), 1, "the second one's answer is cached");
        broker.reload();
        for client in &clients {
            assert_eq!(client.publish("a/b", "still here"), 0x10);
        }
        let asked = api.requests_to("/acl");
        assert!(asked.iter().all(|asked| asked.json()["username"] == "guest"), "{asked:?}");
    }

    fn an_empty_password_is_asked_about_as_empty(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api);
        let mut raw = broker.raw();
        raw.send(raw::connect_packet(Protocol::V3_1_1, "c", Some(b"ann"), Some(b""), true));
        assert_eq!(raw.read_connack(), Some(0));
        let mut raw = broker.raw();
        raw.send(raw::connect_packet(Protocol::V3_1_1, "d", Some(b"bob"), None, true));
        assert_eq!(raw.read_connack(), Some(0));
        let bodies: Vec<_> = api.requests().iter().map(Request::json).collect();
        assert_eq!(
            bodies,
            [json!({"username": "ann", "password": ""}), json!({"username": "bob", "password": ""})]
        );
    }
}
