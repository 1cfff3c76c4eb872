//! What every broker of the fleet should have said.
//!
//! Each user has one right that comes and goes. A decision may rest on what the API said at any
//! moment since an answer could still be alive, or since the broker has acknowledged a later change.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::BROKERS;
use crate::soak::faults::{CONTESTED, Faults, RELOAD_TAKES, Told};

/// How long answers live; the brokers are told so.
pub const LIFE: Duration = Duration::from_secs(20);

/// What answers live longer at most: they are spread, and this machine may be slow.
const SPREAD: Duration = Duration::from_secs(6);

/// How long it may take until a client that is in has been asked about again.
const ASKED_AGAIN: Duration = Duration::from_secs(10);

/// How long brokers may take to put back what Redis has lost.
const PUT_BACK: Duration = Duration::from_secs(20);

/// What is held against the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Login,
    Publish,
}

/// When a client was at a broker and asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub user: usize,
    pub broker: usize,
    /// When it asked to be let in, which is the question itself where that is a login.
    pub came: Instant,
    pub asked: Instant,
    pub told: Instant,
}

#[derive(Clone)]
struct User {
    /// Whether the right is there, from when on.
    changes: Vec<(Instant, bool)>,
    /// For each broker: when it was said to have heard of which change.
    acknowledged: [Vec<(Instant, usize)>; BROKERS],
}

pub struct Model {
    users: Vec<Mutex<User>>,
    down: Mutex<Vec<(usize, Instant, Option<Instant>)>>,
    reloads: Mutex<Vec<(usize, Instant)>>,
    lost: Mutex<Option<Instant>>,
    /// When a broker last refused a user.
    refused: Mutex<HashMap<(usize, usize), Instant>>,
    judged: [[AtomicU64; 3]; 2],
    /// Decisions that rested on an acknowledgement.
    certain: AtomicU64,
    acknowledged: AtomicU64,
    in_part: AtomicU64,
    /// The longest that it took until all had acknowledged, in ms.
    longest: AtomicU64,
    faults: Faults,
}

/// What was judged in a run.
#[derive(Clone, Debug)]
pub struct Counts {
    /// For each [`Kind`]: told yes, no, nothing.
    pub judged: [[u64; 3]; 2],
    /// Decisions that could only be right because a change was acknowledged.
    pub certain: u64,
    /// Changes that all brokers have acknowledged, and the others.
    pub acknowledged: u64,
    pub in_part: u64,
    pub longest: Duration,
    pub faults: u64,
    pub wrong: Vec<String>,
}

impl Model {
    pub fn new(users: usize) -> Model {
        let began = Instant::now();
        let user = User { changes: vec![(began, true)], acknowledged: Default::default() };
        Model {
            users: (0..users).map(|_| Mutex::new(user.clone())).collect(),
            down: Mutex::default(),
            reloads: Mutex::default(),
            lost: Mutex::default(),
            refused: Mutex::default(),
            judged: Default::default(),
            certain: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            in_part: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            faults: Faults::describing(50),
        }
    }

    /// Whether the right is there at this moment.
    pub fn now(&self, user: usize) -> bool {
        let user = self.users.get(user).map(|user| user.lock().unwrap());
        user.is_some_and(|user| user.changes.last().is_some_and(|(_, right)| *right))
    }

    /// Takes the right, or gives it back; returns the change's number.
    pub fn change(&self, user: usize) -> usize {
        let mut user = self.users[user].lock().unwrap();
        let right = user.changes.last().is_some_and(|(_, right)| *right);
        user.changes.push((Instant::now(), !right));
        user.changes.len() - 1
    }

    /// These brokers have said that they know of a change, about which one was told at `told`.
    pub fn acknowledged(&self, user: usize, change: usize, brokers: &[usize], told: Instant) {
        let now = Instant::now();
        let mut user = self.users[user].lock().unwrap();
        for broker in brokers {
            user.acknowledged[*broker].push((now, change));
        }
        let by_all = brokers.len() == BROKERS;
        let counter = if by_all { &self.acknowledged } else { &self.in_part };
        counter.fetch_add(1, Ordering::Relaxed);
        if by_all {
            let took = u64::try_from((now - told).as_millis()).unwrap_or(u64::MAX);
            self.longest.fetch_max(took, Ordering::Relaxed);
        }
    }

    pub fn goes_down(&self, broker: usize) {
        self.down.lock().unwrap().push((broker, Instant::now(), None));
    }

    pub fn is_up(&self, broker: usize) {
        let mut down = self.down.lock().unwrap();
        let last = down.iter_mut().rfind(|(number, ..)| *number == broker);
        last.expect("it went down").2 = Some(Instant::now());
    }

    /// SIGHUP comes. On Mosquitto 2.1 it is held back while logins wait, and those are closed if that takes long.
    pub fn reloads(&self, broker: usize) {
        self.reloads.lock().unwrap().push((broker, Instant::now()));
    }

    /// Redis has lost what it had.
    pub fn redis_loses(&self) {
        *self.lost.lock().unwrap() = Some(Instant::now());
    }

