//! Real Mosquitto brokers: each with a directory, a configuration, ports and a log of its own.
//!
//! `mosquitto-test/get-brokers.sh` fetches the versions. A version that is missing fails the test that
//! wants it; nothing is ever skipped.

mod config;
mod memory;
mod process;
pub mod secrets;

use std::env;
use std::fs;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

pub use config::{BrokerConfig, Listener};
pub use memory::Memory;

use crate::log::Wait;
use crate::mqtt::ClientBuilder;
use crate::program::run_to_its_end;
use crate::raw::RawClient;
use crate::watch::patience;
use process::Process;

/// The end of the line with which every version says that it is up. Its listeners are open by then.
const RUNNING: &str = " running\n";

/// The brokers that the plugin supports, as Debian ships them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V2_0_11,
    V2_0_21,
    V2_1_2,
}

impl Version {
    pub const ALL: [Version; 3] = [Version::V2_0_11, Version::V2_0_21, Version::V2_1_2];

    pub fn is_2_1(self) -> bool {
        self == Version::V2_1_2
    }

    pub fn name(self) -> &'static str {
        match self {
            Version::V2_0_11 => "2.0.11",
            Version::V2_0_21 => "2.0.21",
            Version::V2_1_2 => "2.1.2",
        }
    }

    /// One of this version's programs.
    pub fn bin(self, program: &str) -> PathBuf {
        fetched(self.name(), program)
    }
}

/// A program of what `get-brokers.sh` has fetched under this name.
pub(crate) fn fetched(name: &str, program: &str) -> PathBuf {
    let brokers = env::var_os("MOSQUITTO_BROKERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.brokers"), PathBuf::from);
    let path = brokers.join(name).join("bin").join(program);
    assert!(path.exists(), "{} is missing: run mosquitto-test/get-brokers.sh once", path.display());
    path
}

/// The plugin under test: `MOSQUITTO_HTTP_AUTH_SO`, or what cargo built beside this test.
pub fn plugin_path() -> PathBuf {
    if let Some(path) = env::var_os("MOSQUITTO_HTTP_AUTH_SO") {
        let path = PathBuf::from(path);
        assert!(path.exists(), "MOSQUITTO_HTTP_AUTH_SO names {}, which is missing", path.display());
        return path;
    }
    let test = env::current_exe().unwrap();
    let candidates =
        test.ancestors().skip(1).take(2).map(|dir| dir.join("libmosquitto_http_auth.so"));
    let found = candidates
        .filter(|path| path.exists())
        .max_by_key(|path| fs::metadata(path).unwrap().modified().ok());
    found.unwrap_or_else(|| {
        panic!("no libmosquitto_http_auth.so beside {}: set MOSQUITTO_HTTP_AUTH_SO", test.display())
    })
}

/// A running broker; it is killed when it goes out of scope.
pub struct Broker {
    config: BrokerConfig,
    ports: Vec<u16>,
    process: Process,
}

/// A broker that ended by itself, as it was expected to.
#[derive(Debug)]
pub struct Failed {
    pub status: ExitStatus,
    /// What it was started with.
    pub configuration: String,
    pub log: String,
}

impl Broker {
    pub fn config(version: Version) -> BrokerConfig {
        BrokerConfig::new(version)
    }

    fn start(config: BrokerConfig) -> Broker {
        let (ports, process) = process::launch(&config);
        let broker = Broker { config, ports, process };
        // The panic drops the broker, and that prints its configuration and its log.
        assert!(
            broker.log_contains(RUNNING),
            "mosquitto {} did not come up",
            broker.version().name()
        );
        // It says so before its loop runs, and a SIGTERM that comes between is lost.
        broker.wait_until_idle();
        broker
    }

