//! What every decision of a run should have been.
//!
//! The model records when rights changed and when the API could not be asked. A decision is known
//! by when a client asked and when it was told. In between, or for as long before as an answer may
//! be cached, the API said what it says; where that changed meanwhile, both are right.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::faults::{CONTESTED, Faults, RELOAD_TAKES, Told};
use super::policy::{self, Access, Right};

/// How long answers live; the broker is told so.
pub const CACHE_TTL: Duration = Duration::from_secs(5);

/// How long after an outage the plugin may still take the API for failed. It looks every half
/// second.
pub const RECOVERY: Duration = Duration::from_secs(5);

/// For how long the answer is kept for the next try of a client that was closed, less a little.
const RETRY: Duration = Duration::from_secs(4);

/// The time between a client's question and what it was told.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub asked: Instant,
    pub told: Instant,
}

impl Span {
    pub fn since(asked: Instant) -> Span {
        Span { asked, told: Instant::now() }
    }
}

/// What is held against the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Login,
    Publish,
    Subscribe,
    Delivery,
}

pub struct Model {
    /// Whether the broker lets logins wait, as 2.1 does.
    logins_wait: bool,
    /// When the rights that come and go did; they begin absent.
    changes: Mutex<Vec<Instant>>,
    outages: Mutex<Vec<(Instant, Option<Instant>)>>,
    /// When somebody else last waited under a client identifier, for a login that the API is asked about.
    occupied: Mutex<HashMap<String, (Instant, Option<Instant>)>>,
    /// When SIGHUP came, which such a broker cannot take while logins wait.
    reloads: Mutex<Vec<Instant>>,
    /// The client identifiers under which somebody was refused recently.
    contested: Mutex<HashMap<String, Contest>>,
    /// How much too late the clients' own thread came to something, in ms.
    late: AtomicU64,
    judged: [[AtomicU64; 3]; 4],
    /// Logins that were closed because others waited or were refused under the same client identifier, or for SIGHUP.
    kept_out: AtomicU64,
    /// Decisions at which the API may have been out of reach, which excuses that a connection was closed.
    excused: AtomicU64,
    faults: Faults,
}

/// What happened under a client identifier recently.
struct Contest {
    /// When a login there was refused, or another came.
    last: Instant,
    /// Who was closed there last, and when; the answer is kept for its next try.
    closed: Option<(String, Instant)>,
}

/// What was judged in a run.
#[derive(Clone, Debug)]
pub struct Counts {
    /// For each [`Kind`]: told yes, no, nothing.
    pub judged: [[u64; 3]; 4],
    /// Logins that were closed because others waited or were refused under the same client identifier, or for SIGHUP.
    pub kept_out: u64,
    pub excused: u64,
    pub late: Duration,
    pub faults: u64,
    /// What was wrong; as much of it as is worth reading.
    pub wrong: Vec<String>,
}

impl Model {
    /// `logins_wait`: whether the broker lets them.
    pub fn new(logins_wait: bool) -> Model {
        Model {
            logins_wait,
            changes: Mutex::default(),
            outages: Mutex::default(),
            occupied: Mutex::default(),
            reloads: Mutex::default(),
            contested: Mutex::default(),
            late: AtomicU64::new(0),
            judged: Default::default(),
            kept_out: AtomicU64::new(0),
            excused: AtomicU64::new(0),
            faults: Faults::describing(100),
        }
    }

    pub fn change_rights(&self) {
        let mut changes = self.changes.lock().unwrap();
        changes.push(Instant::now());
    }

    pub fn outage_begins(&self) {
        self.outages.lock().unwrap().push((Instant::now(), None));
    }

    pub fn outage_ends(&self) {
        let mut outages = self.outages.lock().unwrap();
        outages.last_mut().expect("an outage began").1 = Some(Instant::now());
    }

    /// Somebody else comes under this client identifier. While its login waits, Mosquitto 2.1 closes every other
    /// connection under that identifier, without asking the plugin.
    pub fn occupied(&self, id: &str) {
        self.occupied.lock().unwrap().insert(id.to_owned(), (Instant::now(), None));
    }