    /// Whether the same client was refused at that broker before: then on Mosquitto 2.1 it waits under another
    /// identifier, and is closed once if it may come in. While brokers put back what Redis has lost, that outdates
    /// the answer which was kept for its next try, and it is closed again.
    fn is_contested(&self, Question { user, broker, asked, told, .. }: Question) -> bool {
        let lost = *self.lost.lock().unwrap();
        let mut refused = self.refused.lock().unwrap();
        let Some(at) = refused.remove(&(user, broker)) else { return false };
        if lost.is_some_and(|lost| asked.saturating_duration_since(lost) < PUT_BACK) {
            refused.insert((user, broker), told);
        }
        asked.saturating_duration_since(at) < CONTESTED
    }

    /// Whether a login may have been closed for one of these reasons.
    fn is_excused(&self, question: Question) -> bool {
        let Question { broker, asked, told, .. } = question;
        self.is_contested(question)
            || self.was_down(broker, asked, told)
            || self
                .reloads
                .lock()
                .unwrap()
                .iter()
                .any(|(number, at)| *number == broker && told >= *at && asked <= *at + RELOAD_TAKES)
    }

    /// Whether the broker was down at some time in between.
    pub fn was_down(&self, broker: usize, from: Instant, to: Instant) -> bool {
        self.down.lock().unwrap().iter().any(|(number, began, ended)| {
            *number == broker && to >= *began && ended.is_none_or(|ended| from <= ended)
        })
    }

    /// The values that the right may have had for this question, and whether there would have been more
    /// of them without an acknowledgement.
    fn possible(&self, kind: Kind, question: Question) -> ([bool; 2], bool) {
        let user = self.users[question.user].lock().unwrap();
        let index = |limit: Instant| {
            user.changes.iter().rposition(|(at, _)| *at <= limit).unwrap_or_default()
        };
        let alive = question.came.checked_sub(LIFE + SPREAD).map_or(0, index);
        let heard_by = match kind {
            Kind::Login => Some(question.asked),
            // A client that is in is asked about first.
            Kind::Publish => question.asked.checked_sub(ASKED_AGAIN),
        };
        let heard = user.acknowledged[question.broker]
            .iter()
            .filter(|(at, _)| heard_by.is_some_and(|limit| *at <= limit))
            .map(|(_, change)| *change)
            .max()
            .unwrap_or_default();
        let last = index(question.told);
        let values = |first: usize| {
            let between = &user.changes[first.min(last)..=last];
            [true, false].map(|value| between.iter().any(|(_, right)| *right == value))
        };
        let (all, possible) = (values(alive), values(alive.max(heard)));
        (possible, all != possible)
    }

    /// Judges what was said about the right that comes and goes.
    pub fn judge_right(&self, kind: Kind, question: Question, told: Told) {
        let ([yes, no], was_certain) = self.possible(kind, question);
        self.certain.fetch_add(u64::from(was_certain), Ordering::Relaxed);
        let is_right = match told {
            Told::Yes => yes,
            Told::No => no,
            Told::Nothing => self.is_excused(question),
        };
        self.count(kind, told);
        if (kind, told) == (Kind::Login, Told::No) {
            self.refused.lock().unwrap().insert((question.user, question.broker), question.told);
        }
        if !is_right {
            self.wrong(kind, question, told, "the right that comes and goes");
        }
    }

    /// Judges what always is right, or never.
    pub fn judge(&self, kind: Kind, question: Question, told: Told, is_allowed: bool) {
        let is_right = match told {
            Told::Yes => is_allowed,
            Told::No => !is_allowed,
            Told::Nothing => self.is_excused(question),
        };
        self.count(kind, told);
        if !is_right {
            self.wrong(kind, question, told, if is_allowed { "always" } else { "never" });
        }
    }

    /// A client that was in was disconnected, while it asked or not.
    pub fn judge_end(&self, question: Question, by_right: bool) {
        let ([_, may_be_gone], _) = self.possible(Kind::Publish, question);
        let was_down = self.was_down(question.broker, question.came, question.told);
        if !(was_down || by_right && may_be_gone) {
            self.wrong(Kind::Publish, question, Told::Nothing, "disconnected");
        }
    }

