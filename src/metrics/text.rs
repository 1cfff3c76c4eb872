//! A snapshot in Prometheus' text format (version 0.0.4).

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::Snapshot;
use super::families::{Family, Kind, Sample, Value, families};
use crate::stats::BOUNDS;

/// All metrics.
#[must_use]
pub(crate) fn text(snapshot: &Snapshot) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for family in families() {
        let samples = (family.samples)(snapshot);
        if samples.is_empty() {
            continue;
        }
        let Family { name, help, .. } = family;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        // Text in memory takes whatever is written.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        samples.iter().for_each(|sample| write_sample(&mut text, family, sample));
    }
    text
}

fn write_sample(text: &mut String, family: &Family, sample: &Sample) {
    let mut line = |suffix: &str, bound: Option<String>, value: f64| {
        let label = |(name, value): (&&str, &String)| format!("{name}=\"{}\"", escaped(value));
        let mut labels: Vec<_> = family.labels.iter().zip(&sample.labels).map(label).collect();
        labels.extend(bound.map(|bound| format!("le=\"{bound}\"")));
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{}{suffix}{labels} {value}", family.name);
    };
    match &sample.value {
        Value::Number(value) => line("", None, *value),
        Value::Histogram(given) => {
            let mut count = 0;
            for (bound, in_bucket) in BOUNDS.iter().zip(given.buckets) {
                count += in_bucket;
                line("_bucket", Some(bound.to_string()), count as f64);
            }
            let count = given.buckets.iter().sum::<u64>() as f64;
            line("_bucket", Some("+Inf".to_owned()), count);
            line("_sum", None, given.sum.as_secs_f64());
            line("_count", None, count);
        }
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::stats::{Route, Stats};

    #[test]
    fn every_metric_is_there_from_the_start() {
        let text = text(&Snapshot::blank("http://a"));
        for Family { name, help, kind, .. } in families() {
            let kind = format!("{kind:?}").to_lowercase();
            let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name}");
            assert!(text.contains(&head), "{head}\n{text}");
        }
        let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let names = series.iter().map(|line| line.rsplit_once(' ').unwrap().0);
        assert_eq!(names.collect::<HashSet<_>>().len(), series.len());
    }

    #[test]
    fn names_follow_the_conventions() {
        for Family { name, kind, labels, .. } in families() {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(!labels.contains(&"le"), "{name}");
        }
    }

    #[test]
    fn buckets_add_up() {
        let stats = Stats::default();
        for ms in [1, 3, 70_000] {
            stats.requested(Route::Acl, Some(200), Duration::from_millis(ms));
        }
        let text = text(&Snapshot { counts: stats.counts(), ..Snapshot::blank("http://a") });
        let name = "mosquitto_http_auth_request_duration_seconds";
        for line in [
            "_bucket{route=\"acl\",le=\"0.001\"} 1",
            "_bucket{route=\"acl\",le=\"0.005\"} 2",
            "_bucket{route=\"acl\",le=\"10\"} 2",
            "_bucket{route=\"acl\",le=\"+Inf\"} 3",
            "_sum{route=\"acl\"} 70.004",
            "_count{route=\"acl\"} 3",
            "_count{route=\"user\"} 0",
        ] {
            assert!(text.contains(&format!("{name}{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn a_label_cannot_break_a_line() {
        let text = text(&Snapshot::blank("http://\"\n\\"));
        assert!(text.contains(r#"{endpoint="http://\"\n\\"}"#), "{text}");
    }
}
