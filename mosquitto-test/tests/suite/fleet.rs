//! Three brokers that share answers through a real Redis or Valkey, and hear of what is taken back.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use mosquitto_test::prelude::*;
use mosquitto_test::redis::{Engine, IN_TOUCH, Redis};
use serde_json::{Value, json};

use crate::control::{command, operator};
use crate::metrics::Metrics;
use crate::support::{
    EVERY_QUESTION, PASSWORD, ROUTES, eventually, granting, log_in, may_publish, saying,
};

pub const SECRET: &str = "fleet-canary-0123456789abcdefghijklmnop";

/// How long whatever waits for nothing but Redis may take, on a machine that has other things to do.
pub const SOON: Duration = Duration::from_secs(10);

/// The keys of shared answers.
pub const ANSWERS: &str = "{mha1:mqtt}:a:*";

/// An API that lets in whoever has the password, and publish to `up/#`; `root` may do everything.
pub fn api() -> AuthServer {
    AuthServer::answering(allowing(&["allow publish up/#"]))
}

pub fn allowing(
    rules: &'static [&'static str],
) -> impl Fn(&mosquitto_test::api::Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let body = request.json();
        match request.path.as_str() {
            "/user" if body["username"] == "root" => saying(json!({"is_superuser": true})),
            "/user" if body["password"] == PASSWORD => granting(rules),
            "/user" => Reply::status(401),
            _ => Reply::status(403),
        }
    }
}

pub fn config(
    version: Version,
    api: &AuthServer,
    redis: &Redis,
    name: &str,
    more: &[(&str, &str)],
) -> BrokerConfig {
    config_at(version, api, &redis.address(), name, more)
}

/// A broker that finds its Redis by this address.
pub fn config_at(
    version: Version,
    api: &AuthServer,
    address: &str,
    name: &str,
    more: &[(&str, &str)],
) -> BrokerConfig {
    let fleet = [
        ("fleet_redis", address),
        ("fleet_secret", "$FLEET_SECRET"),
        ("fleet_broker", name),
        // Generous: other tests run meanwhile. How long a question waits has a test of its own.
        ("fleet_redis_timeout_ms", "5000"),
        ("fleet_ack_ms", "20000"),
    ];
    let is_other = |(name, _): &&(&str, &str)| !more.iter().any(|(other, _)| other == name);
    let fleet: Vec<_> = fleet.iter().filter(is_other).copied().collect();
    let options = [&ROUTES[..], &EVERY_QUESTION, &fleet, more].concat();
    Broker::config(version).plugin(api.options(options)).env("FLEET_SECRET", SECRET)
}

/// Brokers of these names, once they are in touch.
pub fn brokers<const N: usize>(
    version: Version,
    api: &AuthServer,
    redis: &Redis,
    more: &[(&str, &str)],
) -> [Broker; N] {
    let brokers = ["one", "two", "three"];
    std::array::from_fn(|number| {
        let broker = config(version, api, redis, brokers[number], more).start();
        broker.wait_for_log(IN_TOUCH);
        broker
    })
}

/// Waits until this many answers are in Redis.
pub fn wait_for_answers(redis: &Redis, count: usize) {
    eventually("shared answers", || redis.keys(ANSWERS).len() >= count);
}

/// Logs in, which the API is not asked about.
pub fn log_in_unasked(api: &AuthServer, broker: &Broker, user: &str) -> Client {
    api.forget_requests();
    let client = log_in(broker, Protocol::V5, user).expect_accepted();
    let asked = api.requests();
    let about_it = asked.iter().filter(|request| request.json()["username"] == user);
    assert_eq!(about_it.count(), 0, "the API was asked about {user}");
    client
}

/// How far a command has come.
pub fn progress(response: &Value) -> (u64, u64) {
    let fleet = &response["data"]["fleet"];
    let number = |key: &str| fleet[key].as_u64().unwrap_or_else(|| panic!("{response}"));
    (number("brokers"), number("applied"))
}

