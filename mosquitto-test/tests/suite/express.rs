//! The example API in Express.

use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};

use crate::apis::{Section, installed, log_in};
use crate::support::may_publish;

pub fn start() -> Program {
    start_with(&[])
}

pub fn start_with(environment: &[(&str, &str)]) -> Program {
    installed("examples/express/node_modules/express");
    let port = free_port();
    let mut command = Command::new("node");
    command.current_dir(repository("examples/express")).args(["api.js", &port.to_string()]);
    command.envs(environment.iter().copied());
    Program::start(command, port, "listening on port")
}

on_every_broker! {
    fn the_documented_session(version) {
        let (api, section) = (start(), Section::about("Express"));
        let relay = Relay::to(api.port(), Notice::AtOnce);
        let broker = section.broker(version, &relay);
        section.expect_session(&broker, &relay);
        let ann = log_in(&broker, "c3", "ann", "green").expect_accepted();
        assert!(!may_publish(&ann, "public/news"));
        ann.subscribe("public/#").expect_granted();
        let root = log_in(&broker, "c4", "root", "black").expect_accepted();
        assert!(may_publish(&root, "public/news"), "a superuser may do everything");
        assert_eq!(ann.expect_message().0, "public/news");
    }
}
