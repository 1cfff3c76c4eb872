//! Whoever guesses passwords is refused after a while, and named in the log for others to act.

use mosquitto_test::prelude::*;
use mosquitto_test::tokens::Issuer;
use serde_json::json;

use crate::support::{EVERY_QUESTION, ROUTES, broker_with, eventually, http_api_status, unix_time};

/// The password is `right`, and whoever is in may do everything.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let is_wrong = request.path == "/user" && request.json()["password"] != "right";
        Reply::status(if is_wrong { 403 } else { 200 })
    })
}

fn log_in(broker: &Broker, id: &str, user: &str, password: &str) -> Login {
    broker.client(id).protocol(Protocol::V5).credentials(user, password).connect()
}

on_every_broker! {
    fn too_many_wrong_passwords_are_enough(version) {
        let api = api();
        let limit = [("login_failures_max", "3"), ("cache_ttl", "0")];
        let broker = broker_with(version, &api, &limit);
        for password in ["a", "b", "c"] {
            log_in(&broker, "c", "ann", password).expect_refused();
        }
        broker.wait_for_log(
            "login denied: ip=127.0.0.1 username=\"ann\" clientid=\"c\" reason=api",
        );
        log_in(&broker, "c", "ann", "d").expect_refused();
        log_in(&broker, "c", "ann", "right").expect_refused();
        broker.wait_for_log(
            "login denied: ip=127.0.0.1 username=\"ann\" clientid=\"c\" reason=too-many-failures",
        );
        assert_eq!(api.requests().len(), 3, "the API is left in peace");
        log_in(&broker, "d", "ben", "right").expect_accepted();
    }

    fn it_is_over_when_the_window_has_passed(version) {
        let api = api();
        let limit =
            [("login_failures_max", "1"), ("login_failures_window", "1"), ("cache_ttl", "0")];
        let broker = broker_with(version, &api, &limit);
        log_in(&broker, "c", "ann", "wrong").expect_refused();
        eventually("the end of the window", || {
            log_in(&broker, "c", "ann", "right").is_accepted()
        });
    }

    fn a_right_password_counts_anew(version) {
        let api = api();
        let limit = [("login_failures_max", "2"), ("cache_ttl", "0")];
        let broker = broker_with(version, &api, &limit);
        for id in ["c-1", "c-2", "c-3"] {
            log_in(&broker, id, "ann", "wrong").expect_refused();
            log_in(&broker, "c", "ann", "right").expect_accepted();
        }
    }

    fn an_outage_is_no_wrong_password(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let broker = broker_with(version, &api, &[("login_failures_max", "1")]);
        for _ in 0..3 {
            log_in(&broker, "c", "ann", "right").expect_closed();
        }
        api.set_handler(|_| Reply::status(200));
        log_in(&broker, "d", "ann", "right").expect_accepted();
    }

    fn a_denial_that_comes_after_its_client_was_closed_counts_once(version) {
        let gate = Gate::new();
        let hold = gate.clone();
        let api = AuthServer::answering(move |request| match request.json()["password"].as_str() {
            Some("right") => Reply::status(200),
            _ => Reply::status(403).after(&hold),
        });
        let options = [
            ROUTES[0],
            ("delayed_login", "false"),
            ("max_block_ms", "1000"),
            ("max_block_percent", "100"),
            ("login_failures_max", "2"),
            ("cache_ttl", "0"),
        ];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let denials = || {
            let denied = "login denied: ip=127.0.0.1 username=\"ann\" clientid=\"c\" reason=api";
            broker.log().lines().filter(|line| line.contains(denied)).count()
        };
        log_in(&broker, "c", "ann", "one").expect_closed();
        assert_eq!(denials(), 0);
        gate.open();
        eventually("its denial is noted", || denials() == 1);
        log_in(&broker, "c", "ann", "one").expect_refused();
        broker.wait_until_idle();
        assert_eq!(denials(), 1, "it is told the same denial");
        log_in(&broker, "c", "ann", "two").expect_refused();
        assert_eq!((api.requests().len(), denials()), (2, 2));
        log_in(&broker, "c", "ann", "right").expect_refused();
        broker.wait_for_log("username=\"ann\" clientid=\"c\" reason=too-many-failures");
        assert_eq!(api.requests().len(), 2, "and from then on the API is left in peace");
    }

    fn clients_without_a_name_neither_count_nor_are_locked_out(version) {
        let (api, issuer) = (api(), Issuer::hs256());
        let config = Broker::config(version);
        let file = config.file("keys", issuer.key_file());
        let options = [
            ROUTES[0],
            ("anonymous_username", "guest"),
            ("jwt_secret_file", file.to_str().unwrap()),
            ("jwt_username", "set"),
            ("login_failures_max", "1"),
            ("cache_ttl", "0"),
        ];
        let broker = config.plugin(api.options([&options, &EVERY_QUESTION[..]].concat())).start();
        let mut count = 0;
        let mut nameless = |password: &str| {
            count += 1;
            let id = format!("nameless-{count}");
            let mut client = broker.raw();
            client.send(raw::connect_packet(Protocol::V5, &id, None, Some(password.as_bytes()), true));
            client.read_connack() == Some(0)
        };
        let token = |user, ends: u64| issuer.token(&json!({"sub": user, "exp": ends}));
        let (good, old) = (token("ann", unix_time() + 3600), token("ann", unix_time() - 3600));
        for _ in 0..2 {
            assert!(!nameless("wrong") && !nameless(&old));
        }
        assert!(nameless("right") && nameless(&good), "a stranger keeps nobody else out");
        // A client that gives this name itself counts.
        log_in(&broker, "c-1", "guest", "wrong").expect_refused();
        assert!(nameless("right"), "not even then");
        log_in(&broker, "c-2", "guest", "right").expect_refused();
        broker.wait_for_log("username=\"guest\" clientid=\"c-2\" reason=too-many-failures");
    }

    fn no_name_passes_for_an_address(version) {
        let api = api();
        let broker = broker_with(version, &api, &[]);
        let name = "x\" ip=198.51.100.1 username=\"y";
        log_in(&broker, "c", name, "wrong").expect_refused();
        let line = format!("login denied: ip=127.0.0.1 username={name:?} clientid=\"c\"");
        broker.wait_for_log(&line);
    }
}

