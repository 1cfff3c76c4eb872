//! Deliveries that are decided later: kept, asked about, and sent by a tick once the answer is yes.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::Level;

use super::Authorizer;
use super::consult::Consulted;
use super::who::{Check, Who, client_ref};
use crate::answer::{Decision, Outcome, Verdict};
use crate::broker::{Broker, Delivery};
use crate::cache::InvalidationScope;
use crate::failpoint;
use crate::held_deliveries::{AnswersSoFar, NewDelivery, Next, QueueId, Recipient};
use crate::log_queue::quoted;
use crate::mailbox::Mailbox;
use crate::policy::OnError;
use crate::pool::Pending;
use crate::question::{Access, Action, Client, ClientSnapshot, Kind};
use crate::sessions::ClientRef;
use crate::stats::HeldEnd;

/// How many deliveries are decided, and how many queues looked at, in one tick: others are to have their
/// turn between.
const MOST_AT_ONCE: usize = 200;

/// When the API is asked again after it failed: at first, and at the most.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// What came of a question about the next delivery of a queue.
pub(crate) struct HeldAnswer {
    queue: QueueId,
    number: u64,
    kind: Kind,
    outcome: Outcome,
}

/// How far the question about a delivery has come that is to be kept.
pub(crate) enum Ahead {
    Asked(AnswersSoFar, Kind, Pending),
    /// The API failed.
    Failed,
}

pub(crate) fn recipient<'a>(client: &'a dyn Client, username: &'a str) -> Recipient<'a> {
    Recipient { handle: client.handle(), client_id: client.id(), username }
}

impl Authorizer {
    /// Whether this is a delivery that can be decided later. Where the broker's other means may be the
    /// ones to decide, it cannot: they are asked at once or not at all.
    pub(super) fn may_hold(&self, check: &Check<'_>) -> bool {
        check.message.is_some()
            && check.action.access == Access::Read
            && check.broker.is_some()
            && self.services.config.hold_max_bytes > 0
            && self.services.config.on_error != OnError::Defer
            && !self.leaves_to_broker.load(Ordering::Relaxed)
            && !self.asks_about_its_source(check)
    }

    /// Whether this is a retained message about whose source the broker asks next, if its client may read it
    /// (`check_retain_source`): it does not ask about what is sent later.
    fn asks_about_its_source(&self, check: &Check<'_>) -> bool {
        self.is_retained(check) && self.checks_retain_source.load(Ordering::Relaxed)
    }

    /// Whether this is a retained message, for a subscription that is new.
    fn is_retained(&self, check: &Check<'_>) -> bool {
        check.action.retain && self.begun.is_subscribing(check.client.handle())
    }

    /// A client publishes a message, or its Will is published.
    pub(crate) fn message_begins(&self, of_mqtt_5: bool, tells_properties: bool) {
        self.copies.end();
        self.begun.message(of_mqtt_5, tells_properties);
    }

    /// That message has no properties.
    pub(crate) fn message_has_no_properties(&self) {
        self.begun.has_no_properties();
    }

    /// Whether the broker waits for the answer before the delivery is kept. A retained message keeps its
    /// RETAIN flag if it is sent at once. What was queued for a session counts as in flight for as long as
    /// the connection lasts if it is refused when the client comes back, and keeps others from being sent.
    /// And a broker that does not tick sends nothing later.
    pub(super) fn waits_a_moment(&self, check: &Check<'_>) -> bool {
        self.is_retained(check)
            || self.was_queued(check)
            || !self.services.tick_monitor.seems_regular()
    }

    /// Whether this delivery would lack something if it were sent later: properties, where the client can
    /// read them, or the time after which a message for a session that is offline is no longer delivered
    /// (MQTT 5.0, section 3.3.2.3.3).
    pub(super) fn would_lose_properties(&self, check: &Check<'_>) -> bool {
        check.client.protocol_version() == 5 && self.begun.may_have_properties()
            || self.begun.may_expire() && self.subscriptions.is_offline(check.client.handle())
    }

    /// Whether this message was queued for a session whose client comes back at this moment.
    fn was_queued(&self, check: &Check<'_>) -> bool {
        let Check { client, action, .. } = *check;
        action.access == Access::Read && self.begun.is_returning(client.handle())
    }

    /// The broker asks in the name of a client: whoever had its identifier before has it no more.
    pub(super) fn note_named(&self, check: &Check<'_>, username: &str) {
        let Check { client, action, .. } = *check;
        // A stand-in for whoever published a retained message is not connected, and who publishes may be one
        // that has left, whose Will it is.
        let is_of_no_connection = client.protocol_version() == 0 || action.access == Access::Write;
        if !self.held.any() || check.broker.is_none() || is_of_no_connection {
            return;
        }
        let is_online =
            action.access != Access::Read || self.is_known_to_be_online(client, username);
        let (is_new, dropped) =
            self.held.named(recipient(client, username), !client.clean_session(), is_online);
        if is_new && action.access == Access::Read {
            self.begun.is_let_in(client.handle());
        }
        self.services.stats.held_ended(HeldEnd::Gone, dropped);
    }

