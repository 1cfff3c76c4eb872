//! What all of an instance stands on: made once when it starts, and shared.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::events::Events;
use crate::files::Files;
use crate::local_users::LocalUsers;
use crate::log_queue::LogQueue;
use crate::login::LoginAttempts;
use crate::mailbox::WakeBroker;
use crate::retry_answers::RetryAnswers;
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::tick_monitor::TickMonitor;
use crate::waiter::Waiter;

/// The services of one instance.
#[derive(Clone)]
pub(crate) struct Services {
    pub config: Arc<Config>,
    pub clock: Arc<dyn Clock>,
    pub log_queue: Arc<LogQueue>,
    pub stats: Arc<Stats>,
    pub engine: Arc<Engine>,
    pub waiter: Arc<Waiter>,
    /// For those who were closed instead of being answered.
    pub retry_answers: Arc<RetryAnswers>,
    pub sessions: Arc<Sessions>,
    /// The whole process's, of all instances.
    pub attempts: Arc<LoginAttempts>,
    /// The users of Mosquitto's own password file.
    pub local_users: Option<Arc<LocalUsers>>,
    /// The files of mosquitto-go-auth's backend.
    pub files: Option<Arc<Files>>,
    /// Who is connected, and what the API is told of that.
    pub events: Arc<Events>,
    pub tick_monitor: Arc<TickMonitor>,
    pub wake_broker: WakeBroker,
}
