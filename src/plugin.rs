//! The plugin itself: its life from start to end. It wires what the others stand on, and decides nothing:
//! who may log in the [`authenticator`](crate::authenticator) says, and who may do what the
//! [`authorizer`](crate::authorizer).

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Instant;

use log::Level;

use crate::answer::Decision;
use crate::authenticator::{Authenticator, Closing, LoginCapabilities};
use crate::authorizer::Authorizer;
use crate::broker::Broker;
use crate::cache::InvalidationScope;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Credentials};
use crate::decide::Reason;
use crate::engine::Engine;
use crate::events::Events;
use crate::files::{self, Files};
use crate::held_deliveries::HeldDeliveries;
use crate::local_users::LocalUsers;
use crate::log_queue::LogQueue;
use crate::mailbox::Mailbox;
use crate::metrics;
use crate::question::{Client, Departure, Disconnection, RawAclCheck};
use crate::retry_answers::RetryAnswers;
use crate::services::Services;
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::sync::catch_panic;
use crate::tick_monitor::TickMonitor;
use crate::waiter::Waiter;

mod announcement;
mod control;
mod fleet;
#[cfg(test)]
mod gates;
mod host_capabilities;
#[cfg(test)]
mod late_denials;
mod reload;
mod status;
#[cfg(test)]
mod strangers;
mod sys_topics;
pub use crate::authenticator::{Attempt, LoginReply, Sighup};
pub(crate) use crate::authorizer::AccessReply;
pub use crate::authorizer::Check;
pub use control::Instances;
pub(crate) use control::TOPIC as CONTROL_TOPIC;
pub use host_capabilities::HostCapabilities;

/// What a fuzzer may reach.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::control::read_commands;
}

use control::{ControlResponse, Membership, Message, Target};
use status::Status;
use sys_topics::SysTopics;

/// One instance of the plugin; a broker may hold several, which share no more than [`Instances`].
pub struct Plugin {
    services: Services,
    authorizer: Arc<Authorizer>,
    authenticator: Authenticator,
    /// Responses to commands, and who is to be disconnected by one.
    outbox: Arc<Mailbox<ControlResponse>>,
    kicks: Arc<Mailbox<Target>>,
    /// What was taken back at other brokers, and is to be asked about again of who is in.
    taken_back: Arc<Mailbox<InvalidationScope>>,
    /// Commands that the broker handed to another instance.
    inbox: Arc<Mailbox<Message>>,
    membership: Membership,
    status: Arc<Status>,
    sys_topics: SysTopics,
    /// Serves the metrics; none where nobody asked for that.
    metrics: Option<metrics::Server>,
    /// The certificates and secrets in use.
    credentials: Mutex<Credentials>,
}

