//! The plugin itself: what it decides without asking, what it asks, and its life from start to end.

#![forbid(unsafe_code)]

use std::sync::Arc;

use log::Level;

use crate::answer::{Answer, Decision, Failure, Outcome};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{Config, LocalUsersAcl, Mistake, PasswordEncoding};
use crate::engine::Engine;
use crate::journal::Journal;
use crate::local_users::LocalUsers;
use crate::policy::{self, OnError};
use crate::pool::Spawn;
use crate::question::{About, Access, Action, Client, Kind, Password, Question};

/// One instance of the plugin; a broker may hold several, and they share nothing.
pub struct Plugin {
    config: Config,
    journal: Arc<Journal>,
    engine: Engine,
    local_users: Option<LocalUsers>,
}

impl Plugin {
    /// Starts an instance. No thread runs and no connection opens before the first question.
    ///
    /// # Errors
    /// What of the configuration cannot be had.
    pub fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        spawn: Spawn,
    ) -> Result<Self, Vec<Mistake>> {
        let journal = Journal::new(config.log_level, Arc::clone(&clock));
        let local_users = config.local_users.as_ref().map(|local| {
            LocalUsers::read(local.file.clone()).map_err(|error| {
                let path = local.file.to_string_lossy();
                Mistake::value("local_users_file", &path, &format!("a readable file ({error})"))
            })
        });
        let engine = Engine::new(&config, Arc::clone(&journal), clock, spawn)
            .map_err(|error| Mistake::overall(format!("no random bytes to be had: {error}")));
        match (engine, local_users.transpose()) {
            (Ok(engine), Ok(local_users)) => {
                let plugin = Self { config, journal, engine, local_users };
                plugin.announce();
                Ok(plugin)
            }
            (engine, local_users) => {
                Err(engine.err().into_iter().chain(local_users.err()).collect())
            }
        }
    }

    fn announce(&self) {
        let version = env!("CARGO_PKG_VERSION");
        log::info!(logger: *self.journal, "version {version}, {}", self.config);
        if self.config.on_error == OnError::Allow {
            log::warn!(
                logger: *self.journal,
                "on_error allow: while the API fails, everyone may log in and do everything"
            );
        }
    }

    /// May this client log in? `username` is none where the client gave none, or an empty one.
    pub fn login(&self, client: &dyn Client, username: Option<&str>, password: &[u8]) -> Decision {
        let Some(username) = username.or(self.config.anonymous_username.as_deref()) else {
            return Decision::Defer;
        };
        if self.config.routes.login.is_none() || self.is_local(username) {
            return Decision::Defer;
        }
        let Some(password) = self.encoded(password) else {
            log::info!(
                logger: *self.journal,
                "denied the login of {username:?}: the password is not UTF-8, and \
                 password_encoding is utf8"
            );
            return Decision::Deny;
        };
        let outcome = self.ask(client, username, About::Login { password });
        self.log_denial(client, username, &outcome);
        policy::decide(&outcome, self.config.on_error)
    }

    /// May this client do this?
    pub fn access(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
    ) -> Decision {
        if action.access == Access::Unsubscribe {
            return Decision::Allow;
        }
        if self.config.deny_special_chars && is_special(client.id(), username) {
            return Decision::Deny;
        }
        let Some(username) = username.or(self.config.anonymous_username.as_deref()) else {
            return Decision::Defer;
        };
        match &self.config.local_users {
            Some(local) if self.is_local(username) => match local.acl {
                LocalUsersAcl::Allow => Decision::Allow,
                LocalUsersAcl::Defer => Decision::Defer,
            },
            _ => self.ask_access(client, username, action),
        }
    }

    /// A superuser may do everything; of anyone else the ACL route is asked. A yes of either is
    /// final. Without one, a superuser route that failed is a failure: it might have said yes.
    fn ask_access(&self, client: &dyn Client, username: &str, action: Action<'_>) -> Decision {
        let superuser = match self.has_route(Kind::Superuser) {
            true => self.ask(client, username, About::Superuser),
            false => Ok(Answer::Deny),
        };
        if superuser == Ok(Answer::Allow) {
            return Decision::Allow;
        }
        if !self.has_route(Kind::Access) {
            return match superuser {
                Ok(_) => Decision::Defer,
                Err(_) => policy::decide(&superuser, self.config.on_error),
            };
        }
        let outcome = match (self.ask(client, username, About::Access(action)), superuser) {
            (Ok(Answer::Deny), Err(failure)) => Err(failure),
            (outcome, _) => outcome,
        };
        policy::decide(&outcome, self.config.on_error)
    }

    fn ask(&self, client: &dyn Client, username: &str, about: About<'_>) -> Outcome {
        let asked = self.engine.ask(&Question { client, username, about });
        let outcome = asked.wait(self.config.longest_request());
        // What the API itself did is reported where it was asked; these never got there.
        if let Err(failure @ (Failure::Overloaded | Failure::Stopping | Failure::Internal)) =
            &outcome
        {
            self.journal.seldom(Level::Error, failure.name(), || {
                format!("a question was not asked: {failure}")
            });
        }
        outcome
    }

    fn has_route(&self, kind: Kind) -> bool {
        self.config.routes.of(kind).is_some()
    }

    fn is_local(&self, username: &str) -> bool {
        self.local_users.as_ref().is_some_and(|users| users.contains(username))
    }

    fn encoded<'a>(&self, password: &'a [u8]) -> Option<Password<'a>> {
        match self.config.password_encoding {
            PasswordEncoding::Utf8 => std::str::from_utf8(password).ok().map(Password::Text),
            PasswordEncoding::Base64 => Some(Password::Base64(password)),
        }
    }

    fn log_denial(&self, client: &dyn Client, username: &str, outcome: &Outcome) {
        if *outcome == Ok(Answer::Deny) {
            let (id, address) = (client.id(), client.address().unwrap_or("unknown"));
            log::info!(
                logger: *self.journal,
                "denied the login of {username:?} (client {id:?}, address {address})"
            );
        }
    }

    /// SIGHUP: reads the local users' file again. Cached answers stay; each has its lifetime.
    pub fn reload(&self) {
        let Some(users) = &self.local_users else { return };
        let path = users.path().display();
        match users.reload() {
            Ok(count) => log::info!(logger: *self.journal, "{path}: {count} local users"),
            Err(error) => log::error!(
                logger: *self.journal,
                "option local_users_file: cannot read {path} again ({error}); the names that it \
                 held before stay"
            ),
        }
    }

    /// Notes a panic that was contained in a callback.
    pub fn note_defect(&self, what: &str) {
        log::error!(logger: *self.journal, "{what}; what was asked is refused");
    }

    /// Writes the lines that wait. For the broker's own thread.
    pub fn write_log(&self, broker: &dyn Broker) {
        self.journal.drain(|level, line| broker.log(level, line));
    }

    /// Ends every request and joins every thread.
    pub fn shut_down(&self) {
        self.engine.shut_down();
    }
}

/// A name with a wildcard in it could pass for a topic filter where the API builds one from it.
fn is_special(id: &str, username: Option<&str>) -> bool {
    let special = |name: &str| name.contains(['+', '#']);
    special(id) || username.is_some_and(special)
}
