//! The subcommand `bench`: how the API answers many logins at once.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use log::LevelFilter;
use mosquitto_http_auth::answer::{Failure, Verdict};
use mosquitto_http_auth::api::{Api, Request};
use mosquitto_http_auth::clock::{Clock, SystemClock};
use mosquitto_http_auth::config::{Config, PasswordEncoding};
use mosquitto_http_auth::log_queue::LogQueue;
use mosquitto_http_auth::question::{About, Kind, Password, Question};
use mosquitto_http_auth::stats::Stats;
use serde_json::json;

use crate::args;
use crate::block::{self, Start};
use crate::exit;
use crate::paint::{HEADING, Paint as _, WARNING, WRONG};
use crate::password;
use crate::problem::Problem;

mod advice;
mod chart;

use advice::Findings;

/// Requests that are sent one at a time before the others, at most.
const ALONE: u64 = 20;

/// What came of some requests.
#[derive(Clone)]
pub(crate) struct Run {
    /// Microseconds that answered requests took.
    pub(crate) latency: Histogram<u64>,
    allowed: u64,
    denied: u64,
    ignored: u64,
    failures: BTreeMap<&'static str, u64>,
}

pub(crate) fn run(args: &args::Bench, out: &mut dyn Write) -> Result<u8, Problem> {
    let started = block::chosen(&args.conf, Start::default())?;
    let config = &started.config;
    if config.routes.login.is_none() {
        return Err("http_user_route is unset: there are no logins to ask about".to_owned().into());
    }
    let username = args.user.username.as_deref();
    if username.is_none() && args.distinct.is_none() {
        return Err("--username or --distinct is needed".to_owned().into());
    }
    let password = password::read(&args.password, username)?;
    let concurrency =
        args.concurrency.map_or(config.connections, usize::from).min(args.requests as usize);
    let password = match config.password_encoding {
        PasswordEncoding::Base64 => Password::Base64(&password),
        PasswordEncoding::Utf8 => Password::Text(std::str::from_utf8(&password).map_err(|_| {
            "the password is not UTF-8, and with password_encoding utf8 it is never sent".to_owned()
        })?),
    };
    let bench = Bench { args, config, password, concurrency };
    let (alone, together, took) = bench.measure()?;
    let findings = Findings {
        concurrency,
        connections: config.connections,
        max_block: config.max_block,
        alone: Duration::from_micros(alone.latency.value_at_quantile(0.5)),
        per_second: together.answered() as f64 / took.as_secs_f64().max(1e-6),
        expected: args.rate.map(f64::from),
        latency: &together.latency,
    };
    let failed = together.failed();
    if args.json {
        as_json(out, &findings, &together, took)?;
    } else {
        print(out, &findings, &together, took)?;
    }
    Ok(if failed == 0 { exit::YES } else { exit::FAILED })
}

struct Bench<'a> {
    args: &'a args::Bench,
    config: &'a Config,
    password: Password<'a>,
    concurrency: usize,
}

impl Bench<'_> {
    /// Requests one at a time, all the others, and how long these took.
    fn measure(&self) -> Result<(Run, Run, Duration), String> {
        let mut config = self.config.clone();
        config.connections = self.concurrency;
        // Every request is to reach the API, whatever came of the others.
        config.breaker.failures = u64::MAX;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log_queue = LogQueue::new(LevelFilter::Off, Arc::clone(&clock));
        let api = Api::new(&config, log_queue, clock, Arc::new(Stats::default()), None);
        let first = (self.args.requests / 10).clamp(1, ALONE);
        let alone = self.ask(&api, &mut (0..first));
        let progress = self.progress();
        let (next, last) = (AtomicU64::new(first), first + self.args.requests);
        let take = || {
            progress.inc(1);
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < last)
        };
        let began = SystemClock.now();
        let runs = thread::scope(|scope| {
            let work = || self.ask(&api, &mut std::iter::from_fn(take));
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work);
            let threads: io::Result<Vec<_>> = (0..self.concurrency).map(spawn).collect();
            let threads = threads.map_err(|error| format!("cannot start a thread: {error}"))?;
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.collect::<Result<Vec<_>, _>>().map_err(|_| "a thread broke off".to_owned())
        })?;
        let took = SystemClock.now().duration_since(began);
        progress.finish_and_clear();
        let mut together = Run::new();
        runs.iter().for_each(|run| together.add(run));
        Ok((alone, together, took))
    }

    /// A bar on the terminal, if there is one.
    fn progress(&self) -> ProgressBar {
        let bar = ProgressBar::new(self.args.requests);
        let template = "{bar:40} {pos}/{len} logins, {per_sec}, {eta} left";
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    fn ask(&self, api: &Api, numbers: &mut dyn Iterator<Item = u64>) -> Run {
        let mut run = Run::new();
        let named = self.args.user.username.clone().unwrap_or_default();
        for number in numbers {
            let distinct = self.args.distinct.as_ref();
            let name = distinct.map(|pattern| pattern.replace("{}", &number.to_string()));
            let username = name.as_ref().unwrap_or(&named);
            let client = &self.args.client;
            let about = About::Login { password: self.password };
            let question = Question { client, username, attributes: None, about };
            let fields = self.config.fields.of(Kind::Login);
            let request = Request::new(&question, fields, &self.config.api_format);
            let began = SystemClock.now();
            let outcome = api.ask(&[&request], false, api.new_trace());
            let took = SystemClock.now().duration_since(began);
            match outcome.map(|replies| replies.first().map(|reply| reply.answer.verdict)) {
                Ok(Some(verdict)) => run.count(verdict, took),
                Ok(None) => run.fail(&Failure::Internal),
                Err(failure) => run.fail(&failure),
            }
        }
        run
    }
}

