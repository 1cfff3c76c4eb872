//! A broker under mixed traffic for as long as wanted, with every decision judged.
//!
//! Clients log in rightly and wrongly, publish, subscribe and receive, beside others that mean harm,
//! while the API restarts and fails, rights change and the broker is told to read its configuration again. The [`model`]
//! knows what the API would have said at every moment of the run, and when it could be asked; each
//! thing that a client sees is held against that. Meanwhile the broker's memory, descriptors and
//! threads are watched.

mod api;
mod client;
mod crowd;
mod everyone;
mod faults;
pub mod fleet;
mod held;
mod hostile;
mod model;
mod policy;
mod usage;
mod wire;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::broker::{Broker, Version};
use crate::program::free_port;
use crowd::Crowd;
use held::Held;
use model::Model;
use usage::{Usage, Watch};

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub version: Version,
    /// How long it lasts once every client is in.
    pub time: Duration,
    /// Clients that stay.
    pub clients: usize,
    /// What they do in a second, all together.
    pub rate: f64,
}

/// What came of a run.
pub struct Report {
    pub plan: Plan,
    pub counts: model::Counts,
    /// How long it took until every client was in.
    pub entry: Duration,
    pub requests: u64,
    pub outages: usize,
    pub reloads: usize,
    pub held: Held,
    pub usage: Usage,
}

/// How often something happens: the API goes away for a while, rights change, a SIGHUP comes.
struct Rhythm {
    outage: Duration,
    outage_lasts: Duration,
    change: Duration,
    reload: Duration,
}

impl Rhythm {
    /// Short runs have as many events as fit; long ones are mostly undisturbed.
    fn of(time: Duration) -> Rhythm {
        let long = time > Duration::from_secs(300);
        let seconds = |short, other| Duration::from_secs(if long { other } else { short });
        Rhythm {
            outage: seconds(20, 60),
            outage_lasts: Duration::from_secs(2),
            change: seconds(11, 23),
            reload: seconds(7, 41),
        }
    }
}

/// Runs a broker as planned. The report says whether anything was wrong.
pub fn run(plan: Plan) -> Report {
    let model = Arc::new(Model::new(plan.version.is_2_1()));
    let api = Arc::new(api::SoakApi::start(&model));
    let metrics_port = free_port();
    let broker = api::broker(&plan, &api, metrics_port);
    let threads_at_rest = broker.threads();
    let (stop, stopping) = watch::channel(false);
    let (entered, all_in) = std::sync::mpsc::channel();
    let (judge, port) = (model.clone(), broker.port());
    let clients = on_their_thread(move || {
        everyone::live(Rc::new(Crowd::new(plan, port, judge, entered)), stopping)
    });
    let began = Instant::now();
    // Broken, if the clients' thread has panicked.
    all_in.recv().expect("every client came in");
    let entry = began.elapsed();
    let mut watch = Watch::new(&broker, plan.time, threads_at_rest);
    let (outages, reloads) = disturb(&plan, &broker, &api, &model, &mut watch);
    stop.send_replace(true);
    clients.join().expect("no client panicked");
    if let Some(file) = std::env::var_os("SOAK_LOG") {
        std::fs::write(file, broker.log()).unwrap();
    }
    Report {
        plan,
        counts: model.counts(),
        entry,
        requests: api.requests(),
        outages,
        reloads,
        held: Held::read(metrics_port),
        usage: watch.usage(),
    }
}

/// Has all clients live on one thread.
fn on_their_thread<F: Future<Output = ()>>(
    live: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async { live().await });
    })
}

/// Lets the time pass, with what disturbs: how often the API went away, and SIGHUP came.
fn disturb(
    plan: &Plan,
    broker: &Broker,
    api: &api::SoakApi,
    model: &Model,
    watch: &mut Watch,
) -> (usize, usize) {
    const LOOK: Duration = Duration::from_millis(250);
    let rhythm = Rhythm::of(plan.time);
    let began = Instant::now();
    let (mut outages, mut reloads, mut changes) = (0, 0, 0);
    let mut back_at = None;
    while began.elapsed() < plan.time {
        thread::sleep(LOOK);
        let now = began.elapsed();
        watch.look(broker, now);
        let is_due = |every: Duration, done: usize| {
            now >= every.mul_f64(done as f64 + 0.5) && now + Duration::from_secs(1) < plan.time
        };
        match back_at {
            None if is_due(rhythm.outage, outages) => {
                model.outage_begins();
                // Now nobody is there, now there is nothing but errors.
                if outages % 2 == 0 {
                    api.stop()
                } else {
                    api.fail()
                }
                back_at = Some(now + rhythm.outage_lasts);
                outages += 1;
            }
            Some(at) if now >= at => {
                api.recover();
                model.outage_ends();
                back_at = None;
            }
            _ => {}
        }
        if is_due(rhythm.change, changes) {
            model.change_rights();
            changes += 1;
        }
        if is_due(rhythm.reload, reloads) {
            model.reloads();
            broker.signal(libc::SIGHUP);
            reloads += 1;
        }
        api.forget_requests();
    }
    if back_at.is_some() {
        api.recover();
        model.outage_ends();
    }
    (outages, reloads)
}

impl Report {
    /// Whether nothing was wrong and nothing grew; if not, what.
    pub fn verdict(&self) -> Result<(), String> {
        let mut faults = self.counts.wrong.clone();
        faults.extend(self.usage.faults());
        // Where nothing happens, nothing is wrong. Who is denied a delivery is told nothing.
        let [others @ .., delivered] = &self.counts.judged;
        if delivered[0] == 0 || others.iter().any(|[yes, no, _]| *yes == 0 || *no == 0) {
            faults.push(format!("not everything was tried: {:?}", self.counts.judged));
        }
        if self.held.delivered == 0 || self.held.lost > 0 {
            faults.push(format!("deliveries are to wait, and none to be lost: {:?}", self.held));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { plan, counts, .. } = self;
        writeln!(
            f,
            "Mosquitto {}, {} clients for {} s (all were in after {:.1} s)",
            plan.version.name(),
            plan.clients,
            plan.time.as_secs(),
            self.entry.as_secs_f64()
        )?;
        writeln!(
            f,
            "  disturbed by {} outages of the API and {} SIGHUPs; the API got {} requests",
            self.outages, self.reloads, self.requests
        )?;
        let Held { delivered, denied, lost, gone } = self.held;
        writeln!(
            f,
            "  {delivered} deliveries waited for their answer and were made, {denied} were denied, \
             {lost} were lost, and {gone} had nobody left to go to"
        )?;
        writeln!(f, "{counts}")?;
        write!(f, "{}", self.usage)
    }
}
