//! The table of options in the README is the code's own.
//!
//! `UPDATE_DOCS=1 cargo test --test documentation` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use mosquitto_http_auth::config;

const BEGIN: &str = "<!-- options: generated from src/config/options.rs -->\n";
const END: &str = "<!-- end of options -->";

#[test]
fn the_readme_lists_every_option() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning is marked");
    let (_, after) = rest.split_once(END).expect("the table's end is marked");
    let current = format!("{before}{BEGIN}\n{}\n{END}{after}", config::markdown());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, current).unwrap();
    } else {
        assert!(text == current, "{} is stale: run with UPDATE_DOCS=1", path.display());
    }
}
