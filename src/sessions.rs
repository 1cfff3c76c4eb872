//! What is known of the clients that are connected, and of those that just left.
//!
//! A session lives as long as the broker's client does: it begins when the client is let in and
//! ends with the broker's event. Two things come after that event: the check of the client's Will,
//! and for a session that the broker keeps, checks of the messages that it queues. So what the
//! client may do is remembered for a while longer, in bounded space.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::answer::Terms;
use crate::cache::Matter;
use crate::question::{Access, Action, Glance};
use crate::rules::Recent;
use crate::sync::lock;
use crate::vault::SealedQuestion;

mod departed;
mod lately;
mod places;
mod session;
pub use lately::Basis;
pub use places::{Fetch, Piece};
pub use session::{Admission, Holder, LetInBy, Standing};

use departed::{Departed, DepartedClients};
use places::Places;
use session::Session;

/// Live clients by the broker's handle, which is a client's own for as long as it is connected.
pub struct Sessions {
    state: Mutex<State>,
    /// Whether any may be due at some time, readable without the lock: every tick asks.
    may_be_due: AtomicBool,
    departed: DepartedClients,
}

struct State {
    live: Places,
    /// What rules said of the last delivery.
    recent: Recent,
    /// The sessions that must be asked about again, by when.
    due: BTreeSet<(Instant, usize)>,
}

/// For whom it makes no difference what lies in the processor's caches.
impl Default for Sessions {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl Sessions {
    #[must_use]
    pub fn new(fetch: Fetch) -> Self {
        let live = Places::new(fetch);
        let state = State { live, recent: Recent::default(), due: BTreeSet::new() };
        Self {
            state: Mutex::new(state),
            may_be_due: AtomicBool::new(false),
            departed: DepartedClients::default(),
        }
    }

    /// The API let this client in. What was known of its handle belonged to another.
    pub fn begin(
        &self,
        admission: Admission,
        username: &str,
        terms: Option<&Arc<Terms>>,
        question: Option<SealedQuestion>,
        due: Option<Instant>,
    ) {
        let Admission { handle, client_id, key } = admission;
        let session = Session {
            key: Some(key),
            let_in_by: LetInBy::Api,
            standing: Standing::on(terms),
            question: question.map(Arc::new),
            ..Session::of_nobody(&client_id, username)
        };
        self.put(handle, session, due);
    }

    /// This client's login was left to the broker. If that does not let it in, it leaves at once.
    pub fn begin_at_broker(&self, admission: Admission, username: &str) {
        let Admission { handle, client_id, key } = admission;
        let session = Session { key: Some(key), ..Session::of_nobody(&client_id, username) };
        self.put(handle, session, None);
    }

    fn put(&self, handle: usize, session: Session, due: Option<Instant>) {
        self.departed.remove(handle);
        let mut state = lock(&self.state);
        state.remove(handle);
        state.live.insert(handle, session);
        self.schedule(&mut state, handle, due);
    }

    fn schedule(&self, state: &mut State, handle: usize, due: Option<Instant>) {
        state.schedule(handle, due);
        self.may_be_due.store(!state.due.is_empty(), Ordering::Relaxed);
    }

    /// This client is connected, so that what is known of one that left is another's.
    pub fn forget_departed(&self, handle: usize) {
        self.departed.remove(handle);
    }

    /// A client left. What it may do stays known for its Will and for what is queued for it.
    pub fn end(&self, handle: usize) {
        let Some(session) = lock(&self.state).remove(handle) else { return };
        let Session { client_id, username, key, standing, .. } = session;
        // Without a login question nothing tells when another client takes the handle over.
        if key.is_some() && standing != Standing::default() {
            let departed = Departed { client_id, username, standing };
            self.departed.insert(handle, departed);
        }
    }

    /// Whether this very client is still connected, let in by the API and this very question.
    #[must_use]
    pub fn holds(&self, admission: &Admission) -> bool {
        self.let_in_by(admission) == Some(LetInBy::Api)
    }

    /// Who let this very client in, which came with this very question and is still connected.
    #[must_use]
    pub fn let_in_by(&self, admission: &Admission) -> Option<LetInBy> {
        lock(&self.state).get(admission).map(|session| session.let_in_by)
    }

    /// What this client may do, as far as it is known.
    #[must_use]
    pub fn standing(&self, holder: Holder<'_>) -> Option<Standing> {
        self.look(holder, Standing::clone)
    }

