//! The control topic: commands from whoever the ACL lets publish to it.
//!
//! As other Mosquitto plugins do, it takes a JSON object with an array of commands and answers the
//! sender alone, with one response for each, on the topic with `/response` behind it.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use log::Level;
use serde_json::{Map, Value, json};

use super::Plugin;
use crate::api::Health;
use crate::broker::Broker;
use crate::cache::InvalidationScope;
use crate::events::ConnectedClient;
use crate::fleet::Do;
use crate::log_queue::quoted;
use crate::mailbox::Mailbox;
use crate::metrics::Snapshot;
use crate::question::Client;
use crate::sessions::AuthenticatedBy;
use crate::stats::{Counted, Kick};
use crate::sync::lock;

mod check;
mod command;
mod instances;
mod json;
mod list;
pub(crate) use command::Target;
pub use instances::Instances;
pub(crate) use instances::Membership;

use command::Command;
use instances::Recipient;

/// Reads a message for a fuzzer.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_commands(payload: &[u8]) {
    if let Ok(commands) = command::read(payload) {
        assert!(!commands.is_empty());
    }
}

/// Where commands come in.
pub(crate) const TOPIC: &str = "$CONTROL/http-auth/v1";

/// Where responses go out.
const RESPONSE_TOPIC: &str = "$CONTROL/http-auth/v1/response";

/// How many kicks are done in one tick: for each the plugin, and mostly the broker, look through all clients.
const KICKS: usize = 20;

/// The commands of one message, until the last of them is done.
struct Batch {
    client_id: String,
    /// None where a response is still to come.
    responses: Mutex<Vec<Option<Value>>>,
    outbox: Arc<Mailbox<ControlResponse>>,
}

/// What a client published to the control topic.
pub(crate) struct Message {
    client_id: String,
    payload: Vec<u8>,
}

/// A response on its way to the broker's thread.
pub(crate) struct ControlResponse {
    client_id: String,
    payload: String,
}

/// The place in a batch that a command's response belongs to.
struct ResponseSlot {
    batch: Arc<Batch>,
    index: usize,
    command: String,
    correlation: Option<Value>,
}

impl ResponseSlot {
    /// Responds to the command. With the last response, all are sent.
    fn respond(self, response: Result<Value, String>) {
        let mut object = json!({ "command": self.command });
        match response {
            Ok(Value::Null) => {}
            Ok(data) => object["data"] = data,
            Err(problem) => object["error"] = problem.into(),
        }
        if let Some(correlation) = self.correlation {
            object["correlationData"] = correlation;
        }
        let mut responses = lock(&self.batch.responses);
        responses[self.index] = Some(object);
        if responses.iter().all(Option::is_some) {
            let payload = json!({ "responses": *responses }).to_string();
            let client_id = self.batch.client_id.clone();
            self.batch.outbox.send(ControlResponse { client_id, payload });
        }
    }
}

impl Plugin {
    /// The broker asks whether this client may publish to the control topic.
    pub(crate) fn asked_about_commands(&self, handle: usize) {
        self.membership.note_commander(handle);
    }

    /// A client published this to the control topic, as its ACL allows. The broker hands it to one instance,
    /// but it is for the one that was asked about its sender.
    pub fn control(&self, client: &dyn Client, payload: &[u8]) {
        let client_id = client.id();
        match self.membership.recipient(client.handle()) {
            Recipient::This => self.obey_message(client_id, payload),
            Recipient::Other(inbox) => {
                inbox.send(Message { client_id: client_id.to_owned(), payload: payload.to_vec() });
            }
            Recipient::Nobody => self.services.log_queue.seldom(Level::Warn, "foreign commands", || {
                format!(
                    "commands of {} are not obeyed: it came by a listener where the plugin is not \
                     asked what it may do",
                    quoted(client_id)
                )
            }),
        }
    }

