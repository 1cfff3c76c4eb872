//! `bench` measures the API, and `generate` writes what packages need.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use mosquitto_test::command::run;
use mosquitto_test::prelude::*;

use super::Conf;
use crate::support::ROUTES;

#[test]
fn every_login_reaches_the_api_over_as_many_connections_as_are_asked_for() {
    let api = AuthServer::answering(|request| {
        let name = request.json()["username"].as_str().unwrap().to_owned();
        Reply::status(if name.ends_with('7') { 403 } else { 200 })
    });
    let conf = Conf::of(&api, &ROUTES);
    let arguments = ["--distinct", "user-{}", "-n", "200", "-c", "8", "--rate", "50", "-P", "-"];
    let report = conf.json("bench", &arguments, "right", 0);
    assert_eq!((&report["requests"], &report["concurrency"]), (&200.into(), &8.into()));
    assert_eq!((&report["denied"], &report["allowed"]), (&20.into(), &180.into()));
    let rows = report["histogram"].as_array().unwrap();
    let drawn: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(drawn, 200);
    let quantiles = &report["latency_ms"]["quantiles"];
    let [p50, p99] = ["p50", "p99"].map(|name| quantiles[name].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99, "{quantiles}");
    let options: Vec<_> =
        report["advice"].as_array().unwrap().iter().map(|a| a["option"].clone()).collect();
    assert_eq!(options, ["http_connections", "max_block_ms"]);
    // A few go before the others, one at a time.
    let requests = api.requests_to("/user");
    assert_eq!(requests.len(), 220);
    let names: BTreeSet<_> = requests.iter().map(|r| r.json()["username"].to_string()).collect();
    assert_eq!(names.len(), 220);
    assert!(api.connections() <= 8, "{} connections", api.connections());
}

#[test]
fn failures_are_counted_by_their_kind_and_nothing_is_given_up() {
    let api = AuthServer::answering(|_| Reply::status(503));
    let conf = Conf::of(&api, &ROUTES);
    let report = conf.json("bench", &["-u", "ann", "-n", "30", "-c", "3", "-P", "-"], "right", 3);
    assert_eq!(report["failures"]["failure status"], 30, "the breaker stays closed");
    assert!(report["advice"].as_array().unwrap().is_empty());
    let text = conf.run("bench", &["-u", "ann", "-n", "30", "-P", "-"], "right");
    assert!(text.stdout.contains("failed: failure status: 30"), "{}", text.all());
    assert!(!text.stdout.contains("p50"), "nothing took no time: {}", text.all());
}

#[test]
fn a_run_is_drawn_for_a_reader() {
    let api = AuthServer::start();
    let conf = Conf::of(&api, &ROUTES);
    let ran =
        conf.run("bench", &["-u", "ann", "-n", "50", "-c", "2", "-P", "-"], "s3cret-password");
    assert_eq!(
        (ran.status, ran.stderr.as_str()),
        (0, ""),
        "without a terminal there is no progress"
    );
    for part in ["50 logins, 2 at once", " ms █", "p99 ", "http_connections: 32 connections carry"]
    {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.all().contains("s3cret"));
    for (arguments, said) in [
        (vec!["-P", "-"], "--username or --distinct is needed"),
        (vec!["-u", "ann", "-n", "0", "-P", "-"], "invalid value '0'"),
        (vec!["--distinct", "ann", "-P", "-"], "it has no {} in it"),
    ] {
        let ran = conf.run("bench", &arguments, "right");
        assert_eq!(ran.status, 2, "{}", ran.all());
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}

#[test]
fn packages_get_manual_pages_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let names = |what: &str| {
        let folder = folder.path().join(what).join("new");
        let ran = run(&["generate", what, folder.to_str().unwrap()], "");
        assert_eq!((ran.status, ran.all().as_str()), (0, ""));
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let files: BTreeSet<_> = files.collect();
        assert!(files.iter().all(|file| !fs::read_to_string(file).unwrap().is_empty()));
        files
    };
    let pages = names("man");
    let name = |page: &std::path::PathBuf| page.file_name().unwrap().to_str().unwrap().to_owned();
    let expected = [
        "-access.1",
        "-bench.1",
        "-check.1",
        "-explain.1",
        "-fleet.1",
        "-healthcheck.1",
        "-login.1",
        ".1",
    ];
    let expected = expected.map(|end| format!("mosquitto-http-auth{end}"));
    assert_eq!(pages.iter().map(name).collect::<Vec<_>>(), expected);
    let login = fs::read_to_string(pages.iter().find(|page| name(page).contains("login")).unwrap());
    for part in ["\\-\\-password\\-file", ".SH \"EXIT STATUS\"\n", ".SH EXAMPLES\n"] {
        assert!(login.as_ref().unwrap().contains(part), "{part}");
    }
    let completions = names("completions");
    let expected = ["_mosquitto-http-auth", "mosquitto-http-auth.bash", "mosquitto-http-auth.fish"];
    assert_eq!(completions.iter().map(name).collect::<Vec<_>>(), expected);
    let bash = completions.iter().find(|file| name(file).ends_with(".bash")).unwrap();
    // Bash itself completes with it: a subcommand, and an option and its value behind one.
    for (line, expected) in [
        ("lo", "login"),
        ("access --ac", "--acc"),
        ("access --acc re", "receive"),
        ("bench --rat", "--rate"),
    ] {
        let script = format!(
            "source {}; words=($(complete -p mosquitto-http-auth)); \
             COMP_WORDS=(mosquitto-http-auth {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             for at in ${{!words[@]}}; do if [[ ${{words[at]}} == -F ]]; then \
             ${{words[at + 1]}} mosquitto-http-auth \"${{COMP_WORDS[COMP_CWORD]}}\" \
             \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; fi; done; echo \"${{COMPREPLY[*]}}\"",
            bash.display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{output:?}");
    }
    let ran = run(&["generate", "man", "/dev/null/x"], "");
    assert_eq!((ran.status, ran.stderr.contains("cannot write into")), (2, true), "{}", ran.stderr);
}
