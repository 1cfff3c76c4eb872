//! Deliveries that wait for the API's answer.
//!
//! Mosquitto asks about a delivery once, and a no is final. But a message can also be sent to one client
//! later. So a delivery that is not decided yet is refused and kept here, and sent once the answer is yes.
//!
//! What waits for one client and topic stands in one queue, in the order in which the broker asked, and
//! what comes meanwhile stands behind it. A queue belongs to a client identifier *and* a username: what
//! was to be one user's is never sent to another who has the identifier by then.
//!
//! Memory is bounded (`hold_max_bytes`), and shared so that nobody may hold more than is left free for
//! others: whoever is alone may take half of it, and one of `n` gets at least the `n + 1`st part.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use smol_str::SmolStr;

use crate::answer::Outcome;
use crate::question::{Client, Kind};
use crate::sync::lock;

mod coming_and_going;
mod message;
mod state;
pub(crate) use message::Message;
pub(crate) use message::NewDelivery;

use message::{Charge, Payload};
use state::{Presence, State};

/// What a message takes beside its topic and payload, about, in bytes.
const MESSAGE_BYTES: usize = 400;

/// A queue's number; none is used twice.
pub(crate) type QueueId = u64;

/// Whom a delivery is for.
#[derive(Clone, Copy)]
pub(crate) struct Recipient<'a> {
    pub handle: usize,
    pub client_id: &'a str,
    pub username: &'a str,
}

/// What was found out about the message that is next.
#[derive(Clone, Default, Debug)]
pub(crate) struct AnswersSoFar {
    pub superuser: Option<Outcome>,
    pub access: Option<Outcome>,
}

impl AnswersSoFar {
    /// What came of a question of this kind.
    pub(crate) fn note(&mut self, kind: Kind, outcome: Outcome) {
        match kind {
            Kind::Superuser => self.superuser = Some(outcome),
            Kind::Access | Kind::Login => self.access = Some(outcome),
        }
    }
}

/// The message that is next in a queue, and whom it is for.
pub(crate) struct Next {
    pub handle: usize,
    pub client: Arc<dyn Client + Send + Sync>,
    pub username: SmolStr,
    pub topic: Arc<str>,
    pub qos: u8,
    pub retain: bool,
    pub until: Instant,
    pub(crate) gathered: AnswersSoFar,
    /// How often the API failed to answer about it.
    pub failures: u32,
    /// Whether the identifier is known to be this user's.
    pub is_certain: bool,
    /// Whether a question about it is on its way.
    pub is_asked: bool,
}

/// Everything that waits, of one instance.
pub(crate) struct HeldDeliveries {
    state: Mutex<State>,
    /// Whether there is anything, readable without the lock: every delivery asks.
    any: AtomicBool,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

impl HeldDeliveries {
    #[must_use]
    pub(crate) fn new(max_bytes: usize) -> Self {
        let (any, bytes) = (AtomicBool::new(false), Arc::default());
        Self { state: Mutex::default(), any, bytes, max_bytes }
    }

    /// Whether anything waits.
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// How many deliveries wait, and how many bytes they take.
    #[must_use]
    pub(crate) fn size(&self) -> (usize, usize) {
        (lock(&self.state).messages, self.bytes.load(Ordering::Relaxed))
    }

    /// Whether anything waits for the client of this handle.
    #[must_use]
    pub(crate) fn is_for(&self, handle: usize) -> bool {
        lock(&self.state).client_ids.contains_key(&handle)
    }

