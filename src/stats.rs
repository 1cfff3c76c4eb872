//! How often what happened, since the plugin started.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::answer::{Decision, Failure};
use crate::question::Kind;

mod counters;
mod labels;
mod requests;
pub(crate) use counters::Counted;
pub use labels::Miss;
pub(crate) use labels::{Denial, EventEnd, HeldEnd, Kick, Undecided};
pub use requests::Histogram;
pub(crate) use requests::{BOUNDS, Durations, Route, RouteCounts};

use counters::Counters;
use requests::Requests;

/// The counters of one instance. Every number only ever grows, but for the requests in flight.
#[derive(Default)]
pub struct Stats {
    logins: Decisions,
    access: Decisions,
    hits: AtomicU64,
    misses: Counters<Miss>,
    /// Requests that were answered.
    answers: AtomicU64,
    /// Requests that failed.
    failures: Counters<Failure>,
    /// Questions to which there was no answer.
    unanswered: Counters<Failure>,
    denied_logins: Counters<Denial>,
    denied_access: Counters<Denial>,
    kicks: Counters<Kick>,
    held_deliveries: Counters<HeldEnd>,
    undecided: Counters<Undecided>,
    events: Counters<EventEnd>,
    event_failures: AtomicU64,
    requests: Requests,
    /// Nanoseconds.
    held: AtomicU64,
}

/// What the broker was told.
#[derive(Default)]
struct Decisions {
    allowed: AtomicU64,
    denied: AtomicU64,
    deferred: AtomicU64,
    unavailable: AtomicU64,
}

/// All counters at one time, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Allowed, denied, deferred, unavailable.
    pub logins: [u64; 4],
    pub access: [u64; 4],
    pub hits: u64,
    pub(crate) misses: Counted,
    pub answers: u64,
    pub failures: Counted,
    pub(crate) unanswered: Counted,
    pub(crate) denied_logins: Counted,
    pub(crate) denied_access: Counted,
    pub kicks: Counted,
    pub held_deliveries: Counted,
    pub undecided: Counted,
    pub events: Counted,
    pub(crate) event_failures: u64,
    /// Requests that are under way now.
    pub in_flight: u64,
    pub(crate) requests: Vec<RouteCounts>,
    /// For how long the broker has been held up in all.
    pub held: Duration,
}

impl Stats {
    /// The broker was told this.
    pub fn decided(&self, kind: Kind, decision: Decision) {
        let decisions = if kind == Kind::Login { &self.logins } else { &self.access };
        add(match decision {
            Decision::Allow => &decisions.allowed,
            Decision::Deny => &decisions.denied,
            Decision::Defer => &decisions.deferred,
            Decision::Unavailable | Decision::UnavailableWithReason => &decisions.unavailable,
        });
    }

    /// A question's answer was known.
    pub fn hit(&self) {
        add(&self.hits);
    }

    /// A question's answer was not known.
    pub(crate) fn missed(&self, why: Miss) {
        self.misses.add(&why);
    }

    /// The broker was told no, for this reason.
    pub(crate) fn denied(&self, kind: Kind, why: Denial) {
        let denied = if kind == Kind::Login { &self.denied_logins } else { &self.denied_access };
        denied.add(&why);
    }

    /// A question got no answer.
    pub(crate) fn unanswered(&self, why: &Failure) {
        self.unanswered.add(why);
    }

    /// Events came to this end.
    pub(crate) fn events_ended(&self, how: EventEnd, count: usize) {
        self.events.add_many(&how, count as u64);
    }

    /// Events could not be sent, and are sent again.
    pub(crate) fn event_failed(&self) {
        add(&self.event_failures);
    }

    /// Clients were disconnected.
    pub(crate) fn kicked(&self, why: Kick) {
        self.kicks.add(&why);
    }

    /// This followed for a publish or a subscription that nobody could decide.
    pub(crate) fn undecided(&self, what: Undecided) {
        self.undecided.add(&what);
    }

    /// This became of so many deliveries that waited.
    pub(crate) fn held_ended(&self, how: HeldEnd, count: usize) {
        self.held_deliveries.add_many(&how, count as u64);
    }

    /// The broker waited for an answer for so long.
    pub fn held(&self, time: Duration) {
        self.held.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// A request is on its way from now on, until the value that is returned goes.
    #[must_use]
    pub fn request(&self) -> impl Drop {
        self.requests.begin()
    }

    /// A request has ended: with this status, if a response came, after so long.
    pub(crate) fn requested(&self, route: Route, status: Option<u16>, took: Duration) {
        self.requests.ended(route, status, took);
    }

    /// A request was answered.
    pub fn answered(&self) {
        add(&self.answers);
    }

    /// A request failed.
    pub fn failed(&self, failure: &Failure) {
        self.failures.add(failure);
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let decisions =
            |d: &Decisions| [&d.allowed, &d.denied, &d.deferred, &d.unavailable].map(load);
        Counts {
            logins: decisions(&self.logins),
            access: decisions(&self.access),
            hits: load(&self.hits),
            misses: self.misses.read(),
            answers: load(&self.answers),
            failures: self.failures.read(),
            unanswered: self.unanswered.read(),
            denied_logins: self.denied_logins.read(),
            denied_access: self.denied_access.read(),
            kicks: self.kicks.read(),
            held_deliveries: self.held_deliveries.read(),
            undecided: self.undecided.read(),
            events: self.events.read(),
            event_failures: load(&self.event_failures),
            in_flight: self.requests.in_flight(),
            requests: self.requests.read(),
            held: Duration::from_nanos(load(&self.held)),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_where_it_belongs() {
        let stats = Stats::default();
        stats.decided(Kind::Login, Decision::Allow);
        stats.decided(Kind::Login, Decision::UnavailableWithReason);
        stats.decided(Kind::Access, Decision::Deny);
        stats.decided(Kind::Superuser, Decision::Defer);
        stats.hit();
        stats.missed(Miss::Absent);
        stats.missed(Miss::Outdated);
        stats.answered();
        stats.failed(&Failure::Status(503));
        stats.failed(&Failure::Status(500));
        stats.unanswered(&Failure::NotYet);
        stats.denied(Kind::Login, Denial::Api);
        stats.denied(Kind::Access, Denial::Rule);
        stats.denied(Kind::Superuser, Denial::Rule);
        stats.kicked(Kick::Command);
        stats.held(Duration::from_millis(3));
        let counts = stats.counts();
        assert_eq!((counts.logins, counts.access), ([1, 0, 0, 1], [0, 1, 1, 0]));
        assert_eq!((counts.hits, counts.answers), (1, 1));
        assert_eq!(some(&counts.misses), [("absent", 1), ("outdated", 1)]);
        assert_eq!(some(&counts.failures), [("failure status", 2)]);
        assert_eq!(some(&counts.unanswered), [("no answer yet", 1)]);
        assert_eq!(some(&counts.denied_logins), [("api", 1)]);
        assert_eq!(some(&counts.denied_access), [("rule", 2)]);
        assert_eq!(some(&counts.kicks), [("command", 1)]);
        assert_eq!(counts.held, Duration::from_millis(3));
    }

    /// Those that are not 0.
    fn some(counted: &Counted) -> Vec<(&'static str, u64)> {
        counted.iter().copied().filter(|(_, count)| *count > 0).collect()
    }
}
