//! Everything that can go wrong with the API: the login is closed without an answer, an ACL check
//! is denied and its client stays, the log says what it was, and nothing of it is remembered.

use std::time::Duration;

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{command, operator};
use crate::support::{
    broker_on_port, broker_with, eventually, log_in, logged_in, may_publish, subscribe_refusal,
    wait_for_failure,
};

/// A pause between two bytes at which no answer is complete before its time is up.
const DRIP: Duration = Duration::from_millis(150);

/// A denial that was cached would outlive the test.
pub const DENY_LONG: (&str, &str) = ("cache_deny_ttl", "600");

/// For APIs that never finish; every question that is asked of them takes this long.
pub const SHORT: &[(&str, &str)] = &[("http_timeout_ms", "700"), DENY_LONG];

/// Logins and ACL checks while the API answers every question in this way, and the same ones when it
/// is healthy again. `lines` are what the log may say of it.
pub fn expect_failure(
    version: Version,
    api: &AuthServer,
    more: &[(&str, &str)],
    bad: fn() -> Reply,
    lines: &[&str],
) {
    let broker = broker_with(version, api, more);
    let operator = operator(&broker);
    let clients = Protocol::BOTH.map(|protocol| {
        let client = logged_in(&broker, protocol, &format!("early-{protocol:?}"));
        (protocol, client)
    });
    let before = requests(&operator);
    api.set_handler(move |_| bad());
    for (protocol, client) in &clients {
        log_in(&broker, *protocol, &format!("late-{protocol:?}")).expect_closed();
        let refusal = client.subscribe("t").expect_refused();
        assert_eq!(refusal, subscribe_refusal(*protocol));
        assert!(client.is_connected());
    }
    assert!(!may_publish(&clients[1].1, "t"));
    broker
        .wait_for_any_log(&lines.iter().map(|line| format!(" failed: {line}")).collect::<Vec<_>>());
    assert_eq!(requests(&operator), (before.0, before.1 + 5), "requests answered, and failed");
    api.set_handler(|_| Reply::status(200));
    for (protocol, client) in &clients {
        let late = format!("late-{protocol:?}");
        eventually("the login", || log_in(&broker, *protocol, &late).is_accepted());
        let granted = || matches!(client.subscribe("t"), Subscription::Granted(_));
        eventually("the subscription", granted);
    }
    eventually("the publish", || may_publish(&clients[1].1, "t"));
}

/// How many requests were answered, and how many failed.
fn requests(operator: &Client) -> (u64, u64) {
    let status = command(operator, json!([{"command": "getStatus"}])).remove(0);
    let requests = &status["data"]["requests"];
    let failed = requests["failed"].as_object().unwrap().values().map(|n| n.as_u64().unwrap());
    (requests["answered"].as_u64().unwrap(), failed.sum())
}

/// The same in the clear, with a single line.
fn expect(version: Version, more: &[(&str, &str)], bad: fn() -> Reply, line: &str) {
    expect_failure(version, &AuthServer::start(), more, bad, &[line]);
}

pub fn head_of_200(rest: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes()
}