on_every_broker! {
    fn a_login_at_one_broker_is_known_at_the_others(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two, three] = brokers(version, &api, &redis, &[]);
        let ann = log_in(&one, Protocol::V5, "ann").expect_accepted();
        assert!(may_publish(&ann, "up/x") && !may_publish(&ann, "down/x"));
        // The login, and the topic that no rule is about.
        wait_for_answers(&redis, 2);
        for broker in [&two, &three] {
            let ann = log_in_unasked(&api, broker, "ann");
            assert!(may_publish(&ann, "up/x") && !may_publish(&ann, "down/x"));
            let asked: Vec<_> = api.requests().iter().map(|request| request.text()).collect();
            assert!(asked.is_empty(), "the denial is shared as well: {asked:?}");
        }
        api.forget_requests();
        two.client("ann").credentials("ann", "wrong").connect().expect_refused();
        two.client("ann").credentials("ben", PASSWORD).connect().expect_accepted();
        assert_eq!(api.requests_to("/user").len(), 2, "other questions are asked");
    }

    fn what_is_taken_back_while_the_broker_waits_for_it_lets_nobody_in(version) {
        let (api, redis, gate) = (api(), Redis::start(Engine::beside(version)), Gate::new());
        let held = gate.clone();
        api.set_handler(move |request| match request.json()["username"].as_str() {
            Some("ann") => allowing(&["allow publish up/#"])(request).after(&held),
            _ => allowing(&[])(request),
        });
        // As without logins that wait: the broker's thread itself waits for the answer.
        let [one, two] = brokers(version, &api, &redis, &[("delayed_login", "false")]);
        let root = operator(&two);
        gate.close();
        let ann = one.client("ann").credentials("ann", PASSWORD).start_connecting();
        gate.wait_until_waiting(1);
        let invalidate = json!([{"command": "invalidate", "username": "ann"}]);
        assert_eq!(progress(&command(&root, invalidate).remove(0)), (2, 2));
        api.set_handler(|_| Reply::status(403));
        gate.open();
        ann.outcome().expect_refused();
        assert_eq!(api.requests_to("/user").len(), 3, "root once, ann once more");
    }

    fn a_broker_that_starts_again_asks_nothing_that_is_known(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [mut one] = brokers(version, &api, &redis, &[]);
        log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
        wait_for_answers(&redis, 1);
        one.restart();
        one.wait_for_log(IN_TOUCH);
        log_in_unasked(&api, &one, "ann");
    }

    fn what_is_invalidated_at_one_broker_is_asked_anew_at_all(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two, three] = brokers(version, &api, &redis, &[]);
        let operator = operator(&one);
        let at_two = log_in(&two, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 2);
        let at_three = log_in_unasked(&api, &three, "ann");
        assert!(may_publish(&at_two, "up/x") && may_publish(&at_three, "up/x"));
        // What is asked from now on is answered otherwise.
        api.set_handler(|request| match request.json()["username"] == "ann" {
            true => Reply::status(401),
            false => Reply::status(200),
        });
        let said = command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        assert_eq!(progress(&said[0]), (3, 3), "{said:?}");
        for broker in [&one, &two, &three] {
            log_in(broker, Protocol::V5, "ann").expect_refused();
        }
        // Those that are there were asked about again.
        at_two.wait_disconnected();
        at_three.wait_disconnected();
    }

    fn what_is_invalidated_here_is_asked_anew_at_this_broker_alone(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two] = brokers(version, &api, &redis, &[("cache_auth_ttl", "600")]);
        let root = operator(&two);
        for user in ["ann", "ben"] {
            log_in(&one, Protocol::V5, user).expect_accepted().disconnect();
        }
        wait_for_answers(&redis, 3);
        for user in ["ann", "ben"] {
            log_in_unasked(&api, &two, user).disconnect();
            let here = json!({"command": "invalidate", "username": user, "here": true});
            let said = command_of(&root, here);
            assert!(said["data"].is_object() && said["data"]["fleet"].is_null(), "{said}");
        }
        // The answers that they share are there still.
        api.set_handler(|_| Reply::status(401));
        log_in(&two, Protocol::V5, "ann").expect_refused();
        log_in_unasked(&api, &one, "ben").disconnect();
        // Nor are they used later, once the broker has read on.
        let said = command_of(&root, json!({"command": "invalidate", "username": "cem"}));
        assert_eq!(progress(&said), (2, 2));
        log_in(&two, Protocol::V5, "ben").expect_refused();
    }

    fn a_session_gets_its_new_rules_wherever_it_is(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two] = brokers(version, &api, &redis, &[]);
        let operator = operator(&one);
        let ann = log_in(&two, Protocol::V5, "ann").expect_accepted();
        assert!(may_publish(&ann, "up/x") && !may_publish(&ann, "new"));
        api.set_handler(allowing(&["allow publish new"]));
        let said = command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        assert_eq!(progress(&said[0]), (2, 2), "{said:?}");
        eventually("the new rules", || may_publish(&ann, "new") && !may_publish(&ann, "up/x"));
    }

    fn whoever_is_kicked_at_one_broker_is_disconnected_at_all(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two, three] = brokers(version, &api, &redis, &[]);
        let operator = operator(&one);
        let client = |broker: &Broker, user: &str| {
            log_in(broker, Protocol::V5, user).expect_accepted()
        };
        let (ann, ben) = (client(&two, "ann"), client(&three, "ben"));
        let (other, here) = (client(&three, "other"), client(&one, "here"));
        let said = command(&operator, json!([
            {"command": "kick", "username": "ann"}, {"command": "kick", "clientid": "ben"},
            {"command": "kick", "clientid": "other", "here": true},
            {"command": "kick", "clientid": "here", "here": true},
        ]));
        assert_eq!((progress(&said[0]), progress(&said[1])), ((3, 3), (3, 3)), "{said:?}");
        assert!(said[2]["data"].is_null() && said[3]["data"].is_null(), "{said:?}");
        ann.wait_disconnected();
        ben.wait_disconnected();
        here.wait_disconnected();
        assert!(may_publish(&other, "up/x"), "not at the broker that was told");
    }

    fn the_status_and_the_metrics_tell_of_the_fleet(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one] = brokers(version, &api, &redis, &[]);
        let metrics = Metrics { port: program::free_port() };
        let listen = [("metrics_listen", &*metrics.address())];
        let two = config(version, &api, &redis, "two", &listen).start();
        two.wait_for_log(IN_TOUCH);
        let operator = operator(&two);
        wait_for_answers(&redis, 1);
        log_in_unasked(&api, &one, "root").disconnect();
        let status = command(&operator, json!([{"command": "getStatus"}])).remove(0);
        let fleet = &status["data"]["fleet"];
        assert_eq!((&fleet["name"], &fleet["broker"]), (&json!("mqtt"), &json!("two")));
        assert_eq!((&fleet["inTouch"], &fleet["outbox"]), (&json!(true), &json!(0)));
        assert_eq!(fleet["brokers"], json!(["one", "two"]));
        assert_eq!(fleet["lookups"]["absent"], 1, "{fleet}");
        let page = metrics.answer_to("GET /metrics HTTP/1.0\r\n\r\n");
        for series in ["in_touch 1", "members 2", "outbox 0", "lookups_total{result=\"absent\"} 1"] {
            assert!(page.contains(&format!("\nmosquitto_http_auth_fleet_{series}\n")), "{page}");
        }
    }

    /// S6: decisions are those without a fleet.
    fn without_redis_each_broker_asks_by_itself_and_what_was_taken_back_arrives_later(version) {
        let (api, mut redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two] = brokers(version, &api, &redis, &[("fleet_ack_ms", "100")]);
        let operator = operator(&one);
        let ann = log_in(&two, Protocol::V5, "ann").expect_accepted();
        assert!(may_publish(&ann, "up/x"));
        eventually("each knows of the other", || {
            let said = command(&operator, json!([{"command": "invalidate", "username": "nobody"}]));
            progress(&said[0]) == (2, 2)
        });
        redis.kill();
        log_in(&one, Protocol::V5, "ben").expect_accepted();
        one.client("ben").credentials("ben", "wrong").connect().expect_refused();
        two.wait_for_log("cut off from Redis");
        api.set_handler(allowing(&["allow publish new"]));
        let said = command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        assert_eq!(progress(&said[0]), (2, 1), "{said:?}");
        assert_eq!(said[0]["data"]["fleet"]["waiting"], json!(["two"]));
        assert!(may_publish(&ann, "up/x"), "two was not told");
        let marks = [one.log_mark(), two.log_mark()];
        redis.restart();
        one.wait_for_log_after(marks[0], IN_TOUCH);
        two.wait_for_log_after(marks[1], IN_TOUCH);
        eventually("the new rules", || may_publish(&ann, "new") && !may_publish(&ann, "up/x"));
    }

    fn a_frozen_redis_holds_nobody_up(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let limit = ("fleet_redis_timeout_ms", "50");
        let [one, two] = brokers(version, &api, &redis, &[limit]);
        let operator = operator(&one);
        redis.freeze();
        let started = Instant::now();
        for number in 0..50 {
            log_in(&one, Protocol::V5, &format!("user {number}")).expect_accepted();
        }
        // Each waits for 50 ms, until after a few failures in a row nobody does.
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        one.wait_for_log("cut off from Redis");
        let marks = [one.log_mark(), two.log_mark()];
        redis.thaw();
        one.wait_for_log_after(marks[0], IN_TOUCH);
        two.wait_for_log_after(0, IN_TOUCH);
        let mut said = Value::Null;
        eventually("all are told", || {
            said = command(&operator, json!([{"command": "invalidate", "username": "ann"}])).remove(0);
            progress(&said) == (2, 2)
        });
    }

    /// The thread that writes waits for Redis for a second and more; the response does not.
    fn a_response_waits_no_longer_than_fleet_ack_ms(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, _two] = brokers(version, &api, &redis, &[("fleet_ack_ms", "100")]);
        let operator = operator(&one);
        let command = || command_of(&operator, json!({"command": "invalidate", "username": "ann"}));
        // On a machine that has other things to do, one may be late.
        eventually("a response in time", || {
            eventually("all are in touch", || progress(&command()) == (2, 2));
            redis.freeze();
            let began = Instant::now();
            command();
            let took = began.elapsed();
            redis.thaw();
            took < Duration::from_millis(800)
        });
    }

    fn what_redis_forgets_is_put_back(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two] = brokers(version, &api, &redis, &[]);
        let operator = operator(&one);
        log_in(&two, Protocol::V5, "ann").expect_accepted().disconnect();
        command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        let length = || redis.ask(&["XLEN", "{mha1:mqtt}:log"])[0].parse::<usize>().unwrap();
        let (before, marks) = (length(), [one.log_mark(), two.log_mark()]);
        redis.ask(&["FLUSHALL"]);
        one.wait_for_log_after(marks[0], "Redis has lost entries of the log");
        two.wait_for_log_after(marks[1], "Redis has lost entries of the log");
        // The beginning of another epoch, and the invalidation.
        eventually("the entries", || length() >= before);
        let said = command(&operator, json!([{"command": "invalidate", "username": "ann"}]));
        assert_eq!(progress(&said[0]), (2, 2), "{said:?}");
        log_in(&two, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 1);
        log_in_unasked(&api, &one, "ann");
    }

    /// S5, with whoever has another secret in the place of whoever has none.
    fn a_broker_with_another_secret_has_no_part(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two] = brokers(version, &api, &redis, &[]);
        let stranger = config(version, &api, &redis, "stranger", &[])
            .env("FLEET_SECRET", "another-canary-0123456789abcdefghijklm")
            .start();
        stranger.wait_for_log("cannot be opened; do all brokers have the same fleet_secret?");
        stranger.wait_for_log(IN_TOUCH);
        let (operator, foreign) = (operator(&one), operator(&stranger));
        log_in(&one, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 2);
        let ann = log_in_unasked(&api, &two, "ann");
        api.forget_requests();
        log_in(&stranger, Protocol::V5, "ann").expect_accepted();
        let asked = api.requests_to("/user");
        let about_ann = asked.iter().filter(|request| request.json()["username"] == "ann");
        assert_eq!(about_ann.count(), 1, "it knows nothing of the others");
        // It can take nothing back there either.
        command(&foreign, json!([{"command": "kick", "username": "ann"}]));
        let said = command(&operator, json!([{"command": "invalidate", "username": "ben"}]));
        assert_eq!(progress(&said[0]), (2, 2), "{said:?}");
        assert!(may_publish(&ann, "up/x"));
    }

    fn brokers_that_ask_otherwise_share_nothing(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one] = brokers(version, &api, &redis, &[("http_header_X_Broker", "one")]);
        let other = |more| config(version, &api, &redis, "two", more).start();
        let two = other(&[("http_header_X_Broker", "two")]);
        two.wait_for_log(IN_TOUCH);
        log_in(&one, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 1);
        api.forget_requests();
        log_in(&two, Protocol::V5, "ann").expect_accepted();
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn redis_learns_no_name_and_no_password_nor_a_hash_of_them(version) {
        let (api, redis) = (api(), Redis::start(Engine::beside(version)));
        let [one, two] = brokers(version, &api, &redis, &[]);
        let operator = operator(&one);
        let canary = "canary-user-of-the-fleet";
        let client = log_in(&two, Protocol::V5, canary).expect_accepted();
        may_publish(&client, "canary/topic/of/the/fleet");
        command(&operator, json!([
            {"command": "invalidate", "username": canary, "topic": "canary/filter/of/#"},
            {"command": "kick", "clientid": "canary-client-of-the-fleet"},
        ]));
        wait_for_answers(&redis, 3);
        let dump = redis.dump();
        let has = |text: &[u8]| dump.windows(text.len()).any(|window| window == text);
        assert!(has(b"{mha1:mqtt}:log") && has(b"{mha1:mqtt}:a:"), "it was searched in the clear");
        for secret in [
            canary, "canary/topic/of/the/fleet", "canary/filter/of", "canary-client-of-the-fleet",
            PASSWORD, SECRET, "invalidate", "allow", "up/#",
        ] {
            let base64 = STANDARD.encode(secret);
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let cut = base64.trim_end_matches('=').len() / 4 * 4;
            for text in [secret, &base64[..cut], &URL_SAFE.encode(secret)[..cut], &hex] {
                assert!(!has(text.as_bytes()), "{secret:?} is in Redis as {text:?}");
            }
        }
        // Nor may anybody test guesses, as by the keys of mosquitto-go-auth.
        let guesses = [
            canary.to_owned(), PASSWORD.to_owned(), format!("{canary}{PASSWORD}"),
            format!("{canary}:{PASSWORD}"), format!("{canary}-{PASSWORD}"), format!("auth-{canary}-{PASSWORD}"),
            format!("{canary}canary/topic/of/the/fleet"), "canary/topic/of/the/fleet".to_owned(),
        ];
        for guess in guesses {
            for program in ["md5sum", "sha1sum", "sha256sum", "sha512sum"] {
                let hex = hash(program, &guess);
                let bytes: Vec<_> = (0..hex.len() / 2)
                    .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                    .collect();
                let whole = bytes.len() / 3 * 4;
                let forms = [
                    bytes.clone(), hex.to_uppercase().into_bytes(), hex.into_bytes(),
                    STANDARD.encode(&bytes).as_bytes()[..whole].to_vec(),
                    URL_SAFE.encode(&bytes).as_bytes()[..whole].to_vec(),
                ];
                for form in forms {
                    assert!(!has(&form), "the {program} of {guess:?} is in Redis");
                }
            }
        }
    }

    /// S3.
    fn whoever_is_cut_off_believes_answers_no_longer_than_fleet_blind_ttl(version) {
        let (api, mut redis) = (api(), Redis::start(Engine::beside(version)));
        let [one] = brokers(version, &api, &redis, &[("fleet_blind_ttl", "2")]);
        log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
        log_in_unasked(&api, &one, "ann").disconnect();
        redis.kill();
        let cut_off = Instant::now();
        one.wait_for_log("cut off from Redis");
        api.set_handler(|_| Reply::status(401));
        eventually("nothing is believed any more", || {
            thread::sleep(Duration::from_millis(50));
            !log_in(&one, Protocol::V5, "ann").is_accepted()
        });
        assert!(cut_off.elapsed() < SOON, "{:?}", cut_off.elapsed());
    }
}

