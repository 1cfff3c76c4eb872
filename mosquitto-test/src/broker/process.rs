//! The broker's process: started, followed, ended.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::{BrokerConfig, RUNNING, Version};
use crate::log::Log;
use crate::program::{free_ports, repository};
use crate::watch::valgrind_reports;

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
