//! Clients that publish steadily, each to another one of them, and time every delivery.
//!
//! They have a thread of their own and never wait for each other: a message goes out when its time
//! has come, however long the broker sleeps over the ones before.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mosquitto_test::mqtt::Protocol;
use mosquitto_test::raw;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock;
use crate::crowd::enter_and_subscribe;
use crate::link::{Reader, Who};

/// How often each client publishes, in a second.
const RATE: u32 = 10;

/// How long the last messages have to arrive.
const LAST: Duration = Duration::from_millis(500);

/// How long the slowest warm-up may take.
const WARM_UP: Duration = Duration::from_secs(120);

/// A message, and how long it took. None: it did not arrive.
#[derive(Clone, Copy)]
pub struct Message {
    pub sent: Duration,
    pub took: Option<Duration>,
}

/// All that was seen.
pub struct Seen {
    pub messages: Vec<Message>,
    /// Clients whose connection the broker closed.
    pub cut_off: usize,
}

/// Traffic that goes on until it is stopped.
pub struct Traffic {
    counts: Arc<Counts>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicUsize,
    arrived: AtomicUsize,
    stop: AtomicBool,
}

type Messages = Rc<RefCell<Vec<Message>>>;

impl Traffic {
    /// Returns once everything that is published arrives: by then all answers are cached.
    pub fn start(port: u16, clients: usize) -> Traffic {
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, run(port, clients, &shared))
        });
        let traffic = Traffic { counts, thread };
        traffic.wait_until_steady();
        traffic
    }

    fn wait_until_steady(&self) {
        let deadline = clock::now() + WARM_UP;
        let mut good = 0;
        let mut before = (0, 0);
        while good < 3 {
            assert!(clock::now() < deadline, "the traffic does not become steady");
            assert!(!self.thread.is_finished(), "the traffic has ended");
            thread::sleep(Duration::from_millis(200));
            let after = (self.counts.sent.load(Relaxed), self.counts.arrived.load(Relaxed));
            let (sent, arrived) = (after.0 - before.0, after.1 - before.1);
            // One may be under way.
            good = if sent > 0 && arrived + 1 >= sent { good + 1 } else { 0 };
            before = after;
        }
    }

    /// Gives what is under way a moment to arrive.
    pub fn stop(self) -> Seen {
        self.counts.stop.store(true, Relaxed);
        self.thread.join().expect("the traffic ends well")
    }
}

async fn run(port: u16, clients: usize, counts: &Arc<Counts>) -> Seen {
    let mut entering = JoinSet::new();
    for client in 0..clients {
        let filter = topic((client + 1) % clients);
        let who = Who::right(format!("steady-{client}"));
        entering.spawn_local(async move {
            (client, enter_and_subscribe(port, &who, client, &filter).await)
        });
    }
    let messages = Messages::default();
    let mut readers = JoinSet::new();
    let mut writers = Vec::new();
    for (client, link) in entering.join_all().await {
        let (reader, writer) = link.into_halves();
        writers.push((client, writer));
        readers.spawn_local(read(reader, Rc::clone(&messages), Arc::clone(counts)));
    }
    writers.sort_by_key(|(client, _)| *client);
    publish(&writers, &messages, counts).await;
    sleep(LAST).await;
    let mut cut_off = 0;
    while readers.try_join_next().is_some() {
        cut_off += 1;
    }
    let messages = messages.borrow().clone();
    Seen { messages, cut_off }
}

async fn publish(writers: &[(usize, OwnedWriteHalf)], messages: &Messages, counts: &Counts) {
    let clients = u32::try_from(writers.len()).unwrap();
    let mut ticks = interval(Duration::from_secs(1) / (clients * RATE));
    // What is late is made up for: the broker gets its messages per second in any case.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for (client, writer) in writers.iter().cycle() {
        ticks.tick().await;
        if counts.stop.load(Relaxed) {
            return;
        }
        let mut messages = messages.borrow_mut();
        let number = (messages.len() as u64).to_be_bytes();
        let packet = raw::publish_packet(Protocol::V3_1_1, topic(*client), &number, None);
        let sent = clock::now();
        // A connection that takes nothing any more shows as a message that does not arrive.
        let _ = writer.try_write(&packet);
        messages.push(Message { sent, took: None });
        counts.sent.fetch_add(1, Relaxed);
    }
}

/// Notes every delivery until the connection ends.
async fn read(mut reader: Reader, messages: Messages, counts: Arc<Counts>) {
    while let Ok((first, body)) = reader.packet().await {
        let Some(number) = body.last_chunk::<8>().filter(|_| first == 0x30) else { continue };
        let arrived = clock::now();
        let number = usize::try_from(u64::from_be_bytes(*number)).unwrap();
        let message = &mut messages.borrow_mut()[number];
        message.took = Some(arrived - message.sent);
        counts.arrived.fetch_add(1, Relaxed);
    }
}

fn topic(client: usize) -> String {
    format!("bench/{client}")
}
