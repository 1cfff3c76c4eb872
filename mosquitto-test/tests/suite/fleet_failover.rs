//! A fleet whose Redis is found by Sentinels, or is a node of a Cluster, and is exchanged for another.

use mosquitto_test::prelude::*;
use mosquitto_test::redis::{Cluster, Engine, IN_TOUCH, MASTER, Redis, Sentinels, TlsSentinel};
use serde_json::json;

use crate::control::operator;
use crate::fleet::{
    allowing, api, command_of, config_at, log_in_unasked, progress, wait_for_answers,
};
use crate::support::{eventually, log_in, may_publish};

const LOG: &str = "{mha1:mqtt}:log";

/// Commands are waited for until another master is found, but not longer than a client waits for a response.
const ACK: (&str, &str) = ("fleet_ack_ms", "19000");
/// Answers do not end while they are counted.
const LIFE: (&str, &str) = ("cache_auth_ttl", "600");
const BY_SENTINEL: [(&str, &str); 4] =
    [("fleet_redis_kind", "sentinel"), ("fleet_redis_master", MASTER), ACK, LIFE];
const BY_CLUSTER: [(&str, &str); 3] = [("fleet_redis_kind", "cluster"), ACK, LIFE];

/// Brokers one and two, once they are in touch.
fn pair(version: Version, api: &AuthServer, address: &str, more: &[(&str, &str)]) -> [Broker; 2] {
    ["one", "two"].map(|name| {
        let broker = config_at(version, api, address, name, more).start();
        broker.wait_for_log(IN_TOUCH);
        broker
    })
}

/// The fleet does all that it is for: it shares answers by this Redis, and hears of what is taken back.
fn expect_working(api: &AuthServer, [one, two]: &[Broker; 2], redis: &Redis, user: &str) {
    let operator = operator(one);
    eventually("both are in touch", || {
        let said = command_of(&operator, json!({"command": "invalidate", "username": user}));
        progress(&said) == (2, 2)
    });
    let before = redis.keys(crate::fleet::ANSWERS).len();
    log_in(one, Protocol::V5, user).expect_accepted().disconnect();
    wait_for_answers(redis, before + 1);
    log_in_unasked(api, two, user).disconnect();
}

/// Has a user's rights changed while the master is gone, and returns once the other broker has heard of it.
fn take_back_meanwhile(
    api: &AuthServer,
    [one, two]: &[Broker; 2],
    user: &str,
    end_the_master: impl FnOnce(),
) {
    let operator = operator(one);
    let ann = log_in(two, Protocol::V5, user).expect_accepted();
    assert!(may_publish(&ann, "up/x") && !may_publish(&ann, "new"));
    end_the_master();
    api.set_handler(allowing(&["allow publish new"]));
    // Nobody waits for the others: logins go on.
    log_in(two, Protocol::V5, &format!("{user}'s friend")).expect_accepted();
    // The response comes once there is another master.
    let said = command_of(&operator, json!({"command": "invalidate", "username": user}));
    assert_eq!(progress(&said), (2, 2), "{said}");
    eventually("the new rules", || may_publish(&ann, "new") && !may_publish(&ann, "up/x"));
    api.set_handler(allowing(&["allow publish up/#"]));
}

/// The first address leads nowhere, as that of a Sentinel that is gone.
fn with_a_dead_one(addresses: &[String]) -> String {
    format!("127.0.0.1:{},{}", refused_port(), addresses.join(","))
}

/// The master ends, or hangs; later it is back, as the replica of the other.
fn sentinels_put_the_replica_in_its_place(version: Version, engine: Engine, hangs: bool) {
    let (api, mut all) = (api(), Sentinels::start(engine));
    let brokers = pair(version, &api, &with_a_dead_one(&all.addresses()), &BY_SENTINEL);
    expect_working(&api, &brokers, &all.master, "cem");
    take_back_meanwhile(&api, &brokers, "ann", || match hangs {
        true => all.master.freeze(),
        false => all.master.kill(),
    });
    all.wait_for_failover();
    expect_working(&api, &brokers, &all.replica, "dan");
    match hangs {
        true => all.master.thaw(),
        false => all.master.restart(),
    }
    expect_working(&api, &brokers, &all.replica, "eve");
}

#[test]
fn sentinels_put_the_replica_in_the_place_of_a_dead_master_of_redis() {
    sentinels_put_the_replica_in_its_place(Version::V2_0_21, Engine::Redis, false);
}

#[test]
fn sentinels_put_the_replica_in_the_place_of_a_hanging_master_of_valkey() {
    sentinels_put_the_replica_in_its_place(Version::V2_1_2, Engine::Valkey, true);
}

/// What was taken back is in no Redis any more, and one broker has not heard of it.
#[test]
fn what_a_failover_loses_is_put_back() {
    let (api, mut all) = (api(), Sentinels::start(Engine::Valkey));
    let options = [BY_SENTINEL[0], BY_SENTINEL[1], ("fleet_ack_ms", "500")];
    let start = |name: &str| {
        let address = all.addresses().join(",");
        let broker = config_at(Version::V2_1_2, &api, &address, name, &options).start();
        broker.wait_for_log(IN_TOUCH);
        broker
    };
    let (one, two, three) = (start("one"), start("two"), start("three"));
    let operator = operator(&one);
    let invalidate = |applied: u64| {
        eventually("so many have applied it", || {
            let said = command_of(&operator, json!({"command": "invalidate", "username": "ann"}));
            progress(&said) == (3, applied)
        });
    };
    invalidate(3);
    let ann = log_in(&three, Protocol::V5, "ann").expect_accepted();
    assert!(may_publish(&ann, "up/x"));
    all.part();
    three.signal(libc::SIGSTOP);
    api.set_handler(allowing(&["allow publish new"]));
    invalidate(2);
    let length = |redis: &Redis| redis.ask(&["XLEN", LOG])[0].parse::<usize>().unwrap();
    let before = length(&all.master);
    assert!(before > length(&all.replica));
    all.master.kill();
    all.wait_for_failover();
    three.signal(libc::SIGCONT);
    two.wait_for_log("Redis has lost entries of the log");
    eventually("the new rules", || may_publish(&ann, "new") && !may_publish(&ann, "up/x"));
    // The beginning of another epoch stands there as well.
    eventually("all entries", || length(&all.replica) > before);
    invalidate(3);
}

