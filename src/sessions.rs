//! What is known of the clients that are connected, and of those that just left.
//!
//! A session lives as long as the broker's client does: it begins when the client is let in and
//! ends with the broker's event. Two things come after that event: the check of the client's Will,
//! and for a session that the broker keeps, checks of the messages that it queues. So what the
//! client may do is remembered for a while longer, in bounded space.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::answer::SessionGrants;
use crate::cache::InvalidationScope;
use crate::clock::{Clock, Deadline};
use crate::rules::{LastDelivery, Whom};
use crate::sealed::SealedQuestion;
use crate::sync::lock;

mod allowed;
mod ended_sessions;
mod known;
mod last_allowed;
mod session;
mod session_map;
pub(crate) use last_allowed::Basis;
pub use session::SessionKey;
pub(crate) use session::{AuthenticatedBy, ClientRef, Grants};
pub(crate) use session_map::{Fetch, MemoryRange};

pub(crate) use ended_sessions::EndedSession;
use ended_sessions::EndedSessions;
use session::Session;
use session_map::SessionMap;

/// Live clients by the broker's handle, which is a client's own for as long as it is connected.
pub struct Sessions {
    state: Mutex<State>,
    /// Whether any may be due at some time, readable without the lock: every tick asks.
    may_be_due: AtomicBool,
    ended_sessions: EndedSessions,
    clock: Arc<dyn Clock>,
}

struct State {
    live: SessionMap,
    last_delivery: LastDelivery,
    /// The sessions that must be asked about again, by when.
    due: BTreeSet<(Instant, usize)>,
    /// The same by the time of day, in seconds of Unix time.
    due_by_day: BTreeSet<(u64, usize)>,
}

impl Sessions {
    #[must_use]
    pub fn new(fetch: Fetch, clock: Arc<dyn Clock>) -> Self {
        let live = SessionMap::new(fetch);
        let (due, due_by_day) = (BTreeSet::new(), BTreeSet::new());
        Self {
            state: Mutex::new(State {
                live,
                last_delivery: LastDelivery::default(),
                due,
                due_by_day,
            }),
            may_be_due: AtomicBool::new(false),
            ended_sessions: EndedSessions::default(),
            clock,
        }
    }

    /// The API let this client in, which gave this name, and is known by it unless the grants say otherwise.
    /// What was known of its handle belonged to another. It is asked about again when it is `due`, and when
    /// the grants end.
    pub fn begin(
        &self,
        session_key: SessionKey,
        username: &str,
        address: Option<IpAddr>,
        session_grants: Option<&Arc<SessionGrants>>,
        question: Option<Arc<SealedQuestion>>,
        due: Option<Instant>,
    ) {
        let SessionKey { handle, client_id, key, identity } = session_key;
        let known_as = SessionGrants::known_as(session_grants, username);
        let whom = Whom { address, username: known_as, client_id: &client_id };
        let session = Session {
            key: Some(key),
            identity: Some(identity),
            address,
            given_username: (known_as != username).then(|| username.into()),
            authenticated_by: AuthenticatedBy::Api,
            grants: Grants::on(session_grants, whom),
            question,
            expiry: self.expiry(session_grants),
            ..Session::of_nobody(&client_id, known_as)
        };
        self.put(handle, session, due);
    }

    /// This client's login was left to the broker. If that does not let it in, it leaves at once.
    pub(crate) fn begin_at_broker(&self, session_key: SessionKey, username: &str) {
        let SessionKey { handle, client_id, key, identity } = session_key;
        let (key, identity) = (Some(key), Some(identity));
        let session = Session { key, identity, ..Session::of_nobody(&client_id, username) };
        self.put(handle, session, None);
    }

    fn put(&self, handle: usize, session: Session, due: Option<Instant>) {
        self.ended_sessions.remove(handle);
        let mut state = lock(&self.state);
        state.remove(handle);
        let expiry = session.expiry;
        state.live.insert(handle, session);
        self.schedule(&mut state, handle, due, expiry);
    }

