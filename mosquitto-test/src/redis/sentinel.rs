//! A master, a replica, and Sentinels that put the one in the place of the other.

use std::fs;

use tempfile::TempDir;

use super::{Engine, Redis, ask, try_ask, until};
use crate::program::{Program, free_port};

/// The master's name.
pub const MASTER: &str = "the-master";

/// How long the master is silent until a Sentinel takes it for dead, in milliseconds.
const DOWN_AFTER: u32 = 1000;

/// Three Sentinels, of which two decide.
pub struct Sentinels {
    engine: Engine,
    pub master: Redis,
    pub replica: Redis,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    _dir: TempDir,
    _program: Program,
}

impl Sentinels {
    /// Starts all of them, and waits until they know of each other.
    pub fn start(engine: Engine) -> Sentinels {
        let master = Redis::start_with(engine, &["--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let replica = Redis::start_with(engine, &["--replicaof", &format!("127.0.0.1 {port}")]);
        until("the replica is in step", || {
            replica.ask(&["INFO", "replication"]).iter().any(|line| line == "master_link_status:up")
        });
        let sentinels = (0..3).map(|_| Sentinel::start(engine, master.port(), &[], None)).collect();
        let all = Sentinels { engine, master, replica, sentinels };
        for number in 0..3 {
            until("the Sentinels know of all", || {
                let known = all.ask(number, &["SENTINEL", "MASTER", MASTER]);
                let says = |name: &str, value: &str| {
                    known.iter().zip(known.iter().skip(1)).any(|(n, v)| n == name && v == value)
                };
                says("num-slaves", "1")
                    && says("num-other-sentinels", "2")
                    && says("flags", "master")
            });
        }
        all
    }

    /// Where they are, as `fleet_redis` wants it.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect()
    }

    fn ask(&self, number: usize, command: &[&str]) -> Vec<String> {
        ask(self.engine, self.sentinels[number].port, command)
    }

    /// Waits until the replica is the master.
    pub fn wait_for_failover(&self) {
        // Whoever becomes the master ends its connections.
        let role = || try_ask(self.replica.engine, self.replica.port, &["ROLE"]);
        until("the replica takes over", || {
            role().is_ok_and(|role| role.first().is_some_and(|role| role == "master"))
        });
    }

    /// The master wants a password from now on, which no Sentinel has: whoever is connected already stays, but
    /// for the Sentinels, to whom it is as good as gone.
    pub fn lock_out_of_the_master(&self) {
        let clients = self.master.ask(&["CLIENT", "LIST"]);
        let number = |line: &String| Some(line.strip_prefix("id=")?.split(' ').next()?.to_owned());
        let sentinels: Vec<_> = clients
            .iter()
            .filter(|line| line.contains("name=sentinel-"))
            .filter_map(number)
            .collect();
        assert!(!sentinels.is_empty(), "{clients:?}");
        let password = "nobody-has-it";
        assert_eq!(self.master.ask(&["CONFIG", "SET", "requirepass", password]), ["OK"]);
        for id in sentinels {
            self.master.ask(&["-a", password, "CLIENT", "KILL", "ID", &id]);
        }
    }

    /// Lets the replica get no more of what is written to the master, of which it stays the replica.
    pub fn part(&self) {
        // The master has no password, and so takes none.
        self.replica.ask(&["CONFIG", "SET", "masterauth", "none-is-wanted"]);
        self.master.ask(&["CLIENT", "KILL", "TYPE", "replica"]);
        until("the replica is alone", || {
            self.replica
                .ask(&["INFO", "replication"])
                .iter()
                .any(|line| line == "master_link_status:down")
        });
    }
}

impl Sentinel {
    fn start(engine: Engine, master: u16, more: &[String], tls_port: Option<u16>) -> Sentinel {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let file = dir.path().join("sentinel.conf");
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("dir {}", dir.path().display()),
            format!("sentinel monitor {MASTER} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {MASTER} {DOWN_AFTER}"),
            // Half of how long they wait until they try again to agree.
            format!("sentinel failover-timeout {MASTER} 2000"),
        ];
        lines.extend(tls_port.map(|port| format!("tls-port {port}")));
        lines.extend_from_slice(more);
        fs::write(&file, lines.join("\n")).unwrap();
        let mut command = engine.program("server");
        command.arg(&file).arg("--sentinel");
        let program = Program::start(command, port, "+monitor master");
        Sentinel { port, _dir: dir, _program: program }
    }
}

/// A Sentinel that is reached by TLS, and asks whoever comes for a password.
pub struct TlsSentinel {
    _sentinel: Sentinel,
    port: u16,
}

impl TlsSentinel {
    /// `settings`: lines about TLS, for its configuration.
    pub fn start(engine: Engine, master: u16, password: &str, settings: &[String]) -> TlsSentinel {
        let port = free_port();
        let mut lines = settings.to_vec();
        lines.extend(["tls-replication yes".to_owned(), format!("requirepass {password}")]);
        TlsSentinel { _sentinel: Sentinel::start(engine, master, &lines, Some(port)), port }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
