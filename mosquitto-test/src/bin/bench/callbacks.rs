//! What does a call from the broker cost? The measuring is in `benches/callbacks`.

use std::path::Path;
use std::process::Command;

use crate::args::{Args, Scenario};
use crate::clock;
use crate::program;
use crate::report::{Section, Table};

/// The cases that `benches/callbacks` knows by name.
const CASES: [&str; 3] = ["cached-access", "rules", "cached-login"];

pub fn run(args: &Args) -> Section {
    let mut section = Section::new("A call from the broker", Scenario::Callbacks, args);
    section.text(
        "The benchmark calls the plugin's own callbacks with events as Mosquitto lays them out, \
         with 1, 1,000 and 10,000 clients in turn. It measures time and allocations of memory (it \
         lists none where there was none). *rules*: ten of them.",
    );
    let given: &[&str] = args.size(&[], &["--sample-count", "1", "--sample-size", "100"]);
    let measured = program::bench("callbacks", given);
    section.text(format!("```text\n{}\n```", measured.trim_end()));
    section.text("`cargo bench --bench callbacks`");
    if !args.quick {
        section.text(
            "The slowest calls, with 10,000 sessions and a full cache, while one call in a hundred \
             asks a new question, so that the cache evicts answers: the time that the calling \
             thread spends, about 0.3 µs of it on reading its clock.",
        );
        section.text(program::bench("callbacks", &["tail"]).trim_end());
        section.text("`cargo bench --bench callbacks -- tail`");
        section.text(
            "What a stranger costs the others: 10,000 clients make one call after another, alone and \
             while somebody is denied something new 100 times a second. What the calling thread \
             spends on a call: the mean of a second, and of nine such the median.",
        );
        section.text(program::bench("callbacks", &["strangers"]).trim_end());
        section.text("`cargo bench --bench callbacks -- strangers`");
    }
    section.text(
        "Instructions are the same on every run: callgrind counts those of a number of calls and \
         of twice as many, with 100 clients in turn. The table has the difference, by call. Of a \
         login's, 32,768 are the wiping of 32 KiB of stack after it: one instruction, which \
         callgrind counts for each byte.",
    );
    let mut table = Table::new("call | instructions");
    let calls = args.size(20_000, 200);
    let bench = program::bench_program("callbacks");
    for case in CASES {
        clock::say(&format!("counting the instructions of {case}"));
        let [once, twice] = [1, 2].map(|times| instructions(&bench, case, calls * times));
        table.row([case.to_owned(), format!("{:.0}", (twice - once) / calls as f64)]);
    }
    section.table(table);
    section
}

/// All that a run with so many calls executes.
fn instructions(bench: &Path, case: &str, calls: usize) -> f64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(bench).args([case, &calls.to_string()]);
    let said = String::from_utf8(program::run(valgrind).stderr).expect("valgrind prints text");
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line.and_then(|(_, count)| count.trim().parse().ok()).expect("callgrind has counted")
}
