//! Passwords and header values never reach the broker's log: whatever its level, whatever comes of
//! the question, and in no disguise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mosquitto_test::broker::secrets::leak;
use mosquitto_test::prelude::*;

use crate::support::{ROUTES, may_publish};

const PASSWORD: &str = "canary-passw0rd-Zx81";
const HEADER: &str = "canary-h3ader-Qv47";
const OPTIONS: [(&str, &str); 5] = [
    ("log_level", "trace"),
    ("http_user_fields", "clientid,peerhost,protocol,protocol_version,keepalive,clean_session"),
    ("http_header_X-Api-Key", HEADER),
    ROUTES[0],
    ROUTES[1],
];

/// Nothing secret was logged up to now, by a plugin that logs in all detail.
fn expect_silence(broker: &Broker) {
    broker.wait_until_idle();
    let log = broker.log();
    for secret in [PASSWORD, HEADER] {
        assert_eq!(leak(&log, secret), None);
    }
}

fn log_in(broker: &Broker, protocol: Protocol, user: &str) -> Login {
    broker.client(user).protocol(protocol).credentials(user, PASSWORD).connect()
}

/// Logins that come to something different for every user of this API.
fn many_ways(request: &Request) -> Reply {
    assert_eq!(request.header("x-api-key"), Some(HEADER));
    if request.path == "/acl" {
        return Reply::status(if request.json()["topic"] == "secret" { 403 } else { 200 });
    }
    assert_eq!(request.json()["password"], PASSWORD);
    let echo = format!("{PASSWORD} {HEADER}");
    match request.json()["username"].as_str().unwrap() {
        "allowed" => Reply::status(200).header("X-Echo", &echo).body(&echo),
        "denied" => Reply::status(401).header("X-Echo", &echo).body(&echo),
        "failing" => Reply::status(503).header("X-Echo", &echo).body(&echo),
        "lost" => Reply::close(),
        "reset" => Reply::reset(),
        "never" => Reply::never(),
        "broken" => Reply::raw_then_close(format!("HTTP/1.1 {echo}\r\n{echo}\r\n\r\n")),
        "garbage" => Reply::raw_then_close(format!("{echo}\r\n")),
        "header" => {
            Reply::raw_then_close(format!("HTTP/1.1 200 OK\r\n\u{0}{echo}: {echo}\r\n\r\n"))
        }
        "chunk" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Reply::raw_then_close(format!("{head}{echo}\r\n"))
        }
        other => panic!("who is {other}?"),
    }
}

/// Whatever can come of a login, each in a broker of its own: a kind of failure takes one line a
/// second, and every line is to be seen.
fn expect_silence_about_all(version: Version, options: &[(String, String)]) {
    let broker = || Broker::config(version).plugin(options.iter().map(|(k, v)| (k, v))).start();
    for user in ["failing", "lost", "reset", "never", "broken", "garbage", "header", "chunk"] {
        let broker = broker();
        log_in(&broker, Protocol::V5, user).expect_closed();
        broker.wait_for_log(&format!("the login of {user:?}"));
        expect_silence(&broker);
    }
    let broker = broker();
    log_in(&broker, Protocol::V5, "denied").expect_refused();
    let client = log_in(&broker, Protocol::V5, "allowed").expect_accepted();
    assert!(may_publish(&client, "t") && !may_publish(&client, "secret"));
    client.subscribe("t").expect_granted();
    broker.wait_for_log("\"secret\"");
    expect_silence(&broker);
}

