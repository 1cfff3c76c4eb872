//! Logins that wait for their answer, and the rule that none is ever given another's.
//!
//! Mosquitto 2.1 lets a login wait and finishes it later, by client identifier alone, and it does
//! not tell when a waiting client has left. So a late yes could admit whoever waits under the same
//! identifier by then. Every attempt therefore has a *generation*, in a registry that all instances
//! share ([`LoginAttempts`]): a new question about an identifier proves that the attempt before has gone,
//! and a verdict counts only for the attempt that is the newest.
//!
//! A waiting client bears a *placeholder* for its username, since the broker can close a waiting
//! connection without an answer only by username. Whoever is let in gets the real name back.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::answer::{Outcome, SessionGrants};
use crate::cache::Key;
use crate::mailbox::{Mailbox, WakeBroker};
use crate::memory::MemoryPermit;
use crate::pool::Pending;
use crate::question::{ClientFacts, ClientSnapshot};
use crate::sealed::SealedQuestion;
use crate::sync::lock;

pub mod attempts;
pub use attempts::LoginAttempts;

use attempts::Entering;

/// How many attempts may wait.
const MOST: usize = 10_000;

/// Who tried to log in, for the log line if the API denies it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Applicant {
    pub client_id: String,
    pub username: String,
    /// Whether the client gave a username.
    pub(crate) is_named: bool,
    /// Where the client connected from, if that is known.
    pub address: Option<IpAddr>,
    pub protocol: &'static str,
    pub protocol_version: u64,
}

impl Applicant {
    /// About how much memory it takes, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.client_id.len() + self.username.len()
    }

    #[must_use]
    pub(crate) fn of(facts: ClientFacts<'_>, is_named: bool) -> Self {
        let ClientFacts { client_id, username, address, protocol, protocol_version } = facts;
        Self {
            client_id: client_id.to_owned(),
            username: username.to_owned(),
            is_named,
            address,
            protocol,
            protocol_version,
        }
    }

    #[must_use]
    pub(crate) fn facts(&self) -> ClientFacts<'_> {
        let Self { client_id, username, address, protocol, protocol_version, .. } = self;
        ClientFacts {
            client_id,
            username,
            address: *address,
            protocol,
            protocol_version: *protocol_version,
        }
    }
}

/// An attempt to log in that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub(crate) applicant: Applicant,
    pub handle: usize,
    /// The client identifier that the broker knows it by while it waits. Where that is not its own, it keeps
    /// nobody out, and cannot be let in: it is closed, and its next try is.
    pub(crate) broker_id: String,
    pub placeholder: String,
    /// Whether it goes on with a session that there is.
    pub(crate) keeps_session: bool,
    /// The question's key, and by what the session is known later.
    pub key: Key,
    pub(crate) identity: Key,
    /// The question itself, for asking it again, where that may have to be.
    pub question: Option<Arc<KeptQuestion>>,
    /// For what this takes beside the question.
    pub(crate) memory: Arc<MemoryPermit>,
    /// When it was asked.
    pub asked: Instant,
    /// What the API granted, once it has.
    pub session_grants: Option<Arc<SessionGrants>>,
    /// The client, if questions are to be asked ahead for it before it is let in.
    pub asks_ahead: Option<Arc<ClientSnapshot>>,
    /// Whether the verdict stands, and was only told later.
    pub is_decided: bool,
    /// Whether its connection is to be closed, or was, whatever the verdict.
    pub is_closed: bool,
}

/// A question that is kept until the last login has its answer that waits for it.
#[derive(PartialEq, Eq, Debug)]
pub struct KeptQuestion {
    pub question: Arc<SealedQuestion>,
    pub(crate) memory: MemoryPermit,
}

/// What came of an attempt.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Arrived {
    /// The verdict about one that waits.
    Verdict(Waiting, Outcome),
    /// The verdict about one that waited until it left, or was closed.
    Late(Waiting, Outcome),
}

/// How far letting a client in has come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    /// The broker has asked about its queued messages, and it has its own name back.
    pub(crate) has_own_name: bool,
    /// The broker says that it is connected.
    pub is_connected: bool,
    /// The broker says that it has left again.
    pub(crate) has_left: bool,
}

