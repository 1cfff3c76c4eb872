//! The tables of metrics and topics as Markdown, and the names that queries may use.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::Snapshot;
use super::families::{Family, Kind, families};
use super::topics::TOPICS;

/// The table of metrics.
#[must_use]
pub fn markdown() -> String {
    let blank = Snapshot::blank("http://api.example.com:8080");
    let mut text =
        String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for family in families() {
        let Family { name, help, kind, .. } = family;
        let kind = format!("{kind:?}").to_lowercase();
        let labels = labels(family, &blank);
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}

/// Each label with the values that it takes.
fn labels(family: &Family, blank: &Snapshot) -> String {
    let samples = (family.samples)(blank);
    let label = |(position, name): (usize, &&str)| {
        // It would have to be written anew with every release.
        if *name == "version" {
            return format!("`{name}`");
        }
        let mut values: Vec<&str> = Vec::new();
        for sample in &samples {
            let value = sample.labels[position].as_str();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        format!("`{name}`: {}", values.join(", "))
    };
    let labels: Vec<_> = family.labels.iter().enumerate().map(label).collect();
    labels.join("<br>")
}

/// The table of topics.
#[must_use]
pub fn topics_markdown() -> String {
    let mut text = String::from("| topic | payload |\n| --- | --- |\n");
    for topic in TOPICS {
        let _ = writeln!(text, "| `{}` | {} |", topic.name, topic.meaning);
    }
    text
}

/// The name of every series, as queries use them.
#[must_use]
pub fn names() -> Vec<String> {
    let of = |family: &Family| match family.kind {
        Kind::Counter | Kind::Gauge => vec![family.name.to_owned()],
        Kind::Histogram => {
            ["bucket", "sum", "count"].iter().map(|end| format!("{}_{end}", family.name)).collect()
        }
    };
    families().flat_map(of).collect()
}
