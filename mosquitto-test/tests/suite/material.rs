//! Certificates, keys and secret headers: what the plugin shows the API, and what SIGHUP changes.

use std::fs;
use std::path::Path;

use mosquitto_test::prelude::*;

use crate::support::{ROUTES, broker_with, eventually, log_in};

const HTTPS: (&str, &str) = ("http_protocol", "https");

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A login of a user that nobody has asked about before.
fn gets_in(broker: &Broker, nth: usize) -> bool {
    log_in(broker, Protocol::V5, &format!("user-{nth}")).is_accepted()
}

on_every_broker! {
    fn the_api_sees_the_plugins_certificate(version) {
        let certs = Certs::new();
        let api = AuthServer::start_mutual_tls(&certs);
        let client = certs.client("plugin");
        let files = [
            HTTPS,
            ("tls_ca_file", text(certs.ca_file())),
            ("tls_cert_file", text(&client.cert)),
            ("tls_key_file", text(&client.key)),
        ];
        let broker = broker_with(version, &api, &files);
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn a_certificate_and_a_key_that_do_not_belong_together_stop_the_start(version) {
        let (certs, others) = (Certs::new(), Certs::new());
        let (one, other) = (certs.server(), others.server());
        let start = |files: &[(&str, &str)]| {
            let place = [("http_host", "127.0.0.1"), HTTPS, ROUTES[0]];
            let options = [&place, files].concat();
            Broker::config(version).plugin(options).start_expecting_failure().log
        };
        let log = start(&[("tls_cert_file", text(&one.cert)), ("tls_key_file", text(&other.key))]);
        assert!(log.contains("option tls_key_file: ") && log.contains("private key"), "{log}");
        let log = start(&[("tls_cert_file", text(&one.cert))]);
        assert!(log.contains("tls_cert_file and tls_key_file need each other"), "{log}");
        let log = start(&[("tls_cert_file", text(&one.key)), ("tls_key_file", text(&one.key))]);
        assert!(log.contains("option tls_cert_file: "), "{log}");
    }

    fn sighup_trusts_another_authority(version) {
        let (old, new) = (Certs::new(), Certs::new());
        let api = AuthServer::start_tls(new.server());
        let config = Broker::config(version);
        let ca = config.file("ca.pem", fs::read(old.ca_file()).unwrap());
        let options = api.options([ROUTES[0], HTTPS, ("tls_ca_file", text(&ca))]);
        let broker = config.plugin(options).start();
        assert!(!gets_in(&broker, 0));
        broker.wait_for_log("TLS failed (the API's certificate has a wrong signature");
        fs::copy(new.ca_file(), &ca).unwrap();
        broker.reload();
        broker.wait_for_log("certificates or secret headers have changed");
        let mut nth = 0;
        eventually("the new authority", || {
            nth += 1;
            gets_in(&broker, nth)
        });
    }

    fn a_broken_file_keeps_what_held_before(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(certs.server());
        let config = Broker::config(version);
        let ca = config.file("ca.pem", fs::read(certs.ca_file()).unwrap());
        let options = api.options([ROUTES[0], HTTPS, ("tls_ca_file", text(&ca))]);
        let broker = config.plugin(options).start();
        assert!(gets_in(&broker, 1));
        for (nth, contents) in [(2, ""), (3, "garbage")] {
            let mark = broker.log_mark();
            fs::write(&ca, contents).unwrap();
            broker.reload();
            broker.wait_for_log_after(mark, "option tls_ca_file: ");
            broker.wait_for_log_after(mark, "what held before stays");
            assert!(gets_in(&broker, nth));
        }
    }

    fn sighup_sends_another_secret(version) {
        let api = AuthServer::answering(|request| {
            let key = request.header("x-key").unwrap_or_default();
            Reply::status(if key == "new" { 200 } else { 403 })
        });
        let config = Broker::config(version);
        let secret = config.file("key", "old\n");
        let at = format!("@{}", secret.display());
        let options = api.options([ROUTES[0], ("http_header_X-Key", at.as_str())]);
        let broker = config.plugin(options).start();
        assert!(!gets_in(&broker, 1));
        fs::write(&secret, "new\n").unwrap();
        broker.reload();
        broker.wait_for_log("certificates or secret headers have changed");
        assert!(gets_in(&broker, 2));
        let mark = broker.log_mark();
        fs::remove_file(&secret).unwrap();
        broker.reload();
        broker.wait_for_log_after(mark, "option http_header_X-Key: cannot read the file");
        assert!(gets_in(&broker, 3));
        for shown in ["old", "new"] {
            assert!(!broker.log_contains(&format!("\"{shown}\"")));
        }
    }

    fn a_reload_without_a_change_keeps_the_connections(version) {
        let api = AuthServer::start();
        let config = Broker::config(version);
        let secret = config.file("key", "the same");
        let at = format!("@{}", secret.display());
        let options = api.options([ROUTES[0], ("http_header_X-Key", at.as_str())]);
        let broker = config.plugin(options).start();
        assert!(gets_in(&broker, 1));
        broker.reload();
        assert!(gets_in(&broker, 2));
        assert_eq!(api.connections(), 1);
    }

    fn an_unverified_certificate_is_warned_of_at_every_start(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(certs.wrong_host());
        let mut broker = broker_with(version, &api, &[HTTPS, ("tls_verify", "false")]);
        for nth in 0..2 {
            let warning = "the API's certificate is not verified: whoever is between";
            assert!(broker.log_contains(warning));
            assert!(gets_in(&broker, nth));
            broker.restart();
        }
    }
}
