//! Clients that came in without the API's yes: by Mosquitto's password file, by a certificate, as a
//! bridge. They have no rules; what they may do is asked, or left to the broker's other means.

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{
    NOT_AUTHORIZED, ROUTES, certificate_listener, eventually, granting,
    granting_what_the_password_spells as spelled, logged_in, may_publish, saying, vanish,
    with_certificate,
};

const PASSWORDS: [(&str, &str); 1] = [("ann", "right")];

/// An API that leaves `ann` to the broker if she gives the password of its file, grants what any
/// other password spells, and allows checks on `open/…` alone.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let body = request.json();
        match request.path.as_str() {
            "/user" if body["password"] == "right" => saying(json!({"result": "ignore"})),
            "/user" => spelled(request),
            _ => {
                let open = body["topic"].as_str().is_some_and(|topic| topic.starts_with("open"));
                Reply::status(if open { 200 } else { 403 })
            }
        }
    })
}

/// A broker with a password file of its own.
fn broker(version: Version, api: &AuthServer, more: &[(&'static str, &'static str)]) -> Broker {
    let options = api.options(ROUTES.iter().chain(more).copied());
    Broker::config(version).password_file(&PASSWORDS).plugin(options).start()
}

/// Lets `ann` in by the password file. Where the API's word must be waited for, that takes two
/// attempts.
fn by_password_file(broker: &Broker, protocol: Protocol, clean: bool) -> Client {
    let builder = broker.client("c").protocol(protocol).credentials("ann", "right").clean(clean);
    match builder.connect() {
        Login::Closed => builder.connect().expect_accepted(),
        login => login.expect_accepted(),
    }
}

