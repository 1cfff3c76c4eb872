//! What the broker, and the process that it runs in, can do for the plugin.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::control::Instances;
use crate::api::Observer;
use crate::authenticator::Sighup;
use crate::login::LoginAttempts;
use crate::mailbox::WakeBroker;
use crate::pool::Spawn;
use crate::sessions::Fetch;

/// What the broker, and the process that it runs in, can do for the plugin.
pub struct HostCapabilities {
    /// Whether a login may be answered later.
    pub delays_logins: bool,
    /// Whether the broker says who is connected.
    pub tells_who_connects: bool,
    /// Whether a client can be told that nobody can decide its login.
    pub tells_reasons: bool,
    /// Whether a client that comes over a websocket can choose what the broker takes for its address.
    pub lets_websockets_choose: bool,
    /// Starts a thread.
    pub spawn: Spawn,
    /// Calls the broker's thread.
    pub wake_broker: WakeBroker,
    /// Holds SIGHUP back from the broker's thread, where logins wait.
    pub sighup: Option<Sighup>,
    /// Fetches what is looked at next into the processor's caches.
    pub fetch: Fetch,
    /// Sees every request; a broker has nobody for that.
    pub observer: Option<Arc<dyn Observer>>,
    /// The process's attempts to log in.
    pub login_attempts: Arc<LoginAttempts>,
    /// Says yes to the first instance of a process that asks, and to no other: they would publish on
    /// the same topics.
    pub claim_topics: fn() -> bool,
    /// All instances of the process.
    pub instances: Arc<Instances>,
}

#[cfg(any(test, fuzzing))]
impl HostCapabilities {
    /// Those of a broker of the newer line, or of the older one, in a process of its own.
    #[allow(clippy::expect_used, reason = "for tests")]
    pub(crate) fn of(is_2_1: bool, spawn: Spawn) -> Self {
        Self {
            delays_logins: is_2_1,
            tells_who_connects: is_2_1,
            tells_reasons: is_2_1,
            lets_websockets_choose: !is_2_1,
            spawn,
            wake_broker: Arc::new(|| {}),
            sighup: None,
            fetch: |_| {},
            observer: None,
            login_attempts: Arc::new(LoginAttempts::new().expect("there are random bytes")),
            claim_topics: || false,
            instances: Arc::default(),
        }
    }
}
