//! Over HTTPS the API's certificate is verified: by the authorities of `tls_ca_file`, else by the
//! system's. Whatever is wrong with it is a failure of the API, and no request is ever sent.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use mosquitto_test::prelude::*;

use crate::support::{ROUTES, broker_with, log_in, logged_in, may_publish};

const HTTPS: (&str, &str) = ("http_protocol", "https");

/// A broker that asks this API over HTTPS and trusts these authorities.
fn broker(version: Version, api: &AuthServer, ca_file: &Path) -> Broker {
    broker_with(version, api, &[HTTPS, ("tls_ca_file", ca_file.to_str().unwrap())])
}

/// The API's certificate is refused: logins are closed, and the API hears nothing.
fn expect_untrusted(version: Version, api: &AuthServer, ca_file: &Path, why: &str) {
    let broker = broker(version, api, ca_file);
    for protocol in Protocol::BOTH {
        log_in(&broker, protocol, "ann").expect_closed();
    }
    let port = api.port();
    broker.wait_for_log(&format!("the API at https://127.0.0.1:{port} failed: TLS failed ({why}"));
    assert!(api.requests().is_empty());
    assert!(api.connections() >= 2, "each login tried anew");
}

/// Makes these the only authorities that the broker's system has.
fn system_roots(config: BrokerConfig, file: &Path) -> BrokerConfig {
    let folder = config.path("no-certificates");
    fs::create_dir(&folder).unwrap();
    let (file, folder) = (file.to_str().unwrap(), folder.to_str().unwrap());
    config.env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", folder)
}

/// A port on which something answers every connection's first bytes with these.
fn answering_with(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 16 * 1024]);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

/// The plugin's complaint about a configuration that cannot be.
fn complaint(version: Version, options: &[(&str, &str)]) -> String {
    let place = [("http_host", "127.0.0.1"), ROUTES[0]];
    let failed =
        Broker::config(version).plugin([&place, options].concat()).start_expecting_failure();
    let lines: Vec<_> =
        failed.log.lines().filter_map(|line| line.strip_prefix("mosquitto-http-auth: ")).collect();
    assert_eq!(lines.len(), 1, "one line: {lines:?}");
    lines[0].to_owned()
}