on_every_broker! {
    fn no_outcome_of_a_login_shows_a_secret(version) {
        let api = AuthServer::answering(many_ways);
        let options = api.options(OPTIONS.iter().chain(&[("http_timeout_ms", "500")]).copied());
        expect_silence_about_all(version, &options);
    }

    fn no_outcome_over_tls_shows_a_secret(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        api.set_handler(many_ways);
        let ca_file = certs.ca_file().to_str().unwrap().to_owned();
        let more = [
            ("http_protocol", "https"),
            ("tls_ca_file", ca_file.as_str()),
            ("http_timeout_ms", "500"),
        ];
        let options = api.options(OPTIONS.iter().chain(&more).copied());
        expect_silence_about_all(version, &options);
    }

    fn an_untrusted_or_absent_api_shows_no_secret(version) {
        let certs = Certs::new();
        let strange = AuthServer::start_tls(Certs::new());
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", refused_port(), strange.port());
        let place = [
            ("http_host", hosts.as_str()),
            ("http_protocol", "https"),
            ("tls_ca_file", certs.ca_file().to_str().unwrap()),
        ];
        let broker = Broker::config(version).plugin(OPTIONS.iter().chain(&place).copied()).start();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        broker.wait_for_log(" failed: TLS failed ");
        expect_silence(&broker);
    }

    fn a_password_that_is_not_utf8_is_not_shown(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(api.options(OPTIONS)).start();
        let password = [PASSWORD.as_bytes(), b"\xff\xfe", PASSWORD.as_bytes()].concat();
        for protocol in Protocol::BOTH {
            let mut raw = broker.raw();
            raw.send(raw::connect_packet(protocol, "c", Some(b"ann"), Some(&password), true));
            assert_eq!(raw.read_connack(), Some(protocol.refusal()));
        }
        broker.wait_for_log("reason=not-utf8");
        assert!(api.requests().is_empty());
        expect_silence(&broker);
    }

    fn a_password_in_base64_is_not_shown(version) {
        let api = AuthServer::answering(|_| Reply::status(401));
        let base64 = ("password_encoding", "base64");
        let options = api.options(OPTIONS.iter().chain(&[base64]).copied());
        let broker = Broker::config(version).plugin(options).start();
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        assert_eq!(api.requests()[0].json()["password"], BASE64.encode(PASSWORD));
        expect_silence(&broker);
    }

    fn a_password_left_to_the_broker_is_not_shown(version) {
        let api = AuthServer::answering(|_| Reply::status(503));
        let defer = ("on_error", "defer");
        let broker = Broker::config(version)
            .password_file(&[("ann", PASSWORD)])
            .plugin(api.options(OPTIONS.iter().chain(&[defer]).copied()))
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        log_in(&broker, Protocol::V5, "bob").expect_refused();
        expect_silence(&broker);
    }

    fn the_end_of_the_broker_shows_no_secret(version) {
        let api = AuthServer::start();
        let mut broker = Broker::config(version).plugin(api.options(OPTIONS)).start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        broker.reload();
        broker.stop();
        let log = broker.log();
        assert!(log.contains("terminating"));
        assert_eq!((leak(&log, PASSWORD), leak(&log, HEADER)), (None, None));
    }
}

/// The log of a broker that somebody had told a secret, as its end finds it.
fn end_of_a_broker_that_shows(shown: &str) -> std::thread::Result<()> {
    let shown = shown.to_owned();
    std::thread::spawn(move || {
        let api = AuthServer::start();
        let broker = Broker::config(Version::V2_1_2).plugin(api.options(OPTIONS)).start();
        // A client's identifier is in the log, and here it is more than that.
        broker.client(&shown).credentials("ann", PASSWORD).connect().expect_accepted();
    })
    .join()
}

#[test]
fn every_brokers_log_is_looked_through_at_its_end() {
    assert!(end_of_a_broker_that_shows("nothing").is_ok());
    for shown in [PASSWORD, HEADER, &PASSWORD[..13], "{\"password\":\"x\"}"] {
        assert!(end_of_a_broker_that_shows(shown).is_err(), "{shown}");
    }
}

#[test]
fn every_disguise_is_seen_through() {
    let body = format!("{{\"username\":\"ann\",\"password\":\"{PASSWORD}\"}}");
    let json = body.as_bytes();
    for written in [
        body.clone(),
        BASE64.encode(json),
        BASE64.encode(&json[1..]),
        BASE64.encode(&json[2..]),
        json.iter().map(|byte| format!("{byte:02x}")).collect(),
        format!("{json:?}"),
    ] {
        assert!(leak(&written, PASSWORD).is_some(), "{written}");
        assert!(leak(&written, HEADER).is_none(), "{written}");
    }
}
