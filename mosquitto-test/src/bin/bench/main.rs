//! Measures what the plugin costs a broker: real brokers, an API that takes its time, thousands of
//! clients.
//!
//! Every scenario runs its modes in one go on one machine, because only their ratios mean anything
//! elsewhere. It prints as it goes, and writes a report with charts into a folder.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, and it has real time and real threads"
)]

mod api;
mod args;
mod audience;
mod callbacks;
mod chart;
mod clock;
mod cold;
mod compare;
mod crowd;
mod fan_out;
mod fleet;
mod growth;
mod idle;
mod lineup;
mod link;
mod load;
mod logins;
mod machine;
mod memory;
mod outage;
mod prober;
mod program;
mod report;
mod rules;
mod setup;
mod sighup;
mod stall;
mod start;
mod stats;
mod storm;
mod throughput;
mod traffic;
mod watched;
mod workers;

use std::process::ExitCode;

use args::{Args, Scenario};
use report::{Report, Section};

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [word, port, clients] = &given[..] {
        if word == lineup::LOAD {
            machine::raise_file_limit();
            load::serve(port.parse().unwrap(), clients.parse().unwrap());
            return ExitCode::SUCCESS;
        }
    }
    let args = match Args::parse(given.into_iter()) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("bench: {message}");
            return ExitCode::FAILURE;
        }
    };
    machine::raise_file_limit();
    clock::now();
    program::build_plugin();
    let mut report = Report::open(&args.out);
    for scenario in &args.scenarios {
        clock::say(&format!("== {} ==", scenario.name()));
        let section = run(*scenario, &args);
        section.print();
        // After each, so that a later one that fails takes nothing with it.
        report.put(&section);
    }
    println!("\nreport: {}", report.path().display());
    ExitCode::SUCCESS
}

fn run(scenario: Scenario, args: &Args) -> Section {
    match scenario {
        Scenario::Throughput => throughput::run(args),
        Scenario::Growth => growth::run(args),
        Scenario::Logins => logins::run(args),
        Scenario::Callbacks => callbacks::run(args),
        Scenario::Rules => rules::run(args),
        Scenario::Cold => cold::run(args),
        Scenario::Memory => memory::run(args),
        Scenario::Start => start::run(args),
        Scenario::Stall => stall::run(args),
        Scenario::Storm => storm::run(args),
        Scenario::FanOut => fan_out::run(args),
        Scenario::Outage => outage::run(args),
        Scenario::Idle => idle::run(args),
        Scenario::Sighup => sighup::run(args),
        Scenario::Fleet => fleet::run(args),
        Scenario::Watched => watched::run(args),
        Scenario::Compare => compare::run(args),
    }
}
