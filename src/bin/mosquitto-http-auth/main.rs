//! The command `mosquitto-http-auth`: checks a configuration of the plugin, and asks the API as the
//! plugin does.

#![forbid(unsafe_code)]

#[macro_use]
mod exit;

mod args;
mod generate;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(match run(&arguments.command) {
        Ok(status) => status,
        Err(problem) => {
            anstream::eprintln!("mosquitto-http-auth: {problem}");
            exit::USAGE
        }
    })
}

fn run(command: &Command) -> Result<u8, String> {
    match command {
        Command::Generate(what) => generate::run(what).map(|()| exit::YES),
        _ => Err("not yet".to_owned()),
    }
}
