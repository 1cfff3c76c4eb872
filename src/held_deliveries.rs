//! Deliveries that wait for the API's answer.
//!
//! Mosquitto asks about a delivery once, and a no is final. But a message can also be sent to one client
//! later. So a delivery that is not decided yet is refused and kept here, and sent once the answer is yes.
//!
//! What waits for one client and topic stands in one queue, in the order in which the broker asked, and
//! what comes meanwhile stands behind it. A queue belongs to a client identifier *and* a username: what
//! was to be one user's is never sent to another who has the identifier by then. Where it is not certain whose
//! it is (`coming_and_going`), what is allowed waits until the broker has named the user.
//!
//! Memory is bounded (`hold_max_bytes`), and shared so that nobody may hold more than is left free for
//! others: whoever is alone may take half of it, and one of `n` gets at least the `n + 1`st part.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use smol_str::SmolStr;

use crate::answer::Outcome;
use crate::memory::MemoryBudget;
use crate::question::{ClientSnapshot, Kind};
use crate::sync::lock;

mod coming_and_going;
mod message;
mod state;
pub(crate) use message::Message;
pub(crate) use message::NewDelivery;

use message::Payload;
use state::{Presence, State};

/// What a message takes beside its payload and properties, a queue beside its topic, and a client beside its
/// names, about, in bytes.
const MESSAGE_BYTES: usize = 200;
const QUEUE_BYTES: usize = 500;
const CLIENT_BYTES: usize = 500;

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
    pub client: Arc<ClientSnapshot>,
    pub username: SmolStr,
    pub topic: Arc<str>,
    pub qos: u8,
    pub retain: bool,
    pub until: Instant,
    pub(crate) answers: AnswersSoFar,
    /// How often the API failed to answer about it.
    pub failures: u32,
    /// Whether the identifier is known to be this user's.
    pub is_certain: bool,
    /// Whether it is allowed, and waits for that alone.
    pub awaits_name: bool,
    /// Whether a question about it is on its way.
    pub is_asked: bool,
}

/// Everything that waits, of one instance.
pub(crate) struct HeldDeliveries {
    state: Mutex<State>,
    /// Whether there is anything, readable without the lock: every delivery asks.
    any: AtomicBool,
    memory: Arc<MemoryBudget>,
    max_bytes: usize,
}

impl HeldDeliveries {
    #[must_use]
    pub(crate) fn new(max_bytes: usize) -> Self {
        let (any, memory) = (AtomicBool::new(false), MemoryBudget::new(max_bytes));
        Self { state: Mutex::default(), any, memory, max_bytes }
    }

    /// Whether anything waits.
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// How many deliveries wait, and how many bytes they take.
    #[must_use]
    pub(crate) fn size(&self) -> (usize, usize) {
        (lock(&self.state).messages, self.memory.taken())
    }

    /// Whether anything waits for the client of this handle.
    #[must_use]
    pub(crate) fn is_for(&self, handle: usize) -> bool {
        lock(&self.state).client_ids.contains_key(&handle)
    }

    /// Whether something of this topic waits for this client; what `is_older` waits for what is older
    /// still alone.
    pub(crate) fn is_queued(&self, client_id: &str, topic: &str, is_older: bool) -> bool {
        let state = lock(&self.state);
        let queue = state.clients.get(client_id).and_then(|held| held.queues.get(topic));
        let queue = queue.and_then(|queue| state.queues.get(queue));
        queue.is_some_and(|queue| !is_older || queue.older > 0)
    }