/// The user of `docs/fleet.md`, by TLS.
#[test]
fn a_user_with_few_rights_does_by_tls() {
    let certs = Certs::new();
    for engine in [Engine::Redis, Engine::Valkey] {
        let (tls_port, server) = (program::free_port().to_string(), certs.server());
        let [cert, key, ca] = [&server.cert, &server.key, certs.ca_file()];
        let [cert, key, ca] = [cert, key, ca].map(|path| path.to_str().unwrap());
        let redis = Redis::start_with(
            engine,
            &[
                "--tls-port",
                &tls_port,
                "--tls-cert-file",
                cert,
                "--tls-key-file",
                key,
                "--tls-ca-cert-file",
                ca,
                "--tls-auth-clients",
                "no",
            ],
        );
        let page = fs::read_to_string(program::repository("docs/fleet.md")).unwrap();
        let rights = page.split_once("ACL SETUSER mqtt ").unwrap().1.split('\n').next().unwrap();
        let rights = rights.replace("PASSWORD", "redis-canary-4711");
        let command: Vec<_> =
            ["ACL", "SETUSER", "mqtt"].into_iter().chain(rights.split(' ')).collect();
        assert_eq!(redis.ask(&command), ["OK"]);
        let (api, address) = (api(), format!("localhost:{tls_port}"));
        let options = [
            ("fleet_redis", address.as_str()),
            ("fleet_redis_tls", "true"),
            ("fleet_redis_tls_ca_file", ca),
            ("fleet_redis_username", "mqtt"),
            ("fleet_redis_password", "$REDIS_PASSWORD"),
        ];
        let start = |name: &str, password: &str| {
            let config = config(Version::V2_1_2, &api, &redis, name, &options);
            config.env("REDIS_PASSWORD", password).start()
        };
        let (one, two) = (start("one", "redis-canary-4711"), start("two", "redis-canary-4711"));
        let other = start("three", "another");
        one.wait_for_log(IN_TOUCH);
        two.wait_for_log(IN_TOUCH);
        other.wait_for_log("cut off from Redis");
        let operator = operator(&one);
        log_in(&one, Protocol::V5, "ann").expect_accepted();
        wait_for_answers(&redis, 2);
        log_in_unasked(&api, &two, "ann");
        let said = command_of(&operator, json!({"command": "invalidate", "username": "ann"}));
        assert_eq!(progress(&said), (2, 2), "{said}");
        let denied = redis.ask(&["ACL", "LOG"]);
        assert!(!denied.iter().any(|line| line.contains("command")), "{denied:?}");
        log_in(&other, Protocol::V5, "ann").expect_accepted();
    }
}

