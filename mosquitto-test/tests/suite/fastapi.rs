//! The example API in FastAPI, with its users in SQLite. It takes a while to start, so one serves all
//! brokers.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};
use tempfile::TempDir;

use crate::apis::{Section, installed, log_in};
use crate::support::may_publish;

/// The API, and the folder of its database.
pub struct FastApi {
    pub program: Program,
    folder: TempDir,
}

/// A command in the example's folder, with a database of its own.
fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(installed("examples/fastapi/.venv/bin").join(program));
    command.current_dir(repository("examples/fastapi")).env("USERS_DB", folder.join("users.db"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn add_user(folder: &Path, password: &str, arguments: &[&str]) {
    let mut command = command("python", folder);
    command.arg("users.py").args(arguments).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

pub fn start() -> FastApi {
    start_with(&[])
}

pub fn start_with(environment: &[(&str, &str)]) -> FastApi {
    let folder = tempfile::tempdir().unwrap();
    let own = ["--publish", "users/ann/#", "--subscribe", "users/ann/#"];
    add_user(folder.path(), "green", &[&["ann"], &own[..], &["--subscribe", "public/#"]].concat());
    add_user(folder.path(), "blue", &["ben", "--publish", "public/+", "--subscribe", "public/#"]);
    add_user(folder.path(), "black", &["root", "--superuser"]);
    let port = free_port();
    let mut command = command("uvicorn", folder.path());
    command.args(["api:app", "--port", &port.to_string()]);
    command.envs(environment.iter().copied());
    FastApi { program: Program::start(command, port, "Uvicorn running on"), folder }
}

#[test]
fn the_documented_session_on_every_broker() {
    let (api, section) = (start(), Section::about("FastAPI"));
    for version in Version::ALL {
        let relay = Relay::to(api.program.port(), Notice::AtOnce);
        let broker = section.broker(version, &relay);
        section.expect_session(&broker, &relay);
        let [ann, ben] =
            [("c3", "ann", "green"), ("c4", "ben", "blue")].map(|(id, user, password)| {
                let client = log_in(&broker, id, user, password).expect_accepted();
                client.subscribe("public/#").expect_granted();
                client
            });
        let root = log_in(&broker, "c5", "root", "black").expect_accepted();
        assert!(!may_publish(&ann, "public/x") && may_publish(&root, "public/x"));
        for subscriber in [ann, ben] {
            assert_eq!(subscriber.expect_message().0, "public/x");
        }
    }
}

#[test]
fn a_user_is_replaced_while_the_api_runs() {
    let (api, section) = (start(), Section::about("FastAPI"));
    add_user(api.folder.path(), "yellow", &["ann"]);
    for version in Version::ALL {
        let relay = Relay::to(api.program.port(), Notice::AtOnce);
        let broker = section.broker(version, &relay);
        log_in(&broker, "c1", "ann", "green").expect_refused();
        let ann = log_in(&broker, "c1", "ann", "yellow").expect_accepted();
        assert!(!may_publish(&ann, "users/ann/x"), "she has no rules any more");
    }
}
