//! Whatever a client calls itself, the API reads it back, and a name with a wildcard gets nothing.

use mosquitto_test::prelude::*;

fn broker(version: Version, api: &AuthServer, deny_special_chars: &str) -> Broker {
    let options = [
        ("http_user_route", "/login"),
        ("http_acl_route", "/acl"),
        ("deny_special_chars", deny_special_chars),
    ];
    Broker::config(version).plugin(api.options(options)).start()
}

/// Pairs of client identifier and username with a wildcard in one of them.
const SPECIAL: [(&str, &str); 5] =
    [("c", "+"), ("c", "a/#"), ("#", "ann"), ("a+b", "ann"), ("+/#", "#/+")];

on_every_broker! {
    fn a_wildcard_in_a_name_is_denied_every_check_unasked(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "true");
        for (id, username) in SPECIAL {
            let builder = broker.client(id).protocol(Protocol::V5).credentials(username, "x");
            let client = builder.connect().expect_accepted();
            assert_eq!(client.publish("a/b", "hello"), 0x87);
            client.subscribe("a/b").expect_refused();
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_denial_that_nobody_was_asked_about_has_its_line_at_debug(version) {
        let api = AuthServer::start();
        let options = [
            ("http_user_route", "/login"),
            ("http_acl_route", "/acl"),
            ("log_level", "debug"),
        ];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let client = broker.client("c").credentials("+", "x").connect().expect_accepted();
        client.publish("a/b", "hello");
        broker.wait_for_log(
            "access denied: username=\"+\" clientid=\"c\" acc=2 topic=\"a/b\" reason=special-chars",
        );
    }

    fn names_without_a_wildcard_are_asked_about(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "true");
        for name in ["a/b", "$SYS", "{}", "a b", "ä🗝", "\"", "%00", "${clientid}"] {
            let builder = broker.client(name).credentials(name, "x");
            let client = builder.connect().expect_accepted();
            client.publish("a/b", "hello");
            let asked = api.requests_to("/acl").pop().unwrap().json();
            assert_eq!((&asked["username"], &asked["clientid"]), (&name.into(), &name.into()));
        }
    }

    fn the_guard_can_be_switched_off(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "false");
        for (id, username) in SPECIAL {
            let client = broker.client(id).credentials(username, "x").connect().expect_accepted();
            client.publish("a/b", "hello");
            let asked = api.requests_to("/acl").pop().unwrap().json();
            assert_eq!((&asked["username"], &asked["clientid"]), (&username.into(), &id.into()));
        }
    }

    fn the_longest_names_and_topics_arrive_whole(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "true");
        let (username, topic) = ("u".repeat(65535), "t/".repeat(100) + &"x".repeat(60_000));
        let client = broker.client("c").credentials(&username, "x").connect().expect_accepted();
        client.publish(&topic, "hello");
        let asked = api.requests_to("/acl")[0].json();
        assert_eq!(asked["username"], username);
        assert_eq!(asked["topic"], topic);
    }
}