/// A hash, in hexadecimal, by the program of this name.
fn hash(program: &str, text: &str) -> String {
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

pub fn command_of(operator: &Client, one: Value) -> Value {
    command(operator, json!([one])).remove(0)
}

/// Where both fail, answers live as long as they do without a fleet.
#[test]
fn if_the_api_fails_as_well_answers_live_on() {
    let (api, mut redis) = (api(), Redis::start(Engine::Valkey));
    let options = [("fleet_blind_ttl", "1"), ("cache_auth_ttl", "600")];
    let [one] = brokers(Version::V2_1_2, &api, &redis, &options);
    log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
    redis.kill();
    one.wait_for_log("cut off from Redis");
    api.set_handler(|_| Reply::status(500));
    api.forget_requests();
    eventually("ann is asked about", || {
        thread::sleep(Duration::from_millis(50));
        log_in(&one, Protocol::V5, "ann").expect_accepted().disconnect();
        !api.requests().is_empty()
    });
    log_in(&one, Protocol::V5, "ann").expect_accepted();
}

#[test]
fn a_fleet_without_a_secret_or_with_a_short_one_does_not_start() {
    let api = api();
    for (options, told) in [
        (vec![("fleet_redis", "127.0.0.1:1")], "fleet_secret"),
        (vec![("fleet_redis", "127.0.0.1:1"), ("fleet_secret", "$SHORT")], "it has 5 bytes"),
        (vec![("fleet_redis", "127.0.0.1:1"), ("fleet_secret", SECRET)], "@FILE or $NAME"),
        (vec![("fleet_redis", "127.0.0.1:1"), ("fleet_redis_kind", "many")], "sentinel"),
    ] {
        let options = [&ROUTES[..], &options].concat();
        let config = Broker::config(Version::V2_1_2).plugin(api.options(options));
        let failed = config.env("SHORT", "short").start_expecting_failure();
        assert!(failed.log.contains(told), "{told:?}: {}", failed.log);
        assert!(!failed.log.contains(SECRET) && !failed.log.contains("short"), "{}", failed.log);
    }
}
