//! The example API in axum, which answers with rules.

use std::path::Path;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};

use crate::apis::{Section, asked, log_in};
use crate::support::may_publish;

pub fn start() -> Program {
    start_with(&[])
}

pub fn start_with(environment: &[(&str, &str)]) -> Program {
    let port = free_port();
    // What mosquitto-test/examples.sh built is beside what cargo built of this test.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(repository("examples/axum")).env("CARGO_TARGET_DIR", target);
    command.args(["run", "--quiet", "--locked", "--", &port.to_string()]);
    command.envs(environment.iter().copied());
    Program::start(command, port, "listening on port")
}

on_every_broker! {
    fn the_documented_session(version) {
        let (api, section) = (start(), Section::about("axum"));
        let relay = Relay::to(api.port(), Notice::AtOnce);
        let broker = section.broker(version, &relay);
        section.expect_session(&broker, &relay);
    }

    fn a_session_needs_nothing_but_its_login(version) {
        let (api, section) = (start(), Section::about("axum"));
        let relay = Relay::to(api.port(), Notice::AtOnce);
        let broker = section.broker(version, &relay);
        let ann = log_in(&broker, "desk", "ann", "green").expect_accepted();
        let device = log_in(&broker, "thermometer", "device", "orange").expect_accepted();
        let root = log_in(&broker, "r", "root", "black").expect_accepted();
        drop(api);
        ann.subscribe("devices/+/up/#").expect_granted();
        ann.subscribe("devices/#").expect_refused();
        assert!(may_publish(&device, "devices/thermometer/up/secret/key"));
        assert!(may_publish(&device, "devices/thermometer/up/celsius"));
        assert_eq!(ann.expect_message().0, "devices/thermometer/up/celsius", "no secret");
        assert!(!may_publish(&device, "devices/barometer/up/celsius"));
        assert!(may_publish(&root, "anything"));
        assert_eq!(asked(&broker).len(), 3, "{:?}", asked(&broker));
    }
}
