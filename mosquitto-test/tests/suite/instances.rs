//! Several instances in one broker share nothing.

use mosquitto_test::prelude::*;

/// An API that lets in whoever gives this password.
fn api(password: &'static str) -> AuthServer {
    AuthServer::answering(move |request| {
        Reply::status(if request.json()["password"] == password { 200 } else { 403 })
    })
}

fn options(api: &AuthServer, level: &str) -> Vec<(String, String)> {
    api.options([("http_user_route", "/login"), ("log_level", level)])
}

on_every_broker! {
    fn each_listener_asks_its_own_api_and_caches_for_itself(version) {
        let (one, two) = (api("one"), api("two"));
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(options(&one, "debug")))
            .listener(|listener| listener.plugin(options(&two, "error")))
            .start();
        for _ in 0..2 {
            for (listener, password, accepted) in
                [(0, "one", true), (0, "two", false), (1, "one", false), (1, "two", true)]
            {
                let builder = broker.client("c").port(broker.port_of(listener));
                let login = builder.credentials("ann", password).connect();
                assert_eq!(login.is_accepted(), accepted, "{password} on listener {listener}");
            }
        }
        assert_eq!((one.requests().len(), two.requests().len()), (2, 2));
        // Each has a log level of its own: one tells of its requests, the other does not.
        let asked = |api: &AuthServer| format!("http://127.0.0.1:{}, about the login", api.port());
        broker.wait_for_log(&asked(&one));
        assert!(!broker.log_contains(&asked(&two)));
    }

    fn a_listener_without_the_plugin_is_left_alone(version) {
        let api = api("one");
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(options(&api, "info")))
            .listener(|listener| listener.allow_anonymous(true))
            .start();
        broker.client("c").port(broker.port_of(1)).connect().expect_accepted();
        broker.client("d").port(broker.port_of(0)).connect().expect_refused();
        assert!(api.requests().is_empty());
    }

    fn ending_joins_the_threads_of_every_instance(version) {
        let (one, two) = (api("one"), api("two"));
        let mut broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(options(&one, "info")))
            .listener(|listener| listener.plugin(options(&two, "info")))
            .start();
        for (listener, password) in [(0, "one"), (1, "two")] {
            let builder = broker.client("c").port(broker.port_of(listener));
            builder.credentials("ann", password).connect().expect_accepted();
        }
        // A thread left behind would crash the broker when it unloads the library.
        assert!(broker.stop().success());
    }

    fn twice_in_one_scope_is_refused_before_2_1_and_works_from_then_on(version) {
        let (one, two) = (api("one"), api("two"));
        let config =
            Broker::config(version).plugin(options(&one, "info")).plugin(options(&two, "info"));
        if version.is_2_1() {
            let broker = config.start();
            // The first instance's denial is final, so its API alone decides.
            broker.client("c").credentials("ann", "one").connect().expect_accepted();
            broker.client("c").credentials("ann", "two").connect().expect_refused();
        } else {
            let failed = config.start_expecting_failure();
            assert!(failed.log.contains("a plugin can be loaded once per listener"), "{}", failed.log);
        }
    }
}
