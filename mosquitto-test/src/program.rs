//! Other programs that a test runs beside the broker, such as an example API.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::broker::{Log, free_ports};

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
