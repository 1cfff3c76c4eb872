//! The plugin itself: its life from start to end. What it decides about logins is in
//! `plugin/entrance.rs`, what it decides about topics in `plugin/access.rs`.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use log::Level;

use crate::answer::Outcome;
use crate::block_budget::{BlockBudget, Bound, Payer};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Credentials};
use crate::engine::Engine;
use crate::events::Events;
use crate::files::{self, Files};
use crate::held_deliveries::HeldDeliveries;
use crate::last_asked::LastAsked;
use crate::local_users::LocalUsers;
use crate::lockout::Lockout;
use crate::log_queue::LogQueue;
use crate::login::{LoginAttempts, Logins};
use crate::mailbox::Mailbox;
use crate::metrics;
use crate::policy::OnError;
use crate::pool::Asked;
use crate::question::{Action, Kind};
use crate::retry_answers::RetryAnswers;
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::subscriptions::Subscriptions;
use crate::trace::TraceId;

mod access;
mod acl_prefetch;
mod assigned_name;
mod consult;
mod control;
mod entrance;
mod events;
mod fleet;
#[cfg(test)]
mod gates;
mod held;
mod host_capabilities;
mod reload;
mod reload_hold;
mod revalidation;
mod status;
mod sys_topics;
mod tick_monitor;
mod tokens;
mod undecided;
mod verdict;
pub use access::{AccessReply, Check};
pub use control::{Instances, TOPIC as CONTROL_TOPIC};
pub use entrance::{Attempt, Reply};
pub use host_capabilities::HostCapabilities;
pub use reload_hold::Sighup;

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub mod fuzzing {
    pub use super::control::read_commands;
}

use acl_prefetch::LastPrefetch;
use control::{ControlResponse, Membership, Message, Target};
use held::{Begun, HeldAnswer};
use reload_hold::{Closing, ReloadHold};
use revalidation::Finding;
use status::Status;
use sys_topics::SysTopics;
use tick_monitor::TickMonitor;

/// One instance of the plugin; a broker may hold several, which share no more than [`Instances`].
pub struct Plugin {
    config: Config,
    log_queue: Arc<LogQueue>,
    stats: Arc<Stats>,
    engine: Arc<Engine>,
    block_budget: BlockBudget,
    local_users: Option<LocalUsers>,
    files: Option<Arc<Files>>,
    lockout: Lockout,
    logins: Arc<Logins>,
    reload_hold: ReloadHold,
    /// The whole process's, of all instances.
    attempts: Arc<LoginAttempts>,
    /// For those who were closed instead of being answered.
    retry_answers: Arc<RetryAnswers>,
    sessions: Arc<Sessions>,
    /// What asking again about clients that are in came to.
    findings: Arc<Mailbox<Finding>>,
    /// How many of them are being asked about because their time has come.
    checks_under_way: Arc<AtomicUsize>,
    /// Responses to commands, and who is to be disconnected by one.
    outbox: Arc<Mailbox<ControlResponse>>,
    kicks: Arc<Mailbox<Target>>,
    /// Commands that the broker handed to another instance.
    inbox: Arc<Mailbox<Message>>,
    membership: Membership,
    /// Who is connected, and what the API is told of that.
    events: Arc<Events>,
    subscriptions: Subscriptions,
    /// Deliveries that wait for their answers, and what has come of them.
    held: Arc<HeldDeliveries>,
    held_answers: Arc<Mailbox<HeldAnswer>>,
    begun: Begun,
    /// What is asked ahead for a client that comes in.
    last_asked: LastAsked,
    /// Whether the API has ever left an ACL check to the broker's other means.
    leaves_to_broker: AtomicBool,
    last_prefetch: LastPrefetch,
    tick_monitor: TickMonitor,
    status: Arc<Status>,
    sys_topics: SysTopics,
    /// Serves the metrics; none where nobody asked for that.
    metrics: Option<metrics::Server>,
    /// The certificates and secrets in use.
    credentials: Mutex<Credentials>,
    capabilities: HostCapabilities,
    clock: Arc<dyn Clock>,
}

/// What came of waiting.
struct Waited {
    outcome: Outcome,
    bound: Bound,
    /// The trace id of the request that was waited for, if it has one and was sent.
    trace: Option<TraceId>,
}

/// Does one of several things; whether it was done. A panic must not keep the others from being
/// done. It is reported like one in a worker.
fn catch_panic(thing: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(thing)).is_ok()
}

