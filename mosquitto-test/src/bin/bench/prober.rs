//! A steady trickle of logins of three kinds, each attempt on record.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::clock;
use crate::link::{Attempt, Link, Who};

/// One login in so much time.
const PACE: Duration = Duration::from_millis(25);

/// Users whose logins are cached.
pub const KNOWN: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Has logged in before, with an answer that still lives.
    Known,
    /// A new user with the right password.
    Fresh,
    /// A new user with a wrong password.
    Wrong,
}

#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub kind: Kind,
    pub began: Duration,
    pub ended: Duration,
    pub let_in: bool,
}

/// Probes until it is stopped.
pub struct Prober {
    probes: Arc<Mutex<Vec<Probe>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Prober {
    pub fn start(port: u16) -> Prober {
        let probes = Arc::<Mutex<Vec<Probe>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (record, stopped) = (Arc::clone(&probes), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(port, &record, &stopped));
        });
        Prober { probes, stop, thread }
    }

    pub fn probes(&self) -> Vec<Probe> {
        self.probes.lock().unwrap().clone()
    }

    pub fn stop(self) -> Vec<Probe> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the prober ends well");
        self.probes.lock().unwrap().clone()
    }
}

/// A user whose login is to be cached.
pub fn known(number: usize, id: String) -> Who {
    Who { id, username: format!("known-{number}"), password: "right" }
}

async fn run(port: u16, record: &Arc<Mutex<Vec<Probe>>>, stopped: &AtomicBool) {
    let mut pace = interval(PACE);
    let mut under_way = JoinSet::new();
    for number in 0.. {
        pace.tick().await;
        if stopped.load(Relaxed) {
            break;
        }
        let record = Arc::clone(record);
        under_way.spawn(async move {
            let probe = probe(port, number).await;
            record.lock().unwrap().push(probe);
        });
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

async fn probe(port: u16, number: usize) -> Probe {
    let id = format!("probe-{number}");
    let (kind, who) = match number % 3 {
        0 => (Kind::Known, known(number / 3 % KNOWN, id)),
        1 => (Kind::Fresh, Who::right(id)),
        _ => (Kind::Wrong, Who { password: "wrong", ..Who::right(id) }),
    };
    let began = clock::now();
    let attempt = Link::log_in(port, &who).await;
    let ended = clock::now();
    let let_in = matches!(attempt, Attempt::In(_));
    if let Attempt::In(link) = attempt {
        link.leave().await;
    }
    Probe { kind, began, ended, let_in }
}