on_every_broker! {
    fn an_api_with_a_certificate_of_the_configured_authority_is_asked(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        api.set_handler(|request| {
            Reply::status(if request.json()["topic"] == "secret" { 403 } else { 200 })
        });
        let broker = broker(version, &api, certs.ca_file());
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, &format!("{protocol:?}")).expect_accepted();
        }
        let client = logged_in(&broker, Protocol::V5, "ann");
        assert!(may_publish(&client, "t") && !may_publish(&client, "secret"));
        assert_eq!((api.requests().len(), api.connections()), (5, 1));
        assert_eq!(api.broken_handshakes(), 0);
    }

    fn an_api_is_verified_by_its_name(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        let host = format!("localhost:{}", api.port());
        let broker = Broker::config(version)
            .plugin([
                ("http_host", host.as_str()),
                ("tls_ca_file", certs.ca_file().to_str().unwrap()),
                HTTPS,
                ROUTES[0],
            ])
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        let host = api.requests()[0].header("host").unwrap().to_owned();
        assert_eq!(host, format!("localhost:{}", api.port()));
    }

    fn a_connection_that_was_closed_is_replaced(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        let broker = broker(version, &api, certs.ca_file());
        log_in(&broker, Protocol::V5, "one").expect_accepted();
        api.close_connections();
        log_in(&broker, Protocol::V5, "two").expect_accepted();
        api.set_handler(|_| Reply::status(200).close_when_next_request_arrives());
        for user in ["three", "four", "five"] {
            log_in(&broker, Protocol::V5, user).expect_accepted();
        }
        assert_eq!(api.requests().len(), 5);
        broker.wait_until_idle();
        assert!(!broker.log_contains(" failed: "));
    }

    fn without_tls_ca_file_the_systems_authorities_are_trusted(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        let broker = system_roots(Broker::config(version), certs.ca_file())
            .plugin(api.options([HTTPS, ROUTES[0]]))
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
    }

    fn tls_ca_file_takes_the_place_of_the_systems_authorities(version) {
        let (certs, strangers) = (Certs::new(), Certs::new());
        let api = AuthServer::start_tls(&certs);
        let ca_file = strangers.ca_file().to_str().unwrap();
        let broker = system_roots(Broker::config(version), certs.ca_file())
            .plugin(api.options([HTTPS, ROUTES[0], ("tls_ca_file", ca_file)]))
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        assert!(api.requests().is_empty());
    }

    fn a_certificate_of_an_unknown_authority_is_a_failure(version) {
        let api = AuthServer::start_tls(Certs::new());
        let strangers = Certs::new();
        expect_untrusted(version, &api, strangers.ca_file(), "the API's certificate has a wrong signature");
    }

    fn a_certificate_that_the_system_does_not_know_is_a_failure(version) {
        let (certs, strangers) = (Certs::new(), Certs::new());
        let api = AuthServer::start_tls(&certs);
        let broker = system_roots(Broker::config(version), strangers.ca_file())
            .plugin(api.options([HTTPS, ROUTES[0]]))
            .start();
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        broker.wait_for_log(" failed: TLS failed (the API's certificate has a wrong signature");
        assert!(api.requests().is_empty());
    }

    fn a_certificate_for_another_host_is_a_failure(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(certs.wrong_host());
        let why = "the API's certificate is not for 127.0.0.1, only for elsewhere.example: http_host";
        expect_untrusted(version, &api, certs.ca_file(), why);
    }

    fn an_expired_certificate_is_a_failure(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(certs.expired());
        let why = "the API's certificate, or one that vouches for it, expired ";
        expect_untrusted(version, &api, certs.ca_file(), why);
    }

    fn an_api_that_wants_a_certificate_of_ours_is_a_failure(version) {
        let certs = Certs::new();
        let api = AuthServer::start_mutual_tls(&certs);
        let broker = broker(version, &api, certs.ca_file());
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_closed();
        }
        // In TLS 1.3 the API objects only once it has been sent the request, and its alert may be
        // lost with the connection.
        broker.wait_for_log(" failed: ");
        let reasons = ["TLS failed (the API's server demands a client certificate: set tls_cert_file and ", "connection lost; "];
        assert!(reasons.iter().any(|why| broker.log_contains(&format!(" failed: {why}"))));
        assert!(api.requests().is_empty());
        assert_eq!(api.broken_handshakes(), 2);
    }

    fn a_port_that_speaks_plain_http_is_a_failure(version) {
        let certs = Certs::new();
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let port = answering_with(answer).to_string();
        let broker = Broker::config(version)
            .plugin([
                ("http_host", "127.0.0.1"),
                ("http_port", &port),
                ("tls_ca_file", certs.ca_file().to_str().unwrap()),
                HTTPS,
                ROUTES[0],
            ])
            .start();
        for protocol in Protocol::BOTH {
            log_in(&broker, protocol, "ann").expect_closed();
        }
        broker.wait_for_log(" failed: TLS failed (the API's server does not speak TLS on this port");
    }

    fn plain_http_to_a_port_that_speaks_tls_is_a_failure(version) {
        let api = AuthServer::start_tls(Certs::new());
        let broker = broker_with(version, &api, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_closed();
        broker.wait_for_log(" failed: ");
        assert!(api.requests().is_empty());
    }

    fn an_authority_file_that_cannot_be_had_stops_the_start(version) {
        let config = Broker::config(version);
        let empty = config.file("empty.pem", "");
        let garbage = config.file("garbage.pem", [0xff; 99]);
        let begin = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        let broken = config.file("broken.pem", begin);
        for path in [config.path("missing.pem"), empty, garbage, broken, config.path("")] {
            let path = path.to_str().unwrap();
            let line = complaint(version, &[HTTPS, ("tls_ca_file", path)]);
            let start = format!(
                "option tls_ca_file: {path:?} is not allowed; allowed: the path of a readable PEM \
                 file with at least one certificate ("
            );
            assert!(line.starts_with(&start), "{line}");
        }
    }

    fn an_authority_file_without_https_stops_the_start(version) {
        let certs = Certs::new();
        let line = complaint(version, &[("tls_ca_file", certs.ca_file().to_str().unwrap())]);
        assert_eq!(line, "option tls_ca_file needs http_protocol https");
    }

    fn a_system_without_authorities_stops_the_start(version) {
        let config = Broker::config(version);
        let empty = config.file("empty.pem", "");
        let failed = system_roots(config, &empty)
            .plugin([("http_host", "127.0.0.1"), HTTPS, ROUTES[0]])
            .start_expecting_failure();
        let why = "http_protocol https: the system has no certificate authorities";
        assert!(failed.log.contains(why), "{}", failed.log);
    }
}