    fn start_expecting_failure(config: BrokerConfig) -> Failed {
        let (ports, mut process) = process::launch(&config);
        let log = process.log.text();
        assert!(
            !log.contains(RUNNING),
            "the broker was expected to refuse its configuration; its log:\n{log}"
        );
        let status = process.wait();
        let log = process.log.text();
        assert!(!status.success(), "the broker ended with status 0; its log:\n{log}");
        let shown = secrets::shown(&log, &ports, &config.text(), &config.environment);
        assert_eq!(shown, None, "a secret is in the broker's log:\n{log}");
        Failed { status, configuration: config.render(&ports), log }
    }

    /// Stops the broker and starts it again: same directory, same configuration, same ports.
    pub fn restart(&mut self) {
        self.stop();
        self.run_again();
    }

    /// The same after an end without a word, as by a crash.
    pub fn crash_and_restart(&mut self) {
        self.signal(libc::SIGKILL);
        self.process.wait();
        self.run_again();
    }

    fn run_again(&mut self) {
        self.expect_no_secrets();
        self.process = Process::spawn(&self.config);
        let wait = self.process.log.wait_for(0, RUNNING);
        assert_eq!(wait, Wait::Found, "the broker did not come up again");
    }

    pub fn version(&self) -> Version {
        self.config.version
    }

    /// The port of the first listener.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn port_of(&self, listener: usize) -> u16 {
        self.ports[listener]
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// A client of the first listener, to be described further.
    pub fn client(&self, id: &str) -> ClientBuilder {
        ClientBuilder::new(id, self.port())
    }

    /// A connection to the first listener for hand-made packets.
    pub fn raw(&self) -> RawClient {
        RawClient::connect_to(self.port())
    }

    /// Has the broker read its configuration again, and returns when it has finished: it has one
    /// thread, so a connection made after it began is noticed only after it is done.
    pub fn reload(&self) {
        let mark = self.log_mark();
        self.signal(libc::SIGHUP);
        self.wait_for_log_after(mark, "Reloading config.");
        self.wait_until_idle();
    }

    /// Returns once the broker's main loop has come round after this call.
    pub fn wait_until_idle(&self) {
        let plain = (0..self.ports.len()).find(|listener| !self.config.is_websockets(*listener));
        let port = self.port_of(plain.unwrap_or(0));
        // From here on: an older connection may have had the same port on our side.
        let mark = self.log_mark();
        let stream =
            TcpStream::connect(("127.0.0.1", port)).expect("the broker accepts connections");
        let ours = stream.local_addr().unwrap().port();
        let line = format!("New connection from 127.0.0.1:{ours} on port {port}.");
        self.wait_for_log_after(mark, &line);
    }

    /// Everything that the broker has printed since it was last started.
    pub fn log(&self) -> String {
        self.process.log.text()
    }

    pub fn log_contains(&self, needle: &str) -> bool {
        self.log().contains(needle)
    }

    /// Waits for a text in the log, wherever it is.
    pub fn wait_for_log(&self, needle: &str) {
        self.wait_for_log_after(0, needle);
    }

    /// Where the log ends now.
    pub fn log_mark(&self) -> usize {
        self.process.log.mark()
    }

    /// Waits for a text that is printed after `mark`.
    pub fn wait_for_log_after(&self, mark: usize, needle: &str) {
        let wait = self.process.log.wait_for(mark, needle);
        assert_eq!(wait, Wait::Found, "waited for {needle:?} in the broker's log");
    }

    /// Waits for one of these texts in the log, wherever it is.
    pub fn wait_for_any_log(&self, needles: &[String]) {
        let needles: Vec<_> = needles.iter().map(String::as_str).collect();
        let found = self.process.log.wait_for_any(&needles);
        assert!(found.is_some(), "waited for one of {needles:?} in the broker's log");
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Ends the broker as an operator would, and returns its status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_for_exit()
    }

