//! What an instance does when it hears of what other brokers have taken back, and what it tells them.

#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};
use std::time::Instant;

use serde_json::{Value, json};

use super::Plugin;
use super::control::Target;
use crate::cache::InvalidationScope;
use crate::engine::Engine;
use crate::failpoint;
use crate::fleet::{Applied, Do, Fleet, Listener, Status};
use crate::mailbox::Mailbox;
use crate::pool::Spawn;
use crate::sync::catch_panic;

/// Does at this broker what was done at another. What is known of clients that are in is for the broker's
/// thread: it may be in the middle of letting one in.
struct Follower {
    /// The engine has the fleet, which has this.
    engine: Weak<Engine>,
    taken_back: Arc<Mailbox<InvalidationScope>>,
    kicks: Arc<Mailbox<Target>>,
}

impl Listener for Follower {
    fn outdate(&self, scope: InvalidationScope, sessions: bool) {
        catch_panic(|| {
            failpoint::reached("fleet");
            // First: what is asked because of the other is asked anew.
            if let Some(engine) = self.engine.upgrade() {
                engine.outdate(scope.clone());
            }
            if sessions {
                self.taken_back.send(scope);
            }
        });
    }

    fn kick(&self, scope: InvalidationScope) {
        let target = match (scope.client_id, scope.username) {
            (Some(id), _) => Target::ClientId(id),
            (None, Some(username)) => Target::Username(username),
            (None, None) => return,
        };
        self.kicks.send(target);
    }

    fn ask_again(&self) {
        self.taken_back.send(InvalidationScope::default());
    }

    fn doubt(&self, until: Option<Instant>) {
        if let Some(engine) = self.engine.upgrade() {
            engine.doubt(until);
        }
    }
}

impl Plugin {
    fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.services.engine.fleet()
    }

    /// Has the fleet's threads start, where there is a fleet.
    pub(super) fn join_fleet(&self, spawn: Spawn) {
        let Some(fleet) = self.fleet() else { return };
        let follower = Follower {
            engine: Arc::downgrade(&self.services.engine),
            taken_back: Arc::clone(&self.taken_back),
            kicks: Arc::clone(&self.kicks),
        };
        fleet.start(Arc::new(follower), self.membership.number(), spawn);
    }

    /// Tells the other brokers of what was done here, unless it is meant for this one alone; `respond`
    /// hears how far it has come, or at once that there is nobody to tell, or why the others are not told.
    pub(super) fn tell_fleet(
        &self,
        what: Do,
        scope: InvalidationScope,
        here: bool,
        respond: impl FnOnce(Result<Option<Value>, String>) + Send + 'static,
    ) {
        match self.fleet().filter(|_| !here) {
            None => respond(Ok(None)),
            Some(fleet) => fleet.publish(what, scope, |applied| {
                let progress = |Applied { brokers, applied, waiting }| {
                    json!({ "brokers": brokers, "applied": applied, "waiting": waiting })
                };
                respond(applied.map(|applied| Some(progress(applied))));
            }),
        }
    }

    /// Responds to commands for which other brokers have been waited for long enough.
    pub(super) fn respond_for_fleet(&self) {
        if let Some(fleet) = self.fleet() {
            fleet.respond_overdue();
        }
    }

    /// How the fleet does, for `getStatus`.
    pub(super) fn fleet_status(&self) -> Value {
        let Some(fleet) = self.fleet() else { return Value::Null };
        let Status { name, broker, is_in_touch, members, outbox, counted, .. } = fleet.status();
        let lookups: serde_json::Map<_, _> = counted
            .lookups
            .into_iter()
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect();
        json!({ "name": name, "broker": broker, "inTouch": is_in_touch, "brokers": members,
                "outbox": outbox, "lookups": lookups })
    }
}