    fn obey_message(&self, client_id: &str, payload: &[u8]) {
        log::info!(
            logger: *self.services.log_queue,
            "{} sends commands: {:?}",
            quoted(client_id),
            String::from_utf8_lossy(&payload[..payload.len().min(400)])
        );
        let parsed = command::read(payload);
        let names: Vec<_> = match &parsed {
            Ok(commands) => {
                commands.iter().map(|c| (c.name.clone(), c.correlation.clone())).collect()
            }
            Err(_) => vec![("Unknown command".to_owned(), None)],
        };
        let batch = Arc::new(Batch {
            client_id: client_id.to_owned(),
            responses: Mutex::new(vec![None; names.len()]),
            outbox: Arc::clone(&self.outbox),
        });
        let slots = names.into_iter().enumerate().map(|(index, (command, correlation))| {
            ResponseSlot { batch: Arc::clone(&batch), index, command, correlation }
        });
        match parsed {
            Ok(commands) => {
                for (given, slot) in commands.into_iter().zip(slots) {
                    match given.command {
                        Ok(command) => self.obey(command, slot),
                        Err(problem) => slot.respond(Err(problem)),
                    }
                }
            }
            Err(problem) => slots.for_each(|slot| slot.respond(Err(problem.clone()))),
        }
    }

    fn obey(&self, command: Command, slot: ResponseSlot) {
        match command {
            Command::GetStatus => slot.respond(Ok(self.status())),
            Command::Invalidate(scope, here) => {
                if let Some(fleet) = self.services.engine.fleet().filter(|_| here) {
                    fleet.outdate_here(scope.clone());
                }
                let asked_again = self.invalidate(scope.clone());
                self.tell_fleet(Do::Invalidate, scope, here, move |fleet| {
                    let mut data = json!({ "sessionsAskedAgain": asked_again });
                    slot.respond(fleet.map(|fleet| {
                        if let Some(fleet) = fleet {
                            data["fleet"] = fleet;
                        }
                        data
                    }));
                });
            }
            Command::Kick(target, here) => {
                let scope = target.scope();
                // Not from here: the broker is in the middle of reading from a client.
                self.kicks.send(target);
                self.tell_fleet(Do::Kick, scope, here, move |fleet| {
                    let data = |fleet| json!({ "fleet": fleet });
                    slot.respond(fleet.map(|fleet| fleet.map(data).unwrap_or_default()));
                });
            }
            Command::CheckAccess(check) => self.check_access(check, slot),
            Command::ListClients(page) => slot.respond(Ok(self.list_clients(&page))),
        }
    }

    /// Believes nothing any more that was answered about these up to now; returns how many clients
    /// that are in are asked about again.
    pub(super) fn invalidate(&self, scope: InvalidationScope) -> usize {
        self.services.engine.outdate(scope.clone());
        self.ask_again(&scope)
    }

    /// The same for the clients that are in and what waits for them.
    fn ask_again(&self, scope: &InvalidationScope) -> usize {
        self.authorizer.revoke_held(scope);
        self.services.sessions.outdate(scope, self.services.clock.now())
    }

    /// The broker's thread looks up: sends what is to be sent, and disconnects who is to be.
    pub(super) fn finish_commands(&self, broker: &dyn Broker) {
        for message in self.inbox.drain() {
            self.obey_message(&message.client_id, &message.payload);
        }
        for scope in self.taken_back.drain() {
            self.ask_again(&scope);
        }
        self.respond_for_fleet();
        let responses = self.outbox.drain();
        for response in &responses {
            broker.publish_to(&response.client_id, RESPONSE_TOPIC, &response.payload);
        }
        if !responses.is_empty() {
            // Mosquitto 2.1 sends them in its next pass, before which it would sleep.
            (self.services.wake_broker)();
        }
        for target in self.kicks.take(KICKS) {
            self.services.stats.kicked(Kick::Command);
            self.kick(broker, &target);
        }
        if self.kicks.any() {
            // An idle broker would look up again only after a while.
            (self.services.wake_broker)();
        }
    }

