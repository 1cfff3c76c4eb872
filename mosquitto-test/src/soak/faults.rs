//! What clients were told, and what of it was wrong.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long after SIGHUP a login may still be closed for it: on Mosquitto 2.1 the plugin holds SIGHUP back while logins
/// wait, and closes those if that takes a second.
pub const RELOAD_TAKES: Duration = Duration::from_secs(5);

/// For how long an identifier counts as contested after a refusal, and a little: on Mosquitto 2.1 no login waits under it
/// then, and one that is not known is closed once.
pub const CONTESTED: Duration = Duration::from_secs(11);

/// What a client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Yes,
    No,
    /// Its connection was closed, so that it asks again: nobody could decide.
    Nothing,
}

/// What was wrong in a run: all of it is counted, and the first of it described.
pub struct Faults {
    began: Instant,
    most: usize,
    found: Mutex<(u64, Vec<String>)>,
}

impl Faults {
    /// Of which so many are described.
    pub fn describing(most: usize) -> Faults {
        Faults { began: Instant::now(), most, found: Mutex::default() }
    }

    /// Counts one, and describes it, with the seconds since the run began.
    pub fn note(&self, describe: impl FnOnce(f64) -> String) {
        let (count, described) = &mut *self.found.lock().unwrap();
        *count += 1;
        if described.len() < self.most {
            described.push(describe(self.began.elapsed().as_secs_f64()));
        }
    }

    /// How many there were, and their descriptions.
    pub fn all(&self) -> (u64, Vec<String>) {
        let (count, mut described) = self.found.lock().unwrap().clone();
        let others = count - described.len() as u64;
        if others > 0 {
            described.push(format!("… and {others} more"));
        }
        (count, described)
    }
}
