//! How long the broker may be held up, where Mosquitto offers no way to answer later.
//!
//! One question holds it for `max_block_ms` at most. Whose waits they are decides what many of them may
//! take together, so that nobody uses up what another needs:
//!
//! * Logins draw on one allowance, of `max_block_ms`, which only the time between waits restores, so that
//!   they take `max_block_percent` of the time at most.
//! * What a client does with topics draws on that client's own: a burst of 5 s, restored slowly.
//! * Deliveries of messages that would lack something if they were sent later have one allowance together, of
//!   `max_block_ms`, restored slowly: it is not the client that gets a message who causes it.
//! * 2.1 asks about its HTTP API on a thread of that, for which the broker does not stand still. Those
//!   questions have an allowance of their own.
//!
//! With `max_block_percent 100` only `max_block_ms` bounds them; with 0 nothing is waited for.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::answer::Outcome;
use crate::clock::Clock;
use crate::pool::Asked;
use crate::stats::Stats;
use crate::sync::lock;

/// What one client's ACL checks may hold the broker in a row.
pub(crate) const CLIENT_BURST: Duration = Duration::from_secs(5);

/// What share of the time between waits a client gets back.
const CLIENT_RESTORED: f64 = 0.05;

/// How many clients' waits are remembered. It takes each of them a wait to be.
const MOST_CLIENTS: usize = 10_000;

/// Whose allowance a wait draws on.
#[derive(Clone, Copy)]
pub(crate) enum Payer<'a> {
    Logins,
    Deliveries,
    HttpApi,
    Client { client_id: &'a str, username: &'a str },
}

/// What bounded a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// `max_block_ms`.
    Question,
    /// What all that a client did not cause itself may take: `max_block_percent`, for logins.
    Share,
    /// What the client's own checks may take.
    Client,
}

/// The allowances of one instance.
pub(crate) struct BlockBudget {
    longest: Duration,
    /// Between 0 and 1.
    share: f64,
    logins: Mutex<Allowance>,
    deliveries: Mutex<Allowance>,
    http_api: Mutex<Allowance>,
    /// Of the clients that have waited recently.
    clients: Mutex<HashMap<u64, Allowance>>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
}

/// What may still be waited, in seconds. Waits take from it, and the time between them gives back.
#[derive(Clone, Copy)]
struct Allowance {
    left: f64,
    capacity: f64,
    /// What a second between waits gives back.
    restored: f64,
    /// Until when the time between waits has been counted.
    counted_until: Instant,
}

impl Allowance {
    fn full(capacity: Duration, restored: f64, now: Instant) -> Self {
        let capacity = capacity.as_secs_f64();
        Self { left: capacity, capacity, restored, counted_until: now }
    }

    /// Counts the time since the last wait; what is left.
    fn restore(&mut self, now: Instant) -> Duration {
        let between = now.duration_since(self.counted_until).as_secs_f64();
        self.left = (self.left + between * self.restored).min(self.capacity);
        self.counted_until = now;
        Duration::from_secs_f64(self.left.max(0.0))
    }

    fn spend(&mut self, held: Duration, ended: Instant) {
        self.left -= held.as_secs_f64();
        self.counted_until = ended;
    }
}

impl BlockBudget {
    /// `percent` is between 0 and 100.
    #[must_use]
    pub(crate) fn new(
        longest: Duration,
        percent: u8,
        clock: Arc<dyn Clock>,
        stats: Arc<Stats>,
    ) -> Self {
        let share = f64::from(percent) / 100.0;
        let capacity = if percent == 0 { Duration::ZERO } else { longest };
        // The whole share is a division by zero, and no bound: see `limit`.
        let allowance = Allowance::full(capacity, share / (1.0 - share), clock.now());
        let deliveries = Allowance::full(capacity, CLIENT_RESTORED, clock.now());
        Self {
            longest,
            share,
            logins: Mutex::new(allowance),
            deliveries: Mutex::new(deliveries),
            http_api: Mutex::new(allowance),
            clients: Mutex::default(),
            hasher: RandomState::new(),
            clock,
            stats,
        }
    }

    /// The outcome of what was asked, waited for as long as the payer's allowance permits, and what bounds
    /// that. If that was too short, the `Pending` is good still.
    pub(crate) fn wait(&self, asked: &mut Asked, payer: Payer<'_>) -> (Outcome, Bound) {
        match asked {
            Asked::Now(outcome) => (outcome.clone(), Bound::Question),
            Asked::Later(pending) => {
                let began = self.clock.now();
                let (limit, bound) = self.limit(payer, began);
                let outcome = pending.wait(limit);
                self.spend(payer, began, self.clock.now());
                (outcome, bound)
            }
        }
    }