    /// Waits for the broker to exit; a death by signal is a failure.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let status = self.process.wait();
        assert_eq!(status.signal(), None, "the broker was killed by a signal");
        status
    }

    /// Sends a signal, for instance `libc::SIGUSR1`.
    pub fn signal(&self, signal: i32) {
        assert!(self.process.ended.is_none(), "the broker has ended already");
        let pid = i32::try_from(self.pid()).unwrap();
        // SAFETY: kill takes plain integers; the child is not waited for yet, so the pid is its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "signal {signal} to the broker");
    }

    pub fn threads(&self) -> usize {
        self.count_in_proc("task")
    }

    /// Waits until it has no more than this many threads; nobody else is told when one ends.
    pub fn wait_for_threads(&self, count: usize) {
        // The plugin's end after ten seconds without anything to do.
        let deadline = Instant::now() + 3 * patience();
        while self.threads() > count {
            assert!(Instant::now() < deadline, "still {} threads", self.threads());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn open_files(&self) -> usize {
        self.count_in_proc("fd")
    }

    /// What is in its memory now.
    pub fn memory(&self) -> Memory {
        Memory::of(self.pid())
    }

    fn count_in_proc(&self, what: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{what}", self.pid())).expect("the broker runs").count()
    }

    /// The broker's own directory.
    pub fn dir(&self) -> &Path {
        self.config.dir.path()
    }

    pub fn password_file(&self) -> PathBuf {
        self.config.password_path()
    }

    /// Adds a user to the password file or changes it; the broker sees it after [`Broker::reload`].
    pub fn set_password(&self, user: &str, password: &str) {
        config::mosquitto_passwd(
            self.version(),
            &["-b", &self.password_file().to_string_lossy(), user, password],
        );
    }

    /// Removes a user from the password file; the broker sees it after [`Broker::reload`].
    pub fn remove_user(&self, user: &str) {
        config::mosquitto_passwd(
            self.version(),
            &["-D", &self.password_file().to_string_lossy(), user],
        );
    }

    /// Runs this version's `mosquitto_pub` to its end, on the first listener unless `-p` says another.
    pub fn mosquitto_pub(&self, arguments: &[&str]) -> Output {
        self.run("mosquitto_pub", arguments)
    }

    /// Runs this version's `mosquitto_sub` to its end: give it `-C 1` or `-E`.
    pub fn mosquitto_sub(&self, arguments: &[&str]) -> Output {
        self.run("mosquitto_sub", arguments)
    }

    /// Runs this version's `mosquitto_rr` to its end: it publishes a request and waits for one
    /// response.
    pub fn mosquitto_rr(&self, arguments: &[&str]) -> Output {
        self.run("mosquitto_rr", arguments)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.version().bin(program));
        command.args(["-h", "127.0.0.1"]).args(arguments);
        if !arguments.contains(&"-p") {
            command.args(["-p", &self.port().to_string()]);
        }
        if let Some(option) = arguments.iter().position(|argument| *argument == "-P") {
            secrets::sent(self.port(), arguments[option + 1].as_bytes());
        }
        run_to_its_end(command, b"")
    }
}

impl Broker {
    /// Nothing that is secret is in the log, at whatever level the broker logged.
    fn expect_no_secrets(&self) {
        let (log, config) = (self.log(), &self.config);
        let shown = secrets::shown(&log, &self.ports, &config.text(), &config.environment);
        assert_eq!(shown, None, "a secret is in the broker's log:\n{log}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let fell = self.process.ended.is_none() && !self.process.is_running();
        self.process.kill();
        if !thread::panicking() {
            self.expect_no_secrets();
        }
        secrets::forget(&self.ports);
        if thread::panicking() {
            let configuration = self.config.text();
            let version = self.version().name();
            eprintln!("--- mosquitto {version} with\n{configuration}--- logged\n{}---", self.log());
            // Last, where the middle of a long output is left out.
            match (fell, self.process.ended) {
                (true, Some(status)) => eprintln!("mosquitto {version} ended by itself: {status}"),
                _ => eprintln!("mosquitto {version} was running until now"),
            }
        } else if let (true, Some(status)) = (fell, self.process.ended) {
            assert_eq!(
                status.signal(),
                None,
                "the broker crashed: {status}; its log:\n{}",
                self.log()
            );
        }
    }
}
