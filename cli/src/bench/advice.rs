//! What follows from a run for the options, and by which reasoning.

#![forbid(unsafe_code)]

use std::time::Duration;

use hdrhistogram::Histogram;

/// What was measured, and what is configured.
pub(crate) struct Findings<'a> {
    pub(crate) concurrency: usize,
    pub(crate) connections: usize,
    pub(crate) max_block: Duration,
    /// The median of requests that were sent one at a time.
    pub(crate) alone: Duration,
    /// Answers a second, with `concurrency` requests at once.
    pub(crate) per_second: f64,
    /// The most logins a second that the operator expects.
    pub(crate) expected: Option<f64>,
    /// Microseconds.
    pub(crate) latency: &'a Histogram<u64>,
}

/// What to think of an option's value.
#[derive(PartialEq, Debug)]
pub(crate) struct Advice {
    pub(crate) option: &'static str,
    pub(crate) configured: u64,
    /// What would do; none where nothing follows.
    pub(crate) needed: Option<u64>,
    pub(crate) text: String,
}

/// An answer that takes so many times as long as alone has waited for others.
const BUSY: f64 = 2.0;

impl Findings<'_> {
    pub(crate) fn advice(&self) -> Vec<Advice> {
        if self.latency.is_empty() {
            return Vec::new();
        }
        vec![self.connections(), self.max_block()]
    }

    fn at(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Requests under way are arrivals a second times the seconds that each takes (Little's law).
    fn connections(&self) -> Advice {
        let (mean, p99) = (self.latency.mean() / 1e6, self.at(0.99));
        let configured = self.connections;
        let carried = configured as f64 / mean;
        let slower = mean / self.alone.as_secs_f64().max(1e-6);
        let is_busy = self.concurrency > 1 && slower > BUSY;
        let busy = if is_busy {
            format!(
                " With {} at once an answer takes {slower:.1} times as long as alone, so about {:.0} \
                 a second is what the API gives; more connections would only wait there.",
                self.concurrency, self.per_second
            )
        } else {
            String::new()
        };
        let (needed, text) = match self.expected {
            Some(rate) if is_busy && rate > self.per_second => (
                None,
                format!(
                    "{rate:.0} logins a second are more than the {:.0} that the API answered; no \
                     number of connections changes that.{busy}",
                    self.per_second
                ),
            ),
            Some(rate) => {
                let needed = (rate * p99).ceil().max(1.0);
                let verdict =
                    if needed <= configured as f64 { "are enough" } else { "are too few" };
                (
                    Some(needed as u64),
                    format!(
                        "{rate:.0} logins a second, each under way for up to {:.1} ms (p99), are \
                         {needed:.0} at once; the configured {configured} {verdict}.{busy}",
                        p99 * 1e3
                    ),
                )
            }
            None => (
                None,
                format!(
                    "{configured} connections carry {carried:.0} logins a second while an answer \
                     takes {:.1} ms on average; --rate says how many you need.{busy}",
                    mean * 1e3
                ),
            ),
        };
        Advice { option: "http_connections", configured: configured as u64, needed, text }
    }

    /// It has to be longer than nearly every answer takes, and is as long as a broker stands still
    /// if an answer never comes.
    fn max_block(&self) -> Advice {
        let configured = self.max_block.as_millis() as u64;
        let (p99, p999) = (self.at(0.99) * 1e3, self.at(0.999) * 1e3);
        let needed = round_up(p999 * 2.0);
        let late = self.latency.len() - self.latency.count_between(0, configured * 1000);
        let share = late as f64 * 100.0 / self.latency.len() as f64;
        let text = if late > 0 {
            format!(
                "{share:.1} % of the answers took longer than the configured {configured} ms, and a \
                 broker that waits would have given them up (p99 {p99:.1} ms, p99.9 {p999:.1} ms). \
                 Twice the p99.9, rounded up, is {needed}."
            )
        } else if needed < configured {
            format!(
                "every answer came within the configured {configured} ms. {needed} (twice the p99.9 of \
                 {p999:.1} ms, rounded up) would do as well, and have the broker stand still for less \
                 if the API hangs."
            )
        } else {
            format!(
                "every answer came within the configured {configured} ms (p99.9 {p999:.1} ms), with \
                 little to spare: twice the p99.9, rounded up, is {needed}."
            )
        };
        let text = text + &self.backlog();
        Advice { option: "max_block_ms", configured, needed: Some(needed), text }
    }
}

impl Findings<'_> {
    /// What answers tell that come a second after the others: Linux sends the first packet of a connection
    /// again after a second (RFC 6298, section 2) where the API's machine has dropped it, as it does while
    /// more connections wait to be accepted than the server has said.
    fn backlog(&self) -> String {
        const SECOND: u64 = 1_000_000;
        let late = self.latency.count_between(SECOND, SECOND + SECOND / 4);
        if late == 0 || self.at(0.5) > 0.2 {
            return String::new();
        }
        format!(
            " {late} took about a second where most take {:.1} ms: the API's listen backlog was full, and \
             the connection was tried again. Raise it in the API's server.",
            self.at(0.5) * 1e3
        )
    }
}