    fn count(&self, kind: Kind, told: Told) {
        self.judged[kind as usize][told as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn wrong(&self, kind: Kind, question: Question, told: Told, right: &str) {
        let user = self.users[question.user].lock().unwrap().clone();
        let ago = |at: Instant| {
            format!("{:.3}", question.asked.saturating_duration_since(at).as_secs_f64())
        };
        let changes: Vec<_> =
            user.changes.iter().rev().take(3).map(|(at, to)| (ago(*at), *to)).collect();
        let heard: Vec<_> = user.acknowledged[question.broker]
            .iter()
            .rev()
            .take(2)
            .map(|(at, n)| (ago(*at), *n))
            .collect();
        self.note(format!(
            "{kind:?} of m{} at b{}: told {told:?} ({right}) after {:?}, {:?} after it came; changes, seconds before: {changes:?}; \
             acknowledged there: {heard:?}",
            question.user,
            question.broker,
            question.told - question.asked,
            question.asked - question.came,
        ));
    }

    /// Notes that something was wrong.
    pub fn note(&self, what: String) {
        self.faults.note(|at| format!("at {at:.1} s: {what}"));
    }

    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (faults, wrong) = self.faults.all();
        Counts {
            judged: self.judged.each_ref().map(|told| told.each_ref().map(load)),
            certain: load(&self.certain),
            acknowledged: load(&self.acknowledged),
            in_part: load(&self.in_part),
            longest: Duration::from_millis(load(&self.longest)),
            faults,
            wrong,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [logins, publishes] = self.judged;
        writeln!(
            f,
            "  judged: {} logins accepted, {} refused, {} closed; {} publishes allowed, {} denied, {} closed",
            logins[0], logins[1], logins[2], publishes[0], publishes[1], publishes[2]
        )?;
        writeln!(
            f,
            "  rights changed: {} times acknowledged by all three, after {:?} at most, {} times by fewer; {} decisions \
             were certain only by that",
            self.acknowledged, self.longest, self.in_part, self.certain
        )?;
        write!(f, "  wrong: {}", self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(asked: Instant) -> Question {
        Question { user: 0, broker: 0, came: asked, asked, told: asked }
    }

    fn is_wrong(model: &Model, question: Question, told: Told) -> bool {
        let before = model.counts().faults;
        model.judge_right(Kind::Login, question, told);
        model.counts().faults > before
    }

    #[test]
    fn what_was_before_a_change_is_right_until_it_is_acknowledged_or_its_life_ends() {
        let model = Model::new(1);
        assert!(!is_wrong(&model, at(Instant::now()), Told::Yes));
        assert!(is_wrong(&model, at(Instant::now()), Told::No));
        let change = model.change(0);
        let between = Instant::now();
        for told in [Told::Yes, Told::No] {
            assert!(!is_wrong(&model, at(between), told));
        }
        let later = between + LIFE + SPREAD + Duration::from_secs(1);
        assert!(is_wrong(&model, at(later), Told::Yes), "its life is over");
        model.acknowledged(0, change, &[1, 2], between);
        assert!(!is_wrong(&model, at(Instant::now()), Told::Yes), "this one has not heard of it");
        model.acknowledged(0, change, &[0, 1, 2], between);
        assert!(is_wrong(&model, at(Instant::now()), Told::Yes));
        assert!(!is_wrong(&model, at(Instant::now()), Told::No));
        assert!(!is_wrong(&model, at(between), Told::Yes), "it asked before that");
        let counts = model.counts();
        assert_eq!((counts.acknowledged, counts.in_part), (1, 1));
        assert!(counts.certain > 0);
    }

    #[test]
    fn only_a_broker_that_is_down_or_reloads_closes_a_connection() {
        let model = Model::new(1);
        let before = Instant::now();
        assert!(is_wrong(&model, at(before), Told::Nothing));
        model.goes_down(0);
        model.is_up(0);
        assert!(is_wrong(&model, at(before), Told::Nothing), "before it was down");
        let during = Question { told: Instant::now(), ..at(before) };
        assert!(!is_wrong(&model, during, Told::Nothing));
        assert!(is_wrong(&model, Question { broker: 1, ..during }, Told::Nothing), "another");
        model.reloads(1);
        assert!(is_wrong(&model, Question { broker: 1, ..during }, Told::Nothing), "before that");
        let later = Instant::now();
        assert!(!is_wrong(&model, Question { broker: 1, ..at(later) }, Told::Nothing));
        let later = later + RELOAD_TAKES + Duration::from_secs(1);
        assert!(is_wrong(&model, Question { broker: 1, ..at(later) }, Told::Nothing));
    }

    #[test]
    fn after_a_refusal_a_login_may_be_closed_once() {
        let model = Model::new(1);
        model.change(0);
        assert!(!is_wrong(&model, at(Instant::now()), Told::No));
        assert!(is_wrong(&model, Question { broker: 1, ..at(Instant::now()) }, Told::Nothing));
        assert!(!is_wrong(&model, at(Instant::now()), Told::Nothing));
        assert!(is_wrong(&model, at(Instant::now()), Told::Nothing), "a second time");
        model.redis_loses();
        assert!(is_wrong(&model, at(Instant::now()), Told::Nothing), "it was not refused");
        assert!(!is_wrong(&model, at(Instant::now()), Told::No));
        assert!(!is_wrong(&model, at(Instant::now()), Told::Nothing));
        assert!(!is_wrong(&model, at(Instant::now()), Told::Nothing), "what is lost is put back");
    }

    #[test]
    fn who_was_let_in_is_disconnected_once_it_has_no_right_and_not_before() {
        let ended = |model: &Model, by_right| {
            let before = model.counts().faults;
            model.judge_end(at(Instant::now()), by_right);
            model.counts().faults > before
        };
        let model = Model::new(1);
        assert!(ended(&model, true));
        model.change(0);
        assert!(!ended(&model, true));
        assert!(ended(&model, false), "its right is about a topic");
    }
}
