//! What does the plugin cost a broker that has nothing to do?

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use mosquitto_test::broker::{Broker, Version};

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::clock;
use crate::crowd::{Crowd, Pace};
use crate::link::Who;
use crate::report::{Section, Table};
use crate::setup::{self, Mode};

/// A broker with a few idle clients.
struct Idle {
    version: Version,
    mode: Mode,
    broker: Broker,
    _api: Api,
    _clients: Crowd,
}

/// What the kernel has counted of a process.
#[derive(Clone, Copy)]
struct Usage {
    /// Of the broker's own thread.
    main_wakeups: u64,
    /// Of all its threads.
    wakeups: u64,
    cpu_ns: u64,
    /// `utime` and `stime`, in clock ticks.
    ticks: u64,
    threads: usize,
}

pub fn run(args: &Args) -> Section {
    let time = args.idle_time();
    let mut section = Section::new("A broker with nothing to do", Scenario::Idle, args);
    section.text(format!(
        "Brokers with and without the plugin run at the same time for {} s; 40 clients have logged \
         in (so the plugin's threads run) and do nothing. Wake-ups are voluntary context switches; \
         CPU time is the kernel's account of all threads; `utime` + `stime` is its coarser \
         account.",
        time.as_secs()
    ));
    let mut table = Table::new(
        "broker | mode | threads | wake-ups/s, broker's thread | \
         wake-ups/s, all threads | CPU ms per minute | utime + stime",
    );
    let start = |version: &Version| [Mode::None, Mode::Ours].map(|mode| idle(*version, mode));
    let brokers: Vec<Idle> = args.versions.iter().flat_map(start).collect();
    thread::sleep(Duration::from_secs(args.size(5, 1)));
    let usages = || brokers.iter().map(|idle| usage(idle.broker.pid())).collect::<Vec<_>>();
    let before = usages();
    clock::say(&format!("watching {} brokers for {} s", brokers.len(), time.as_secs()));
    thread::sleep(time);
    for ((idle, before), after) in brokers.iter().zip(before).zip(usages()) {
        table.row(row(idle, before, after, time.as_secs_f64()));
    }
    section.table(table);
    section
}

fn idle(version: Version, mode: Mode) -> Idle {
    let api = Api::start(Duration::from_millis(50));
    let broker = setup::broker(version, mode, &api, &[]);
    let clients = (0..40).map(|number| Who::right(format!("idle-{number}"))).collect();
    let clients = Crowd::log_in(broker.port(), clients, Pace::Rush);
    Idle { version, mode, broker, _api: api, _clients: clients }
}

fn row(idle: &Idle, before: Usage, after: Usage, seconds: f64) -> [String; 7] {
    let per_second = |count: u64| format!("{:.1}", count as f64 / seconds);
    let cpu_ms = (after.cpu_ns - before.cpu_ns) as f64 / 1e6;
    [
        idle.version.name().to_owned(),
        idle.mode.name().to_owned(),
        after.threads.to_string(),
        per_second(after.main_wakeups - before.main_wakeups),
        per_second(after.wakeups - before.wakeups),
        format!("{:.1}", cpu_ms / seconds * 60.0),
        format!("{} ticks", after.ticks - before.ticks),
    ]
}

/// How often in a second any thread of each of these brokers wakes up, of those that are there all the time.
pub fn wakeups(brokers: &[Broker], time: Duration) -> Vec<f64> {
    let before: Vec<_> = brokers.iter().map(|broker| of_threads(broker.pid())).collect();
    thread::sleep(time);
    let grown = |(broker, before): (&Broker, HashMap<PathBuf, u64>)| {
        let after = of_threads(broker.pid()).into_iter();
        let since =
            after.filter_map(|(thread, count)| Some(count.saturating_sub(*before.get(&thread)?)));
        since.sum::<u64>() as f64 / time.as_secs_f64()
    };
    brokers.iter().zip(before).map(grown).collect()
}

/// How often each thread has waited so far.
fn of_threads(pid: u32) -> HashMap<PathBuf, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the broker runs");
    let count = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        (task, waits(&status))
    };
    tasks.map(|task| count(task.unwrap().path())).collect()
}

/// The voluntary context switches in a thread's status.
fn waits(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn usage(pid: u32) -> Usage {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the broker runs");
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let first = |text: String| -> u64 {
        text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let of_task =
        |task: &std::path::PathBuf, file: &str| read(format!("{}/{file}", task.display()));
    let stat = read(format!("/proc/{pid}/stat"));
    // The program's name, in brackets, may hold blanks; utime and stime are fields 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Usage {
        main_wakeups: waits(&read(format!("/proc/{pid}/status"))),
        wakeups: tasks.iter().map(|task| waits(&of_task(task, "status"))).sum(),
        cpu_ns: tasks.iter().map(|task| first(of_task(task, "schedstat"))).sum(),
        ticks: fields.filter_map(|field| field.parse::<u64>().ok()).sum(),
        threads: tasks.len(),
    }
}
