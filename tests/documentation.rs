//! What the documentation says of the code is the code's own: the tables are generated, and queries
//! name metrics that exist.
//!
//! `UPDATE_DOCS=1 cargo test --test documentation` writes the tables anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mosquitto_http_auth::{config, metrics};
use serde_json::Value;

/// A table of options stands between these, the first of which goes on with their names.
const BEGIN: &str = "<!-- options: ";
const END: &str = "<!-- end of options -->";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// Checks what stands between two marks, or writes it anew.
fn expect_generated(name: &str, begin: &str, end: &str, generated: &str) {
    let text = read(name);
    let (before, rest) = text.split_once(begin).expect("the table's beginning is marked");
    let (_, after) = rest.split_once(end).expect("the table's end is marked");
    let current = format!("{before}{begin}\n\n{generated}\n{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file(name), current).unwrap();
    } else {
        assert!(text == current, "{name} is stale: run with UPDATE_DOCS=1");
    }
}

/// The table of these options.
fn table(names: &[&str]) -> String {
    let mut text =
        "| option | default | allowed | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let options = config::described();
    for name in names {
        let option = options.iter().find(|option| option.name == *name);
        let option = option.unwrap_or_else(|| panic!("there is no option {name}"));
        let (default, allowed, meaning) = (&option.default, &option.allowed, option.meaning);
        text.push_str(&format!("| `{name}` | {default} | {allowed} | {meaning} |\n"));
    }
    text
}

/// Writes the tables of a document anew, or fails if they differ; returns the options in them.
fn check_tables(name: &str) -> Vec<String> {
    let text = read(name);
    let mut parts = text.split(BEGIN);
    let mut current = parts.next().unwrap().to_owned();
    let mut listed = Vec::new();
    for part in parts {
        let (names, rest) = part.split_once(" -->\n").expect("the beginning is a line");
        let (_, after) = rest.split_once(END).expect("the table's end is marked");
        let options: Vec<_> = names.split(' ').collect();
        let table = table(&options);
        current.push_str(&format!("{BEGIN}{names} -->\n\n{table}\n{END}{after}"));
        listed.extend(options.into_iter().map(str::to_owned));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file(name), current).unwrap();
    } else {
        assert!(text == current, "{name} is stale: run with UPDATE_DOCS=1");
    }
    listed
}

#[test]
fn the_reference_lists_every_option_once() {
    let mut listed = check_tables("docs/configuration.md");
    listed.sort();
    let mut known: Vec<_> = config::described().iter().map(|o| o.name.to_owned()).collect();
    known.sort();
    assert_eq!(listed, known);
}

#[test]
fn every_metric_and_every_topic_is_documented() {
    let name = "docs/metrics.md";
    let begin = "<!-- metrics: generated from src/metrics/families.rs -->";
    expect_generated(name, begin, "<!-- end of metrics -->", &metrics::markdown());
    let begin = "<!-- topics: generated from src/metrics/topics.rs -->";
    expect_generated(name, begin, "<!-- end of topics -->", &metrics::topics_markdown());
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let prefix = "mosquitto_http_auth_";
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let starts = text.match_indices(prefix).map(|(at, _)| &text[at..]);
    starts.map(|from| from.split(|c| !is_part(c)).next().unwrap()).collect()
}

#[test]
fn queries_name_metrics_that_exist() {
    let names = metrics::names();
    for name in [
        "docs/grafana/dashboard.json",
        "docs/prometheus/alerts.yaml",
        "mosquitto-test/metrics/alerts-test.yaml",
    ] {
        let text = read(name);
        let named = named(&text);
        assert!(named.len() > 5, "{name} names {named:?}");
        for metric in named {
            assert!(names.iter().any(|name| name == metric), "{name}: there is no {metric}");
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard = read("docs/grafana/dashboard.json");
    let shown = named(&dashboard);
    for name in metrics::names() {
        // A rate of the buckets says more than these two.
        if !name.ends_with("_sum") && !name.ends_with("_count") {
            assert!(shown.contains(name.as_str()), "{name} is not shown");
        }
    }
}

#[test]
fn the_dashboard_is_one() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/dashboard.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "instance"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(["timeseries", "stat"].contains(&panel["type"].as_str().unwrap()), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies over another");
        }
        let targets = panel["targets"].as_array().unwrap();
        let mut letters = BTreeSet::new();
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}");
            let query = target["expr"].as_str().unwrap();
            let chosen = query.matches("{instance=~\"$instance\"").count();
            assert_eq!(chosen, query.matches("mosquitto_http_auth_").count(), "{title}: {query}");
            let rates = query.matches("rate(").count() + query.matches("increase(").count();
            assert_eq!(rates, query.matches("[$__rate_interval]").count(), "{title}: {query}");
            assert_eq!(query.matches('(').count(), query.matches(')').count(), "{title}: {query}");
        }
        assert!(!letters.is_empty(), "{title} shows nothing");
    }
}

#[test]
fn every_alert_is_explained() {
    let rules = read("docs/prometheus/alerts.yaml");
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    let text = read("docs/metrics.md");
    let explained: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `MosquittoHttpAuth")?.split_once('`'))
        .map(|(rest, _)| format!("MosquittoHttpAuth{rest}"))
        .collect();
    assert_eq!(explained, alerts);
}

/// The values of a key in a YAML text, in order.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key)).collect()
}

/// Whether a text is what Prometheus may make of a template.
fn is_made_of(text: &str, template: &str) -> bool {
    let mut pieces = template.split("{{").map(|piece| piece.rsplit("}}").next().unwrap());
    let mut rest = text.strip_prefix(pieces.next().unwrap());
    for piece in pieces {
        rest = rest.and_then(|rest| rest.split_once(piece)).map(|(_, rest)| rest);
    }
    rest == Some("")
}

/// promtool runs these tests where there is one (`docker/test.sh`, `mosquitto-test/metrics-picture.sh`).
#[test]
fn every_alert_has_a_test_that_expects_its_text() {
    let rules = read("docs/prometheus/alerts.yaml");
    let tests = read("mosquitto-test/metrics/alerts-test.yaml");
    let (alerts, templates) = (values(&rules, "alert: "), values(&rules, "summary: "));
    assert_eq!(alerts.len(), templates.len());
    let mut untested: BTreeSet<_> = alerts.iter().copied().collect();
    let mut firing = None;
    for line in tests.lines().map(|line| line.trim_start_matches([' ', '-'])) {
        if let Some(name) = line.strip_prefix("alertname: ") {
            firing = Some(name);
        }
        let Some(text) = line.strip_prefix("summary: ") else { continue };
        let name = firing.unwrap();
        let nth = alerts.iter().position(|alert| *alert == name).unwrap();
        assert!(is_made_of(text, templates[nth]), "{name}: {text}, not {}", templates[nth]);
        untested.remove(name);
    }
    assert!(untested.is_empty(), "no test sees {untested:?}");
}
