//! The broker of the demo: a real Mosquitto with the shortest configuration that uses the plugin.
//!
//! The tests' broker is made for tests: it logs everything, picks its own ports and panics. The demo's
//! configuration is one to show.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_test::broker::{Version, plugin_path};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Event;

pub const USUAL_PORT: u16 = 1883;
/// Far more than a broker without clients needs to end.
const GRACE: Duration = Duration::from_secs(5);
/// Far more than a broker needs to say what it says at its start.
const START: Duration = Duration::from_secs(20);

pub struct Mosquitto {
    pub version: Version,
    pub port: u16,
    pub config: String,
    child: Child,
    log: Log,
    /// Nothing is ever sent: it is cut off when the broker ends.
    ended: Receiver<()>,
    _dir: TempDir,
}

#[derive(Clone, Default)]
struct Log {
    text: Arc<Mutex<String>>,
    /// The demo itself ends the broker, which is then no news.
    is_to_end: Arc<AtomicBool>,
}

impl Mosquitto {
    /// Starts the program; what becomes of it is sent to `events`.
    pub fn spawn(
        version: Version,
        api_port: u16,
        events: Sender<Event>,
    ) -> Result<Mosquitto, String> {
        let port = free_port(USUAL_PORT)?;
        let config = configuration(port, &plugin_path(), api_port);
        Mosquitto::spawn_with(version, port, config, events)
    }

    /// The same, with this configuration.
    pub fn spawn_with(
        version: Version,
        port: u16,
        config: String,
        events: Sender<Event>,
    ) -> Result<Mosquitto, String> {
        let failed = |error| format!("cannot start mosquitto {}: {error}", version.name());
        let dir = tempfile::tempdir().map_err(failed)?;
        let file = dir.path().join("mosquitto.conf");
        fs::write(&file, &config).map_err(failed)?;
        let mut child = Command::new(version.bin("mosquitto"))
            .arg("-c")
            .arg(&file)
            // Ctrl-C in a terminal is for all of the foreground's group; the demo alone is to hear it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let log = Log::default();
        let (alive, ended) = mpsc::channel();
        if let Some(pipe) = child.stderr.take() {
            log.follow(pipe, alive, events);
        }
        Ok(Mosquitto { version, port, config, child, log, ended, _dir: dir })
    }

    /// The program of this broker's release.
    pub fn companion(&self, program: &str) -> PathBuf {
        let path = self.version.bin(program);
        path.canonicalize().unwrap_or(path)
    }

    /// Ends the broker as an operator would.
    pub fn stop(&mut self) {
        // Once waited for, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            if self.ended.recv_timeout(GRACE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }

    /// Ends the broker as a crash would.
    pub fn kill(&mut self) {
        self.log.is_to_end.store(true, Ordering::SeqCst);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until its log says this.
    pub fn wait_for(&self, what: &str) -> Result<(), String> {
        let started = Instant::now();
        while !self.log.text().contains(what) {
            if started.elapsed() > START {
                return Err(format!(
                    "a broker did not say {what:?}; its log:\n{}",
                    self.log.text()
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What is left to say when things went wrong: how the broker ended, and its log.
    pub fn obituary(&mut self) -> String {
        self.stop();
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        let version = self.version.name();
        format!("mosquitto {version} ended ({status}); its log:\n{}", self.log.text().trim_end())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Log {
    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the log to its end, and tells when the broker runs and when it has ended.
    fn follow(&self, pipe: impl Read + Send + 'static, alive: Sender<()>, events: Sender<Event>) {
        let log = self.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line);
                log.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                if text.trim_end().ends_with(" running") {
                    let _ = events.send(Event::BrokerRuns);
                }
                line.clear();
            }
            drop(alive);
            if !log.is_to_end.load(Ordering::SeqCst) {
                let _ = events.send(Event::BrokerEnded);
            }
        });
    }
}

/// The lines that say where the broker listens, and whom it asks.
pub fn configuration(port: u16, plugin: &Path, api_port: u16) -> String {
    // Started by root, Mosquitto turns into a user who may not read everybody's build directory.
    let user = if started_by_root() { "user root\n" } else { "" };
    // Without the nodelay, a small packet may wait 40 ms for the one before it to be acknowledged.
    format!(
        "listener {port} 127.0.0.1\n\
         allow_anonymous false\n\
         set_tcp_nodelay true\n\
         {user}\
         plugin {}\n\
         plugin_opt_http_host 127.0.0.1\n\
         plugin_opt_http_port {api_port}\n\
         plugin_opt_http_user_route /user\n\
         plugin_opt_http_acl_route /acl\n",
        plugin.display()
    )
}

fn started_by_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// This port, or any other where that is taken.
pub fn free_port(usual: u16) -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", usual))
        .or_else(|_taken| TcpListener::bind(("127.0.0.1", 0)));
    let port = listener.and_then(|listener| Ok(listener.local_addr()?.port()));
    port.map_err(|error| format!("no port is free: {error}"))
}
