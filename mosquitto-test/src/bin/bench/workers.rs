//! Whether the plugin's worker threads live while something is measured: in a process with more than one
//! thread, the kernel does more for each system call.

use std::time::{Duration, Instant};

use mosquitto_test::broker::Broker;
use mosquitto_test::mqtt::Login;

use crate::load::PASSWORD;

/// An idle worker ends after ten seconds.
const AWAKE: Duration = Duration::from_secs(5);

/// What a measurement wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    /// As it happens.
    Any,
    /// None lives.
    Ended,
    /// One at least lives, and has nothing to do.
    Idle,
}

/// Sees to it for one broker, between measurements.
pub struct Keeper {
    workers: Workers,
    newcomers: usize,
    newcomer_at: Option<Instant>,
}

impl Keeper {
    pub fn of(workers: Workers) -> Keeper {
        Keeper { workers, newcomers: 0, newcomer_at: None }
    }

    pub fn prepare(&mut self, broker: &Broker) {
        match self.workers {
            Workers::Any => {}
            // The broker itself has one.
            Workers::Ended => broker.wait_for_threads(1),
            Workers::Idle => self.keep_awake(broker),
        }
    }

    /// A worker asks about a client that nobody knows.
    fn keep_awake(&mut self, broker: &Broker) {
        if self.newcomer_at.is_some_and(|at| at.elapsed() < AWAKE) {
            return;
        }
        self.newcomers += 1;
        let name = format!("newcomer-{}", self.newcomers);
        let client = broker.client(&name).credentials(&name, PASSWORD);
        // On 2.0 a login that takes too long is refused, and known the next time.
        while !leaves_again(client.connect()) {}
        assert!(broker.threads() > 1, "a worker has asked, and is there");
        self.newcomer_at = Some(Instant::now());
    }
}

/// Whether it was let in.
fn leaves_again(login: Login) -> bool {
    let Login::Accepted(client) = login else { return false };
    client.disconnect();
    true
}
