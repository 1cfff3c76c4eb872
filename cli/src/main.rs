//! The command `mosquitto-http-auth`: checks a configuration of the plugin, and asks the API as the
//! plugin does.

#![forbid(unsafe_code)]

#[macro_use]
mod exit;

mod args;
mod as_user;
mod ask;
mod bench;
mod block;
mod check;
mod client;
mod conf;
mod elf;
mod exchange;
mod explain;
mod fleet;
mod generate;
mod healthcheck;
mod library;
mod lints;
mod mask;
mod paint;
mod password;
mod problem;
mod reader;
mod report;
mod tls;
mod verdict;
mod wire_recorder;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command};
use problem::Problem;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(match run(&arguments.command) {
        Ok(status) => status,
        Err(Problem::Unheard) => exit::USAGE,
        Err(Problem::Text(problem)) => {
            // There is nobody left to tell if this cannot be written.
            let _ = writeln!(anstream::stderr(), "mosquitto-http-auth: {problem}");
            exit::USAGE
        }
    })
}

fn run(command: &Command) -> Result<u8, Problem> {
    let out = &mut anstream::stdout().lock();
    match command {
        Command::Check(args) => check::run(args, out),
        Command::Explain(args) => explain::run(args, out),
        Command::Login(args) => ask::login(args, out),
        Command::Access(args) => ask::access(args, out),
        Command::Bench(args) => bench::run(args, out),
        Command::Healthcheck(args) => healthcheck::run(args, out),
        Command::Fleet(command) => fleet::run(command, out),
        Command::Generate(what) => {
            generate::run(what)?;
            Ok(exit::YES)
        }
    }
}
