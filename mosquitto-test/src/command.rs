//! The command `mosquitto-http-auth`, run to its end.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use crate::program::{repository, run_to_its_end};

/// What came of one run.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What it printed, as `--json` has it.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Everything that it printed.
    pub fn all(&self) -> String {
        [self.stdout.as_str(), &self.stderr].concat()
    }
}

/// Runs the command with this standard input, without a terminal.
pub fn run(arguments: &[&str], input: &str) -> Ran {
    run_with(&[], arguments, input)
}

/// The same, with these variables in its environment.
pub fn run_with(environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(path());
    command.args(arguments).env_remove("MOSQUITTO_HTTP_AUTH_PASSWORD");
    command.envs(environment.iter().copied());
    let output = run_to_its_end(command, input.as_bytes());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        status: output.status.code().expect("it ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The command under test: `MOSQUITTO_HTTP_AUTH_COMMAND`, or what cargo built beside this test. It is
/// built when the workspace's tests are, and not when one package's are.
pub fn path() -> PathBuf {
    if let Some(path) = env::var_os("MOSQUITTO_HTTP_AUTH_COMMAND") {
        return path.into();
    }
    let test = env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("mosquitto-http-auth");
    let built = fs::metadata(&path).and_then(|file| file.modified());
    let changed = last_change(&repository("src")).max(last_change(&repository("cli/src")));
    assert!(
        built.is_ok_and(|built| built >= changed),
        "{} is missing or older than its source: run cargo test --workspace --no-run",
        path.display()
    );
    path
}

fn last_change(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let time = |path: PathBuf| match path.is_dir() {
        true => last_change(&path),
        false => fs::metadata(path).unwrap().modified().unwrap(),
    };
    entries.map(time).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
