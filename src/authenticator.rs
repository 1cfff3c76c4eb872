//! Who may log in, and stay.
//!
//! [`Authenticator::login`] decides at once what is known, such as a name that is left to Mosquitto; all else is
//! asked of the API. On Mosquitto 2.1 the client then waits without holding up the broker, and a later
//! tick finishes its login ([`Authenticator::finish_logins`]). Sessions are looked at again when they expire
//! ([`Authenticator::check_due`]).

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::authorizer::Authorizer;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::events::Events;
use crate::files::Files;
use crate::local_users::LocalUsers;
use crate::lockout::Lockout;
use crate::log_queue::LogQueue;
use crate::login::{Applicant, LoginAttempts, Logins};
use crate::mailbox::{Mailbox, WakeBroker};
use crate::question::Client;
use crate::retry_answers::RetryAnswers;
use crate::services::Services;
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::tick_monitor::TickMonitor;
use crate::waiter::Waiter;

mod assigned_name;
mod delayed;
mod denials;
mod login;
mod reload_hold;
mod revalidation;
mod undecided;
mod waiting;
pub use login::{Attempt, LoginReply};
pub(crate) use reload_hold::Closing;
pub use reload_hold::Sighup;

use reload_hold::ReloadHold;
use revalidation::Finding;

/// Decides who may log in.
pub(crate) struct Authenticator {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    log_queue: Arc<LogQueue>,
    stats: Arc<Stats>,
    engine: Arc<Engine>,
    waiter: Arc<Waiter>,
    sessions: Arc<Sessions>,
    attempts: Arc<LoginAttempts>,
    local_users: Option<Arc<LocalUsers>>,
    files: Option<Arc<Files>>,
    events: Arc<Events>,
    tick_monitor: Arc<TickMonitor>,
    wake_broker: WakeBroker,
    authorizer: Arc<Authorizer>,
    lockout: Lockout,
    logins: Arc<Logins>,
    reload_hold: ReloadHold,
    /// For those who were closed instead of being answered.
    retry_answers: Arc<RetryAnswers>,
    /// What asking again about clients that are in came to.
    findings: Arc<Mailbox<Finding>>,
    /// How many of them are being asked about because their time has come.
    checks_under_way: Arc<AtomicUsize>,
    /// Whether a login may be answered later.
    delays_logins: bool,
    /// Whether the broker says who is connected.
    tells_who_connects: bool,
    /// Whether a client can be told that nobody can decide its login.
    tells_reasons: bool,
}

/// What the broker can do about logins.
#[derive(Clone, Copy)]
pub(crate) struct LoginCapabilities {
    pub delays_logins: bool,
    pub tells_who_connects: bool,
    pub tells_reasons: bool,
    pub sighup: Option<Sighup>,
}

impl Authenticator {
    pub(crate) fn new(
        services: &Services,
        authorizer: &Arc<Authorizer>,
        capabilities: LoginCapabilities,
    ) -> Self {
        let services = services.clone();
        let LoginCapabilities { delays_logins, tells_who_connects, tells_reasons, sighup } =
            capabilities;
        let (wake_broker, attempts) = (services.wake_broker, services.attempts);
        let logins = Logins::new(Arc::clone(&wake_broker), Arc::clone(&attempts));
        let lockout = Lockout::new(
            services.config.login_failures_max,
            services.config.login_failures_window,
            Arc::clone(&services.clock),
        );
        Self {
            authorizer: Arc::clone(authorizer),
            lockout,
            logins: Arc::new(logins),
            reload_hold: ReloadHold::new(sighup),
            retry_answers: RetryAnswers::new(Arc::clone(&services.clock)),
            findings: Mailbox::new(Arc::clone(&wake_broker)),
            checks_under_way: Arc::default(),
            delays_logins,
            tells_who_connects,
            tells_reasons,
            config: services.config,
            clock: services.clock,
            log_queue: services.log_queue,
            stats: services.stats,
            engine: services.engine,
            waiter: services.waiter,
            sessions: services.sessions,
            attempts,
            local_users: services.local_users,
            files: services.files,
            events: services.events,
            tick_monitor: services.tick_monitor,
            wake_broker,
        }
    }

    fn is_local(&self, username: &str) -> bool {
        self.local_users.as_ref().is_some_and(|users| users.contains(username))
    }

    /// The logins that wait.
    pub(crate) fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// A pass of the broker's loop begins: which logins that wait may be closed in it.
    pub(crate) fn begin_pass(&self, now: Instant) -> Closing {
        self.reload_hold.begin_pass(|| self.logins.wait_or_end(), now)
    }

    /// Closes the logins that wait of those who are meant.
    pub(crate) fn close_waiting(&self, is_meant: impl Fn(&Applicant) -> bool) {
        self.logins.close_waiting(is_meant);
    }

    /// The client of this handle has left, or its session has gone offline.
    pub(crate) fn left(&self, handle: usize) {
        self.logins.note_left(handle);
    }

    /// The own name of a client that the broker is letting in at this moment. From here on the broker knows
    /// it by that name, and so do the broker's other means, which may be asked next; the name that it bore is
    /// freed.
    pub(crate) fn own_name(&self, client: &dyn Client, username: Option<&str>) -> Option<String> {
        self.attempts.is_entering(client.handle()).then(|| self.enter(client, username)).flatten()
    }

    /// Lets SIGHUP through.
    pub(crate) fn shut_down(&self) {
        self.reload_hold.end();
    }

    /// The name that a client would bear while it waits.
    #[cfg(test)]
    pub(crate) fn placeholder(&self, username: &str) -> String {
        self.attempts.placeholder(username).unwrap()
    }
}
