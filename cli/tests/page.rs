//! The command's page in the documentation has every subcommand, and the command is of the plugin's
//! version. Cargo builds the command for this test, and so for whoever tests the workspace.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

fn printed(argument: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mosquitto-http-auth")).arg(argument).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_has_every_subcommand() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command.md");
    let page = fs::read_to_string(page).unwrap();
    let help = printed("--help");
    let (_, after) = help.split_once("Commands:\n").expect("the subcommands are listed");
    let names = after.lines().take_while(|line| !line.trim().is_empty());
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 5, "{help}");
    for name in names.iter().filter(|name| **name != "help") {
        assert!(page.contains(&format!("mosquitto-http-auth {name}")), "{name} is missing");
    }
}

#[test]
fn its_version_is_the_projects() {
    assert_eq!(
        printed("--version").trim(),
        format!("mosquitto-http-auth {}", env!("CARGO_PKG_VERSION"))
    );
}