    fn expiry(&self, session_grants: Option<&Arc<SessionGrants>>) -> Option<Deadline> {
        let expire_at = session_grants?.expire_at?;
        Some(Deadline::at(expire_at, &*self.clock))
    }

    fn schedule(
        &self,
        state: &mut State,
        handle: usize,
        due: Option<Instant>,
        expiry: Option<Deadline>,
    ) {
        let ends = expiry.and_then(|expiry| expiry.monotonic());
        let due = due.into_iter().chain(ends).min();
        state.schedule(handle, (due, expiry.map(|expiry| expiry.unix())));
        let may_be_due = !(state.due.is_empty() && state.due_by_day.is_empty());
        self.may_be_due.store(may_be_due, Ordering::Relaxed);
    }

    /// This client is connected, so that what is known of one that left is another's.
    pub(crate) fn forget_ended(&self, handle: usize) {
        self.ended_sessions.remove(handle);
    }

    /// A client left, in this pass of the broker's loop. What it may do stays known for its Will and for
    /// what is queued for it.
    pub fn end(&self, handle: usize, pass: u64) {
        let Some(session) = lock(&self.state).remove(handle) else { return };
        let Session { client_id, username, given_username, key, grants, expiry, .. } = session;
        // Without a login question nothing tells when another client takes the handle over.
        if key.is_some() && grants != Grants::default() {
            let ended = EndedSession { client_id, username, given_username, grants, expiry, pass };
            self.ended_sessions.insert(handle, ended);
        }
    }

    /// Whether this very client is still connected, let in by the API and this very question.
    #[must_use]
    pub fn holds(&self, session_key: &SessionKey) -> bool {
        self.authenticated_by(session_key) == Some(AuthenticatedBy::Api)
    }

    /// Who let this very client in, which came with this very question and is still connected.
    #[must_use]
    pub(crate) fn authenticated_by(&self, session_key: &SessionKey) -> Option<AuthenticatedBy> {
        lock(&self.state).get(session_key).map(|session| session.authenticated_by)
    }

    /// What this client may do, as far as it is known.
    #[must_use]
    pub(crate) fn grants(&self, client_ref: ClientRef<'_>) -> Option<Grants> {
        self.look(client_ref, |_| false, Grants::clone)
    }

    /// What `view` makes of what this client may do, as far as it is known. Where one has left that was
    /// known by the same names, `is_another` tells whether this is a new one.
    pub(crate) fn look<R>(
        &self,
        client_ref: ClientRef<'_>,
        is_another: impl FnOnce(&EndedSession) -> bool,
        view: impl FnOnce(&Grants) -> R,
    ) -> Option<R> {
        {
            let state = lock(&self.state);
            if let Some(session) = state.live.get(client_ref.handle) {
                return session.belongs_to(client_ref).then(|| view(&session.grants));
            }
        }
        let ended = self.ended_sessions.get(client_ref.handle)?;
        if !ended.belongs_to(client_ref) {
            return None;
        }
        if is_another(&ended) {
            self.ended_sessions.remove(client_ref.handle);
            return None;
        }
        let has_expired = ended.expiry.is_some_and(|expiry| expiry.is_over(&*self.clock));
        Some(if has_expired { view(&ended.grants.expired()) } else { view(&ended.grants) })
    }

    /// It became known whether this client's user is a superuser. That holds for as long as the
    /// client is connected, whoever let it in.
    pub(crate) fn set_superuser(&self, client_ref: ClientRef<'_>, is_superuser: bool) {
        if self.set_ended_superuser(client_ref, is_superuser) {
            return;
        }
        let mut state = lock(&self.state);
        let known =
            state.live.get_mut(client_ref.handle).filter(|known| known.belongs_to(client_ref));
        match known {
            Some(session) => {
                session.set_grants(Grants {
                    is_superuser: Some(is_superuser),
                    ..session.grants.clone()
                });
            }
            None => {
                let grants = Grants { is_superuser: Some(is_superuser), ..Grants::default() };
                let session = Session {
                    grants,
                    ..Session::of_nobody(client_ref.client_id, client_ref.username)
                };
                state.remove(client_ref.handle);
                state.live.insert(client_ref.handle, session);
            }
        }
    }

