//! A mistake in the options stops the broker's start, in one line that names the option, what was
//! given and what is allowed; several mistakes are several lines.

use mosquitto_test::prelude::*;

use crate::support::log_in;

const HOST: (&str, &str) = ("http_host", "127.0.0.1");
const USER: (&str, &str) = ("http_user_route", "/user");

/// The lines in which the plugin says why it does not start.
fn complaints_of(config: BrokerConfig) -> Vec<String> {
    let failed = config.start_expecting_failure();
    let ours = failed.log.lines().filter_map(|line| line.strip_prefix("mosquitto-http-auth: "));
    ours.map(str::to_owned).collect()
}

fn complaints(version: Version, options: &[(&str, &str)]) -> Vec<String> {
    complaints_of(Broker::config(version).plugin(options.iter().copied()))
}

/// One line about one bad option besides the two that are required.
fn expect_refused(version: Version, name: &str, value: &str, allowed: &str) {
    let complaints = complaints(version, &[HOST, USER, (name, value)]);
    let expected = format!("option {name}: {value:?} is not allowed; allowed: {allowed}");
    assert_eq!(complaints, [expected]);
}

on_every_broker! {
    fn the_start_line_says_what_is_in_force(version) {
        let broker = Broker::config(version)
            .plugin([HOST, USER, ("http_port", "80"), ("cache_ttl", "60"), ("cache_acl_ttl", "7")])
            .start();
        broker.wait_for_log(&format!(
            "mosquitto-http-auth: version {}, asking http://127.0.0.1, user route /user, \
             superuser route unset, acl route unset, answers live 60 s (logins), 7 s (ACLs), 5 s \
             (denials)\n",
            env!("CARGO_PKG_VERSION")
        ));
    }

    fn the_older_prefix_works_alike(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.header("x-key") == Some("k3y") { 200 } else { 401 })
        });
        let options = [("http_header_X-Key", "k3y"), USER];
        let broker = Broker::config(version)
            .option_prefix("auth_opt_")
            .plugin(api.options(options))
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
    }

    fn blanks_around_a_value_do_not_count(version) {
        let api = AuthServer::start();
        let port = format!("  {} \t ", api.port());
        let broker = Broker::config(version)
            .plugin([
                ("http_host", " 127.0.0.1 "),
                ("http_port", &port),
                ("http_user_route", " /user  "),
            ])
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        assert_eq!(api.requests()[0].path, "/user");
    }

    fn an_unknown_option_is_answered_with_the_nearest_name(version) {
        let complaints = complaints(version, &[HOST, USER, ("cache_tll", "60"), ("colour", "red")]);
        assert_eq!(
            complaints,
            [
                "option cache_tll is not known (given: \"60\"); the nearest known name is \
                 cache_ttl",
                "option colour is not known (given: \"red\"); the nearest known name is compat, \
                 docs/configuration.md has all of them",
            ]
        );
    }

    fn a_slip_in_any_name_is_answered_with_it(version) {
        // The names of the configuration reference, as options of this file are spelled nowhere else.
        let known = mosquitto_http_auth::config::described();
        let slips: Vec<_> = known
            .iter()
            .filter(|option| !option.name.ends_with("NAME"))
            .map(|option| (option.name, format!("{}s", option.name)))
            .collect();
        let given: Vec<_> = slips.iter().map(|(_, slip)| (slip.as_str(), "v4lue")).collect();
        let complaints = complaints(version, &[&[HOST, USER], &given[..]].concat());
        let expected: Vec<_> = slips
            .iter()
            .map(|(name, slip)| {
                // Nothing is shown of what may be a secret.
                let is_secret = ["fleet_secret", "fleet_redis_password"].contains(name);
                let given = if is_secret { "" } else { " (given: \"v4lue\")" };
                format!("option {slip} is not known{given}; the nearest known name is {name}")
            })
            .collect();
        assert_eq!(complaints, expected);
    }

    fn a_doubled_option_is_refused(version) {
        let complaints = complaints(version, &[HOST, USER, ("cache_ttl", "1"), ("cache_ttl", "2")]);
        let twice = "option cache_ttl is given twice (\"1\", then \"2\"); allowed: once";
        assert_eq!(complaints, [twice]);
    }

    fn an_option_doubled_under_the_older_prefix_is_refused(version) {
        let config = Broker::config(version)
            .plugin([HOST, USER, ("cache_ttl", "1")])
            .line("auth_opt_cache_ttl 2");
        let twice = "option cache_ttl is given twice (\"1\", then \"2\"); allowed: once";
        assert_eq!(complaints_of(config), [twice]);
    }

    fn a_header_doubled_in_another_case_is_refused(version) {
        let headers = [("http_header_X-Key", "s3cret-a"), ("http_header_x-key", "s3cret-b")];
        let complaints = complaints(version, &[&[HOST, USER], &headers[..]].concat());
        assert_eq!(complaints, ["option http_header_x-key is given twice; allowed: once"]);
    }

    fn what_is_no_number_in_its_range_is_refused(version) {
        let seconds = "a whole number of seconds from 0 to 31536000";
        let millis = "a whole number of milliseconds from 1 to 600000";
        for value in ["soon", "-1", "1.5", "+1", "1e3", "31536001", "99999999999999999999"] {
            expect_refused(version, "cache_ttl", value, seconds);
        }
        expect_refused(version, "cache_deny_ttl", "5s", seconds);
        expect_refused(version, "http_timeout_ms", "0", millis);
        expect_refused(version, "http_connect_timeout_ms", "600001", millis);
        let connections = "a whole number of connections from 1 to 1024";
        expect_refused(version, "http_connections", "0", connections);
        expect_refused(version, "http_port", "65536", "a port from 1 to 65535");
        expect_refused(version, "http_port", "0", "a port from 1 to 65535");
        let bytes = "a number of bytes from 65536 to 1099511627776, or of KiB, MiB or GiB (64 MiB)";
        expect_refused(version, "cache_max_bytes", "64 MB", bytes);
        expect_refused(version, "cache_max_bytes", "+64 MiB", bytes);
        expect_refused(version, "cache_max_bytes", "1", bytes);
    }

    fn what_is_no_choice_is_refused(version) {
        expect_refused(version, "on_error", "Deny", "deny, defer, allow");
        expect_refused(version, "http_protocol", "ftp", "http, https");
        expect_refused(version, "log_level", "verbose", "error, warn, info, debug, trace");
        expect_refused(version, "password_encoding", "hex", "utf8, base64");
        expect_refused(version, "deny_special_chars", "yes", "true, false");
        expect_refused(version, "local_users_acl", "deny", "allow, defer");
    }

    fn a_bad_route_is_refused(version) {
        for route in ["user", "/a b", "/a#b", "http://127.0.0.1/user", "/\u{e4}"] {
            let complaints = complaints(version, &[HOST, ("http_acl_route", route)]);
            let expected = format!(
                "option http_acl_route: {route:?} is not allowed; allowed: a path that begins \
                 with / and holds printable ASCII without blanks and #, such as /auth/user"
            );
            assert_eq!(complaints, [expected]);
        }
    }

    fn a_bad_host_is_refused(version) {
        for host in ["http://api", "api/user", "a,,b", "api:0", "api:port", "user@api", "[::1"] {
            let complaints = complaints(version, &[("http_host", host), USER]);
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            let start = format!(
                "option http_host: {host:?} is not allowed; allowed: a comma list of host[:port], "
            );
            assert!(complaints[0].starts_with(&start), "{}", complaints[0]);
        }
    }

    fn a_bad_list_of_fields_is_refused(version) {
        let known = "clientid, peerhost, protocol, protocol_version, keepalive, clean_session, \
                     cert_common_name, cert_subject, cert_fingerprint, cert_issuer, cert_serial, cert_pem";
        let allowed = format!("a comma list, each name once, out of {known}");
        for fields in ["password", "clientid,clientid", "clientid,,peerhost", "qos"] {
            expect_refused(version, "http_user_fields", fields, &allowed);
        }
    }

    fn what_is_required_is_asked_for(version) {
        let host = "option http_host is required: the API's host";
        let route =
            "at least one of the options http_user_route and http_acl_route is required";
        assert_eq!(complaints(version, &[USER]), [host]);
        assert_eq!(complaints(version, &[HOST]), [route]);
        assert_eq!(complaints(version, &[HOST, ("http_superuser_route", "/s")]), [route]);
        assert_eq!(complaints(version, &[]), [host, route]);
    }

    fn several_mistakes_are_said_at_once(version) {
        let options =
            [USER, ("cache_ttl", "soon"), ("on_error", "maybe"), ("colour", "red"), USER];
        let complaints = complaints(version, &options);
        let named = ["cache_ttl", "on_error", "colour", "http_user_route", "http_host"];
        assert_eq!(complaints.len(), named.len(), "{complaints:?}");
        for (line, name) in complaints.iter().zip(named) {
            assert!(line.starts_with(&format!("option {name}")), "{line}");
        }
    }

    fn a_file_of_local_users_that_cannot_be_read_is_refused(version) {
        let config = Broker::config(version);
        let folder = config.path("folder");
        std::fs::create_dir(&folder).unwrap();
        for path in [config.path("missing"), folder] {
            let path = path.to_str().unwrap();
            let complaints = complaints(version, &[HOST, USER, ("local_users_file", path)]);
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            let start = format!(
                "option local_users_file: {path:?} is not allowed; allowed: a readable file ("
            );
            assert!(complaints[0].starts_with(&start), "{}", complaints[0]);
        }
    }

    fn a_value_that_may_be_a_secret_is_never_shown(version) {
        for (name, value) in [
            ("http_header_Content-Length", "hunter2"),
            ("http_header_Bad:Name", "hunter2"),
            ("http_header_", "hunter2"),
            ("http_header_X-Key", "hunter2\u{7f}"),
            ("http_heder_Authorization", "hunter2"),
            ("http_password", "hunter2"),
            ("bearer_token", "hunter2"),
        ] {
            let failed = Broker::config(version)
                .plugin([HOST, USER, (name, value)])
                .start_expecting_failure();
            let line = format!("mosquitto-http-auth: option {name}");
            assert!(failed.log.contains(&line), "{}", failed.log);
            assert!(!failed.log.contains("hunter2"), "{}", failed.log);
        }
    }
}
