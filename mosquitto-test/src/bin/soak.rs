//! Has a broker with the plugin under mixed traffic and judges every decision; see
//! `mosquitto_test::soak`. `SOAK_SECONDS`, `SOAK_CLIENTS`, `SOAK_RATE` and `SOAK_BROKER` say how much
//! of it. With `SOAK_FLEET=1` there are three brokers with a Redis that fails, and clients that move.
#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use mosquitto_test::broker::Version;
use mosquitto_test::soak::{Plan, fleet, run};

fn main() -> ExitCode {
    let name = env::var("SOAK_BROKER").unwrap_or_else(|_| "2.1.2".to_owned());
    let Some(version) = Version::ALL.into_iter().find(|version| version.name() == name) else {
        eprintln!("soak: SOAK_BROKER is {name:?}; it may be 2.0.11, 2.0.21 or 2.1.2");
        return ExitCode::FAILURE;
    };
    if env::var("SOAK_FLEET").is_ok_and(|value| value == "1") {
        return run_fleet(version);
    }
    let plan = match (
        number("SOAK_SECONDS", 60),
        number("SOAK_CLIENTS", 5000),
        number("SOAK_RATE", 300.0),
    ) {
        (Ok(seconds), Ok(clients), Ok(rate)) => {
            Plan { version, time: Duration::from_secs(seconds), clients, rate }
        }
        (seconds, clients, rate) => {
            let faults = [seconds.err(), clients.err(), rate.err()];
            faults.into_iter().flatten().for_each(|fault| eprintln!("soak: {fault}"));
            return ExitCode::FAILURE;
        }
    };
    let report = run(plan);
    println!("{report}");
    end(report.verdict())
}

fn run_fleet(version: Version) -> ExitCode {
    let plan = match (number("SOAK_SECONDS", 60), number("SOAK_CLIENTS", 100)) {
        (Ok(seconds), Ok(clients)) if clients >= 10 => {
            fleet::Plan { version, time: Duration::from_secs(seconds), clients }
        }
        (Ok(_), Ok(clients)) => return end(Err(format!("SOAK_CLIENTS is {clients}; at least 10"))),
        (seconds, clients) => {
            let faults: Vec<_> = [seconds.err(), clients.err()].into_iter().flatten().collect();
            return end(Err(faults.join("\n")));
        }
    };
    let report = fleet::run(plan);
    println!("{report}");
    end(report.verdict())
}

fn end(verdict: Result<(), String>) -> ExitCode {
    match verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::FAILURE
        }
    }
}

fn number<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    let Ok(text) = env::var(name) else { return Ok(default) };
    text.parse().map_err(|_| format!("{name} is {text:?}; it has to be a number"))
}
