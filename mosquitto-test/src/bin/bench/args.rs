//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use mosquitto_test::broker::Version;
use mosquitto_test::program::repository;

use crate::program;

const USAGE: &str = "usage: bench [throughput|growth|logins|callbacks|rules|cold|memory|start|stall|\
                     storm|fan-out|outage|idle|sighup|fleet|watched|compare|all]... [--broker VERSION]... \
                     [--quick] [--seconds N] [--api-ms N] [--metrics ADDRESS:PORT] \
                     [--before LIBRARY] [--out DIR]";

/// In the order in which the report has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    Throughput,
    Growth,
    Logins,
    Callbacks,
    Rules,
    Cold,
    Memory,
    Start,
    Stall,
    Storm,
    FanOut,
    Outage,
    Idle,
    Sighup,
    Fleet,
    Watched,
    Compare,
}

impl Scenario {
    /// Those that measure something.
    pub const ALL: [Scenario; 15] = [
        Scenario::Throughput,
        Scenario::Growth,
        Scenario::Logins,
        Scenario::Callbacks,
        Scenario::Rules,
        Scenario::Cold,
        Scenario::Memory,
        Scenario::Start,
        Scenario::Stall,
        Scenario::Storm,
        Scenario::FanOut,
        Scenario::Outage,
        Scenario::Idle,
        Scenario::Sighup,
        Scenario::Fleet,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scenario::Throughput => "throughput",
            Scenario::Growth => "growth",
            Scenario::Logins => "logins",
            Scenario::Callbacks => "callbacks",
            Scenario::Rules => "rules",
            Scenario::Cold => "cold",
            Scenario::Memory => "memory",
            Scenario::Start => "start",
            Scenario::Stall => "stall",
            Scenario::Storm => "storm",
            Scenario::FanOut => "fan-out",
            Scenario::Outage => "outage",
            Scenario::Idle => "idle",
            Scenario::Sighup => "sighup",
            Scenario::Fleet => "fleet",
            Scenario::Watched => "watched",
            Scenario::Compare => "compare",
        }
    }
}

pub struct Args {
    pub scenarios: Vec<Scenario>,
    /// The folder with the report.
    pub out: PathBuf,
    pub versions: Vec<Version>,
    /// Everything smaller: shows that the benchmark works, and nothing else.
    pub quick: bool,
    /// How long `idle` watches.
    seconds: Option<u64>,
    /// How long the API takes in `stall`; without the mode that would then take forever.
    pub api_ms: Option<u64>,
    /// Where the plugin serves its metrics in `watched`.
    pub metrics: Option<String>,
    /// The plugin's library before a change, which `compare` compares with.
    pub before: Option<PathBuf>,
}

impl Args {
    pub fn parse(mut given: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args {
            scenarios: Vec::new(),
            out: PathBuf::new(),
            versions: Vec::new(),
            quick: false,
            seconds: None,
            api_ms: None,
            metrics: None,
            before: None,
        };
        while let Some(arg) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{arg} needs a value; {USAGE}"));
            match arg.as_str() {
                "--out" => args.out = value()?.into(),
                "--quick" => args.quick = true,
                "--broker" => args.versions.push(version(&value()?)?),
                "--seconds" => args.seconds = Some(number(&value()?)?),
                "--metrics" => args.metrics = Some(value()?),
                "--before" => args.before = Some(library(&value()?)?),
                "--api-ms" => args.api_ms = Some(number(&value()?)?),
                "all" => args.scenarios.extend(Scenario::ALL),
                name => args.scenarios.push(scenario(name)?),
            }
        }
        if args.scenarios.is_empty() {
            args.scenarios.extend(Scenario::ALL);
        }
        let compares = args.scenarios.contains(&Scenario::Compare);
        if compares && args.before.is_none() {
            return Err(format!("compare needs --before LIBRARY; {USAGE}"));
        }
        if args.out.as_os_str().is_empty() {
            // Small figures say nothing, and do not belong into the documentation, nor does what was before.
            let is_for_docs = !args.quick && !compares;
            args.out = if is_for_docs { repository("docs") } else { program::build_folder() };
        }
        if args.versions.is_empty() {
            args.versions.extend([Version::V2_1_2, Version::V2_0_21]);
        }
        Ok(args)
    }

    /// One of two sizes.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub fn idle_time(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or_else(|| self.size(60, 2)))
    }

    pub fn api_takes(&self, usual_ms: u64) -> Duration {
        Duration::from_millis(self.api_ms.unwrap_or(usual_ms))
    }

    /// What to type for this scenario, on this broker, once more.
    pub fn command(&self, scenario: Scenario) -> String {
        let mut command =
            format!("cargo run --release -p mosquitto-test --bin bench -- {}", scenario.name());
        for version in &self.versions {
            command.push_str(&format!(" --broker {}", version.name()));
        }
        if self.quick {
            command.push_str(" --quick");
        }
        if let (Scenario::Idle, Some(seconds)) = (scenario, self.seconds) {
            command.push_str(&format!(" --seconds {seconds}"));
        }
        if let (Scenario::Stall, Some(api_ms)) = (scenario, self.api_ms) {
            command.push_str(&format!(" --api-ms {api_ms}"));
        }
        if let (Scenario::Compare, Some(before)) = (scenario, &self.before) {
            command.push_str(&format!(" --before {}", before.display()));
        }
        command
    }
}

fn library(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path)
        .ok()
        .filter(|library| library.is_file())
        .ok_or_else(|| format!("--before {path:?} is no file"))
}

fn number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is not a number above 0; {USAGE}"))
}

fn version(name: &str) -> Result<Version, String> {
    let known = Version::ALL.map(Version::name).join(", ");
    let found = Version::ALL.into_iter().find(|version| version.name() == name);
    found.ok_or_else(|| format!("--broker {name} is none of {known}"))
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let mut known = Scenario::ALL.into_iter().chain([Scenario::Watched, Scenario::Compare]);
    let found = known.find(|scenario| scenario.name() == name);
    found.ok_or_else(|| format!("{name:?} is unknown; {USAGE}"))
}
