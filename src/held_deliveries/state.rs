//! Who waits for what, and when a queue is looked at.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use smol_str::SmolStr;

use super::message::{Message, Payload};
use super::{AnswersSoFar, QueueId, Recipient};
use crate::memory::MemoryPermit;
use crate::question::ClientSnapshot;

/// What is known of the client that an identifier belonged to last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Online,
    /// The session is kept, and the broker tells who connects under its identifier.
    Offline,
    /// Perhaps it is kept, and perhaps somebody else has its identifier by now: nothing is sent until the
    /// broker has named the user again.
    Unnamed,
    /// It is kept, since the broker has asked about it in this pass of its loop.
    Named,
}

/// Somebody of whom it is not known yet whether the broker lets it in: it tells of a refusal within this
/// pass of its loop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its handle.
    pub handle: usize,
    /// Whether the session that there is goes on with it.
    pub keeps: bool,
}

pub(crate) struct Held {
    pub handle: usize,
    pub username: SmolStr,
    pub client: Arc<ClientSnapshot>,
    pub(crate) presence: Presence,
    /// Who comes in under the identifier at this moment.
    pub(crate) entry: Option<Entry>,
    pub(crate) queues: HashMap<Arc<str>, QueueId>,
    /// What all of it takes, with payloads that others share.
    pub bytes: usize,
    /// Whether it stands in [`State::unnamed`].
    pub(crate) is_listed: bool,
    pub(super) _permit: MemoryPermit,
}

impl Held {
    /// Whether the identifier is known to be this user's.
    pub(crate) fn is_certain(&self) -> bool {
        self.entry.is_none() && self.presence != Presence::Unnamed
    }
}

pub(crate) struct Queue {
    pub client_id: SmolStr,
    pub topic: Arc<str>,
    pub messages: VecDeque<Message>,
    /// How many of them, from the front, were queued for the session when its client came back.
    pub older: usize,
    /// The number of the question that is on its way.
    pub asked: Option<u64>,
    pub(crate) answers: AnswersSoFar,
    pub failures: u32,
    /// When it is looked at next, without an answer.
    pub(crate) timer: Option<Instant>,
    /// Whether the broker has something of it that it has not delivered yet.
    pub(crate) is_sending: bool,
    /// Whether the next message is allowed, and waits for the broker to name its recipient.
    pub(crate) awaits_name: bool,
    /// What it takes beside its messages.
    pub(super) permit: MemoryPermit,
}

#[derive(Default)]
pub(crate) struct State {
    pub clients: HashMap<SmolStr, Held>,
    pub(crate) client_ids: HashMap<usize, SmolStr>,
    pub(crate) queues: HashMap<QueueId, Queue>,
    pub(crate) timers: BTreeSet<(Instant, QueueId)>,
    /// Queues to be looked at next.
    pub ready: VecDeque<QueueId>,
    /// Queues of which something was sent since the last look.
    pub sending: Vec<QueueId>,
    /// The payload that was kept last.
    pub payload: Weak<Payload>,
    pub next: u64,
    pub messages: usize,
    /// Those under whose identifier somebody came of whom it is not known whether it is in.
    pub entered: Vec<SmolStr>,
    /// Those that the broker named in this pass of its loop.
    pub named: Vec<SmolStr>,
    /// Those whose deliveries wait until they are named, the first to do so first. Some have been since.
    pub unnamed: VecDeque<SmolStr>,
}

impl State {
    /// Whoever came under this identifier is in; how many deliveries are dropped for that.
    pub(crate) fn settle(&mut self, client_id: &str) -> usize {
        let entry = self.clients.get_mut(client_id).and_then(|held| held.entry.take());
        match entry {
            Some(Entry { keeps: false, .. }) => self.forget(client_id),
            Some(Entry { handle, .. }) => {
                self.goes_on(client_id, handle, true);
                0
            }
            None => 0,
        }
    }

    /// The client that these deliveries are for goes on under this handle. What the broker queued for its
    /// session is older than all of them, and they are asked about anew.
    pub(crate) fn goes_on(&mut self, client_id: &str, handle: usize, is_online: bool) {
        let id = self.client_id(client_id);
        let Some(held) = self.clients.get_mut(client_id) else { return };
        let before = std::mem::replace(&mut held.handle, handle);
        held.presence = Presence::Unnamed;
        for queue in held.queues.values() {
            if let Some(found) = self.queues.get_mut(queue) {
                found.older = 0;
                if found.awaits_name {
                    found.answers = AnswersSoFar::default();
                }
            }
        }
        self.unlink(before, client_id);
        self.client_ids.insert(handle, id);
        self.is_named(client_id, is_online);
    }

    /// The broker has named this client, which is online, or may be gone in another pass of its loop.
    pub(crate) fn is_named(&mut self, client_id: &str, is_online: bool) {
        let id = self.client_id(client_id);
        let Some(held) = self.clients.get_mut(client_id) else { return };
        let was_certain = held.presence != Presence::Unnamed;
        if is_online {
            held.presence = Presence::Online;
        } else if !was_certain {
            held.presence = Presence::Named;
            self.named.push(id);
        }
        if !was_certain {
            self.ready.extend(held.queues.values());
        }
    }

    /// Somebody may come in under this identifier.
    pub(crate) fn enters(&mut self, client_id: &str, entry: Entry) {
        let id = self.client_id(client_id);
        if let Some(held) = self.clients.get_mut(client_id) {
            held.entry = Some(entry);
            self.entered.push(id);
        }
    }

    /// The broker does not let in whoever was to come in by this handle; whether there was anybody.
    pub(crate) fn stays_out(&mut self, handle: usize) -> bool {
        for client_id in &self.entered {
            let Some(held) = self.clients.get_mut(client_id) else { continue };
            if held.entry.is_some_and(|entry| entry.handle == handle) {
                held.entry = None;
                self.ready.extend(held.queues.values());
                return true;
            }
        }
        false
    }

