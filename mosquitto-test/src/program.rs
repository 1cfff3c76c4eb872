//! Other programs that a test runs beside the broker, such as an example API.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::log::Log;
use crate::watch::patience;

/// A program that serves on a port. It, and whatever it has started, ends with this value.
pub struct Program {
    child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
    port: u16,
}

/// A file of the repository, from its top folder.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// A port that nobody listens on now, nor is given for an outgoing connection while the program starts.
pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// Ports that nobody listens on now, from below the range that the kernel gives to outgoing
/// connections, and from another part of it for each process and call.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 20_000;
    const MANY: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    let candidates =
        (0..MANY).map(|_| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % MANY + FIRST);
    let ports = candidates.map(|port| u16::try_from(port).unwrap());
    ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

/// A program's output for this input; it is killed, and the test fails, if it does not end.
pub(crate) fn run_to_its_end(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // So little fits into the pipe, whether it is read or not.
    let _ = child.stdin.take().unwrap().write_all(input);
    let pid = i32::try_from(child.id()).unwrap();
    let (send, receive) = mpsc::channel();
    let waiter = thread::spawn(move || send.send(child.wait_with_output()));
    let Ok(output) = receive.recv_timeout(patience()) else {
        // SAFETY: kill takes plain integers; the waiter has not reaped the child, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        panic!("{command:?} does not end");
    };
    waiter.join().unwrap().unwrap();
    output.unwrap()
}

impl Program {
    /// Starts a program that is to serve on `port`, and waits until it has printed `ready`.
    pub fn start(mut command: Command, port: u16, ready: &str) -> Program {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts can be ended with it.
        let child = command.process_group(0).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Log::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![log.follow(stdout), log.follow(stderr)];
        let program = Program { child, log, readers, port };
        let found = program.log.wait_for_any(&[ready]).is_some();
        assert!(found, "{command:?} is not ready; it printed:\n{}", program.log.text());
        program
    }

    /// Stops or resumes it, and whatever it has started.
    pub fn signal(&self, signal: i32) {
        let group = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill takes plain integers; the child leads this group and was not reaped yet.
        assert_eq!(unsafe { libc::kill(-group, signal) }, 0);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until it has printed this.
    pub fn wait_for_log(&self, needle: &str) {
        let found = self.log.wait_for_any(&[needle]).is_some();
        assert!(found, "{needle:?} was not printed, but:\n{}", self.log.text());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill takes plain integers; the child leads this group and was not reaped yet.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}
