//! A snapshot in Prometheus' text format.

#![forbid(unsafe_code)]

use prometheus::TextEncoder;
use prometheus::proto;

use super::Snapshot;
use super::families::{Family, Kind, Sample, Value, families};
use crate::stats::{BOUNDS, Histogram};

/// All metrics, in Prometheus' text format (version 0.0.4).
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let families: Vec<_> = families()
        .map(|family| encodable(family, (family.samples)(snapshot)))
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = String::with_capacity(16 * 1024);
    // It fails where a family has no name or no metric, and each has.
    let _ = TextEncoder::new().encode_utf8(&families, &mut text);
    text
}

fn encodable(family: &Family, samples: Vec<Sample>) -> proto::MetricFamily {
    let mut encodable = proto::MetricFamily::default();
    encodable.set_name(family.name.to_owned());
    encodable.set_help(family.help.to_owned());
    encodable.set_field_type(match family.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    encodable.set_metric(samples.into_iter().map(|sample| metric(family, sample)).collect());
    encodable
}

fn metric(family: &Family, sample: Sample) -> proto::Metric {
    let label = |(name, value): (&&str, String)| {
        let mut label = proto::LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value(value);
        label
    };
    let labels = family.labels.iter().zip(sample.labels).map(label).collect();
    let mut metric = proto::Metric::from_label(labels);
    match (sample.value, family.kind) {
        (Value::Histogram(given), _) => metric.set_histogram(histogram(&given)),
        (Value::Number(value), Kind::Counter) => {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        (Value::Number(value), _) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

fn histogram(given: &Histogram) -> proto::Histogram {
    let mut encodable = proto::Histogram::default();
    let mut count = 0;
    let mut buckets = Vec::with_capacity(BOUNDS.len());
    for (bound, in_bucket) in BOUNDS.iter().zip(given.buckets) {
        count += in_bucket;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(count);
        buckets.push(bucket);
    }
    encodable.set_bucket(buckets);
    encodable.set_sample_count(given.buckets.iter().sum());
    encodable.set_sample_sum(given.sum.as_secs_f64());
    encodable
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
