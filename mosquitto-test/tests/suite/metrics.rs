//! What the plugin tells of itself: metrics for Prometheus, and topics below `$SYS`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_http_auth::metrics::{TOPICS, names};
use mosquitto_test::prelude::*;
use mosquitto_test::program::free_port;
use mosquitto_test::watch::PATIENCE;
use prometheus_parse::{Scrape, Value};
use serde_json::json;

use crate::control::TOPIC;
use crate::support::{
    EVERY_QUESTION, PASSWORD, ROUTES, eventually, log_in, logged_in, may_publish,
};

/// Where a broker's metrics are.
pub struct Metrics {
    pub port: u16,
}

impl Metrics {
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends this and returns everything that comes back.
    pub fn answer_to(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("the metrics' port is open");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn scrape(&self) -> Scrape {
        let answer = self.answer_to("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        Scrape::parse(body.lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    /// One number out of a new scrape.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        value(&self.scrape(), name, labels)
    }
}

/// The number of `mosquitto_http_auth_{name}` with these labels, or the sum of all that have them.
fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
    let name = format!("mosquitto_http_auth_{name}");
    let wanted = scrape.samples.iter().filter(|sample| {
        let has = |(label, value): &(&str, &str)| sample.labels.get(label) == Some(value);
        sample.metric == name && labels.iter().all(has)
    });
    let numbers: Vec<_> = wanted
        .map(|sample| match &sample.value {
            Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => *number,
            other => panic!("{name} is {other:?}"),
        })
        .collect();
    assert!(!numbers.is_empty(), "no {name} {labels:?}");
    numbers.iter().sum()
}

/// How many requests to this route took up to so many seconds.
fn up_to(scrape: &Scrape, route: &str, seconds: f64) -> f64 {
    let samples = scrape.samples.iter().filter(|sample| sample.labels.get("route") == Some(route));
    let buckets = samples.filter_map(|sample| match &sample.value {
        Value::Histogram(buckets) => Some(buckets),
        _ => None,
    });
    let bucket = buckets.flatten().find(|bucket| bucket.less_than == seconds);
    bucket.expect("there is such a bucket").count
}

/// A broker with metrics that asks this API.
pub fn start(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> (Broker, Metrics) {
    let metrics = Metrics { port: free_port() };
    let (listen, port) = (metrics.address(), api.port().to_string());
    let place = [("http_host", "127.0.0.1"), ("http_port", &port), ("metrics_listen", &listen)];
    // What comes later in a list stands in for what comes before.
    let mut options: Vec<(&str, &str)> = [&place, &ROUTES[..], &EVERY_QUESTION].concat();
    options.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    (Broker::config(version).plugin([options, more.to_vec()].concat()).start(), metrics)
}

/// An API that lets everybody in but `ben`, and allows everything but topics below `no`.
fn api() -> AuthServer {
    AuthServer::answering(|request| {
        let body = request.json();
        let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let denied = word("username") == "ben" || word("topic").starts_with("no/");
        Reply::status(if denied { 403 } else { 200 })
    })
}

fn command(operator: &Client, command: serde_json::Value) {
    let commands = json!({ "commands": [command] }).to_string();
    // 0x10: nobody has subscribed to this topic.
    assert!(matches!(operator.publish(TOPIC, commands), 0 | 0x10));
}

on_every_broker! {
    fn every_metric_is_there_from_the_start(version) {
        let api = api();
        let (_broker, metrics) = start(version, &api, &[]);
        let answer = metrics.answer_to("GET /metrics HTTP/1.0\r\n\r\n");
        let series = answer.lines().filter(|line| line.starts_with("mosquitto_http_auth_"));
        let found: BTreeSet<_> = series.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
        let documented = names();
        // Those of a fleet are there where one is: `fleet` looks at them.
        let is_here = |name: &&str| !name.starts_with("mosquitto_http_auth_fleet_");
        assert_eq!(found, documented.iter().map(String::as_str).filter(is_here).collect());
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
        assert_eq!(value(&scrape, "questions_total", &[]), 0.0);
        assert_eq!(value(&scrape, "max_workers", &[]), 32.0);
        let endpoint = format!("http://127.0.0.1:{}", api.port());
        assert_eq!(value(&scrape, "endpoint_in_service", &[("endpoint", &endpoint)]), 1.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let started = value(&scrape, "start_time_seconds", &[]);
        assert!((now.as_secs_f64() - started) < 600.0 && started <= now.as_secs_f64());
    }

    fn what_happens_is_counted(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        log_in(&broker, Protocol::V5, "ben").expect_refused();
        assert!(may_publish(&ann, "t") && may_publish(&ann, "t") && !may_publish(&ann, "no/t"));
        let special = broker.client("c+").protocol(Protocol::V5).credentials("ann", PASSWORD);
        assert!(!may_publish(&special.connect().expect_accepted(), "t"));
        let scrape = metrics.scrape();
        for (name, labels, expected) in [
            ("questions_total", &[("kind", "login"), ("decision", "allowed")][..], 2.0),
            ("questions_total", &[("kind", "login"), ("decision", "denied")], 1.0),
            ("questions_total", &[("kind", "access"), ("decision", "allowed")], 2.0),
            ("questions_total", &[("kind", "access"), ("decision", "denied")], 2.0),
            ("denials_total", &[("kind", "login"), ("reason", "api")], 1.0),
            ("denials_total", &[("kind", "access"), ("reason", "api")], 1.0),
            ("denials_total", &[("kind", "access"), ("reason", "special_chars")], 1.0),
            ("denials_total", &[], 3.0),
            ("cache_hits_total", &[], 2.0),
            ("cache_misses_total", &[("reason", "absent")], 4.0),
            ("cache_misses_total", &[], 4.0),
            ("cache_entries", &[], 4.0),
            ("requests_total", &[("route", "user"), ("status", "200")], 1.0),
            ("requests_total", &[("route", "user"), ("status", "403")], 1.0),
            ("requests_total", &[("route", "acl"), ("status", "200")], 1.0),
            ("requests_total", &[("route", "acl"), ("status", "403")], 1.0),
            ("requests_total", &[], 4.0),
            ("request_failures_total", &[], 0.0),
            ("unanswered_total", &[], 0.0),
            ("requests_in_flight", &[], 0.0),
            ("queue_length", &[], 0.0),
            ("log_lines_dropped_total", &[], 0.0),
            ("logins_waiting", &[], 0.0),
        ] {
            assert_eq!(value(&scrape, name, labels), expected, "{name} {labels:?}");
        }
        // A question that comes before the worker of the last one rests has another one started.
        assert!((1.0..=4.0).contains(&value(&scrape, "workers", &[])));
        assert!(value(&scrape, "cache_size_bytes", &[]) > 0.0);
        assert!(value(&scrape, "broker_held_seconds_total", &[]) > 0.0);
        ann.disconnect();
        eventually("no session", || metrics.value("sessions", &[]) == 0.0);
    }

    fn a_miss_tells_its_reason(version) {
        let api = api();
        let short = [("cache_ttl", "1"), ("cache_refresh_ahead", "false")];
        let (broker, metrics) = start(version, &api, &short);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        let missed = |reason| metrics.value("cache_misses_total", &[("reason", reason)]);
        eventually("an answer that has expired", || {
            assert!(may_publish(&ann, "t"));
            missed("expired") > 0.0
        });
        let (broker, metrics) = start(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&ann, "t"));
        command(&ann, json!({"command": "invalidate", "topic": "t"}));
        assert!(may_publish(&ann, "t"));
        assert_eq!(metrics.value("cache_misses_total", &[("reason", "outdated")]), 1.0);
        let (broker, metrics) = start(version, &api, &[("cache_acl_ttl", "0"), ("cache_deny_ttl", "0")]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&ann, "t") && may_publish(&ann, "t"));
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "cache_misses_total", &[("reason", "not_kept")]), 2.0);
        assert_eq!(value(&scrape, "cache_misses_total", &[("reason", "absent")]), 1.0);
    }

    fn in_traffic_no_answer_expires(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[("cache_acl_ttl", "3")]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        ann.subscribe("t").expect_granted();
        let asked = |acc: u64| {
            api.requests_to("/acl").iter().filter(|request| request.json()["acc"] == acc).count()
        };
        while asked(1) < 3 || asked(2) < 3 {
            assert!(may_publish(&ann, "t"));
            assert_eq!(ann.expect_message().0, "t");
        }
        assert_eq!(metrics.value("cache_misses_total", &[("reason", "expired")]), 0.0);
        assert_eq!(metrics.value("cache_misses_total", &[]), 4.0, "a login, and three on the topic");
    }

    fn failures_and_the_breaker_show(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let breaker = [("breaker_failures", "2"), ("breaker_open_ms", "100")];
        let (broker, metrics) = start(version, &api, &breaker);
        let attempt = |name: &str| log_in(&broker, Protocol::V5, name);
        attempt("one").expect_closed();
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "endpoint_in_service", &[]), 1.0);
        assert_eq!(value(&scrape, "request_failures_total", &[("kind", "failure_status")]), 1.0);
        assert_eq!(value(&scrape, "unanswered_total", &[("reason", "failure_status")]), 1.0);
        // Failures of fewer than three users may be theirs.
        attempt("two").expect_closed();
        attempt("three").expect_closed();
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "endpoint_in_service", &[]), 0.0);
        assert_eq!(value(&scrape, "endpoint_outages_total", &[]), 1.0);
        // Only a login that comes later than `breaker_open_ms` has it asked again, and in vain.
        let mut attempts = 3;
        eventually("a login is not asked", || {
            attempts += 1;
            attempt(&format!("later-{attempts}")).expect_closed();
            metrics.value("unanswered_total", &[("reason", "out_of_service")]) > 0.0
        });
        let scrape = metrics.scrape();
        let closed = [("kind", "login"), ("decision", "unavailable")];
        assert_eq!(value(&scrape, "questions_total", &closed), f64::from(attempts));
        let requests = value(&scrape, "requests_total", &[("route", "user"), ("status", "503")]);
        assert_eq!(requests, value(&scrape, "request_failures_total", &[]));
        api.set_handler(|_| Reply::status(200));
        eventually("the API is back", || attempt("four").is_accepted());
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "endpoint_in_service", &[]), 1.0);
        assert_eq!(value(&scrape, "endpoint_outages_total", &[]), 1.0);
    }

    fn a_status_that_is_seldom_has_a_series_once_it_has_come(version) {
        let api = AuthServer::answering(|request| {
            let user = request.json()["username"].as_str().unwrap().to_owned();
            Reply::status(user.parse().unwrap_or(200))
        });
        let (broker, metrics) = start(version, &api, &[]);
        let has = |status: &str| {
            let page = metrics.answer_to("GET /metrics HTTP/1.0\r\n\r\n");
            page.contains(&format!("route=\"user\",status=\"{status}\""))
        };
        assert!(has("404") && has("none") && !has("418"));
        for _ in 0..2 {
            log_in(&broker, Protocol::V5, "404").expect_refused();
        }
        for user in ["418", "301"] {
            log_in(&broker, Protocol::V5, user).expect_refused();
        }
        for status in ["404", "418", "301"] {
            let count = metrics.value("requests_total", &[("route", "user"), ("status", status)]);
            assert_eq!(count, 1.0, "{status}");
        }
    }

    fn an_api_that_is_not_there_is_a_request_without_a_status(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[]);
        api.stop();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "requests_total", &[("route", "user"), ("status", "none")]), 1.0);
        let refused = [("kind", "connection_refused")];
        assert_eq!(value(&scrape, "request_failures_total", &refused), 1.0);
    }

    fn the_histogram_agrees_with_what_the_api_took(version) {
        let took = Arc::new(Mutex::new(Duration::ZERO));
        let served = Arc::clone(&took);
        let api = AuthServer::answering(move |_| {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(30));
            *served.lock().unwrap() += begun.elapsed();
            Reply::status(200)
        });
        let (broker, metrics) = start(version, &api, &[]);
        let begun = Instant::now();
        let ann = logged_in(&broker, Protocol::V5, "ann");
        for topic in ["a", "b", "c"] {
            assert!(may_publish(&ann, topic));
        }
        let most = begun.elapsed();
        let scrape = metrics.scrape();
        let histogram = "request_duration_seconds";
        for (route, count) in [("user", 1.0), ("acl", 3.0), ("superuser", 0.0)] {
            let route_label = [("route", route)];
            assert_eq!(value(&scrape, &format!("{histogram}_count"), &route_label), count);
            assert_eq!(value(&scrape, "requests_total", &route_label), count);
            assert_eq!(up_to(&scrape, route, 0.025), 0.0, "none was faster than the API");
            assert_eq!(up_to(&scrape, route, f64::INFINITY), count);
        }
        let sum = Duration::from_secs_f64(value(&scrape, &format!("{histogram}_sum"), &[]));
        let least = *took.lock().unwrap();
        assert!(sum >= least && sum <= most, "{least:?} <= {sum:?} <= {most:?}");
    }

    fn a_scrape_is_answered_at_once_while_the_api_hangs(version) {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |_| Reply::status(200).after(&held));
        let (broker, metrics) = start(version, &api, &[("delayed_login", "false")]);
        let attempt = broker.client("ann").credentials("ann", "x").start_connecting();
        gate.wait_until_waiting(1);
        // The API answers when the gate opens, and not before.
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "requests_in_flight", &[]), 1.0);
        assert!(attempt.is_pending());
        gate.open();
        attempt.outcome().expect_accepted();
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "requests_in_flight", &[]), 0.0);
        assert!(value(&scrape, "broker_held_seconds_total", &[]) > 0.0);
    }

    fn kicks_are_counted(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[("cache_ttl", "0")]);
        let (ann, carol) =
            (logged_in(&broker, Protocol::V5, "ann"), logged_in(&broker, Protocol::V5, "carol"));
        command(&ann, json!({"command": "kick", "clientid": "carol"}));
        carol.wait_disconnected();
        assert_eq!(metrics.value("kicks_total", &[("reason", "command")]), 1.0);
        api.set_handler(|_| Reply::status(403));
        broker.reload();
        ann.wait_disconnected();
        assert_eq!(metrics.value("kicks_total", &[("reason", "revoked")]), 1.0);
    }

    fn rules_that_deny_are_told_from_the_api(version) {
        let api = AuthServer::answering(|_| crate::support::granting(&["allow all yes", "deny all no"]));
        let (broker, metrics) = start(version, &api, &[("http_acl_route", "/acl")]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&ann, "yes") && !may_publish(&ann, "no"));
        assert_eq!(metrics.value("denials_total", &[("reason", "rule")]), 1.0);
        assert_eq!(metrics.value("denials_total", &[]), 1.0);
    }

    fn every_denial_has_its_reason(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[("login_failures_max", "1")]);
        log_in(&broker, Protocol::V5, "ben").expect_refused();
        log_in(&broker, Protocol::V5, "ben").expect_refused();
        let not_utf8 = raw::connect_packet(Protocol::V5, "c", Some(b"c"), Some(b"\xff"), true);
        assert_eq!(broker.raw().send(not_utf8).read_connack(), Some(0x87));
        let go_auth = Metrics { port: free_port() };
        let broker_of_go_auth = Broker::config(version)
            .plugin(api.options([
                ("http_getuser_uri", "/user"),
                ("http_superuser_uri", "/no"),
                ("http_aclcheck_uri", "/acl"),
                ("metrics_listen", &go_auth.address()),
            ]))
            .start();
        broker_of_go_auth.client("c").credentials("ann", "").connect().expect_refused();
        for (metrics, reasons) in [
            (&metrics, &["api", "too_many_failures", "not_utf8"][..]),
            (&go_auth, &["empty_credentials"]),
        ] {
            let scrape = metrics.scrape();
            for reason in reasons {
                let labels = [("kind", "login"), ("reason", *reason)];
                assert_eq!(value(&scrape, "denials_total", &labels), 1.0, "{reason}");
            }
            let all = value(&scrape, "denials_total", &[("kind", "login")]);
            let denied = [("kind", "login"), ("decision", "denied")];
            assert_eq!(all, value(&scrape, "questions_total", &denied));
        }
        drop(broker);
    }

    fn sighup_keeps_the_counters(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&ann, "t"));
        let requests = metrics.value("requests_total", &[]);
        broker.reload();
        let scrape = metrics.scrape();
        assert_eq!(value(&scrape, "requests_total", &[]), requests);
        assert_eq!(value(&scrape, "questions_total", &[("kind", "access")]), 1.0);
        assert_eq!(value(&scrape, "questions_total", &[("kind", "login")]), 2.0, "asked again");
        assert!(ann.is_connected());
    }

    fn it_is_there_with_one_thread_and_ends_with_the_broker(version) {
        let api = api();
        let without = Broker::config(version).plugin(api.options(ROUTES)).start();
        let (mut broker, metrics) = start(version, &api, &[]);
        assert_eq!(broker.threads(), without.threads() + 1);
        // A thread gives itself its name.
        eventually("a thread by its name", || {
            thread_names(&broker).contains(&"http-auth-meter".to_owned())
        });
        // A client that never finishes its request does not hold up the end.
        let _idle = TcpStream::connect(metrics.address()).unwrap();
        assert_eq!(metrics.value("questions_total", &[]), 0.0);
        assert!(broker.stop().success());
        assert!(TcpListener::bind(metrics.address()).is_ok(), "the port is free again");
    }

    fn nothing_else_is_served(version) {
        let api = api();
        let (_broker, metrics) = start(version, &api, &[]);
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
            ("nonsense\r\n\r\n", "400 Bad Request"),
        ] {
            let answer = metrics.answer_to(request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            assert!(!answer.contains("mosquitto_http_auth"), "{answer}");
        }
        let endless = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
        assert!(metrics.answer_to(&endless).starts_with("HTTP/1.1 431 "));
    }

    fn an_address_that_is_taken_stops_the_start(version) {
        let api = api();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let options = api.options([ROUTES[0], ("metrics_listen", &address)]);
        let failed = Broker::config(version).plugin(options.clone()).start_expecting_failure();
        let line = format!(
            "mosquitto-http-auth: option metrics_listen: cannot listen on {address} (Address \
             already in use (os error 98))\n"
        );
        assert!(failed.log.contains(&line), "{}", failed.log);
        drop(taken);
        let two = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(options.clone()))
            .listener(|listener| listener.plugin(options));
        let failed = two.start_expecting_failure();
        assert_eq!(failed.log.matches(&line).count(), 1, "{}", failed.log);
    }

    fn an_address_that_others_reach_is_warned_of(version) {
        let api = api();
        let address = format!("0.0.0.0:{}", free_port());
        let options = api.options([ROUTES[0], ("metrics_listen", &address)]);
        let broker = Broker::config(version).plugin(options).start();
        broker.wait_for_log(&format!(
            "metrics_listen {address}: whoever reaches this address can read the metrics"
        ));
        let (broker, _) = start(version, &api, &[]);
        assert!(!broker.log_contains("whoever reaches this address"));
    }

    fn topics_below_sys_tell_the_same(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[("sys_interval", "1")]);
        let output = broker.mosquitto_sub(&[
            "-i", "ops", "-u", "ops", "-P", "secret", "-t", "$SYS/broker/http-auth/#", "-v",
            "-C", &TOPICS.len().to_string(), "-W", "15",
        ]);
        let text = String::from_utf8(output.stdout).unwrap();
        let told: BTreeSet<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(told, TOPICS.iter().map(|topic| topic.name).collect(), "{text}");
        let ann = logged_in(&broker, Protocol::V5, "ann");
        ann.subscribe("$SYS/broker/http-auth/logins/+").expect_granted();
        let mut last = String::new();
        while last != "2" {
            let (topic, payload) = ann.expect_message();
            if topic.ends_with("/allowed") {
                last = payload;
            }
        }
        let allowed = [("kind", "login"), ("decision", "allowed")];
        assert_eq!(metrics.value("questions_total", &allowed), 2.0);
    }

    fn whoever_may_not_read_a_topic_below_sys_is_not_told(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let topic = body["topic"].as_str().unwrap_or_default().to_owned();
            let denied = topic.ends_with("/sessions") && body["acc"] == 1;
            Reply::status(if denied { 403 } else { 200 })
        });
        let (broker, _) = start(version, &api, &[("sys_interval", "1")]);
        let ann = logged_in(&broker, Protocol::V5, "ann");
        ann.subscribe("$SYS/broker/http-auth/+").expect_granted();
        let mut told = BTreeSet::new();
        // The number of sessions changes, and so would be told once more.
        let _ben = logged_in(&broker, Protocol::V5, "carol");
        ann.subscribe("$SYS/broker/http-auth/logins/allowed").expect_granted();
        loop {
            let (topic, payload) = ann.expect_message();
            told.insert(topic.clone());
            if topic.ends_with("logins/allowed") && payload == "2" {
                break;
            }
        }
        assert!(told.contains("$SYS/broker/http-auth/kicks"), "{told:?}");
        assert!(!told.contains("$SYS/broker/http-auth/sessions"), "{told:?}");
        let asked = api.requests_to("/acl");
        assert!(asked.iter().any(|request| request.json()["topic"] == "$SYS/broker/http-auth/sessions"));
    }

    fn telling_a_subscriber_of_sys_makes_no_storm(version) {
        let api = api();
        let (broker, metrics) = start(version, &api, &[("sys_interval", "1"), ("cache_ttl", "600")]);
        let ops = logged_in(&broker, Protocol::V5, "ops");
        ops.subscribe("$SYS/broker/http-auth/#").expect_granted();
        let next_of = |name: &str| loop {
            let (topic, payload) = ops.expect_message();
            if topic.ends_with(name) {
                return payload.parse::<f64>().unwrap();
            }
        };
        // Telling it is asked about, and so counted, and so told again: once in an interval.
        for _ in 0..3 {
            next_of("access/allowed");
        }
        let asked = api.requests_to("/acl").len();
        assert!(asked <= TOPICS.len() + 1, "{asked} requests for {} topics", TOPICS.len());
        let before = next_of("access/allowed");
        let intervals = 3;
        for _ in 1..intervals {
            next_of("access/allowed");
        }
        let checks = next_of("access/allowed") - before;
        assert!(checks <= f64::from(intervals) * 6.0, "{checks} checks in {intervals} intervals");
        assert_eq!(api.requests_to("/acl").len(), asked, "all of them out of the cache");
        assert_eq!(metrics.value("denials_total", &[]), 0.0);
    }

    fn nothing_is_told_below_sys_without_an_interval(version) {
        let api = api();
        for (interval, first) in [("0", "done"), ("1", "$SYS/broker/http-auth/kicks")] {
            let (broker, _) = start(version, &api, &[("sys_interval", interval)]);
            let ann = logged_in(&broker, Protocol::V5, "ann");
            broker.wait_until_idle();
            ann.subscribe("done").expect_granted();
            ann.subscribe("$SYS/broker/http-auth/kicks").expect_granted();
            ann.publish("done", "");
            assert_eq!(ann.expect_message().0, first, "{interval}");
        }
    }

    fn of_several_instances_each_has_its_metrics_and_the_first_its_topics(version) {
        let api = api();
        let ports = [free_port(), free_port()];
        let options = |nth: usize| {
            let listen = format!("127.0.0.1:{}", ports[nth]);
            let more = [("metrics_listen", listen.as_str()), ("sys_interval", "1")];
            api.options([&ROUTES[..], &more].concat())
        };
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(options(0)))
            .listener(|listener| listener.plugin(options(1)))
            .start();
        let log_in = |listener: usize, name: &str| {
            let builder = broker.client(name).port(broker.port_of(listener));
            builder.credentials(name, "secret").connect()
        };
        log_in(1, "ben").expect_refused();
        let ann = log_in(0, "ann").expect_accepted();
        let logins = ports.map(|port| {
            let scrape = Metrics { port }.scrape();
            let of = |decision| {
                value(&scrape, "questions_total", &[("kind", "login"), ("decision", decision)])
            };
            (of("allowed"), of("denied"))
        });
        assert_eq!(logins, [(1.0, 0.0), (0.0, 1.0)]);
        broker.wait_for_log("nothing is published below $SYS/broker/http-auth: another instance does");
        ann.subscribe("$SYS/broker/http-auth/logins/allowed").expect_granted();
        // 2.0.11 does not tick then, and tells when somebody logs in.
        let mut told = 0;
        eventually("the first instance's logins", || {
            log_in(0, "carol").expect_accepted().disconnect();
            while let Some(message) = ann.try_message(Duration::from_millis(100)) {
                told = message.text().parse().unwrap();
            }
            told > 1
        });
        ann.subscribe("$SYS/broker/http-auth/logins/denied").expect_granted();
        assert_eq!(ann.expect_message().1, "0", "the second instance's denial is not told");
    }
}

#[test]
fn logins_that_wait_are_counted() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |_| Reply::status(200).after(&held));
    let (broker, metrics) = start(Version::V2_1_2, &api, &[]);
    let attempts: Vec<_> = ["ann", "carol"]
        .map(|name| broker.client(name).credentials(name, "x").start_connecting())
        .into();
    gate.wait_until_waiting(2);
    // The API may hear of a login just before it counts as one that waits.
    eventually("both wait", || metrics.value("logins_waiting", &[]) == 2.0);
    gate.open();
    for attempt in attempts {
        attempt.outcome().expect_accepted();
    }
    let scrape = metrics.scrape();
    assert_eq!(value(&scrape, "logins_waiting", &[]), 0.0);
    assert_eq!(value(&scrape, "broker_held_seconds_total", &[]), 0.0, "nobody was held up");
}

fn thread_names(broker: &Broker) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned()
    };
    tasks.map(name).collect()
}