    /// It was refused, or gave up.
    pub fn freed(&self, id: &str) {
        let now = Instant::now();
        if let Some((_, until)) = self.occupied.lock().unwrap().get_mut(id) {
            *until = Some(now);
        }
        self.contested.lock().unwrap().insert(id.to_owned(), Contest { last: now, closed: None });
    }

    fn was_occupied(&self, id: &str, span: Span) -> bool {
        self.occupied.lock().unwrap().get(id).is_some_and(|(began, ended)| {
            span.told >= *began && ended.is_none_or(|ended| span.asked <= ended)
        })
    }

    /// SIGHUP comes; see [`RELOAD_TAKES`].
    pub fn reloads(&self) {
        self.reloads.lock().unwrap().push(Instant::now());
    }

    fn was_reloading(&self, span: Span) -> bool {
        let reloads = self.reloads.lock().unwrap();
        reloads.iter().any(|at| span.told >= *at && span.asked <= *at + RELOAD_TAKES)
    }

    /// Whether a login under this identifier may be closed since others were refused there; see [`CONTESTED`]. Each
    /// login prolongs that. `told` is what came of this one.
    fn is_contested(&self, id: &str, username: &str, span: Span, told: Told) -> bool {
        let mut contested = self.contested.lock().unwrap();
        if told == Told::No {
            contested.insert(id.to_owned(), Contest { last: span.told, closed: None });
            return false;
        }
        let Some(contest) = contested.get_mut(id) else { return false };
        if span.asked.saturating_duration_since(contest.last) > CONTESTED {
            contested.remove(id);
            return false;
        }
        contest.last = span.told;
        let closed = (told == Told::Nothing).then(|| (username.to_owned(), span.told));
        let before = std::mem::replace(&mut contest.closed, closed);
        let is_retry = |(name, at): (String, Instant)| {
            name == username && span.asked.saturating_duration_since(at) < RETRY
        };
        told == Told::Nothing && !before.is_some_and(is_retry)
    }

    /// The clients' thread was busy, or not given a processor, for this long.
    pub fn late(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.late.fetch_max(by, Ordering::Relaxed);
    }

    /// What the API says at this moment.
    pub fn now(&self, right: Right) -> bool {
        match right {
            Right::Yes => true,
            Right::No => false,
            Right::AtTimes => self.changes.lock().unwrap().len() % 2 == 1,
        }
    }

    /// What was right then; none where either was.
    fn right(&self, right: Right, span: Span) -> Option<bool> {
        match right {
            Right::Yes => Some(true),
            Right::No => Some(false),
            Right::AtTimes => {
                let changes = self.changes.lock().unwrap();
                let until = |limit| changes.iter().filter(|at| **at <= limit).count();
                let earliest = span.asked.checked_sub(CACHE_TTL).unwrap_or(span.asked);
                let (before, after) = (until(earliest), until(span.told));
                (before == after).then_some(after % 2 == 1)
            }
        }
    }

    /// Whether the plugin may have found the API out of reach then.
    pub fn is_excused(&self, span: Span) -> bool {
        self.outages.lock().unwrap().iter().any(|(began, ended)| {
            span.told >= *began && ended.is_none_or(|ended| span.asked <= ended + RECOVERY)
        })
    }

    /// Judges what a client was told; `about` describes it.
    pub fn judge(
        &self,
        kind: Kind,
        right: Right,
        span: Span,
        told: Told,
        about: impl FnOnce() -> String,
    ) {
        self.judged[kind as usize][told as usize].fetch_add(1, Ordering::Relaxed);
        let excused = self.is_excused(span);
        let right = self.right(right, span);
        let is_wrong = match (told, right) {
            (Told::Yes, Some(false)) => true,
            // Nobody is denied for want of an answer.
            (Told::No, Some(true)) => true,
            (Told::Nothing, _) => !excused,
            _ => false,
        };
        self.excused.fetch_add(u64::from(excused), Ordering::Relaxed);
        if is_wrong {
            let about = about();
            self.wrong(format!(
                "{kind:?} of {about}: told {told:?} where {right:?} is right, after {:?}",
                span.told - span.asked
            ));
        }
    }

