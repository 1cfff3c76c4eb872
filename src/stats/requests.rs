//! Requests: where they went, what status came back, and how long they took.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{add, nanos};
use crate::sync::lock;

/// Up to how many seconds a request may take that falls into each bucket; one more is for the rest.
pub(crate) const BOUNDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    User,
    Superuser,
    Acl,
    AclBatch,
    Jwks,
    Event,
}

impl Route {
    pub(crate) const ALL: [Self; 6] =
        [Self::User, Self::Superuser, Self::Acl, Self::AclBatch, Self::Jwks, Self::Event];

    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Superuser => "superuser",
            Self::Acl => "acl",
            Self::AclBatch => "acl_batch",
            Self::Jwks => "jwks",
            Self::Event => "event",
        }
    }
}

/// Statuses that are told of from the start, so that the first of them is seen to come. Others are told of once
/// they have come.
const USUAL: [u16; 7] = [200, 401, 403, 404, 429, 500, 503];

/// How often each status came; none: no response came.
#[derive(Default)]
struct Statuses(Mutex<BTreeMap<Option<u16>, u64>>);

impl Statuses {
    fn add(&self, status: Option<u16>) {
        *lock(&self.0).entry(status).or_default() += 1;
    }

    fn read(&self) -> Vec<(String, u64)> {
        let usual = USUAL.map(Some).into_iter().chain([None]);
        let mut counts: BTreeMap<_, _> = usual.map(|status| (status, 0)).collect();
        counts.extend(lock(&self.0).iter().map(|(status, count)| (*status, *count)));
        let name = |status: Option<u16>| status.map_or("none".to_owned(), |s| s.to_string());
        counts.into_iter().map(|(status, count)| (name(status), count)).collect()
    }
}

/// What is known of the requests to one route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RouteCounts {
    pub route: Route,
    /// By status, or `none`.
    pub statuses: Vec<(String, u64)>,
    pub took: Histogram,
}

/// How many requests took how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    /// One for each of [`BOUNDS`], and one more; each counts its own only.
    pub buckets: [u64; BOUNDS.len() + 1],
    pub sum: Duration,
}

/// Counts how long things took.
#[derive(Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds.
    sum: AtomicU64,
}

impl Durations {
    pub(crate) fn note(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        add(&self.buckets[bucket]);
        self.sum.fetch_add(nanos(took), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Histogram {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Histogram {
            buckets: self.buckets.each_ref().map(load),
            sum: Duration::from_nanos(load(&self.sum)),
        }
    }
}

#[derive(Default)]
pub(crate) struct Requests {
    in_flight: AtomicU64,
    routes: [ToRoute; Route::ALL.len()],
}

#[derive(Default)]
struct ToRoute {
    statuses: Statuses,
    took: Durations,
}

/// A request that is under way.
struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requests {
    pub(crate) fn begin(&self) -> impl Drop {
        add(&self.in_flight);
        InFlight(&self.in_flight)
    }

    pub(crate) fn ended(&self, route: Route, status: Option<u16>, took: Duration) {
        let to = &self.routes[route as usize];
        to.statuses.add(status);
        to.took.note(took);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> Vec<RouteCounts> {
        let counts = |(route, to): (Route, &ToRoute)| RouteCounts {
            route,
            statuses: to.statuses.read(),
            took: to.took.read(),
        };
        Route::ALL.into_iter().zip(&self.routes).map(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_by_its_route_its_status_and_how_long_it_took() {
        let requests = Requests::default();
        let ms = Duration::from_millis;
        let under_way = requests.begin();
        assert_eq!(requests.in_flight(), 1);
        drop(under_way);
        for (status, took) in [(Some(200), 1), (Some(204), 2), (Some(503), 400), (None, 60_000)] {
            requests.ended(Route::Acl, status, ms(took));
        }
        requests.ended(Route::User, Some(999), ms(5));
        assert_eq!(requests.in_flight(), 0);
        let read = requests.read();
        let of = |route| read.iter().find(|counts| counts.route == route).unwrap();
        let some = |counts: &RouteCounts| -> Vec<_> {
            let counted = counts.statuses.iter().filter(|(_, count)| *count > 0);
            counted.map(|(status, count)| format!("{status} {count}")).collect()
        };
        assert_eq!(some(of(Route::Acl)), ["none 1", "200 1", "204 1", "503 1"]);
        assert_eq!(of(Route::Acl).took.sum, ms(60_403));
        assert_eq!(of(Route::Acl).took.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(some(of(Route::User)), ["999 1"]);
        assert_eq!(of(Route::User).took.buckets[2], 1, "a bound belongs to what is below it");
    }
}