impl Run {
    fn new() -> Self {
        // The bounds are good ones: a request may take ten minutes.
        #[expect(clippy::expect_used, reason = "constants that were tried")]
        let latency =
            Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that can be had");
        Self { latency, allowed: 0, denied: 0, ignored: 0, failures: BTreeMap::new() }
    }

    fn count(&mut self, verdict: Verdict, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros.max(1));
        *match verdict {
            Verdict::Allow => &mut self.allowed,
            Verdict::Deny => &mut self.denied,
            Verdict::Ignore => &mut self.ignored,
        } += 1;
    }

    fn fail(&mut self, failure: &Failure) {
        *self.failures.entry(failure.name()).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.ignored += other.ignored;
        for (name, count) in &other.failures {
            *self.failures.entry(name).or_default() += count;
        }
    }

    fn answered(&self) -> u64 {
        self.allowed + self.denied + self.ignored
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// The shares of all answers that are looked at.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

fn print(
    out: &mut dyn Write,
    findings: &Findings<'_>,
    run: &Run,
    took: Duration,
) -> io::Result<()> {
    let concurrency = findings.concurrency;
    let total = run.answered() + run.failed();
    let title = format!("{total} logins, {concurrency} at once, in {:.2} s", took.as_secs_f64());
    writeln!(out, "{}", title.paint(HEADING))?;
    if run.answered() > 0 {
        print_latency(out, findings.per_second, &run.latency)?;
    }
    let Run { allowed, denied, ignored, failures, .. } = run;
    writeln!(out, "allowed {allowed}, denied {denied}, left to the broker {ignored}")?;
    for (name, count) in failures {
        writeln!(out, "{} {name}: {count}", "failed:".paint(WRONG))?;
    }
    for advice in findings.advice() {
        writeln!(out, "{} {}", format!("{}:", advice.option).paint(WARNING), advice.text)?;
    }
    Ok(())
}

fn print_latency(out: &mut dyn Write, per_second: f64, latency: &Histogram<u64>) -> io::Result<()> {
    writeln!(out, "answered: {per_second:.0} a second, each within")?;
    chart::print(out, latency)?;
    let mut parts: Vec<_> = QUANTILES
        .iter()
        .map(|(name, quantile)| format!("{name} {}", ms(latency.value_at_quantile(*quantile))))
        .collect();
    parts.push(format!("max {}", ms(latency.max())));
    parts.push(format!("mean {}", ms(latency.mean() as u64)));
    writeln!(out, "{} (milliseconds)", parts.join(", "))
}

fn as_json(
    out: &mut dyn Write,
    findings: &Findings<'_>,
    run: &Run,
    took: Duration,
) -> io::Result<()> {
    let latency = &run.latency;
    let quantiles: BTreeMap<_, _> = QUANTILES
        .iter()
        .map(|(name, quantile)| (*name, latency.value_at_quantile(*quantile) as f64 / 1e3))
        .collect();
    let advice = findings.advice().into_iter().map(|advice| {
        json!({ "option": advice.option, "configured": advice.configured,
                "needed": advice.needed, "text": advice.text })
    });
    let report = json!({
        "requests": run.answered() + run.failed(),
        "concurrency": findings.concurrency,
        "seconds": took.as_secs_f64(),
        "answered_per_second": findings.per_second,
        "allowed": run.allowed,
        "denied": run.denied,
        "ignored": run.ignored,
        "failures": run.failures,
        "latency_ms": {
            "alone_p50": findings.alone.as_secs_f64() * 1e3,
            "quantiles": quantiles,
            "max": latency.max() as f64 / 1e3,
            "mean": latency.mean() / 1e3,
        },
        "histogram": chart::rows(latency).iter().map(|row| {
            json!({ "to_ms": row.to as f64 / 1e3, "count": row.count })
        }).collect::<Vec<_>>(),
        "advice": advice.collect::<Vec<_>>(),
    });
    writeln!(out, "{report:#}")
}

fn ms(micros: u64) -> String {
    format!("{:.1}", micros as f64 / 1e3)
}
