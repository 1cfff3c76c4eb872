//! What an API says on a connection beyond the answer that it was asked for is nobody's: it never
//! answers the next question, which would otherwise be another client's.

use mosquitto_test::prelude::*;

use crate::support::{broker_with, log_in};

/// A yes to whoever asks next.
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// An answer in so many bytes.
fn answer_of(size: usize) -> Vec<u8> {
    let head = |body: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {body:06}\r\n\r\n");
    let body = size - head(0).len();
    [head(body).into_bytes(), vec![b' '; body]].concat()
}

/// `first` is answered as said, over http and https, on a connection that was used before; then
/// `second` is asked about, and denied by what the API says to that, on another connection.
fn expect_next_is_asked(version: Version, first: &(dyn Fn() -> Reply + Sync)) {
    let certs = Certs::new();
    let https = [("http_protocol", "https"), ("tls_ca_file", certs.ca_file().to_str().unwrap())];
    for (api, options) in
        [(AuthServer::start(), &[][..]), (AuthServer::start_tls(&certs), &https[..])]
    {
        let reply = first();
        api.set_handler(move |request| match request.json()["username"].as_str().unwrap() {
            "before" => Reply::status(200),
            "first" => reply.clone(),
            _ => Reply::status(401),
        });
        let broker = broker_with(version, &api, options);
        // Under TLS 1.3 the first answer comes with more than itself.
        log_in(&broker, Protocol::V5, "before").expect_accepted();
        api.forget_requests();
        log_in(&broker, Protocol::V5, "first");
        expect_second_is_denied(&broker, &api);
    }
}

fn expect_second_is_denied(broker: &Broker, api: &AuthServer) {
    log_in(broker, Protocol::V5, "second").expect_refused();
    let asked = api.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].json()["username"], "second");
    assert_ne!(asked[0].connection, asked[1].connection, "the first was used up");
}

on_every_broker! {
    fn right_behind_the_answer(version) {
        expect_next_is_asked(version, &|| Reply::raw([&answer_of(100), STRAY.as_bytes()].concat()));
    }

    fn behind_answers_of_sizes_at_which_a_buffer_is_full(version) {
        // The TLS layer takes 4096 bytes at once, 22 of which are its own; a record holds 16384.
        for size in [4074, 4075, 8148, 8170, 16_362, 16_384, 16_385, 32_768, 65_536] {
            expect_next_is_asked(version, &|| {
                Reply::parts([answer_of(size), STRAY.as_bytes().to_vec()])
            });
        }
    }

    fn behind_an_answer_that_is_longer_than_it_says(version) {
        expect_next_is_asked(version, &|| {
            Reply::raw(format!("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno{STRAY}"))
        });
        expect_next_is_asked(version, &|| Reply::raw(format!("HTTP/1.1 204 No\r\n\r\n{STRAY}")));
        expect_next_is_asked(version, &|| Reply::raw(format!("HTTP/1.1 304 No\r\n\r\n{STRAY}")));
    }

    fn behind_the_last_chunk(version) {
        expect_next_is_asked(version, &|| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
            Reply::raw(format!("{head}{STRAY}"))
        });
    }

    fn while_the_connection_rests(version) {
        let certs = Certs::new();
        let https = [("http_protocol", "https"), ("tls_ca_file", certs.ca_file().to_str().unwrap())];
        for (api, options) in
            [(AuthServer::start(), &[][..]), (AuthServer::start_tls(&certs), &https[..])]
        {
            let gate = Gate::new();
            let held = gate.clone();
            api.set_handler(move |request| match request.json()["username"].as_str().unwrap() {
                "first" => Reply::status(200).unasked(&held, STRAY),
                _ => Reply::status(401),
            });
            let broker = broker_with(version, &api, options);
            log_in(&broker, Protocol::V5, "first").expect_accepted();
            gate.open();
            api.wait_until_said(1);
            expect_second_is_denied(&broker, &api);
        }
    }

    fn an_answer_that_came_too_late_is_nobodys(version) {
        let (api, gate) = (AuthServer::start(), Gate::new());
        let held = gate.clone();
        api.set_handler(move |request| match request.json()["username"].as_str().unwrap() {
            "first" => Reply::status(200).after(&held),
            _ => Reply::status(401),
        });
        let broker = broker_with(version, &api, &[("http_timeout_ms", "300")]);
        log_in(&broker, Protocol::V5, "first").expect_closed();
        gate.open();
        expect_second_is_denied(&broker, &api);
    }
}
