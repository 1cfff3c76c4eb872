//! An answer counts once it is complete. One that is too large is never read to its end: it is broken, and
//! its connection is closed.

use std::fs;

use mosquitto_test::prelude::*;

use crate::support::{broker_with, log_in, logged_in, may_publish};

const MIB: u64 = 1 << 20;

/// The most memory that the broker ever had, in bytes.
pub fn peak_memory(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Logins and ACL checks fail; the API finds each connection closed with most of the answer unsent.
fn expect_broken_unread(version: Version, reply: fn() -> Reply) {
    let api = AuthServer::start();
    let broker = broker_with(version, &api, &[]);
    let client = logged_in(&broker, Protocol::V5, "ann");
    let before = peak_memory(&broker);
    api.set_handler(move |_| reply());
    for protocol in Protocol::BOTH {
        log_in(&broker, protocol, &format!("late-{protocol:?}")).expect_closed();
    }
    assert!(!may_publish(&client, "t"));
    client.subscribe("t").expect_refused();
    broker.wait_for_log(" failed: broken answer (its body is longer than 4194304 bytes)");
    api.wait_for_open_connections(0);
    assert_eq!(api.requests().len(), 1 + 4);
    let grown = peak_memory(&broker) - before;
    assert!(grown < 20 * MIB, "the broker took {grown} bytes more");
}

on_every_broker! {
    fn a_body_of_100_mb(version) {
        expect_broken_unread(version, || Reply::huge(100_000_000));
    }

    fn a_chunked_body_without_end(version) {
        expect_broken_unread(version, Reply::endless);
    }

    fn a_body_of_no_length_without_end(version) {
        expect_broken_unread(version, Reply::endless_without_length);
    }

    fn the_largest_length_that_there_is(version) {
        let api = AuthServer::answering(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nx")
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_closed();
    }

    fn json_takes_no_more_memory_than_it_is_long(version) {
        const LONG: usize = 4 << 20;
        let filled = |begin: &str, with: &str, end: &str| {
            let room = LONG - begin.len() - end.len() - 2;
            format!("{begin}{}{with}{end}", format!("{with},").repeat(room / (with.len() + 1) - 1))
        };
        // What makes many values of few bytes, where something may stand and where nothing may.
        let unknown = filled(r#"{"result":"deny","x":["#, r#"{"":0}"#, "]}");
        let no_rules = filled(r#"{"acl":["#, r#"{"":0}"#, "]}");
        let no_word = filled(r#"{"result":["#, "[]", "]}");
        let api = AuthServer::answering(move |request| {
            let json = match request.json()["username"].as_str().unwrap() {
                "unknown" => &unknown,
                "no-rules" => &no_rules,
                _ => &no_word,
            };
            Reply::status(200).header("Content-Type", "application/json").body(json)
        });
        let broker = broker_with(version, &api, &[("http_connections", "1")]);
        log_in(&broker, Protocol::V5, "warm").expect_closed();
        let before = peak_memory(&broker);
        log_in(&broker, Protocol::V5, "unknown").expect_refused();
        for user in ["no-rules", "no-word"] {
            log_in(&broker, Protocol::V5, user).expect_closed();
        }
        let grown = peak_memory(&broker) - before;
        assert!(grown < 20 * MIB, "the broker took {grown} bytes more");
    }

    fn a_denial_counts_once_it_is_complete(version) {
        let denial = |length: usize, sent: usize| {
            let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), &vec![b' '; sent]].concat()
        };
        let api = AuthServer::answering(move |request| {
            match request.json()["username"].as_str().unwrap() {
                "whole" => Reply::raw(denial(1_000_000, 1_000_000)),
                "longer" => Reply::raw(denial(10_000_000, 10_000_000)),
                _ => Reply::raw_then_close(denial(100_000, 5)),
            }
        });
        let broker = broker_with(version, &api, &[]);
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "whole").expect_refused();
            log_in(&broker, protocol, "longer").expect_closed();
            log_in(&broker, protocol, "cut").expect_closed();
        }
    }
}