/// All logins of one instance that wait.
pub struct Logins {
    state: Mutex<State>,
    mailbox: Arc<Mailbox<(u64, Outcome)>>,
    /// Whether something is left of what has arrived, or somebody is to be closed, readable without the
    /// lock: every tick asks.
    has_more: AtomicBool,
    attempts: Arc<LoginAttempts>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    /// What they ask, of which those who ask the same have one.
    questions: HashMap<Key, Weak<KeptQuestion>>,
    /// What has arrived and was not dealt with yet.
    arrived: VecDeque<(u64, Outcome)>,
    /// The placeholders of those who are to be closed.
    closings: VecDeque<String>,
    /// The attempt that is being let in right now: the broker already checks its queued messages,
    /// and still knows it by its placeholder.
    entering: Option<(Waiting, Progress)>,
}

impl State {
    fn note_question(&mut self, key: Key, question: &Arc<KeptQuestion>) {
        if self.questions.len() == self.questions.capacity() {
            self.questions.retain(|_, question| question.strong_count() > 0);
        }
        self.questions.insert(key, Arc::downgrade(question));
    }
}

impl Waiting {
    /// About how much memory one takes that waits under these names, beside its question, in bytes.
    #[must_use]
    pub(crate) fn bytes(applicant: &Applicant, broker_id: &str, placeholder: &str) -> usize {
        let names = [&applicant.client_id, &applicant.username].map(String::len);
        // The registry of all instances has the identifier as well.
        size_of::<Self>() + names.iter().sum::<usize>() + 2 * broker_id.len() + placeholder.len()
    }

    /// Whether it waits under another identifier than its own.
    #[must_use]
    pub(crate) fn is_aside(&self) -> bool {
        self.broker_id != self.applicant.client_id
    }

    /// The name by which it is known once it is in.
    #[must_use]
    pub fn known_as(&self) -> &str {
        SessionGrants::known_as(self.session_grants.as_ref(), &self.applicant.username)
    }
}

impl Logins {
    #[must_use]
    pub fn new(wake_broker: WakeBroker, attempts: Arc<LoginAttempts>) -> Self {
        let (state, has_more) = (Mutex::default(), AtomicBool::new(false));
        Self { state, mailbox: Mailbox::new(wake_broker), has_more, attempts }
    }

