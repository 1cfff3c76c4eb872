//! What the plugin does to the broker's process: threads that leave its signals alone, and
//! descriptors that no other program inherits.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;

use mosquitto_test::prelude::*;

use crate::metrics::Metrics;
use crate::support::{broker_with, eventually, log_in};

/// `O_CLOEXEC` as `/proc/PID/fdinfo` shows it (proc(5)).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// Signals that a thread can block: all of 64 but SIGKILL, SIGSTOP, and the two that glibc keeps
/// for itself.
const ALL_SIGNALS: u64 = !(1 << (9 - 1) | 1 << (19 - 1) | 1 << (32 - 1) | 1 << (33 - 1));

/// What stands in the line that begins so.
fn value<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(begin)).map(str::trim)
}

/// The names of the broker's threads, and the signals that each blocks.
fn threads(broker: &Broker) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid())).unwrap();
    let task = |entry: std::io::Result<fs::DirEntry>| {
        // One that has ended since the folder was read is none of its threads.
        let status = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        let blocked = u64::from_str_radix(value(&status, "SigBlk:")?, 16).unwrap();
        Some((value(&status, "Name:")?.to_owned(), blocked))
    };
    tasks.filter_map(task).collect()
}

/// Those with a name of ours, once that is every thread but as many as there were before: a thread
/// gives itself its name, a moment after it has started.
fn ours_beside(broker: &Broker, before: usize) -> Vec<(String, u64)> {
    let mut ours = Vec::new();
    eventually("every thread has its name", || {
        let all = threads(broker);
        let count = all.len();
        ours = all.into_iter().filter(|(name, _)| name.starts_with("http-auth-")).collect();
        ours.len() == count - before
    });
    ours
}

/// The broker's descriptors: number, and what each is open on.
fn descriptors(broker: &Broker) -> BTreeSet<(u32, String)> {
    let folder = fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap();
    let descriptor = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // One that the broker closed since the folder was read is none of its descriptors.
        let what = fs::read_link(path).ok()?;
        Some((number, what.to_string_lossy().into_owned()))
    };
    folder.filter_map(descriptor).collect()
}

fn is_closed_on_exec(broker: &Broker, number: u32) -> bool {
    let path = format!("/proc/{}/fdinfo/{number}", broker.pid());
    let info = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let flags = value(&info, "flags:").unwrap_or_else(|| panic!("{path} has no flags"));
    u32::from_str_radix(flags, 8).unwrap() & CLOSE_ON_EXEC != 0
}

/// The sockets, as `/proc/PID/fd` names them, that have this port of this machine.
fn bound_to(broker: &Broker, port: u16) -> BTreeSet<String> {
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", broker.pid())).unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| row[1] == format!("0100007F:{port:04X}"));
    own.map(|row| format!("socket:[{}]", row[9])).collect()
}

/// The sockets, as `/proc/PID/fd` names them, that are connected to this port of this machine.
///
/// The table is the machine's. Connections that are over wait in it for a minute (`TIME_WAIT`), and
/// one of them may have had this port before the API did, so only established ones count.
fn connected_to(broker: &Broker, port: u16) -> BTreeSet<String> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", broker.pid())).unwrap();
    let peer = format!("0100007F:{port:04X}");
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let connected = rows.filter(|row| row[2] == peer && row[3] == ESTABLISHED);
    connected.map(|row| format!("socket:[{}]", row[9])).collect()
}

