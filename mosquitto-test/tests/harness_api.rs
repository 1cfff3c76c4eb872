//! The harness's HTTP API, tried with bare connections: what the other tests stand on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "these are tests"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mosquitto_test::prelude::*;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, StreamOwned};

/// Sends one POST and reads until the server's answer is complete or the connection ends.
fn post(stream: &mut (impl Read + Write), body: &str) -> String {
    let head = format!("POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    if stream.write_all((head + body).as_bytes()).is_err() {
        return String::new();
    }
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count == 1) {
        answer.push(byte[0]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
            if length.is_some_and(|length: usize| body.len() == length) {
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(api: &AuthServer) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn the_api_records_and_answers() {
    let api = AuthServer::answering(|request: &Request| {
        Reply::status(if request.json()["password"] == "right" { 200 } else { 401 })
            .header("X-Test", "yes")
    });
    let mut stream = connect(&api);
    assert!(
        post(&mut stream, r#"{"password":"right"}"#)
            .starts_with("HTTP/1.1 200 Status\r\nX-Test: yes\r\n")
    );
    assert!(post(&mut stream, r#"{"password":"wrong"}"#).starts_with("HTTP/1.1 401 "));
    post(&mut connect(&api), "no json");
    let requests = api.wait_for_requests(3);
    assert_eq!(requests[1].json()["password"], "wrong");
    assert_eq!(requests[1].header("CONTENT-length"), Some("20"));
    assert_eq!((requests[1].connection, requests[1].nth_on_connection), (1, 2));
    assert_eq!((requests[2].connection, requests[2].nth_on_connection), (2, 1));
    assert_eq!(
        (requests[2].method.as_str(), requests[2].json()),
        ("POST", serde_json::Value::Null)
    );
    assert_eq!(
        (api.requests_to("/login").len(), api.requests_to("/acl").len(), api.connections()),
        (3, 0, 2)
    );
    api.set_handler(|_| Reply::status(503).json(serde_json::json!({"a": 1})));
    assert!(
        post(&mut stream, "")
            .ends_with("Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}")
    );
}

#[test]
fn chunked_requests_are_read() {
    let api = AuthServer::start();
    let mut stream = connect(&api);
    stream.write_all(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap();
    assert_eq!(api.wait_for_requests(1)[0].body, b"abcde");
}

#[test]
fn a_gate_holds_answers_back() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |_| Reply::status(200).after(&held));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| post(&mut connect(&api), "1"));
        let second = scope.spawn(|| post(&mut connect(&api), "2"));
        gate.wait_until_waiting(2);
        assert_eq!(api.requests().len(), 2, "requests are recorded before their answers");
        assert!(!first.is_finished() && !second.is_finished());
        gate.open();
        assert!(
            first.join().unwrap().contains(" 200 ") && second.join().unwrap().contains(" 200 ")
        );
    });
    assert_eq!(gate.waiting(), 0);
}

#[test]
fn a_closed_gate_does_not_keep_the_api_from_ending() {
    let gate = Gate::new();
    let held = gate.clone();
    let api = AuthServer::answering(move |_| Reply::status(200).after(&held));
    let mut never = connect(&api);
    never.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    gate.wait_until_waiting(1);
    drop(api);
    let mut rest = Vec::new();
    let _ = never.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn the_api_misbehaves_as_told() {
    let api = AuthServer::start();
    let misbehave = |reply: Reply| {
        api.set_handler(move |_| reply.clone());
        post(&mut connect(&api), "x")
    };
    assert_eq!(misbehave(Reply::close()), "");
    assert_eq!(misbehave(Reply::reset()), "");
    assert_eq!(misbehave(Reply::raw_then_close("garbage")), "garbage");
    assert_eq!(misbehave(Reply::status(200).body("slow").drip(Duration::from_millis(1))).len(), 46);
    api.set_handler(|_| Reply::huge(100_000_000).then_close());
    let mut stream = connect(&api);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(std::io::copy(&mut stream, &mut std::io::sink()).unwrap() > 100_000_000);
    api.set_handler(|_| Reply::reset());
    let mut stream = connect(&api);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn the_api_lies_about_keep_alive() {
    let api = AuthServer::answering(|_| Reply::status(200).then_close());
    let mut stream = connect(&api);
    assert!(post(&mut stream, "x").contains(" 200 "));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed without a word");

    for reply in [Reply::close_when_next_request_arrives, Reply::reset_when_next_request_arrives] {
        api.forget_requests();
        api.set_handler(move |_| reply(Reply::status(200)));
        let mut stream = connect(&api);
        assert!(post(&mut stream, "x").contains(" 200 "));
        assert_eq!(post(&mut stream, "y"), "", "the second request has no answer");
        assert_eq!(api.requests().len(), 1);
    }
}

#[test]
fn endless_answers_end_with_their_reader() {
    let api = AuthServer::start();
    for reply in [Reply::endless(), Reply::endless_without_length(), Reply::never()] {
        api.set_handler(move |_| reply.clone());
        let mut stream = connect(&api);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        api.wait_for_open_connections(1);
        drop(stream);
        api.wait_for_open_connections(0);
    }
}

#[test]
fn the_api_goes_and_comes_back() {
    let api = AuthServer::start();
    let mut kept = connect(&api);
    post(&mut kept, "x");
    api.close_connections();
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    let mut kept = connect(&api);
    post(&mut kept, "x");
    api.stop();
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(("127.0.0.1", api.port())).is_err());
    api.restart();
    assert!(post(&mut connect(&api), "x").contains(" 200 "));
    assert_eq!(api.requests().len(), 3);
    let port = api.port();
    drop(api);
    let again = AuthServer::start_on(port);
    assert!(post(&mut connect(&again), "x").contains(" 200 "));
}

#[test]
#[should_panic(expected = "the API met faults")]
fn a_malformed_request_fails_the_test() {
    let api = AuthServer::start();
    let mut stream = connect(&api);
    stream.write_all(b"\x16\x03\x01 no HTTP\r\n\r\n").unwrap();
    let _ = stream.read(&mut [0]);
}

#[test]
fn nobody_answers_at_dead_addresses() {
    let refused = TcpStream::connect(("127.0.0.1", refused_port())).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let blackhole = Blackhole::open();
    let address = ([127, 0, 0, 1], blackhole.port()).into();
    let hung = TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap_err();
    assert_eq!(hung.kind(), std::io::ErrorKind::TimedOut);
}

/// A TLS client that trusts one authority, with or without a certificate of its own.
fn tls_client(
    api: &AuthServer,
    trusted: &Certs,
    own: Option<&Identity>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted.ca_file()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let certificate = CertificateDer::from_pem_file(&own.cert).unwrap();
            builder
                .with_client_auth_cert(
                    vec![certificate],
                    PrivateKeyDer::from_pem_file(&own.key).unwrap(),
                )
                .unwrap()
        }
    };
    let connection = ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, connect(api))
}

#[test]
fn the_api_speaks_tls() {
    let certs = Certs::new();
    let api = AuthServer::start_tls(&certs);
    assert!(post(&mut tls_client(&api, &certs, None), "x").contains(" 200 "));
    assert_eq!(post(&mut tls_client(&api, &Certs::new(), None), "x"), "", "another authority");
    for wrong in [certs.expired(), certs.wrong_host()] {
        let api = AuthServer::start_tls(&wrong);
        assert_eq!(post(&mut tls_client(&api, &certs, None), "x"), "");
        assert!(api.requests().is_empty());
    }
}

#[test]
fn the_api_demands_client_certificates() {
    let certs = Certs::new();
    let api = AuthServer::start_mutual_tls(&certs);
    assert_eq!(post(&mut tls_client(&api, &certs, None), "x"), "");
    let stranger = Certs::new().client("plugin");
    assert_eq!(post(&mut tls_client(&api, &certs, Some(&stranger)), "x"), "");
    assert!(api.requests().is_empty());
    assert!(
        post(&mut tls_client(&api, &certs, Some(&certs.client("plugin"))), "x").contains(" 200 ")
    );
    assert_eq!(api.broken_handshakes(), 2);
}
