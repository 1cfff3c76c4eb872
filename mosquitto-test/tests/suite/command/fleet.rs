//! `fleet status`, `fleet invalidate` and `fleet kick`, beside brokers that share a Redis.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use mosquitto_test::command::{Ran, run};
use mosquitto_test::prelude::*;
use mosquitto_test::redis::{Engine, Redis};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::Conf;
use crate::fleet::{SECRET, api, brokers};
use crate::support::{EVERY_QUESTION, PASSWORD, ROUTES, eventually, granting, log_in, may_publish};

/// The configuration of a broker of this fleet, which does not run.
struct Member {
    conf: Conf,
    secret: NamedTempFile,
}

impl Member {
    fn new(api: &AuthServer, redis: &Redis, secret: &str, more: &[(&str, &str)]) -> Member {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(secret.as_bytes()).unwrap();
        let (address, at) = (redis.address(), format!("@{}", file.path().display()));
        let fleet = [
            ("fleet_redis", address.as_str()),
            ("fleet_secret", at.as_str()),
            ("fleet_broker", "command"),
            ("fleet_ack_ms", "20000"),
        ];
        let conf = Conf::of(api, &[&ROUTES[..], &EVERY_QUESTION, &fleet, more].concat());
        Member { conf, secret: file }
    }

    fn fleet(&self, command: &str, arguments: &[&str]) -> Ran {
        fleet(&self.conf, command, arguments)
    }

    /// The same, as JSON; everything has to go well.
    fn json(&self, command: &str, arguments: &[&str]) -> Value {
        let ran = self.fleet(command, &[arguments, &["--json"]].concat());
        assert_eq!(ran.status, 0, "{}", ran.all());
        ran.json()
    }
}

fn fleet(conf: &Conf, command: &str, arguments: &[&str]) -> Ran {
    let path = conf.path();
    run(&[&["fleet", command, path.to_str().unwrap()], arguments].concat(), "")
}

/// The names and states of the brokers that `fleet status` shows.
fn states(report: &Value) -> Vec<(&str, bool)> {
    let state = |broker: &'_ Value| broker["upToDate"].as_bool().unwrap();
    let brokers = report["brokers"].as_array().unwrap();
    brokers.iter().map(|broker| (broker["name"].as_str().unwrap(), state(broker))).collect()
}

on_every_broker! {
    fn what_the_command_takes_back_reaches_all_brokers(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [mut one, two, three] = brokers(version, &api, &redis, &[]);
        let member = Member::new(&api, &redis, SECRET, &[]);
        let ann = log_in(&two, Protocol::V5, "ann").expect_accepted();
        let ben = log_in(&three, Protocol::V5, "ben").expect_accepted();
        assert!(may_publish(&ann, "up/x"));

        api.set_handler(|request| match request.path.as_str() {
            "/user" if request.json()["password"] == PASSWORD => granting(&["allow publish new/#"]),
            _ => Reply::status(403),
        });
        let said = member.json("invalidate", &["-u", "ann"]);
        assert_eq!(said, json!({"brokers": 3, "applied": 3, "waiting": []}));
        eventually("ann has her new rules", || may_publish(&ann, "new/x"));
        assert!(!may_publish(&ann, "up/x"));
        assert!(may_publish(&ben, "up/x"), "ben was not meant");

        let ran = member.fleet("kick", &["-i", "ben"]);
        assert_eq!((ran.status, ran.stdout.trim()), (0, "applied by 3 of 3 brokers"));
        ben.wait_disconnected();
        assert!(may_publish(&ann, "new/x"), "ann was not meant");

        let report = member.json("status", &[]);
        assert_eq!(states(&report), [("one", true), ("three", true), ("two", true)]);
        assert_eq!(report["log"]["unreadable"], 0);
        assert_eq!(report["redis"], redis.address());
        one.stop();
        // The command is no member, and a broker that has ended is none any more.
        let report = member.json("status", &[]);
        assert_eq!(states(&report), [("three", true), ("two", true)]);
    }
}

#[test]
fn brokers_that_share_no_answers_and_other_secrets_are_shown() {
    let (api, redis) = (api(), Redis::start(Engine::Redis));
    let [one] = brokers(Version::V2_1_2, &api, &redis, &[]);
    let other = Member::new(&api, &redis, "another-secret-0123456789abcdefghijklmnop", &[]);
    let ran = other.fleet("status", &[]);
    assert_eq!(ran.status, 1, "{}", ran.all());
    assert!(ran.stdout.contains("0 brokers"), "{}", ran.all());
    assert!(ran.stdout.contains("another fleet_secret"), "{}", ran.all());
    let said = other.fleet("invalidate", &["--all"]);
    assert_eq!(said.status, 3, "{}", said.all());
    assert!(said.stdout.contains("no broker of the fleet is in touch"), "{}", said.all());

    let two = [("http_header_X_Broker", "two"), ("fleet_broker", "two")];
    let [_two] = brokers(Version::V2_1_2, &api, &redis, &two);
    let ran = Member::new(&api, &redis, SECRET, &[]).fleet("status", &[]);
    assert_eq!(ran.status, 0, "{}", ran.all());
    assert!(ran.stdout.contains("2 brokers"), "{}", ran.all());
    assert!(ran.stdout.contains("these share no answers with one another"), "{}", ran.all());
    drop(one);
}

/// With it, `fleet status` reads what the brokers share.
#[test]
fn a_secret_that_everyone_may_read_is_a_hint() {
    let (api, redis) = (api(), Redis::start(Engine::Valkey));
    let member = Member::new(&api, &redis, SECRET, &[]);
    for (mode, may_read) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(member.secret.path(), Permissions::from_mode(mode)).unwrap();
        let ran = member.conf.run("check", &[], "");
        let is_said = ran.stdout.contains("can decrypt what the brokers share");
        assert_eq!(is_said, may_read, "{}", ran.all());
    }
}

#[test]
fn without_a_fleet_or_without_redis_one_line_says_so() {
    let api = api();
    let none = Conf::of(&api, &ROUTES);
    let ran = fleet(&none, "status", &[]);
    assert_eq!(ran.status, 2, "{}", ran.all());
    assert!(ran.stderr.contains("does not set fleet_redis"), "{}", ran.all());

    let redis = Redis::start(Engine::Valkey);
    let member = Member::new(&api, &redis, SECRET, &[]);
    let ran = member.fleet("invalidate", &[]);
    assert_eq!(ran.status, 2, "nothing is meant: {}", ran.all());
    drop(redis);
    for (command, arguments) in
        [("status", &[][..]), ("invalidate", &["--all"]), ("kick", &["-u", "ann"])]
    {
        let ran = member.fleet(command, arguments);
        assert_eq!(ran.status, 3, "{}", ran.all());
        assert!(ran.stdout.starts_with("failed: "), "{}", ran.all());
    }
}

#[test]
fn questions_of_the_command_ask_the_api_and_join_no_fleet() {
    let (api, redis) = (api(), Redis::start(Engine::Redis));
    let [one] = brokers(Version::V2_0_21, &api, &redis, &[]);
    log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
    eventually("a shared answer", || !redis.keys("{mha1:mqtt}:a:*").is_empty());
    api.forget_requests();
    let member = Member::new(&api, &redis, SECRET, &[]);
    let ran = member.conf.run("login", &["-u", "ann", "-P", "-"], PASSWORD);
    assert_eq!(ran.status, 0, "{}", ran.all());
    assert_eq!(api.requests_to("/user").len(), 1);
    let report = member.json("status", &[]);
    assert_eq!(states(&report), [("one", true)]);
}
