//! A password is bytes: what is not text is denied or sent as base64, never changed on the way.

use mosquitto_test::prelude::*;
use serde_json::json;

const NOT_UTF8: &[u8] = b"pass\xff\xfeword";

fn broker(version: Version, api: &AuthServer, encoding: &str) -> Broker {
    let options = [("http_user_route", "/login"), ("password_encoding", encoding)];
    Broker::config(version).plugin(api.options(options)).start()
}

/// Logs in with these bytes; CONNACK's code, or none if the connection was closed.
fn connack(broker: &Broker, password: &[u8]) -> Option<u8> {
    let mut raw = broker.raw();
    raw.send(raw::connect_packet(Protocol::V3_1_1, "c", Some(b"ann"), Some(password), true));
    raw.read_connack()
}

on_every_broker! {
    fn a_password_that_is_not_utf8_is_denied_unasked(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "utf8");
        assert_eq!(connack(&broker, NOT_UTF8), Some(5));
        broker.wait_for_log("reason=not-utf8");
        assert!(api.requests().is_empty());
        assert_eq!(connack(&broker, "pässwörd 🗝".as_bytes()), Some(0));
        assert_eq!(api.requests()[0].json()["password"], "pässwörd 🗝");
    }

    fn as_base64_any_bytes_are_asked_about(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "base64");
        assert_eq!(connack(&broker, NOT_UTF8), Some(0));
        assert_eq!(api.requests()[0].json(), json!({"username": "ann", "password": "cGFzc//+d29yZA=="}));
    }

    fn a_password_with_a_nul_in_it_ends_there_as_the_broker_has_it(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "utf8");
        assert_eq!(connack(&broker, b"open\0sesame"), Some(0));
        assert_eq!(api.requests()[0].json()["password"], "open");
    }

    fn quotes_line_ends_and_control_characters_arrive_as_they_were(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "utf8");
        let password = "\"},\"username\":\"root\"\\ \r\n\t\u{1}\u{7f} <>&";
        assert_eq!(connack(&broker, password.as_bytes()), Some(0));
        assert_eq!(api.requests()[0].json(), json!({"username": "ann", "password": password}));
    }

    fn the_longest_password_arrives_whole(version) {
        let api = AuthServer::start();
        let broker = broker(version, &api, "utf8");
        let password = "p".repeat(65535);
        assert_eq!(connack(&broker, password.as_bytes()), Some(0));
        assert_eq!(api.requests()[0].json()["password"], password);
    }
}
