//! What a fleet does when its Redis is full, restored from a backup, or has something else under the fleet's keys.

use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::prelude::*;
use mosquitto_test::redis::{Engine, IN_TOUCH, Redis};
use serde_json::{Value, json};

use crate::control::operator;
use crate::fleet::{
    ANSWERS, allowing, api, brokers, command_of, config, log_in_unasked, progress, wait_for_answers,
};
use crate::support::{eventually, log_in, may_publish};

const LOG: &str = "{mha1:mqtt}:log";
const MEMBERS: &str = "{mha1:mqtt}:members";

/// With brokers of the older line and Redis, and at the same time with those of the newer and Valkey: most of it
/// is waiting.
fn with_both(test: fn(Version, Engine)) {
    thread::scope(|scope| {
        scope.spawn(|| test(Version::V2_0_21, Engine::Redis));
        scope.spawn(|| test(Version::V2_1_2, Engine::Valkey));
    });
}

fn invalidate(operator: &Client, user: &str) -> Value {
    command_of(operator, json!({"command": "invalidate", "username": user}))
}

/// Both brokers hear of what is taken back.
fn expect_in_touch(operator: &Client) {
    eventually("both are in touch", || progress(&invalidate(operator, "nobody")) == (2, 2));
}

/// Whoever is right is let in, and whoever is not is refused.
fn expect_right_decisions(broker: &Broker, user: &str) {
    log_in(broker, Protocol::V5, user).expect_accepted();
    broker.client(user).credentials(user, "wrong").connect().expect_refused();
}

#[test]
fn a_full_redis_gets_what_was_taken_back_once_there_is_room() {
    with_both(|version, engine| {
        let (api, redis) = (api(), Redis::start(engine));
        let [one, two] = brokers(version, &api, &redis, &[("fleet_ack_ms", "500")]);
        let operator = operator(&one);
        expect_in_touch(&operator);
        let ann = log_in(&two, Protocol::V5, "ann").expect_accepted();
        assert!(may_publish(&ann, "up/x"));
        assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]), ["OK"]);
        for broker in [&one, &two] {
            expect_right_decisions(broker, "ben");
        }
        api.set_handler(allowing(&["allow publish new"]));
        let said = invalidate(&operator, "ann");
        assert_eq!(progress(&said).1, 1, "{said}");
        let fleet = &command_of(&operator, json!({"command": "getStatus"}))["data"]["fleet"];
        assert_eq!(fleet["outbox"], 1, "{fleet}");
        assert!(may_publish(&ann, "up/x"), "two has not heard of it");
        assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "0"]), ["OK"]);
        eventually("the new rules", || may_publish(&ann, "new") && !may_publish(&ann, "up/x"));
        expect_in_touch(&operator);
    });
}

#[test]
fn values_of_other_types_under_the_keys_let_nobody_in() {
    with_both(|version, engine| {
        let (api, redis) = (api(), Redis::start(engine));
        let [one, two] = brokers(version, &api, &redis, &[("fleet_ack_ms", "5000")]);
        let operator = operator(&one);
        expect_in_touch(&operator);
        // An answer's name.
        log_in(&one, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 1);
        for key in redis.keys(ANSWERS) {
            redis.ask(&["DEL", &key]);
            redis.ask(&["LPUSH", &key, "allow"]);
        }
        expect_right_decisions(&two, "ann");
        // The log.
        let marks = [one.log_mark(), two.log_mark()];
        redis.ask(&["SET", LOG, "allow"]);
        one.wait_for_log_after(marks[0], "cut off from Redis");
        two.wait_for_log_after(marks[1], "cut off from Redis");
        for broker in [&one, &two] {
            expect_right_decisions(broker, "ben");
        }
        let marks = [one.log_mark(), two.log_mark()];
        redis.ask(&["DEL", LOG]);
        one.wait_for_log_after(marks[0], IN_TOUCH);
        two.wait_for_log_after(marks[1], IN_TOUCH);
        expect_in_touch(&operator);
        // The members.
        let marks = [one.log_mark(), two.log_mark()];
        redis.ask(&["SET", MEMBERS, "allow"]);
        let said = invalidate(&operator, "ann");
        assert!(progress(&said).1 < 2, "{said}");
        one.wait_for_log_after(marks[0], "cut off from Redis");
        two.wait_for_log_after(marks[1], "cut off from Redis");
        for broker in [&one, &two] {
            expect_right_decisions(broker, "cem");
        }
        redis.ask(&["DEL", MEMBERS]);
        expect_in_touch(&operator);
        log_in(&one, Protocol::V5, "dan").expect_accepted();
        eventually("answers are shared again", || {
            log_in(&one, Protocol::V5, "dan").expect_accepted();
            api.forget_requests();
            log_in(&two, Protocol::V5, "dan").expect_accepted();
            api.requests_to("/user").iter().all(|request| request.json()["username"] != "dan")
        });
        // A problem that goes on has one line.
        for broker in [&one, &two] {
            let lines = broker.log().matches("cut off from Redis").count();
            assert!(lines <= 6, "{lines} lines");
        }
    });
}

