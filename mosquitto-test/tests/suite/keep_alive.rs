//! Questions share kept-alive connections, and a connection that the API closed meanwhile is
//! replaced without anybody noticing: the one question that it lost is asked once more, on a new
//! connection.

use mosquitto_test::prelude::*;

use crate::support::{broker_with, log_in, logged_in, may_publish, wait_for_failure};

/// The names in the requests, in their order.
fn askers(api: &AuthServer) -> Vec<String> {
    let name = |request: &Request| request.json()["username"].as_str().unwrap().to_owned();
    api.requests().iter().map(name).collect()
}

/// Three logins, the first of which the API answers in this way; the others get a plain 200.
fn expect_unnoticed(version: Version, first: fn() -> Reply) {
    let api = AuthServer::answering(move |request| {
        if request.json()["username"] == "first" { first() } else { Reply::status(200) }
    });
    let broker = broker_with(version, &api, &[]);
    for user in ["first", "second", "third"] {
        log_in(&broker, Protocol::V5, user).expect_accepted();
    }
    assert_eq!(askers(&api), ["first", "second", "third"], "each is recorded once");
    assert!(api.connections() > 1, "the first connection was not usable for the second login");
    broker.wait_until_idle();
    assert!(!broker.log_contains(" failed: "));
}

/// The answer to one question; what follows it on the connection is nobody's.
fn answer_and(rest: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{rest}").into_bytes()
}

on_every_broker! {
    fn many_questions_share_one_connection(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        for nth in 0..10 {
            let client = logged_in(&broker, Protocol::V5, &format!("user{nth}"));
            assert!(may_publish(&client, "t"));
            client.subscribe("t").expect_granted();
        }
        assert_eq!(api.requests().len(), 30);
        assert_eq!(api.connections(), 1);
        assert_eq!(api.requests().last().unwrap().nth_on_connection, 30);
    }

    fn a_denial_and_a_failure_keep_the_connection(version) {
        let api = AuthServer::answering(|request| {
            let status = request.json()["username"].as_str().unwrap().parse().unwrap();
            Reply::status(status).body(if status == 204 { "" } else { "because" })
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "403").expect_refused();
        log_in(&broker, Protocol::V5, "503").expect_closed();
        log_in(&broker, Protocol::V5, "204").expect_refused();
        log_in(&broker, Protocol::V5, "200").expect_accepted();
        assert_eq!(api.connections(), 1);
    }

    fn a_chunked_answer_keeps_the_connection(version) {
        let api = AuthServer::answering(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "one").expect_accepted();
        log_in(&broker, Protocol::V5, "two").expect_accepted();
        assert_eq!(api.connections(), 1);
    }

    fn an_idle_connection_that_was_closed_is_replaced(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        for nth in 1..=3 {
            log_in(&broker, Protocol::V5, &format!("user{nth}")).expect_accepted();
            api.close_connections();
            assert_eq!((api.requests().len(), api.connections()), (nth, nth));
        }
    }

    fn a_close_that_no_header_announced_goes_unnoticed(version) {
        expect_unnoticed(version, || Reply::status(200).then_close());
    }

    fn a_close_that_a_header_announced_goes_unnoticed(version) {
        expect_unnoticed(version, || {
            Reply::status(200).header("Connection", "close").then_close()
        });
    }

    fn an_answer_of_http_1_0_ends_its_connection_unnoticed(version) {
        expect_unnoticed(version, || Reply::raw_then_close("HTTP/1.0 200 OK\r\n\r\nyes"));
    }

    fn a_close_upon_the_next_question_has_it_asked_once_more(version) {
        expect_unnoticed(version, || Reply::status(200).close_when_next_request_arrives());
    }

    fn a_reset_upon_the_next_question_has_it_asked_once_more(version) {
        expect_unnoticed(version, || Reply::status(200).reset_when_next_request_arrives());
    }

    fn the_farewell_of_an_idle_connection_answers_no_question(version) {
        // HAProxy and others say 408 on an idle connection before they close it.
        expect_unnoticed(version, || {
            let farewell = "HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n";
            Reply::raw_then_close(answer_and(farewell))
        });
    }

    fn what_follows_an_answer_never_answers_the_next_question(version) {
        let api = AuthServer::answering(|request| {
            if request.json()["username"] != "first" {
                return Reply::status(401);
            }
            Reply::raw(answer_and("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
        });
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "first").expect_accepted();
        log_in(&broker, Protocol::V5, "second").expect_refused();
    }

    fn a_question_lost_twice_is_a_failure(version) {
        let api = AuthServer::answering(|_| Reply::status(200).close_when_next_request_arrives());
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "first").expect_accepted();
        api.set_handler(|_| Reply::close());
        log_in(&broker, Protocol::V5, "second").expect_closed();
        assert_eq!(askers(&api), ["first", "second"]);
        assert_eq!(api.connections(), 2);
        wait_for_failure(&broker, "connection lost", "the login of \"second\"");
    }

    fn a_question_lost_on_a_new_connection_is_not_asked_again(version) {
        for lose in [Reply::close, Reply::reset] {
            let api = AuthServer::answering(move |_| lose());
            let broker = broker_with(version, &api, &[]);
            log_in(&broker, Protocol::V5, "ann").expect_closed();
            assert_eq!((api.requests().len(), api.connections()), (1, 1));
        }
    }

    fn an_acl_check_on_a_lost_connection_is_asked_once_more(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        api.set_handler(|_| Reply::status(200).close_when_next_request_arrives());
        for topic in ["a", "b", "c"] {
            assert!(may_publish(&client, topic));
        }
        let topic = |request: &Request| request.json()["topic"].clone();
        let topics: Vec<_> = api.requests_to("/acl").iter().map(topic).collect();
        assert_eq!(topics, ["a", "b", "c"]);
    }

    fn an_api_that_restarted_is_found_again(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        let client = logged_in(&broker, Protocol::V5, "ann");
        api.stop();
        assert!(!may_publish(&client, "t"));
        log_in(&broker, Protocol::V5, "bob").expect_closed();
        api.restart();
        assert!(may_publish(&client, "t"));
        log_in(&broker, Protocol::V5, "bob").expect_accepted();
        assert_eq!(api.connections(), 2);
    }

    fn a_restart_between_two_questions_goes_unnoticed(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        api.stop();
        api.restart();
        log_in(&broker, Protocol::V5, "bob").expect_accepted();
        assert_eq!(askers(&api), ["ann", "bob"]);
    }
}
