//! `docs/troubleshooting.md` explains every line that the plugin can write, and none that it cannot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// What holds texts that are no lines of the log: the metrics have a page of their own, and so do
/// commands on the control topic; the others are the table of options, settings as the command prints
/// them, and what only tests see.
const ELSEWHERE: &[&str] = &[
    "metrics/",
    "plugin/control/",
    "config/options.rs",
    "config/options/",
    "config/resolved.rs",
    "ffi/event/fuzzing.rs",
    "failpoint.rs",
    "fake.rs",
    "fuzzing.rs",
    "fuzzing/",
    "api/played.rs",
    "ffi/usage.rs",
    "events/fuzzing.rs",
    "tokens/fuzzing.rs",
    "fleet/log/model",
    "lib.rs",
];

/// Texts that are not lines of the log, in files that have some.
const NO_LINES: &[&str] = &[
    // What other servers say, by which they are known.
    "No required SSL certificate was sent",
    "The SSL certificate error",
    "The plain HTTP request was sent to HTTPS port",
    "Client sent an HTTP request to an HTTPS server",
    "<html><head><title>400",
    "</title></head><body><center><h1>400 Bad Request</h1></center><center>",
    "</center><hr><center>",
    "<!-- a padding to disable MSIE and Chrome friendly error page -->",
    "<html><head><title>400 Bad Request</title></head><body><h1>Bad Request</h1><p>Your browser sent a \
     request that this server could not understand.<br />Reason: You're speaking plain HTTP to an \
     SSL-enabled server port.<br />Instead use the HTTPS scheme to access this URL, please.<br /></p>",
    // What keys are derived for.
    "mosquitto-http-auth fleet 1: ",
    // The library's place of a problem, which is left out.
    "at line",
    "column",
    // A rule in words, for the control topic.
    "{permission} {verb} {topic}",
    "qos {}",
    "retain {retain}",
    ", ipaddr {network}",
    ", username_re {}",
    ", clientid_re {}",
    // Failures that no line names by this name.
    "no answer yet",
    "out of service",
];

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, files),
                false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
                false => {}
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let named = files.into_iter().map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        (name, text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned())
    });
    let is_elsewhere = |name: &str| {
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        is_test || ELSEWHERE.iter().any(|other| name.starts_with(other))
    };
    named.filter(|(name, _)| !is_elsewhere(name)).collect()
}

/// The string literals of a source file that a program may print, as they are when it runs.
fn literals(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(at);
        rest = if from.starts_with("//") {
            from.split_once('\n').map_or("", |(_, rest)| rest)
        } else if from.starts_with('"') && before.ends_with("r#") {
            let (literal, rest) = from[1..].split_once("\"#").unwrap();
            literals.push(literal.to_owned());
            rest
        } else if let Some(begun) = from.strip_prefix('"') {
            let (literal, rest) = literal(begun);
            // Reasons of lints, and of what cannot fail, are for readers of the source; instructions
            // are for the processor.
            let before = before.trim_end();
            if !["reason =", ".expect(", "asm!("].iter().any(|other| before.ends_with(other)) {
                literals.push(literal);
            }
            rest
        } else if let Some(begun) = from.strip_prefix('\'') {
            // A character, or a lifetime.
            let length = begun.chars().next().map_or(0, char::len_utf8);
            match begun.as_bytes().first() {
                Some(b'\\') => &begun[begun[2..].find('\'').unwrap() + 3..],
                _ if begun[length..].starts_with('\'') => &begun[length + 1..],
                _ => begun,
            }
        } else {
            &from[1..]
        };
    }
    literals
}

/// What stands up to the closing quote, and what follows it.
fn literal(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut rest = text;
    loop {
        let end = rest.find(['"', '\\']).expect("a literal ends");
        literal.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        if text.as_bytes()[text.len() - rest.len() - 1] == b'"' {
            return (literal, rest);
        }
        let escaped = rest.chars().next().unwrap();
        rest = &rest[escaped.len_utf8()..];
        match escaped {
            // The line goes on where the next one begins.
            '\n' => rest = rest.trim_start(),
            other => literal.push(other),
        }
    }
}