    /// Nothing is sent to this client until the broker has named it.
    pub(crate) fn wait_for_name(&mut self, client_id: &str) {
        let id = self.client_id(client_id);
        let Some(held) = self.clients.get_mut(client_id) else { return };
        held.presence = Presence::Unnamed;
        if !std::mem::replace(&mut held.is_listed, true) {
            self.unnamed.push_back(id);
        }
    }

    /// Drops what waits for the client that has been waiting for its name the longest; how many deliveries
    /// that is. None: there is no such client.
    pub(crate) fn forget_unnamed(&mut self) -> Option<usize> {
        while let Some(client_id) = self.unnamed.pop_front() {
            let Some(held) = self.clients.get_mut(&client_id) else { continue };
            held.is_listed = false;
            if held.presence == Presence::Unnamed && held.entry.is_none() {
                return Some(self.forget(&client_id));
            }
        }
        None
    }

    /// The identifier of this client, as it is kept.
    fn client_id(&self, client_id: &str) -> SmolStr {
        let known = self.clients.get_key_value(client_id);
        known.map_or_else(|| client_id.into(), |(known, _)| known.clone())
    }

    /// A client for which nothing has waited yet.
    pub(crate) fn add_client(
        &mut self,
        recipient: Recipient<'_>,
        presence: Presence,
        client: Arc<ClientSnapshot>,
        permit: MemoryPermit,
    ) {
        let Recipient { handle, client_id, username } = recipient;
        let client_id = SmolStr::from(client_id);
        self.client_ids.insert(handle, client_id.clone());
        if presence == Presence::Named {
            self.named.push(client_id.clone());
        }
        let held = Held {
            handle,
            username: username.into(),
            client,
            presence,
            entry: None,
            queues: HashMap::new(),
            bytes: permit.bytes(),
            is_listed: false,
            _permit: permit,
        };
        self.clients.insert(client_id, held);
    }

    /// A queue for this client and topic.
    pub(crate) fn add_queue(
        &mut self,
        client_id: &str,
        topic: &str,
        permit: MemoryPermit,
    ) -> QueueId {
        self.next += 1;
        let (client_id, topic) = (self.client_id(client_id), Arc::<str>::from(topic));
        if let Some(held) = self.clients.get_mut(&client_id) {
            held.queues.insert(Arc::clone(&topic), self.next);
            held.bytes += permit.bytes();
        }
        let queue = Queue {
            client_id,
            topic,
            messages: VecDeque::new(),
            older: 0,
            asked: None,
            answers: AnswersSoFar::default(),
            failures: 0,
            timer: None,
            is_sending: false,
            awaits_name: false,
            permit,
        };
        self.queues.insert(self.next, queue);
        self.next
    }

    /// Has a message wait: behind all others, or behind those alone that are older than what waits.
    pub(crate) fn append(
        &mut self,
        queue: QueueId,
        client_id: &str,
        message: Message,
        is_older: bool,
    ) {
        if let Some(held) = self.clients.get_mut(client_id) {
            held.bytes += message.bytes;
        }
        if let Some(found) = self.queues.get_mut(&queue) {
            let position = if is_older { found.older } else { found.messages.len() };
            found.older += usize::from(is_older);
            found.messages.insert(position, message);
            self.messages += 1;
            if position == 0 {
                if found.messages.len() > 1 {
                    // What was asked is about another one.
                    found.asked = None;
                    found.awaits_name = false;
                    found.answers = AnswersSoFar::default();
                    self.ready.push_back(queue);
                }
                self.rewind(queue, None);
            }
        }
    }

    /// Has the queue looked at when its next message is to be given up, or before.
    pub(crate) fn rewind(&mut self, queue: QueueId, before: Option<Instant>) {
        let Some(found) = self.queues.get_mut(&queue) else { return };
        if let Some(at) = found.timer.take() {
            self.timers.remove(&(at, queue));
        }
        let until = found.messages.front().map(|message| message.until);
        if let Some(at) = until.into_iter().chain(before.filter(|_| until.is_some())).min() {
            found.timer = Some(at);
            self.timers.insert((at, queue));
        }
    }

    pub(crate) fn end_if_empty(&mut self, queue: QueueId) {
        let Some(found) = self.queues.get(&queue) else { return };
        if !found.messages.is_empty() || found.is_sending {
            return;
        }
        let Some(found) = self.queues.remove(&queue) else { return };
        if let Some(held) = self.clients.get_mut(&found.client_id) {
            held.queues.remove(&found.topic);
            held.bytes -= found.permit.bytes();
            if held.queues.is_empty() {
                let handle = held.handle;
                self.clients.remove(&found.client_id);
                self.unlink(handle, &found.client_id);
            }
        }
    }

    /// A client no longer has this handle, which may be another's by now.
    pub(crate) fn unlink(&mut self, handle: usize, client_id: &str) {
        if self.client_ids.get(&handle).is_some_and(|known| known == client_id) {
            self.client_ids.remove(&handle);
        }
    }

    /// Drops what waits for a client; how many deliveries that is.
    pub(crate) fn forget(&mut self, client_id: &str) -> usize {
        let Some(held) = self.clients.remove(client_id) else { return 0 };
        self.unlink(held.handle, client_id);
        let mut dropped = 0;
        for queue in held.queues.values() {
            let Some(found) = self.queues.remove(queue) else { continue };
            found.timer.iter().for_each(|at| _ = self.timers.remove(&(*at, *queue)));
            dropped += found.messages.len();
        }
        self.messages -= dropped;
        dropped
    }
}