/// The master goes on, and neither it nor those who are connected to it hear that it has been replaced.
#[test]
fn brokers_leave_a_master_that_sentinels_have_lost_sight_of() {
    let (api, all) = (api(), Sentinels::start(Engine::Valkey));
    let brokers = pair(Version::V2_1_2, &api, &all.addresses().join(","), &BY_SENTINEL);
    expect_working(&api, &brokers, &all.master, "cem");
    let marks = [brokers[0].log_mark(), brokers[1].log_mark()];
    all.lock_out_of_the_master();
    all.wait_for_failover();
    for (broker, mark) in brokers.iter().zip(marks) {
        broker.wait_for_log_after(mark, "is the master no longer");
        broker.wait_for_log_after(mark, IN_TOUCH);
    }
    expect_working(&api, &brokers, &all.replica, "dan");
}

/// A master and its Sentinel are asked by TLS, and the Sentinel as well wants a password.
#[test]
fn sentinels_are_asked_by_tls() {
    const REDIS_PASSWORD: &str = "redis-canary-4712";
    let certs = Certs::new();
    let [cert, key, ca] = [&certs.server().cert, &certs.server().key, certs.ca_file()];
    let files = [("tls-cert-file", cert), ("tls-key-file", key), ("tls-ca-cert-file", ca)];
    for engine in [Engine::Redis, Engine::Valkey] {
        let tls_port = program::free_port();
        let mut settings: Vec<_> =
            files.iter().map(|(name, path)| format!("{name} {}", path.display())).collect();
        settings.push("tls-auth-clients no".to_owned());
        let mut arguments: Vec<_> = settings
            .iter()
            .flat_map(|line| line.split_once(' '))
            .map(|(n, v)| (format!("--{n}"), v))
            .collect();
        let port = tls_port.to_string();
        arguments.push(("--tls-port".to_owned(), &port));
        let arguments: Vec<_> = arguments.iter().flat_map(|(n, v)| [n.as_str(), v]).collect();
        let redis = Redis::start_with(engine, &arguments);
        let sentinel = TlsSentinel::start(engine, tls_port, REDIS_PASSWORD, &settings);
        redis.ask(&["CONFIG", "SET", "requirepass", REDIS_PASSWORD]);
        let options = [
            &BY_SENTINEL[..],
            &[
                ("fleet_redis_tls", "true"),
                ("fleet_redis_tls_ca_file", ca.to_str().unwrap()),
                ("fleet_redis_password", "$REDIS_PASSWORD"),
            ],
        ]
        .concat();
        let start = |name: &str, password: &str| {
            config_at(Version::V2_1_2, &api(), &sentinel.address(), name, &options)
                .env("REDIS_PASSWORD", password)
                .start()
        };
        let other = start("other", "another");
        other.wait_for_log("cut off from Redis");
        let one = start("one", REDIS_PASSWORD);
        one.wait_for_log(IN_TOUCH);
        assert!(!other.log_contains(IN_TOUCH));
    }
}

/// First by agreement, which the brokers hear of as MOVED; then the new one dies, and the old one takes over.
fn another_node_takes_over(version: Version, engine: Engine) {
    let (api, mut all) = (api(), Cluster::start(engine, LOG));
    let addresses = [&all.masters[2], &all.masters[0], &all.masters[1]].map(Redis::address);
    let brokers = pair(version, &api, &with_a_dead_one(&addresses), &BY_CLUSTER);
    expect_working(&api, &brokers, &all.masters[0], "cem");
    take_back_meanwhile(&api, &brokers, "ann", || all.hand_over());
    expect_working(&api, &brokers, &all.replica, "dan");
    take_back_meanwhile(&api, &brokers, "ben", || all.replica.kill());
    expect_working(&api, &brokers, &all.masters[0], "eve");
}

#[test]
fn another_node_of_a_cluster_of_redis_takes_over() {
    another_node_takes_over(Version::V2_0_21, Engine::Redis);
}

#[test]
fn another_node_of_a_cluster_of_valkey_takes_over() {
    another_node_takes_over(Version::V2_1_2, Engine::Valkey);
}

/// The fleet's slot is moved to another node while brokers work, key by key.
#[test]
fn a_fleet_follows_its_slot_to_another_node() {
    for (version, engine) in [(Version::V2_0_21, Engine::Redis), (Version::V2_1_2, Engine::Valkey)]
    {
        let (api, all) = (api(), Cluster::start(engine, LOG));
        let addresses = [&all.masters[2], &all.masters[0]].map(Redis::address);
        let brokers = pair(version, &api, &addresses.join(","), &BY_CLUSTER);
        expect_working(&api, &brokers, &all.masters[0], "cem");
        all.begin_to_move(LOG);
        // Half of it is there, and half here.
        log_in(&brokers[0], Protocol::V5, "gus").expect_accepted().disconnect();
        brokers[1].client("gus").credentials("gus", "wrong").connect().expect_refused();
        take_back_meanwhile(&api, &brokers, "ann", || all.finish_to_move(LOG));
        expect_working(&api, &brokers, &all.masters[1], "dan");
    }
}
