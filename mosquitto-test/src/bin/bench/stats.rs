//! Percentiles and medians.

use std::ops::Range;
use std::time::Duration;

use crate::clock::ms;
use crate::traffic::Message;

/// How long the messages of some span of time took.
#[derive(Clone, Default)]
pub struct Latency {
    took: Vec<Duration>,
    pub lost: usize,
}

impl Latency {
    /// Of the messages that were sent within this span.
    pub fn within(messages: &[Message], span: &Range<Duration>) -> Latency {
        let mut latency = Latency::default();
        for message in messages.iter().filter(|message| span.contains(&message.sent)) {
            match message.took {
                Some(took) => latency.took.push(took),
                None => latency.lost += 1,
            }
        }
        latency.took.sort();
        latency
    }

    pub fn add(&mut self, other: &Latency) {
        self.took.extend_from_slice(&other.took);
        self.took.sort();
        self.lost += other.lost;
    }

    pub fn count(&self) -> usize {
        self.took.len() + self.lost
    }

    pub fn p50(&self) -> Duration {
        percentile(&self.took, 50.0)
    }

    pub fn p99(&self) -> Duration {
        percentile(&self.took, 99.0)
    }

    pub fn max(&self) -> Duration {
        percentile(&self.took, 100.0)
    }

    /// The cells of a table: p50, p99, max and what was lost.
    pub fn cells(&self) -> [String; 4] {
        [millis(self.p50()), millis(self.p99()), millis(self.max()), self.lost.to_string()]
    }
}

/// Of ascending values; zero if there are none.
pub fn percentile(ascending: &[Duration], percent: f64) -> Duration {
    let rank = (percent / 100.0 * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Of values in any order.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The worst message of every `step`, as seconds from the span's beginning and milliseconds.
pub fn worst_by_time(
    messages: &[Message],
    span: &Range<Duration>,
    step: Duration,
) -> Vec<(f64, f64)> {
    let steps = (span.end - span.start).div_duration_f64(step).ceil() as usize;
    let mut worst = vec![0.0_f64; steps];
    for message in messages.iter().filter(|message| span.contains(&message.sent)) {
        let step = (message.sent - span.start).div_duration_f64(step) as usize;
        worst[step] = worst[step].max(ms(message.took.unwrap_or_default()));
    }
    let time = |number: usize| step.as_secs_f64() * number as f64;
    worst.into_iter().enumerate().map(|(number, worst)| (time(number), worst)).collect()
}

pub fn millis(time: Duration) -> String {
    match ms(time) {
        short if short < 10.0 => format!("{short:.2} ms"),
        middling if middling < 100.0 => format!("{middling:.1} ms"),
        long => format!("{long:.0} ms"),
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