    /// Judges a login.
    pub fn judge_login(
        &self,
        id: &str,
        (username, password): (&str, &str),
        span: Span,
        told: Told,
    ) {
        let right = policy::may_log_in(username, password);
        let is_contested = self.is_contested(id, username, span, told);
        let is_kept_out = is_contested || self.was_occupied(id, span) || self.was_reloading(span);
        if self.logins_wait && told == Told::Nothing && is_kept_out {
            self.kept_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.judge(Kind::Login, right, span, told, || {
            format!("{username} with {password:?} as {id}")
        });
    }

    /// Judges a publish or a subscription.
    pub fn judge_access(&self, number: usize, access: Access, topic: &str, span: Span, told: Told) {
        let kind = if access == Access::Write { Kind::Publish } else { Kind::Subscribe };
        let right = policy::may(number, access, topic);
        self.judge(kind, right, span, told, || format!("u{number}, {access:?} {topic}"));
    }

    /// Whether this was allowed for certain, so that something must follow.
    pub fn is_certain(&self, right: Right, span: Span) -> bool {
        self.right(right, span) == Some(true) && !self.is_excused(span)
    }

    /// Notes that something was wrong.
    pub fn wrong(&self, what: String) {
        self.faults.note(|at| {
            let outages = self.outages.lock().unwrap();
            let outage = outages.last().map_or("none".to_owned(), |(began, ended)| {
                let since = ended.map(|ended| format!(", over for {:.1?}", ended.elapsed()));
                format!("{:.1?} ago{}", began.elapsed(), since.unwrap_or_default())
            });
            format!("at {at:.1} s (last outage: {outage}): {what}")
        });
    }

    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (faults, wrong) = self.faults.all();
        Counts {
            judged: self.judged.each_ref().map(|told| told.each_ref().map(load)),
            kept_out: load(&self.kept_out),
            excused: load(&self.excused),
            late: Duration::from_millis(load(&self.late)),
            faults,
            wrong,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [logins, publishes, subscriptions, deliveries] = self.judged;
        writeln!(
            f,
            "  judged: {} logins accepted, {} refused, {} closed, {} more because of others under \
             the same identifier or of SIGHUP; {} publishes allowed, {} denied; \
             {} subscriptions granted, {} denied; {} clients closed undecided; {} deliveries",
            logins[0],
            logins[1],
            logins[2],
            self.kept_out,
            publishes[0],
            publishes[1],
            subscriptions[0],
            subscriptions[1],
            publishes[2] + subscriptions[2],
            deliveries[0]
        )?;
        write!(
            f,
            "  wrong: {} (in {} of the decisions the API may have been out of reach); the clients \
             themselves were late by {:.1?} at most",
            self.faults, self.excused, self.late
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: (Right, Told) = (Right::Yes, Told::Yes);

    fn faults(model: &Model, kind: Kind, (right, told): (Right, Told), span: Span) -> u64 {
        let before = model.counts().faults;
        model.judge(kind, right, span, told, String::new);
        model.counts().faults - before
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_kept_out_by_another_under_its_identifier_is_not_wronged_and_any_other_is() {
        let model = Model::new(true);
        let before = Instant::now();
        assert!(is_wrong(&model, "u1", before, Told::Nothing), "nobody was there");
        model.occupied("c");
        let during = Instant::now();
        assert!(!is_wrong(&model, "u1", during, Told::Nothing), "somebody waits still");
        assert!(is_wrong(&model, "u1", before, Told::Nothing), "it was told before that");
        model.freed("c");
        let later = Instant::now() + CONTESTED + seconds(1);
        assert!(is_wrong(&model, "u1", later, Told::Nothing), "it came after that");
        assert_eq!(model.counts().kept_out, 1);
    }

    #[test]
    fn who_comes_after_a_refusal_may_be_closed_once_and_the_next_as_well() {
        let model = Model::new(true);
        let at = |ms| Instant::now() + Duration::from_millis(ms);
        model.judge_login("c", ("u1", "wrong"), Span { asked: at(0), told: at(0) }, Told::No);
        assert!(!is_wrong(&model, "u1", at(1000), Told::Nothing));
        assert!(is_wrong(&model, "u1", at(2000), Told::Nothing), "its answer was kept");
        assert!(!is_wrong(&model, "u2", at(3000), Told::Nothing));
        assert!(!is_wrong(&model, "u2", at(3000) + RETRY, Told::Nothing), "that is over");
        assert!(is_wrong(&model, "u2", at(4000) + RETRY + CONTESTED, Told::Nothing));
        let model = Model::new(false);
        model.judge_login("c", ("u1", "wrong"), Span { asked: at(0), told: at(0) }, Told::No);
        assert!(is_wrong(&model, "u1", at(1000), Told::Nothing), "no login waits");
    }

    /// Whether it is a fault that a login of this user, asked and told at that time, was told this.
    fn is_wrong(model: &Model, username: &str, at: Instant, told: Told) -> bool {
        let before = model.counts().faults;
        let password = username.replace('u', "right-");
        model.judge_login("c", (username, &password), Span { asked: at, told: at }, told);
        model.counts().faults > before
    }

    #[test]
    fn who_is_closed_for_sighup_is_not_wronged_and_who_is_refused_or_comes_later_is() {
        let model = Model::new(true);
        let before = Instant::now();
        model.reloads();
        let now = Instant::now();
        assert!(is_wrong(&model, "u1", before, Told::Nothing), "it was told before that");
        assert!(!is_wrong(&model, "u1", now, Told::Nothing));
        assert!(is_wrong(&model, "u1", now, Told::No));
        assert!(is_wrong(&model, "u2", now + RELOAD_TAKES + CONTESTED, Told::Nothing));
        assert_eq!(model.counts().kept_out, 1);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let model = Model::new(true);
        let now = Instant::now();
        let span = Span { asked: now, told: now };
        let wrong = [(Right::No, Told::Yes), (Right::Yes, Told::No), (Right::Yes, Told::Nothing)];
        for kind in [Kind::Login, Kind::Publish, Kind::Subscribe] {
            assert_eq!(faults(&model, kind, YES, span), 0);
            assert_eq!(faults(&model, kind, (Right::No, Told::No), span), 0);
            for case in wrong {
                assert_eq!(faults(&model, kind, case, span), 1, "{kind:?} {case:?}");
            }
        }
        // The right that comes and goes is not there yet.
        assert_eq!(faults(&model, Kind::Login, (Right::AtTimes, Told::Yes), span), 1);
    }

    #[test]
    fn an_outage_excuses_a_closed_connection_and_nothing_else() {
        let model = Model::new(true);
        model.outage_begins();
        let span = Span::since(Instant::now());
        for kind in [Kind::Login, Kind::Publish, Kind::Subscribe] {
            assert_eq!(faults(&model, kind, (Right::Yes, Told::Nothing), span), 0);
            assert_eq!(faults(&model, kind, (Right::Yes, Told::No), span), 1);
        }
        assert_eq!(faults(&model, Kind::Login, (Right::No, Told::Yes), span), 1);
        model.outage_ends();
        let later = span.told + RECOVERY + seconds(1);
        let span = Span { asked: later, told: later };
        assert_eq!(faults(&model, Kind::Publish, (Right::Yes, Told::Nothing), span), 1);
    }

    #[test]
    fn around_a_change_both_are_right_and_later_only_one() {
        let model = Model::new(true);
        model.change_rights();
        let asked = Instant::now();
        let span = Span { asked, told: asked };
        for told in [Told::Yes, Told::No] {
            assert_eq!(faults(&model, Kind::Login, (Right::AtTimes, told), span), 0);
        }
        let later = asked + CACHE_TTL + seconds(1);
        let span = Span { asked: later, told: later };
        assert_eq!(faults(&model, Kind::Login, (Right::AtTimes, Told::Yes), span), 0);
        assert_eq!(faults(&model, Kind::Login, (Right::AtTimes, Told::No), span), 1);
    }
}
