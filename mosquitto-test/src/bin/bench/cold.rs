//! How many questions do the workers put to an API that answers at once? nginx is that API, and
//! `wrk` the measure: it does nothing but send requests. The asking is in `benches/cold.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mosquitto_test::api::AuthServer;
use mosquitto_test::nginx;
use mosquitto_test::program::{Program, free_port};
use tempfile::TempDir;

use crate::args::{Args, Scenario};
use crate::clock;
use crate::machine;
use crate::program;
use crate::report::{Section, Table, goal};
use crate::stats::median;

/// The default of `http_connections`.
const CONNECTIONS: usize = 32;

/// How much of wrk's throughput is wanted, on each core.
const GOAL: f64 = 0.5;

/// What one run came to.
struct Outcome {
    per_second: f64,
    /// Requests for each second of the client's processor time.
    per_core: f64,
}

pub fn run(args: &Args) -> Section {
    let (rounds, seconds) = args.size((7, 3), (1, 1));
    let mut section = Section::new("Questions in a second", Scenario::Cold, args);
    section.text(format!(
        "The plugin's workers ask an API that answers at once (nginx with `return 200` and one \
         process) about distinct logins, none of them cached; `wrk` (one thread) sends the same \
         requests over the same {CONNECTIONS} connections. They take turns of {seconds} s, \
         {rounds} times; medians. *per core*: requests for each second of processor time that the \
         client takes; for the plugin this includes all of its threads, also the one that asks. On \
         this machine client and nginx share the cores."
    ));
    let nginx = Nginx::start();
    let port = nginx.program.port();
    let bench = program::bench_program("cold");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let script = script(nginx.folder.path(), &bench);
    for round in 1..=rounds {
        ours.push(ask(&bench, port, seconds));
        theirs.push(wrk(&script, port, seconds));
        let last = |outcomes: &[Outcome]| outcomes[outcomes.len() - 1].per_second;
        clock::say(&format!(
            "round {round}: {:.0} questions/s, wrk {:.0} requests/s",
            last(&ours),
            last(&theirs)
        ));
    }
    let mut table = Table::new("client | per second | × wrk | per core | × wrk | goal");
    let wall = |outcomes: &[Outcome]| median(outcomes.iter().map(|one| one.per_second));
    let core = |outcomes: &[Outcome]| median(outcomes.iter().map(|one| one.per_core));
    for (name, outcomes) in [("wrk", &theirs), ("plugin", &ours)] {
        let share = core(outcomes) / core(&theirs);
        table.row([
            name.to_owned(),
            format!("{:.0}", wall(outcomes)),
            format!("{:.2}", wall(outcomes) / wall(&theirs)),
            format!("{:.0}", core(outcomes)),
            format!("{share:.2}"),
            if name == "plugin" {
                goal(share >= GOAL, "≥ 0.5 × wrk per core")
            } else {
                "".into()
            },
        ]);
    }
    section.table(table);
    section
}

fn ask(bench: &Path, port: u16, seconds: u64) -> Outcome {
    let mut command = Command::new(bench);
    command.args([port.to_string(), CONNECTIONS.to_string(), seconds.to_string()]);
    let text = String::from_utf8(program::run(command).stdout).expect("numbers are text");
    let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let [questions, took, workers, asker] = numbers[..] else { panic!("four numbers: {text}") };
    Outcome { per_second: questions / took, per_core: questions / (workers + asker) }
}

fn wrk(script: &Path, port: u16, seconds: u64) -> Outcome {
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{seconds}s"), "--script"]).arg(script);
    command.arg(format!("http://127.0.0.1:{port}/user"));
    let ran = machine::children_ran();
    let text = String::from_utf8(program::run(command).stdout).expect("wrk prints text");
    let cpu = machine::children_ran() - ran;
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "wrk failed:\n{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = line.and_then(|rate| rate.trim().parse::<f64>().ok()).expect("wrk counts");
    Outcome { per_second: rate, per_core: rate * seconds as f64 / cpu.as_secs_f64() }
}

/// Has wrk send what the plugin sends.
fn script(folder: &Path, bench: &Path) -> PathBuf {
    let api = AuthServer::start();
    let mut command = Command::new(bench);
    command.args([api.port().to_string(), "1".to_owned(), "1".to_owned()]);
    program::run(command);
    let requests = api.requests();
    let request = requests.first().expect("the plugin asks");
    let mut lua = format!("wrk.method = {:?}\nwrk.body = {:?}\n", request.method, request.text());
    for (name, value) in &request.headers {
        // These two wrk writes itself.
        if !["host", "content-length"].contains(&name.to_ascii_lowercase().as_str()) {
            lua += &format!("wrk.headers[{name:?}] = {value:?}\n");
        }
    }
    let path = folder.join("request.lua");
    fs::write(&path, lua).expect("the script can be written");
    path
}

/// An API that is as fast as one can be.
struct Nginx {
    program: Program,
    folder: TempDir,
}

impl Nginx {
    fn start() -> Nginx {
        let folder = tempfile::tempdir().expect("there is room for a file");
        let port = free_port();
        let path = folder.path().join("nginx.conf");
        let here = folder.path().display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders = kinds.map(|kind| format!("{kind}_temp_path {here}/{kind};\n"));
        let config = format!(
            "daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\naccess_log off;\nkeepalive_requests 1000000000;\n{}\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }}\n}}\n",
            folders.concat()
        );
        fs::write(&path, config).expect("the configuration can be written");
        let mut command = Command::new(nginx::binary());
        command.arg("-c").arg(&path).args(["-e", "stderr", "-p"]).arg(folder.path());
        Nginx { program: Program::start(command, port, "start worker process "), folder }
    }
}