    /// How long a wait that begins now may be.
    fn limit(&self, payer: Payer<'_>, now: Instant) -> (Duration, Bound) {
        if self.share >= 1.0 {
            return (self.longest, Bound::Question);
        }
        let (left, bound) = match payer {
            Payer::Logins => (lock(&self.logins).restore(now), Bound::Share),
            Payer::Deliveries => (lock(&self.deliveries).restore(now), Bound::Share),
            Payer::HttpApi => (lock(&self.http_api).restore(now), Bound::Share),
            Payer::Client { client_id, username } => {
                let mut clients = lock(&self.clients);
                let known = clients.get_mut(&self.hasher.hash_one((client_id, username)));
                (known.map_or(self.burst(), |known| known.restore(now)), Bound::Client)
            }
        };
        if left < self.longest { (left, bound) } else { (self.longest, Bound::Question) }
    }

    fn burst(&self) -> Duration {
        if self.share > 0.0 { CLIENT_BURST.max(self.longest) } else { Duration::ZERO }
    }

    fn spend(&self, payer: Payer<'_>, began: Instant, ended: Instant) {
        let held = ended.duration_since(began);
        match payer {
            Payer::Logins => {
                self.stats.held(held);
                lock(&self.logins).spend(held, ended);
            }
            Payer::Deliveries => {
                self.stats.held(held);
                lock(&self.deliveries).spend(held, ended);
            }
            // The broker goes on meanwhile.
            Payer::HttpApi => lock(&self.http_api).spend(held, ended),
            Payer::Client { client_id, username } => {
                self.stats.held(held);
                let mut clients = lock(&self.clients);
                let key = self.hasher.hash_one((client_id, username));
                if !clients.contains_key(&key) && clients.len() >= MOST_CLIENTS {
                    make_room(&mut clients, ended);
                }
                let fresh = || Allowance::full(self.burst(), CLIENT_RESTORED, ended);
                clients.entry(key).or_insert_with(fresh).spend(held, ended);
            }
        }
    }
}

