//! What a client that comes again is asked again: it waits once for all of that, and not once for each.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::Authorizer;
use super::who::{Who, client_ref, is_connected};
use crate::answer::Outcome;
use crate::cache::Key;
use crate::last_asked::Asked as LastAction;
use crate::login::{Applicant, Waiting};
use crate::pool::{Asked, Pending, Postponed, Urgency};
use crate::question::{About, Access, Action, Client, ClientSnapshot, Kind, Question};
use crate::rules::Whom;
use crate::sessions::Grants;
use crate::sync::lock;

/// How long a login that is allowed waits for the answers that its client will need. Nobody is held up.
const LONGEST_ENTRY: Duration = Duration::from_millis(100);

/// Logins that are allowed and wait for that, the first to be let in first.
#[derive(Default)]
pub(crate) struct PostponedEntries {
    waiting: Mutex<VecDeque<(Instant, Weak<Postponed>)>>,
    /// Whether there are any, readable without the lock: every tick asks.
    any: AtomicBool,
}

impl PostponedEntries {
    fn add(&self, until: Instant, postponed: &Arc<Postponed>) {
        lock(&self.waiting).push_back((until, Arc::downgrade(postponed)));
        self.any.store(true, Ordering::Relaxed);
    }

    /// Ends the waiting of those whose time is over. For the broker's thread, which adds them as well.
    pub(crate) fn end_due(&self, now: Instant) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = lock(&self.waiting);
        while let Some((_, postponed)) = waiting.front().filter(|(until, _)| *until <= now) {
            postponed.upgrade().iter().for_each(|postponed| postponed.complete());
            waiting.pop_front();
        }
        self.any.store(!waiting.is_empty(), Ordering::Relaxed);
    }
}

/// A question for whose answer there was no time, and when it was asked.
pub(super) type Unheard = (Kind, Asked, Instant);

impl Authorizer {
    /// Remembers what is asked, for when this client comes in again: of deliveries those alone that come at
    /// that time, or for a session that is offline.
    pub(super) fn note_asked(&self, who: Who<'_>, action: Action<'_>) {
        let client = who.client;
        let is_asked_again = action.access != Access::Read
            || self.services.engine.keeps_access_answers()
                && (self.begun.is_with(client.handle())
                    || self.subscriptions.is_offline(client.handle()));
        if is_asked_again && who.broker.is_some() {
            self.last_asked.note(client.id(), who.username, &action);
        }
    }

    /// A client is let in: asks in the background what it was asked about last time.
    pub(crate) fn ask_what_was_asked(&self, client: &dyn Client, username: &str) {
        let grants =
            self.services.sessions.grants(client_ref(client, username)).unwrap_or_default();
        let _ = self.ask_ahead_for(Who { client, username, grants: &grants, broker: None }, false);
    }

    /// Lets in those whose answers have taken too long. For the broker's thread.
    pub(crate) fn end_postponed_entries(&self, now: Instant) {
        self.postponed_entries.end_due(now);
    }

    /// The same, for a login that waits and that this outcome allows; the pending for its outcome once the
    /// answers are there, or after [`LONGEST_ENTRY`]. None: there is nothing to wait for.
    pub(crate) fn ask_before_entry(&self, waiting: &Waiting, outcome: &Outcome) -> Option<Pending> {
        let client: &ClientSnapshot = waiting.asks_ahead.as_deref()?;
        let username = waiting.known_as();
        let Applicant { client_id, address, .. } = &waiting.applicant;
        let whom = Whom { address: *address, username, client_id };
        let grants = &Grants::on(waiting.session_grants.as_ref(), whom);
        let now = self.services.clock.now();
        // Else these will not be there sooner than the login's was.
        let joins = now.duration_since(waiting.asked) <= LONGEST_ENTRY;
        let who = Who { client, username, grants, broker: None };
        let on_their_way = self.ask_ahead_for(who, joins);
        if on_their_way.is_empty() {
            return None;
        }
        let (pending, postponed) = Postponed::new(outcome.clone());
        self.postponed_entries.add(now + LONGEST_ENTRY, &postponed);
        for answer in on_their_way {
            let postponed = Arc::clone(&postponed);
            answer.listen(move |_| drop(postponed));
        }
        Some(pending)
    }

