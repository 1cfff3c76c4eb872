//! What happens to the simulated broker's clients, in the order of Mosquitto's events.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{MOUNT, RETRY, TOPICS, Workers, World};
use crate::answer::Decision;
use crate::clock::Clock as _;
use crate::fuzzing::broker::{Connection, Identity, Stage};
use crate::fuzzing::ledger::{Asked, Subject};
use crate::plugin::{AccessReply, Attempt, Check, LoginReply};
use crate::question::{Access, Action, Departure};

impl World {
    pub(super) fn connect(
        &self,
        instance: usize,
        id: &str,
        name: &str,
        password: &str,
        keep: bool,
        workers: Workers,
    ) {
        let is_waiting = |client: &Connection| {
            client.stage == Stage::Waiting && client.identity.id_at_broker() == id
        };
        if self.find(is_waiting).is_some() {
            // The broker closes it without asking anybody.
            return;
        }
        if workers == Workers::AtOnce {
            self.catch_up();
        }
        let free = self.clients.borrow().iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.clients.borrow_mut().push(None);
            self.clients.borrow().len() - 1
        });
        let identity = Rc::new(Identity::new(id, at + 1, name, keep));
        let began = self.ledger.borrow_mut().event();
        self.clients.borrow_mut()[at] = Some(Connection {
            identity: Rc::clone(&identity),
            instance,
            username: name.to_owned(),
            password: password.to_owned(),
            stage: Stage::Connecting,
            keep,
            filters: BTreeSet::new(),
            began,
        });
        let plugin = &self.plugins[instance];
        let before = self.ticking.replace(instance);
        let reply = self.with(workers, || {
            plugin.tick_if_overdue(self);
            plugin.login(&Attempt {
                client: &*identity,
                username: Some(name),
                password: password.as_bytes(),
                broker: Some(self),
            })
        });
        self.ticking.set(before);
        let connection = self.get(at);
        let allowed = self.ledger.borrow().answer_since(&connection.login(), began);
        match reply {
            LoginReply::Now(Decision::Allow) => self.let_in(at),
            LoginReply::Later => {
                self.claim(self.is_2_1, || "Mosquitto 2.0 was told to wait".to_owned());
                self.change(at, |client| client.stage = Stage::Waiting);
            }
            LoginReply::Now(decision) => {
                self.claim(allowed != Some(Some(true)), || {
                    format!("allowed: {connection:?} {decision:?}")
                });
                if decision == Decision::Deny {
                    self.judge(&connection.login(), &connection, false);
                }
                self.remove(at);
            }
        }
    }

    /// Whether the API said this, and nothing else since, of what the broker was told.
    pub(super) fn judge(&self, asked: &Asked, client: &Connection, said: bool) {
        let now = self.clock.now();
        let was_closed = self.closed.borrow().contains(&(asked.instance, client.username.clone()));
        let ttl = match asked.subject {
            // It may have been long on its way before it was kept.
            Subject::Access { .. } if was_closed => 2 * RETRY,
            Subject::Access { .. } => self.ttl,
            Subject::Login { .. } => self.ttl.max(RETRY),
        };
        let is_said = self.ledger.borrow().serves(asked, said, client.began, now, ttl);
        let ledger = || self.ledger.borrow().about(asked);
        self.claim(is_said, || format!("who said {said}? {asked:?} {client:?} {}", ledger()));
    }

    pub(super) fn let_in(&self, at: usize) {
        let new = self.get(at);
        self.judge(&new.login(), &new, true);
        let same = |old: &Connection| {
            old.identity.id == new.identity.id && matches!(old.stage, Stage::In | Stage::Offline)
        };
        if let Some(old_at) = self.find(same) {
            let old = self.get(old_at);
            if old.keep && new.keep {
                self.change(at, |client| client.filters.clone_from(&old.filters));
            }
            if old.stage == Stage::In {
                self.will(&old);
            }
            self.remove(old_at);
        }
        let kept = self.get(at).filters;
        kept.iter().for_each(|topic| {
            self.check(at, topic, Access::Read, Workers::AtOnce);
        });
        self.change(at, |client| client.stage = Stage::In);
        if self.is_2_1 {
            let name = new.identity.name();
            self.plugins[new.instance].connected(&*new.identity, Some(&name));
        }
        let has_its_name = new.identity.name() == new.username;
        self.claim(has_its_name, || format!("{new:?} has not got its name back"));
    }

    /// The broker's event, after which the handle is another's.
    pub(super) fn remove(&self, at: usize) {
        let client = self.get(at);
        self.left(&client, Departure::Ended);
        self.clients.borrow_mut()[at] = None;
    }

    fn left(&self, client: &Connection, departure: Departure) {
        let departure = if self.is_2_1 { departure } else { Departure::Unclear };
        self.plugins[client.instance].left(client.identity.handle, departure, None);
    }

    /// The plugin's reply to a check.
    fn access(
        &self,
        client: &Connection,
        username: Option<&str>,
        action: Action<'_>,
    ) -> AccessReply {
        self.plugins[client.instance].access(&Check {
            client: &*client.identity,
            username,
            action,
            message: None,
            broker: Some(self),
        })
    }

    fn will(&self, client: &Connection) {
        let name = client.identity.name();
        client.identity.lose_address();
        let is_nobody = client.stage == Stage::Waiting;
        let action = Action { access: Access::Write, topic: "m/will", qos: 0, retain: false };
        let name = (!is_nobody).then_some(&*name);
        let reply = self.with(Workers::Wait, || self.access(client, name, action));
        let is_denied = !is_nobody || reply == AccessReply::Deny;
        self.claim(is_denied, || format!("the Will of {client:?}, who is nobody: {reply:?}"));
    }

    /// A client goes, or is made to.
    pub(super) fn leave(&self, at: usize, has_will: bool) {
        let client = self.get(at);
        if client.stage == Stage::Offline {
            return;
        }
        if client.stage == Stage::Waiting {
            // No event tells of it.
            self.clients.borrow_mut()[at] = None;
            return self.will(&client);
        }
        self.left(&client, if client.keep { Departure::Offline } else { Departure::Ended });
        if has_will {
            self.will(&client);
        }
        if client.keep {
            client.identity.lose_address();
            self.change(at, |client| client.stage = Stage::Offline);
        } else {
            self.clients.borrow_mut()[at] = None;
        }
    }

    fn check(&self, at: usize, topic: &str, access: Access, workers: Workers) -> bool {
        let client = self.get(at);
        let name = client.identity.name();
        let action = Action { access, topic, qos: 0, retain: false };
        if workers == Workers::AtOnce {
            self.catch_up();
        }
        let began = self.ledger.borrow_mut().event();
        let reply = self.with(workers, || self.access(&client, Some(&name), action));
        let asked = client.access(topic, access);
        let by_rules = client.username == "rules" && topic.starts_with("m/r/");
        let said = self.ledger.borrow().answer_since(&asked, began);
        let is_heard = said != Some(Some(true)) || reply == AccessReply::Allow;
        self.claim(is_heard, || format!("{asked:?} was allowed: {reply:?}"));
        if reply == AccessReply::Close {
            self.closed.borrow_mut().insert((client.instance, client.username.clone()));
            self.leave(at, true);
        } else if reply == AccessReply::Allow && !by_rules {
            self.judge(&asked, &Connection { began, ..client }, true);
        }
        reply == AccessReply::Allow
    }

    fn pick_in(&self) -> Option<usize> {
        self.pick().filter(|at| self.get(*at).stage == Stage::In)
    }

    pub(super) fn subscribe(&self, workers: Workers) {
        let Some(at) = self.pick_in() else { return };
        let topic = format!("{MOUNT}{}", self.choose(&TOPICS));
        if self.check(at, &topic, Access::Subscribe, workers) {
            self.change(at, |client| _ = client.filters.insert(topic));
        }
    }

    /// The broker asks without the mount point.
    pub(super) fn unsubscribe(&self) {
        let Some(at) = self.pick_in() else { return };
        let (client, topic) = (self.get(at), self.choose(&TOPICS));
        let action = Action { access: Access::Unsubscribe, topic, qos: 0, retain: false };
        let name = client.identity.name();
        let reply = self.access(&client, Some(&name), action);
        self.claim(reply == AccessReply::Allow, || format!("{client:?} may not unsubscribe"));
        self.change(at, |client| _ = client.filters.remove(&format!("{MOUNT}{topic}")));
    }

    pub(super) fn publish(&self, workers: Workers) {
        let Some(at) = self.pick_in() else { return };
        let topic = format!("{MOUNT}{}", self.choose(&TOPICS));
        if !self.check(at, &topic, Access::Write, workers) {
            return;
        }
        let clients = self.clients.borrow().len();
        for reader in 0..clients {
            let has = |client: &Connection| {
                client.filters.contains(&topic)
                    && matches!(client.stage, Stage::In | Stage::Offline)
            };
            if self.clients.borrow()[reader].as_ref().is_some_and(has) {
                self.check(reader, &topic, Access::Read, workers);
            }
        }
    }
}
