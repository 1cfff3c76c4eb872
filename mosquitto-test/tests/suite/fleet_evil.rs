//! A Redis that replays, exchanges, forges, withholds, lies and dawdles: nobody is let in whom the API refuses,
//! nobody for longer than an answer lives, and nobody is kept waiting.

use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::prelude::*;
use mosquitto_test::redis::{EvilRedis, IN_TOUCH, Mischief};
use serde_json::{Value, json};

use crate::control::operator;
use crate::fleet::{SOON, api, command_of, config_at, log_in_unasked, progress};
use crate::support::{eventually, log_in};

/// How long a question waits for Redis here, in milliseconds.
const LIMIT: &str = "200";

fn start(version: Version, api: &AuthServer, redis: &EvilRedis, name: &str) -> Broker {
    let options = [
        ("fleet_redis_timeout_ms", LIMIT),
        ("fleet_ack_ms", "1000"),
        ("cache_auth_ttl", "600"),
        ("log_level", "info"),
    ];
    let broker = config_at(version, api, &redis.address(), name, &options).start();
    broker.wait_for_log(IN_TOUCH);
    broker
}

fn fleet(version: Version) -> (AuthServer, EvilRedis, [Broker; 2]) {
    let (api, redis) = (api(), EvilRedis::start());
    let pair = ["one", "two"].map(|name| start(version, &api, &redis, name));
    (api, redis, pair)
}

fn invalidate(operator: &Client, user: &str) -> Value {
    command_of(operator, json!({"command": "invalidate", "username": user}))
}

fn wait_for_answers(redis: &EvilRedis, count: usize) {
    eventually("shared answers", || redis.answers().len() >= count);
}

/// A new user each time, who is let in, and refused with another password.
fn expect_right_decisions(broker: &Broker, user: &str) {
    log_in(broker, Protocol::V5, user).expect_accepted();
    broker.client(user).credentials(user, "wrong").connect().expect_refused();
}

/// Looks one up that is there, so that the next ones are looked up as well.
fn expect_lookups(api: &AuthServer, [one, two]: &[Broker; 2], redis: &EvilRedis) {
    redis.does(Mischief::None, &[]);
    // Both may have had enough of it for a while.
    let mut number = 0;
    eventually("answers are shared", || {
        number += 1;
        let user = format!("shared {} {number}", redis.done());
        log_in(one, Protocol::V5, &user).expect_accepted().disconnect();
        api.forget_requests();
        log_in(two, Protocol::V5, &user).expect_accepted().disconnect();
        api.requests_to("/user").is_empty()
    });
}

on_every_broker! {
    fn values_under_other_names_let_nobody_in(version) {
        let (api, redis, [one, two]) = fleet(version);
        log_in(&one, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 1);
        let allowed = redis.answers().into_values().next().unwrap();
        log_in_unasked(&api, &two, "ann").disconnect();
        redis.does(Mischief::Substitute(allowed), &["MGET"]);
        for user in ["eve", "ann", "root "] {
            two.client(user).credentials(user, "wrong").connect().expect_refused();
        }
        log_in(&two, Protocol::V5, "ben").expect_accepted();
        assert!(redis.done() >= 4);
    }

    fn changed_values_let_nobody_in(version) {
        let (api, redis, [one, two]) = fleet(version);
        expect_right_decisions(&one, "ann");
        wait_for_answers(&redis, 2);
        redis.forget_what_is_written(true);
        redis.does(Mischief::Flip, &["MGET"]);
        let operator = operator(&two);
        for round in 1..=20 {
            api.forget_requests();
            expect_right_decisions(&two, "ann");
            assert_eq!(api.requests_to("/user").len(), 2, "in round {round}");
            // It is not known here any more.
            command_of(&operator, json!({"command": "invalidate", "username": "ann", "here": true}));
        }
        let status = command_of(&operator, json!({"command": "getStatus"}));
        assert!(status["data"]["fleet"]["lookups"]["unreadable"].as_u64() >= Some(20), "{status}");
    }

    fn answers_from_before_a_command_are_not_believed_after_it(version) {
        let (api, redis, [one, two]) = fleet(version);
        let operator = operator(&one);
        log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
        wait_for_answers(&redis, 1);
        let before = redis.answers();
        log_in_unasked(&api, &two, "ann").disconnect();
        api.set_handler(|request| {
            Reply::status(if request.json()["username"] == "ann" { 401 } else { 200 })
        });
        eventually("both have heard", || progress(&invalidate(&operator, "ann")) == (2, 2));
        redis.set_answers(before);
        redis.forget_what_is_written(true);
        for broker in [&one, &two] {
            log_in(broker, Protocol::V5, "ann").expect_refused();
        }
        let three = start(version, &api, &redis, "three");
        log_in(&three, Protocol::V5, "ann").expect_refused();
        // What the log has, and what it never had, once more changes nothing.
        redis.repeat_entries();
        redis.forge_entry(b"");
        redis.forge_entry(&[1; 200]);
        eventually("all have read it", || progress(&invalidate(&operator, "nobody")) == (3, 3));
        log_in(&three, Protocol::V5, "ann").expect_refused();
    }
}

