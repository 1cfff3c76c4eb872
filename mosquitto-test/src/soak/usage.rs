//! What a broker takes of the machine in the course of a run, and whether it grows.
//!
//! The first quarter of a run is for warming up. What is taken at most in the second quarter is
//! held against what is taken at most in the last.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::broker::Broker;

/// How much more memory the last quarter may take: a twentieth, and pages that happen to be in use.
const MORE_MEMORY: (f64, u64) = (1.05, 4 * 1024);

/// Visitors come and go, so that one look finds a few more than another.
const MORE_DESCRIPTORS: usize = 25;

/// The plugin's threads: one for each of `http_connections`, and the one that wakes the broker.
const MOST_THREADS: usize = 8 + 1;

#[derive(Clone, Copy, Default, Debug)]
struct Look {
    /// KiB.
    memory: u64,
    descriptors: usize,
    threads: usize,
}

pub struct Watch {
    time: Duration,
    threads_at_rest: usize,
    looks: Vec<(Duration, Look)>,
}

/// What was taken at most in each quarter.
pub struct Usage {
    threads_at_rest: usize,
    quarters: [Look; 4],
    /// How memory grew in the second half, in KiB a minute, by least squares.
    slope: f64,
}

impl Watch {
    pub fn new(_: &Broker, time: Duration, threads_at_rest: usize) -> Watch {
        Watch { time, threads_at_rest, looks: Vec::new() }
    }

    pub fn look(&mut self, broker: &Broker, now: Duration) {
        let look = Look {
            memory: resident(broker.pid()),
            descriptors: broker.open_files(),
            threads: broker.threads(),
        };
        self.looks.push((now, look));
    }

    pub fn usage(&self) -> Usage {
        let mut quarters = [Look::default(); 4];
        for (at, look) in &self.looks {
            let quarter = (at.as_secs_f64() / self.time.as_secs_f64() * 4.0) as usize;
            let most = &mut quarters[quarter.min(3)];
            most.memory = most.memory.max(look.memory);
            most.descriptors = most.descriptors.max(look.descriptors);
            most.threads = most.threads.max(look.threads);
        }
        let second_half: Vec<_> = self
            .looks
            .iter()
            .filter(|(at, _)| *at * 2 > self.time)
            .map(|(at, look)| (at.as_secs_f64() / 60.0, look.memory as f64))
            .collect();
        Usage { threads_at_rest: self.threads_at_rest, quarters, slope: slope(&second_half) }
    }
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let product: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    product / square
}

/// Memory that the process has in RAM, in KiB (proc(5), `VmRSS`).
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    // A process that has ended has no memory, until it is waited for.
    let line = line.expect("the broker runs");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

impl Usage {
    /// What grew.
    pub fn faults(&self) -> Vec<String> {
        let [_, before, _, after] = self.quarters;
        let mut faults = Vec::new();
        let allowed = (before.memory as f64 * MORE_MEMORY.0) as u64 + MORE_MEMORY.1;
        if after.memory > allowed {
            faults.push(format!("memory grew from {} to {} KiB", before.memory, after.memory));
        }
        if after.descriptors > before.descriptors + MORE_DESCRIPTORS {
            let (before, after) = (before.descriptors, after.descriptors);
            faults.push(format!("descriptors grew from {before} to {after}"));
        }
        if after.threads > self.threads_at_rest + MOST_THREADS {
            let (rest, after) = (self.threads_at_rest, after.threads);
            faults.push(format!("{after} threads, where the broker itself has {rest}"));
        }
        faults
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list =
            |of: fn(&Look) -> u64| self.quarters.map(|look| of(&look).to_string()).join(", ");
        write!(
            f,
            "  most in each quarter: {} KiB of memory; {} descriptors; {} threads\n  \
             memory in the second half: {:+.1} KiB a minute",
            list(|look| look.memory),
            list(|look| look.descriptors as u64),
            list(|look| look.threads as u64),
            self.slope
        )
    }
}
