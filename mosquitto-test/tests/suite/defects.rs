//! A defect in the plugin, at any place, is a refusal: logged, and survived by the broker.
//!
//! The plugin is built once more for this, with the feature `inject-panics`, and panics wherever a
//! file says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use mosquitto_test::prelude::*;
use serde_json::json;

use crate::control::{RESPONSES, TOPIC};
use crate::metrics::Metrics;
use crate::support::{EVERY_QUESTION, NOT_AUTHORIZED, ROUTES, eventually, log_in, may_publish};

/// The environment variable by which such a plugin finds the file.
const SWITCH: &str = "MOSQUITTO_HTTP_AUTH_PANIC_FILE";

/// The plugin that panics on demand. It is built where `mutation.sh` builds as well, so that what it
/// depends on is not compiled twice, and kept under another name.
fn defective() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.ancestors().nth(3).expect("target/debug/deps/suite");
        let folder = folder.join("mutant/target");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--lib", "--locked", "--features", "inject-panics"])
            .arg("--manifest-path")
            .arg(program::repository("Cargo.toml"))
            .arg("--target-dir")
            .arg(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let kept = folder.join("libmosquitto_http_auth_that_panics.so");
        fs::copy(folder.join("debug/libmosquitto_http_auth.so"), &kept).unwrap();
        kept
    })
}

/// The file that says where to panic.
struct Switch(PathBuf);

impl Switch {
    fn on(&self, place: &str) {
        // In one step, so that nobody reads half a name.
        let new = self.0.with_extension("new");
        fs::write(&new, place).unwrap();
        fs::rename(new, &self.0).unwrap();
    }

    fn off(&self) {
        self.on("");
    }
}

fn config(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> (BrokerConfig, Switch) {
    let is_given = |name: &str| more.iter().any(|(given, _)| *given == name);
    let usual = ROUTES.iter().chain(&EVERY_QUESTION).filter(|(name, _)| !is_given(name));
    let options = api.options(usual.chain(more).copied());
    let config = Broker::config(version).plugin_at(defective(), options);
    let switch = Switch(config.file("defect", ""));
    let file = switch.0.to_string_lossy().into_owned();
    (config.env(SWITCH, &file), switch)
}

fn start(version: Version, api: &AuthServer, more: &[(&str, &str)]) -> (Broker, Switch) {
    let (config, switch) = config(version, api, more);
    (config.start(), switch)
}

fn defects(broker: &Broker) -> usize {
    broker.log().matches("mosquitto-http-auth: internal error at src/").count()
}

fn wait_for_defect(broker: &Broker) {
    broker.wait_for_log("mosquitto-http-auth: internal error at src/");
}

/// The broker and the plugin are well, and serve whoever comes next.
fn serves(broker: &Broker, name: &str) {
    let client = log_in(broker, Protocol::V5, name).expect_accepted();
    assert!(may_publish(&client, "well"));
}

#[test]
fn only_a_plugin_that_is_built_for_it_knows_the_switch() {
    let knows = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(SWITCH.len()).any(|window| window == SWITCH.as_bytes())
    };
    assert!(knows(defective()));
    assert!(!knows(&plugin_path()));
}