    /// Disconnects a client that this instance let in.
    fn kick(&self, broker: &dyn Broker, target: &Target) {
        self.authenticator.close_waiting(|applicant| match target {
            Target::ClientId(id) => applicant.client_id == *id,
            Target::Username(username) => applicant.username == *username,
        });
        self.authorizer.revoke_held(&target.scope());
        match target {
            Target::ClientId(id) if self.membership.may_own(id) => {
                let is_meant = |client: &ConnectedClient| client.client_id == *id;
                self.services.events.kicked(Kick::Command, is_meant);
                broker.disconnect(id);
            }
            Target::ClientId(_) => {}
            Target::Username(username) if self.membership.is_alone() => {
                let is_meant =
                    |client: &ConnectedClient| client.username.as_deref() == Some(username);
                self.services.events.kicked(Kick::Command, is_meant);
                broker.close_by_username(username);
            }
            // The broker would close the connections of all listeners.
            Target::Username(username) => {
                let known = self.services.sessions.identifiers_of(username).into_iter();
                let own = known.filter(|(id, authenticated_by)| {
                    *authenticated_by == AuthenticatedBy::Api || self.membership.may_own(id)
                });
                let own: HashSet<_> = own.map(|(id, _)| id).collect();
                let is_meant = |client: &ConnectedClient| own.contains(&*client.client_id);
                self.services.events.kicked(Kick::Command, is_meant);
                own.iter().for_each(|id| broker.disconnect(id));
            }
        }
    }

    fn status(&self) -> Value {
        let snapshot = self.status.snapshot();
        let Snapshot { counts, load, .. } = &snapshot;
        let decisions = |[allowed, denied, deferred, unavailable]: [u64; 4], why: &Counted| {
            json!({ "allowed": allowed, "denied": denied, "deferred": deferred,
                    "unavailable": unavailable, "deniedBy": happened(why) })
        };
        let endpoint = |health: &Health| {
            json!({ "url": health.origin, "inService": health.in_service,
                    "outages": health.outages })
        };
        let misses: u64 = counts.misses.iter().map(|(_, count)| count).sum();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "logins": decisions(counts.logins, &counts.denied_logins),
            "access": decisions(counts.access, &counts.denied_access),
            "unanswered": happened(&counts.unanswered),
            "cache": { "hits": counts.hits, "misses": misses, "missed": happened(&counts.misses),
                       "answers": snapshot.answers, "bytes": snapshot.answers_bytes },
            "requests": { "answered": counts.answers, "failed": happened(&counts.failures),
                          "inFlight": counts.in_flight, "queued": load.urgent + load.quiet },
            "endpoints": snapshot.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "sessions": snapshot.sessions,
            "loginsWaiting": snapshot.logins_waiting,
            "deliveriesWaiting": snapshot.held,
            "kicks": happened(&counts.kicks),
            "events": { "waiting": snapshot.events_waiting, "failures": counts.event_failures,
                        "ended": happened(&counts.events) },
            "brokerHeldMs": counts.held.as_millis() as u64,
            "fleet": self.fleet_status(),
        })
    }
}

/// What was counted at least once.
fn happened(counted: &Counted) -> Value {
    let some = counted.iter().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::ManualClock;
    use crate::fake::{self, FakeBroker, FakeClient};
    use crate::plugin::HostCapabilities;

    #[test]
    fn many_kicks_at_once_are_done_in_portions() {
        let options = [("http_host", "127.0.0.1"), ("http_user_route", "/user")];
        let woken = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&woken);
        let capabilities = HostCapabilities {
            wake_broker: Arc::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)),
            ..HostCapabilities::of(true, |_, _| Err(io::ErrorKind::WouldBlock.into()))
        };
        let config = fake::config(&options);
        let plugin = Plugin::start(config, ManualClock::new(), capabilities).unwrap();
        let kick = |number| json!({"command": "kick", "username": format!("user-{number}")});
        let commands: Vec<_> = (0..95).map(kick).collect();
        let operator = &FakeClient::default() as &dyn Client;
        plugin.asked_about_commands(operator.handle());
        plugin.control(operator, json!({ "commands": commands }).to_string().as_bytes());
        let (broker, mut portions) = (FakeBroker::default(), Vec::new());
        // With the first portion, the response is on its way.
        let mut calls = Vec::new();
        for _ in 0..5 {
            let (before, woken_before) = (broker.closed.get(), woken.load(Ordering::Relaxed));
            plugin.tick(&broker);
            portions.push(broker.closed.get() - before);
            calls.push(woken.load(Ordering::Relaxed) - woken_before);
        }
        assert_eq!(portions, [20, 20, 20, 20, 15]);
        assert_eq!(calls, [2, 1, 1, 1, 0], "it is called for what is left");
        plugin.shut_down();
    }
}
