//! The commands in `docs/command.md` and in the README print what is printed there.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mosquitto_test::command;
use mosquitto_test::example_api::ExampleApi;
use mosquitto_test::prelude::*;
use mosquitto_test::program::repository;

use super::tls;

/// The port of the example API, and the plugin's path, on the pages.
const PORT: &str = "8080";
const PLUGIN: &str = "/usr/lib/x86_64-linux-gnu/mosquitto/libmosquitto_http_auth.so";

/// The blocks of a page that are in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let rest = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    rest.collect()
}

/// A line without what differs from run to run: how blanks fill it up, in lines about times the
/// numbers, and how busy an API was.
fn shape(line: &str) -> String {
    let line = match line.split_once(':') {
        Some((option @ ("http_connections" | "max_block_ms"), _)) => option,
        _ => line,
    };
    let blanks = if line.starts_with(' ') { "  " } else { "" };
    let line = format!("{blanks}{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    let varying =
        [" ms", " more options have ", " a second", " at once, in ", "p99", " days)", "TLS with "];
    if !varying.iter().any(|part| line.contains(part)) {
        return line;
    }
    let mut shape = String::new();
    for c in line.chars() {
        let is_number = c.is_ascii_digit() || (c == '.' && shape.ends_with('0'));
        match is_number {
            true if shape.ends_with('0') => {}
            true => shape.push('0'),
            false => shape.push(c),
        }
    }
    shape
}

/// A row of a histogram, whose bar is missing where it counts nothing.
fn is_bar(line: &str) -> bool {
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let words: Vec<_> = line.split_whitespace().collect();
    matches!(words[..], [to, "ms", .., count] if is_number(to) && is_number(count))
}

/// Fails unless these lines were printed; `…` stands for any number of others.
pub fn expect(command: &str, expected: &str, printed: &str) {
    let lines =
        |text: &str| text.lines().filter(|line| !is_bar(line)).map(shape).collect::<Vec<_>>();
    let (expected, printed) = (lines(expected), lines(printed));
    let mut at = 0;
    let mut skips = false;
    for line in &expected {
        if line == "…" {
            skips = true;
            continue;
        }
        let found = printed[at..].iter().position(|other| other == line);
        let found = found.filter(|distance| skips || *distance == 0);
        let found = found.unwrap_or_else(|| {
            panic!("{command} does not print {line:?} there, but:\n{}", printed.join("\n"))
        });
        at += found + 1;
        skips = false;
    }
    assert!(skips || at == printed.len(), "{command} prints more:\n{}", printed.join("\n"));
}

/// Runs the commands of a block in this folder, one after the other.
fn run(block: &str, folder: &Path) {
    let program = command::path();
    let mut status = 0;
    for step in block.split("$ ").skip(1) {
        let (line, expected) = step.split_once('\n').unwrap();
        if line == "echo $?" {
            assert_eq!(expected.trim_end(), status.to_string(), "the status of the command before");
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(folder).stdin(Stdio::null());
        shell.env_remove("MOSQUITTO_HTTP_AUTH_PASSWORD").env("LC_ALL", "C");
        let path = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
        let output = shell.output().unwrap();
        status = output.status.code().unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        expect(line, expected, &printed);
    }
}

/// Runs what a page shows with its first configuration, on the example API.
fn run_page(page: &str) {
    let page = fs::read_to_string(repository(page)).unwrap();
    let api = ExampleApi::built_in().unwrap().serve("127.0.0.1:0", |_| {}).unwrap();
    let port = api.addr().port().to_string();
    let plugin = plugin_path();
    let page = page.replace(PORT, &port).replace(PLUGIN, plugin.to_str().unwrap());
    let folder = tempfile::tempdir().unwrap();
    // The broker's usual user may not see what was built where the tests run.
    let conf = format!("{}user root\n", blocks(&page, "conf")[0]);
    fs::write(folder.path().join("mosquitto.conf"), conf).unwrap();
    let sessions = blocks(&page, "console");
    assert!(!sessions.is_empty());
    for block in sessions {
        run(&block, folder.path());
    }
}

#[test]
fn the_page_about_the_command_is_true() {
    run_page("docs/command.md");
}

#[test]
fn the_readmes_example_is_true() {
    let secret = "/run/secrets/mqtt-api";
    assert!(!Path::new(secret).exists(), "{secret} is there, so the README's example is not");
    run_page("README.md");
}

#[test]
fn the_lines_about_tls_are_true() {
    let page = fs::read_to_string(repository("docs/command.md")).unwrap();
    let expected = blocks(&page, "text").concat();
    let (certs, printed) = tls::printed();
    let ca_file = certs.ca_file().to_str().unwrap();
    let printed = printed.replace(ca_file, "/etc/mosquitto/api-ca.pem");
    let lines: Vec<_> = printed.lines().skip_while(|line| !line.starts_with("TLS with ")).collect();
    expect("login", &expected, &lines[..expected.lines().count()].join("\n"));
}
