//! Logins that wait for their answer, and the rule that none is ever given another's.
//!
//! Mosquitto 2.1 lets a login wait and finishes it later, by client identifier alone, and it does
//! not tell when a waiting client has left. So a late yes could admit whoever waits under the same
//! identifier by then. Every attempt therefore has a *generation*: a new attempt under an
//! identifier proves that the one before has gone (while one waits, the broker does not even ask
//! about another), and a verdict counts only for the attempt that is the newest.
//!
//! A waiting client bears a *placeholder* for its username, since the broker can close a waiting
//! connection without an answer only by username. Whoever is let in gets the real name back.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::answer::{Outcome, Terms};
use crate::cache::Key;
use crate::pool::Ticket;
use crate::sync::lock;
use crate::vault::SealedQuestion;

/// How many questions are remembered that are not to wait.
const NOT_TO_WAIT: usize = 10_000;

/// Calls the broker's thread; from a worker.
pub type Ring = Arc<dyn Fn() + Send + Sync>;

/// An attempt to log in that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    pub client_id: String,
    pub username: String,
    /// Where the client connected from, for the log line if it is denied.
    pub address: Option<String>,
    pub placeholder: String,
    /// The question's key, by which the session is known later.
    pub key: Key,
    /// The question itself, for asking it again.
    pub question: Option<SealedQuestion>,
    /// What the API granted, once it has.
    pub terms: Option<Arc<Terms>>,
}

/// What workers have brought for the broker's thread.
pub struct Arrivals<T> {
    items: Mutex<Vec<T>>,
    /// Whether there are any, readable without the lock: every tick asks.
    any: AtomicBool,
    ring: Ring,
}

impl<T> Arrivals<T> {
    #[must_use]
    pub fn new(ring: Ring) -> Arc<Self> {
        Arc::new(Self { items: Mutex::default(), any: AtomicBool::new(false), ring })
    }

    /// Leaves an item and calls the broker's thread.
    pub fn bring(&self, item: T) {
        lock(&self.items).push(item);
        self.any.store(true, Ordering::Release);
        (self.ring)();
    }

    #[must_use]
    pub fn take(&self) -> Vec<T> {
        // Only the broker's thread takes, so that what it does not see now it sees next time.
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.items))
    }
}

/// All logins that wait.
pub struct Logins {
    state: Mutex<State>,
    arrivals: Arc<Arrivals<(String, u64, Outcome)>>,
    /// How this instance's placeholders end, and no name that a client may think of.
    mark: String,
}

#[derive(Default)]
struct State {
    waiting: HashMap<String, (u64, Waiting)>,
    generation: u64,
    /// Questions that are left to the broker, which it can only be told at once.
    not_to_wait: HashSet<Key>,
    /// The attempt that is being let in right now: the broker already checks its queued messages,
    /// and still knows it by its placeholder.
    entering: Option<Waiting>,
}

impl Logins {
    #[must_use]
    pub fn new(ring: Ring) -> Self {
        let mark = format!(", {:08x})", fastrand::u32(..));
        Self { state: Mutex::default(), arrivals: Arrivals::new(ring), mark }
    }

    /// A name for the next attempt that no client bears.
    #[must_use]
    pub fn placeholder(&self, username: &str) -> String {
        let next = lock(&self.state).generation + 1;
        format!("{username} (login {next}{}", self.mark)
    }

    /// Lets an attempt wait for this ticket. An older one of the same client has left.
    pub fn wait(&self, attempt: Waiting, ticket: Ticket) {
        let client_id = attempt.client_id.clone();
        let generation = {
            let mut state = lock(&self.state);
            state.generation += 1;
            let generation = state.generation;
            state.waiting.insert(client_id.clone(), (generation, attempt));
            generation
        };
        let arrivals = Arc::clone(&self.arrivals);
        ticket.watch(move |outcome| arrivals.bring((client_id, generation, outcome)));
    }

    /// The broker asks about this client anew: whoever waited under its identifier has left.
    pub fn forget(&self, client_id: &str) {
        lock(&self.state).waiting.remove(client_id);
    }

    /// The attempts whose verdict has come, those that left excepted.
    #[must_use]
    pub fn arrived(&self) -> Vec<(Waiting, Outcome)> {
        let arrived = self.arrivals.take();
        if arrived.is_empty() {
            return Vec::new();
        }
        let mut state = lock(&self.state);
        let verdict = |(client_id, generation, outcome): (String, u64, Outcome)| {
            let newest = state.waiting.get(&client_id).is_some_and(|(g, _)| *g == generation);
            let (_, waiting) = newest.then(|| state.waiting.remove(&client_id)).flatten()?;
            Some((waiting, outcome))
        };
        arrived.into_iter().filter_map(verdict).collect()
    }

