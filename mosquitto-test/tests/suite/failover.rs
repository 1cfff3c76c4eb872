//! A comma list of hosts is asked in its order: where one fails the next is asked, and the first
//! answer is final.

use std::time::Duration;

use mosquitto_test::prelude::*;

use crate::support::{EVERY_QUESTION, ROUTES, eventually, log_in, logged_in, may_publish};

/// A broker whose plugin asks these ports, in this order.
fn broker(version: Version, ports: &[u16], more: &[(&str, &str)]) -> Broker {
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let hosts = hosts.join(",");
    let place = [("http_host", hosts.as_str())];
    Broker::config(version).plugin([&place, &ROUTES[..], &EVERY_QUESTION, more].concat()).start()
}

/// With `first` in front of a healthy API, logins and ACL checks are answered.
fn expect_failover(version: Version, first: u16, more: &[(&str, &str)], line: &str) {
    let second = AuthServer::answering(|request| {
        Reply::status(if request.json()["topic"] == "secret" { 403 } else { 200 })
    });
    let broker = broker(version, &[first, second.port()], more);
    for protocol in Protocol::BOTH {
        log_in(&broker, protocol, &format!("{protocol:?}")).expect_accepted();
    }
    let client = logged_in(&broker, Protocol::V5, "ann");
    assert!(may_publish(&client, "t") && !may_publish(&client, "secret"));
    client.subscribe("t").expect_granted();
    assert_eq!(second.requests().len(), 6);
    broker.wait_for_log(&format!("the API at http://127.0.0.1:{first} failed: {line}; "));
    broker.wait_until_idle();
    assert!(!broker.log_contains(&format!("the API at http://127.0.0.1:{} failed", second.port())));
}

on_every_broker! {
    fn the_first_host_that_is_well_answers_alone(version) {
        let (first, second) = (AuthServer::start(), AuthServer::start());
        let broker = broker(version, &[first.port(), second.port()], &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&client, "t"));
        assert_eq!((first.requests().len(), second.connections()), (2, 0));
    }

    fn a_refused_connection_passes_on(version) {
        expect_failover(version, refused_port(), &[], "connection refused");
    }

    fn a_host_that_takes_no_connection_passes_on(version) {
        let hole = Blackhole::open();
        let more = [("http_connect_timeout_ms", "300")];
        expect_failover(version, hole.port(), &more, "unreachable");
    }

    fn a_status_of_failure_passes_on(version) {
        let first = AuthServer::answering(|_| Reply::status(503));
        expect_failover(version, first.port(), &[], "status 503");
        assert_eq!(first.requests().len(), 6);
    }

    fn a_host_that_never_answers_passes_on(version) {
        let first = AuthServer::answering(|_| Reply::never());
        expect_failover(version, first.port(), &[("http_timeout_ms", "700")], "timed out");
    }

    fn a_lost_connection_passes_on(version) {
        let first = AuthServer::answering(|_| Reply::close());
        expect_failover(version, first.port(), &[], "connection lost");
        assert_eq!(first.requests().len(), 6);
    }

    fn a_broken_answer_passes_on(version) {
        let first = AuthServer::answering(|_| {
            Reply::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        });
        expect_failover(version, first.port(), &[], "broken answer (the body breaks off)");
    }

    fn a_denial_is_final(version) {
        for status in [401, 404, 302] {
            let first = AuthServer::answering(move |_| Reply::status(status));
            let second = AuthServer::start();
            let broker = broker(version, &[first.port(), second.port()], &[]);
            for protocol in Protocol::BOTH {
                log_in(&broker, protocol, &format!("{protocol:?}")).expect_refused();
            }
            assert_eq!((first.requests().len(), second.connections()), (2, 0));
        }
    }

    fn a_denial_by_the_second_host_is_final_too(version) {
        let first = AuthServer::answering(|_| Reply::status(500));
        let second = AuthServer::answering(|_| Reply::status(401));
        let third = AuthServer::start();
        let broker = broker(version, &[first.port(), second.port(), third.port()], &[]);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
        assert_eq!(third.connections(), 0);
    }

    fn where_all_hosts_fail_the_api_failed(version) {
        let ill = AuthServer::answering(|_| Reply::status(502));
        let dead = refused_port();
        let broker = broker(version, &[dead, ill.port()], &[]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_closed();
        }
        broker.wait_for_log(&format!(
            "the API at http://127.0.0.1:{dead} failed: connection refused; "
        ));
        broker.wait_for_log(&format!(
            "the API at http://127.0.0.1:{} failed: status 502; ",
            ill.port()
        ));
        ill.set_handler(|_| Reply::status(200));
        // A question that failed is not asked again for a second.
        eventually("ann is asked about again", || {
            log_in(&broker, Protocol::V5, "ann").is_accepted()
        });
    }

    fn the_first_host_is_asked_again_once_it_is_back(version) {
        let (first, second) = (AuthServer::start(), AuthServer::start());
        first.stop();
        let broker = broker(version, &[first.port(), second.port()], &[]);
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        first.restart();
        log_in(&broker, Protocol::V5, "bob").expect_accepted();
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    }

    fn hosts_without_a_port_take_the_common_one(version) {
        let (first, second) = (AuthServer::answering(|_| Reply::status(503)), AuthServer::start());
        let hosts = format!("127.0.0.1, 127.0.0.1:{}", second.port());
        let broker = Broker::config(version)
            .plugin([
                ("http_host", hosts.as_str()),
                ("http_port", &first.port().to_string()),
                ("http_user_route", "/user"),
            ])
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    }

    /// The first host has new data and denies, the second has old data and allows: whoever comes when
    /// both are back is denied, as often as it tries.
    fn a_host_that_is_found_to_be_back_decides_nothing_by_that(version) {
        let hosts = [AuthServer::start(), AuthServer::start()];
        hosts.iter().for_each(|host| host.set_handler(|_| Reply::status(503)));
        let more = [("breaker_failures", "3"), ("breaker_open_ms", "500")];
        let ports = [hosts[0].port(), hosts[1].port()];
        let place = format!("127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
        let options = [&[("http_host", place.as_str())], &ROUTES[..], &EVERY_QUESTION[..2], &more];
        let broker = Broker::config(version).plugin(options.concat()).start();
        for number in 0..3 {
            log_in(&broker, Protocol::V5, &format!("user-{number}")).expect_closed();
        }
        for port in ports {
            broker.wait_for_log(&format!("the API at http://127.0.0.1:{port} keeps failing"));
        }
        let denied = |request: &Request| Reply::status(match request.json()["username"] == "ann" {
            true => 401,
            false => 200,
        });
        hosts[0].set_handler(denied);
        hosts[1].set_handler(|_| Reply::status(200));
        std::thread::sleep(Duration::from_millis(500));
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        // The other host is seen to be back by now or later; the answer stays what it was.
        broker.wait_for_log(&format!("the API at http://127.0.0.1:{} is back", ports[1]));
        for _ in 0..5 {
            log_in(&broker, Protocol::V5, "ann").expect_refused();
        }
    }
}