    /// Asks what this client was asked about last time; if it `joins`, what is on its way of that then.
    fn ask_ahead_for(&self, who: Who<'_>, joins: bool) -> Vec<Pending> {
        if !self.has_route(Kind::Access) {
            return Vec::new();
        }
        let Who { client, username, grants, .. } = who;
        let known = self.last_asked.of(client.id(), username);
        let actions = known.asked.iter().map(|asked| asked.action());
        let mut questions: Vec<_> = actions
            .filter(|action| self.will_ask_acl(who, *action))
            .map(|action| who.question(About::Access(action)))
            .collect();
        let asks_superuser = self.has_route(Kind::Superuser) && grants.is_superuser.is_none();
        if asks_superuser && !questions.is_empty() {
            questions.push(who.question(About::Superuser));
        }
        if known.was_closed(self.services.clock.now()) {
            self.keep_all_for_retry(who, &known.asked, true);
        }
        if self.services.engine.keeps_access_answers() {
            self.services.engine.ask_ahead(questions.iter().copied());
        }
        if !joins {
            return Vec::new();
        }
        let engine = &self.services.engine;
        questions.iter().filter_map(|question| engine.join(&engine.key(question))).collect()
    }

    /// A login that waits now: its client, if there is something to ask ahead for it.
    pub(crate) fn client_to_ask_ahead_for(
        &self,
        question: &Question<'_>,
    ) -> Option<Arc<ClientSnapshot>> {
        let Question { client, username, .. } = question;
        let snapshot = || ClientSnapshot::of(*client, username, &self.certificate_parts());
        let asks_ahead =
            self.has_route(Kind::Access) && self.last_asked.knows(client.id(), username);
        asks_ahead.then(|| Arc::new(snapshot()))
    }

    /// This client is closed, since nobody could decide in time what it may do. Its next try finds the answer, and
    /// the others that it needs to come as far again, whether or not answers are cached.
    pub(super) fn prepare_retry(&self, who: Who<'_>, action: Action<'_>, unheard: Option<Unheard>) {
        // An API that has just failed is not asked for more.
        let asks = unheard.is_some();
        if let Some((kind, Asked::Later(pending), asked_at)) = unheard {
            let key = self.services.engine.key(&who.question(about(kind, action)));
            self.services.retry_answers.keep_when_known(key, pending, asked_at, |_| ());
        }
        let now = self.services.clock.now();
        let known = self.last_asked.note_closed(who.client.id(), who.username, now);
        self.keep_all_for_retry(who, &known.asked, asks);
    }

    /// Notes what this client is told, if its next try could not find it in the cache.
    pub(super) fn note_told(
        &self,
        who: Who<'_>,
        action: Action<'_>,
        (kind, outcome, asked_at): (Kind, &Outcome, Instant),
    ) {
        let question = who.question(about(kind, action));
        let key = self.services.engine.key(&question);
        if outcome.is_ok() && !self.services.engine.knows(&key, &question) {
            self.services.retry_answers.note_told(key, outcome.clone(), asked_at);
        }
    }

    /// Keeps the answers to what this client asked before: what it was told, and, if it `asks`, what the API
    /// says of the rest.
    fn keep_all_for_retry(&self, who: Who<'_>, asked: &[LastAction], asks: bool) {
        let asks = asks && self.services.engine.api().in_service();
        if self.has_route(Kind::Superuser) && who.grants.is_superuser.is_none() {
            self.keep_one_for_retry(&who.question(About::Superuser), asks);
        }
        for asked in asked {
            let action = asked.action();
            if action.access != Access::Read && self.will_ask_acl(who, action) {
                self.keep_one_for_retry(&who.question(About::Access(action)), asks);
            }
        }
    }

    fn keep_one_for_retry(&self, question: &Question<'_>, asks: bool) {
        let (key, asked_at) = (self.services.engine.key(question), self.services.clock.now());
        let is_there = self.services.engine.knows(&key, question)
            || self.services.retry_answers.give_back(&key);
        if is_there || !asks {
            return;
        }
        if let Asked::Later(pending) = self.services.engine.ask_api(key, question, Urgency::Waiting)
        {
            self.services.retry_answers.keep_when_known(key, pending, asked_at, |_| ());
        }
    }

    /// What is kept of a question for the client that asks it now, if it was closed before.
    pub(super) fn kept_for_retry(
        &self,
        who: Who<'_>,
        action: Action<'_>,
        (key, question): (&Key, &Question<'_>),
    ) -> Option<Outcome> {
        let may_be_kept =
            action.access != Access::Read && who.broker.is_some() && is_connected(who.client);
        may_be_kept.then(|| {
            self.services
                .retry_answers
                .lend(key, |_, asked| self.services.engine.is_outdated(question, asked))
        })?
    }
}

/// What is asked about an action.
fn about(kind: Kind, action: Action<'_>) -> About<'_> {
    if kind == Kind::Superuser { About::Superuser } else { About::Access(action) }
}
