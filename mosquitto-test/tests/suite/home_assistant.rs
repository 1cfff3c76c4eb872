//! What replaces mosquitto-go-auth and nginx in Home Assistant's Mosquitto app, with a stand-in for the
//! Supervisor.

use std::fs;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};

use crate::control::TOPIC;
use crate::support::may_publish;

const TOKEN: &str = "s3cret-of-the-supervisor";

fn example(file: &str) -> String {
    fs::read_to_string(repository("examples/home-assistant").join(file)).unwrap()
}

fn supervisor() -> Program {
    let port = free_port();
    let mut command = Command::new("python3");
    command.arg(repository("examples/home-assistant/supervisor.py")).arg(port.to_string());
    command.env("SUPERVISOR_TOKEN", TOKEN);
    Program::start(command, port, "listening on port")
}

/// A line of the app's password file.
fn hashed(name: &str, password: &str) -> String {
    let script = repository("examples/home-assistant/pw.sh");
    let output = Command::new("sh").arg(script).arg(password).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    format!("{name}:{}", String::from_utf8(output.stdout).unwrap())
}

/// A broker with the example's configuration, beside which the Supervisor listens on this port.
fn broker(version: Version, port: u16, token: &str) -> Broker {
    let config = Broker::config(version);
    let logins = hashed("homeassistant", "discovery") + &hashed("sensor", "its own");
    let passwords = config.file("pw", logins).display().to_string();
    let acl = config.file("acl", example("acl")).display().to_string();
    let port = format!("http_port {port}");
    let (plugin, conf) = (plugin_path().display().to_string(), example("mosquitto.conf"));
    let replaced = [
        ("/usr/share/mosquitto/libmosquitto_http_auth.so", plugin.as_str()),
        ("/etc/mosquitto/pw", &passwords),
        ("/etc/mosquitto/acl", &acl),
        ("http_host supervisor", "http_host 127.0.0.1"),
        ("http_port 80", &port),
        ("log_level warn", "log_level debug"),
    ];
    let conf = replaced.into_iter().fold(conf, |conf, (from, to)| {
        assert!(conf.contains(from), "the example has no {from}");
        conf.replace(from, to)
    });
    let lines = conf.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    // A hash may take its time here, and Mosquitto 2.0 then waits no longer than for the API.
    let waits = ["plugin_opt_max_block_ms 60000", "plugin_opt_max_block_percent 100"];
    let config = lines.chain(waits).fold(config, |config, line| config.line(line));
    config.env("SUPERVISOR_TOKEN", token).start()
}

fn log_in(broker: &Broker, user: &str, password: &str) -> Login {
    broker.client(user).protocol(Protocol::V5).credentials(user, password).connect()
}

on_every_broker! {
    fn the_apps_users_come_first_and_home_assistants_are_the_supervisors(version) {
        let supervisor = supervisor();
        let broker = broker(version, supervisor.port(), TOKEN);
        let discovery = log_in(&broker, "homeassistant", "discovery").expect_accepted();
        let sensor = log_in(&broker, "sensor", "its own").expect_accepted();
        assert!(!broker.log_contains("the login of"), "nobody asks about them: {}", broker.log());
        let ann = log_in(&broker, "ann", "green").expect_accepted();
        broker.wait_for_log("the login of \"ann\"");
        log_in(&broker, "ann", "blue").expect_refused();
        log_in(&broker, "sensor", "another").expect_refused();
        log_in(&broker, "nobody", "green").expect_refused();
        discovery.subscribe("#").expect_granted();
        assert!(may_publish(&sensor, "homeassistant/sensor/config"));
        assert_eq!(discovery.expect_message().0, "homeassistant/sensor/config");
        assert!(may_publish(&ann, "zigbee2mqtt/lamp/set"));
        assert_eq!(discovery.expect_message().0, "zigbee2mqtt/lamp/set");
        assert!(!may_publish(&ann, TOPIC));
        assert!(!broker.log_contains(TOKEN));
    }

    fn without_the_token_only_the_apps_users_come_in(version) {
        let supervisor = supervisor();
        let broker = broker(version, supervisor.port(), "another");
        log_in(&broker, "ann", "green").expect_refused();
        log_in(&broker, "sensor", "its own").expect_accepted();
    }

    fn a_supervisor_that_is_down_denies_nobody(version) {
        let port = free_port();
        let broker = broker(version, port, TOKEN);
        log_in(&broker, "ann", "green").expect_closed();
        log_in(&broker, "sensor", "its own").expect_accepted();
    }
}