    /// Whether something of this topic waits for this client. That the broker asks about it shows that
    /// it is still this user who has the identifier; what waits under it for another has nobody any more,
    /// and how much that was is returned. What `is_older` waits for what is older still alone.
    pub(crate) fn is_queued(
        &self,
        recipient: Recipient<'_>,
        topic: &str,
        is_older: bool,
    ) -> (bool, usize) {
        let mut state = lock(&self.state);
        let mut dropped = state.settle(recipient.client_id);
        let belongs = state.clients.get(recipient.client_id).map(|held| held.belongs_to(recipient));
        if belongs == Some(false) {
            dropped += state.forget(recipient.client_id);
        }
        let Some(held) = state.clients.get_mut(recipient.client_id) else {
            self.note_any(&state);
            return (false, dropped);
        };
        let queue = held.queues.get(topic).copied();
        if held.presence == Presence::Unclear {
            held.presence = Presence::Offline;
            let queues: Vec<_> = held.queues.values().copied().collect();
            state.ready.extend(queues);
        }
        let queue = queue.and_then(|queue| state.queues.get(&queue));
        (queue.is_some_and(|queue| !is_older || queue.older > 0), dropped)
    }

    /// Keeps a delivery, behind what waits for this client and topic; its queue. None: there is no room.
    pub(crate) fn push(
        &self,
        recipient: Recipient<'_>,
        new: NewDelivery<'_>,
        client: impl FnOnce() -> Arc<dyn Client + Send + Sync>,
    ) -> Option<QueueId> {
        let bytes = MESSAGE_BYTES + new.topic.len() + new.payload.len();
        let mut state = lock(&self.state);
        let payload = state.payload.upgrade().filter(|last| *last.bytes == *new.payload);
        let needed = if payload.is_some() { bytes - new.payload.len() } else { bytes };
        let free = self.max_bytes.checked_sub(self.bytes.load(Ordering::Relaxed))?;
        let has = state.clients.get(recipient.client_id).map_or(0, |held| held.bytes);
        if needed > free || has + bytes > free {
            return None;
        }
        let payload = payload.unwrap_or_else(|| {
            let charge = Charge::of(new.payload.len(), &self.bytes);
            let payload = Arc::new(Payload { bytes: new.payload.into(), _charge: charge });
            state.payload = Arc::downgrade(&payload);
            payload
        });
        let topic = Arc::<str>::from(new.topic);
        let (queue, topic) = state.queue(recipient, topic, client);
        let is_older = new.is_older;
        let message = Message {
            topic,
            payload,
            properties: new.properties,
            qos: new.qos,
            retain: new.retain,
            send_qos: new.send_qos,
            until: new.until,
            bytes,
            _charge: Charge::of(bytes - new.payload.len(), &self.bytes),
        };
        state.append(queue, recipient.client_id, message, is_older);
        self.any.store(true, Ordering::Relaxed);
        Some(queue)
    }

    /// What is next in this queue; none if it is empty, or gone.
    #[must_use]
    pub(crate) fn next(&self, queue: QueueId) -> Option<Next> {
        let state = lock(&self.state);
        let queue = state.queues.get(&queue)?;
        let message = queue.messages.front()?;
        let held = state.clients.get(&queue.client_id)?;
        Some(Next {
            handle: held.handle,
            client: Arc::clone(&held.client),
            username: held.username.clone(),
            topic: Arc::clone(&queue.topic),
            qos: message.qos,
            retain: message.retain,
            until: message.until,
            gathered: queue.gathered.clone(),
            failures: queue.failures,
            is_certain: held.presence.is_clear(),
            is_asked: queue.asked.is_some(),
        })
    }

    /// A question about the next message is on its way; its number.
    pub(crate) fn ask(&self, queue: QueueId, gathered: AnswersSoFar) -> u64 {
        let mut state = lock(&self.state);
        state.next += 1;
        let number = state.next;
        if let Some(queue) = state.queues.get_mut(&queue) {
            queue.asked = Some(number);
            queue.gathered = gathered;
        }
        state.rewind(queue, None);
        number
    }

    /// What came of the question of this number, unless it is about nothing any more.
    pub(crate) fn answer(&self, queue: QueueId, number: u64, kind: Kind, outcome: Outcome) {
        let mut state = lock(&self.state);
        let Some(found) = state.queues.get_mut(&queue) else { return };
        if found.asked == Some(number) {
            found.asked = None;
            found.gathered.note(kind, outcome);
            state.ready.push_back(queue);
        }
    }

