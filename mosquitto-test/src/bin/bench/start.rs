//! What does the plugin cost when a broker starts, and what is its file made of?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mosquitto_test::broker::{Version, plugin_path};

use crate::api::Api;
use crate::args::{Args, Scenario};
use crate::clock;
use crate::lineup::quiet;
use crate::machine;
use crate::program;
use crate::report::{Section, Table, goal};
use crate::stats::{millis, percentile};

/// How large the file may be.
const GOAL: u64 = 4_000_000;

/// Whose part is named; the others come together.
const LEAST: u64 = 20_000;

pub fn run(args: &Args) -> Section {
    let rounds = args.size(30, 3);
    let mut section = Section::new("Start and size", Scenario::Start, args);
    section.text(format!(
        "The time from starting the broker's program until it has served a connection, {rounds} \
         times in turn, and the memory that it then has (including the library's own file, as far \
         as it was read); medians."
    ));
    for version in &args.versions {
        section.table(starts(*version, rounds));
    }
    clock::say("building the library with its symbols");
    let with_symbols = build_with_symbols();
    section.text(format!(
        "The stripped library has {} bytes: {}. Its contents, by the crate of each symbol \
         (functions and named data; generic code counts for the crate in which it was written):",
        size_of_file(&plugin_path()),
        goal(size_of_file(&plugin_path()) < GOAL, "below 4 MB")
    ));
    section.table(parts(&with_symbols));
    section
}

fn starts(version: Version, rounds: usize) -> Table {
    let mut table = Table::new("broker | mode | start | more | resident | more");
    let mut outcomes: [Vec<(Duration, u64)>; 2] = Default::default();
    let api = Api::start(Duration::ZERO);
    for _ in 0..rounds {
        for (with_plugin, outcomes) in [false, true].into_iter().zip(&mut outcomes) {
            outcomes.push(start(version, with_plugin.then_some(&api)));
        }
    }
    let [bare, ours] = outcomes.map(|outcomes| {
        let (mut took, mut resident): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        took.sort();
        resident.sort_unstable();
        (percentile(&took, 50.0), resident[resident.len() / 2] as f64 / f64::from(1 << 20))
    });
    for (name, (took, resident)) in [("no plugin", bare), ("ours", ours)] {
        table.row([
            version.name().to_owned(),
            name.to_owned(),
            millis(took),
            millis(took.saturating_sub(bare.0)),
            format!("{resident:.1} MiB"),
            format!("{:.1} MiB", resident - bare.1),
        ]);
    }
    clock::say(&format!("{}: {} and {}", version.name(), millis(bare.0), millis(ours.0)));
    table
}

fn start(version: Version, api: Option<&Api>) -> (Duration, u64) {
    let config = quiet(version);
    let config = match api {
        Some(api) => config.plugin(api.options()),
        None => config.allow_anonymous(true),
    };
    let began = Instant::now();
    let broker = config.start();
    (began.elapsed(), machine::resident_bytes(broker.pid()))
}

fn size_of_file(path: &Path) -> u64 {
    fs::metadata(path).expect("the library is there").len()
}

/// The library as it is, but for the symbols, which are all in the end stripped away.
fn build_with_symbols() -> PathBuf {
    let mut cargo = program::cargo();
    cargo.args(["rustc", "--release", "--lib", "--target-dir"]).arg(program::build_folder());
    cargo.args(["--", "-C", "strip=none"]);
    program::run(cargo);
    program::build_folder().join("release/libmosquitto_http_auth.so")
}

/// The bytes of each crate's symbols, the largest first.
fn parts(library: &Path) -> Table {
    let mut nm = Command::new("nm");
    nm.args(["--print-size", "--defined-only", "--demangle"]).arg(library);
    let symbols = String::from_utf8(program::run(nm).stdout).expect("symbols are text");
    let mut bytes = BTreeMap::<String, u64>::new();
    for line in symbols.lines() {
        // Address, size, kind, name; without a size it is but a mark.
        let mut fields = line.splitn(4, ' ');
        let (_, size, kind, name) = (fields.next(), fields.next(), fields.next(), fields.next());
        let (Some(size), Some(kind), Some(name)) = (size, kind, name) else { continue };
        // What is zero at first takes no place in the file.
        if kind.eq_ignore_ascii_case("b") {
            continue;
        }
        let Ok(size) = u64::from_str_radix(size, 16) else { continue };
        *bytes.entry(crate_of(name).to_owned()).or_default() += size;
    }
    let named: u64 = bytes.values().sum();
    let (mut large, small): (Vec<_>, Vec<_>) =
        bytes.into_iter().partition(|(_, bytes)| *bytes >= LEAST);
    large.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let whole = size_of_file(&plugin_path());
    let rest = whole.saturating_sub(named);
    large.push((format!("{} smaller ones", small.len()), small.iter().map(|part| part.1).sum()));
    large.push(("constants without a name, tables for unwinding and relocating".into(), rest));
    let mut table = Table::new("part | bytes | share");
    for (name, bytes) in large {
        let share = format!("{:.1} %", 100.0 * bytes as f64 / whole as f64);
        table.row([name, bytes.to_string(), share]);
    }
    table
}

/// The crate in a symbol such as `<ureq::Agent as core::clone::Clone>::clone`: the name before the
/// first `::`. C and assembler have none.
fn crate_of(symbol: &str) -> &str {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    match symbol.split_once("::") {
        Some((before, _)) => before.rsplit(|c| !is_of_name(c)).next().unwrap_or_default(),
        None if symbol.contains("ring_core") => "ring",
        None if symbol.contains("blake3") => "blake3",
        None => "C, assembler, and other symbols without a crate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_names_its_crate() {
        assert_eq!(crate_of("ureq::agent::Agent::run"), "ureq");
        assert_eq!(crate_of("<&mut rustls::Stream<T> as std::io::Read>::read"), "rustls");
        assert_eq!(crate_of("<[u8] as core::fmt::Debug>::fmt"), "core");
        assert_eq!(crate_of("ring_core_0_17_14__p256_mul"), "ring");
    }
}