on_every_broker! {
    fn its_threads_have_names_and_take_no_signals(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        let before = broker.threads();
        for number in 0..5 {
            log_in(&broker, Protocol::V5, &format!("user-{number}")).expect_accepted();
        }
        let ours = ours_beside(&broker, before);
        assert!(ours.iter().any(|(name, _)| name == "http-auth-1"), "{ours:?}");
        assert_eq!(ours.iter().any(|(name, _)| name == "http-auth-waker"), version.is_2_1());
        for (name, blocked) in ours {
            assert_eq!(blocked & ALL_SIGNALS, ALL_SIGNALS, "{name} blocks {blocked:x}");
        }
    }

    fn its_threads_end_when_there_is_nothing_to_do_and_start_again(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[("cache_ttl", "0")]);
        let before = broker.threads();
        for _ in 0..2 {
            let client = log_in(&broker, Protocol::V5, "ann").expect_accepted();
            assert!(broker.threads() > before, "{:?}", threads(&broker));
            broker.wait_for_threads(before);
            drop(client);
        }
    }

    fn no_program_that_the_broker_starts_inherits_a_descriptor(version) {
        let api = AuthServer::start();
        let broker = broker_with(version, &api, &[]);
        let before = descriptors(&broker);
        let client = log_in(&broker, Protocol::V5, "ann").expect_accepted();
        let to_the_api = connected_to(&broker, api.port());
        assert_eq!(to_the_api.len(), 1);
        // Of sockets, those of clients are the broker's own.
        let ours: Vec<_> = descriptors(&broker)
            .difference(&before)
            .filter(|(_, what)| !what.starts_with("socket:") || to_the_api.contains(what))
            .cloned()
            .collect();
        assert!(!ours.is_empty());
        for (number, what) in ours {
            assert!(is_closed_on_exec(&broker, number), "{what} would be inherited");
        }
        drop(client);
    }

    fn what_serves_the_metrics_takes_no_signals_and_is_not_inherited(version) {
        let (api, metrics) = (AuthServer::start(), Metrics { port: program::free_port() });
        let without = broker_with(version, &api, &[]);
        let listen = metrics.address();
        let broker = broker_with(version, &api, &[("metrics_listen", &listen)]);
        // A thread gives itself its name once it runs, after the broker listens.
        let mut blocked = 0;
        eventually("the metrics have a thread of their own", || {
            let meter = threads(&broker).into_iter().find(|(name, _)| name == "http-auth-meter");
            meter.inspect(|(_, signals)| blocked = *signals).is_some()
        });
        assert_eq!(blocked & ALL_SIGNALS, ALL_SIGNALS, "it blocks {blocked:x}");
        let _reader = TcpStream::connect(&listen).unwrap();
        // Another's answer: the one that came first was taken in before.
        assert!(metrics.answer_to("GET /metrics HTTP/1.1\r\n\r\n").contains(" 200 OK\r\n"));
        let sockets = bound_to(&broker, metrics.port);
        let ours: Vec<_> =
            descriptors(&broker).into_iter().filter(|(_, what)| sockets.contains(what)).collect();
        assert!(ours.len() >= 2, "a listener, and a reader: {ours:?}");
        assert!(ours.iter().all(|(number, _)| is_closed_on_exec(&broker, *number)), "{ours:?}");
        // The poll and what wakes it have no names; the broker has such as well.
        let inherited = |broker: &Broker| {
            let nameless = descriptors(broker).into_iter().filter(|(_, w)| w.starts_with("anon_inode"));
            nameless.filter(|(number, _)| !is_closed_on_exec(broker, *number)).count()
        };
        assert_eq!(inherited(&broker), inherited(&without));
    }

    fn ending_with_many_questions_under_way_leaves_nothing_behind(version) {
        let gate = Gate::new();
        let held = gate.clone();
        let api = AuthServer::answering(move |_| Reply::status(200).after(&held));
        let more = [("http_user_route", "/user"), ("http_timeout_ms", "3000")];
        let mut broker = Broker::config(version).plugin(api.options(more)).start();
        let attempts: Vec<_> = (0..20)
            .map(|number| {
                let name = format!("user-{number}");
                broker.client(&name).credentials(&name, "x").start_connecting()
            })
            .collect();
        // Mosquitto 2.0 can ask one question at a time only.
        gate.wait_until_waiting(if version.is_2_1() { 20 } else { 1 });
        assert!(broker.stop().success());
        gate.open();
        for attempt in attempts {
            assert!(!attempt.outcome().is_accepted());
        }
        api.wait_for_open_connections(0);
    }
}