    /// What `view` makes of what this client may do, as far as it is known.
    pub fn look<R>(&self, holder: Holder<'_>, view: impl FnOnce(&Standing) -> R) -> Option<R> {
        {
            let state = lock(&self.state);
            if let Some(session) = state.live.get(holder.handle) {
                return session.belongs_to(holder).then(|| view(&session.standing));
            }
        }
        let departed = self.departed.get(holder.handle)?;
        departed.belongs_to(holder).then(|| view(&departed.standing))
    }

    /// What a permission rests on that this client was given before, if that is known: the session's
    /// standing is the same still.
    #[must_use]
    pub fn recall(&self, glance: &Glance<'_>) -> Option<Basis> {
        let mut state = lock(&self.state);
        let State { live, recent, .. } = &mut *state;
        let session = if glance.access == Access::Read {
            let names = [glance.client_id.as_ptr() as usize, glance.username.as_ptr() as usize];
            live.follow(glance.handle, names)?
        } else {
            live.again(glance.handle)?
        };
        if !session.is_seen(glance) {
            return None;
        }
        match &session.standing.rules {
            Some(rules) if recent.recall(rules, glance) => Some(Basis::Standing),
            _ => session.lately.recall(glance),
        }
    }

    /// This client is allowed this, on this basis.
    pub fn note_allowed(&self, holder: Holder<'_>, action: &Action<'_>, basis: Basis) {
        let mut state = lock(&self.state);
        if let Some(session) = state.live.get_mut(holder.handle) {
            if session.belongs_to(holder) {
                session.lately.note(action, basis);
            }
        }
    }

    /// This client's rules allow this to everybody who has them.
    pub fn note_allowed_to_all(&self, holder: Holder<'_>, action: &Action<'_>) {
        let mut state = lock(&self.state);
        let State { live, recent, .. } = &mut *state;
        let session = live.get(holder.handle).filter(|session| session.belongs_to(holder));
        if let Some(rules) = session.and_then(|session| session.standing.rules.as_ref()) {
            recent.note(rules, action);
        }
    }

    /// It became known whether this client's user is a superuser. That holds for as long as the
    /// client is connected, whoever let it in.
    pub fn set_superuser(&self, holder: Holder<'_>, is_superuser: bool) {
        if self.set_departed_superuser(holder, is_superuser) {
            return;
        }
        let mut state = lock(&self.state);
        let known = state.live.get_mut(holder.handle).filter(|known| known.belongs_to(holder));
        match known {
            Some(session) => {
                session.stand(Standing {
                    is_superuser: Some(is_superuser),
                    ..session.standing.clone()
                });
            }
            None => {
                let standing = Standing { rules: None, is_superuser: Some(is_superuser) };
                let session =
                    Session { standing, ..Session::of_nobody(holder.client_id, holder.username) };
                state.remove(holder.handle);
                state.live.insert(holder.handle, session);
            }
        }
    }

    /// The same, if it has left; whether it has.
    fn set_departed_superuser(&self, holder: Holder<'_>, is_superuser: bool) -> bool {
        if lock(&self.state).live.get(holder.handle).is_some() {
            return false;
        }
        let Some(departed) = self.departed.get(holder.handle) else { return false };
        if !departed.belongs_to(holder) {
            return false;
        }
        let standing = Standing { is_superuser: Some(is_superuser), ..departed.standing.clone() };
        let (client_id, username) = (departed.client_id.clone(), departed.username.clone());
        let departed = Departed { client_id, username, standing };
        self.departed.insert(holder.handle, departed);
        true
    }

    /// The API let a client in again that is in already.
    pub fn renew(&self, admission: &Admission, terms: Option<&Arc<Terms>>, due: Option<Instant>) {
        let mut state = lock(&self.state);
        let Some(session) = state.get_mut(admission) else { return };
        session.stand(Standing::on(terms));
        self.schedule(&mut state, admission.handle, due);
    }

    /// A client is to be asked about again at this time.
    pub fn postpone(&self, admission: &Admission, due: Instant) {
        let mut state = lock(&self.state);
        if state.get(admission).is_some() {
            self.schedule(&mut state, admission.handle, Some(due));
        }
    }

    /// Whether the time of any may come.
    #[must_use]
    pub fn may_be_due(&self) -> bool {
        self.may_be_due.load(Ordering::Relaxed)
    }

