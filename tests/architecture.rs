//! The rules of the source: which layer may import which, and where C and unsafe code may stand.

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
    &[
        "question",
        "clock",
        "failpoint",
        "form",
        "json",
        "memory",
        "secret",
        "store",
        "sync",
        "trace",
    ],
    &["random"],
    &["fake"],
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

/// The paths that a file's code names after `crate::` or `super::`, with the groups taken apart.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            // What stands after another `super::` was found with that one.
            if code[..at].ends_with("::") {
                continue;
            }
            let end =
                code[at..].find([';', '(', ')', '<', '>', '=']).map_or(code.len(), |n| at + n);
            let (path, group) = code[at..end].split_once('{').unwrap_or((&code[at..end], ""));
            let segments = |path: &str| -> Vec<String> {
                let path: String =
                    path.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
                path.split("::").filter(|one| !one.is_empty()).map(str::to_owned).collect()
            };
            let first = segments(path);
            paths.push(first.clone());
            for one in group.split([',', '{', '}']) {
                paths.push([first.clone(), segments(one.trim())].concat());
            }
        }
    }
    paths
}

/// A module by its names, from the crate's root.
type Module = Vec<String>;

/// Which modules each imports. Those above and below it are left out: a module's own file is its face.
fn import_graph(folder: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let module = |path: &Path| -> Module {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        path.iter().map(|name| name.to_str().unwrap().to_owned()).collect()
    };
    let files: BTreeMap<_, _> =
        sources_below(folder).into_iter().map(|(path, _, text)| (module(&path), text)).collect();
    let resolve = |from: &Module, path: &[String]| {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let names = path.iter().skip_while(|name| ["crate", "super"].contains(&name.as_str()));
        let mut at: Module =
            if ups == 0 { Vec::new() } else { from[..from.len().saturating_sub(ups)].to_vec() };
        for name in names {
            let next = [at.clone(), vec![name.clone()]].concat();
            if !files.contains_key(&next) {
                break;
            }
            at = next;
        }
        at
    };
    let imports = |from: &Module, text: &str| {
        let found = paths(without_tests(text)).into_iter().map(|path| resolve(from, &path));
        found.filter(|to| !from.starts_with(to) && !to.starts_with(from)).collect()
    };
    files.iter().map(|(from, text)| (from.clone(), imports(from, text))).collect()
}

#[test]
fn no_two_files_import_each_other() {
    for (folder, at_least) in [("src", 500), ("cli/src", 50), ("mosquitto-test/src", 80)] {
        let graph = import_graph(folder);
        let count = graph.values().map(BTreeSet::len).sum::<usize>();
        assert!(count > at_least, "{folder}: imports are not found ({count})");
        // What imports nothing that is left is taken away; a circle stays.
        let mut left = graph.clone();
        loop {
            let free: Vec<_> = left
                .iter()
                .filter(|(_, to)| to.iter().all(|one| !left.contains_key(one)))
                .map(|(from, _)| from.clone())
                .collect();
            if free.is_empty() {
                break;
            }
            free.iter().for_each(|one| drop(left.remove(one)));
        }
        let names: Vec<_> = left.keys().map(|module| module.join("::")).collect();
        assert!(left.is_empty(), "{folder}: these import each other, or what does: {names:?}");
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
