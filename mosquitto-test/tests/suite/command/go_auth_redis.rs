//! `check` shows the fleet that mosquitto-go-auth's cache in Redis becomes, and what keeps it from becoming one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use mosquitto_test::prelude::*;
use mosquitto_test::redis::{Engine, Redis};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Conf;
use super::check::{expect_the_same, setting, texts};

const PASSWORD: &str = "hunter2-at-redis";

/// A secret that the broker's user can read.
fn secret() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
    std::fs::write(file.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
    file
}

fn path(secret: &NamedTempFile) -> String {
    format!("@{}", secret.path().display())
}

/// A configuration of mosquitto-go-auth with a cache in Redis, and more options.
fn options<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let go_auth = [
        ("backends", "http"),
        ("http_host", "127.0.0.1"),
        ("http_getuser_uri", "/user"),
        ("cache_type", "redis"),
    ];
    [&go_auth[..], more].concat()
}

fn warnings(report: &Value) -> Vec<String> {
    let warnings = report["plugins"][0]["warnings"].as_array().unwrap().iter();
    warnings.map(|text| text.as_str().unwrap().to_owned()).collect()
}

on_every_broker! {
    fn a_fleet_is_shown_as_the_broker_starts_with_it(version) {
        let (api, redis, secret) =
            (AuthServer::start(), Redis::start(Engine::beside(version)), secret());
        let (api_port, port) = (api.port().to_string(), redis.port().to_string());
        let secret_path = path(&secret);
        let broker = Broker::config(version)
            .plugin(options(&[
                ("http_port", &api_port),
                ("cache", "true"),
                ("cache_host", "127.0.0.1"),
                ("cache_port", &port),
                ("cache_db", "5"),
                ("fleet_secret", &secret_path),
            ]))
            .start();
        broker.wait_for_log(&format!("in touch with the other brokers by Redis at 127.0.0.1:{port}"));
        let conf = broker.dir().join("mosquitto.conf");
        let ran = mosquitto_test::command::run(&["check", "--json", conf.to_str().unwrap()], "");
        assert_eq!(ran.status, 0, "{}", ran.all());
        let report = ran.json();
        let in_force = |name: &str| setting(&report, name).0;
        assert_eq!(in_force("fleet_redis"), format!("127.0.0.1:{port}"));
        assert_eq!(in_force("fleet_redis_kind"), "single");
        assert_eq!(in_force("fleet_redis_database"), "5");
        for warning in warnings(&report) {
            assert!(broker.log_contains(&warning), "the broker does not say: {warning}");
        }
    }

    fn what_keeps_it_from_becoming_one_is_said_as_in_the_brokers_log(version) {
        let secret = secret();
        let secret = path(&secret);
        let given = ("fleet_secret", &*secret);
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[], "option cache_type redis needs fleet_secret"),
            (&[given, ("cache_mode", "cluster")], "option cache_mode cluster needs cache_addresses"),
            (&[given, ("cache_db", "three")], "option cache_db: \"three\" is not allowed"),
            (&[given, ("cache_port", "many")], "option cache_port: \"localhost:many\" is not allowed"),
            (&[given, ("cache_host", "http://r/")], "option cache_host: \"http://r/\" is not allowed"),
            (&[given, ("cache_password", "@hunter2-at-redis")], "option cache_password: "),
        ];
        for (more, expected) in table {
            let more = [&[("cache", "true")][..], *more].concat();
            let said = expect_the_same(Broker::config(version).plugin(options(&more))).join("\n");
            assert!(said.starts_with(expected) && !said.contains(PASSWORD), "{expected}: {said}");
        }
    }
}

#[test]
fn a_password_in_clear_is_warned_of_and_not_shown() {
    let secret = secret();
    let secret = path(&secret);
    let conf = Conf::with(options(&[
        ("cache", "true"),
        ("cache_password", PASSWORD),
        ("fleet_secret", &secret),
    ]));
    let ran = conf.run("check", &["--all", "--json"], "");
    assert_eq!((ran.status, ran.all().contains(PASSWORD)), (0, false), "{}", ran.all());
    let report = ran.json();
    let warned = warnings(&report).iter().any(|text| text.contains("stands in clear"));
    assert!(warned, "{report}");
    assert_ne!(setting(&report, "fleet_redis_password").0, "unset");
    assert_eq!(setting(&report, "fleet_redis").0, "localhost:6379");
    assert_eq!(setting(&report, "fleet_redis_database").0, "3");
    let ran = conf.run("check", &["--all"], "");
    assert_eq!((ran.status, ran.all().contains(PASSWORD)), (0, false), "{}", ran.all());
}

#[test]
fn nodes_of_a_cluster_are_shown_and_options_without_effect_are_named() {
    let secret = secret();
    let secret = path(&secret);
    let conf = Conf::with(options(&[
        ("cache", "true"),
        ("cache_mode", "cluster"),
        ("cache_addresses", "a:1,b:2"),
        ("fleet_secret", &secret),
    ]));
    let report = conf.json("check", &[], "", 0);
    assert_eq!(setting(&report, "fleet_redis_kind").0, "cluster");
    assert_eq!(setting(&report, "fleet_redis").0, "a:1, b:2");

    let dead = [("cache_host", "r"), ("cache_port", "1")];
    for (more, why) in [
        (&[][..], "nothing is shared without cache true"),
        (
            &[("cache", "true"), ("fleet_redis", "own"), ("fleet_secret", &secret)][..],
            "fleet_redis names the Redis",
        ),
    ] {
        let report = Conf::with(options(&[&dead[..], more].concat())).json("check", &[], "", 0);
        let said = warnings(&report);
        for option in ["cache_type", "cache_host", "cache_port"] {
            let expected = format!("option {option} does nothing here: {why}");
            assert!(said.iter().any(|text| text.contains(&expected)), "{expected}: {said:?}");
        }
        assert_eq!(texts(&report["plugins"][0]["mistakes"]), Vec::<String>::new());
        let servers = if more.is_empty() { "unset" } else { "own:6379" };
        assert_eq!(setting(&report, "fleet_redis").0, servers);
    }
}