    /// Whether the broker will tell when this client leaves.
    fn is_known_to_be_online(&self, client: &dyn Client, username: &str) -> bool {
        self.tells_who_connects
            || self.services.sessions.is_logged_in(client_ref(client, username))
            || self.subscriptions.is_online(client.handle(), client.id())
    }

    /// Whether others wait for this client and topic: then this delivery waits behind them, or is given up.
    pub(super) fn waits_behind_others(&self, check: &Check<'_>, username: &str) -> bool {
        if !self.held.any() || !self.may_hold(check) {
            return false;
        }
        let (client_id, topic) = (check.client.id(), check.action.topic);
        if !self.held.is_queued(client_id, topic, self.was_queued(check)) {
            return false;
        }
        let queue = self.keep(check, username);
        if let (Some(queue), Some(broker), false) =
            (queue, check.broker, self.services.tick_monitor.seems_regular())
        {
            // Without ticks it would stay until the next message, and that until the one after it.
            let mut left = MOST_AT_ONCE;
            self.advance(broker, queue, self.services.clock.now(), &mut left);
        }
        true
    }

    /// Keeps a delivery until its question is answered.
    pub(super) fn hold(&self, who: Who<'_>, check: &Check<'_>, ahead: Ahead) {
        failpoint::reached("hold");
        let Some(queue) = self.keep(check, who.username) else { return };
        match ahead {
            Ahead::Asked(answers, kind, pending) => {
                self.await_answer(queue, answers, kind, pending)
            }
            Ahead::Failed => self.held.retry(queue, self.services.clock.now() + FIRST_RETRY),
        }
    }

    fn keep(&self, check: &Check<'_>, username: &str) -> Option<QueueId> {
        let (client, action) = (check.client, check.action);
        let message = check.message?;
        let send_qos = self.send_qos(check, message.bytes())?;
        let new = NewDelivery {
            topic: action.topic,
            payload: message.bytes(),
            properties: message.properties(),
            qos: action.qos,
            retain: action.retain,
            send_qos,
            until: self.services.clock.now() + self.services.config.hold,
            is_older: self.was_queued(check),
            is_certain: self.is_known_to_be_online(client, username),
        };
        let (queue, dropped) = self.held.push(recipient(client, username), new, || {
            Arc::new(ClientSnapshot::of(client, username, &self.certificate_parts()))
        });
        self.services.stats.held_ended(HeldEnd::NoRoom, dropped);
        if queue.is_none() {
            self.give_up(HeldEnd::NoRoom, client.id(), username, action.topic);
        }
        queue
    }

    /// The QoS of a delivery: the message's, but no more than was subscribed with (MQTT 5.0, section
    /// 3.8.4). Of one that was sent by a plugin and queued the broker tells 0, and it had 1 or 2. None: it is a
    /// further copy, which Mosquitto 2.0 sends to no client of MQTT 3.1.1.
    fn send_qos(&self, check: &Check<'_>, payload: &[u8]) -> Option<u8> {
        let Check { client, action, .. } = *check;
        let (handle, topic) = (client.handle(), action.topic);
        let subscribed = self.subscriptions.qos_of_each(handle, client.id(), topic);
        let number = self.copies.next(handle, (topic, payload), subscribed.len());
        let is_2_0 = !self.tells_who_connects;
        if number > 0 && is_2_0 && client.protocol_version() < 5 {
            return None;
        }
        let subscribed = subscribed.get(number).copied();
        Some(match action.qos {
            0 if self.was_queued(check) => subscribed.unwrap_or(1),
            qos => qos.min(subscribed.unwrap_or(2)),
        })
    }

    fn await_answer(&self, queue: QueueId, answers: AnswersSoFar, kind: Kind, pending: Pending) {
        let number = self.held.ask(queue, answers);
        let mailbox: Arc<Mailbox<_>> = Arc::clone(&self.held_answers);
        pending.watch(move |outcome| mailbox.send(HeldAnswer { queue, number, kind, outcome }));
    }

    /// Sends what is decided by now, and has asked what is not, at the end of a pass of the broker's loop.
    pub(crate) fn release(&self, broker: &dyn Broker, now: Instant) {
        self.begun.is_over();
        self.copies.end();
        self.release_what_is_ready(broker, now);
        self.held.unname();
    }

    /// In a broker that does not tick nobody knows what it has done since it was here last.
    pub(crate) fn unname_held(&self) {
        self.held.unname();
    }

    fn release_what_is_ready(&self, broker: &dyn Broker, now: Instant) {
        for answer in self.held_answers.drain() {
            let HeldAnswer { queue, number, kind, outcome } = answer;
            self.held.answer(queue, number, kind, outcome);
        }
        if !self.held.any() {
            return;
        }
        failpoint::reached("release");
        self.services.stats.held_ended(HeldEnd::Gone, self.held.settle());
        let mut left = MOST_AT_ONCE;
        for queue in self.held.ready(now, MOST_AT_ONCE) {
            self.advance(broker, queue, now, &mut left);
        }
        if self.held.is_pressing() {
            // What was sent goes out in the broker's next pass, and the rest follows it.
            (self.services.wake_broker)();
        }
    }