    /// The API failed to answer about the next message; it is asked again at this time.
    pub(crate) fn retry(&self, queue: QueueId, at: Instant) {
        let mut state = lock(&self.state);
        if let Some(found) = state.queues.get_mut(&queue) {
            found.failures += 1;
            found.gathered = AnswersSoFar::default();
        }
        state.rewind(queue, Some(at));
    }

    /// Takes the next message out of its queue.
    pub(crate) fn take(&self, queue: QueueId, is_sent: bool) -> Option<(SmolStr, Message)> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let found = state.queues.get_mut(&queue)?;
        let message = found.messages.pop_front()?;
        let client_id = found.client_id.clone();
        found.gathered = AnswersSoFar::default();
        found.failures = 0;
        found.asked = None;
        found.older = found.older.saturating_sub(1);
        if is_sent && !found.is_sending {
            found.is_sending = true;
            state.sending.push(queue);
        }
        state.messages -= 1;
        if let Some(held) = state.clients.get_mut(&client_id) {
            held.bytes -= message.bytes;
        }
        state.rewind(queue, None);
        Some((client_id, message))
    }

    /// The queues to be looked at now. For the broker's thread, when it has delivered what was sent before.
    #[must_use]
    pub(crate) fn ready(&self, now: Instant, most: usize) -> Vec<QueueId> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        for queue in std::mem::take(&mut state.sending) {
            if let Some(found) = state.queues.get_mut(&queue) {
                found.is_sending = false;
                state.ready.push_back(queue);
            }
        }
        while let Some(&(at, queue)) = state.timers.first() {
            if at > now {
                break;
            }
            state.timers.pop_first();
            if let Some(found) = state.queues.get_mut(&queue) {
                found.timer = None;
                state.ready.push_back(queue);
            }
        }
        let count = state.ready.len().min(most);
        state.ready.drain(..count).collect()
    }

    /// Whether queues are to be looked at as soon as may be.
    #[must_use]
    pub(crate) fn is_pressing(&self) -> bool {
        let state = lock(&self.state);
        !state.ready.is_empty() || !state.sending.is_empty()
    }

    /// There is nothing to be done for this queue now.
    pub(crate) fn pause(&self, queue: QueueId) {
        lock(&self.state).rewind(queue, None);
    }

    /// This queue is to be looked at again next time.
    pub(crate) fn come_back(&self, queue: QueueId) {
        lock(&self.state).ready.push_back(queue);
    }

    /// Ends a queue in which nothing waits.
    pub(crate) fn end_if_empty(&self, queue: QueueId) {
        let mut state = lock(&self.state);
        state.end_if_empty(queue);
        self.note_any(&state);
    }

    /// Drops what waits for these clients; how many deliveries that is.
    pub(crate) fn drop_if(&self, is_meant: impl Fn(&str, &str) -> bool) -> usize {
        if !self.any() {
            return 0;
        }
        let mut state = lock(&self.state);
        let meant = state.clients.iter().filter(|(id, held)| is_meant(id, &held.username));
        let meant: Vec<_> = meant.map(|(id, _)| id.clone()).collect();
        let dropped = meant.iter().map(|id| state.forget(id)).sum();
        self.note_any(&state);
        dropped
    }

    fn note_any(&self, state: &State) {
        self.any.store(!state.queues.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::answer::Answer;
    use crate::clock::{Clock as _, ManualClock};
    use crate::fake::FakeClient;
    use crate::question::ClientSnapshot;

    const ANN: Recipient<'static> = Recipient { handle: 1, client_id: "c", username: "ann" };

    fn hold(
        held: &HeldDeliveries,
        who: Recipient<'_>,
        topic: &str,
        payload: &str,
        is_older: bool,
    ) -> Option<QueueId> {
        let new = NewDelivery {
            topic,
            payload: payload.as_bytes(),
            properties: None,
            qos: 1,
            retain: false,
            send_qos: 1,
            until: ManualClock::new().now() + Duration::from_secs(10),
            is_older,
        };
        let client = FakeClient { clean_session: false, ..FakeClient::default() };
        held.push(who, new, || Arc::new(ClientSnapshot::of(&client, "", &[])))
    }

    fn taken(held: &HeldDeliveries, queue: QueueId) -> Vec<String> {
        let text = |message: Message| String::from_utf8(message.payload().to_vec()).unwrap();
        let next = || held.take(queue, true).map(|(_, message)| text(message));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_waits_for_a_topic_keeps_its_order_and_what_is_older_goes_first() {
        let held = HeldDeliveries::new(1 << 20);
        let queue = hold(&held, ANN, "a", "3", false).unwrap();
        assert_eq!(hold(&held, ANN, "a", "4", false), Some(queue));
        assert_ne!(hold(&held, ANN, "b", "x", false), Some(queue));
        let number = held.ask(queue, AnswersSoFar::default());
        assert_eq!(held.is_queued(ANN, "a", true), (false, 0), "nothing older waits");
        for payload in ["1", "2"] {
            hold(&held, ANN, "a", payload, true);
            assert_eq!(held.is_queued(ANN, "a", true), (true, 0));
        }
        held.answer(queue, number, Kind::Access, Ok(Answer::ALLOW));
        let gathered = held.next(queue).unwrap().gathered;
        assert!(gathered.access.is_none(), "the answer was about another message");
        assert_eq!(taken(&held, queue), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_queue_stays_until_the_broker_has_delivered_what_was_sent() {
        let held = HeldDeliveries::new(1 << 20);
        let now = ManualClock::new().now();
        let queue = hold(&held, ANN, "a", "1", false).unwrap();
        assert!(held.any() && held.is_for(1) && !held.is_for(2));
        assert_eq!(taken(&held, queue), ["1"]);
        held.end_if_empty(queue);
        assert_eq!(held.is_queued(ANN, "a", false), (true, 0));
        assert_eq!(held.ready(now, 10), [queue]);
        held.end_if_empty(queue);
        assert!(!held.any() && !held.is_for(1));
        assert_eq!(held.size(), (0, 0));
    }

    #[test]
    fn a_queue_is_looked_at_when_its_message_ends_or_is_asked_about_again() {
        let (held, clock) = (HeldDeliveries::new(1 << 20), ManualClock::new());
        let now = clock.now();
        let queue = hold(&held, ANN, "a", "1", false).unwrap();
        assert!(held.ready(now, 10).is_empty());
        held.retry(queue, now + Duration::from_secs(1));
        assert_eq!(held.ready(now + Duration::from_secs(1), 10), [queue]);
        held.pause(queue);
        assert!(held.ready(now + Duration::from_secs(9), 10).is_empty());
        assert_eq!(held.ready(now + Duration::from_secs(11), 10), [queue]);
    }

    /// Whether Ann's message may still be sent, after what happened.
    fn is_sendable(what: impl Fn(&HeldDeliveries)) -> bool {
        let held = HeldDeliveries::new(1 << 20);
        let queue = hold(&held, ANN, "a", "1", false).unwrap();
        what(&held);
        assert_eq!(held.any(), held.size().0 > 0);
        held.next(queue).is_some_and(|next| next.is_certain)
    }

    #[test]
    fn nothing_is_sent_unless_the_identifier_is_known_to_be_the_same_users() {
        use crate::question::Departure::{Ended, Offline, Unclear};
        let again = Recipient { handle: 2, ..ANN };
        let bob = Recipient { handle: 2, username: "bob", ..ANN };
        assert!(is_sendable(|_| {}));
        assert!(is_sendable(|held| _ = held.left(1, Offline)));
        assert!(!is_sendable(|held| _ = held.left(1, Ended)));
        assert!(!is_sendable(|held| _ = held.left(1, Unclear)), "or somebody else has it");
        // The broker asks about the session that is offline, or the same user comes back.
        assert!(is_sendable(|held| {
            held.left(1, Unclear);
            held.is_queued(ANN, "a", false);
        }));
        assert!(is_sendable(|held| {
            held.left(1, Unclear);
            held.came(again, true, true);
        }));
        assert!(!is_sendable(|held| {
            held.left(1, Unclear);
            held.came(again, true, false);
        }));
        // The broker's other means decide about one that comes: they let it in, or send it away at once.
        assert!(is_sendable(|held| {
            held.left(1, Offline);
            held.came(again, true, false);
            assert_eq!(held.settle(), 0);
            assert!(!held.is_for(1) && held.is_for(2));
        }));
        for leaves in [Offline, Ended, Unclear] {
            assert!(is_sendable(|held| {
                held.left(1, Offline);
                held.came(again, true, false);
                // The session that it takes over from is ended.
                held.left(1, leaves);
                assert!(!held.is_for(1) && held.is_for(2));
            }));
        }
        for came in [again, bob] {
            for keeps in [true, false] {
                assert!(is_sendable(|held| {
                    held.left(1, Offline);
                    assert_eq!(held.came(came, keeps, false), 0);
                    held.left(2, Ended);
                    assert_eq!(held.settle(), 0, "it was sent away");
                    assert!(!held.is_for(2) && held.is_for(1));
                }));
            }
        }
        for (came, keeps) in [(bob, true), (bob, false), (again, false)] {
            assert!(!is_sendable(|held| {
                held.left(1, Offline);
                held.came(came, keeps, false);
                assert_eq!(held.settle(), 1, "the session is another's");
                assert!(!held.is_for(1) && !held.is_for(2));
            }));
        }
        // A second time: another has taken it over.
        assert!(!is_sendable(|held| {
            held.left(1, Unclear);
            held.is_queued(ANN, "a", false);
            held.left(1, Unclear);
            held.is_queued(ANN, "a", false);
            held.left(1, Unclear);
        }));
        assert!(!is_sendable(|held| {
            assert_eq!(held.came(bob, true, true), 1);
        }));
        assert!(!is_sendable(|held| {
            assert_eq!(held.is_queued(bob, "a", false), (false, 1));
        }));
        assert!(!is_sendable(|held| _ = held.came(again, false, true)), "a new session");
        // The same user takes its own session over.
        assert!(is_sendable(|held| {
            held.came(again, true, true);
            held.left(1, Ended);
        }));
        assert!(!is_sendable(|held| {
            held.came(again, true, true);
            held.left(2, Ended);
        }));
        assert!(!is_sendable(|held| _ = held.drop_if(|id, user| (id, user) == ("c", "ann"))));
        assert!(is_sendable(|held| _ = held.drop_if(|id, _| id == "d")));
    }

    #[test]
    fn memory_is_bounded_and_shared() {
        let held = HeldDeliveries::new(100_000);
        let name = |number: usize| number.to_string();
        let fill = |number: usize| {
            let name = name(number);
            let who = Recipient { handle: number, client_id: &name, username: "x" };
            let payload = |count: usize| format!("{number} {count} {}", "x".repeat(500));
            (0..)
                .take_while(|count| hold(&held, who, "a", &payload(*count), false).is_some())
                .count()
        };
        let alone = fill(1);
        let taken = held.size().1;
        assert!((45_000..=50_000).contains(&taken), "half of it: {taken}");
        for number in 2..6 {
            let count = fill(number);
            assert!(count > 0 && count < alone, "{number}: {count}");
        }
        assert!(held.size().1 <= 100_000);
        for number in 1..6 {
            held.drop_if(|id, _| id == name(number));
        }
        assert_eq!(held.size(), (0, 0));
    }

    #[test]
    fn all_recipients_of_a_message_share_its_payload() {
        let held = HeldDeliveries::new(1 << 20);
        let payload = "x".repeat(100_000);
        for number in 0..100 {
            let name = number.to_string();
            let who = Recipient { handle: number, client_id: &name, username: "x" };
            assert!(hold(&held, who, "a", &payload, false).is_some(), "{number}");
        }
        assert!(held.size().1 < 200_000);
    }
}
