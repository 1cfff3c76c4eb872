//! What `check` hints at happens: each hint is about a broker that runs here, and is seen in it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use mosquitto_test::command::run;
use mosquitto_test::prelude::*;
use mosquitto_test::program::free_port;
use mosquitto_test::tokens::Issuer;
use serde_json::{Value, json};

use super::Conf;
use super::alone::Alone;
use super::check::{VALID, hints, plugin};
use crate::proxy_protocol;
use crate::support::{
    NOT_AUTHORIZED, PASSWORD, ROUTES, certificate_listener, eventually, granting, log_in,
    logged_in, may_publish,
};
use crate::tokens::{claims, of};

/// What `check` hints at in the configuration that the broker runs with.
fn hints_of(broker: &Broker) -> String {
    let path = broker.dir().join("mosquitto.conf");
    let ran = run(&["check", "--json", path.to_str().unwrap()], "");
    assert_eq!(ran.status, 0, "{}", ran.all());
    hints(&ran.json())
}

/// Fails unless it hints at this.
fn expect_hint(broker: &Broker, expected: &str) {
    let said = hints_of(broker);
    assert!(said.contains(expected), "{expected}: {said}");
}

/// An API that lets nobody in.
fn denying() -> AuthServer {
    AuthServer::answering(|_| Reply::status(403))
}

/// The broker's own library of this name.
fn library(version: Version, name: &str) -> PathBuf {
    version.bin("../root/usr/lib/x86_64-linux-gnu").join(name)
}

/// The settings of a dynamic-security plugin whose administrator has this password.
fn dynamic_security(config: &BrokerConfig, version: Version, password: &str) -> PathBuf {
    let path = config.path("dynamic-security.json");
    let output = Command::new(version.bin("mosquitto_ctrl"))
        .args(["dynsec", "init", path.to_str().unwrap(), "admin", password])
        .output()
        .unwrap();
    assert!(output.status.success() && path.exists(), "{output:?}");
    path
}

/// Starts a websocket's login that says it comes from somewhere else.
fn log_in_forwarded(broker: &Broker) {
    let mut client =
        RawClient::connect_by_websocket_with(broker.port_of(1), "X-Forwarded-For: 203.0.113.7\r\n");
    client.send(raw::connect_packet(Protocol::V5, "c", Some(b"ann"), Some(b"right"), true));
    assert_eq!(client.read_connack(), Some(0));
}

