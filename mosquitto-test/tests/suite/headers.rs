//! `http_header_NAME` adds a header to every request, from the option itself, a file or the
//! environment. Its value never reaches the log.

use mosquitto_test::prelude::*;

use crate::support::{ROUTES, log_in, logged_in, may_publish};

const TRACE: (&str, &str) = ("log_level", "trace");

/// The header as the API received it at a login; the log does not show it.
fn received(api: &AuthServer, broker: &Broker, name: &str) -> Option<String> {
    api.forget_requests();
    log_in(broker, Protocol::V5, "ann").expect_accepted();
    let value = api.requests()[0].header(name)?.to_owned();
    broker.wait_until_idle();
    assert!(!broker.log_contains(&value), "the log shows {value}");
    Some(value)
}

on_every_broker! {
    fn every_request_has_the_header_and_says_what_it_is(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.path == "/superuser" { 403 } else { 200 })
        });
        let options = [
            ("http_superuser_route", "/superuser"),
            ("http_header_X-Api-Key", "k3y"),
            ("http_header_Authorization", "Bearer t0ken with blanks"),
            ROUTES[0],
            ROUTES[1],
        ];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&client, "t"));
        client.subscribe("t").expect_granted();
        let paths: Vec<_> = api.requests().iter().map(|request| request.path.clone()).collect();
        assert_eq!(paths, ["/user", "/superuser", "/acl", "/acl"]);
        for request in api.requests() {
            assert_eq!(request.header("x-api-key"), Some("k3y"));
            assert_eq!(request.header("authorization"), Some("Bearer t0ken with blanks"));
            assert_eq!(request.header("content-type"), Some("application/json"));
            let length = request.body.len().to_string();
            assert_eq!(request.header("content-length"), Some(length.as_str()));
            let host = format!("127.0.0.1:{}", api.port());
            assert_eq!(request.header("host"), Some(host.as_str()));
            let agent = request.header("user-agent").unwrap();
            assert!(agent.starts_with("mosquitto-http-auth/"), "{agent}");
            let names: Vec<_> = request.headers.iter().map(|(name, _)| name).collect();
            assert!(names.iter().all(|name| !name.eq_ignore_ascii_case("cookie")), "{names:?}");
        }
    }

    fn a_value_stands_in_the_option(version) {
        let api = AuthServer::start();
        let key = ("http_header_X-Key", "l1teral-valu3");
        let broker = Broker::config(version).plugin(api.options([key, TRACE, ROUTES[0]])).start();
        assert_eq!(received(&api, &broker, "x-key").as_deref(), Some("l1teral-valu3"));
    }

    fn a_value_comes_from_a_file_without_its_line_end(version) {
        for (text, value) in [
            ("fr0m-a-file\n", "fr0m-a-file"),
            ("fr0m-a-file\r\n", "fr0m-a-file"),
            ("fr0m-a-file", "fr0m-a-file"),
            ("  Bearer fr0m-a-file \n\n", "Bearer fr0m-a-file"),
        ] {
            let api = AuthServer::start();
            let config = Broker::config(version);
            let path = format!("@{}", config.file("secret", text).display());
            let key = ("http_header_Authorization", path.as_str());
            let broker = config.plugin(api.options([key, TRACE, ROUTES[0]])).start();
            let received = received(&api, &broker, "authorization");
            assert_eq!(received.as_deref(), Some(value), "{text:?}");
        }
    }

    fn a_value_comes_from_the_environment(version) {
        let api = AuthServer::start();
        let key = ("http_header_X-Key", "$API_KEY");
        let broker = Broker::config(version)
            .plugin(api.options([key, TRACE, ROUTES[0]]))
            .env("API_KEY", "fr0m-the-environment")
            .start();
        assert_eq!(received(&api, &broker, "x-key").as_deref(), Some("fr0m-the-environment"));
    }

    fn a_value_that_cannot_be_had_stops_the_start(version) {
        for (value, why) in [
            ("@/does/not/exist", "cannot read the file \"/does/not/exist\": "),
            ("@hidden", "cannot read the file that the value names: "),
            ("$hidden", "the environment variable that the value names is not set"),
            ("$NO_SUCH_VARIABLE", "the environment variable \"NO_SUCH_VARIABLE\" is not set"),
            ("@/dev/null", "the header's value is empty"),
        ] {
            let failed = Broker::config(version)
                .plugin([("http_host", "127.0.0.1"), ROUTES[0], ("http_header_X-Key", value)])
                .start_expecting_failure();
            let line = format!("mosquitto-http-auth: option http_header_X-Key: {why}");
            assert!(failed.log.contains(&line), "{}", failed.log);
        }
    }

    fn a_header_is_sent_again_with_a_repeated_question(version) {
        let api = AuthServer::answering(|_| Reply::status(200).close_when_next_request_arrives());
        let options = [("http_header_X-Key", "k3y"), ROUTES[0]];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        log_in(&broker, Protocol::V5, "first").expect_accepted();
        log_in(&broker, Protocol::V5, "second").expect_accepted();
        let keys: Vec<_> =
            api.requests().iter().map(|r| r.header("x-key").map(str::to_owned)).collect();
        assert_eq!(keys, [Some("k3y".to_owned()), Some("k3y".to_owned())]);
        assert_eq!(api.connections(), 2);
    }
}
