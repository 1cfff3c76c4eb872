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
mod chart;
mod clock;
mod crowd;
mod fan_out;
mod idle;
mod link;
mod machine;
mod outage;
mod prober;
mod report;
mod rules;
mod setup;
mod sighup;
mod stall;
mod stats;
mod storm;
mod traffic;
mod watched;

use std::process::ExitCode;

use args::{Args, Scenario};
use report::{Report, Section};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("bench: {message}");
            return ExitCode::FAILURE;
        }
    };
    machine::raise_file_limit();
    clock::now();
    let mut report = Report::new(&args.out, machine::describe());
    for scenario in &args.scenarios {
        println!("\n== {} ==", scenario.name());
        let section = run(*scenario, &args);
        section.print();
        // After each, so that a later one that fails takes nothing with it.
        report.add(section);
    }
    println!("\nreport: {}", report.path().display());
    ExitCode::SUCCESS
}

fn run(scenario: Scenario, args: &Args) -> Section {
    match scenario {
        Scenario::Stall => stall::run(args),
        Scenario::Storm => storm::run(args),
        Scenario::FanOut => fan_out::run(args),
        Scenario::Outage => outage::run(args),
        Scenario::Idle => idle::run(args),
        Scenario::Sighup => sighup::run(args),
        Scenario::Rules => rules::run(args),
        Scenario::Watched => watched::run(args),
    }
}