    /// The same, if it has left; whether it has.
    fn set_ended_superuser(&self, client_ref: ClientRef<'_>, is_superuser: bool) -> bool {
        if lock(&self.state).live.get(client_ref.handle).is_some() {
            return false;
        }
        let Some(ended) = self.ended_sessions.get(client_ref.handle) else { return false };
        if !ended.belongs_to(client_ref) {
            return false;
        }
        let grants = Grants { is_superuser: Some(is_superuser), ..ended.grants.clone() };
        self.ended_sessions.insert(client_ref.handle, EndedSession { grants, ..(*ended).clone() });
        true
    }

    /// The API let a client in again that is in already. One that is to be asked about once more since, as
    /// after an invalidation, is asked about once more; of one for which that will not be, the question is not
    /// kept. False: the API now gives it another name, and
    /// nothing of that holds.
    pub(crate) fn renew(
        &self,
        session_key: &SessionKey,
        session_grants: Option<&Arc<SessionGrants>>,
        due: Option<Instant>,
    ) -> bool {
        let mut state = lock(&self.state);
        let Some(session) = state.get_mut(session_key) else { return true };
        if session.is_due(self.clock.now()) {
            return true;
        }
        if !session.is_named_by(session_grants) {
            return false;
        }
        session.set_grants(Grants::on(session_grants, session.whom()));
        session.expiry = self.expiry(session_grants);
        let expiry = session.expiry;
        if session_grants.is_none() && due.is_none() {
            session.question = None;
        }
        self.schedule(&mut state, session_key.handle, due, expiry);
        true
    }

    /// A client is to be asked about again at this time, unless its time has come already.
    pub(crate) fn postpone(&self, session_key: &SessionKey, due: Instant) {
        let mut state = lock(&self.state);
        if state.get(session_key).is_some_and(|session| !session.is_due(self.clock.now())) {
            self.schedule(&mut state, session_key.handle, Some(due), None);
        }
    }

    /// A client is to be asked about now, by this question where none was kept of its login.
    pub(crate) fn ask_now(
        &self,
        session_key: &SessionKey,
        question: impl FnOnce() -> Option<Arc<SealedQuestion>>,
    ) {
        let mut state = lock(&self.state);
        let Some(session) = state.get_mut(session_key) else { return };
        if session.question.is_none() {
            session.question = question();
        }
        self.schedule(&mut state, session_key.handle, Some(self.clock.now()), None);
    }

    /// Whether the time of any may come.
    #[must_use]
    pub(crate) fn may_be_due(&self) -> bool {
        self.may_be_due.load(Ordering::Relaxed)
    }

    /// Takes up to `most` sessions whose time has come, with the questions that let them in.
    #[must_use]
    pub(crate) fn take_due(
        &self,
        now: Instant,
        most: usize,
    ) -> Vec<(SessionKey, Arc<SealedQuestion>)> {
        let mut state = lock(&self.state);
        let mut taken = Vec::new();
        let today = self.clock.unix_time().as_secs();
        while taken.len() < most {
            let Some(handle) = state.first_due(now, today) else { break };
            self.schedule(&mut state, handle, None, None);
            let Some(session) = state.live.get(handle) else { continue };
            let keys = session.key.zip(session.identity);
            if let (Some((key, identity)), Some(question)) = (keys, &session.question) {
                let client_id = session.client_id.to_string();
                let session_key = SessionKey { handle, client_id, key, identity };
                taken.push((session_key, Arc::clone(question)));
            }
        }
        taken
    }