on_every_broker! {
    fn a_refused_connection(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        let clients = Protocol::BOTH.map(|protocol| logged_in(&broker, protocol, "ann"));
        api.stop();
        let port = api.port();
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, &format!("late-{protocol:?}")).expect_closed();
        }
        assert!(!may_publish(&clients[1], "t"));
        broker.wait_for_log(&format!(
            "the API at http://127.0.0.1:{port} failed: connection refused; it was asked about the \
             login of \"late-V3_1_1\" (client \"late-V3_1_1\")"
        ));
    }

    fn what_mosquitto_itself_says_of_a_login_that_nobody_could_decide_is_explained(version) {
        let broker = broker_on_port(version, refused_port(), &[]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_closed();
        }
        let client = if version == Version::V2_0_11 { "<unknown>" } else { "ann" };
        let line = match version {
            Version::V2_1_2 => "disconnected: administrative action.".to_owned(),
            _ => format!("Bad socket read/write on client {client}: Unknown error."),
        };
        broker.wait_for_log(&line);
        let page = std::fs::read_to_string(mosquitto_test::program::repository("docs/troubleshooting.md"));
        let shown = line.replace(client, "…");
        assert!(page.unwrap().contains(&shown), "{shown}");
    }

    fn an_api_that_comes_up_late_is_found(version) {
        let port = refused_port();
        let broker = broker_on_port(version, port, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        let api = AuthServer::start_on(port);
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        assert_eq!(api.requests().len(), 1);
    }

    fn a_host_that_takes_no_connection_is_unreachable(version) {
        let hole = Blackhole::open();
        let broker = broker_on_port(version, hole.port(), &[("http_connect_timeout_ms", "200")]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_closed();
        }
        wait_for_failure(&broker, "unreachable", "the login of \"ann\"");
    }

    fn a_host_name_without_an_address(version) {
        let broker = Broker::config(version)
            .plugin([("http_host", "does-not-exist.invalid"), ("http_user_route", "/user")])
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        broker.wait_for_log("the API at http://does-not-exist.invalid failed: unknown host; ");
    }

    fn an_api_that_never_answers(version) {
        expect(version, SHORT, Reply::never, "timed out");
    }

    fn an_answer_whose_head_drips(version) {
        expect(version, SHORT, || Reply::status(200).drip(DRIP), "timed out");
    }

    fn an_answer_whose_body_drips(version) {
        let bad = || {
            let size = "Content-Length: 1000\r\n\r\n";
            Reply::raw([head_of_200(size), vec![b' '; 10]].concat())
        };
        expect(version, SHORT, bad, "timed out");
    }

    fn a_connection_closed_without_an_answer(version) {
        expect(version, &[DENY_LONG], Reply::close, "connection lost");
    }

    fn a_connection_reset_without_an_answer(version) {
        expect(version, &[DENY_LONG], Reply::reset, "connection lost");
    }

    fn something_that_does_not_speak_http(version) {
        let bad = || Reply::raw("220 mail.example ESMTP Postfix\r\n");
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn a_status_line_without_a_status(version) {
        let bad = || Reply::raw("HTTP/1.1 twohundred OK\r\n\r\n");
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn a_body_that_breaks_off(version) {
        let bad = || Reply::raw_then_close(head_of_200("Content-Length: 100\r\n\r\n{\"res"));
        expect(version, &[DENY_LONG], bad, "broken answer (the body breaks off)");
    }

    fn a_chunked_body_that_breaks_off(version) {
        let bad = || {
            Reply::raw_then_close(head_of_200("Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"))
        };
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn a_chunk_size_that_is_no_number(version) {
        let bad = || Reply::raw(head_of_200("Transfer-Encoding: chunked\r\n\r\nxyz\r\n"));
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn a_length_that_is_no_number(version) {
        let bad = || Reply::raw_then_close(head_of_200("Content-Length: many\r\n\r\n"));
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn a_head_that_breaks_off(version) {
        let bad = || Reply::raw_then_close(head_of_200("Content-Le"));
        expect(version, &[DENY_LONG], bad, "connection lost");
    }

    fn a_header_block_of_a_megabyte(version) {
        let bad = || Reply::status(200).header("X-Filler", &"x".repeat(1 << 20));
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn ten_thousand_headers(version) {
        let bad = || Reply::raw(head_of_200(&("X-Filler: x\r\n".repeat(10_000) + "\r\n")));
        expect(version, &[DENY_LONG], bad, "broken answer (");
    }

    fn a_client_cannot_call_itself_a_failure(version) {
        // What nginx says of itself, out of the mouth of an API that repeats what it was asked.
        let name = "No required SSL certificate was sent";
        let api = AuthServer::answering(|request| {
            let user = request.json()["username"].as_str().unwrap().to_owned();
            Reply::status(400).body(format!("<p>no user {user}</p>"))
        });
        let broker = broker_with(version, &api, &[("on_error", "allow")]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, name).expect_refused();
        }
        assert!(!broker.log_contains(" failed: "));
    }

    fn a_failed_delivery_check_keeps_publisher_and_subscriber(version) {
        for bad in [|| Reply::status(500), Reply::close] {
            let api = AuthServer::start();
            let broker = broker_with(version, &api, &[("cache_ttl", "0")]);
            for protocol in Protocol::BOTH {
                api.set_handler(|_| Reply::status(200));
                let subscriber = logged_in(&broker, protocol, "sub");
                subscriber.subscribe("t").expect_granted();
                let publisher = logged_in(&broker, protocol, "pub");
                api.set_handler(move |request| match request.json()["acc"].as_u64() {
                    Some(1) => bad(),
                    _ => Reply::status(200),
                });
                assert_eq!(publisher.publish("t", "1"), 0);
                publisher.publish_qos0("t", "2");
                assert_eq!(publisher.publish("t", "3"), 0);
                api.set_handler(|_| Reply::status(200));
                assert_eq!(publisher.publish("t", "4"), 0);
                for payload in ["1", "2", "3", "4"] {
                    assert_eq!(subscriber.expect_message(), ("t".into(), payload.into()));
                }
                assert!(publisher.is_connected());
            }
        }
    }

    fn an_outage_takes_one_log_line_a_second_that_counts_the_others(version) {
        let broker = broker_on_port(version, refused_port(), &[]);
        let started = std::time::Instant::now();
        let mut logins = 1..;
        eventually("a line that counts", || {
            let number = logins.next().unwrap();
            log_in(&broker, Protocol::V5, &format!("ann{number}")).expect_closed();
            broker.log_contains("more like this since the last such line")
        });
        broker.wait_until_idle();
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
        let log = broker.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(" failed: ")).collect();
        assert!(lines.len() <= seconds + 1, "{} lines in {seconds} s", lines.len());
        let counted = |line: &&str| -> Option<usize> {
            line.split_once("\") (")?.1.split_once(" more like")?.0.parse().ok()
        };
        let left_out: usize = lines.iter().filter_map(counted).sum();
        // Logins that fail after the last line are in no line yet: it says itself which it is.
        let last = lines.last().unwrap().split_once("login of \"ann").unwrap().1;
        let failed: usize = last.split_once('"').unwrap().0.parse().unwrap();
        assert_eq!(lines.len() + left_out, failed);
        assert!(left_out > 0);
    }

    fn another_host_that_fails_alike_has_a_line_of_its_own(version) {
        let ports = [refused_port(), refused_port()];
        let hosts = ports.map(|port| format!("127.0.0.1:{port}"));
        let list = hosts.join(",");
        let broker = Broker::config(version)
            .plugin([("http_host", list.as_str()), ("http_user_route", "/user")])
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        for host in hosts {
            broker.wait_for_log(&format!("the API at http://{host} failed: connection refused; "));
        }
    }

    fn another_kind_of_outage_has_a_line_of_its_own(version) {
        let api = AuthServer::answering(|request| {
            match request.json()["username"].as_str().unwrap() {
                "closed" => Reply::close(),
                _ => Reply::status(503),
            }
        });
        let broker = broker_with(version, &api, &[]);
        for user in ["closed", "ill", "closed", "ill"] {
            log_in(&broker, Protocol::V5, user).expect_closed();
        }
        wait_for_failure(&broker, "connection lost", "the login of \"closed\"");
        wait_for_failure(&broker, "status 503", "the login of \"ill\"");
    }
}
