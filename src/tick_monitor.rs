//! When the broker last looked up, and whether it is in the middle of a reload.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// An idle broker ticks every 100 ms, a busy one more often. One that has not for this long does
/// not tick at all, or was held up.
const OVERDUE: Duration = Duration::from_secs(2);

/// How many questions may come before the clock is looked at once more.
const SOON: u32 = 16;

/// The broker's ticks. It looks up after all that it does, so that a tick costs next to nothing.
pub(crate) struct TickMonitor {
    began: Instant,
    /// When it ticked last, in milliseconds since the beginning and one more; 0: never.
    last: AtomicU64,
    /// How often somebody asked whether they seem regular since that was known.
    asked: AtomicU32,
    reloading: AtomicBool,
    /// How often the broker has looked up.
    beats: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl TickMonitor {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            began: clock.now(),
            last: AtomicU64::new(0),
            // Before the first tick none was soon.
            asked: AtomicU32::new(SOON),
            reloading: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            clock,
        }
    }

    /// The broker looked up, at this time. A reload, if there was one, is over.
    pub(crate) fn beat(&self, now: Instant) {
        self.last.store(self.count(now) + 1, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
        self.reloading.store(false, Ordering::Relaxed);
    }

    /// A time, in milliseconds since the beginning.
    fn count(&self, time: Instant) -> u64 {
        u64::try_from(time.duration_since(self.began).as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// How often the broker has looked up: once at least between two passes of its loop.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Whether the broker has ever looked up.
    fn has_beaten(&self) -> bool {
        self.last.load(Ordering::Relaxed) != 0
    }

    /// Whether the broker will look up before long, so that something can be left for then.
    pub(crate) fn is_regular(&self) -> bool {
        let Some(last) = self.last.load(Ordering::Relaxed).checked_sub(1) else { return false };
        Duration::from_millis(self.count(self.clock.now()).saturating_sub(last)) < OVERDUE
    }

    /// The same, for who asks with every message: the clock is looked at once for a number of them, so
    /// that it may take a few more to notice that there are no ticks.
    pub(crate) fn seems_regular(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        let is_regular = asked < SOON || self.is_regular();
        if is_regular {
            self.asked.store(asked % SOON + 1, Ordering::Relaxed);
        }
        is_regular
    }

    /// A reload begins. The broker asks about every session within the same pass of its loop, and
    /// ticks before it reads from a client again.
    pub(crate) fn reload(&self) {
        self.reloading.store(true, Ordering::Relaxed);
    }

    /// Whether what the broker asks now may be about a session that is live already. Without
    /// ticks a reload has no end that could be seen, so it may be at any time from then on; and a broker that
    /// has not ticked yet may never do so.
    pub(crate) fn may_be_about_a_session(&self) -> bool {
        self.reloading.load(Ordering::Relaxed) || !self.has_beaten()
    }

    /// Whether what the broker asks now cannot be about a new connection.
    pub(crate) fn is_about_a_session(&self) -> bool {
        self.reloading.load(Ordering::Relaxed) && self.is_regular()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_reload_lasts_until_the_next_tick() {
        let clock = ManualClock::new();
        let tick_monitor = TickMonitor::new(clock.clone());
        tick_monitor.beat(clock.now());
        assert!(!tick_monitor.may_be_about_a_session() && !tick_monitor.is_about_a_session());
        tick_monitor.reload();
        assert!(tick_monitor.may_be_about_a_session() && tick_monitor.is_about_a_session());
        tick_monitor.beat(clock.now());
        assert!(!tick_monitor.may_be_about_a_session() && !tick_monitor.is_about_a_session());
    }

    #[test]
    fn without_ticks_a_question_may_always_be_about_a_session_and_never_surely_is() {
        let tick_monitor = TickMonitor::new(ManualClock::new());
        assert!(tick_monitor.may_be_about_a_session() && !tick_monitor.is_about_a_session());
        tick_monitor.reload();
        assert!(tick_monitor.may_be_about_a_session() && !tick_monitor.is_about_a_session());
    }

    #[test]
    fn where_the_ticks_end_with_a_reload_new_connections_are_told_from_sessions_before_long() {
        let clock = ManualClock::new();
        let tick_monitor = TickMonitor::new(clock.clone());
        tick_monitor.beat(clock.now());
        tick_monitor.reload();
        clock.advance(OVERDUE);
        assert!(tick_monitor.may_be_about_a_session() && !tick_monitor.is_about_a_session());
    }

    #[test]
    fn nothing_is_left_for_a_broker_that_does_not_tick() {
        let clock = ManualClock::new();
        let tick_monitor = TickMonitor::new(clock.clone());
        assert!(!tick_monitor.is_regular());
        tick_monitor.beat(clock.now());
        assert!(tick_monitor.is_regular());
        clock.advance(OVERDUE);
        assert!(!tick_monitor.is_regular());
    }

    #[test]
    fn messages_notice_before_long_that_there_are_no_ticks() {
        let clock = ManualClock::new();
        let tick_monitor = TickMonitor::new(clock.clone());
        assert!(!tick_monitor.seems_regular());
        tick_monitor.beat(clock.now());
        clock.advance(OVERDUE);
        assert_eq!((0..100).filter(|_| tick_monitor.seems_regular()).count(), SOON as usize);
        tick_monitor.beat(clock.now());
        assert!((0..100).all(|_| tick_monitor.seems_regular()));
    }
}