on_every_broker! {
    fn clients_without_a_username_are_let_in_unasked(version) {
        let api = denying();
        let config = Broker::config(version).allow_anonymous(true).plugin(api.options(ROUTES));
        let broker = config.start();
        expect_hint(&broker, "clients without a username are let in without asking the API");
        broker.client("c").connect().expect_accepted();
        assert!(api.requests_to("/user").is_empty());
    }

    fn a_token_for_another_service_lets_in_without_jwt_audience(version) {
        let issuer = Issuer::es256();
        let token = issuer.token(&claims("ann", &json!({"aud": "web"})));
        for (audience, is_let_in) in [(None, true), (Some("mqtt"), false)] {
            let config = Broker::config(version);
            let file = config.file("keys", issuer.key_file()).display().to_string();
            let audience = audience.map(|audience| ("jwt_audience", audience));
            let options = [("jwt_key_file", file.as_str())].into_iter().chain(audience);
            let broker = config.plugin(options).start();
            let hint = "a token that the same issuer made for another service lets its bearer in";
            assert_eq!(hints_of(&broker).contains(hint), is_let_in);
            let login = broker.client("c").credentials("ann", &token).connect();
            assert_eq!(login.is_accepted(), is_let_in);
            assert!(!hints_of(&broker).contains("only clients without a username can log in"));
        }
    }

    fn whoever_may_read_the_secret_of_tokens_can_make_them(version) {
        use std::os::unix::fs::PermissionsExt;
        let issuer = Issuer::hs256();
        let config = Broker::config(version);
        let file = config.file("secret", issuer.key_file());
        let options = [("jwt_secret_file", file.to_str().unwrap())];
        let broker = config.plugin(options).start();
        broker.client("c").credentials("ann", &issuer.token(&of("ann"))).connect().expect_accepted();
        for (mode, may_read) in [(0o644, true), (0o640, false)] {
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(hints_of(&broker).contains("can make tokens for anybody"), may_read);
        }
    }

    fn by_compat_they_are_refused_all_the_same(version) {
        let api = AuthServer::start();
        let options = [("compat", "go-auth"), ("http_getuser_uri", "/u"), ("http_aclcheck_uri", "/a")];
        let config = Broker::config(version).allow_anonymous(true).plugin(api.options(options));
        let broker = config.start();
        expect_hint(&broker, "clients without a username or a password are refused all the same");
        broker.client("c").connect().expect_refused();
        assert!(api.requests().is_empty());
    }

    fn an_api_for_emqx_is_asked_about_deliveries_too(version) {
        let api = AuthServer::answering(|request| match request.path.as_str() {
            "/user" => Reply::status(204),
            _ => {
                let body = request.json();
                let knows = body["action"] == "publish" || body["topic"] == "a/#";
                Reply::status(if knows { 204 } else { 403 })
            }
        });
        let options = [&ROUTES[..], &[("compat", "emqx")]].concat();
        let broker = Broker::config(version).plugin(api.options(options)).start();
        expect_hint(&broker, "an API that knows filters by their text alone denies them");
        let client = logged_in(&broker, Protocol::V5, "ann");
        client.subscribe("a/#").expect_granted();
        assert!(may_publish(&client, "a/b"));
        broker.wait_for_log(r#"may receive from "a/b": denied"#);
    }

    fn whom_the_api_let_in_without_a_username_stays_at_sighup(version) {
        let api = AuthServer::start();
        let name = ("anonymous_username", "guest");
        let config = Broker::config(version).plugin(api.options([&ROUTES[..], &[name]].concat()));
        let broker = config.start();
        let report = run(&["check", "--json", broker.dir().join("mosquitto.conf").to_str().unwrap()], "");
        assert_eq!(hints(&report.json()), "");
        let client = broker.client("c").protocol(Protocol::V5).connect().expect_accepted();
        broker.reload();
        assert!(may_publish(&client, "a"));
    }

    fn a_no_of_the_api_is_final_for_the_password_files_users(version) {
        let api = denying();
        let config = Broker::config(version).password_file(&[("filey", PASSWORD)]);
        let broker = config.plugin(api.options(ROUTES)).start();
        expect_hint(&broker, "the API is asked about its users first, and a no is final");
        log_in(&broker, Protocol::V5, "filey").expect_refused();
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn local_users_of_another_file_are_nobodys(version) {
        let api = AuthServer::start();
        let config = Broker::config(version).password_file(&[("filey", PASSWORD)]);
        let other = config.file("other", "other:x\n").display().to_string();
        let options = [&ROUTES[..], &[("local_users_file", &other)]].concat();
        let broker = config.plugin(api.options(options)).start();
        expect_hint(&broker, "local_users_file names another file");
        log_in(&broker, Protocol::V5, "other").expect_refused();
        assert!(api.requests().is_empty());
        log_in(&broker, Protocol::V5, "filey").expect_accepted();
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn without_a_password_file_nobody_lets_local_users_in(version) {
        let api = AuthServer::start();
        let config = Broker::config(version);
        let file = config.file("local", "local:x\n").display().to_string();
        let options = [&ROUTES[..], &[("local_users_file", &file)]].concat();
        let broker = config.plugin(api.options(options)).start();
        expect_hint(&broker, "without password_file nobody lets these users in");
        log_in(&broker, Protocol::V5, "local").expect_refused();
        assert!(api.requests().is_empty());
    }

    fn without_any_login_only_clients_without_a_username_are_in(version) {
        let api = AuthServer::start();
        let config = Broker::config(version).allow_anonymous(true);
        let broker = config.plugin(api.options([ROUTES[1]])).start();
        expect_hint(&broker, "only clients without a username can log in");
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        broker.client("c").connect().expect_accepted();
        assert!(api.requests().is_empty());
    }

    fn without_an_acl_file_local_users_that_are_deferred_may_do_nothing(version) {
        let api = AuthServer::start();
        let config = Broker::config(version).password_file(&[("local", PASSWORD)]);
        let file = config.password_path().display().to_string();
        let local = [("local_users_file", file.as_str()), ("local_users_acl", "defer")];
        let broker = config.plugin(api.options([&ROUTES[..], &local].concat())).start();
        expect_hint(&broker, "without acl_file the local users may do nothing");
        let client = logged_in(&broker, Protocol::V5, "local");
        assert_eq!(client.publish("a", "x"), NOT_AUTHORIZED);
        client.subscribe("a").expect_refused();
        assert!(api.requests().is_empty());
    }

    fn without_an_acl_route_only_the_logins_rules_allow(version) {
        let api = AuthServer::answering(|request| match request.json()["username"].as_str() {
            Some("ruled") => granting(&["allow publish a"]),
            _ => Reply::status(200),
        });
        let broker = Broker::config(version).plugin(api.options([ROUTES[0]])).start();
        expect_hint(&broker, "nothing but what the rules in the answer to their login allow");
        assert!(!may_publish(&logged_in(&broker, Protocol::V5, "ann"), "a"));
        let ruled = logged_in(&broker, Protocol::V5, "ruled");
        assert!(may_publish(&ruled, "a") && !may_publish(&ruled, "b"));
    }

    fn a_certificates_client_is_not_asked_about(version) {
        let (api, certs) = (denying(), Certs::new());
        let broker = certificate_listener(Broker::config(version).plugin(api.options(ROUTES)), &certs);
        expect_hint(&broker, "the broker asks nobody whether these clients may log in");
        let identity = certs.client("sensor-7");
        let mut client = RawClient::connect_with_certificate(broker.port_of(1), &identity);
        client.send(raw::connect_packet(Protocol::V5, "c", None, None, true));
        assert_eq!(client.read_connack(), Some(0));
        assert!(api.requests_to("/user").is_empty());
    }

    fn a_websocket_clients_address_is_not_believed(version) {
        let api = AuthServer::start();
        let options = [ROUTES[0], ("http_user_fields", "peerhost")];
        let config = Broker::config(version).plugin(api.options(options));
        let broker = config.listener(|listener| listener).listener(Listener::websockets).start();
        expect_hint(&broker, "on 2.0 peerhost is null for these clients");
        log_in_forwarded(&broker);
        let heard = if version.is_2_1() { json!("127.0.0.1") } else { json!(null) };
        assert_eq!(api.requests()[0].json()["peerhost"], heard);
    }

    fn a_websocket_client_tells_its_address_where_it_is_trusted(version) {
        let api = AuthServer::start();
        let options =
            [ROUTES[0], ("http_user_fields", "peerhost"), ("websocket_address", "trust")];
        let config = Broker::config(version).plugin(api.options(options));
        let broker = config.listener(|listener| listener).listener(Listener::websockets).start();
        expect_hint(&broker, "tells Mosquitto 2.0.15 to 2.0.23 any address");
        log_in_forwarded(&broker);
        let believed = version == Version::V2_0_21;
        let heard = if believed { "203.0.113.7" } else { "127.0.0.1" };
        assert_eq!(api.requests()[0].json()["peerhost"], heard);
    }

    fn a_listener_without_the_plugin_lets_in_whom_the_api_never_hears_of(version) {
        let api = denying();
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(api.options(ROUTES)))
            .listener(|listener| listener.allow_anonymous(true))
            .start();
        let second = broker.port_of(1);
        expect_hint(&broker, &format!("the plugin is not loaded for listener {second}, which lets"));
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        api.forget_requests();
        broker.client("d").port(second).connect().expect_accepted();
        assert!(api.requests().is_empty());
    }

    fn a_plugin_before_the_first_listener_opens_another_one(version) {
        if version.is_2_1() {
            // It does not start: `refusals` says so.
            return;
        }
        let conf = Conf::new(&format!(
            "per_listener_settings true\nuser root\nlog_dest stderr\nlog_type all\n{}{VALID}\
             listener 1884 127.0.0.1\nallow_anonymous true\n",
            plugin()
        ));
        let said = hints(&conf.json("check", &[], "", 0));
        assert!(said.contains("Mosquitto 2.0 opens port 1883 on every address for it"), "{said}");
        let broker = Alone::start(version, &conf.path()).unwrap();
        assert!(broker.listens().contains(&"0.0.0.0:1883".to_owned()), "{:?}", broker.listens());
        assert!(broker.lets_strangers_in("1884"), "the listener below is without the plugin");
    }

    fn without_a_listener_strangers_are_let_in_on_the_loopback_interface(version) {
        let conf =
            Conf::new(&format!("user root\nlog_dest stderr\nlog_type all\n{}{VALID}", plugin()));
        let said = hints(&conf.json("check", &[], "", 0));
        assert!(said.contains("opens port 1883 on the loopback interface only, and"), "{said}");
        let broker = Alone::start(version, &conf.path()).unwrap();
        assert_eq!(broker.listens(), ["127.0.0.1:1883"]);
        assert!(broker.lets_strangers_in("1883"));
    }

    fn a_plugin_that_stands_first_is_asked_first(version) {
        let api = denying();
        let config = Broker::config(version);
        let file = dynamic_security(&config, version, PASSWORD).display().to_string();
        let first = library(version, "mosquitto_dynamic_security.so");
        let config = config.plugin_at(&first, [("config_file", &file)]);
        let broker = config.plugin(api.options(ROUTES)).start();
        expect_hint(&broker, "mosquitto_dynamic_security.so is asked first");
        log_in(&broker, Protocol::V5, "admin").expect_accepted();
        assert!(api.requests_to("/user").is_empty());
        log_in(&broker, Protocol::V5, "ann").expect_refused();
    }

    fn dynamic_securitys_users_are_kept_out_by_an_api_before_it(version) {
        let api = denying();
        let config = Broker::config(version);
        let file = dynamic_security(&config, version, PASSWORD).display().to_string();
        let behind = library(version, "mosquitto_dynamic_security.so");
        let config = config.plugin(api.options(ROUTES));
        let broker = config.plugin_at(&behind, [("config_file", &file)]).start();
        expect_hint(&broker, "its users cannot log in, its administrator among them");
        log_in(&broker, Protocol::V5, "admin").expect_refused();
        assert_eq!(api.requests_to("/user").len(), 1);
    }

    fn metrics_beyond_the_loopback_interface_are_everybodys(version) {
        let api = AuthServer::start();
        let port = free_port();
        let address = format!("0.0.0.0:{port}");
        let options = [ROUTES[0], ("metrics_listen", &address)];
        let broker = Broker::config(version).plugin(api.options(options)).start();
        expect_hint(&broker, "can read the metrics, without a password and unencrypted");
        // An address that a listener on 127.0.0.1 does not have.
        let mut stream = TcpStream::connect(("127.0.0.2", port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: any\r\n\r\n").unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
    }

    fn passwords_to_an_api_without_tls_can_be_read(version) {
        let api = AuthServer::start();
        // An address of this machine that is not one of the loopback interface's.
        let host = format!("0.0.0.0:{}", api.port());
        let broker = Broker::config(version).plugin([("http_host", host.as_str()), ROUTES[0]]).start();
        expect_hint(&broker, &format!("passwords go to http://{host} unencrypted"));
        log_in(&broker, Protocol::V5, "ann").expect_accepted();
        assert_eq!(api.requests()[0].json()["password"], PASSWORD);
    }
}

/// Where the others ask about a client again, 2.0.11 waits until somebody has it work.
#[test]
fn with_per_listener_settings_only_2_0_11_is_not_woken() {
    let options = [ROUTES[0], ("cache_revalidate", "1"), ("cache_ttl", "0")];
    let start = |version| {
        let api = AuthServer::start();
        let broker = Broker::config(version)
            .per_listener_settings()
            .listener(|listener| listener.plugin(api.options(options)))
            .start();
        expect_hint(&broker, "Mosquitto 2.0.11 never wakes its plugins then");
        let client = logged_in(&broker, Protocol::V5, "ann");
        (api, broker, client)
    };
    let (asleep, broker, _client) = start(Version::V2_0_11);
    for version in [Version::V2_0_21, Version::V2_1_2] {
        let (api, _broker, _client) = start(version);
        api.wait_for_requests(4);
    }
    assert_eq!(asleep.requests().len(), 1, "nobody had it work");
    eventually("somebody is served", || {
        log_in(&broker, Protocol::V5, "ben").expect_accepted();
        asleep.requests().iter().filter(|request| request.json()["username"] == "ann").count() > 1
    });
}

/// A header of the PROXY protocol, version 2: a client whose certificate has this common name.
fn proxied(common_name: &str) -> Vec<u8> {
    let tlv = |kind: u8, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind][..], &length, value].concat()
    };
    const SSL: u8 = 0x20;
    const VERSION: u8 = 0x21;
    const COMMON_NAME: u8 = 0x22;
    // It came by TLS with a certificate, now and in this session, which was found to be good.
    let found = [7, 0, 0, 0, 0];
    let ssl =
        [&found[..], &tlv(VERSION, b"TLSv1.3"), &tlv(COMMON_NAME, common_name.as_bytes())].concat();
    proxy_protocol::header(Ipv4Addr::LOCALHOST.into(), &tlv(SSL, &ssl))
}

/// A client with a certificate comes by the proxy's listener and is let in; what this route was asked about it.
fn let_in_by_proxy(broker: &Broker, api: &AuthServer, route: &str) -> Value {
    let mut client = RawClient::connect_to(broker.port_of(1));
    client.send(proxied("sensor-7"));
    client.send(raw::connect_packet(Protocol::V5, "c", None, None, true));
    assert_eq!(client.read_connack(), Some(0));
    let asked = api.requests_to(route)[0].json();
    assert_eq!((&asked["username"], &asked["password"]), (&json!("sensor-7"), &json!("")));
    asked
}

/// Only 2.1 knows the PROXY protocol.
#[test]
fn a_certificate_that_a_proxy_has_checked_looks_like_none() {
    let api = AuthServer::start();
    let proxy = |listener: Listener| {
        let listener = listener.line("enable_proxy_protocol 2");
        listener.line("use_identity_as_username true").line("require_certificate true")
    };
    let config = Broker::config(Version::V2_1_2).plugin(api.options(ROUTES));
    let broker = config.listener(|listener| listener).listener(proxy).start();
    expect_hint(&broker, "comes with that name and no password, like one that has no certificate");
    let asked = let_in_by_proxy(&broker, &api, "/user");
    broker.client("d").credentials("sensor-7", "").connect().expect_accepted();
    let logins = api.requests_to("/user");
    assert!(logins.iter().all(|login| login.json() == asked), "the API cannot tell them apart");
}

/// As the recipe has it.
#[test]
fn with_a_block_for_the_proxys_listener_alone_the_api_can_tell_them_apart() {
    let api = AuthServer::answering(|request| {
        let may = request.path == "/certificate" || request.json()["password"] == "green";
        Reply::status(if may { 200 } else { 403 })
    });
    let options = |route| api.options([("http_user_route", route), ("http_acl_route", "/acl")]);
    let own = options("/user");
    let proxied_options = options("/certificate");
    let broker = Broker::config(Version::V2_1_2)
        .per_listener_settings()
        .listener(|listener| listener.plugin(own))
        .listener(|listener| {
            let listener =
                listener.line("enable_proxy_protocol 2").line("require_certificate true");
            listener.line("use_identity_as_username true").plugin(proxied_options)
        })
        .start();
    let_in_by_proxy(&broker, &api, "/certificate");
    // What was said of the certificate's client is nothing to whoever gives its name elsewhere.
    broker.client("d").credentials("sensor-7", "").connect().expect_refused();
    assert_eq!(api.requests_to("/user").len(), 1);
}

/// Whoever may read the file reads the header's value.
#[test]
fn a_token_in_a_file_that_everyone_may_read_is_hinted_at() {
    let conf = Conf::new(&format!("{}{VALID}plugin_opt_http_header_X s3cret\n", plugin()));
    for (mode, is_read) in [(0o644, true), (0o640, false)] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(conf.path(), PermissionsExt::from_mode(mode)).unwrap();
        let report = conf.run("check", &["--json"], "").json();
        assert_eq!(hints(&report).contains("a file that everyone may read"), is_read);
    }
}
