//! The rules of the house: which layer may import which, and where C and unsafe code may stand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, from the border down. A module may import what stands in a later layer, never what
/// stands in an earlier one or beside it.
const LAYERS: &[&[&str]] = &[
    &["ffi"],
    &["plugin"],
    &["authenticator"],
    &["authorizer"],
    &["services"],
    &["decide", "waiter"],
    &[
        "engine",
        "events",
        "held_deliveries",
        "last_asked",
        "lockout",
        "login",
        "metrics",
        "block_budget",
        "retry_answers",
        "sessions",
        "subscriptions",
        "tick_monitor",
        "local_users",
        "broker",
    ],
    &["fleet", "tokens", "files"],
    &["cache", "pool", "api", "sealed"],
    &["config", "log_queue"],
    &["policy", "field", "stats", "api_format", "jose", "mailbox"],
    &["answer"],
    &["rules"],
    &["question", "clock", "failpoint", "form", "json", "secret", "sync", "trace"],
];

/// Every source file of the plugin, with the top-level module that it belongs to.
fn sources() -> Vec<(PathBuf, String, String)> {
    sources_below("src")
}

fn sources_below(folder: &str) -> Vec<(PathBuf, String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    walk(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (path, module, text)
        })
        .filter(|(_, module, _)| !["lib", "fake", "fuzzing"].contains(&module.as_str()))
        .collect()
}

/// The code of a file without its unit tests, which may look anywhere.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("give the module {module} a layer in this test"))
}

/// The modules that a file's code names after `crate::`; prose may point anywhere.
fn imports(text: &str) -> Vec<String> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    code.join("\n")
        .split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().into())
        .collect()
}

#[test]
fn imports_point_down() {
    for (path, module, text) in sources() {
        for imported in imports(without_tests(&text)) {
            assert!(
                imported == module || layer(&imported) > layer(&module),
                "{}: {module} may not import {imported}",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_and_the_brokers_names_stay_at_the_border() {
    let beyond = sources().into_iter().filter(|(_, module, _)| module != "ffi");
    for (path, _, text) in beyond.chain(sources_below("cli/src")) {
        let path = path.display();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{path} must forbid unsafe code");
        // In prose a constant may be named, in code it may not.
        let names = |line: &&str| line.contains("MOSQ_") && !line.trim_start().starts_with("//");
        assert_eq!(text.lines().find(names), None, "{path} knows a name of the broker's");
    }
}

/// The names under `[dependencies]` and `[build-dependencies]` of a manifest.
fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let manifest = fs::read_to_string(manifest).unwrap();
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let ("[dependencies]" | "[build-dependencies]", Some((name, _))) =
            (section, line.split_once('='))
        {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

#[test]
fn every_dependency_is_justified_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let table = text.split("## Dependencies").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    // The first column holds the names, each in backquotes; the second says what for.
    let justified: BTreeSet<_> = rows
        .flat_map(|row| {
            let (names, purpose) = row.split_once(" | ").unwrap();
            assert!(purpose.trim_end_matches('|').trim().len() > 3, "{names} is for nothing");
            names.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty() && !name.starts_with(' '))
        .collect();
    let mut needed = dependencies(&root.join("Cargo.toml"));
    needed.extend(dependencies(&root.join("cli/Cargo.toml")));
    // The command stands on the plugin.
    needed.remove("mosquitto-http-auth");
    assert_eq!(justified, needed);
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut long = BTreeMap::new();
    for (path, _, text) in sources().into_iter().chain(sources_below("cli/src")) {
        let lines = without_tests(&text).lines().count();
        if lines > 400 {
            long.insert(path, lines);
        }
    }
    assert!(long.is_empty(), "over 400 lines without their tests: {long:?}");
}