on_every_broker! {
    fn at_a_login_it_refuses_and_is_logged_seldom(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[]);
        let began = Instant::now();
        switch.on("basic_auth");
        for number in 0..20 {
            log_in(&broker, Protocol::BOTH[number % 2], "ann").expect_refused();
        }
        let seconds = began.elapsed().as_secs() as usize;
        wait_for_defect(&broker);
        assert!(defects(&broker) <= seconds + 1, "{} lines", defects(&broker));
        assert!(api.requests().is_empty());
        switch.off();
        serves(&broker, "ann");
    }

    fn at_a_check_it_denies_and_the_client_stays(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[]);
        let ann = log_in(&broker, Protocol::V5, "ann").expect_accepted();
        let ben = log_in(&broker, Protocol::V3_1_1, "ben").expect_accepted();
        ben.subscribe("news").expect_granted();
        switch.on("acl_check");
        assert_eq!(ann.publish("news", "lost"), NOT_AUTHORIZED);
        ann.subscribe("news").expect_refused();
        ben.subscribe("more").expect_refused();
        wait_for_defect(&broker);
        switch.off();
        assert!(may_publish(&ann, "news"));
        assert_eq!(ben.expect_message().1, "x");
    }

    fn at_a_command_it_is_not_obeyed(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[]);
        let operator = log_in(&broker, Protocol::V5, "root").expect_accepted();
        operator.subscribe(RESPONSES).expect_granted();
        let command = |name| {
            let payload = json!({"commands": [{"command": name}]}).to_string();
            operator.publish(TOPIC, payload);
        };
        switch.on("control");
        command("getStatus");
        wait_for_defect(&broker);
        switch.off();
        command("unheardOf");
        let (_, response) = operator.expect_message();
        assert!(response.contains("unheardOf"), "the first was answered: {response}");
        serves(&broker, "ann");
    }

    fn at_a_reload_nobody_is_disconnected(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[("cache_ttl", "0")]);
        let clients: Vec<_> = (0..10)
            .map(|number| {
                log_in(&broker, Protocol::V5, &format!("user-{number}")).expect_accepted()
            })
            .collect();
        switch.on("reload");
        broker.reload();
        wait_for_defect(&broker);
        switch.off();
        broker.reload();
        assert!(clients.iter().all(|client| may_publish(client, "a")));
    }

    fn at_a_tick_a_login_that_waits_is_let_in_later(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[]);
        switch.on("tick");
        wait_for_defect(&broker);
        let attempt = broker.client("c").credentials("ann", "x").start_connecting();
        api.wait_for_requests(1);
        switch.off();
        attempt.outcome().expect_accepted();
        serves(&broker, "ben");
    }

    fn at_a_clients_end_the_next_is_served(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[]);
        let ann = log_in(&broker, Protocol::V5, "ann").expect_accepted();
        switch.on("disconnect");
        ann.disconnect();
        wait_for_defect(&broker);
        serves(&broker, "ben");
        switch.off();
        serves(&broker, "ann");
    }

    fn at_the_start_the_broker_does_not_start(version) {
        let api = AuthServer::start();
        let (config, switch) = config(version, &api, &[]);
        switch.on("plugin_init");
        let failed = config.start_expecting_failure();
        assert!(failed.log.contains("mosquitto-http-auth: internal error at src/"), "{}", failed.log);
    }

    fn at_the_end_no_thread_is_left_and_the_broker_ends_well(version) {
        let api = AuthServer::answering(|_| Reply::never());
        let (mut broker, switch) = start(version, &api, &[("http_timeout_ms", "3000")]);
        let attempt = broker.client("c").credentials("ann", "x").start_connecting();
        api.wait_for_requests(1);
        switch.on("plugin_cleanup");
        // A thread left behind would crash a broker that unloads the library.
        assert!(broker.stop().success());
        assert!(broker.log_contains("internal error at src/"));
        attempt.outcome().expect_closed();
    }

    fn in_a_worker_the_question_fails_and_the_worker_lives(version) {
        for place in ["worker", "answer"] {
            let api = AuthServer::start();
            let (broker, switch) = start(version, &api, &[("http_connections", "2")]);
            let ann = log_in(&broker, Protocol::V5, "ann").expect_accepted();
            switch.on(place);
            for number in 0..10 {
                // Not let in, and not denied either: the API has not been heard.
                log_in(&broker, Protocol::V3_1_1, &format!("user-{number}")).expect_closed();
                assert!(!may_publish(&ann, &format!("t/{number}")));
            }
            wait_for_defect(&broker);
            switch.off();
            serves(&broker, "user-1");
            assert!(may_publish(&ann, "t/1"));
        }
    }

    fn in_a_fan_out_that_delivery_is_denied_and_the_publisher_stays(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[]);
        let readers: Vec<_> = (0..3)
            .map(|number| {
                let reader = log_in(&broker, Protocol::V5, &format!("reader-{number}"));
                let reader = reader.expect_accepted();
                reader.subscribe("news/#").expect_granted();
                reader
            })
            .collect();
        let ann = log_in(&broker, Protocol::V5, "ann").expect_accepted();
        switch.on("fan_out");
        assert!(may_publish(&ann, "news/1"));
        wait_for_defect(&broker);
        switch.off();
        assert!(may_publish(&ann, "news/2"));
        let mut lost = 0;
        for reader in readers {
            let (topic, _) = reader.expect_message();
            lost += usize::from(topic == "news/2");
        }
        // The others of a message are looked for once in a while: on a slow machine, more than once.
        assert!((1..=3).contains(&lost), "{lost} were lost: those at which there was a panic");
    }

    fn in_the_metrics_their_reader_gets_none_and_the_next_one_does(version) {
        let (api, metrics) = (AuthServer::start(), Metrics { port: program::free_port() });
        let listen = metrics.address();
        let (broker, switch) = start(version, &api, &[("metrics_listen", &listen)]);
        switch.on("metrics");
        let ask = || metrics.answer_to("GET /metrics HTTP/1.1\r\n\r\n");
        assert_eq!(ask(), "");
        serves(&broker, "ann");
        wait_for_defect(&broker);
        switch.off();
        assert!(ask().starts_with("HTTP/1.1 200 OK\r\n"));
    }

    fn in_telling_events_they_are_told_later(version) {
        let api = AuthServer::start();
        let (broker, switch) = start(version, &api, &[("http_event_route", "/events")]);
        switch.on("events");
        serves(&broker, "ann");
        wait_for_defect(&broker);
        assert!(api.requests_to("/events").is_empty());
        switch.off();
        eventually("both are told", || {
            let texts: String = api.requests_to("/events").iter().map(Request::text).collect();
            texts.contains("\"connected\"") && texts.contains("\"disconnected\"")
        });
    }

    fn in_a_probe_the_api_is_found_again_by_a_later_one(version) {
        let api = AuthServer::start();
        let more = [("breaker_failures", "1"), ("breaker_open_ms", "100")];
        let (broker, switch) = start(version, &api, &more);
        api.stop();
        let log_in = || log_in(&broker, Protocol::V3_1_1, "ann");
        log_in().expect_closed();
        broker.wait_for_log("is out of service");
        switch.on("probe");
        api.restart();
        eventually("a probe panics", || {
            log_in().expect_closed();
            defects(&broker) > 0
        });
        switch.off();
        eventually("the API is found again", || log_in().is_accepted());
    }

    fn in_asking_again_the_client_is_asked_about_once_more(version) {
        for place in ["recheck", "finding"] {
            let api = AuthServer::start();
            let (broker, switch) = start(version, &api, &[("cache_revalidate", "1")]);
            let ann = log_in(&broker, Protocol::V5, "ann").expect_accepted();
            switch.on(place);
            wait_for_defect(&broker);
            assert!(ann.is_connected());
            api.set_handler(|_| Reply::status(403));
            switch.off();
            ann.wait_disconnected();
        }
    }
}

/// Only Mosquitto 2.1 leaves a login to be finished later.
#[test]
fn at_finishing_a_login_the_client_is_turned_away_and_may_come_again() {
    let api = AuthServer::start();
    let (broker, switch) = start(Version::V2_1_2, &api, &[]);
    switch.on("finish_login");
    for number in 0..5 {
        log_in(&broker, Protocol::V3_1_1, &format!("user-{number}")).expect_closed();
    }
    wait_for_defect(&broker);
    switch.off();
    serves(&broker, "ann");
}

/// Only Mosquitto 2.1 tells of a client that has come in. One that waited has no name of its own
/// until then, and so no rights.
#[test]
fn at_coming_in_the_client_has_no_rights() {
    let api = AuthServer::start();
    let (broker, switch) = start(Version::V2_1_2, &api, &[]);
    switch.on("connect");
    let ann = log_in(&broker, Protocol::V5, "ann").expect_accepted();
    wait_for_defect(&broker);
    switch.off();
    // The broker has let it in and the plugin has not: it is closed, and comes again.
    eventually("a client that never came in is closed", || !ann.is_connected());
    serves(&broker, "ann");
}