#[test]
fn garbage_in_the_place_of_answers_lets_nobody_in() {
    with_both(|version, engine| {
        let (api, redis) = (api(), Redis::start(engine));
        let [one, two] = brokers(version, &api, &redis, &[]);
        let operator = operator(&two);
        expect_right_decisions(&one, "ann");
        wait_for_answers(&redis, 2);
        for (key, garbage) in redis.keys(ANSWERS).iter().zip(["", "\u{1}", "allow"].iter().cycle())
        {
            redis.ask(&["SET", key, garbage]);
        }
        redis.ask(&["XADD", LOG, "*", "e", "garbage"]);
        redis.ask(&["XADD", LOG, "*", "another field", ""]);
        redis.ask(&["HSET", MEMBERS, "somebody", "garbage"]);
        expect_right_decisions(&two, "ann");
        two.wait_for_log("an entry of the log cannot be opened");
        let fleet = &command_of(&operator, json!({"command": "getStatus"}))["data"]["fleet"];
        assert!(fleet["lookups"]["unreadable"].as_u64() >= Some(2), "{fleet}");
        expect_in_touch(&operator);
    });
}

/// Answers from before a command come back, and the log without the command.
#[test]
fn a_backup_that_is_restored_brings_back_nothing_that_was_taken_back() {
    with_both(|version, engine| {
        let (api, mut redis) = (api(), Redis::start(engine));
        let [one, two] = brokers(version, &api, &redis, &[("cache_auth_ttl", "600")]);
        let operator = operator(&one);
        expect_in_touch(&operator);
        log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
        wait_for_answers(&redis, 1);
        log_in_unasked(&api, &two, "ann").disconnect();
        redis.dump();
        api.set_handler(|request| {
            Reply::status(if request.json()["username"] == "ann" { 401 } else { 200 })
        });
        assert_eq!(progress(&invalidate(&operator, "ann")), (2, 2));
        let marks = [one.log_mark(), two.log_mark()];
        redis.restart();
        assert!(!redis.keys(ANSWERS).is_empty(), "the old answer is there");
        for (broker, mark) in [&one, &two].into_iter().zip(marks) {
            broker.wait_for_log_after(mark, "Redis has lost entries of the log");
            broker.wait_for_log_after(mark, IN_TOUCH);
            log_in(broker, Protocol::V5, "ann").expect_refused();
        }
        // Nor one that comes now, once the command is back.
        expect_in_touch(&operator);
        let three = config(version, &api, &redis, "three", &[]).start();
        three.wait_for_log(IN_TOUCH);
        log_in(&three, Protocol::V5, "ann").expect_refused();
    });
}

/// Two was away for longer than the log goes back: what it knew is asked for anew.
#[test]
fn whoever_comes_back_to_a_trimmed_log_asks_about_its_clients_again() {
    with_both(|version, engine| {
        let (api, redis) = (api(), Redis::start(engine));
        let options = [("fleet_ack_ms", "100"), ("fleet_blind_ttl", "2")];
        let [one, two] = brokers(version, &api, &redis, &options);
        let operator = operator(&one);
        expect_in_touch(&operator);
        let ann = log_in(&two, Protocol::V5, "ann").expect_accepted();
        assert!(may_publish(&ann, "up/x"));
        two.signal(libc::SIGSTOP);
        api.set_handler(allowing(&["allow publish new"]));
        // The first one may be on its way already.
        for user in ["somebody", "ann", "somebody else"] {
            invalidate(&operator, user);
        }
        // It looks every other second whether what it has read is still there.
        let frozen = Instant::now();
        while frozen.elapsed() < Duration::from_secs(3) {
            invalidate(&operator, "somebody else");
        }
        redis.ask(&["XTRIM", LOG, "MAXLEN", "1"]);
        let mark = two.log_mark();
        two.signal(libc::SIGCONT);
        two.wait_for_log_after(mark, "was away for longer than Redis keeps entries of the log");
        eventually("the new rules", || may_publish(&ann, "new") && !may_publish(&ann, "up/x"));
        expect_in_touch(&operator);
    });
}
