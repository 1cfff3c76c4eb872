//! Serves the example API, and prints each request as one line.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use mosquitto_test::example_api::{ExampleApi, Served};

const USAGE: &str = "usage: example-api [--listen 127.0.0.1:8080] [--users FILE]";

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("example-api: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let mut listen = "127.0.0.1:8080".to_owned();
    let mut users = None;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value; {USAGE}"));
        match arg.as_str() {
            "--listen" => listen = value()?,
            "--users" => users = Some(value()?),
            "--help" | "-h" => {
                print(USAGE);
                return Ok(());
            }
            _ => return Err(format!("{arg:?} is unknown; {USAGE}")),
        }
    }
    let api = match users {
        Some(file) => ExampleApi::load(file)?,
        None => ExampleApi::built_in()?,
    };
    let names = api.users().collect::<Vec<_>>().join(", ");
    let running = api.serve(&listen, |served| print(&line(served)))?;
    print(&format!("http://{} answers /user, /superuser and /acl for {names}", running.addr()));
    running.wait();
    Ok(())
}

fn line(Served { path, body, status, reason }: &Served) -> String {
    format!("{status} {path} {body}  {reason}")
}

/// Goes on serving where nobody reads the lines any more.
fn print(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
