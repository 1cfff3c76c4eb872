//! SINETStream's Python API over TLS, for users of the password file and users of the API.

use std::io::Write;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

use crate::clients::{api, asked, hold_logins, installed, options, printed};

const REFUSED: &str = "sinetstream.error.ConnectionError: connection error: reason=Connection Refused: not authorised.";
const REFUSED_IN_5: &str =
    "sinetstream.error.ConnectionError: connection error: reason=Not authorized";

/// A broker whose one listener has TLS, a password file and beside it the plugin.
struct Site {
    broker: Broker,
    certs: Certs,
}

/// Who a service's configuration says that the client is.
type Named<'a> = Option<(&'a str, &'a str)>;

impl Site {
    fn start(version: Version, api: &AuthServer) -> Site {
        let certs = Certs::new();
        let config = Broker::config(version).per_listener_settings().listener(|listener| {
            let listener =
                listener.tls(&certs).line(&format!("cafile {}", certs.ca_file().display()));
            let listener = listener.allow_anonymous(false).password_file(&[("filey", "right")]);
            let file = listener.password_path().display().to_string();
            let local = [("local_users_file", file.as_str())];
            listener.plugin(options(api, &local))
        });
        Site { broker: config.start(), certs }
    }

    /// Runs a client with a configuration file of its own, and waits until it is about to connect.
    fn client(&self, named: Named<'_>, more: &str, arguments: &[&str]) -> Program {
        let file = tempfile::NamedTempFile::new_in(self.broker.dir()).unwrap();
        let (mut file, path) = file.keep().unwrap();
        file.write_all(self.service(named, more).as_bytes()).unwrap();
        let mut command = Command::new(installed("sinetstream/bin/python"));
        command.arg(repository("mosquitto-test/clients/sinetstream/client.py"));
        command.arg("--config").arg(path).args(arguments);
        Program::start(command, self.broker.port(), "started")
    }

    fn service(&self, named: Named<'_>, more: &str) -> String {
        let (port, ca) = (self.broker.port(), self.certs.ca_file().display());
        let named = named.map_or(String::new(), |(user, password)| {
            format!("  username_pw_set: {{username: {user}, password: {password}}}\n")
        });
        format!(
            "service:\n  type: mqtt\n  brokers: localhost:{port}\n  consistency: AT_LEAST_ONCE\n  \
             tls: {{ca_certs: {ca}}}\n{named}{more}"
        )
    }

    /// A writer that its configuration file names.
    fn by_file(&self, user: &str, password: &str) -> Program {
        self.client(Some((user, password)), "", &["write", "ann/open", "hello"])
    }

    /// A writer that its constructor's arguments name.
    fn by_argument(&self, user: &str, password: &str, more: &str) -> Program {
        let arguments = ["--user", user, "--password", password, "write", "ann/open", "hello"];
        self.client(None, more, &arguments)
    }
}

fn expect_published(writer: &Program) {
    writer.wait_for_log("\npublished ann/open\n");
    assert_eq!(printed(writer), ["connected", "published ann/open"]);
}

fn expect_error(client: &Program, error: &str) {
    // Beside what it raises, it logs the refusal.
    client.wait_for_log(&format!("\n{error}\n"));
    assert!(!client.log().contains("\nconnected\n"));
}

on_every_broker! {
    fn a_whole_session(version) {
        let api = api();
        let site = Site::start(version, &api);
        let logins = hold_logins(version, &api);
        let ann = |arguments: &[&str]| site.client(Some(("ann", "green")), "", arguments);
        let reader = ann(&["read", "ann/#", "others/#"]);
        logins.release(1);
        reader.wait_for_log("\nconnected\n");
        site.broker.wait_for_log("\tothers/# (");
        for topic in ["ann/secret", "ann/open", "others/x"] {
            // A denied publish looks like any other: this is MQTT 3.1.1.
            ann(&["write", topic, "hello"]).wait_for_log(&format!("\npublished {topic}\n"));
        }
        reader.wait_for_log("\nmessage ann/open: hello\n");
        assert_eq!(printed(&reader), ["connected", "message ann/open: hello"]);
        // A reader and every writer are clients of their own, of one user.
        let questions = ["login", "4 ann/#", "4 others/#", "2 ann/secret", "1 ann/secret"];
        assert_eq!(asked(&api, "ann"), [&questions[..], &["2 ann/open", "1 ann/open", "2 others/x"]].concat());
    }

    fn passwords_of_both_kinds_of_users(version) {
        let api = api();
        let site = Site::start(version, &api);
        let right = [("ann", "green"), ("filey", "right")];
        let let_in = [
            right.map(|(user, password)| site.by_file(user, password)),
            right.map(|(user, password)| site.by_argument(user, password, "")),
        ];
        let_in.as_flattened().iter().for_each(expect_published);
        let wrong = [("ann", "blue"), ("filey", "wrong")];
        let refused = [
            wrong.map(|(user, password)| site.by_file(user, password)),
            wrong.map(|(user, password)| site.by_argument(user, password, "")),
        ];
        refused.as_flattened().iter().for_each(|client| expect_error(client, REFUSED));
        let in_5 = site.by_argument("ann", "blue", "  protocol: MQTTv5\n");
        expect_error(&in_5, REFUSED_IN_5);
        assert!(asked(&api, "filey").is_empty());
    }

    fn a_user_added_to_the_file_is_let_in_after_sighup(version) {
        let api = api();
        let site = Site::start(version, &api);
        let reader = site.client(Some(("ann", "green")), "", &["read", "ann/#"]);
        site.broker.wait_for_log("Sending SUBACK");
        site.broker.set_password("added", "new");
        site.broker.reload();
        expect_published(&site.by_file("added", "new"));
        expect_error(&site.by_file("added", "old"), REFUSED);
        assert!(asked(&api, "added").is_empty());
        // Who was there is there still.
        reader.wait_for_log("\nmessage ann/open: hello\n");
    }

    fn while_the_api_is_down_it_goes_on_trying_for_its_connection_timeout(version) {
        let api = api();
        api.stop();
        let site = Site::start(version, &api);
        let hasty = site.by_argument("ann", "green", "  connection_timeout: 1\n");
        expect_error(&hasty, "sinetstream.error.ConnectionError: connection timed out");
        let patient = ["MQTTv311", "MQTTv5"].map(|protocol| {
            let mark = site.broker.log_mark();
            let more = format!("  connection_timeout: 60\n  protocol: {protocol}\n");
            let writer = site.by_argument("ann", "green", &more);
            // The second attempt: the first was closed.
            site.broker.wait_for_log_after(mark, "New connection from ");
            let first = site.broker.log_mark();
            site.broker.wait_for_log_after(first, "New connection from ");
            writer
        });
        api.restart();
        patient.iter().for_each(expect_published);
    }
}
