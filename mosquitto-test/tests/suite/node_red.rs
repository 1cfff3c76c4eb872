//! The example API as a Node-RED flow. It takes a while to start, so one serves all brokers.

use std::fs;
use std::process::Command;

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};
use tempfile::TempDir;

use crate::apis::{Section, installed, log_in};
use crate::support::may_publish;

/// A Node-RED, and the folder that it keeps its own files in.
pub struct NodeRed {
    pub program: Program,
    _folder: TempDir,
}

pub fn start() -> NodeRed {
    start_with(&[], &[])
}

pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> NodeRed {
    installed("examples/node-red/node_modules/node-red");
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("npm");
    command.current_dir(repository("examples/node-red")).env("PORT", port.to_string());
    command.args(["start", "--", "--userDir"]).arg(folder.path()).args(arguments);
    command.envs(environment.iter().copied());
    let program = Program::start(command, port, "Started flows");
    // It begins to listen before or after that.
    program.wait_for_log("Server now running at");
    NodeRed { program, _folder: folder }
}

#[test]
fn the_documented_session_on_every_broker() {
    let (api, section) = (start(), Section::about("Node-RED"));
    for version in Version::ALL {
        let relay = Relay::to(api.program.port(), Notice::AtOnce);
        let broker = section.broker(version, &relay);
        section.expect_session(&broker, &relay);
    }
}

/// Node-RED closes a connection on which nothing was asked for five seconds.
#[test]
fn no_question_is_lost_when_an_idle_connection_is_closed() {
    let (api, section) = (start(), Section::about("Node-RED"));
    let sides: Vec<_> = Version::ALL
        .into_iter()
        .flat_map(|version| [Notice::AtOnce, Notice::WithTheNextQuestion].map(|n| (version, n)))
        .map(|(version, notice)| {
            let relay = Relay::to(api.program.port(), notice);
            let broker = section.broker(version, &relay);
            let ann = log_in(&broker, "c1", "ann", "green").expect_accepted();
            (ann, broker, relay)
        })
        .collect();
    for (ann, broker, relay) in sides {
        relay.wait_until_closed();
        let before = relay.opened();
        assert!(may_publish(&ann, "users/ann/x"), "{}", broker.log());
        assert_eq!(relay.opened(), before + 1);
    }
}

#[test]
fn a_mistake_in_the_flow_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let flows = fs::read_to_string(repository("examples/node-red/flows.json")).unwrap();
    let broken = folder.path().join("flows.json");
    fs::write(&broken, flows.replace("msg.users = [", "msg.user = [")).unwrap();
    let api = start_with(&[broken.to_str().unwrap()], &[]);
    for version in Version::ALL {
        let relay = Relay::to(api.program.port(), Notice::AtOnce);
        let broker = Section::about("Node-RED").broker(version, &relay);
        log_in(&broker, "c1", "ann", "green").expect_closed();
        broker.wait_for_log(" failed: status 500; it was asked about the login of \"ann\"");
        api.program.wait_for_log("Cannot read properties of undefined");
    }
}