/// A command that is withheld arrives nowhere, and the response says so; but nothing lives longer for it.
#[test]
fn what_is_withheld_is_not_taken_for_applied_and_answers_end() {
    for version in [Version::V2_0_21, Version::V2_1_2] {
        let (api, redis) = (api(), EvilRedis::start());
        let options = [("fleet_ack_ms", "500"), ("cache_auth_ttl", "3")];
        let [one, two] = ["one", "two"].map(|name| {
            let broker = config_at(version, &api, &redis.address(), name, &options).start();
            broker.wait_for_log(IN_TOUCH);
            broker
        });
        let operator = operator(&one);
        eventually("both are there", || progress(&invalidate(&operator, "nobody")) == (2, 2));
        log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
        let asked = Instant::now();
        wait_for_answers(&redis, 1);
        log_in(&two, Protocol::V5, "ann").expect_accepted().disconnect();
        redis.withhold_new_entries();
        api.set_handler(|request| {
            Reply::status(if request.json()["username"] == "ann" { 401 } else { 200 })
        });
        let said = invalidate(&operator, "ann");
        // The first one as well has not read its own command back, but has applied it itself.
        assert_eq!(said["data"]["fleet"]["waiting"], json!(["two"]), "{said}");
        log_in(&one, Protocol::V5, "ann").expect_refused();
        eventually("its end", || !log_in(&two, Protocol::V5, "ann").is_accepted());
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        redis.show_all_entries();
        eventually("both have heard", || progress(&invalidate(&operator, "ann")) == (2, 2));
    }
}

/// Whatever comes in the place of a reply.
#[test]
fn replies_that_lie_let_nobody_in_and_end_no_broker() {
    let mut lies: Vec<Vec<u8>> = [
        "",
        "\0\0\0",
        "\r\n",
        "+OK\r\n",
        ":1\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "-ERR no\r\n",
        "-MOVED 1 127.0.0.1:1\r\n",
        "-READONLY\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "$2147483647\r\nabc",
        "$9223372036854775807\r\nabc",
        "$-2\r\n",
        "*2147483647\r\n",
        "*9223372036854775807\r\n:1\r\n",
        "*1\r\n*2147483647\r\n",
        "%2147483647\r\n",
        "%-1\r\n",
        "%9223372036854775807\r\n",
        "~2147483647\r\n",
        ">2147483647\r\n",
        "|2147483647\r\n",
        "|-1\r\n",
        "=-1\r\n",
        "!-1\r\n",
        "=2147483647\r\n",
        "(123\r\n",
        "=3\r\nabc\r\n",
        ">1\r\n+message\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    lies.push(b"*1\r\n".repeat(1000));
    lies.push([&b"+"[..], &vec![b'a'; 100_000]].concat());
    lies.push([&b"*20000\r\n"[..], &b"$-1\r\n".repeat(20_000)].concat());
    // Most of it is waiting, so several are lied to at the same time.
    thread::scope(|scope| {
        for lies in lies.chunks(lies.len().div_ceil(LIARS)) {
            scope.spawn(|| tell(lies));
        }
    });
}

/// How many liars there are.
const LIARS: usize = 6;

/// A Redis that tells these lies.
fn tell(lies: &[Vec<u8>]) {
    let (api, redis, pair) = fleet(Version::V2_1_2);
    for (number, lie) in lies.iter().enumerate() {
        expect_lookups(&api, &pair, &redis);
        let shown = String::from_utf8_lossy(&lie[..lie.len().min(40)]).into_owned();
        let before = redis.done();
        redis.does(Mischief::Say(lie.clone()), &["MGET"]);
        let mut tries = 0;
        eventually(&format!("{shown:?} is said"), || {
            tries += 1;
            expect_right_decisions(&pair[1], &format!("user {number} {tries}"));
            redis.done() > before
        });
        // Some to the thread as well that follows the log, which tries anew a second later.
        if number % 5 == 0 {
            let before = redis.done();
            redis.does(Mischief::Say(lie.clone()), &["XREAD", "XRANGE", "XADD", "HGETALL", "SET"]);
            eventually("it is said", || redis.done() > before + 1);
            expect_right_decisions(&pair[1], &format!("other {number}"));
        }
    }
    expect_lookups(&api, &pair, &redis);
}

/// How slow it may be.
#[test]
fn a_slow_redis_keeps_nobody_waiting_and_no_broker_from_ending() {
    let mischiefs = [
        Mischief::Delay(Duration::from_millis(300)),
        Mischief::Swallow,
        Mischief::Cut,
        Mischief::Drip(Duration::from_millis(150)),
    ];
    thread::scope(|scope| {
        for version in [Version::V2_0_21, Version::V2_1_2] {
            for mischief in &mischiefs {
                scope.spawn(move || dawdle(version, mischief));
            }
        }
    });
}

fn dawdle(version: Version, mischief: &Mischief) {
    let (api, redis, mut pair) = fleet(version);
    expect_lookups(&api, &pair, &redis);
    redis.does(mischief.clone(), &[]);
    let started = Instant::now();
    for user in 0..20 {
        expect_right_decisions(&pair[0], &format!("user {user}"));
    }
    assert!(started.elapsed() < SOON, "{mischief:?}: {:?}", started.elapsed());
    // As well in the middle of a reply that takes for ever.
    for broker in &mut pair {
        assert!(broker.stop().success());
    }
}