    /// Whoever comes with this question next is not to wait for its answer.
    pub fn hurry_next(&self, key: Key) {
        let mut state = lock(&self.state);
        if state.not_to_wait.len() >= NOT_TO_WAIT {
            state.not_to_wait.clear();
        }
        state.not_to_wait.insert(key);
    }

    /// Whether whoever comes with this question may wait for its answer.
    #[must_use]
    pub fn may_wait(&self, key: &Key) -> bool {
        !lock(&self.state).not_to_wait.remove(key)
    }

    /// Marks the attempt that the broker is about to let in; none when it has.
    pub fn set_entering(&self, attempt: Option<Waiting>) {
        lock(&self.state).entering = attempt;
    }

    /// Whether the broker knows somebody by this name who waits, or has waited.
    #[must_use]
    pub fn is_placeholder(&self, username: &str) -> bool {
        username.ends_with(&self.mark)
    }

    /// How many attempts wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// Takes the attempt that is being let in, if the broker knows it by this name.
    #[must_use]
    pub fn enter(&self, placeholder: &str) -> Option<Waiting> {
        let mut state = lock(&self.state);
        if state.entering.as_ref().is_some_and(|waiting| waiting.placeholder == placeholder) {
            return state.entering.take();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    fn logins() -> Logins {
        Logins::new(Arc::new(|| {}))
    }

    fn attempt(logins: &Logins, username: &str) -> Waiting {
        Waiting {
            client_id: "c".into(),
            username: username.into(),
            address: None,
            placeholder: logins.placeholder(username),
            key: Key::from_number(1),
            question: None,
            terms: None,
        }
    }

    fn names(arrived: Vec<(Waiting, Outcome)>) -> Vec<String> {
        arrived.into_iter().map(|(waiting, _)| waiting.username).collect()
    }

    #[test]
    fn a_verdict_counts_for_its_own_attempt_only() {
        let logins = logins();
        let (first, land_first) = Ticket::for_test();
        let (second, land_second) = Ticket::for_test();
        logins.wait(attempt(&logins, "good"), first);
        logins.wait(attempt(&logins, "bad"), second);
        land_first(Ok(Answer::ALLOW));
        assert!(logins.arrived().is_empty(), "the first attempt has left");
        land_second(Ok(Answer::DENY));
        assert_eq!(names(logins.arrived()), ["bad"]);
        assert!(logins.arrived().is_empty());
    }

    /// Verdicts come from workers in whatever order, while the client comes again and again.
    #[test]
    fn under_stress_only_the_newest_attempt_is_ever_let_in() {
        let logins = logins();
        for _ in 0..200 {
            let tickets: Vec<_> = (0..4).map(|_| Ticket::for_test()).collect();
            let newest = tickets.len() - 1;
            let mut workers = Vec::new();
            for (number, (ticket, land)) in tickets.into_iter().enumerate() {
                logins.wait(attempt(&logins, &number.to_string()), ticket);
                let verdict = if number == newest { Answer::DENY } else { Answer::ALLOW };
                let body = move || land(Ok(verdict));
                workers.push(std::thread::Builder::new().spawn(body).unwrap());
                // Whoever has come by now was the newest until a moment ago, or is.
                for (waiting, _) in logins.arrived() {
                    assert_eq!(waiting.username, number.to_string());
                }
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            assert!(logins.arrived().iter().all(|(w, _)| w.username == newest.to_string()));
            assert_eq!(logins.waiting(), 0);
        }
    }

    #[test]
    fn a_client_that_is_asked_about_anew_waits_no_longer() {
        let logins = logins();
        let (ticket, land) = Ticket::for_test();
        logins.wait(attempt(&logins, "good"), ticket);
        logins.forget("c");
        land(Ok(Answer::ALLOW));
        assert!(logins.arrived().is_empty());
    }

    #[test]
    fn an_answer_that_is_there_already_arrives_too() {
        let logins = logins();
        let (ticket, land) = Ticket::for_test();
        land(Ok(Answer::ALLOW));
        logins.wait(attempt(&logins, "good"), ticket);
        assert_eq!(names(logins.arrived()), ["good"]);
    }

    #[test]
    fn placeholders_differ_and_lead_back_only_while_entering() {
        let logins = logins();
        let (one, (ticket, _land)) = (attempt(&logins, "ann"), Ticket::for_test());
        logins.wait(one.clone(), ticket);
        let two = attempt(&logins, "ann");
        assert_ne!(one.placeholder, two.placeholder);
        assert_eq!(logins.enter(&one.placeholder), None);
        logins.set_entering(Some(one.clone()));
        assert_eq!(logins.enter(&two.placeholder), None);
        assert_eq!(logins.enter(&one.placeholder), Some(one.clone()));
        assert_eq!(logins.enter(&one.placeholder), None, "once is enough");
        assert!(logins.is_placeholder(&one.placeholder) && !logins.is_placeholder("ann"));
        logins.set_entering(None);
    }
}