impl Plugin {
    /// Starts an instance. Only `metrics_listen` and `fleet_redis` start threads here, and only the latter opens
    /// connections; everything else waits for a question or a tick that needs it.
    ///
    /// # Errors
    /// What of the configuration cannot be had.
    pub fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        capabilities: HostCapabilities,
    ) -> Result<Self, Vec<ConfigError>> {
        let config = Arc::new(config.where_websockets_choose(capabilities.lets_websockets_choose));
        let log_queue = LogQueue::new(config.log_level, Arc::clone(&clock));
        let local_users = read_local_users(&config);
        let read = config.files.clone().map(Files::read).transpose()?;
        let (files, found) = read.map(|(files, found)| (Arc::new(files), found)).unzip();
        let stats = Arc::<Stats>::default();
        let (log, counters, time) =
            (Arc::clone(&log_queue), Arc::clone(&stats), Arc::clone(&clock));
        let (observer, spawn) = (capabilities.observer.as_ref(), capabilities.spawn);
        let engine = Engine::new(&config, log, counters, time, spawn, observer, files.clone())
            .map_err(|error| ConfigError::overall(error.to_string()));
        let (engine, local_users) = match (engine, local_users) {
            (Ok(engine), Ok(local_users)) => (Arc::new(engine), local_users.map(Arc::new)),
            (engine, local_users) => {
                return Err(engine.err().into_iter().chain(local_users.err()).collect());
            }
        };
        let cached = &config.cache;
        let retry_answers = RetryAnswers::new(Arc::clone(&clock), &cached.login, &cached.access);
        let older = Arc::clone(&retry_answers);
        engine.tell_of_answers(move |key, asked| older.forget_older(key, asked));
        let events = Events::new(&config, engine.api(), &log_queue, &stats, &clock, spawn);
        let services = Services {
            retry_answers,
            waiter: Arc::new(Waiter::new(&config, &clock, &stats)),
            sessions: Arc::new(Sessions::new(capabilities.fetch, Arc::clone(&clock))),
            attempts: Arc::clone(&capabilities.login_attempts),
            events: Arc::new(events),
            tick_monitor: Arc::new(TickMonitor::new(Arc::clone(&clock))),
            wake_broker: Arc::clone(&capabilities.wake_broker),
            config,
            clock,
            log_queue,
            stats,
            engine,
            local_users,
            files,
        };
        let plugin = Self::assemble(services, &capabilities)?;
        plugin.announce();
        plugin.join_fleet(spawn);
        found.iter().for_each(|found| plugin.tell_of_files(found));
        Ok(plugin)
    }

    fn assemble(
        services: Services,
        capabilities: &HostCapabilities,
    ) -> Result<Self, Vec<ConfigError>> {
        let config = &services.config;
        let max_held = usize::try_from(config.hold_max_bytes).unwrap_or(usize::MAX);
        let held = Arc::new(HeldDeliveries::new(max_held));
        let authorizer =
            Arc::new(Authorizer::new(&services, &held, capabilities.tells_who_connects));
        let login = LoginCapabilities {
            delays_logins: capabilities.delays_logins,
            tells_who_connects: capabilities.tells_who_connects,
            tells_reasons: capabilities.tells_reasons,
            sighup: capabilities.sighup,
        };
        let authenticator = Authenticator::new(&services, &authorizer, login);
        let status = Arc::new(Status {
            events: Arc::clone(&services.events),
            held: Arc::clone(&held),
            engine: Arc::clone(&services.engine),
            logins: Arc::clone(authenticator.logins()),
            sessions: Arc::clone(&services.sessions),
            log_queue: Arc::clone(&services.log_queue),
            stats: Arc::clone(&services.stats),
            cache_max_bytes: config.cache.max_bytes,
            started: services.clock.unix_time(),
        });
        let spawn = capabilities.spawn;
        let metrics = status::serve(&status, config.metrics_listen, spawn, &services.clock)
            .map_err(|error| vec![error])?;
        let mailbox = || Arc::clone(&services.wake_broker);
        let inbox = Mailbox::new(mailbox());
        let claim = capabilities.claim_topics;
        Ok(Self {
            membership: capabilities.instances.join(&inbox, &services.sessions),
            inbox,
            outbox: Mailbox::new(mailbox()),
            kicks: Mailbox::new(mailbox()),
            taken_back: Mailbox::new(mailbox()),
            authorizer,
            authenticator,
            status,
            sys_topics: SysTopics::new(config.sys_interval, claim, &services.clock),
            metrics,
            credentials: Mutex::new(config.credentials.clone()),
            services,
        })
    }

    /// Says what was read, and what of it does nothing.
    fn tell_of_files(&self, found: &files::Found) {
        for remark in &found.remarks {
            log::warn!(logger: *self.services.log_queue, "{remark}");
        }
        if self.services.files.as_ref().is_some_and(|files| files.has_passwords()) {
            log::info!(logger: *self.services.log_queue, "files_password_path: {} users", found.users);
        }
    }

    /// May this client log in?
    pub fn login(&self, attempt: &Attempt<'_>) -> LoginReply {
        self.explain_login(attempt).0
    }

    /// The same, and why.
    pub fn explain_login(&self, attempt: &Attempt<'_>) -> (LoginReply, Reason) {
        // Before anything else, and whatever comes of it: the other instances rely on it.
        if attempt.broker.is_some() && !self.services.tick_monitor.is_about_a_session() {
            self.membership.note_client(attempt.client.id());
        }
        self.authenticator.login(attempt)
    }

    /// A client is connected.
    pub fn connected(&self, client: &dyn Client, username: Option<&str>) {
        self.membership.note_client(client.id());
        self.authenticator.connected(client, username);
    }

    /// The client of this handle has left, or its session has gone offline.
    pub(crate) fn left(&self, handle: usize, departure: Departure, why: Option<Disconnection>) {
        self.membership.forget_commander(handle);
        self.authenticator.left(handle);
        self.services.events.left(handle, why);
        self.authorizer.left(handle, departure);
    }

    /// A client publishes a message, or its Will is published.
    pub(crate) fn message_begins(&self, of_mqtt_5: bool, tells_properties: bool) {
        self.authorizer.message_begins(of_mqtt_5, tells_properties);
    }

    /// That message has no properties.
    pub(crate) fn message_has_no_properties(&self) {
        self.authorizer.message_has_no_properties();
    }

    /// Whether this client was allowed this before, and for the same reason is now. False: that is to
    /// be found out. For the broker's own thread.
    pub(crate) fn recall(&self, raw_check: &RawAclCheck<'_>) -> bool {
        self.authorizer.recall(raw_check)
    }

    /// May this client do this?
    pub(crate) fn access(&self, check: &Check<'_>) -> AccessReply {
        let own = self.authenticator.own_name(check.client, check.username);
        self.authorizer.access(&Check { username: own.as_deref().or(check.username), ..*check })
    }

    /// The same, and why; nothing is kept for later.
    pub fn explain_access(&self, check: &Check<'_>) -> (Decision, Reason) {
        let own = self.authenticator.own_name(check.client, check.username);
        let username = own.as_deref().or(check.username);
        self.authorizer.explain_access(&Check { username, ..*check })
    }

    /// The broker looks up, as it does at least ten times a second: finishes the logins whose
    /// verdict has come, disconnects whom the API no longer lets in, and has those asked about whose
    /// time has come.
    pub fn tick(&self, broker: &dyn Broker) {
        let now = self.services.clock.now();
        self.services.tick_monitor.beat(now);
        self.services.engine.fetch_keys_if_due();
        self.services.engine.tidy_up_if_due(now);
        self.services.events.settle();
        let closing = self.authenticator.begin_pass(now);
        self.catch_up(broker, now, closing);
    }

    /// Does a tick's work in another callback, if the broker does not tick: 2.0.11 never does with
    /// `per_listener_settings`, and 2.1 does not while the wall clock is behind.
    pub(crate) fn tick_if_overdue(&self, broker: &dyn Broker) {
        if !self.services.tick_monitor.is_regular() {
            let now = self.services.clock.now();
            self.authorizer.unname_held();
            self.catch_up(broker, now, Closing::Due);
            self.authenticator.look_without_passes(now);
        }
    }

    /// Does what of it disconnects nobody: this is for where the broker may be going through its
    /// clients, as when it publishes their Wills.
    pub(crate) fn look_up_if_overdue(&self, broker: &dyn Broker) {
        if !self.services.tick_monitor.seems_regular() {
            let now = self.services.clock.now();
            self.authorizer.unname_held();
            self.authorizer.release(broker, now);
            self.authenticator.check_due(now);
            self.authenticator.look_without_passes(now);
        }
    }

    fn catch_up(&self, broker: &dyn Broker, now: Instant, closing: Closing) {
        self.authorizer.end_postponed_entries(now);
        self.authenticator.note_late_denials();
        self.authenticator.finish_logins(broker, closing);
        self.authenticator.act_on_findings(broker);
        self.finish_commands(broker);
        catch_panic(|| self.authorizer.release(broker, now));
        self.authenticator.check_due(now);
        self.sys_topics.publish_if_due(broker, &self.status);
    }

    /// Notes a panic that was caught.
    pub(crate) fn note_panic(&self, place: &str) {
        self.services.log_queue.seldom(Level::Error, "panic", || {
            format!("internal error at {place}; what was asked is refused")
        });
    }

    /// Whether lines wait to be written.
    #[must_use]
    pub(crate) fn has_log_lines(&self) -> bool {
        self.services.log_queue.has_lines()
    }

    /// Writes the lines that wait. For the broker's own thread.
    pub fn write_log(&self, broker: &dyn Broker) {
        self.services.log_queue.drain(|level, line| broker.log(level, line));
    }

    /// Ends every request and joins every thread.
    pub fn shut_down(&self) {
        self.authenticator.shut_down();
        self.services.events.shut_down();
        self.services.engine.shut_down();
        self.services.events.join();
        self.metrics.iter().for_each(metrics::Server::shut_down);
    }
}

fn read_local_users(config: &Config) -> Result<Option<LocalUsers>, ConfigError> {
    let Some(local) = &config.local_users else { return Ok(None) };
    LocalUsers::read(local.file.clone()).map(Some).map_err(|error| {
        let path = local.file.to_string_lossy();
        ConfigError::value("local_users_file", &path, &format!("a readable file ({error})"))
    })
}
