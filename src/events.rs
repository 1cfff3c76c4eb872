//! Tells the API who comes and goes: in order, at least once, and without anybody waiting for it.
//!
//! Each event is written down when it happens, and waits in a bounded queue. A worker of its own sends
//! what waits, many events in one request, and tries again while the API fails.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::Level;

use crate::api::Api;
use crate::clock::Clock;
use crate::config::{Config, EventKind};
use crate::log_queue::{LogQueue, quoted};
use crate::pool::Spawn;
use crate::question::{ClientFacts, Disconnection};
use crate::stats::{Denial, EventEnd, Kick, Stats};
use crate::sync::lock;

mod back_off;
mod clients;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod pace;
mod queue;
mod worker;
mod written;
pub(crate) use clients::{ConnectedClient, Page};

use clients::{Clients, Coming};
use queue::Queue;
use written::Event;

/// How long the end of the broker may take longer for the events that still wait.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client that came may take to be refused after all, where no tick tells that it was not.
const SETTLED: Duration = Duration::from_secs(1);

/// The clients that are connected, and what the API is told of them.
pub(crate) struct Events {
    shared: Arc<Shared>,
    spawn: Spawn,
}

/// What the broker's thread and the worker share. The clients are locked before the queue, so that events
/// stand there in the order in which they happened.
struct Shared {
    /// What the API is told of; nothing without a route.
    kinds: Vec<EventKind>,
    clients: Mutex<Clients>,
    /// Whether any client has come that may be refused still, readable without the lock: every tick asks.
    unsettled: AtomicBool,
    sending: Mutex<Sending>,
    /// Notified when an event waits, and at the end.
    changed: Condvar,
    api: Arc<Api>,
    log_queue: Arc<LogQueue>,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Sending {
    queue: Queue,
    /// Whether a worker is at it.
    has_worker: bool,
    /// Whether the broker ends, so that what fails is not tried again.
    is_ending: bool,
    is_closed: bool,
    /// The worker that began last.
    worker: Option<JoinHandle<()>>,
}

impl Events {
    #[must_use]
    pub(crate) fn new(
        config: &Config,
        api: &Arc<Api>,
        log_queue: &Arc<LogQueue>,
        stats: &Arc<Stats>,
        clock: &Arc<dyn Clock>,
        spawn: Spawn,
    ) -> Self {
        let kinds = if config.routes.events.is_some() { config.events.clone() } else { Vec::new() };
        let shared = Shared {
            kinds,
            clients: Mutex::default(),
            unsettled: AtomicBool::new(false),
            sending: Mutex::default(),
            changed: Condvar::new(),
            api: Arc::clone(api),
            log_queue: Arc::clone(log_queue),
            stats: Arc::clone(stats),
            clock: Arc::clone(clock),
        };
        Self { shared: Arc::new(shared), spawn }
    }

    /// The broker says that this client is connected.
    pub(crate) fn connected(&self, handle: usize, facts: ClientFacts<'_>) {
        let mut clients = lock(&self.shared.clients);
        self.shared.admit(&mut clients, handle, self.client(facts));
        drop(clients);
        self.wake();
    }

