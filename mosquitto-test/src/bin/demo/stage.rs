//! One step of the story: take it, show what the API was asked, take it again, and check it all.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mosquitto_test::example_api::Served;

use crate::screen::{Screen, milliseconds};

/// How often a step is taken again. A single time would be mostly luck on a busy machine.
const REPEATS: usize = 9;

/// What a client saw of a step.
#[derive(PartialEq, Eq)]
pub struct Seen {
    pub allowed: bool,
    pub what: String,
}

/// A request that a step is to cause: path, `acc` where it is an ACL check, and the API's answer.
pub struct Asks(pub &'static str, pub Option<u8>, pub u16);

impl Asks {
    fn describe(&self) -> String {
        let Asks(path, acc, status) = self;
        let acc = acc.map_or(String::new(), |acc| format!(" with acc {acc}"));
        format!("{path}{acc} → {status}")
    }
}

pub struct Stage {
    screen: Screen,
    requests: Receiver<Served>,
    asked: Vec<Duration>,
    cached: Vec<Duration>,
    failed: usize,
    opened: Instant,
}

impl Stage {
    pub fn new(requests: Receiver<Served>) -> Stage {
        Stage {
            screen: Screen::new(),
            requests,
            asked: Vec::new(),
            cached: Vec::new(),
            failed: 0,
            opened: Instant::now(),
        }
    }

    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Has `who` take a step, which is told how often it was taken before. Returns what the first
    /// time brought, for later steps.
    pub fn step<T>(
        &mut self,
        who: &str,
        title: &str,
        expected: &[Asks],
        mut act: impl FnMut(usize) -> (Seen, T),
    ) -> T {
        let number = self.asked.len() + 1;
        self.screen.line(format!("\n {number:2}  {}", self.screen.strong(title)));

        let ((seen, brought), asked) = timed(|| act(0));
        // The API notes a request before it answers, and the client hears nothing before that.
        let requests: Vec<Served> = self.requests.try_iter().collect();
        for served in &requests {
            self.screen.request(served, "");
        }
        self.screen.first_time(who, seen.allowed, &seen.what, asked);

        let (same, cached) = repeat(&mut act, &seen);
        let more: Vec<Served> = self.requests.try_iter().collect();
        self.asked.push(asked);
        self.cached.push(cached);
        if more.is_empty() && same {
            self.screen.repeats(REPEATS, cached, ratio(asked, cached));
        }
        let complaint = complaint(expected, &requests, &seen, same, more.len());
        if let Some(complaint) = complaint {
            self.failed += 1;
            self.screen.line(format!("    {}", self.screen.alarm(complaint)));
        }
        brought
    }

    /// One line about all steps.
    pub fn sum_up(&mut self) {
        let screen = &self.screen;
        let steps = self.asked.len();
        let (asked, cached) = (median(&mut self.asked), median(&mut self.cached));
        let verdict = match self.failed {
            0 => screen.verdict(true, format!("{steps} steps, all as expected.")),
            failed => screen.alarm(format!("{failed} of {steps} steps not as expected.")),
        };
        screen.line(format!(
            "\n {verdict} The median: {} asked, {} cached, {} faster.",
            milliseconds(asked),
            milliseconds(cached),
            screen.strong(format!("{:.1} ×", ratio(asked, cached)))
        ));
        screen.line(screen.quiet(
            " The API is on this very machine. One that is far away makes the first time longer, not the second.",
        ));
    }

    /// Shows every request until the API is gone.
    pub fn follow(self) {
        for served in &self.requests {
            let seconds = self.opened.elapsed().as_secs_f64();
            self.screen.request(&served, &format!("after {seconds:.1} s"));
        }
    }
}

fn timed<R>(act: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    (act(), start.elapsed())
}

/// Whether the step always came out the same, and how long it usually took.
fn repeat<T>(act: &mut impl FnMut(usize) -> (Seen, T), first: &Seen) -> (bool, Duration) {
    let mut same = true;
    let mut times = Vec::new();
    for nth in 1..=REPEATS {
        let ((seen, _brought), took) = timed(|| act(nth));
        same &= seen == *first;
        times.push(took);
    }
    (same, median(&mut times))
}

fn complaint(
    expected: &[Asks],
    requests: &[Served],
    seen: &Seen,
    same: bool,
    more: usize,
) -> Option<String> {
    let is = |(asks, served): (&Asks, &Served)| {
        let acc = asks.1.is_none_or(|acc| served.body.contains(&format!("\"acc\":{acc}}}")));
        served.path == asks.0 && acc && served.status == asks.2
    };
    let as_asked = expected.len() == requests.len() && expected.iter().zip(requests).all(is);
    if !as_asked {
        let wanted: Vec<String> = expected.iter().map(Asks::describe).collect();
        return Some(format!("not as expected, which is: {}", wanted.join(", ")));
    }
    if seen.allowed != expected.iter().all(|asks| asks.2 == 200) {
        return Some("not as expected: this is not what the API said".to_owned());
    }
    if more > 0 {
        return Some(format!("not as expected: the same again made {more} requests"));
    }
    (!same).then(|| "not as expected: the same again came out otherwise".to_owned())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(asked: Duration, cached: Duration) -> f64 {
    asked.as_secs_f64() / cached.as_secs_f64().max(f64::EPSILON)
}