/// The parts of a text between what varies, where they are long enough to be told from others.
fn fixed_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    // What varies stands in braces; two of them mean one.
    let mut depth = 0;
    for character in text.replace("${", "$\u{1}").chars() {
        match character {
            '{' => {
                depth += 1;
                parts.push(String::new());
            }
            '}' if depth > 0 => depth -= 1,
            '\u{1}' => parts.last_mut().unwrap().push('{'),
            _ if depth == 0 => parts.last_mut().unwrap().push(character),
            _ => {}
        }
    }
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| part.len() >= 6).collect()
}

/// The page with every run of blanks as one, and without the marks of code.
fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let text = fs::read_to_string(path).unwrap().replace('`', "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_line_is_explained() {
    let page = page();
    let mut lines = 0;
    let mut missing = Vec::new();
    for (name, source) in sources() {
        for text in literals(&source) {
            let is_prose = text.matches(' ').count() >= 2;
            if !is_prose || NO_LINES.iter().any(|other| text.contains(other)) {
                continue;
            }
            lines += 1;
            let absent = fixed_parts(&text).into_iter().filter(|part| !page.contains(part));
            missing.extend(absent.map(|part| format!("{name}: {part}")));
        }
    }
    assert!(lines > 80, "only {lines} lines were found in the source");
    assert!(missing.is_empty(), "not in docs/troubleshooting.md: {missing:#?}");
}

#[test]
fn every_kind_of_failure_is_explained() {
    let answer = sources().into_iter().find(|(name, _)| name == "answer.rs").unwrap().1;
    let names = answer.split_once("NAMES: &'static [&'static str] = &[").unwrap().1;
    let names = literals(names.split_once("];").unwrap().0);
    assert!(names.len() >= 10, "{names:?}");
    let page = page();
    for name in names {
        // Those that nobody else failed at have lines of their own.
        let is_own = ["failure status", "no answer yet", "overloaded", "internal error"];
        assert!(is_own.contains(&name.as_str()) || page.contains(&name), "{name} is missing");
    }
}

#[test]
fn no_line_is_explained_that_does_not_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let text = fs::read_to_string(path).unwrap();
    let (ours, _) = text.split_once("## Lines of Mosquitto's own").unwrap();
    let (_, ours) = ours.split_once("## The broker does not start").unwrap();
    let source: Vec<_> = sources().iter().flat_map(|(_, source)| literals(source)).collect();
    // Parts that touch in a line of the log may come from several literals.
    let source = source.join("\n");
    let mut rows = 0;
    for row in ours.lines().filter(|line| line.starts_with("| `")) {
        let first = row.split(" | ").next().unwrap();
        for line in first.split('`').skip(1).step_by(2) {
            rows += 1;
            for part in line.split(['…', '(', ')', '"']).map(str::trim) {
                let part = part.trim_matches([':', ';', ',', ' ']);
                let exists = part.len() < 8
                    || part.split([';', ',', ':']).all(|piece| source.contains(piece.trim()));
                assert!(exists, "no source has {part:?}, of the line {line:?}");
            }
        }
    }
    assert!(rows > 60, "only {rows} lines were found on the page");
}

#[test]
fn literals_are_read_as_the_compiler_reads_them() {
    let source =
        "f('\"', 'a', '\\'', \"one \\\n    two\", \"a \\\"b\\\"\"); // \"no\"\nr#\"x \"y\" z\"#";
    assert_eq!(literals(source), ["one two", "a \"b\"", "x \"y\" z"]);
    assert_eq!(
        fixed_parts("rule {number}: the condition {c:?} is ${x}{y}, and so on"),
        [": the condition", "is ${x}", ", and so on"]
    );
}