    /// This client's login was answered, on a broker that does not say who is connected. Until the broker's
    /// next tick it may be refused still: unless it is `certain`, by the broker's other means, of which the
    /// broker tells a while later if the client came over a websocket.
    pub(crate) fn came(&self, handle: usize, facts: ClientFacts<'_>, is_certain: bool) {
        self.settle();
        let client = self.client(facts);
        let now = self.shared.clock.now();
        let settles = if client.is_websocket && !is_certain { now + SETTLED } else { now };
        let coming = Coming { handle, client, is_certain, settles };
        if lock(&self.shared.clients).expect(coming) {
            self.shared.unsettled.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// The broker looks up: who came before and was not refused is connected.
    pub(crate) fn settle(&self) {
        if self.shared.unsettled.load(Ordering::Acquire) {
            self.shared.settle(self.shared.clock.now());
            self.wake();
        }
    }

    /// This client has left, or its session has gone offline; why, where the broker says so.
    pub(crate) fn left(&self, handle: usize, why: Option<Disconnection>) {
        let now = self.shared.clock.unix_time();
        let mut clients = lock(&self.shared.clients);
        if let Some(coming) = clients.take_coming(|coming| coming.handle == handle).pop() {
            // Whom the broker's other means did not let in never came.
            if coming.is_certain {
                self.shared.admit(&mut clients, handle, coming.client);
            }
        }
        let Some((client, is_kicked)) = clients.remove(handle) else { return };
        let why = if is_kicked {
            Some(Disconnection::Kicked)
        } else if why.is_none() && clients.is_coming(&client.client_id) {
            Some(Disconnection::TakenOver)
        } else {
            why
        };
        self.shared.tell(EventKind::Disconnected, &client, now, why.map(Disconnection::name));
        drop(clients);
        self.wake();
    }

    /// The plugin is about to disconnect those who are meant.
    pub(crate) fn kicked(&self, why: Kick, is_meant: impl Fn(&ConnectedClient) -> bool) {
        let now = self.shared.clock.unix_time();
        let mut clients = lock(&self.shared.clients);
        for client in clients.kick(is_meant) {
            self.shared.tell(EventKind::Kicked, client, now, Some(why.name()));
        }
        drop(clients);
        self.wake();
    }

    /// The plugin disconnects a client before it is connected.
    pub(crate) fn kicked_early(&self, why: Kick, facts: ClientFacts<'_>) {
        self.tell_of(EventKind::Kicked, facts, why.name());
    }

    /// A login was denied.
    pub(crate) fn denied(&self, why: Denial, facts: ClientFacts<'_>) {
        self.tell_of(EventKind::LoginDenied, facts, why.name());
    }

    fn tell_of(&self, kind: EventKind, facts: ClientFacts<'_>, reason: &str) {
        if self.shared.kinds.contains(&kind) {
            let client = self.client(facts);
            self.shared.tell(kind, &client, client.since, Some(reason));
            self.wake();
        }
    }

    fn client(&self, facts: ClientFacts<'_>) -> ConnectedClient {
        ConnectedClient::new(facts, self.shared.clock.unix_time())
    }

    /// The connected clients behind this identifier, in the order of their identifiers: so many of them.
    #[must_use]
    pub(crate) fn list(&self, after: Option<&str>, most: usize) -> Page {
        lock(&self.shared.clients).list(after, most)
    }

    /// How many events wait.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.shared.sending).queue.len()
    }

    /// Has a worker send what waits, and look after who came while the broker does not tick.
    fn wake(&self) {
        if self.shared.kinds.is_empty() {
            return;
        }
        let mut sending = lock(&self.shared.sending);
        if sending.is_closed {
            return;
        }
        if std::mem::replace(&mut sending.has_worker, true) {
            self.shared.changed.notify_one();
            return;
        }
        // It has said that it ends.
        let before = sending.worker.take();
        drop(sending);
        join(before);
        let shared = Arc::clone(&self.shared);
        // Linux shows 15 bytes of a thread's name.
        let worker = (self.spawn)("http-auth-event".to_owned(), Box::new(move || shared.serve()));
        let mut sending = lock(&self.shared.sending);
        match worker {
            Ok(worker) => sending.worker = Some(worker),
            // The next event tries again.
            Err(_) => sending.has_worker = false,
        }
    }

    /// The broker ends: its clients are gone with it. Sends what waits, if that is possible within a short
    /// time, and nothing from then on. What is under way then ends with the API's interruption;
    /// [`Events::join`] waits for that.
    pub(crate) fn shut_down(&self) {
        let shared = &*self.shared;
        shared.settle(shared.clock.now() + SETTLED);
        let now = shared.clock.unix_time();
        let gone = lock(&shared.clients).take_all();
        if shared.kinds.contains(&EventKind::Disconnected) {
            let reason = Some(Disconnection::BrokerStopped.name());
            let mut sending = lock(&shared.sending);
            for client in gone {
                let kind = EventKind::Disconnected;
                sending.queue.push_last(kind, Event::write(kind, &client, now, reason));
            }
        }
        lock(&shared.sending).is_ending = true;
        if self.waiting() > 0 {
            self.wake();
        }
        shared.changed.notify_all();
        let sending = lock(&shared.sending);
        let is_sending = |sending: &mut Sending| sending.has_worker && sending.queue.len() > 0;
        let waited = shared.changed.wait_timeout_while(sending, SHUTDOWN_TIMEOUT, is_sending);
        let (mut sending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        sending.is_closed = true;
        let unsent = sending.queue.clear();
        drop(sending);
        shared.changed.notify_all();
        if unsent > 0 {
            shared.stats.events_ended(EventEnd::Unsent, unsent);
            log::warn!(
                logger: *shared.log_queue,
                "{unsent} events did not reach the API before the end"
            );
        }
    }

    /// Waits for the worker's end, after the API's interruption.
    pub(crate) fn join(&self) {
        let worker = lock(&self.shared.sending).worker.take();
        join(worker);
    }
}

fn join(worker: Option<JoinHandle<()>>) {
    if let Some(worker) = worker {
        // It contains its own panics; there is nobody to tell of another.
        let _ = worker.join();
    }
}

impl Shared {
    /// This client is connected from now on.
    fn admit(&self, clients: &mut Clients, handle: usize, client: ConnectedClient) {
        if let Some((before, _)) = clients.remove(handle) {
            // Nobody said that it has left, but another has its handle.
            self.tell(EventKind::Disconnected, &before, self.clock.unix_time(), None);
        }
        self.tell(EventKind::Connected, &client, client.since, None);
        clients.insert(handle, client);
    }

    /// Counts those as connected who came, and would have been refused by this time.
    fn settle(&self, now: Instant) {
        let mut clients = lock(&self.clients);
        for coming in clients.take_coming(|coming| coming.settles <= now) {
            self.admit(&mut clients, coming.handle, coming.client);
        }
        self.unsettled.store(clients.any_coming(), Ordering::Release);
    }

    fn tell(&self, kind: EventKind, client: &ConnectedClient, at: Duration, reason: Option<&str>) {
        if !self.kinds.contains(&kind) {
            return;
        }
        let event = Event::write(kind, client, at, reason);
        let dropped = lock(&self.sending).queue.push(kind, event);
        if dropped > 0 {
            self.stats.events_ended(EventEnd::NoRoom, dropped);
            self.log_queue.seldom(Level::Warn, "events dropped", || {
                format!(
                    "more events wait for http_event_route than the queue holds; the oldest are dropped, \
                     denied logins before all others, and the newest is {} of client {}",
                    kind.name(),
                    quoted(&client.client_id)
                )
            });
        }
    }
}

#[cfg(test)]
mod tests;