/// Forgets those who have all of their allowance again, and at least the one who has most of it.
fn make_room(clients: &mut HashMap<u64, Allowance>, now: Instant) {
    clients.retain(|_, allowance| {
        allowance.restore(now);
        allowance.left < allowance.capacity
    });
    if clients.len() >= MOST_CLIENTS {
        let most = clients.iter().max_by(|a, b| a.1.left.total_cmp(&b.1.left));
        if let Some(key) = most.map(|(key, _)| *key) {
            clients.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const LONGEST: Duration = Duration::from_millis(1000);
    const ANN: Payer<'static> = Payer::Client { client_id: "c", username: "ann" };
    const BOB: Payer<'static> = Payer::Client { client_id: "c", username: "bob" };

    fn budget(percent: u8) -> (BlockBudget, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (BlockBudget::new(LONGEST, percent, clock.clone(), Arc::default()), clock)
    }

    /// Waits as long as it may, but no longer than the answer takes; how long that was.
    fn wait(
        budget: &BlockBudget,
        clock: &ManualClock,
        payer: Payer<'_>,
        answer_takes: Duration,
    ) -> Duration {
        let began = clock.now();
        let waited = budget.limit(payer, began).0.min(answer_takes);
        clock.advance(waited);
        budget.spend(payer, began, clock.now());
        waited
    }

    #[test]
    fn one_login_may_wait_long_and_others_pay_for_it() {
        let (budget, clock) = budget(50);
        assert_eq!(wait(&budget, &clock, Payer::Logins, Duration::MAX), LONGEST);
        assert_eq!(wait(&budget, &clock, Payer::Logins, Duration::MAX), Duration::ZERO);
        assert_eq!(budget.limit(Payer::Logins, clock.now()).1, Bound::Share);
        clock.advance(LONGEST / 2);
        assert_eq!(wait(&budget, &clock, Payer::Logins, Duration::MAX), LONGEST / 2);
        clock.advance(LONGEST);
        assert_eq!(wait(&budget, &clock, Payer::Logins, Duration::MAX), LONGEST);
    }

    #[test]
    fn a_slow_login_does_not_shut_out_the_quick_one_after_it() {
        let (budget, clock) = budget(50);
        let slow = Duration::from_millis(700);
        assert_eq!(wait(&budget, &clock, Payer::Logins, slow), slow);
        let quick = Duration::from_millis(5);
        assert_eq!(wait(&budget, &clock, Payer::Logins, quick), quick);
    }

    #[test]
    fn many_logins_in_a_row_make_no_longer_pause_than_one() {
        for percent in [10, 50, 90] {
            for answer_ms in [1, 50, 333, 499, 501, 999] {
                let (budget, clock) = budget(percent);
                let mut pause = Duration::ZERO;
                loop {
                    let answer = Duration::from_millis(answer_ms);
                    let waited = wait(&budget, &clock, Payer::Logins, answer);
                    if waited.is_zero() {
                        break;
                    }
                    pause += waited;
                }
                let bound = LONGEST + Duration::from_millis(1);
                assert!(pause <= bound, "{percent} %, {answer_ms} ms: {pause:?}");
            }
        }
    }

    #[test]
    fn a_storm_of_logins_takes_its_share_and_no_more() {
        for percent in [10, 50, 90] {
            let (budget, clock) = budget(percent);
            let begin = clock.now();
            let mut waited = Duration::ZERO;
            while clock.now().duration_since(begin) < Duration::from_secs(100) {
                waited += wait(&budget, &clock, Payer::Logins, Duration::from_millis(50));
                clock.advance(Duration::from_millis(1));
            }
            let share = waited.as_secs_f64() / 100.0;
            let allowed = f64::from(percent) / 100.0;
            assert!((share - allowed).abs() < 0.02, "{share} of {allowed}");
            assert_eq!(budget.stats.counts().held, waited);
        }
    }

    #[test]
    fn deliveries_that_others_cause_take_no_more_than_one_question_and_little_of_the_time() {
        let (budget, clock) = budget(50);
        assert_eq!(wait(&budget, &clock, Payer::Deliveries, Duration::MAX), LONGEST);
        assert_eq!(wait(&budget, &clock, Payer::Deliveries, Duration::MAX), Duration::ZERO);
        for other in [ANN, BOB, Payer::Logins] {
            assert_eq!(wait(&budget, &clock, other, LONGEST / 2), LONGEST / 2);
        }
        clock.advance(Duration::from_secs(10));
        let half = wait(&budget, &clock, Payer::Deliveries, LONGEST);
        assert!(half >= LONGEST / 2 && half < LONGEST, "{half:?}");
    }

    #[test]
    fn what_a_client_waits_for_is_its_own() {
        let (budget, clock) = budget(50);
        let answer = Duration::from_millis(20);
        let mut checks = 0;
        while wait(&budget, &clock, ANN, answer) == answer {
            checks += 1;
        }
        assert_eq!(checks, 250, "as many filters at 20 ms");
        assert_eq!(wait(&budget, &clock, ANN, answer), Duration::ZERO);
        assert_eq!(budget.limit(ANN, clock.now()), (Duration::ZERO, Bound::Client));
        for other in [BOB, Payer::Logins, Payer::HttpApi] {
            assert_eq!(wait(&budget, &clock, other, answer), answer);
        }
        clock.advance(Duration::from_secs(10));
        let half = wait(&budget, &clock, ANN, LONGEST);
        assert!(half >= LONGEST / 2 && half < LONGEST, "{half:?}");
        clock.advance(Duration::from_secs(1000));
        assert_eq!(wait(&budget, &clock, ANN, Duration::MAX), LONGEST, "one question is bounded");
    }

    #[test]
    fn the_http_api_takes_nothing_from_the_broker() {
        let (budget, clock) = budget(50);
        assert_eq!(wait(&budget, &clock, Payer::HttpApi, Duration::MAX), LONGEST);
        assert_eq!(wait(&budget, &clock, Payer::HttpApi, Duration::MAX), Duration::ZERO);
        assert_eq!(wait(&budget, &clock, Payer::Logins, Duration::MAX), LONGEST);
        assert_eq!(
            budget.stats.counts().held,
            LONGEST,
            "the broker stood still for this one alone"
        );
    }

    #[test]
    fn the_clients_that_are_remembered_are_bounded() {
        let (budget, clock) = budget(50);
        let second = Duration::from_secs(1);
        assert_eq!(wait(&budget, &clock, ANN, second), second);
        for number in 0..MOST_CLIENTS + 10 {
            let payer = Payer::Client { client_id: &number.to_string(), username: "x" };
            wait(&budget, &clock, payer, Duration::from_millis(1));
        }
        assert!(lock(&budget.clients).len() <= MOST_CLIENTS);
        assert!(budget.limit(ANN, clock.now()).0 <= LONGEST, "who waited most is remembered");
    }

    #[test]
    fn the_whole_time_is_no_bound_and_none_of_it_no_wait() {
        for payer in [Payer::Logins, Payer::Deliveries, Payer::HttpApi, ANN] {
            let (budget_of_all, clock) = budget(100);
            for _ in 0..10 {
                assert_eq!(wait(&budget_of_all, &clock, payer, Duration::MAX), LONGEST);
            }
            let (budget, clock) = budget(0);
            clock.advance(Duration::from_secs(100));
            assert_eq!(wait(&budget, &clock, payer, Duration::MAX), Duration::ZERO);
        }
    }
}
