//! The programs that are measured, built as they have to be.
//!
//! What measures the library from within is in `benches/`: a program here that depended on the
//! plugin would have cargo build another one than the brokers load. It is built in a folder of its
//! own for the same reason.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use mosquitto_test::program::repository;

/// Where things are built and written that nobody keeps.
pub fn build_folder() -> PathBuf {
    let program = env::current_exe().expect("this program has a path");
    let target = program.ancestors().nth(2).expect("it is in target/release");
    target.join("bench")
}

/// Builds the plugin that the brokers load, unless somebody has brought one along.
pub fn build_plugin() {
    if env::var_os("MOSQUITTO_HTTP_AUTH_SO").is_some() {
        return;
    }
    let mut cargo = cargo();
    cargo.args(["build", "--lib"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    run(cargo);
}

/// A plugin that says yes to everything and has no thread of its own, built once: the least that any plugin
/// costs a broker.
pub fn yes_plugin() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = repository("mosquitto-test/src/bin/bench/yes.c");
        let library = env::current_exe().expect("this program has a path").with_file_name("yes.so");
        let mut compiler = Command::new(env::var_os("CC").unwrap_or("cc".into()));
        compiler.args(["-O2", "-shared", "-fPIC", "-I"]).arg(repository(""));
        if let Some(include) = env::var_os("MOSQUITTO_INCLUDE") {
            compiler.arg("-I").arg(include);
        }
        compiler.arg(source).arg("-o").arg(&library);
        run(compiler);
        library
    })
}

/// What `cargo bench --bench NAME` prints, with these arguments.
pub fn bench(name: &str, arguments: &[&str]) -> String {
    let mut cargo = cargo();
    cargo.args(["bench", "--bench", name, "--target-dir"]).arg(build_folder());
    cargo.arg("--").args(arguments);
    String::from_utf8(run(cargo).stdout).expect("it prints text")
}

/// Builds that benchmark without running it; where it is.
pub fn bench_program(name: &str) -> PathBuf {
    let mut cargo = cargo();
    cargo.args(["bench", "--bench", name, "--no-run", "--message-format", "json"]);
    cargo.arg("--target-dir").arg(build_folder());
    let output = run(cargo).stdout;
    let messages = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut programs = messages.filter_map(|line| {
        let message: serde_json::Value = serde_json::from_slice(line).expect("cargo prints JSON");
        let executable = message["executable"].as_str().map(PathBuf::from);
        executable.filter(|_| message["target"]["name"] == name)
    });
    programs.next_back().expect("the benchmark is a program")
}

/// Cargo, in the project's folder.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(repository(""));
    cargo
}

/// Runs a program to its end, which has to be a good one.
pub fn run(mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|e| {
        panic!("{} cannot be run: {e}", command.get_program().to_string_lossy())
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{errors}");
    output
}
