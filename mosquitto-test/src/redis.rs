//! A real Redis or Valkey, by which brokers share answers. `mosquitto-test/get-brokers.sh` fetches both.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{Version, fetched};
use crate::program::{Program, free_port, run_to_its_end};
use crate::watch::patience;

mod cluster;
mod evil;
mod sentinel;
pub use cluster::Cluster;
pub use evil::{EvilRedis, Mischief};
pub use sentinel::{MASTER, Sentinels, TlsSentinel};

/// What a broker says once it hears of what the others do.
pub const IN_TOUCH: &str = "in touch with the other brokers";

/// What it says once its port is open.
const READY: &str = "Ready to accept connections";

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// 7.0, as Debian 12 ships it.
    Redis,
    /// 8.0, from its backports.
    Valkey,
}

impl Engine {
    /// The one that tests run beside this broker, so that each is tried with at least one of them.
    pub fn beside(version: Version) -> Engine {
        if version.is_2_1() { Engine::Valkey } else { Engine::Redis }
    }

    fn name(self) -> &'static str {
        match self {
            Engine::Redis => "redis",
            Engine::Valkey => "valkey",
        }
    }

    fn program(self, what: &str) -> Command {
        Command::new(fetched(self.name(), &format!("{}-{what}", self.name())))
    }
}

/// A running server, which keeps nothing when it ends.
pub struct Redis {
    engine: Engine,
    port: u16,
    settings: Vec<String>,
    dir: TempDir,
    program: Option<Program>,
}

impl Redis {
    pub fn start(engine: Engine) -> Redis {
        Redis::start_with(engine, &[])
    }

    /// Starts one with more settings, as on its command line: `--name`, `value`.
    pub fn start_with(engine: Engine, settings: &[&str]) -> Redis {
        Redis::start_on(engine, free_port(), settings)
    }

    fn start_on(engine: Engine, port: u16, settings: &[&str]) -> Redis {
        let settings = settings.iter().map(ToString::to_string).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut redis = Redis { engine, port, settings, dir, program: None };
        redis.run();
        redis
    }

    fn run(&mut self) {
        let mut command = self.engine.program("server");
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            // As it is, so that it can be searched.
            .args(["--save", "", "--rdbcompression", "no", "--dir"])
            .arg(self.dir.path())
            .args(&self.settings);
        self.program = Some(Program::start(command, self.port, READY));
    }

    /// Where it is, as `fleet_redis` wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port where it listens without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would; all it had is gone.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it again, on its port, with what the last dump has, if there was one.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    /// Its connections stay, and it does nothing until it is thawed.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        self.program.as_ref().expect("it runs").signal(signal);
    }

    /// What it answers to a command, in lines.
    pub fn ask(&self, command: &[&str]) -> Vec<String> {
        ask(self.engine, self.port, command)
    }

    /// The keys that look like this.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(&["KEYS", pattern]).into_iter().filter(|key| !key.is_empty()).collect()
    }

    /// All it has, as it writes it down.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.ask(&["SAVE"]), ["OK"]);
        fs::read(self.dir.path().join("dump.rdb")).unwrap()
    }
}

fn ask(engine: Engine, port: u16, command: &[&str]) -> Vec<String> {
    try_ask(engine, port, command).unwrap_or_else(|output| panic!("{command:?}: {output:?}"))
}

fn try_ask(engine: Engine, port: u16, command: &[&str]) -> Result<Vec<String>, Output> {
    let mut cli = engine.program("cli");
    cli.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(command);
    let output = run_to_its_end(cli, b"");
    if !output.status.success() {
        return Err(output);
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Waits until it works, a little between one try and the next, since each is a process.
fn until(what: &str, mut works: impl FnMut() -> bool) {
    let started = Instant::now();
    while !works() {
        assert!(started.elapsed() < patience(), "{what}: not within {:?}", patience());
        thread::sleep(Duration::from_millis(50));
    }
}