impl Plugin {
    /// Starts an instance. But for the metrics' own, no thread runs and no connection opens before
    /// the first question.
    ///
    /// # Errors
    /// What of the configuration cannot be had.
    pub fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        capabilities: HostCapabilities,
    ) -> Result<Self, Vec<ConfigError>> {
        let config = config.where_websockets_choose(capabilities.lets_websockets_choose);
        let log_queue = LogQueue::new(config.log_level, Arc::clone(&clock));
        let local_users = config.local_users.as_ref().map(|local| {
            LocalUsers::read(local.file.clone()).map_err(|error| {
                let path = local.file.to_string_lossy();
                ConfigError::value("local_users_file", &path, &format!("a readable file ({error})"))
            })
        });
        let read = config.files.clone().map(Files::read).transpose()?;
        let (files, found) = read.map(|(files, found)| (Arc::new(files), found)).unzip();
        let stats = Arc::<Stats>::default();
        let (log, counters, time) =
            (Arc::clone(&log_queue), Arc::clone(&stats), Arc::clone(&clock));
        let observer = capabilities.observer.as_ref();
        let spawn = capabilities.spawn;
        let engine = Engine::new(&config, log, counters, time, spawn, observer, files.clone())
            .map_err(|error| ConfigError::overall(format!("no random bytes to be had: {error}")));
        let (engine, local_users) = match (engine, local_users.transpose()) {
            (Ok(engine), Ok(local_users)) => (Arc::new(engine), local_users),
            (engine, local_users) => {
                return Err(engine.err().into_iter().chain(local_users.err()).collect());
            }
        };
        let attempts = Arc::clone(&capabilities.login_attempts);
        let logins =
            Arc::new(Logins::new(Arc::clone(&capabilities.wake_broker), Arc::clone(&attempts)));
        let sessions = Arc::new(Sessions::new(capabilities.fetch, Arc::clone(&clock)));
        let max_held = usize::try_from(config.hold_max_bytes).unwrap_or(usize::MAX);
        let held = Arc::new(HeldDeliveries::new(max_held));
        let events =
            Events::new(&config, engine.api(), &log_queue, &stats, &clock, capabilities.spawn);
        let events = Arc::new(events);
        let status = Arc::new(Status {
            events: Arc::clone(&events),
            held: Arc::clone(&held),
            engine: Arc::clone(&engine),
            logins: Arc::clone(&logins),
            sessions: Arc::clone(&sessions),
            log_queue: Arc::clone(&log_queue),
            stats: Arc::clone(&stats),
            cache_max_bytes: config.cache.max_bytes,
            started: clock.unix_time(),
        });
        let metrics = status::serve(&status, config.metrics_listen, capabilities.spawn, &clock)
            .map_err(|mistake| vec![mistake])?;
        let (longest, percent) = (config.max_block, config.max_block_percent);
        let inbox = Mailbox::new(Arc::clone(&capabilities.wake_broker));
        let membership = capabilities.instances.join(&inbox, &sessions);
        let plugin = Self {
            block_budget: BlockBudget::new(longest, percent, clock.clone(), Arc::clone(&stats)),
            lockout: Lockout::new(
                config.login_failures_max,
                config.login_failures_window,
                Arc::clone(&clock),
            ),
            logins,
            reload_hold: ReloadHold::new(capabilities.sighup),
            attempts,
            retry_answers: RetryAnswers::new(Arc::clone(&clock)),
            sessions,
            findings: Mailbox::new(Arc::clone(&capabilities.wake_broker)),
            checks_under_way: Arc::default(),
            outbox: Mailbox::new(Arc::clone(&capabilities.wake_broker)),
            kicks: Mailbox::new(Arc::clone(&capabilities.wake_broker)),
            membership,
            events,
            inbox,
            subscriptions: Subscriptions::default(),
            held,
            held_answers: Mailbox::new(Arc::clone(&capabilities.wake_broker)),
            begun: Begun::default(),
            last_asked: LastAsked::default(),
            leaves_to_broker: AtomicBool::new(false),
            last_prefetch: LastPrefetch::default(),
            tick_monitor: TickMonitor::new(Arc::clone(&clock)),
            status,
            sys_topics: SysTopics::new(config.sys_interval, capabilities.claim_topics, &clock),
            metrics,
            clock,
            credentials: Mutex::new(config.credentials.clone()),
            config,
            log_queue,
            stats,
            engine,
            local_users,
            files,
            capabilities,
        };
        plugin.announce();
        plugin.join_fleet(plugin.capabilities.spawn);
        found.iter().for_each(|found| plugin.tell_of_files(found));
        Ok(plugin)
    }

    fn announce(&self) {
        let version = env!("CARGO_PKG_VERSION");
        log::info!(logger: *self.log_queue, "version {version}, {}", self.config);
        for warning in &self.config.warnings {
            log::warn!(logger: *self.log_queue, "{warning}");
        }
        if self.config.https && !self.config.tls_verify {
            log::warn!(
                logger: *self.log_queue,
                "the API's certificate is not verified: whoever is between the broker and the API \
                 can read every password and answer every question"
            );
        }
        if self.config.on_error == OnError::Allow {
            log::warn!(
                logger: *self.log_queue,
                "on_error allow: while the API fails, everyone may log in and do everything"
            );
        }
        if let Some(address) = self.config.metrics_listen {
            log::info!(logger: *self.log_queue, "metrics are at http://{address}/metrics");
            if !address.ip().is_loopback() {
                log::warn!(
                    logger: *self.log_queue,
                    "metrics_listen {address}: whoever reaches this address can read the metrics, \
                     without a password and unencrypted"
                );
            }
        }
        if self.sys_topics.is_taken() {
            log::info!(
                logger: *self.log_queue,
                "nothing is published below $SYS/broker/http-auth: another instance does"
            );
        }
    }

    /// Waits for the answer for as long as the payer may hold up the broker.
    fn wait(&self, asked: Asked, payer: Payer<'_>) -> Waited {
        let trace = if self.config.trace { asked.trace_of() } else { None };
        let (outcome, bound) = self.block_budget.wait(asked, payer);
        Waited { outcome, bound, trace: trace.and_then(|trace| trace.get()) }
    }

    fn has_route(&self, kind: Kind) -> bool {
        self.config.routes.of(kind).is_some()
    }

    /// Whether the file of an access list allows this; none: there is none.
    fn file_allows(&self, username: &str, client_id: &str, action: &Action<'_>) -> Option<bool> {
        self.files.as_ref().and_then(|files| files.allow(username, client_id, action))
    }

    /// Says what was read, and what of it does nothing.
    fn tell_of_files(&self, found: &files::Found) {
        for remark in &found.remarks {
            log::warn!(logger: *self.log_queue, "{remark}");
        }
        if self.files.as_ref().is_some_and(|files| files.has_passwords()) {
            log::info!(logger: *self.log_queue, "files_password_path: {} users", found.users);
        }
    }

    fn is_local(&self, username: &str) -> bool {
        self.local_users.as_ref().is_some_and(|users| users.contains(username))
    }

    /// The broker looks up, as it does at least ten times a second: finishes the logins whose
    /// verdict has come, disconnects whom the API no longer lets in, and has those asked about whose
    /// time has come.
    pub fn tick(&self, broker: &dyn Broker) {
        let now = self.clock.now();
        self.tick_monitor.beat(now);
        self.engine.fetch_keys_if_due();
        self.engine.tidy_up_if_due(now);
        self.events.settle();
        let closing = self.reload_hold.begin_pass(|| self.logins.wait_or_end(), now);
        self.catch_up(broker, now, closing);
    }

    /// Does a tick's work in another callback, if the broker does not tick: 2.0.11 never does with
    /// `per_listener_settings`, and 2.1 does not while the wall clock is behind.
    pub fn tick_if_overdue(&self, broker: &dyn Broker) {
        if !self.tick_monitor.is_regular() {
            self.catch_up(broker, self.clock.now(), Closing::Due);
        }
    }

    /// Does what of it disconnects nobody: this is for where the broker may be going through its
    /// clients, as when it publishes their Wills.
    pub fn look_up_if_overdue(&self, broker: &dyn Broker) {
        if !self.tick_monitor.seems_regular() {
            let now = self.clock.now();
            self.release(broker, now);
            self.check_due(now);
        }
    }

    fn catch_up(&self, broker: &dyn Broker, now: Instant, closing: Closing) {
        self.finish_logins(broker, closing);
        for finding in self.findings.drain() {
            let session_key = finding.session_key();
            if !catch_panic(|| self.act_on(broker, finding)) {
                self.postpone(&session_key);
            }
        }
        self.finish_commands(broker);
        catch_panic(|| self.release(broker, now));
        self.check_due(now);
        self.sys_topics.publish_if_due(broker, &self.status);
    }

    /// Notes a panic that was caught.
    pub fn note_panic(&self, place: &str) {
        self.log_queue.seldom(Level::Error, "defect", || {
            format!("internal error at {place}; what was asked is refused")
        });
    }

    /// Whether lines wait to be written.
    #[must_use]
    pub fn has_log_lines(&self) -> bool {
        self.log_queue.has_lines()
    }

    /// Writes the lines that wait. For the broker's own thread.
    pub fn write_log(&self, broker: &dyn Broker) {
        self.log_queue.drain(|level, line| broker.log(level, line));
    }

    /// Ends every request and joins every thread.
    pub fn shut_down(&self) {
        self.reload_hold.end();
        self.events.shut_down();
        self.engine.shut_down();
        self.events.join();
        self.metrics.iter().for_each(metrics::Server::shut_down);
    }
}
