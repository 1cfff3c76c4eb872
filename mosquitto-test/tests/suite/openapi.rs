//! `docs/openapi.yaml` describes what an API is asked and answers: schemathesis asks the example APIs
//! what it says, and holds their answers against it.

use std::fs;
use std::process::{Command, Output};

use mosquitto_test::program::repository;

use crate::apis::installed;
use crate::{axum, example_apis, express, fastapi, node_red};

/// The operations, and the paths that the description gives them; the longest first, since one path
/// begins with another.
const PATHS: [(&str, &str); 5] = [
    ("batch", "/acls"),
    ("acl", "/acl"),
    ("superuser", "/superuser"),
    ("login", "/user"),
    ("events", "/events"),
];

/// Questions that no plugin asks, too: an API may refuse them, but must not fail.
const ALL: &[&str] = &["--mode", "all"];
/// Only questions that a plugin may ask.
const REAL: &[&str] = &["--mode", "positive", "--phases", "examples,fuzzing"];

fn description() -> String {
    fs::read_to_string(repository("docs/openapi.yaml")).unwrap()
}

fn check(
    mut description: String,
    port: u16,
    questions: &[&str],
    served: &[(&str, &str)],
) -> Output {
    for (operation, path) in PATHS {
        let own = served.iter().find(|(other, _)| *other == operation);
        let own = own.map_or(format!("/{operation}-is-not-served"), |(_, own)| (*own).to_owned());
        let line = |path: &str| format!("\n  {path}:\n    post:\n      operationId: {operation}\n");
        assert!(description.contains(&line(path)), "{operation} at {path}");
        description = description.replace(&line(path), &line(&own));
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("openapi.yaml"), description).unwrap();
    let own = repository("mosquitto-test/openapi");
    let mut command = Command::new(installed(".examples/schemathesis/bin/schemathesis"));
    command.current_dir(folder.path()).env("SCHEMATHESIS_HOOKS", own.join("hooks.py"));
    command.arg("--config-file").arg(own.join("schemathesis.toml")).arg("--no-color");
    command.args(["run", "openapi.yaml"]).args(questions);
    command.args(["--url", &format!("http://127.0.0.1:{port}")]);
    for (operation, _) in served {
        command.args(["--include-operation-id", operation]);
    }
    command.output().unwrap()
}

fn expect_agreement(port: u16, questions: &[&str], served: &[(&str, &str)]) {
    let output = check(description(), port, questions, served);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn express_answers_as_described() {
    let paths = [("login", "/user"), ("superuser", "/superUser"), ("acl", "/acls"), PATHS[4]];
    expect_agreement(express::start().port(), ALL, &paths);
}

#[test]
fn node_red_answers_as_described() {
    let paths = [("login", "/mqttAuthentication/userGet"), ("acl", "/mqttAuthentication/aclCheck")];
    expect_agreement(node_red::start().program.port(), ALL, &paths);
}

#[test]
fn fastapi_answers_as_described() {
    expect_agreement(fastapi::start().program.port(), ALL, &PATHS);
}

#[test]
fn axum_answers_as_described() {
    expect_agreement(axum::start().port(), ALL, &PATHS[3..4]);
}

#[test]
fn the_smallest_apis_answer_as_described() {
    for (file, paths) in [
        ("statuses.py", &[PATHS[3], PATHS[1]][..]),
        ("rules.py", &[PATHS[3]]),
        ("batches.py", &[PATHS[3], PATHS[1], PATHS[0]]),
        ("events.py", &[PATHS[3], PATHS[1], PATHS[4]]),
    ] {
        expect_agreement(example_apis::python(file).port(), REAL, paths);
    }
}

#[test]
fn an_answer_that_is_not_as_described_is_noticed() {
    let rule = "permission: { enum: [allow, deny] }";
    assert!(description().contains(rule));
    let other = description().replace(rule, "permission: { enum: [permit] }");
    let output = check(other, axum::start().port(), REAL, &PATHS[3..4]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("Response violates schema"), "{report}");
    assert!(!output.status.success(), "{report}");
}