    /// Keeps a delivery, behind what waits for this client and topic: its queue, if there is room, and how many
    /// deliveries are dropped for that. Whoever has less than its share gets the room of those that have been
    /// waiting for their names the longest, whose sessions may be over.
    pub(crate) fn push(
        &self,
        recipient: Recipient<'_>,
        new: NewDelivery<'_>,
        client: impl FnOnce() -> Arc<ClientSnapshot>,
    ) -> (Option<QueueId>, usize) {
        let Recipient { client_id, username, .. } = recipient;
        let mut state = lock(&self.state);
        let client = (!state.clients.contains_key(client_id)).then(client);
        let client_bytes = client
            .as_ref()
            .map_or(0, |client| CLIENT_BYTES + client_id.len() + username.len() + client.bytes());
        let known = state.clients.get(client_id).and_then(|held| held.queues.get(new.topic));
        let queue = known.copied();
        let queue_bytes = if queue.is_some() { 0 } else { QUEUE_BYTES + new.topic.len() };
        let properties_bytes = new.properties.as_ref().map_or(0, |properties| properties.bytes);
        let own_bytes = MESSAGE_BYTES + properties_bytes;
        let payload = state.payload.upgrade().filter(|last| *last.bytes == *new.payload);
        let all_bytes = client_bytes + queue_bytes + own_bytes + new.payload.len();
        let needed = if payload.is_some() { all_bytes - new.payload.len() } else { all_bytes };
        let has = state.clients.get(client_id).map_or(0, |held| held.bytes);
        let mut dropped = 0;
        loop {
            let free = self.memory.free();
            if needed <= free && has + all_bytes <= free {
                break;
            }
            let has_share = has + all_bytes > self.max_bytes / (state.clients.len() + 2);
            let Some(count) = (!has_share).then(|| state.forget_unnamed()).flatten() else {
                return (None, dropped);
            };
            dropped += count;
        }
        let permit = |bytes| self.memory.take(bytes);
        if let Some(client) = client {
            let presence = if new.is_certain { Presence::Online } else { Presence::Named };
            state.add_client(recipient, presence, client, permit(client_bytes));
        }
        let queue = match queue {
            Some(queue) => queue,
            None => state.add_queue(client_id, new.topic, permit(queue_bytes)),
        };
        let payload = payload.unwrap_or_else(|| {
            let permit = permit(new.payload.len());
            let payload = Arc::new(Payload { bytes: new.payload.into(), _permit: permit });
            state.payload = Arc::downgrade(&payload);
            payload
        });
        let is_older = new.is_older;
        let message = Message {
            payload,
            properties: new.properties,
            qos: new.qos,
            retain: new.retain,
            send_qos: new.send_qos,
            until: new.until,
            bytes: own_bytes + new.payload.len(),
            _permit: permit(own_bytes),
        };
        state.append(queue, client_id, message, is_older);
        self.any.store(true, Ordering::Relaxed);
        (Some(queue), dropped)
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
            answers: queue.answers.clone(),
            failures: queue.failures,
            is_certain: held.is_certain(),
            awaits_name: queue.awaits_name,
            is_asked: queue.asked.is_some(),
        })
    }

    /// A question about the next message is on its way; its number.
    pub(crate) fn ask(&self, queue: QueueId, answers: AnswersSoFar) -> u64 {
        let mut state = lock(&self.state);
        state.next += 1;
        let number = state.next;
        if let Some(queue) = state.queues.get_mut(&queue) {
            queue.asked = Some(number);
            queue.answers = answers;
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
            found.answers.note(kind, outcome);
            state.ready.push_back(queue);
        }
    }

    /// The API failed to answer about the next message; it is asked again at this time.
    pub(crate) fn retry(&self, queue: QueueId, at: Instant) {
        let mut state = lock(&self.state);
        if let Some(found) = state.queues.get_mut(&queue) {
            found.failures += 1;
            found.answers = AnswersSoFar::default();
        }
        state.rewind(queue, Some(at));
    }

    /// Takes the next message out of its queue.
    pub(crate) fn take(
        &self,
        queue: QueueId,
        is_sent: bool,
    ) -> Option<(SmolStr, Arc<str>, Message)> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let found = state.queues.get_mut(&queue)?;
        let message = found.messages.pop_front()?;
        let (client_id, topic) = (found.client_id.clone(), Arc::clone(&found.topic));
        found.answers = AnswersSoFar::default();
        found.failures = 0;
        found.asked = None;
        found.awaits_name = false;
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
        Some((client_id, topic, message))
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

    /// The next message is allowed by these answers, and waits until its recipient is certain, however long
    /// that takes.
    pub(crate) fn await_name(&self, queue: QueueId, answers: AnswersSoFar) {
        let mut state = lock(&self.state);
        let Some(found) = state.queues.get_mut(&queue) else { return };
        (found.awaits_name, found.answers) = (true, answers);
        let timer = found.timer.take();
        timer.iter().for_each(|at| _ = state.timers.remove(&(*at, queue)));
    }

    /// The recipient is certain: what waits has until then to be answered.
    pub(crate) fn go_on(&self, queue: QueueId, until: Instant) {
        let mut state = lock(&self.state);
        let Some(found) = state.queues.get_mut(&queue) else { return };
        found.awaits_name = false;
        for message in &mut found.messages {
            message.until = message.until.max(until);
        }
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
    use crate::question::Properties;

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
            is_certain: true,
        };
        push(held, who, new)
    }

    fn push(held: &HeldDeliveries, who: Recipient<'_>, new: NewDelivery<'_>) -> Option<QueueId> {
        let named = ClientSnapshot::named(who.handle, who.client_id, who.username);
        let client = ClientSnapshot { protocol_version: 5, clean_session: false, ..named };
        held.push(who, new, || Arc::new(client)).0
    }

    fn taken(held: &HeldDeliveries, queue: QueueId) -> Vec<String> {
        let text = |message: Message| String::from_utf8(message.payload().to_vec()).unwrap();
        let next = || held.take(queue, true).map(|(_, _, message)| text(message));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_waits_for_a_topic_keeps_its_order_and_what_is_older_goes_first() {
        let held = HeldDeliveries::new(1 << 20);
        let queue = hold(&held, ANN, "a", "3", false).unwrap();
        assert_eq!(hold(&held, ANN, "a", "4", false), Some(queue));
        assert_ne!(hold(&held, ANN, "b", "x", false), Some(queue));
        let number = held.ask(queue, AnswersSoFar::default());
        assert!(!held.is_queued("c", "a", true), "nothing older waits");
        for payload in ["1", "2"] {
            hold(&held, ANN, "a", payload, true);
            assert!(held.is_queued("c", "a", true));
        }
        held.answer(queue, number, Kind::Access, Ok(Answer::ALLOW));
        let answers = held.next(queue).unwrap().answers;
        assert!(answers.access.is_none(), "the answer was about another message");
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
        assert!(held.is_queued("c", "a", false));
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

    const AGAIN: Recipient<'static> = Recipient { handle: 2, ..ANN };
    const BOB: Recipient<'static> = Recipient { handle: 2, username: "bob", ..ANN };

    #[test]
    fn nothing_is_sent_to_a_session_that_is_offline_until_its_user_is_named() {
        use crate::question::Departure::{Ended, Offline, Unclear};
        assert!(is_sendable(|_| {}));
        assert!(is_sendable(|held| _ = held.left(1, Offline)), "the broker tells who connects");
        assert!(!is_sendable(|held| _ = held.left(1, Ended)));
        assert!(!is_sendable(|held| _ = held.left(1, Unclear)), "or somebody else has it");
        // The broker asks about the session that is offline.
        assert!(is_sendable(|held| {
            held.left(1, Unclear);
            held.named(ANN, true, false);
        }));
        // That it had it in one pass of its loop says nothing about another.
        assert!(!is_sendable(|held| {
            held.left(1, Unclear);
            held.named(ANN, true, false);
            held.unname();
        }));
        // Another takes it over, of whom the broker asks next.
        let taken_over = |held: &HeldDeliveries| {
            held.left(1, Unclear);
            held.left(1, Unclear);
        };
        assert!(!is_sendable(taken_over));
        assert!(is_sendable(|held| {
            taken_over(held);
            assert_eq!(held.named(AGAIN, true, true), (true, 0));
            held.unname();
            assert!(held.is_for(2) && !held.is_for(1));
        }));
        for (named, keeps) in [(BOB, true), (BOB, false), (AGAIN, false)] {
            assert!(!is_sendable(|held| {
                taken_over(held);
                assert_eq!(held.named(named, keeps, true), (false, 1));
            }));
            assert!(!is_sendable(|held| {
                held.left(1, Offline);
                assert_eq!(held.named(named, keeps, true), (false, 1));
            }));
        }
        assert!(!is_sendable(|held| _ = held.drop_if(|id, user| (id, user) == ("c", "ann"))));
        assert!(is_sendable(|held| _ = held.drop_if(|id, _| id == "d")));
    }

    #[test]
    fn a_login_changes_nothing_until_the_broker_has_let_its_client_in() {
        use crate::question::Departure::{Ended, Offline, Unclear};
        for leaves in [None, Some(Offline), Some(Unclear)] {
            let begin = |held: &HeldDeliveries, who, keeps| {
                leaves.iter().for_each(|departure| _ = held.left(1, *departure));
                held.enters(who, keeps);
            };
            assert!(!is_sendable(|held| begin(held, AGAIN, true)), "it is not known who gets it");
            assert!(is_sendable(|held| {
                begin(held, AGAIN, true);
                assert_eq!(held.settle(), 0);
                assert!(!held.is_for(1) && held.is_for(2));
            }));
            // The session that it takes over from is ended.
            assert!(is_sendable(|held| {
                begin(held, AGAIN, true);
                held.left(1, Ended);
                assert!(!held.is_for(1) && held.is_for(2));
            }));
            // It gives up, or is refused.
            for (who, keeps) in [(AGAIN, true), (AGAIN, false), (BOB, true), (BOB, false)] {
                for is_told in [true, false] {
                    let is_certain = is_sendable(|held| {
                        begin(held, who, keeps);
                        if is_told {
                            _ = held.left(2, Ended)
                        } else {
                            held.stays_out(2)
                        }
                        assert_eq!(held.settle(), 0, "it was sent away");
                        assert!(!held.is_for(2) && held.is_for(1));
                    });
                    assert_eq!(is_certain, leaves != Some(Unclear));
                }
            }
            for (who, keeps) in [(BOB, true), (BOB, false), (AGAIN, false)] {
                assert!(!is_sendable(|held| {
                    begin(held, who, keeps);
                    assert_eq!(held.settle(), 1, "the session is another's");
                    assert!(!held.is_for(1) && !held.is_for(2));
                }));
            }
        }
        // The same user takes its own session over, and leaves.
        assert!(!is_sendable(|held| {
            held.enters(AGAIN, true);
            held.settle();
            held.left(2, Ended);
        }));
        // The broker asks about a session that it has.
        assert!(is_sendable(|held| held.enters(ANN, false)));
        // A new client has the place in memory of the one before.
        assert!(!is_sendable(|held| {
            held.left(1, Unclear);
            held.enters(ANN, false);
            assert_eq!(held.settle(), 1);
        }));
    }

    #[test]
    fn a_login_that_is_given_up_leaves_others_alone_that_have_its_handle_by_then() {
        let held = HeldDeliveries::new(1 << 20);
        hold(&held, ANN, "a", "1", false).unwrap();
        let dan = Recipient { handle: 2, client_id: "d", username: "dan" };
        hold(&held, dan, "a", "1", false).unwrap();
        held.enters(AGAIN, true);
        held.stays_out(2);
        assert!(held.is_for(1) && held.is_for(2));
        assert_eq!(held.left(2, crate::question::Departure::Ended), 1, "it is Dan's");
    }

    #[test]
    fn what_is_allowed_waits_for_the_name_however_long_that_takes() {
        let (held, clock) = (HeldDeliveries::new(1 << 20), ManualClock::new());
        let queue = hold(&held, ANN, "a", "1", false).unwrap();
        held.left(1, crate::question::Departure::Unclear);
        held.await_name(queue, AnswersSoFar::default());
        let late = clock.now() + Duration::from_secs(1000);
        assert!(held.ready(late, 10).is_empty());
        held.enters(AGAIN, true);
        held.settle();
        assert_eq!(held.ready(late, 10), [queue]);
        held.go_on(queue, late);
        assert_eq!(held.next(queue).unwrap().until, late);
    }

    #[test]
    fn what_was_queued_goes_first_at_each_return() {
        let held = HeldDeliveries::new(1 << 20);
        let queue = hold(&held, ANN, "a", "3", false).unwrap();
        for payload in ["1", "2"] {
            hold(&held, ANN, "a", payload, true);
        }
        // The first is sent, and queued for the session, whose client comes back before that is delivered.
        let (_, _, first) = held.take(queue, true).unwrap();
        assert_eq!(first.payload(), b"1");
        held.enters(AGAIN, true);
        held.settle();
        assert!(!held.is_queued("c", "a", true), "all that waits is newer");
        hold(&held, AGAIN, "a", "1", true);
        assert_eq!(taken(&held, queue), ["1", "2", "3"]);
    }

    fn empty(topic: &str) -> NewDelivery<'_> {
        NewDelivery {
            topic,
            payload: b"",
            properties: None,
            qos: 1,
            retain: false,
            send_qos: 1,
            until: ManualClock::new().now(),
            is_older: false,
            is_certain: true,
        }
    }

    #[test]
    fn all_that_is_kept_is_counted() {
        const LONG: usize = 60_000;
        let who = |handle: usize, name: &str| (handle, format!("{handle} {name}"));
        let long = "x".repeat(LONG);
        let held = HeldDeliveries::new(1 << 20);
        let (handle, id) = who(1, &long);
        let one = Recipient { handle, client_id: &id, username: &long };
        push(&held, one, empty("a")).unwrap();
        assert!(held.size().1 >= 4 * LONG, "identifier and username, twice");
        let before = held.size().1;
        push(&held, one, empty(&long)).unwrap();
        assert!(held.size().1 - before >= LONG, "the topic");
        let before = held.size().1;
        push(&held, one, empty(&long)).unwrap();
        assert!(held.size().1 - before < 1000, "the same topic");
        let before = held.size().1;
        let properties = Some(Properties { list: Box::new(()), bytes: LONG });
        push(&held, one, NewDelivery { properties, ..empty("a") }).unwrap();
        assert!(held.size().1 - before >= LONG, "the properties");
        // One client with many topics, and many with one each, are bounded alike.
        for handle in 2..1000 {
            let (handle, id) = who(handle, &long);
            push(&held, Recipient { handle, client_id: &id, username: "ann" }, empty("a"));
            push(&held, one, empty(&format!("{handle} {long}")));
        }
        assert!(held.size().1 <= 1 << 20);
        held.drop_if(|_, _| true);
        assert_eq!(held.size(), (0, 0));
    }

    #[test]
    fn sessions_that_may_be_over_keep_no_room_from_others() {
        let held = HeldDeliveries::new(100_000);
        let fill = |handle: usize, count: usize| {
            let id = handle.to_string();
            let who = Recipient { handle, client_id: &id, username: "x" };
            let payload = |count: usize| format!("{handle} {count} {}", "x".repeat(500));
            let kept =
                (0..count).filter(|count| hold(&held, who, "a", &payload(*count), false).is_some());
            kept.count()
        };
        for handle in 1..100 {
            fill(handle, 1000);
            held.left(handle, crate::question::Departure::Unclear);
        }
        let count = fill(100, 1000);
        assert!(count >= 5, "{count}");
        assert!(held.size().1 <= 100_000);
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
        assert!(held.size().1 < 300_000);
    }
}
