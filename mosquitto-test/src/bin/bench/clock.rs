//! One clock for all threads, so that what one of them sends can be timed by another.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the benchmark began.
pub fn now() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Says how far the benchmark has come.
pub fn say(what: &str) {
    let seconds = now().as_secs();
    println!("[{:2}:{:02}] {what}", seconds / 60, seconds % 60);
}