    fn advance(&self, broker: &dyn Broker, queue: QueueId, now: Instant, left: &mut usize) {
        while let Some(mut next) = self.held.next(queue) {
            if next.awaits_name {
                if !next.is_certain {
                    return;
                }
                self.held.go_on(queue, now + self.services.config.hold);
                continue;
            }
            if next.until <= now {
                self.held.take(queue, false);
                let (id, username) = (next.client.id(), &next.username);
                self.give_up(HeldEnd::Expired, id, username, &next.topic);
                continue;
            }
            if next.is_asked {
                self.held.pause(queue);
                return;
            }
            if *left == 0 {
                self.held.come_back(queue);
                return;
            }
            *left -= 1;
            let client: &dyn Client = &*next.client;
            let (handle, username) = (next.handle, &*next.username);
            let grants =
                self.services.sessions.grants(ClientRef { handle, ..client_ref(client, username) });
            let is_known = grants.is_some();
            let grants = &grants.unwrap_or_default();
            let who = Who { client, username, grants, broker: Some(broker) };
            let Next { qos, retain, .. } = next;
            let action = Action { access: Access::Read, topic: &next.topic, qos, retain };
            let (decision, reason) = match self.consult(who, action, true, &mut next.answers) {
                Consulted::Asked(kind, pending) => {
                    return self.await_answer(queue, next.answers, kind, pending);
                }
                Consulted::Known(decision, reason) => (decision, reason),
            };
            if let (Some(Ok(answer)), true) = (&next.answers.superuser, is_known) {
                let is_superuser = answer.verdict == Verdict::Allow;
                let client_ref = ClientRef { handle, ..client_ref(client, username) };
                self.services.sessions.set_superuser(client_ref, is_superuser);
            }
            match decision {
                Decision::Allow if !next.is_certain => {
                    return self.held.await_name(queue, next.answers);
                }
                Decision::Allow => self.send(broker, queue),
                Decision::Deny => {
                    self.held.take(queue, false);
                    self.services.stats.held_ended(HeldEnd::Denied, 1);
                }
                Decision::Defer => {
                    self.held.take(queue, false);
                    self.give_up(HeldEnd::LeftToBroker, client.id(), username, &next.topic);
                }
                Decision::Unavailable | Decision::UnavailableWithReason => {
                    let pause = FIRST_RETRY * 2_u32.saturating_pow(next.failures.min(10));
                    self.held.retry(queue, now + pause.min(LONGEST_RETRY));
                    return;
                }
            }
            self.note_access(client, Some(username), action, (decision, &reason));
        }
        self.held.end_if_empty(queue);
    }

    fn send(&self, broker: &dyn Broker, queue: QueueId) {
        let Some((client_id, topic, mut message)) = self.held.take(queue, true) else { return };
        let properties = message.properties.take();
        let delivery =
            Delivery { topic: &topic, payload: message.payload(), qos: message.send_qos };
        broker.deliver(&client_id, &delivery, properties);
        self.services.stats.held_ended(HeldEnd::Delivered, 1);
    }

    /// Counts a delivery that is lost, and says so.
    fn give_up(&self, why: HeldEnd, client_id: &str, username: &str, topic: &str) {
        self.services.stats.held_ended(why, 1);
        let reason = match why {
            HeldEnd::NoRoom => "hold_max_bytes is used up",
            HeldEnd::LeftToBroker => {
                "the API leaves it to the broker's other means, which cannot be asked later"
            }
            _ => "the API did not say within hold_ms whether it may be made",
        };
        self.services.log_queue.seldom(Level::Warn, why.name(), || {
            format!(
                "a delivery to {} (client {}) on {} was given up: {reason}",
                quoted(username),
                quoted(client_id),
                quoted(topic)
            )
        });
    }

    /// This user comes in under this identifier, unless the broker refuses it, and goes on with the session
    /// that there is if it `keeps` it.
    pub(crate) fn enters(&self, who: Recipient<'_>, keeps: bool) {
        self.begun.is_let_in(who.handle);
        self.subscriptions.enters(who.handle, who.client_id, who.username, keeps);
        self.held.enters(who, keeps);
    }

    /// The client that was to come in by this handle has left, or the broker refuses it.
    pub(crate) fn stays_out(&self, handle: usize, client_id: &str) {
        self.subscriptions.stays_out(handle, client_id);
        self.held.stays_out(handle);
    }

    /// This user is connected (2.1).
    pub(crate) fn is_in(&self, who: Recipient<'_>, keeps: bool) {
        let (_, dropped) = self.held.named(who, keeps, true);
        self.services.stats.held_ended(HeldEnd::Gone, dropped);
    }

    /// Gives up what waits for these clients: nobody sends what they are no longer to have.
    pub(crate) fn revoke_held(&self, scope: &InvalidationScope) {
        let dropped = self.held.drop_if(|id, username| scope.is_about(id, username));
        self.services.stats.held_ended(HeldEnd::Revoked, dropped);
    }
}
