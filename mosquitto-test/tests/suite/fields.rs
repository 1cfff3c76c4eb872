//! The API is told more about a client only where the options say so.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

const ALL_LOGIN: &str = "clientid,peerhost,protocol,protocol_version,keepalive,clean_session,\
                         cert_common_name,cert_subject,cert_fingerprint,cert_issuer,cert_serial,cert_pem";
const ALL_ACCESS: &str = "peerhost,protocol,protocol_version,keepalive,clean_session,\
                          cert_common_name,cert_subject,cert_fingerprint,cert_issuer,cert_serial,cert_pem,\
                          qos,retain";

fn options(api: &AuthServer) -> Vec<(String, String)> {
    api.options([
        ("http_user_route", "/login"),
        ("http_acl_route", "/acl"),
        ("http_user_fields", ALL_LOGIN),
        ("http_acl_fields", ALL_ACCESS),
    ])
}

on_every_broker! {
    fn a_login_tells_about_the_client(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(options(&api)).start();
        for (protocol, protocol_version) in [(Protocol::V3_1_1, 4), (Protocol::V5, 5)] {
            api.forget_requests();
            let builder = broker.client("sensor-7").protocol(protocol).credentials("ann", "x");
            builder.keep_alive(std::time::Duration::from_secs(77)).clean(false).connect().expect_accepted();
            assert_eq!(
                api.requests_to("/login")[0].json(),
                json!({"username": "ann", "password": "x", "clientid": "sensor-7",
                       "peerhost": "127.0.0.1", "protocol": "mqtt",
                       "protocol_version": protocol_version, "keepalive": 77,
                       "clean_session": false, "cert_common_name": null, "cert_subject": null,
                       "cert_fingerprint": null, "cert_issuer": null, "cert_serial": null,
                       "cert_pem": null})
            );
        }
    }

    fn a_client_over_a_unix_socket_has_no_address(version) {
        let api = AuthServer::answering(|request| {
            Reply::status(if request.json()["username"] == "ann" { 200 } else { 403 })
        });
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("broker.sock");
        let config = Broker::config(version).plugin(options(&api)).listener(|listener| listener);
        let broker = config.line(&format!("listener 0 {}", socket.display())).start();
        for (user, code) in [("ann", 0), ("ben", 5)] {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.set_read_timeout(Some(mosquitto_test::watch::patience())).unwrap();
            let (name, password) = (Some(user.as_bytes()), Some(&b"x"[..]));
            let packet = raw::connect_packet(Protocol::V3_1_1, user, name, password, true);
            stream.write_all(&packet).unwrap();
            let mut connack = [0; 4];
            stream.read_exact(&mut connack).unwrap();
            assert_eq!(connack, [0x20, 2, 0, code], "{user}");
        }
        assert!(api.requests_to("/login").iter().all(|login| login.json()["peerhost"] == Value::Null));
        broker.wait_for_log("login denied: ip=unknown username=\"ben\"");
    }

    fn a_check_tells_about_the_message(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(options(&api)).start();
        let client = broker.client("c").credentials("ann", "x").connect().expect_accepted();
        client.publish_message(Message::new("a/b", "hello").qos(1).retained());
        let body = api.requests_to("/acl")[0].json();
        assert_eq!((&body["qos"], &body["retain"]), (&json!(1), &json!(true)));
        assert_eq!((&body["peerhost"], &body["protocol"]), (&json!("127.0.0.1"), &json!("mqtt")));
    }

    fn a_check_tells_the_client_identifier_once_whether_it_was_named_or_not(version) {
        for fields in ["clientid", "clientid, peerhost,qos"] {
            let api = AuthServer::start();
            let options = [
                ("http_user_route", "/login"), ("http_acl_route", "/acl"), ("http_acl_fields", fields),
            ];
            let broker = Broker::config(version).plugin(api.options(options)).start();
            let client = broker.client("c").credentials("ann", "x").connect().expect_accepted();
            client.publish("a/b", "hello");
            let text = api.requests_to("/acl")[0].text();
            let base = r#"{"username":"ann","clientid":"c","topic":"a/b","acc":2"#;
            let added = if fields == "clientid" { "" } else { r#","peerhost":"127.0.0.1","qos":1"# };
            assert_eq!(text, format!("{base}{added}}}"));
        }
    }

    fn a_different_value_of_an_added_field_is_a_different_question(version) {
        let api = AuthServer::start();
        let broker = Broker::config(version).plugin(options(&api)).start();
        for id in ["one", "two", "one"] {
            broker.client(id).credentials("ann", "x").connect().expect_accepted();
        }
        assert_eq!(api.requests_to("/login").len(), 2, "asked once for each client identifier");
    }

    fn a_certificate_tells_its_common_name_and_subject(version) {
        let api = AuthServer::start();
        let certs = Certs::new();
        let broker = Broker::config(version)
            .plugin(options(&api))
            .listener(|listener| listener.tls(certs.server()).require_certificate(certs.server()))
            .start();
        let (port, ca) = (broker.port().to_string(), certs.ca_file().display().to_string());
        let identity = certs.client("sensor-7");
        let (cert, key) = (identity.cert.display().to_string(), identity.key.display().to_string());
        let published = broker.mosquitto_pub(&[
            "-h", "localhost", "-p", &port, "--cafile", &ca, "--cert", &cert, "--key", &key,
            "-u", "ann", "-P", "x", "-t", "a/b", "-m", "hello", "-q", "1",
        ]);
        assert!(published.status.success(), "{published:?}");
        for path in ["/login", "/acl"] {
            let body = api.requests_to(path)[0].json();
            assert_eq!(body["cert_common_name"], "sensor-7", "{body}");
            assert!(body["cert_subject"].as_str().unwrap().contains("CN=sensor-7"), "{body}");
        }
    }
    fn a_certificate_tells_what_openssl_tells_of_it(version) {
        let api = AuthServer::start();
        let certs = Certs::named("Plant, \"north\"");
        let broker = Broker::config(version)
            .plugin(options(&api))
            .listener(|listener| listener.tls(certs.server()).require_certificate(certs.server()))
            .start();
        let (port, ca) = (broker.port().to_string(), certs.ca_file().display().to_string());
        let identities = [certs.client("sensor-7"), certs.client("sensor-7")];
        let mut told = Vec::new();
        for identity in &identities {
            api.forget_requests();
            let (cert, key) = (identity.cert.display().to_string(), identity.key.display().to_string());
            let published = broker.mosquitto_pub(&[
                "-h", "localhost", "-p", &port, "--cafile", &ca, "--cert", &cert, "--key", &key,
                "-i", "c", "-u", "ann", "-P", "x", "-t", "a/b", "-m", "hello", "-q", "1",
            ]);
            assert!(published.status.success(), "{published:?}");
            let expected = json!({
                "cert_fingerprint": openssl(&cert, &["-fingerprint", "-sha256"]).replace(':', "").to_lowercase(),
                "cert_issuer": openssl(&cert, &["-issuer", "-nameopt", "RFC2253"]),
                "cert_serial": openssl(&cert, &["-serial"]).to_lowercase(),
                "cert_pem": openssl_text(&cert, &[]),
            });
            for path in ["/login", "/acl"] {
                // The second certificate's client differs in nothing else, and is asked about anyway.
                let body = api.requests_to(path)[0].json();
                for (name, value) in expected.as_object().unwrap() {
                    assert_eq!(&body[name], value, "{path}: {name}");
                }
            }
            told.push(expected);
        }
        assert_ne!(told[0]["cert_fingerprint"], told[1]["cert_fingerprint"]);
        assert_eq!(told[0]["cert_issuer"], r#"CN=Plant\, \"north\""#);
    }
}

/// What `openssl x509` says of a certificate, behind the name of what it says.
fn openssl(cert: &str, arguments: &[&str]) -> String {
    let text = openssl_text(cert, &[&["-noout"], arguments].concat());
    text.trim().split_once('=').unwrap().1.to_owned()
}

fn openssl_text(cert: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new("openssl")
        .args(["x509", "-in", cert])
        .args(arguments)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