/// Where logins wait for their answers, many guesses are on their way before the first is denied.
#[test]
fn many_guesses_at_once_count_as_many_one_after_another() {
    let (wrong, right) = (Gate::new(), Gate::new());
    let (hold_wrong, hold_right) = (wrong.clone(), right.clone());
    let api = AuthServer::answering(move |request| match request.json()["password"].as_str() {
        Some("right") => Reply::status(200).after(&hold_right),
        _ => Reply::status(403).after(&hold_wrong),
    });
    let limit = [("login_failures_max", "3"), ("cache_ttl", "0")];
    let broker = broker_with(Version::V2_1_2, &api, &limit);
    let guess = |nth: usize, password: &str| {
        let mut raw = broker.raw();
        let (id, user) = (format!("c-{nth}"), Some(&b"ann"[..]));
        let password = Some(password.as_bytes());
        raw.send(raw::connect_packet(Protocol::V3_1_1, id, user, password, true));
        raw
    };
    let mut guesses: Vec<_> = (0..5).map(|nth| guess(nth, &format!("guess {nth}"))).collect();
    let mut lucky = guess(5, "right");
    wrong.wait_until_waiting(5);
    right.wait_until_waiting(1);
    wrong.open();
    for guess in &mut guesses {
        assert_eq!(guess.read_connack(), Some(Protocol::V3_1_1.refusal()));
    }
    right.open();
    assert_eq!(lucky.read_connack(), Some(Protocol::V3_1_1.refusal()));
    broker.wait_for_log("username=\"ann\" clientid=\"c-5\" reason=too-many-failures");
    log_in(&broker, "c", "ann", "right").expect_refused();
    assert_eq!(api.requests().len(), 6, "and from then on the API is left in peace");
    log_in(&broker, "c", "ben", "right").expect_accepted();
}

/// Mosquitto 2.1 lets users in at its own HTTP API by the same passwords, and does not say where they come from.
#[test]
fn guesses_at_the_brokers_own_http_api_count_by_the_name_alone() {
    let api = api();
    let limit = [("login_failures_max", "3"), ("cache_ttl", "0")];
    let broker = Broker::config(Version::V2_1_2)
        .plugin(api.options([&ROUTES, &EVERY_QUESTION[..], &limit].concat()))
        .listener(|listener| listener)
        .listener(|listener| listener.line("protocol http_api"))
        .start();
    let status = |user, password| http_api_status(broker.port_of(1), user, password);
    for password in ["a", "b", "c"] {
        assert_eq!(status("ann", password), "401");
    }
    assert_eq!((status("ann", "d"), status("ann", "right")), ("401".into(), "401".into()));
    let denied = "login denied: ip=unknown username=\"ann\" clientid=\"http-api\" reason=";
    broker.wait_for_log(&format!("{denied}api"));
    broker.wait_for_log(&format!("{denied}too-many-failures"));
    assert_eq!(api.requests_to("/user").len(), 3, "the API is left in peace");
    assert_eq!(status("ben", "right"), "200");
    log_in(&broker, "c", "ann", "right").expect_accepted();
}