on_every_broker! {
    fn the_acl_route_is_asked_about_whom_the_password_file_let_in(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        for protocol in Protocol::BOTH {
            let ann = by_password_file(&broker, protocol, true);
            ann.subscribe("open/#").expect_granted();
            ann.subscribe("#").expect_refused();
            ann.publish("closed", "dropped");
            ann.publish("open/1", "hello");
            assert_eq!(ann.expect_message(), ("open/1".into(), "hello".into()));
        }
        let asked: Vec<_> = api.requests_to("/acl").iter().map(Request::json).collect();
        for (topic, acc) in [("open/#", 4), ("#", 4), ("closed", 2), ("open/1", 2), ("open/1", 1)] {
            let about = json!({"username": "ann", "clientid": "c", "topic": topic, "acc": acc});
            assert!(asked.contains(&about), "{about} is not in {asked:?}");
        }
    }

    fn what_the_api_granted_before_does_not_hold_for_whom_the_password_file_let_in(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        for clean in [true, false] {
            for _ in 0..5 {
                let builder = broker.client("c").credentials("ann", "allow all #").clean(clean);
                let by_api = builder.protocol(Protocol::V5).connect().expect_accepted();
                assert!(may_publish(&by_api, "closed"));
                vanish(&broker, "c", by_api);
                let by_file = by_password_file(&broker, Protocol::V5, clean);
                assert!(!may_publish(&by_file, "closed"), "clean session: {clean}");
                by_file.disconnect();
            }
        }
    }

    fn who_was_a_superuser_before_is_none_when_the_password_file_lets_it_in(version) {
        let api = api();
        api.set_handler(|request| match request.json()["password"].as_str() {
            Some("right") => saying(json!({"result": "ignore"})),
            Some(_) => saying(json!({"is_superuser": true})),
            None => Reply::status(403),
        });
        let broker = broker(version, &api, &[]);
        for _ in 0..5 {
            let builder = broker.client("c").protocol(Protocol::V5).credentials("ann", "root");
            let by_api = builder.connect().expect_accepted();
            assert!(may_publish(&by_api, "closed"));
            vanish(&broker, "c", by_api);
            let by_file = by_password_file(&broker, Protocol::V5, true);
            assert!(!may_publish(&by_file, "closed"));
            by_file.disconnect();
        }
    }

    fn a_will_of_whom_the_password_file_let_in_is_asked_about(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("#").expect_granted();
        drop(by_password_file(&broker, Protocol::V5, true));
        for (topic, published) in [("closed", false), ("open/will", true)] {
            let builder = broker.client("c").credentials("ann", "right").will(topic, "gone");
            vanish(&broker, "c", builder.connect().expect_accepted());
            if published {
                assert_eq!(root.expect_message(), (topic.into(), "gone".into()));
            }
            root.publish("marker", "seen");
            assert_eq!(root.expect_message().0, "marker");
        }
    }

    fn a_kept_session_of_whom_the_password_file_let_in_is_asked_about(version) {
        let api = api();
        let broker = broker(version, &api, &[]);
        let root = logged_in(&broker, Protocol::V5, "root");
        for protocol in Protocol::BOTH {
            let ann = by_password_file(&broker, protocol, false);
            ann.subscribe("open/#").expect_granted();
            ann.disconnect();
            root.publish("open/1", "while away");
            let ann = by_password_file(&broker, protocol, false);
            assert_eq!(ann.expect_message(), ("open/1".into(), "while away".into()));
            ann.disconnect();
        }
    }

    fn sighup_keeps_whom_the_password_file_let_in(version) {
        for ttl in ["0", "600"] {
            let api = api();
            let broker = broker(version, &api, &[("cache_ttl", ttl)]);
            let ann = by_password_file(&broker, Protocol::V5, true);
            broker.reload();
            broker.wait_until_idle();
            assert!(ann.is_connected(), "cache_ttl {ttl}");
            assert!(may_publish(&ann, "open/1"));
        }
    }

    fn a_local_user_may_be_away_and_leave_a_will(version) {
        let api = AuthServer::answering(spelled);
        let config = Broker::config(version).password_file(&PASSWORDS);
        let file = config.password_path().display().to_string();
        let options = api.options(ROUTES.into_iter().chain([("local_users_file", file.as_str())]));
        let broker = config.plugin(options).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("wills/#").expect_granted();
        for protocol in Protocol::BOTH {
            let builder = broker.client("c").protocol(protocol).credentials("ann", "right");
            let builder = builder.clean(false).will("wills/c", "gone");
            let ann = builder.connect().expect_accepted();
            ann.subscribe("q/#").expect_granted();
            vanish(&broker, "c", ann);
            assert_eq!(root.expect_message(), ("wills/c".into(), "gone".into()));
            root.publish("q/1", "while away");
            let ann = builder.connect().expect_accepted();
            assert_eq!(ann.expect_message(), ("q/1".into(), "while away".into()));
            ann.disconnect();
        }
        assert_eq!(api.requests().len(), 1, "only root's login was asked about");
    }

    fn whoever_has_no_name_has_the_rules_of_the_one_that_it_is_asked_under(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("guest") => granting(&["allow all ${username}/#", "deny all #"]),
            _ => saying(json!({"is_superuser": true})),
        });
        let options = api.options([ROUTES[0], ("anonymous_username", "guest")]);
        let broker = Broker::config(version).allow_anonymous(true).plugin(options).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("+/will").expect_granted();
        for topic in ["other/will", "guest/will"] {
            let builder = broker.client("c").protocol(Protocol::V5).will(topic, "gone");
            let nobody = builder.connect().expect_accepted();
            nobody.subscribe("guest/1").expect_granted();
            nobody.subscribe("other/1").expect_refused();
            assert!(!may_publish(&nobody, "other/1") && may_publish(&nobody, "guest/1"));
            assert_eq!(nobody.expect_message().0, "guest/1");
            vanish(&broker, "c", nobody);
        }
        assert_eq!(root.expect_message(), ("guest/will".into(), "gone".into()));
    }

    fn a_certificate_lets_in_by_itself_and_its_name_is_asked_about(version) {
        let (api, certs) = (api(), Certs::new());
        let config = Broker::config(version).plugin(api.options(ROUTES));
        let broker = certificate_listener(config, &certs);
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("#").expect_granted();
        let run = |rest: &[&str]| with_certificate(&broker, &certs, rest);
        for topic in ["closed", "open/1"] {
            run(&["-t", topic, "-m", "hello", "-q", "1"]);
        }
        assert_eq!(root.expect_message(), ("open/1".into(), "hello".into()));
        root.publish_message(Message::new("open/2", "kept").retained());
        let received = run(&["-t", "open/2", "-C", "1"]);
        assert_eq!(received.stdout, b"kept\n", "{received:?}");
        let refused = run(&["-t", "#", "-E"]);
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(complaint.contains("denied"), "{complaint}");
        let logins = api.requests_to("/user");
        assert!(logins.iter().all(|login| login.json()["username"] == "root"));
        let asked: Vec<_> = api.requests_to("/acl").iter().map(Request::json).collect();
        for (topic, acc) in [("closed", 2), ("open/1", 2), ("open/2", 4), ("open/2", 1), ("#", 4)] {
            let mut about = json!({"username": "sensor-7", "clientid": "c", "acc": acc});
            about["topic"] = topic.into();
            assert!(asked.contains(&about), "{about} is not in {asked:?}");
        }
    }

    fn without_an_acl_route_a_certificates_name_is_left_to_the_acl_file(version) {
        let (api, certs) = (api(), Certs::new());
        let acl = "user sensor-7\ntopic readwrite open/#\n";
        let config = Broker::config(version).acl_file(acl).plugin(api.options([ROUTES[0]]));
        let broker = certificate_listener(config, &certs);
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("#").expect_granted();
        for topic in ["closed", "open/1"] {
            with_certificate(&broker, &certs, &["-t", topic, "-m", "hello", "-q", "1"]);
        }
        assert_eq!(root.expect_message(), ("open/1".into(), "hello".into()));
        assert_eq!(api.requests().len(), 1, "only root's login was asked about");
    }

    fn a_bridge_that_comes_in_is_a_client_like_any_other(version) {
        let api = AuthServer::answering(spelled);
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        let root = logged_in(&broker, Protocol::V5, "root");
        for filter in ["up/#", "$SYS/broker/connection/#"] {
            root.subscribe(filter).expect_granted();
        }
        let rules = "allow publish $SYS/broker/connection/edge/state; deny publish up/secret; \
                     allow publish up/#; allow subscribe down/#; deny all #";
        let edge_api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => Reply::status(200),
            // Nobody is named but the clients of this broker, and it has one.
            _ if request.json()["username"] == "local" => Reply::status(200),
            _ => Reply::status(403),
        });
        let edge = Broker::config(version).plugin(edge_api.options(ROUTES));
        let edge = ["connection up".to_owned(), format!("address 127.0.0.1:{}", broker.port()),
                    "remote_clientid edge".to_owned(), "remote_username edge".to_owned(),
                    format!("remote_password {rules}"), "restart_timeout 1".to_owned(),
                    "topic up/# out 1".to_owned(), "topic down/# in 1".to_owned()]
            .iter()
            .fold(edge, |edge, line| edge.line(line))
            .start();
        let state = root.expect_message();
        assert_eq!(state, ("$SYS/broker/connection/edge/state".into(), "1".into()));
        let local = logged_in(&edge, Protocol::V5, "local");
        local.subscribe("down/#").expect_granted();
        // The bridge's subscription may be a moment behind its first message.
        eventually("the bridge works inwards", || {
            root.publish("down/1", "hello");
            local.try_message(std::time::Duration::from_millis(100)).is_some()
        });
        assert_ne!(local.publish("up/secret", "dropped"), NOT_AUTHORIZED);
        local.publish("up/1", "hello");
        assert_eq!(root.expect_message(), ("up/1".into(), "hello".into()));
        assert!(api.requests().iter().any(|login| login.json()["username"] == "edge"));
        assert_eq!(api.requests().len(), 2, "the bridge was let in once");
        let asked = edge_api.requests();
        assert!(asked.iter().all(|asked| asked.json()["username"] == "local"), "{asked:?}");
    }
}
