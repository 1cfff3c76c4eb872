//! What is left of passwords in the broker's memory: nothing that the plugin wrote.
//!
//! Mosquitto itself keeps the passwords of clients that are connected, and wipes nothing that it
//! frees. But it never writes a password in JSON, as a form or in base64, and it allocates on its one
//! thread alone, whose memory is the heap: glibc is told to give it none that was a worker's before.

use std::time::Instant;

use mosquitto_test::prelude::*;
use mosquitto_test::watch::PATIENCE;

use crate::support::{EVERY_QUESTION, ROUTES};

/// The beginning of each unit that the passwords here are made of.
const RAW: &str = "canary\"";

/// What the plugin makes of it on its way to the API: in JSON, in a form, in base64.
const WRITTEN: [&str; 3] = ["canary\\\"", "canary%22", "Y2FuYXJ5I"];

/// The lengths of the passwords in units: some fit into the first buffer for a request, and into
/// those of the connection; some do not.
const LENGTHS: [usize; 5] = [2, 20, 60, 600, 3000];

/// Clients come, and ask for something; every other one leaves again.
fn visit(broker: &Broker) -> Vec<Client> {
    let mut stay = Vec::new();
    for (nth, units) in LENGTHS.into_iter().enumerate() {
        for stays in [false, true] {
            let user = format!("user-{nth}-{stays}");
            let password = format!("{RAW}{nth}-{stays}-").repeat(units);
            let builder = broker.client(&user).protocol(Protocol::V5).credentials(&user, &password);
            let client = builder.connect().expect_accepted();
            client.publish("a/b", "x");
            if stays {
                stay.push(client);
            } else {
                client.disconnect();
            }
        }
    }
    broker.wait_until_idle();
    stay
}

fn config(version: Version) -> BrokerConfig {
    Broker::config(version).env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
}

/// Nothing is left, as soon as the last worker is done with what it was asked.
fn expect_nothing_written(broker: &Broker) {
    let left = || {
        let memory = broker.memory();
        WRITTEN.iter().flat_map(|written| memory.places(written)).collect::<Vec<_>>()
    };
    let started = Instant::now();
    while !left().is_empty() {
        assert!(started.elapsed() < PATIENCE, "{:#?}", left());
    }
}

/// After logins whose answers are cached, the plugin has left nothing of their passwords.
fn expect_nothing_left(version: Version, api: &AuthServer, more: &[(&str, &str)]) {
    let cached = [("cache_ttl", "600"), ("cache_deny_ttl", "600")];
    let options = [&ROUTES, &EVERY_QUESTION[..], &cached, more].concat();
    let broker = config(version).plugin(api.options(options)).start();
    let clients = visit(&broker);
    expect_nothing_written(&broker);
    expect_broker_copies_alone(&broker, clients.len());
}

/// There are the broker's own copies of this many passwords, and none elsewhere.
fn expect_broker_copies_alone(broker: &Broker, clients: usize) {
    let raw = broker.memory().places(RAW);
    assert!(raw.len() >= clients, "the broker's own copies are found: {raw:?}");
    let elsewhere: Vec<_> = raw.iter().filter(|place| !place.starts_with("[heap]")).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

on_every_broker! {
    fn the_plugin_leaves_nothing_of_passwords(version) {
        let api = AuthServer::start();
        expect_nothing_left(version, &api, &[]);
        let (form, base64) = (("http_params_mode", "form"), ("password_encoding", "base64"));
        expect_nothing_left(version, &api, &[form]);
        expect_nothing_left(version, &api, &[base64]);
        expect_nothing_left(version, &api, &[form, base64, ("compat", "auth-plug")]);
    }

    fn over_tls_and_where_sessions_are_asked_about_again_neither(version) {
        let certs = Certs::new();
        let api = AuthServer::start_tls(&certs);
        let ca_file = certs.ca_file().to_str().unwrap();
        let https = [("http_protocol", "https"), ("tls_ca_file", ca_file)];
        expect_nothing_left(version, &api, &[&https[..], &[("cache_revalidate", "600")]].concat());
    }

    /// The signal that wakes the broker stores what is in its registers on its stack.
    fn nor_where_the_broker_is_woken(version) {
        let api = AuthServer::start();
        for more in [("http_params_mode", "form"), ("password_encoding", "base64")] {
            let broker = config(version).plugin(api.options([&ROUTES[..], &[more]].concat())).start();
            for nth in 0..50 {
                let user = format!("user-{nth}");
                let password = format!("{RAW}{nth}-").repeat(LENGTHS[nth % LENGTHS.len()]);
                let client = broker.client(&user).credentials(&user, &password).connect();
                let client = client.expect_accepted();
                expect_nothing_written(&broker);
                expect_broker_copies_alone(&broker, 1);
                client.disconnect();
            }
        }
    }

    fn nor_where_the_api_fails_or_denies(version) {
        let api = AuthServer::answering(|request| {
            let body = request.json();
            let kept = body["username"].as_str().unwrap_or_default().ends_with("true");
            Reply::status(if kept { 200 } else { 503 })
        });
        let broker = config(version)
            .plugin(api.options([&ROUTES, &EVERY_QUESTION[..]].concat()))
            .start();
        for (nth, units) in LENGTHS.into_iter().enumerate() {
            let password = format!("{RAW}{nth}-").repeat(units);
            broker.client("c").credentials("false", &password).connect().expect_closed();
        }
        api.set_handler(|_| Reply::status(403));
        broker.client("c").credentials("x", &RAW.repeat(99)).connect().expect_refused();
        api.set_handler(|_| Reply::never());
        let gone = broker.client("c").credentials("y", &RAW.repeat(99)).start_connecting();
        api.wait_for_requests(LENGTHS.len() + 2);
        api.stop();
        gone.outcome().expect_closed();
        expect_nothing_written(&broker);
    }
}
