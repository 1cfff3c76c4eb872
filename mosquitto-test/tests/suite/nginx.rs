//! The API behind a real TLS server. Whatever is wrong between the two has a line that says what it is
//! and what to do, is a failure of the API and never its no, and no password is sent.

use std::process::Command;

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{RESPONSES, command};
use crate::large_answers::peak_memory;
use crate::support::{EVERY_QUESTION, PASSWORD, ROUTES, log_in};

/// A broker that asks this host over https and trusts these authorities; `root` is known to the
/// broker alone.
fn broker(version: Version, host: &str, ca: &Certs, more: &[(&str, &str)]) -> Broker {
    let config = Broker::config(version).password_file(&[("root", PASSWORD)]);
    let users = config.password_path().display().to_string();
    let options = [
        ("http_host", host),
        ("http_protocol", "https"),
        ("tls_ca_file", ca.ca_file().to_str().unwrap()),
        ("local_users_file", &users),
        ("cache_deny_ttl", "600"),
    ];
    config.plugin([&options, &ROUTES[..], &EVERY_QUESTION, more].concat()).start()
}

/// Logins are closed, and not for being denied; the log says why, and nothing is remembered.
fn expect_failures(broker: &Broker, why: &str) {
    for protocol in Protocol::BOTH {
        log_in(broker, protocol, "ann").expect_closed();
    }
    broker.wait_for_log(&format!(" failed: TLS failed ({why}"));
    let operator = log_in(broker, Protocol::V5, "root").expect_accepted();
    operator.subscribe(RESPONSES).expect_granted();
    let status = &command(&operator, json!([{"command": "getStatus"}]))[0]["data"];
    assert_eq!(status["requests"]["failed"], json!({"TLS failed": 2}), "{status}");
    assert_eq!(status["requests"]["answered"], 0, "{status}");
    assert_eq!(
        (&status["logins"]["denied"], &status["logins"]["unavailable"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(status["cache"]["answers"], 0, "{status}");
}

/// What nginx shows is not trusted: the API behind it never hears of anything.
fn is_untrusted(version: Version, ca: &Certs, shown: &Identity, why: &str) {
    let api = AuthServer::start();
    let nginx = Nginx::before(api.port()).server(shown, "").start();
    let broker = broker(version, &format!("127.0.0.1:{}", nginx.port()), ca, &[]);
    expect_failures(&broker, why);
    assert_eq!(api.connections(), 0);
}

/// What nginx shows is trusted, and one connection serves all questions.
fn is_trusted(version: Version, ca: &Certs, shown: &Identity) {
    let api = AuthServer::answering(|request| {
        Reply::status(if request.json()["username"] == "ann" { 200 } else { 403 })
    });
    let nginx = Nginx::before(api.port()).server(shown, "").start();
    let broker = broker(version, &format!("127.0.0.1:{}", nginx.port()), ca, &[]);
    for protocol in Protocol::BOTH {
        log_in(&broker, protocol, "ann").expect_accepted();
        log_in(&broker, protocol, "ben").expect_refused();
    }
    let host = format!("127.0.0.1:{}", nginx.port());
    assert_eq!(api.requests()[0].header("host"), Some(host.as_str()));
    assert!(!broker.log_contains(" failed: "));
}

/// Two authorities between the trusted one and the server.
struct Chain {
    root: Certs,
    upper: Certs,
    lower: Certs,
}

impl Chain {
    fn new() -> Chain {
        let root = Certs::named("root");
        let upper = root.intermediate("upper");
        let lower = upper.intermediate("lower");
        Chain { root, upper, lower }
    }
}

on_every_broker! {
    fn a_whole_chain_is_trusted(version) {
        let Chain { root, upper, lower } = Chain::new();
        is_trusted(version, &root, &lower.server().followed_by(&[&lower, &upper]));
    }

    fn a_chain_out_of_order_is_trusted(version) {
        let Chain { root, upper, lower } = Chain::new();
        is_trusted(version, &root, &lower.server().followed_by(&[&root, &upper, &lower]));
    }

    fn a_chain_with_a_gap_is_not(version) {
        let Chain { root, upper, lower } = Chain::new();
        let why = "no trusted authority vouches for the API's certificate: tls_ca_file (without it, \
                   the system) must have its authority, and the API's server must send every \
                   intermediate certificate)";
        is_untrusted(version, &root, lower.server(), why);
        is_untrusted(version, &root, &lower.server().followed_by(&[&lower]), why);
        is_untrusted(version, &root, &lower.server().followed_by(&[&upper]), why);
    }

    fn an_unknown_authority(version) {
        let (known, unknown) = (Certs::named("known"), Certs::named("unknown"));
        is_untrusted(version, &known, unknown.server(), "no trusted authority vouches for ");
    }

    fn an_authority_that_only_has_the_name_of_a_known_one(version) {
        let (known, forged) = (Certs::named("known"), Certs::named("known"));
        is_untrusted(version, &known, forged.server(), "the API's certificate has a wrong signature");
    }

    fn an_expired_certificate(version) {
        let ca = Certs::new();
        let why = "the API's certificate, or one that vouches for it, expired ";
        is_untrusted(version, &ca, &ca.expired(), why);
        let middle = ca.expired_intermediate("middle");
        is_untrusted(version, &ca, &middle.server().followed_by(&[&middle]), why);
    }

    fn a_certificate_of_the_future(version) {
        let ca = Certs::new();
        let why = "the API's certificate, or one that vouches for it, is not valid before ";
        is_untrusted(version, &ca, &ca.of_the_future(), why);
    }

    fn a_certificate_for_another_host(version) {
        let ca = Certs::new();
        let why = "the API's certificate is not for 127.0.0.1, only for a.example, b.example: \
                   http_host must be one of its names)";
        is_untrusted(version, &ca, &ca.server_for(&["a.example", "b.example"]), why);
    }

    fn a_certificate_for_no_host(version) {
        let ca = Certs::new();
        let why = "the API's certificate names no host: it needs 127.0.0.1 as a subjectAltName";
        is_untrusted(version, &ca, &ca.server_for(&[]), why);
    }

    fn a_certificate_that_is_meant_for_clients(version) {
        let ca = Certs::new();
        is_untrusted(version, &ca, &ca.client("127.0.0.1"), "the API's certificate is not meant for");
    }

    fn a_certificate_that_is_an_authoritys(version) {
        let ca = Certs::new();
        let why = "the API's certificate is an authority's own (CA:TRUE): the server needs one";
        is_untrusted(version, &ca, &ca.marked_as_authority(), why);
    }

    fn a_server_of_tls_1_1(version) {
        let (ca, api) = (Certs::new(), AuthServer::start());
        // Today's OpenSSL takes it for too weak to serve unless it is told not to mind.
        let old = "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;";
        let nginx = Nginx::before(api.port()).server(ca.server(), old).start();
        let host = format!("127.0.0.1:{}", nginx.port());
        let broker = broker(version, &host, &ca, &[]);
        expect_failures(&broker, "the API's server offers neither TLS 1.2 nor TLS 1.3: ");
        assert_eq!(api.connections(), 0);
        // Whoever speaks TLS 1.1 is served, so that it was this that the plugin did not want.
        let client = Command::new("openssl")
            .args(["s_client", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-connect", &host])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&client.stdout).into_owned();
        assert!(said.contains("Protocol  : TLSv1.1"), "{said}");
    }

    fn the_api_is_asked_for_by_name(version) {
        let (ca, api) = (Certs::new(), AuthServer::start());
        let another = ca.server_for(&["another.example"]);
        let nginx = Nginx::before(api.port())
            .server(&another, "server_name another.example;")
            .server(ca.server(), "server_name localhost;")
            .start();
        let broker = |host| broker(version, &format!("{host}:{}", nginx.port()), &ca, &[]);
        log_in(&broker("localhost"), Protocol::V5, "ann").expect_accepted();
        // An address is no name that a server could be told (RFC 6066, section 3).
        expect_failures(&broker("127.0.0.1"), "the API's certificate is not for 127.0.0.1, only for another");
    }

    fn a_server_that_demands_a_certificate_of_ours(version) {
        let (ca, others, api) = (Certs::named("ours"), Certs::named("others"), AuthServer::start());
        let demands = format!("ssl_verify_client on; ssl_client_certificate {};", ca.ca_file().display());
        let nginx = Nginx::before(api.port()).server(ca.server(), &demands).start();
        let host = format!("127.0.0.1:{}", nginx.port());
        let broker = |identity: Option<&Identity>| {
            let files = identity.map(|identity| {
                [("tls_cert_file", &identity.cert), ("tls_key_file", &identity.key)]
                    .map(|(name, path)| (name, path.to_str().unwrap()))
            });
            broker(version, &host, &ca, files.as_ref().map_or(&[], |files| &files[..]))
        };
        // nginx finishes the handshake and then says 400, which would be a no.
        let why = "the API's server demands a client certificate: set tls_cert_file and tls_key_file)";
        expect_failures(&broker(None), why);
        let why = "the API's server does not accept the client certificate of tls_cert_file: ";
        expect_failures(&broker(Some(&others.client("plugin"))), why);
        assert_eq!(api.connections(), 0);
        log_in(&broker(Some(&ca.client("plugin"))), Protocol::V5, "ann").expect_accepted();
    }

    fn plain_http_to_a_port_that_speaks_tls(version) {
        let (ca, api) = (Certs::new(), AuthServer::start());
        let nginx = Nginx::before(api.port()).server(ca.server(), "").start();
        let config = Broker::config(version).password_file(&[("root", PASSWORD)]);
        let users = config.password_path().display().to_string();
        let host = format!("127.0.0.1:{}", nginx.port());
        let options = [("http_host", host.as_str()), ("local_users_file", &users)];
        let broker = config.plugin([&options, &ROUTES[..]].concat()).start();
        // nginx says 400 to this as well.
        expect_failures(&broker, "the API's server speaks TLS on this port: set http_protocol https)");
        assert_eq!(api.connections(), 0);
    }

    fn connections_that_the_server_ends_are_replaced(version) {
        let (ca, api) = (Certs::new(), AuthServer::start());
        let nginx = Nginx::before(api.port()).server(ca.server(), "keepalive_requests 2;").start();
        let broker = broker(version, &format!("127.0.0.1:{}", nginx.port()), &ca, &[]);
        for nth in 0..7 {
            log_in(&broker, Protocol::V5, &format!("user-{nth}")).expect_accepted();
        }
        assert_eq!(api.requests().len(), 7);
        assert!(!broker.log_contains(" failed: "));
    }

    fn a_redirect_is_a_no_and_is_not_followed(version) {
        let (ca, api, elsewhere) = (Certs::new(), AuthServer::start(), AuthServer::start());
        for status in [301, 302, 307] {
            let away = format!("return {status} http://127.0.0.1:{}/user;", elsewhere.port());
            let nginx = Nginx::before(api.port()).server(ca.server(), &away).start();
            let broker = broker(version, &format!("127.0.0.1:{}", nginx.port()), &ca, &[]);
            log_in(&broker, Protocol::V5, "ann").expect_refused();
        }
        assert_eq!((api.connections(), elsewhere.connections()), (0, 0));
    }

    fn a_server_that_compresses_is_asked_not_to(version) {
        let (ca, api) = (Certs::new(), AuthServer::start());
        api.set_handler(|_| Reply::status(200).json(json!({"result": "deny"})));
        let gzip = "gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;";
        let nginx = Nginx::before(api.port()).server(ca.server(), gzip).start();
        let broker = broker(version, &format!("127.0.0.1:{}", nginx.port()), &ca, &[]);
        log_in(&broker, Protocol::V5, "ann").expect_refused();
        assert_eq!(api.requests()[0].header("accept-encoding"), Some("identity"));
    }

    fn a_compression_bomb_stays_as_small_as_it_comes(version) {
        // 100 MB of blanks, behind what would let everyone in.
        let bomb = Command::new("sh")
            .args(["-c", "{ printf '{\"result\": \"allow\"}'; head -c 100000000 /dev/zero | tr '\\0' ' '; } | gzip"])
            .output()
            .unwrap()
            .stdout;
        assert!((10_000..1_000_000).contains(&bomb.len()), "{} bytes", bomb.len());
        let api = AuthServer::answering(move |request| {
            let kind = request.json()["username"].as_str().unwrap().replace('-', "/");
            let reply = Reply::status(200).header("Content-Type", &kind);
            reply.header("Content-Encoding", "gzip").body(&bomb)
        });
        let broker = Broker::config(version).plugin(api.options(ROUTES)).start();
        let before = peak_memory(&broker);
        // By its type the second would decide nothing, but what is inside might.
        for user in ["application-json", "text-plain"] {
            log_in(&broker, Protocol::V5, user).expect_closed();
        }
        broker.wait_for_log(" failed: broken answer (its body has a Content-Encoding");
        let grown = peak_memory(&broker) - before;
        assert!(grown < 20 << 20, "the broker took {grown} bytes more");
    }

    fn a_proxy_in_the_environment_is_not_asked(version) {
        let (ca, api, proxy) = (Certs::new(), AuthServer::start(), AuthServer::start());
        let nginx = Nginx::before(api.port()).server(ca.server(), "").start();
        let (https, http) = (nginx.port().to_string(), api.port().to_string());
        let ca_file = ca.ca_file().to_str().unwrap();
        let secure = [("http_protocol", "https"), ("http_port", &https), ("tls_ca_file", ca_file)];
        for options in [&secure[..], &[("http_port", &http)]] {
            let mut config = Broker::config(version);
            for name in ["http_proxy", "https_proxy", "all_proxy"] {
                let place = format!("http://127.0.0.1:{}", proxy.port());
                config = config.env(name, &place).env(&name.to_uppercase(), &place);
            }
            let host = [("http_host", "127.0.0.1"), ROUTES[0]];
            let broker = config.plugin([&host, options].concat()).start();
            log_in(&broker, Protocol::V5, "ann").expect_accepted();
        }
        assert_eq!((api.requests().len(), proxy.connections()), (2, 0));
    }
}
