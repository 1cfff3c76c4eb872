//! The command `mosquitto-http-auth` says what the broker would say, and asks what it would ask.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mosquitto_test::command::{Ran, run};
use mosquitto_test::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

mod alone;
mod ask;
mod bench;
mod check;
pub mod docs;
mod fleet;
mod go_auth_redis;
mod healthcheck;
mod hints;
mod readers;
mod refusals;
mod tls;

/// A configuration in a folder of its own.
struct Conf {
    dir: TempDir,
}

/// Whether a broker that is started here can become another user.
fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The users of this machine, with their numbers.
fn users() -> Vec<(String, u32)> {
    let file = fs::read_to_string("/etc/passwd").unwrap();
    let words = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    words.map(|words| (words[0].to_owned(), words[2].parse().unwrap())).collect()
}

impl Conf {
    /// One that is there already.
    fn at(dir: TempDir, path: &Path) -> Conf {
        let conf = Conf { dir };
        assert_eq!(conf.path(), path);
        conf
    }

    fn new(text: &str) -> Conf {
        let conf = Conf { dir: tempfile::tempdir().unwrap() };
        fs::write(conf.path(), text).unwrap();
        conf
    }

    /// The plugin with these options, for all listeners.
    fn with<K: AsRef<str>, V: AsRef<str>>(options: impl IntoIterator<Item = (K, V)>) -> Conf {
        let mut text =
            format!("listener 1883\nallow_anonymous false\nplugin {}\n", plugin_path().display());
        for (name, value) in options {
            text.push_str(&format!("plugin_opt_{} {}\n", name.as_ref(), value.as_ref()));
        }
        Conf::new(&text)
    }

    /// The plugin asking this API.
    fn of(api: &AuthServer, more: &[(&str, &str)]) -> Conf {
        Conf::with(api.options(more.iter().copied()))
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mosquitto.conf")
    }

    /// Runs a subcommand on it.
    fn run(&self, subcommand: &str, arguments: &[&str], input: &str) -> Ran {
        let path = self.path();
        run(&[&[subcommand, path.to_str().unwrap()], arguments].concat(), input)
    }

    /// The same, as JSON, with the status that it has to have.
    fn json(&self, subcommand: &str, arguments: &[&str], input: &str, status: i32) -> Value {
        let ran = self.run(subcommand, &[arguments, &["--json"]].concat(), input);
        assert_eq!(ran.status, status, "{}", ran.all());
        ran.json()
    }
}