    /// Takes up to `most` sessions whose time has come, with the questions that let them in.
    #[must_use]
    pub fn take_due(&self, now: Instant, most: usize) -> Vec<(Admission, Arc<SealedQuestion>)> {
        let mut state = lock(&self.state);
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(&(due, handle)) = state.due.first() else {
                self.may_be_due.store(false, Ordering::Relaxed);
                break;
            };
            if due > now {
                break;
            }
            self.schedule(&mut state, handle, None);
            let Some(session) = state.live.get(handle) else { continue };
            if let (Some(key), Some(question)) = (session.key, &session.question) {
                let client_id = session.client_id.to_string();
                taken.push((Admission { handle, client_id, key }, Arc::clone(question)));
            }
        }
        taken
    }

    /// The client of this identifier and user, if it is connected: its handle and what it may do.
    #[must_use]
    pub fn find(&self, client_id: &str, username: &str) -> Option<(usize, Standing)> {
        let state = lock(&self.state);
        let mut live = state.live.iter();
        let (handle, session) = live
            .find(|(_, session)| session.client_id == client_id && session.username == username)?;
        Some((handle, session.standing.clone()))
    }

    /// Has every client asked about again of which something was remembered that is outdated now;
    /// how many there are. What is remembered of those that left is forgotten.
    pub fn outdate(&self, matter: &Matter, now: Instant) -> usize {
        self.departed.clear();
        let mut state = lock(&self.state);
        let mut outdated = Vec::new();
        for (handle, session) in state.live.iter_mut() {
            if !matter.is_about(&session.client_id, &session.username) {
                continue;
            }
            if session.question.is_some() {
                outdated.push(handle);
            } else {
                session.stand(Standing { is_superuser: None, ..session.standing.clone() });
            }
        }
        outdated.iter().for_each(|handle| self.schedule(&mut state, *handle, Some(now)));
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
    fn get(&self, admission: &Admission) -> Option<&Session> {
        let session = self.live.get(admission.handle)?;
        session.was_admitted_by(admission).then_some(session)
    }

    fn get_mut(&mut self, admission: &Admission) -> Option<&mut Session> {
        let session = self.live.get_mut(admission.handle)?;
        session.was_admitted_by(admission).then_some(session)
    }

    fn remove(&mut self, handle: usize) -> Option<Session> {
        self.schedule(handle, None);
        self.live.remove(handle)
    }

    fn schedule(&mut self, handle: usize, due: Option<Instant>) {
        let Some(session) = self.live.get_mut(handle) else { return };
        if let Some(before) = std::mem::replace(&mut session.due, due) {
            self.due.remove(&(before, handle));
        }
        if let Some(due) = due {
            self.due.insert((due, handle));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::Key;
    use crate::clock::{Clock, SystemClock};
    use crate::question::Kind;
    use crate::rules::Rules;
    use crate::secret::Secret;
    use crate::vault::Vault;

    fn admission(handle: usize, client_id: &str, key: u32) -> Admission {
        Admission { handle, client_id: client_id.into(), key: Key::from_number(key) }
    }

    fn terms(is_superuser: bool) -> Option<Arc<Terms>> {
        let is_superuser = Some(is_superuser);
        Some(Arc::new(Terms { is_superuser, rules: None, expire_at: None }))
    }

    fn holder<'a>(handle: usize, client_id: &'a str, username: &'a str) -> Holder<'a> {
        Holder { handle, client_id, username }
    }

    fn begin(sessions: &Sessions, handle: usize, client_id: &str, key: u32) {
        sessions.begin(admission(handle, client_id, key), "ann", terms(false).as_ref(), None, None);
    }

    #[test]
    fn a_session_is_known_by_handle_identifier_and_credentials_until_it_ends() {
        let sessions = Sessions::default();
        begin(&sessions, 1, "c", 7);
        assert!(sessions.holds(&admission(1, "c", 7)));
        assert!(!sessions.holds(&admission(2, "c", 7)), "another connection");
        assert!(!sessions.holds(&admission(1, "d", 7)), "another client on the same handle");
        assert!(!sessions.holds(&admission(1, "c", 8)), "other credentials");
        sessions.end(1);
        assert!(!sessions.holds(&admission(1, "c", 7)));
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_handle_that_is_used_again_belongs_to_the_new_client() {
        let sessions = Sessions::default();
        begin(&sessions, 1, "c", 7);
        begin(&sessions, 1, "d", 8);
        assert!(!sessions.holds(&admission(1, "c", 7)));
        assert!(sessions.holds(&admission(1, "d", 8)));
        assert_eq!(sessions.standing(holder(1, "c", "ann")), None);
    }

    #[test]
    fn what_a_client_may_do_is_its_own_and_outlives_it() {
        let sessions = Sessions::default();
        begin(&sessions, 1, "c", 7);
        let standing = sessions.standing(holder(1, "c", "ann")).unwrap();
        assert_eq!(standing.is_superuser, Some(false));
        sessions.end(1);
        assert_eq!(sessions.standing(holder(1, "c", "ann")), Some(standing));
        assert_eq!(sessions.standing(holder(1, "c", "ben")), None, "another user");
        assert_eq!(sessions.standing(holder(1, "d", "ann")), None, "another client");
        begin(&sessions, 1, "d", 8);
        assert_eq!(sessions.standing(holder(1, "c", "ann")), None, "the handle is another's now");
    }

    #[test]
    fn a_question_about_a_client_that_left_adds_to_what_is_known_of_it() {
        let sessions = Sessions::default();
        let rules = Some(Arc::new(Rules::compile(Vec::new()).unwrap()));
        let terms = Terms { is_superuser: None, rules: rules.clone(), expire_at: Some(1) };
        let terms = Some(Arc::new(terms));
        sessions.begin(admission(1, "c", 7), "ann", terms.as_ref(), None, None);
        sessions.end(1);
        sessions.set_superuser(holder(1, "c", "ann"), false);
        let expected = Standing { rules, is_superuser: Some(false) };
        assert_eq!(sessions.standing(holder(1, "c", "ann")), Some(expected));
        assert!(sessions.is_empty());
    }

    #[test]
    fn what_is_known_of_a_client_that_came_without_a_question_ends_with_it() {
        let sessions = Sessions::default();
        sessions.set_superuser(holder(1, "c", "ann"), true);
        sessions.end(1);
        assert_eq!(sessions.standing(holder(1, "c", "ann")), None);
    }

    #[test]
    fn nothing_is_kept_of_a_client_of_which_nothing_was_known() {
        let sessions = Sessions::default();
        sessions.begin(admission(1, "c", 7), "ann", None, None, None);
        sessions.end(1);
        assert_eq!(sessions.standing(holder(1, "c", "ann")), None);
    }

    #[test]
    fn a_client_that_the_broker_let_in_has_nothing_of_one_that_was_there_before() {
        let sessions = Sessions::default();
        begin(&sessions, 1, "c", 7);
        sessions.end(1);
        sessions.begin_at_broker(admission(1, "c", 7), "ann");
        assert_eq!(sessions.let_in_by(&admission(1, "c", 7)), Some(LetInBy::Broker));
        assert!(!sessions.holds(&admission(1, "c", 7)));
        assert_eq!(sessions.standing(holder(1, "c", "ann")), Some(Standing::default()));
    }

    #[test]
    fn what_is_known_of_one_that_left_ends_when_another_is_seen_on_its_handle() {
        let sessions = Sessions::default();
        begin(&sessions, 1, "c", 7);
        sessions.end(1);
        sessions.forget_departed(1);
        assert_eq!(sessions.standing(holder(1, "c", "ann")), None);
    }

    #[test]
    fn a_superuser_is_one_until_it_leaves_or_is_let_in_again() {
        let sessions = Sessions::default();
        sessions.set_superuser(holder(1, "c", "ann"), true);
        let is_superuser =
            |client_id| sessions.standing(holder(1, client_id, "ann")).and_then(|s| s.is_superuser);
        assert_eq!(is_superuser("c"), Some(true));
        sessions.set_superuser(holder(1, "d", "ann"), false);
        assert_eq!((is_superuser("c"), is_superuser("d")), (None, Some(false)));
        begin(&sessions, 1, "c", 7);
        sessions.set_superuser(holder(1, "c", "ann"), true);
        sessions.renew(&admission(1, "c", 7), None, None);
        assert_eq!(is_superuser("c"), None);
    }

    fn glance<'a>(holder: Holder<'a>, action: &Action<'a>) -> Glance<'a> {
        Glance {
            handle: holder.handle,
            client_id: holder.client_id.as_bytes(),
            username: holder.username.as_bytes(),
            topic: action.topic.as_bytes(),
            access: action.access,
            manner: action.manner(),
        }
    }

    const READ: Action<'_> = Action { access: Access::Read, topic: "a", qos: 0, retain: false };

    #[test]
    fn what_was_allowed_is_recalled_for_this_client_as_long_as_its_standing_is_the_same() {
        let sessions = Sessions::default();
        let ann = holder(1, "c", "ann");
        let recalls = |holder| sessions.recall(&glance(holder, &READ)).is_some();
        sessions.note_allowed(ann, &READ, Basis::Standing);
        assert!(!recalls(ann), "nothing is known of it");
        begin(&sessions, 1, "c", 7);
        assert!(!recalls(ann));
        sessions.note_allowed(holder(1, "c", "ben"), &READ, Basis::Standing);
        assert!(!recalls(ann) && !recalls(holder(1, "c", "ben")), "another user");
        let again = || {
            sessions.note_allowed(ann, &READ, Basis::Standing);
            assert!(recalls(ann));
        };
        again();
        assert!(!recalls(holder(1, "d", "ann")) && !recalls(holder(2, "c", "ann")));
        sessions.renew(&admission(1, "c", 7), None, None);
        assert!(!recalls(ann), "it was let in again");
        again();
        sessions.set_superuser(ann, false);
        assert!(!recalls(ann), "it became known that it is no superuser");
        again();
        sessions.outdate(&Matter::default(), SystemClock.now());
        assert!(!recalls(ann), "it was declared outdated");
        again();
        sessions.end(1);
        assert!(!recalls(ann), "it left");
        begin(&sessions, 1, "c", 7);
        assert!(!recalls(ann), "it is another now");
    }

    #[test]
    fn what_rules_allow_to_all_is_recalled_for_whoever_has_them() {
        let sessions = Sessions::default();
        let rules = || Some(Arc::new(Rules::compile(Vec::new()).unwrap()));
        let terms = |rules| Arc::new(Terms { is_superuser: None, rules, expire_at: None });
        let (some, others) = (terms(rules()), terms(rules()));
        for (handle, terms) in [(1, &some), (2, &some), (3, &others)] {
            sessions.begin(admission(handle, "c", 7), "ann", Some(terms), None, None);
        }
        sessions.note_allowed_to_all(holder(1, "c", "ann"), &READ);
        let recalls =
            |handle| sessions.recall(&glance(holder(handle, "c", "ann"), &READ)).is_some();
        assert_eq!([1, 2, 3].map(recalls), [true, true, false]);
        sessions.renew(&admission(2, "c", 7), Some(&others), None);
        assert_eq!([1, 2, 3].map(recalls), [true, false, false]);
    }

    #[test]
    fn a_session_comes_due_once_and_not_after_its_end() {
        let (sessions, now) = (Sessions::default(), SystemClock.now());
        let vault = Vault::random().unwrap();
        let second = Duration::from_secs(1);
        for (handle, due) in [(1, now + second), (2, now), (3, now), (4, now)] {
            let body = vault.seal(&Secret::new(vec![1])).unwrap();
            let question = SealedQuestion { kind: Kind::Login, body, about: String::new() };
            let question = Some(question);
            let admission = admission(handle, "c", 7);
            sessions.begin(admission, "ann", None, question, Some(due));
        }
        sessions.end(4);
        let taken = |now, most| -> Vec<usize> {
            let taken = sessions.take_due(now, most);
            taken.into_iter().map(|(admission, _)| admission.handle).collect()
        };
        assert_eq!(taken(now, 1), [2]);
        assert_eq!(taken(now, 9), [3]);
        assert!(taken(now, 9).is_empty());
        sessions.postpone(&admission(2, "c", 7), now + second);
        assert_eq!(taken(now + second, 9), [1, 2]);
        assert!(lock(&sessions.state).due.is_empty());
    }

    #[test]
    fn however_long_their_names_those_that_left_take_little_room() {
        let sessions = Sessions::default();
        let long = "x".repeat(65_000);
        for handle in 0..1000 {
            sessions.begin(admission(handle, &long, 7), &long, None, None, None);
            sessions.set_superuser(holder(handle, &long, &long), true);
            sessions.end(handle);
        }
        let known = |handle| sessions.standing(holder(handle, &long, &long)).is_some();
        let count = (0..1000).filter(|handle| known(*handle)).count();
        assert!((100..150).contains(&count) && known(999), "{count}");
    }

    #[test]
    fn a_million_clients_leave_nothing_behind() {
        let sessions = Sessions::default();
        for number in 0..1_000_000_usize {
            let handle = number % 5000;
            let due = Some(SystemClock.now());
            sessions.begin(admission(handle, "c", 7), "ann", None, None, due);
            sessions.end(handle);
        }
        let state = lock(&sessions.state);
        assert!(state.live.len() == 0 && state.due.is_empty());
        drop(state);
        assert!((0..5000).all(|handle| sessions.standing(holder(handle, "c", "ann")).is_none()));
    }
}
