//! Over HTTPS the command shows what was agreed on, and the certificate even where it is refused.

use mosquitto_test::prelude::*;
use serde_json::{Value, json};

use super::Conf;
use crate::support::ROUTES;

fn conf(api: &AuthServer, ca_file: &str, more: &[(&str, &str)]) -> Conf {
    let https = [("http_protocol", "https"), ("tls_ca_file", ca_file), ROUTES[0]];
    Conf::of(api, &[&https, more].concat())
}

/// What a reader sees of an API whose certificate is accepted; its authority lives as long.
pub fn printed() -> (Certs, String) {
    let certs = Certs::new();
    let api = AuthServer::start_tls(&certs);
    let conf = conf(&api, certs.ca_file().to_str().unwrap(), &[]);
    let printed = conf.run("login", &["-u", "ann", "-P", "-"], "right").stdout;
    (certs, printed)
}

fn login(conf: &Conf, status: i32) -> Value {
    conf.json("login", &["-u", "ann", "-P", "-"], "right", status)
}

#[test]
fn a_private_authority_vouches_for_the_api() {
    let certs = Certs::new();
    let api = AuthServer::start_tls(&certs);
    let ca_file = certs.ca_file().to_str().unwrap();
    let conf = conf(&api, ca_file, &[]);
    let report = login(&conf, 0);
    let tls = &report["tls"][0];
    assert_eq!(tls["version"], "TLSv1_3");
    assert!(tls["cipher_suite"].as_str().unwrap().starts_with("TLS13_"), "{tls}");
    let certificate = &tls["certificate"];
    assert_eq!(certificate["subject"], "CN=mosquitto-test server");
    assert_eq!(certificate["issuer"], "CN=mosquitto-test authority");
    assert_eq!(certificate["names"], json!(["localhost", "127.0.0.1"]));
    assert_eq!(tls["verified_against"], format!("tls_ca_file {ca_file}"));
    assert_eq!(tls["problem"], Value::Null);
    let attempt = &report["questions"][0]["exchanges"][0]["attempts"][0];
    assert!(attempt["tls_ms"].as_f64().unwrap() > 0.0, "{attempt}");
    assert_eq!(api.requests().len(), 1, "nothing is asked twice");
}

#[test]
fn a_refused_certificate_is_shown() {
    let (certs, strangers) = (Certs::new(), Certs::new());
    let api = AuthServer::start_tls(&certs);
    let report = login(&conf(&api, strangers.ca_file().to_str().unwrap(), &[]), 3);
    let tls = &report["tls"][0];
    assert_eq!(tls["certificate"]["subject"], "CN=mosquitto-test server");
    assert!(tls["problem"].as_str().unwrap().contains("invalid peer certificate"), "{tls}");
    let outcome = &report["questions"][0]["exchanges"][0]["outcome"];
    assert_eq!(outcome["failure"], "TLS failed");
    assert!(api.requests().is_empty());
}

#[test]
fn a_certificate_that_ran_out_is_told_even_where_nobody_minds() {
    let certs = Certs::new();
    let api = AuthServer::start_tls(certs.expired());
    let ca_file = certs.ca_file().to_str().unwrap();
    let report = login(&conf(&api, ca_file, &[]), 3);
    assert!(report["tls"][0]["problem"].as_str().unwrap().contains("expired"), "{}", report["tls"]);
    let report = login(&conf(&api, ca_file, &[("tls_verify", "false")]), 0);
    let tls = &report["tls"][0];
    assert_eq!(tls["verified_against"], "nothing, by tls_verify false");
    let hints = report["questions"][0]["hints"].to_string();
    assert!(hints.contains("is valid for -"), "{hints}");
    assert!(report["log"].to_string().contains("the API's certificate is not verified"));
}

#[test]
fn the_plugins_own_certificate_is_presented() {
    let certs = Certs::new();
    let api = AuthServer::start_mutual_tls(&certs);
    let identity = certs.client("plugin");
    let [cert, key] = [&identity.cert, &identity.key].map(|path| path.to_str().unwrap());
    let own = [("tls_cert_file", cert), ("tls_key_file", key)];
    let ca_file = certs.ca_file().to_str().unwrap();
    let report = login(&conf(&api, ca_file, &own), 0);
    assert_eq!(report["tls"][0]["problem"], Value::Null);
    assert_eq!(login(&conf(&api, ca_file, &[]), 3)["decision"], "unavailable");
}