    /// The client of this identifier and user, if it is connected: its handle and what it may do.
    #[must_use]
    pub(crate) fn find(&self, client_id: &str, username: &str) -> Option<(usize, Grants)> {
        let state = lock(&self.state);
        let mut of_id = state.live.of_id(client_id);
        let (handle, session) = of_id.find(|(_, session)| session.username == username)?;
        Some((handle, session.grants.clone()))
    }

    /// Has every client asked about again of which something was remembered that is outdated now;
    /// how many there are. What is remembered of such clients that have left is forgotten.
    pub(crate) fn outdate(&self, scope: &InvalidationScope, now: Instant) -> usize {
        self.ended_sessions.remove_covered(scope);
        let mut state = lock(&self.state);
        let mut outdated = Vec::new();
        for (handle, session) in state.live.iter_mut() {
            if !session.is_covered(scope) {
                continue;
            }
            if session.question.is_some() {
                outdated.push(handle);
            } else {
                session.set_grants(Grants { is_superuser: None, ..session.grants.clone() });
            }
        }
        outdated.iter().for_each(|handle| self.schedule(&mut state, *handle, Some(now), None));
        outdated.len()
    }

    /// How many clients are known to be connected.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.state).live.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn get(&self, session_key: &SessionKey) -> Option<&Session> {
        let session = self.live.get(session_key.handle)?;
        session.has_key(session_key).then_some(session)
    }

    fn get_mut(&mut self, session_key: &SessionKey) -> Option<&mut Session> {
        let session = self.live.get_mut(session_key.handle)?;
        session.has_key(session_key).then_some(session)
    }

    fn remove(&mut self, handle: usize) -> Option<Session> {
        self.schedule(handle, (None, None));
        self.live.remove(handle)
    }

    fn schedule(&mut self, handle: usize, due: (Option<Instant>, Option<u64>)) {
        let Some(session) = self.live.get_mut(handle) else { return };
        let (before, before_by_day) = std::mem::replace(&mut session.due, due);
        before.map(|before| self.due.remove(&(before, handle)));
        before_by_day.map(|before| self.due_by_day.remove(&(before, handle)));
        let (due, due_by_day) = due;
        due.map(|due| self.due.insert((due, handle)));
        due_by_day.map(|due| self.due_by_day.insert((due, handle)));
    }

    /// One whose time has come, by either clock.
    fn first_due(&self, now: Instant, today: u64) -> Option<usize> {
        let due = self.due.first().filter(|(due, _)| *due <= now).map(|(_, handle)| *handle);
        let by_day = || self.due_by_day.first().filter(|(due, _)| *due <= today);
        due.or_else(|| by_day().map(|(_, handle)| *handle))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock, SystemClock};
    use crate::question::{Access, Action, Kind, RawAclCheck};
    use crate::rules::{Condition, Permission, Rule, Rules, Verb};
    use crate::sealed::SecretBox;
    use crate::secret::Secret;

    fn sessions() -> Sessions {
        Sessions::new(|_| {}, Arc::new(SystemClock))
    }

    /// A login question that can be asked again.
    fn sealed(secret_box: &SecretBox) -> Arc<SealedQuestion> {
        let body = secret_box.seal(&Secret::new(vec![1])).unwrap();
        Arc::new(SealedQuestion {
            kind: Kind::Login,
            bearer: None,
            claim: None,
            body,
            about: String::new(),
            subject: 0,
            shared: None,
        })
    }

    fn session_key(handle: usize, client_id: &str, key: u32) -> SessionKey {
        SessionKey::from_number(handle, client_id, key)
    }

    fn session_grants(is_superuser: bool) -> Option<Arc<SessionGrants>> {
        let is_superuser = Some(is_superuser);
        Some(Arc::new(SessionGrants {
            is_superuser,
            rules: None,
            expire_at: None,
            ..SessionGrants::default()
        }))
    }

    fn client_ref<'a>(handle: usize, client_id: &'a str, username: &'a str) -> ClientRef<'a> {
        ClientRef { handle, client_id, username }
    }

    fn begin(sessions: &Sessions, handle: usize, client_id: &str, key: u32) {
        sessions.begin(
            session_key(handle, client_id, key),
            "ann",
            None,
            session_grants(false).as_ref(),
            None,
            None,
        );
    }

    #[test]
    fn a_session_is_known_by_handle_identifier_and_credentials_until_it_ends() {
        let sessions = sessions();
        begin(&sessions, 1, "c", 7);
        assert!(sessions.holds(&session_key(1, "c", 7)));
        assert!(!sessions.holds(&session_key(2, "c", 7)), "another connection");
        assert!(!sessions.holds(&session_key(1, "d", 7)), "another client on the same handle");
        assert!(!sessions.holds(&session_key(1, "c", 8)), "other credentials");
        sessions.end(1, 0);
        assert!(!sessions.holds(&session_key(1, "c", 7)));
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_handle_that_is_used_again_belongs_to_the_new_client() {
        let sessions = sessions();
        begin(&sessions, 1, "c", 7);
        begin(&sessions, 1, "d", 8);
        assert!(!sessions.holds(&session_key(1, "c", 7)));
        assert!(sessions.holds(&session_key(1, "d", 8)));
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), None);
    }

    #[test]
    fn what_a_client_may_do_is_its_own_and_outlives_it() {
        let sessions = sessions();
        begin(&sessions, 1, "c", 7);
        let grants = sessions.grants(client_ref(1, "c", "ann")).unwrap();
        assert_eq!(grants.is_superuser, Some(false));
        sessions.end(1, 0);
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), Some(grants));
        assert_eq!(sessions.grants(client_ref(1, "c", "ben")), None, "another user");
        assert_eq!(sessions.grants(client_ref(1, "d", "ann")), None, "another client");
        begin(&sessions, 1, "d", 8);
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), None, "the handle is another's now");
    }

    #[test]
    fn a_question_about_a_client_that_left_adds_to_what_is_known_of_it() {
        let sessions = sessions();
        let rules = Some(Arc::new(Rules::compile(Vec::new()).unwrap()));
        let session_grants = SessionGrants {
            is_superuser: None,
            rules: rules.clone(),
            expire_at: None,
            ..SessionGrants::default()
        };
        let session_grants = Some(Arc::new(session_grants));
        sessions.begin(session_key(1, "c", 7), "ann", None, session_grants.as_ref(), None, None);
        sessions.end(1, 0);
        sessions.set_superuser(client_ref(1, "c", "ann"), false);
        let expected = Grants { rules, is_superuser: Some(false), ..Grants::default() };
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), Some(expected));
        assert!(sessions.is_empty());
    }

    #[test]
    fn what_is_known_of_a_client_that_came_without_a_question_ends_with_it() {
        let sessions = sessions();
        sessions.set_superuser(client_ref(1, "c", "ann"), true);
        sessions.end(1, 0);
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), None);
    }

    #[test]
    fn nothing_is_kept_of_a_client_of_which_nothing_was_known() {
        let sessions = sessions();
        sessions.begin(session_key(1, "c", 7), "ann", None, None, None, None);
        sessions.end(1, 0);
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), None);
    }

    #[test]
    fn a_client_that_the_broker_let_in_has_nothing_of_one_that_was_there_before() {
        let sessions = sessions();
        begin(&sessions, 1, "c", 7);
        sessions.end(1, 0);
        sessions.begin_at_broker(session_key(1, "c", 7), "ann");
        assert_eq!(
            sessions.authenticated_by(&session_key(1, "c", 7)),
            Some(AuthenticatedBy::Broker)
        );
        assert!(!sessions.holds(&session_key(1, "c", 7)));
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), Some(Grants::default()));
    }

    #[test]
    fn what_is_known_of_one_that_left_ends_when_another_is_seen_on_its_handle() {
        let sessions = sessions();
        begin(&sessions, 1, "c", 7);
        sessions.end(1, 0);
        sessions.forget_ended(1);
        assert_eq!(sessions.grants(client_ref(1, "c", "ann")), None);
    }

    #[test]
    fn a_superuser_is_one_until_it_leaves_or_is_let_in_again() {
        let sessions = sessions();
        sessions.set_superuser(client_ref(1, "c", "ann"), true);
        let is_superuser = |client_id| {
            sessions.grants(client_ref(1, client_id, "ann")).and_then(|s| s.is_superuser)
        };
        assert_eq!(is_superuser("c"), Some(true));
        sessions.set_superuser(client_ref(1, "d", "ann"), false);
        assert_eq!((is_superuser("c"), is_superuser("d")), (None, Some(false)));
        begin(&sessions, 1, "c", 7);
        sessions.set_superuser(client_ref(1, "c", "ann"), true);
        sessions.renew(&session_key(1, "c", 7), None, None);
        assert_eq!(is_superuser("c"), None);
    }

    fn raw_check<'a>(client_ref: ClientRef<'a>, action: &Action<'a>) -> RawAclCheck<'a> {
        RawAclCheck {
            handle: client_ref.handle,
            client_id: client_ref.client_id.as_bytes(),
            username: client_ref.username.as_bytes(),
            topic: action.topic.as_bytes(),
            access: action.access,
            flags: action.flags(),
        }
    }

    const READ: Action<'_> = Action { access: Access::Read, topic: "a", qos: 0, retain: false };

    #[test]
    fn what_was_allowed_is_recalled_for_this_client_as_long_as_its_grants_are_the_same() {
        let sessions = sessions();
        let ann = client_ref(1, "c", "ann");
        let recalls = |client_ref| sessions.recall(&raw_check(client_ref, &READ), |_| ()).is_some();
        sessions.note_allowed(ann, &READ, Basis::Grants);
        assert!(!recalls(ann), "nothing is known of it");
        begin(&sessions, 1, "c", 7);
        assert!(!recalls(ann));
        sessions.note_allowed(client_ref(1, "c", "ben"), &READ, Basis::Grants);
        assert!(!recalls(ann) && !recalls(client_ref(1, "c", "ben")), "another user");
        let again = || {
            sessions.note_allowed(ann, &READ, Basis::Grants);
            assert!(recalls(ann));
        };
        again();
        assert!(!recalls(client_ref(1, "d", "ann")) && !recalls(client_ref(2, "c", "ann")));
        sessions.renew(&session_key(1, "c", 7), None, None);
        assert!(!recalls(ann), "it was let in again");
        again();
        sessions.set_superuser(ann, false);
        assert!(!recalls(ann), "it became known that it is no superuser");
        again();
        sessions.outdate(&InvalidationScope::default(), SystemClock.now());
        assert!(!recalls(ann), "it was declared outdated");
        again();
        sessions.forget_allowed();
        assert!(!recalls(ann), "the list of local users has changed");
        again();
        sessions.end(1, 0);
        assert!(!recalls(ann), "it left");
        begin(&sessions, 1, "c", 7);
        assert!(!recalls(ann), "it is another now");
    }

    #[test]
    fn what_a_rule_allows_to_all_is_recalled_for_whoever_has_the_rules() {
        let sessions = sessions();
        let rule = Rule {
            permission: Permission::Allow,
            verb: Verb::All,
            topic: "#".to_owned(),
            qos: None,
            retain: None,
            condition: Condition::NONE,
        };
        let session_grants = || {
            let rules = Some(Arc::new(Rules::compile(vec![rule.clone()]).unwrap()));
            Arc::new(SessionGrants { rules, ..SessionGrants::default() })
        };
        let (some, others) = (session_grants(), session_grants());
        for (handle, session_grants) in [(1, &some), (2, &some), (3, &others)] {
            sessions.begin(
                session_key(handle, "c", 7),
                "ann",
                None,
                Some(session_grants),
                None,
                None,
            );
        }
        let client_ref = |handle| client_ref(handle, "c", "ann");
        let recalls =
            |handle| sessions.recall(&raw_check(client_ref(handle), &READ), |_| ()).is_some();
        sessions.note_allowed_by_rule(client_ref(1), &READ, 0);
        assert_eq!(
            [1, 2, 3].map(recalls),
            [true, false, false],
            "the second was allowed nothing yet"
        );
        let other = Action { topic: "b", ..READ };
        sessions.note_allowed_by_rule(client_ref(2), &other, 0);
        sessions.note_allowed_by_rule(client_ref(1), &READ, 0);
        assert_eq!([1, 2, 3].map(recalls), [true, true, false]);
        sessions.forget_allowed();
        assert_eq!([1, 2, 3].map(recalls), [false, false, false]);
        sessions.note_allowed_by_rule(client_ref(2), &READ, 0);
        sessions.renew(&session_key(2, "c", 7), Some(&others), None);
        assert_eq!([1, 2, 3].map(recalls), [false, false, false], "the second has other rules now");
    }

    #[test]
    fn what_was_allowed_until_a_time_ends_then_for_a_client_that_left() {
        for set_ahead in [0, 10] {
            let clock = ManualClock::new();
            let sessions = Sessions::new(|_| {}, clock.clone());
            let expire_at = Some(clock.unix_time().as_secs() + 10);
            let rules = Some(Arc::new(Rules::compile(Vec::new()).unwrap()));
            let session_grants = Arc::new(SessionGrants {
                is_superuser: Some(true),
                rules,
                expire_at,
                ..SessionGrants::default()
            });
            sessions.begin(session_key(1, "c", 7), "ann", None, Some(&session_grants), None, None);
            sessions.end(1, 0);
            let grants = || sessions.grants(client_ref(1, "c", "ann")).unwrap();
            assert!(grants().is_superuser == Some(true) && grants().rules_in_force().is_some());
            clock.set_ahead(set_ahead);
            clock.advance(Duration::from_secs(10 - set_ahead.unsigned_abs()));
            assert!(grants().is_superuser.is_none() && grants().rules_in_force().is_none());
            assert!(grants().rules.is_some(), "that there were rules is not forgotten");
        }
    }

    #[test]
    fn what_is_known_of_one_that_left_is_nobody_elses() {
        let sessions = sessions();
        let is_known = |is_another| {
            sessions
                .look(client_ref(1, "c", "ann"), |left| is_another && left.pass == 5, |_| ())
                .is_some()
        };
        begin(&sessions, 1, "c", 7);
        sessions.end(1, 5);
        assert!(is_known(false) && !is_known(true) && !is_known(false));
        begin(&sessions, 1, "c", 7);
        assert!(is_known(true), "whoever is connected is the very client");
        sessions.end(1, 5);
        sessions.end(1, 6);
        assert!(is_known(false), "brokers say so again at SIGHUP, for one");
    }

    #[test]
    fn a_session_comes_due_by_whichever_clock_comes_to_its_end_first() {
        let secret_box = SecretBox::random().unwrap();
        for (set_ahead, advance) in [(0, 3600), (3600, 0), (1800, 1800), (-3600, 3600)] {
            let clock = ManualClock::new();
            let sessions = Sessions::new(|_| {}, clock.clone());
            let expire_at = Some(clock.unix_time().as_secs() + 3600);
            let session_grants = Arc::new(SessionGrants {
                is_superuser: None,
                rules: None,
                expire_at,
                ..SessionGrants::default()
            });
            let question = sealed(&secret_box);
            let session_key = session_key(1, "c", 7);
            sessions.begin(
                session_key.clone(),
                "ann",
                None,
                Some(&session_grants),
                Some(question),
                None,
            );
            let is_due = || !sessions.take_due(clock.now(), 9).is_empty();
            assert!(!is_due() && sessions.may_be_due());
            clock.set_ahead(set_ahead);
            clock.advance(Duration::from_secs(advance));
            assert!(is_due(), "set by {set_ahead}, and {advance} later");
            assert!(!is_due() && !sessions.may_be_due(), "once is enough");
            sessions.postpone(&session_key, clock.now() + Duration::from_secs(2));
            assert!(!is_due(), "its end has passed, but it was asked about just now");
            clock.advance(Duration::from_secs(2));
            assert!(is_due());
        }
    }

    #[test]
    fn a_session_comes_due_once_and_not_after_its_end() {
        let (sessions, now) = (sessions(), SystemClock.now());
        let secret_box = SecretBox::random().unwrap();
        let second = Duration::from_secs(1);
        for (handle, due) in [(1, now + second), (2, now), (3, now), (4, now)] {
            let question = sealed(&secret_box);
            let question = Some(question);
            let session_key = session_key(handle, "c", 7);
            sessions.begin(session_key, "ann", None, None, question, Some(due));
        }
        sessions.end(4, 0);
        let taken = |now, most| -> Vec<usize> {
            let taken = sessions.take_due(now, most);
            taken.into_iter().map(|(session_key, _)| session_key.handle).collect()
        };
        assert_eq!(taken(now, 1), [2]);
        assert_eq!(taken(now, 9), [3]);
        assert!(taken(now, 9).is_empty());
        sessions.postpone(&session_key(2, "c", 7), now + second);
        assert_eq!(taken(now + second, 9), [1, 2]);
        assert!(lock(&sessions.state).due.is_empty());
    }

    #[test]
    fn what_was_asked_before_an_invalidation_does_not_stand_in_for_asking_again() {
        let (sessions, now) = (sessions(), SystemClock.now());
        let question = sealed(&SecretBox::random().unwrap());
        let session_key = session_key(1, "c", 7);
        sessions.begin(session_key.clone(), "ann", None, None, Some(question), Some(now));
        let is_due = || !sessions.take_due(SystemClock.now(), 9).is_empty();
        let later = now + Duration::from_secs(3600);
        for is_answered in [true, false] {
            assert!(is_due(), "its turn has come");
            sessions.outdate(&InvalidationScope::default(), SystemClock.now());
            match is_answered {
                true => assert!(sessions.renew(&session_key, None, Some(later))),
                false => sessions.postpone(&session_key, later),
            }
        }
        assert!(is_due());
        sessions.renew(&session_key, None, Some(later));
        assert!(!is_due(), "it was asked about since");
    }

    #[test]
    fn however_long_their_names_those_that_left_take_little_room() {
        let sessions = sessions();
        let long = "x".repeat(65_000);
        for handle in 0..1000 {
            sessions.begin(session_key(handle, &long, 7), &long, None, None, None, None);
            sessions.set_superuser(client_ref(handle, &long, &long), true);
            sessions.end(handle, 0);
        }
        let known = |handle| sessions.grants(client_ref(handle, &long, &long)).is_some();
        let count = (0..1000).filter(|handle| known(*handle)).count();
        assert!((100..150).contains(&count) && known(999), "{count}");
    }

    #[test]
    fn a_million_clients_leave_nothing_behind() {
        let sessions = sessions();
        for number in 0..1_000_000_usize {
            let handle = number % 5000;
            let due = Some(SystemClock.now());
            sessions.begin(session_key(handle, "c", 7), "ann", None, None, None, due);
            sessions.end(handle, 0);
        }
        let state = lock(&sessions.state);
        assert!(state.live.len() == 0 && state.due.is_empty());
        drop(state);
        assert!((0..5000).all(|handle| sessions.grants(client_ref(handle, "c", "ann")).is_none()));
    }
}
