//! Clients that come with a certificate or over a websocket: they stay at SIGHUP and are taken over
//! like any other, and rules hold for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::support::{
    ROUTES, certificate_listener, granting_what_the_password_spells as spelled, logged_in,
    may_publish, rules, saying,
};

/// The first bytes of packets.
const PUBLISH: u8 = 0x30;
const PUBLISH_ONCE: u8 = 0x32;

/// An API that grants what the password spells, and allows checks on `open/…` alone.
fn api() -> AuthServer {
    AuthServer::answering(|request| match request.path.as_str() {
        "/user" => spelled(request),
        _ => {
            let topic = request.json()["topic"].as_str().unwrap_or_default().to_owned();
            Reply::status(if topic.starts_with("open") { 200 } else { 403 })
        }
    })
}

/// Client `c` with the certificate of `sensor-7`.
fn by_certificate(broker: &Broker, identity: &Identity) -> RawClient {
    let mut client = RawClient::connect_with_certificate(broker.port_of(1), identity);
    client.send(raw::connect_packet(Protocol::V5, "c", None, None, true));
    assert_eq!(client.read_connack(), Some(0));
    client
}

/// Client `c`, over a websocket, with what its password spells.
fn by_websocket(broker: &Broker, protocol: Protocol, user: &str, password: &str) -> RawClient {
    let mut client = RawClient::connect_by_websocket(broker.port_of(1));
    let (user, password) = (user.as_bytes(), password.as_bytes());
    client.send(raw::connect_packet(protocol, "c", Some(user), Some(password), true));
    assert_eq!(client.read_connack(), Some(0));
    client
}

/// Whether a subscription was granted.
fn subscribes(client: &mut RawClient, protocol: Protocol, filter: &str) -> bool {
    client.send(raw::subscribe_packet(protocol, 1, &[filter]));
    let (kind, rest) = client.read_packet().unwrap();
    assert_eq!(kind, 0x90, "a SUBACK");
    *rest.last().unwrap() < 0x80
}

/// Whether a publish of MQTT 5 was allowed.
fn publishes(client: &mut RawClient, topic: &str) -> bool {
    client.send(raw::publish_packet(Protocol::V5, topic, b"x", Some(7)));
    let (kind, rest) = client.read_packet().unwrap();
    assert_eq!(kind, 0x40, "a PUBACK");
    rest.get(2).is_none_or(|code| *code < 0x80)
}

/// The topic of the next message.
fn next_topic(client: &mut RawClient) -> String {
    let (kind, rest) = client.read_packet().unwrap();
    assert!([PUBLISH, PUBLISH_ONCE].contains(&(kind & 0xf2)), "a PUBLISH: {kind:#x}");
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    String::from_utf8(rest[2..2 + length].to_vec()).unwrap()
}

/// A broker with a plain listener and one for websockets.
fn websocket_broker(version: Version, api: &AuthServer, options: &[(&str, &str)]) -> Broker {
    let config = Broker::config(version).plugin(api.options(options.iter().copied()));
    config.listener(|listener| listener).listener(Listener::websockets).start()
}

/// An API to which one password is right, that is told the address, and that is asked each time.
fn api_that_hears_addresses() -> AuthServer {
    AuthServer::answering(|request| {
        Reply::status(if request.json()["password"] == "right" { 200 } else { 403 })
    })
}

const ADDRESSES: [(&str, &str); 5] = [
    ("http_user_route", "/user"),
    ("http_user_fields", "peerhost"),
    ("login_failures_max", "3"),
    ("cache_ttl", "0"),
    // Every try bears the same identifier, which a login that is answered later would occupy.
    ("delayed_login", "false"),
];

