//! Whoever guesses passwords is refused after a while, and named in the log for others to act.

use mosquitto_test::prelude::*;

use crate::support::broker_with;

/// The password is `right`.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        Reply::status(if request.json()["password"] == "right" { 200 } else { 403 })
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
        log_in(&broker, "c", "ben", "right").expect_accepted();
    }

    fn it_is_over_when_the_window_has_passed(version) {
        let api = api();
        let limit =
            [("login_failures_max", "1"), ("login_failures_window", "1"), ("cache_ttl", "0")];
        let broker = broker_with(version, &api, &limit);
        log_in(&broker, "c", "ann", "wrong").expect_refused();
        crate::support::eventually("the end of the window", || {
            log_in(&broker, "c", "ann", "right").is_accepted()
        });
    }

    fn a_right_password_counts_anew(version) {
        let api = api();
        let limit = [("login_failures_max", "2"), ("cache_ttl", "0")];
        let broker = broker_with(version, &api, &limit);
        for _ in 0..3 {
            log_in(&broker, "c", "ann", "wrong").expect_refused();
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
        log_in(&broker, "c", "ann", "right").expect_accepted();
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
