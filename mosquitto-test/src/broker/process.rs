//! The broker's process: started, followed, ended; and other programs that run to their end.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::{BrokerConfig, Log, RUNNING, Version};
use crate::program::repository;
use crate::watch::{patience, valgrind_reports};

/// One run of the program.
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) log: Log,
    reader: Option<JoinHandle<()>>,
    pub(super) ended: Option<ExitStatus>,
}

impl Process {
    pub(super) fn spawn(config: &BrokerConfig) -> Process {
        let mut child = program(config.version)
            .args([OsStr::new("-c"), config.path("mosquitto.conf").as_os_str()])
            .envs(config.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker's program starts");
        let log = Log::default();
        let reader = Some(log.follow(child.stderr.take().unwrap()));
        Process { child, log, reader, ended: None }
    }

    pub(super) fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_none()
    }

    /// Waits for the end, which closes the log's pipe.
    pub(super) fn wait(&mut self) -> ExitStatus {
        assert!(self.log.wait_for_end(), "the broker does not end");
        self.reap()
    }

    pub(super) fn kill(&mut self) {
        if valgrind_reports().is_some() && self.is_running() {
            // What was never freed is reported at an orderly end only.
            let pid = i32::try_from(self.child.id()).unwrap();
            // SAFETY: kill takes plain integers; the child was not reaped, so the pid is its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            self.log.wait_for_end();
        }
        let _ = self.child.kill();
        self.reap();
    }

    fn reap(&mut self) -> ExitStatus {
        let status = *self.ended.get_or_insert_with(|| self.child.wait().unwrap());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The broker's program, under Valgrind if `SUITE_VALGRIND` names a folder for its reports.
fn program(version: Version) -> Command {
    let Some(reports) = valgrind_reports() else { return Command::new(version.bin("mosquitto")) };
    let root = version.bin("..").join("root");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    // It has to know the C library's symbols: 2.1.2 comes with that of a newer Debian, and needs the
    // Valgrind of that.
    let own = version.is_2_1().then(|| version.bin("../../valgrind/root/usr"));
    let mut command = match &own {
        Some(usr) => Command::new(usr.join("bin/valgrind.bin")),
        None => Command::new("valgrind"),
    };
    command
        .args(["--tool=memcheck", "--leak-check=full", "--show-leak-kinds=definite"])
        .args(["--keep-debuginfo=yes", "--num-callers=40", "--quiet"])
        // Or the broker's thread may keep the workers from ever running.
        .args(["--fair-sched=try"])
        .arg(format!("--suppressions={}", repository("mosquitto-test/valgrind.supp").display()))
        .arg(format!("--log-file={}/{}-%p", reports.display(), version.name()));
    if let Some(usr) = own {
        command.env("VALGRIND_LIB", usr.join("libexec/valgrind"));
        command.arg(libraries.join("ld-linux-x86-64.so.2")).arg("--library-path").arg(&libraries);
    } else {
        // The C library is this machine's own.
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.arg(root.join("usr/sbin/mosquitto"));
    command
}

/// Writes the configuration and starts the program, on other ports if somebody took the first choice;
/// returns when the broker runs or has given up.
pub(super) fn launch(config: &BrokerConfig) -> (Vec<u16>, Process) {
    const PORT_TAKEN: [&str; 2] =
        ["Error: Address already in use", "Unable to create websockets listener"];
    for _ in 0..5 {
        let ports = free_ports(config.listener_count());
        config.file("mosquitto.conf", config.render(&ports));
        let process = Process::spawn(config);
        match process.log.wait_for_any(&[RUNNING, PORT_TAKEN[0], PORT_TAKEN[1]]) {
            None | Some(RUNNING) => return (ports, process),
            Some(_) => {}
        }
    }
    panic!("every port tried was taken by somebody else");
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
