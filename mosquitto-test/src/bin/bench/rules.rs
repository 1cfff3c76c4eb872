//! How many checks a second do rules allow? The measuring is in `benches/rules.rs`, because a
//! program that depended on the plugin would have cargo build another one than the others measure.

use std::env;
use std::path;
use std::process::Command;

use crate::args::{Args, Scenario};
use crate::report::Section;

pub fn run(args: &Args) -> Section {
    let mut section = Section::new("Checks decided by rules", Scenario::Rules, args);
    section.text(
        "What one check takes, and how many there are in a second, on one thread and without a \
         broker: the median of several rounds. *growth*: from 1 rule to 10,000. In the last case \
         every rule has a level with a placeholder in the same place, which are tried one by one.",
    );
    section.text(measure(args).trim_end());
    section.text("`cargo bench --bench rules`");
    section
}

/// A table in Markdown.
fn measure(args: &Args) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // In a folder of its own, so that the library that the others measure stays as it is.
    let build = path::absolute(args.out.join("build")).expect("the folder has a path");
    cargo.current_dir(root).args(["bench", "--bench", "rules", "--target-dir"]).arg(build);
    if args.quick {
        cargo.args(["--", "--quick"]);
    }
    let output = cargo.output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the benchmark failed:\n{errors}");
    String::from_utf8(output.stdout).expect("the table is text")
}