    /// Whether one more may wait.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < MOST
    }

    /// The question that has this key, if another waits for its answer.
    #[must_use]
    pub fn question(&self, key: &Key) -> Option<Arc<KeptQuestion>> {
        lock(&self.state).questions.get(key).and_then(Weak::upgrade)
    }

    /// Lets an attempt wait for this `Pending`.
    pub fn wait(&self, attempt: Waiting, pending: Pending) {
        let generation = self.attempts.wait(&attempt.broker_id, attempt.asked);
        let mut state = lock(&self.state);
        if let Some(question) = &attempt.question {
            state.note_question(attempt.key, question);
        }
        state.waiting.insert(generation, attempt);
        drop(state);
        let mailbox = Arc::clone(&self.mailbox);
        pending.watch(move |outcome| mailbox.send((generation, outcome)));
    }

    /// The next attempt whose verdict has come.
    #[must_use]
    pub(crate) fn next_arrived(&self) -> Option<Arrived> {
        let news = self.mailbox.drain();
        if news.is_empty() && !self.has_more.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = lock(&self.state);
        state.arrived.extend(news);
        while let Some((generation, outcome)) = state.arrived.pop_front() {
            self.note_rest(&state);
            if let Some(waiting) = state.waiting.remove(&generation) {
                let is_newest = self.attempts.take(&waiting.broker_id, generation);
                let arrived = if is_newest { Arrived::Verdict } else { Arrived::Late };
                return Some(arrived(waiting, outcome));
            }
        }
        self.note_rest(&state);
        None
    }

    fn note_rest(&self, state: &State) {
        let has_more = !(state.arrived.is_empty() && state.closings.is_empty());
        self.has_more.store(has_more, Ordering::Relaxed);
    }

    /// Whether something is left to be done at the next tick.
    #[must_use]
    pub(crate) fn has_more(&self) -> bool {
        self.has_more.load(Ordering::Relaxed)
    }

    /// Has whoever bears this placeholder closed before long.
    pub fn close(&self, placeholder: String) {
        let mut state = lock(&self.state);
        state.closings.push_back(placeholder);
        self.note_rest(&state);
    }

    /// The next placeholder whose bearer is to be closed.
    #[must_use]
    pub(crate) fn next_closing(&self) -> Option<String> {
        if !self.has_more() {
            return None;
        }
        let mut state = lock(&self.state);
        let closing = state.closings.pop_front();
        self.note_rest(&state);
        closing
    }

    /// Has those who wait closed, before long, that this is about.
    pub(crate) fn close_waiting(&self, is_meant: impl Fn(&Applicant) -> bool) {
        let mut state = lock(&self.state);
        let waiting = state.waiting.iter_mut().filter(|(_, waiting)| !waiting.is_closed);
        let meant = waiting.filter(|(_, waiting)| is_meant(&waiting.applicant));
        let mut closings = Vec::new();
        for (generation, waiting) in meant {
            waiting.is_closed = true;
            self.attempts.take(&waiting.broker_id, *generation);
            closings.push(waiting.placeholder.clone());
        }
        state.closings.extend(closings);
        self.note_rest(&state);
    }

    /// Whether any attempt waits that is not closed, or one is to be finished or closed.
    #[must_use]
    pub(crate) fn wait_or_end(&self) -> bool {
        let waits = || lock(&self.state).waiting.values().any(|waiting| !waiting.is_closed);
        self.has_more() || self.mailbox.any() || waits()
    }

    /// How many attempts wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// The broker is about to let this attempt in.
    pub(crate) fn begin_entering(&self, attempt: Waiting) {
        self.attempts.set_entering(Some(Entering {
            handle: attempt.handle,
            placeholder: attempt.placeholder.clone(),
            username: attempt.known_as().to_owned(),
        }));
        lock(&self.state).entering = Some((attempt, Progress::default()));
    }

    /// How far it has come.
    #[must_use]
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.state).entering.as_ref().map(|(_, progress)| *progress).unwrap_or_default()
    }

    /// The broker is done with letting it in; how far that came.
    pub(crate) fn end_entering(&self) -> Progress {
        self.attempts.set_entering(None);
        lock(&self.state).entering.take().map(|(_, progress)| progress).unwrap_or_default()
    }

    /// If this is the client that is being let in, and was not known as such before: its attempt.
    #[must_use]
    pub fn enter(&self, handle: usize) -> Option<Waiting> {
        let mut state = lock(&self.state);
        let (attempt, progress) = state.entering.as_mut().filter(|(it, _)| it.handle == handle)?;
        let is_first = !std::mem::replace(&mut progress.has_own_name, true);
        is_first.then(|| attempt.clone())
    }

    /// The broker says that this client is connected.
    pub(crate) fn note_connected(&self, handle: usize) {
        self.note(handle, |progress| progress.is_connected = true);
    }

    /// The broker says that this client has left.
    pub(crate) fn note_left(&self, handle: usize) {
        self.note(handle, |progress| progress.has_left = true);
    }

    fn note(&self, handle: usize, change: impl FnOnce(&mut Progress)) {
        if !self.attempts.is_entering(handle) {
            return;
        }
        if let Some((_, progress)) =
            lock(&self.state).entering.as_mut().filter(|(it, _)| it.handle == handle)
        {
            change(progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::clock::{Clock as _, SystemClock};
    use crate::memory::MemoryBudget;
    use crate::question::Kind;
    use crate::sealed::SecretBox;
    use crate::secret::Secret;

    fn attempts() -> Arc<LoginAttempts> {
        Arc::new(LoginAttempts::new().unwrap())
    }

    fn logins(attempts: &Arc<LoginAttempts>) -> Logins {
        Logins::new(Arc::new(|| {}), Arc::clone(attempts))
    }

    fn attempt(attempts: &LoginAttempts, username: &str) -> Waiting {
        Waiting {
            applicant: Applicant {
                client_id: "c".into(),
                username: username.into(),
                is_named: true,
                address: None,
                protocol: "mqtt",
                protocol_version: 5,
            },
            handle: 7,
            broker_id: "c".into(),
            placeholder: attempts.placeholder(username).unwrap(),
            keeps_session: false,
            key: Key::from_number(1),
            identity: Key::from_number(1),
            question: None,
            memory: Arc::new(MemoryBudget::new(1).take(0)),
            asked: SystemClock.now(),
            session_grants: None,
            asks_ahead: None,
            is_decided: false,
            is_closed: false,
        }
    }

    /// The broker asks anew, and the attempt waits.
    fn wait(logins: &Logins, username: &str, pending: Pending) {
        logins.attempts.supersede("c", SystemClock.now());
        logins.wait(attempt(&logins.attempts, username), pending);
    }

    fn arrived(logins: &Logins) -> Vec<Arrived> {
        std::iter::from_fn(|| logins.next_arrived()).collect()
    }

    /// The names of those about whom a verdict has come, and whether they wait.
    fn names(logins: &Logins) -> Vec<(String, bool)> {
        let name = |arrived| match arrived {
            Arrived::Verdict(waiting, _) => (waiting.applicant.username, true),
            Arrived::Late(waiting, _) => (waiting.applicant.username, false),
        };
        arrived(logins).into_iter().map(name).collect()
    }

    fn named(name: &str, waits: bool) -> (String, bool) {
        (name.to_owned(), waits)
    }

    #[test]
    fn a_verdict_counts_for_its_own_attempt_only() {
        let logins = logins(&attempts());
        let (first, complete_first) = Pending::for_test();
        let (second, complete_second) = Pending::for_test();
        wait(&logins, "good", first);
        wait(&logins, "bad", second);
        complete_first(Ok(Answer::ALLOW));
        assert_eq!(names(&logins), [named("good", false)], "the first attempt has left");
        complete_second(Ok(Answer::DENY));
        assert_eq!(names(&logins), [named("bad", true)]);
        assert!(arrived(&logins).is_empty());
        assert_eq!(logins.waiting(), 0);
    }

    #[test]
    fn a_verdict_of_one_instance_does_not_count_for_an_attempt_at_another() {
        let attempts = attempts();
        let (one, other) = (logins(&attempts), logins(&attempts));
        let (first, complete_first) = Pending::for_test();
        let (second, complete_second) = Pending::for_test();
        wait(&one, "good", first);
        wait(&other, "bad", second);
        complete_first(Ok(Answer::ALLOW));
        assert_eq!(names(&one), [named("good", false)]);
        complete_second(Ok(Answer::DENY));
        assert_eq!(names(&other), [named("bad", true)]);
    }

    /// Verdicts come from workers in whatever order, while the client comes again and again.
    #[test]
    fn under_stress_only_the_newest_attempt_is_ever_let_in() {
        let logins = logins(&attempts());
        for _ in 0..200 {
            let pending: Vec<_> = (0..4).map(|_| Pending::for_test()).collect();
            let newest = pending.len() - 1;
            let mut workers = Vec::new();
            for (number, (pending, complete)) in pending.into_iter().enumerate() {
                wait(&logins, &number.to_string(), pending);
                let verdict = if number == newest { Answer::DENY } else { Answer::ALLOW };
                let body = move || complete(Ok(verdict));
                workers.push(std::thread::Builder::new().spawn(body).unwrap());
                // Whoever has come by now and waits was the newest until a moment ago, or is.
                for (name, waits) in names(&logins) {
                    assert!(!waits || name == number.to_string());
                }
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            let rest = names(&logins);
            assert!(rest.iter().all(|(name, waits)| !waits || *name == newest.to_string()));
            assert_eq!(logins.waiting(), 0);
        }
    }

    #[test]
    fn a_client_that_is_asked_about_anew_waits_no_longer() {
        let logins = logins(&attempts());
        let (pending, complete) = Pending::for_test();
        wait(&logins, "good", pending);
        logins.attempts.supersede("c", SystemClock.now());
        complete(Ok(Answer::ALLOW));
        assert_eq!(names(&logins), [named("good", false)]);
    }

    #[test]
    fn an_answer_that_is_there_already_arrives_too() {
        let logins = logins(&attempts());
        let (pending, complete) = Pending::for_test();
        complete(Ok(Answer::ALLOW));
        wait(&logins, "good", pending);
        assert_eq!(names(&logins), [named("good", true)]);
    }

    #[test]
    fn who_is_kicked_while_waiting_is_closed_and_not_let_in() {
        let logins = logins(&attempts());
        let (pending, complete) = Pending::for_test();
        wait(&logins, "ann", pending);
        let placeholder = lock(&logins.state).waiting.values().next().unwrap().placeholder.clone();
        logins.close_waiting(|applicant| applicant.username == "ben");
        assert_eq!(logins.next_closing(), None);
        logins.close_waiting(|applicant| applicant.username == "ann");
        assert_eq!(logins.next_closing(), Some(placeholder));
        assert_eq!(logins.next_closing(), None);
        complete(Ok(Answer::ALLOW));
        assert_eq!(names(&logins), [named("ann", false)]);
    }

    #[test]
    fn whoever_asks_the_same_shares_one_question_until_the_last_has_its_answer() {
        let logins = logins(&attempts());
        let budget = MemoryBudget::new(1 << 20);
        let secret_box = SecretBox::random().unwrap();
        let keep = || {
            let body = secret_box.seal(&Secret::new(vec![1; 1000])).unwrap();
            let sealed = SealedQuestion {
                kind: Kind::Login,
                bearer: None,
                claim: None,
                body,
                about: String::new(),
                subject: 0,
                shared: None,
            };
            let memory = budget.take(sealed.bytes());
            Arc::new(KeptQuestion { question: Arc::new(sealed), memory })
        };
        let mut completions = Vec::new();
        for number in 0..200 {
            // Half of them ask the same.
            let key = Key::from_number(number % 2 * number);
            let question = logins.question(&key).unwrap_or_else(keep);
            let (pending, complete) = Pending::for_test();
            completions.push(complete);
            let one = attempt(&logins.attempts, "ann");
            let broker_id = number.to_string();
            logins.wait(Waiting { key, broker_id, question: Some(question), ..one }, pending);
        }
        let one = logins.question(&Key::from_number(0)).unwrap().question.bytes();
        assert_eq!(budget.taken(), 101 * one);
        completions.into_iter().for_each(|complete| complete(Ok(Answer::DENY)));
        drop(arrived(&logins));
        assert_eq!(budget.taken(), 0);
        assert_eq!(logins.question(&Key::from_number(0)), None);
    }

    #[test]
    fn how_many_wait_is_bounded() {
        let logins = logins(&attempts());
        let mut completions = Vec::new();
        for number in 0..MOST {
            assert!(logins.has_room(), "{number}");
            let (pending, complete) = Pending::for_test();
            completions.push(complete);
            wait(&logins, "ann", pending);
        }
        assert!(!logins.has_room());
        completions.pop().unwrap()(Ok(Answer::DENY));
        assert_eq!(arrived(&logins).len(), 1);
        assert!(logins.has_room());
    }

    #[test]
    fn it_is_seen_how_far_letting_a_client_in_has_come() {
        let logins = logins(&attempts());
        let attempt = attempt(&logins.attempts, "ann");
        assert_eq!(logins.enter(7), None);
        logins.begin_entering(attempt.clone());
        assert_eq!(logins.progress(), Progress::default());
        assert_eq!(logins.enter(8), None);
        logins.note_left(8);
        assert_eq!(logins.enter(7), Some(attempt));
        assert_eq!(logins.enter(7), None, "once is enough");
        logins.note_connected(7);
        let progress = Progress { has_own_name: true, is_connected: true, has_left: false };
        assert_eq!(logins.end_entering(), progress);
        logins.note_left(7);
        assert_eq!(logins.progress(), Progress::default());
    }
}