/// Logs in over a websocket that says it is forwarded for somebody; the CONNACK's code.
fn log_in_forwarded(broker: &Broker, forwarded_for: &str, user: &str, password: &str) -> u8 {
    let header = format!("X-Forwarded-For: {forwarded_for}\r\n");
    let mut client = RawClient::connect_by_websocket_with(broker.port_of(1), &header);
    let (user, password) = (user.as_bytes(), password.as_bytes());
    client.send(raw::connect_packet(Protocol::V5, "c", Some(user), Some(password), true));
    client.read_connack().expect("a CONNACK")
}

on_every_broker! {
    fn a_websocket_client_does_not_choose_its_address(version) {
        let api = api_that_hears_addresses();
        let broker = websocket_broker(version, &api, &ADDRESSES);
        for number in 0..6 {
            let address = format!("198.51.100.{number}");
            assert_eq!(log_in_forwarded(&broker, &address, "ann", "wrong"), 0x87);
        }
        let forged = "198.51.100.9 username=\"x\" reason=api";
        assert_eq!(log_in_forwarded(&broker, forged, "eve", "wrong"), 0x87);
        assert_eq!(log_in_forwarded(&broker, forged, "ben", "right"), 0);
        broker.client("d").credentials("ben", "right").connect().expect_accepted();
        let (ip, peerhost) = match version.is_2_1() {
            true => ("127.0.0.1", json!("127.0.0.1")),
            false => ("unknown", json!(null)),
        };
        let mut logins = api.requests();
        assert_eq!(logins.len(), 6, "three of ann's, one of eve's, two of ben's");
        assert_eq!(logins.pop().unwrap().json()["peerhost"], "127.0.0.1", "this one came by TCP");
        for login in logins {
            assert_eq!(login.json()["peerhost"], peerhost);
        }
        for (user, why) in [("ann", "api status=403"), ("ann", "too-many-failures"), ("eve", "api")] {
            let line = format!("denied: ip={ip} username=\"{user}\" clientid=\"c\" reason={why}");
            broker.wait_for_log(&line);
        }
        assert!(!broker.log_contains("denied: ip=198"));
    }

    fn a_trusted_proxys_word_for_an_address_is_taken_if_it_is_one(version) {
        let api = api_that_hears_addresses();
        let trust = ("websocket_address", "trust");
        let broker = websocket_broker(version, &api, &[&ADDRESSES[..], &[trust]].concat());
        let reads_the_header = version == Version::V2_0_21;
        for (said, heard) in [
            ("203.0.113.7", json!("203.0.113.7")),
            ("::ffff:203.0.113.7", json!("203.0.113.7")),
            ("203.0.113.7 username=", json!(null)),
        ] {
            assert_eq!(log_in_forwarded(&broker, said, "ben", "right"), 0);
            let heard = if reads_the_header { heard } else { json!("127.0.0.1") };
            assert_eq!(api.requests().pop().unwrap().json()["peerhost"], heard, "{said}");
        }
    }

    fn a_certificates_client_stays_at_sighup_and_its_login_is_nobodys_business(version) {
        let (api, certs) = (api(), Certs::new());
        let broker = certificate_listener(Broker::config(version).plugin(api.options(ROUTES)), &certs);
        let root = logged_in(&broker, Protocol::V5, "root");
        let mut client = by_certificate(&broker, &certs.client("sensor-7"));
        assert!(subscribes(&mut client, Protocol::V5, "open/#"));
        for round in 0..2 {
            broker.reload();
            let topic = format!("open/{round}");
            root.publish(&topic, "after the reload");
            assert_eq!(next_topic(&mut client), topic);
            assert!(!subscribes(&mut client, Protocol::V5, "closed"));
            assert!(!publishes(&mut client, "closed") && publishes(&mut client, "opened"));
        }
        let logins = api.requests_to("/user");
        assert!(logins.iter().all(|login| login.json()["username"] == "root"), "{logins:?}");
    }

    fn that_a_certificates_user_is_a_superuser_outlasts_sighup(version) {
        let (certs, is_superuser) = (Certs::new(), Arc::new(AtomicBool::new(true)));
        let answer = is_superuser.clone();
        let api = AuthServer::answering(move |request| match request.path.as_str() {
            "/superuser" if answer.load(Ordering::Relaxed) => Reply::status(200),
            _ => Reply::status(403),
        });
        let routes = [("http_superuser_route", "/superuser"), ROUTES[1], ("cache_ttl", "0")];
        let config = Broker::config(version).plugin(api.options(routes));
        let broker = certificate_listener(config, &certs);
        let identity = certs.client("sensor-7");
        let mut client = by_certificate(&broker, &identity);
        assert!(publishes(&mut client, "a"));
        is_superuser.store(false, Ordering::Relaxed);
        broker.reload();
        assert!(publishes(&mut client, "b"), "it is asked once in a session");
        // The session ends by being taken over, and the next one is asked about anew.
        let mut next = by_certificate(&broker, &identity);
        client.wait_closed();
        assert!(!publishes(&mut next, "b"));
        assert_eq!(api.requests_to("/superuser").len(), 2);
    }

    fn rules_do_not_pass_to_a_certificates_client_that_takes_their_client_over(version) {
        let (api, certs) = (api(), Certs::new());
        let broker = certificate_listener(Broker::config(version).plugin(api.options(ROUTES)), &certs);
        let identity = certs.client("sensor-7");
        for user in ["ann", "sensor-7"] {
            let builder = broker.client("c").protocol(Protocol::V5).credentials(user, "allow all #");
            let by_api = builder.connect().expect_accepted();
            assert!(may_publish(&by_api, "closed"));
            let mut client = by_certificate(&broker, &identity);
            by_api.wait_disconnected();
            assert!(!publishes(&mut client, "closed") && publishes(&mut client, "open"), "{user}");
            assert!(!subscribes(&mut client, Protocol::V5, "#"));
            // And back again: the rules hold for whoever got them.
            let by_api = builder.connect().expect_accepted();
            client.wait_closed();
            assert!(may_publish(&by_api, "closed"));
            by_api.disconnect();
        }
    }

    fn rules_hold_for_a_client_that_comes_over_a_websocket(version) {
        let api = api();
        let broker = websocket_broker(version, &api, &[ROUTES[0]]);
        let root = logged_in(&broker, Protocol::V5, "root");
        root.subscribe("up/#").expect_granted();
        let granted = "allow publish up/%c; deny read down/secret; allow subscribe down/#; deny all #";
        for protocol in Protocol::BOTH {
            let mut client = by_websocket(&broker, protocol, "ann", granted);
            assert!(subscribes(&mut client, protocol, "down/#"));
            for filter in ["#", "up/c", "+/#", "+/secret"] {
                assert!(!subscribes(&mut client, protocol, filter), "{filter}");
            }
            for topic in ["down/secret", "down/open"] {
                root.publish(topic, "x");
            }
            assert_eq!(next_topic(&mut client), "down/open");
            for topic in ["up/other", "up/c"] {
                client.send(raw::publish_packet(protocol, topic, b"x", None));
            }
            assert_eq!(root.expect_message().0, "up/c");
            client.close();
        }
        assert!(api.requests_to("/acl").is_empty());
    }

    fn a_websocket_stays_at_sighup_and_ends_when_its_session_does(version) {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let expire_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3;
        let api = AuthServer::answering(move |_| match over.load(Ordering::Relaxed) {
            true => Reply::status(403),
            false => saying(json!({"acl": rules(&["allow publish a"]), "expire_at": expire_at})),
        });
        let broker = websocket_broker(version, &api, &[ROUTES[0]]);
        let mut client = by_websocket(&broker, Protocol::V5, "ann", "x");
        broker.reload();
        assert!(publishes(&mut client, "a") && !publishes(&mut client, "b"));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(client.wait_closed(), Some(0x98));
        broker.wait_for_log("disconnected \"c\": the API now denies its login");
    }
}
