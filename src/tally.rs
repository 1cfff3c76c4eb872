//! How often what happened, since the plugin started.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::answer::{Decision, Failure};
use crate::question::Kind;
use crate::sync::lock;

/// The counters of one instance. Every number only ever grows.
#[derive(Default)]
pub struct Tally {
    logins: Decisions,
    access: Decisions,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Requests that were answered.
    answers: AtomicU64,
    /// Requests that failed, by the kind of failure.
    failures: Mutex<BTreeMap<&'static str, u64>>,
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
    pub misses: u64,
    pub answers: u64,
    pub failures: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// The broker was told this.
    pub fn decided(&self, kind: Kind, decision: Decision) {
        let decisions = if kind == Kind::Login { &self.logins } else { &self.access };
        add(match decision {
            Decision::Allow => &decisions.allowed,
            Decision::Deny => &decisions.denied,
            Decision::Defer => &decisions.deferred,
            Decision::Unavailable | Decision::UnavailableAloud => &decisions.unavailable,
        });
    }

    /// A question's answer was known.
    pub fn hit(&self) {
        add(&self.hits);
    }

    /// A question's answer was not known.
    pub fn missed(&self) {
        add(&self.misses);
    }

    /// A request was answered.
    pub fn answered(&self) {
        add(&self.answers);
    }

    /// A request failed.
    pub fn failed(&self, failure: &Failure) {
        *lock(&self.failures).entry(failure.name()).or_default() += 1;
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
            misses: load(&self.misses),
            answers: load(&self.answers),
            failures: lock(&self.failures).clone(),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_where_it_belongs() {
        let tally = Tally::default();
        tally.decided(Kind::Login, Decision::Allow);
        tally.decided(Kind::Login, Decision::UnavailableAloud);
        tally.decided(Kind::Access, Decision::Deny);
        tally.decided(Kind::Superuser, Decision::Defer);
        tally.hit();
        tally.missed();
        tally.missed();
        tally.answered();
        tally.failed(&Failure::Status(503));
        tally.failed(&Failure::Status(500));
        let counts = Counts {
            logins: [1, 0, 0, 1],
            access: [0, 1, 1, 0],
            hits: 1,
            misses: 2,
            answers: 1,
            failures: BTreeMap::from([("failure status", 2)]),
        };
        assert_eq!(tally.counts(), counts);
    }
}