/// The next of 10, 20, 50, 100 and so on.
fn round_up(ms: f64) -> u64 {
    let steps = (1..6).flat_map(|power| [1, 2, 5].map(|step| step * 10_u64.pow(power)));
    steps.clone().find(|step| *step as f64 >= ms).or(steps.last()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(values_ms: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        values_ms.iter().for_each(|ms| histogram.record(ms * 1000).unwrap());
        histogram
    }

    fn findings(latency: &Histogram<u64>) -> Findings<'_> {
        Findings {
            concurrency: 32,
            connections: 32,
            max_block: Duration::from_secs(1),
            alone: Duration::from_millis(16),
            per_second: 1000.0,
            expected: None,
            latency,
        }
    }

    #[test]
    fn connections_follow_from_arrivals_and_latency() {
        let latency = latency(&[20; 100]);
        let of =
            |expected| Findings { expected: Some(expected), ..findings(&latency) }.connections();
        assert_eq!(of(500.0).needed, Some(11), "500 a second, 20 ms (and a little) each");
        assert!(of(500.0).text.contains("the configured 32 are enough"), "{}", of(500.0).text);
        assert_eq!(of(5000.0).needed, Some(101));
        assert!(of(5000.0).text.contains("the configured 32 are too few"));
        let told = findings(&latency).connections();
        assert!(told.text.contains("32 connections carry 1599 logins a second"), "{}", told.text);
    }

    #[test]
    fn no_number_of_connections_helps_an_api_that_is_busy() {
        let latency = latency(&[40; 100]);
        let busy = Findings { expected: Some(2000.0), ..findings(&latency) }.connections();
        assert_eq!(busy.needed, None);
        assert!(busy.text.contains("no number of connections changes that"), "{}", busy.text);
        assert!(busy.text.contains("2.5 times as long as alone"), "{}", busy.text);
    }

    #[test]
    fn the_longest_wait_covers_nearly_every_answer() {
        let fast = latency(&[20; 100]);
        let advice = findings(&fast).max_block();
        assert_eq!((advice.configured, advice.needed), (1000, Some(50)));
        let mut values = [20; 100];
        values[..5].fill(1500);
        let slow = latency(&values);
        let advice = findings(&slow).max_block();
        assert_eq!(advice.needed, Some(5000));
        assert!(advice.text.starts_with("5.0 % of the answers took longer"), "{}", advice.text);
    }

    #[test]
    fn answers_that_come_a_second_late_tell_of_a_full_backlog() {
        let mut values = [5; 100];
        assert!(!findings(&latency(&values)).max_block().text.contains("backlog"));
        values[..3].fill(1007);
        let told = findings(&latency(&values)).max_block().text;
        assert!(told.contains(" 3 took about a second where most take 5.0 ms"), "{told}");
        let slow = [1007; 100];
        assert!(!findings(&latency(&slow)).max_block().text.contains("backlog"));
    }

    #[test]
    fn without_an_answer_there_is_no_advice() {
        assert_eq!(findings(&latency(&[])).advice(), []);
    }
}
