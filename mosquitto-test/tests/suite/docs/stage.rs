//! Where a page's commands are run: a folder with the page's files, ports that nobody else has, and
//! the programs of one version of the broker.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use mosquitto_test::command;
use mosquitto_test::prelude::*;
use mosquitto_test::program::{free_port, repository};
use tempfile::TempDir;

use super::{Block, blocks};
use crate::command::docs::expect;

/// The plugin's path on the pages.
pub const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/mosquitto/libmosquitto_http_auth.so";

/// The port of a client that names none.
const MQTT: &str = "1883";

/// The ports on the pages.
const PORTS: [&str; 7] = [MQTT, "1884", "1885", "1886", "8000", "8883", "9180"];

pub struct Stage {
    folder: TempDir,
    ports: BTreeMap<&'static str, u16>,
    /// What runs in the background, by the command that started it.
    programs: Vec<(String, Program)>,
}

impl Stage {
    pub fn new(version: Version) -> Stage {
        let ports = PORTS.map(|port| (port, free_port())).into();
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage { folder, ports, programs: Vec::new() };
        fs::create_dir(stage.folder().join("bin")).unwrap();
        for program in ["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"] {
            let (real, port) = (version.bin(program), stage.port(MQTT));
            let real = fs::canonicalize(real).unwrap();
            // The port that everybody takes who names none is taken here.
            stage.script(program, &format!(
                "case \" $* \" in *\" -p \"*) exec {real} \"$@\";; *) exec {real} -p {port} \"$@\";; esac",
                real = real.display()
            ));
        }
        for program in ["mosquitto", "mosquitto_passwd"] {
            let real = fs::canonicalize(version.bin(program)).unwrap();
            stage.script(program, &format!("exec {} \"$@\"", real.display()));
        }
        stage
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.folder().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn port(&self, on_the_page: &str) -> u16 {
        self.ports[on_the_page]
    }

    /// Puts the files of a folder of the repository into this one.
    pub fn link(&self, folder: &str) {
        for entry in fs::read_dir(repository(folder)).unwrap() {
            let entry = entry.unwrap();
            symlink(entry.path(), self.folder().join(entry.file_name())).unwrap();
        }
    }

    /// A text of the page as it is here.
    pub fn here(&self, text: &str) -> String {
        let mut here = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, from) = rest.split_at(at);
            let length = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
            let (number, after) = from.split_at(length);
            let port = self.ports.get(number).map(ToString::to_string);
            here.push_str(before);
            here.push_str(port.as_deref().unwrap_or(number));
            rest = after;
        }
        let here = (here + rest).replace(PLUGIN, plugin_path().to_str().unwrap());
        here.replace("/usr/sbin/mosquitto", "./bin/mosquitto")
    }

    /// Writes the page's files, and runs its commands.
    pub fn play(&mut self, page: &str) {
        let blocks = blocks(page);
        for block in &blocks {
            self.write(block);
        }
        let sessions: Vec<_> = blocks.iter().filter(|b| b.language == "console").collect();
        assert!(!sessions.is_empty(), "{page} shows nothing");
        for session in sessions {
            self.session(&session.text);
        }
    }

    /// Writes a block that is a file.
    pub fn write(&self, block: &Block) {
        let Some(name) = &block.file else { return };
        let mut text = self.here(&block.text);
        // SAFETY: geteuid has no preconditions and cannot fail.
        if block.language == "conf" && unsafe { libc::geteuid() } == 0 {
            // Otherwise the broker would give up the right to read this folder.
            text.insert_str(0, "user root\n");
        }
        fs::write(self.folder().join(name), text).unwrap();
    }

    /// Runs the commands of a block, each of which prints what follows it.
    pub fn session(&mut self, text: &str) {
        for step in self.here(text).split("$ ").skip(1) {
            let (line, expected) = step.split_once('\n').unwrap();
            match line.strip_suffix(" &") {
                Some(line) => self.start(line),
                None => expect(line, &plain(expected), &plain(&self.run(line))),
            }
        }
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(self.folder()).stdin(Stdio::null());
        let own = command::path();
        let path = std::env::var("PATH").unwrap();
        let bin = self.folder().join("bin");
        let path = format!("{}:{}:{path}", bin.display(), own.parent().unwrap().display());
        shell.env("PATH", path).env("LC_ALL", "C").env_remove("MOSQUITTO_HTTP_AUTH_PASSWORD");
        shell
    }

    /// Runs a command to its end; what it prints.
    pub fn run(&self, line: &str) -> String {
        let output = self.shell(line).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Starts a broker or an API of the page.
    pub fn start(&mut self, line: &str) {
        let program = self.launch(line);
        self.programs.push((line.to_owned(), program));
    }

    /// Starts a broker or an API, and waits until it serves.
    pub fn launch(&self, line: &str) -> Program {
        let ready = if is_broker(line) { " running\n" } else { "listening" };
        Program::start(self.shell(&format!("exec {line}")), 0, ready)
    }

    /// Ends what this command has started.
    pub fn stop(&mut self, line: &str) {
        let line = self.here(line);
        let at = self.programs.iter().position(|(started, _)| *started == line).unwrap();
        self.programs.remove(at);
    }

    /// The broker of the page that was started first.
    pub fn broker(&self) -> &Program {
        let (_, broker) = self.programs.iter().find(|(line, _)| is_broker(line)).unwrap();
        broker
    }

    /// Fails unless the broker's log has these lines in this order; waits for each.
    pub fn expect_log(&self, lines: &str) {
        let mut rest_at = 0;
        for line in self.here(lines).lines() {
            self.broker().wait_for_log(line);
            let log = self.broker().log();
            let at = log[rest_at..].find(line);
            rest_at += at.unwrap_or_else(|| panic!("{line:?} comes too early in:\n{log}"));
        }
    }
}

fn is_broker(line: &str) -> bool {
    line.contains("mosquitto -c ")
}

/// The text without what versions of Mosquitto differ in: 2.1 has left out some full stops, and its
/// `mosquitto_passwd` says what it does.
fn plain(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("Adding password for user "));
    lines.map(|line| line.trim_end_matches('.').to_owned() + "\n").collect()
}
