//! Who waits for what, and when a queue is looked at.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use smol_str::SmolStr;

use super::message::{Message, Payload};
use super::{AnswersSoFar, QueueId, Recipient};
use crate::question::Client;

/// What is known of whose an identifier is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Online,
    /// The session is kept, and its identifier is nobody else's.
    Offline,
    /// Nothing is sent until the broker has named the user again.
    Unclear,
    /// Somebody comes under it whom the broker's other means let in, or do not: it tells of that within this
    /// pass of its loop.
    Entered(Entry),
}

/// Somebody of whom it is not known yet whether the broker lets it in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its handle.
    pub handle: usize,
    /// Whether the session that there is goes on with it.
    pub keeps: bool,
    /// Whether it was clear before whose the identifier is.
    pub(crate) was_clear: bool,
}

impl Presence {
    pub(crate) fn is_clear(self) -> bool {
        matches!(self, Self::Online | Self::Offline)
    }
}

pub(crate) struct Held {
    pub handle: usize,
    pub username: SmolStr,
    pub client: Arc<dyn Client + Send + Sync>,
    pub(crate) presence: Presence,
    pub(crate) queues: HashMap<Arc<str>, QueueId>,
    pub bytes: usize,
}

impl Held {
    /// Whether it is clear, but for who comes now, whose the identifier is.
    pub(crate) fn was_clear(&self) -> bool {
        match self.presence {
            Presence::Entered(entry) => entry.was_clear,
            presence => presence.is_clear(),
        }
    }

    pub(crate) fn belongs_to(&self, recipient: Recipient<'_>) -> bool {
        self.handle == recipient.handle && self.username == recipient.username
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
    pub(crate) gathered: AnswersSoFar,
    pub failures: u32,
    /// When it is looked at next, without an answer.
    pub(crate) timer: Option<Instant>,
    /// Whether the broker has something of it that it has not delivered yet.
    pub(crate) is_sending: bool,
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
}

impl State {
    /// Whoever came under this identifier is in; how many deliveries are dropped for that.
    pub(crate) fn settle(&mut self, client_id: &str) -> usize {
        match self.clients.get(client_id).map(|held| held.presence) {
            Some(Presence::Entered(Entry { keeps: false, .. })) => self.forget(client_id),
            Some(Presence::Entered(Entry { handle, .. })) => {
                self.goes_on(client_id, handle);
                0
            }
            _ => 0,
        }
    }

    /// The client that these deliveries are for goes on under this handle.
    pub(crate) fn goes_on(&mut self, client_id: &str, handle: usize) {
        let Some(held) = self.clients.get_mut(client_id) else { return };
        let before = std::mem::replace(&mut held.handle, handle);
        held.presence = Presence::Online;
        self.ready.extend(held.queues.values());
        self.unlink(before, client_id);
        self.client_ids.insert(handle, client_id.into());
    }

    /// The queue of this client and topic.
    pub(crate) fn queue(
        &mut self,
        recipient: Recipient<'_>,
        topic: Arc<str>,
        client: impl FnOnce() -> Arc<dyn Client + Send + Sync>,
    ) -> (QueueId, Arc<str>) {
        let Recipient { handle, client_id, username } = recipient;
        let client_ids = &mut self.client_ids;
        let held = self.clients.entry(client_id.into()).or_insert_with(|| {
            client_ids.insert(handle, client_id.into());
            Held {
                handle,
                username: username.into(),
                client: client(),
                presence: Presence::Online,
                queues: HashMap::new(),
                bytes: 0,
            }
        });
        if let Some((topic, queue)) = held.queues.get_key_value(&topic) {
            return (*queue, Arc::clone(topic));
        }
        self.next += 1;
        held.queues.insert(Arc::clone(&topic), self.next);
        let queue = Queue {
            client_id: client_id.into(),
            topic: Arc::clone(&topic),
            messages: VecDeque::new(),
            older: 0,
            asked: None,
            gathered: AnswersSoFar::default(),
            failures: 0,
            timer: None,
            is_sending: false,
        };
        self.queues.insert(self.next, queue);
        (self.next, topic)
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
                    found.gathered = AnswersSoFar::default();
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
        if let Presence::Entered(entry) = held.presence {
            self.unlink(entry.handle, client_id);
        }
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
