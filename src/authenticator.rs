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
use crate::lockout::Lockout;
use crate::login::{Applicant, Logins};
use crate::mailbox::Mailbox;
use crate::question::Client;
use crate::services::Services;

mod assigned_name;
mod delayed;
mod denials;
mod late_denials;
mod login;
mod reload_hold;
mod revalidation;
mod undecided;
mod waiting;
pub use login::{Attempt, LoginReply};
pub(crate) use reload_hold::Closing;
pub use reload_hold::Sighup;

use late_denials::LateDenials;
use reload_hold::ReloadHold;
use revalidation::Finding;

/// Decides who may log in.
pub(crate) struct Authenticator {
    services: Services,
    authorizer: Arc<Authorizer>,
    lockout: Lockout,
    late_denials: Arc<LateDenials>,
    logins: Arc<Logins>,
    reload_hold: ReloadHold,
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
        let LoginCapabilities { delays_logins, tells_who_connects, tells_reasons, sighup } =
            capabilities;
        let (wake_broker, attempts) = (&services.wake_broker, &services.attempts);
        let logins = Logins::new(Arc::clone(wake_broker), Arc::clone(attempts));
        let lockout = Lockout::new(
            services.config.login_failures_max,
            services.config.login_failures_window,
            Arc::clone(&services.clock),
        );
        Self {
            services: services.clone(),
            authorizer: Arc::clone(authorizer),
            lockout,
            late_denials: LateDenials::new(
                Arc::clone(wake_broker),
                services.retry_answers.denials_life(),
            ),
            logins: Arc::new(logins),
            reload_hold: ReloadHold::new(sighup),
            findings: Mailbox::new(Arc::clone(wake_broker)),
            checks_under_way: Arc::default(),
            delays_logins,
            tells_who_connects,
            tells_reasons,
        }
    }

    fn is_local(&self, username: &str) -> bool {
        self.services.local_users.as_ref().is_some_and(|users| users.contains(username))
    }

    /// The logins that wait.
    pub(crate) fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// A pass of the broker's loop begins: which logins that wait may be closed in it.
    pub(crate) fn begin_pass(&self, now: Instant) -> Closing {
        self.reload_hold.begin_pass(|| self.logins.wait_or_end(), now)
    }

    /// The broker does not tell when a pass begins.
    pub(crate) fn look_without_passes(&self, now: Instant) {
        self.reload_hold.look_without_passes(|| self.logins.wait_or_end(), now);
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
        self.services
            .attempts
            .is_entering(client.handle())
            .then(|| self.enter(client, username))
            .flatten()
    }

    /// The broker reads its configuration again.
    pub(crate) fn reloads(&self) {
        self.reload_hold.reloads();
    }

    /// Lets SIGHUP through.
    pub(crate) fn shut_down(&self) {
        self.reload_hold.end();
    }

    /// The name that a client would bear while it waits.
    #[cfg(test)]
    pub(crate) fn placeholder(&self, username: &str) -> String {
        self.services.attempts.placeholder(username).unwrap()
    }
}
