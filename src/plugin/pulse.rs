//! When the broker last looked up, and whether it is in the middle of a reload.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::sync::lock;

/// An idle broker ticks every 100 ms, a busy one more often. One that has not for this long does
/// not tick at all, or was held up.
const OVERDUE: Duration = Duration::from_secs(2);

/// How many questions may come after a tick before the clock is looked at.
const SOON: u32 = 16;

/// The broker's ticks.
pub struct Pulse {
    last: Mutex<Option<Instant>>,
    /// How often since the last tick somebody asked whether they seem regular.
    asked: AtomicU32,
    reloading: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl Pulse {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (last, reloading) = (Mutex::new(None), AtomicBool::new(false));
        // Before the first tick none was soon.
        Self { last, asked: AtomicU32::new(SOON), reloading, clock }
    }

    /// The broker looked up. A reload, if there was one, is over.
    pub fn beat(&self) {
        *lock(&self.last) = Some(self.clock.now());
        self.asked.store(0, Ordering::Relaxed);
        self.reloading.store(false, Ordering::Relaxed);
    }

    /// Whether the broker will look up before long, so that something can be left for then.
    pub fn is_regular(&self) -> bool {
        let last = *lock(&self.last);
        last.is_some_and(|last| self.clock.now().duration_since(last) < OVERDUE)
    }

    /// The same, for who asks with every message: told without the clock as long as few have asked
    /// since the last tick, so that it may take a few more to notice that there are none.
    pub fn seems_regular(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        if asked < SOON {
            self.asked.store(asked + 1, Ordering::Relaxed);
            return true;
        }
        self.is_regular()
    }

    /// A reload begins. The broker asks about every session within the same pass of its loop, and
    /// ticks before it reads from a client again.
    pub fn reload(&self) {
        self.reloading.store(true, Ordering::Relaxed);
    }

    /// Whether what the broker asks now may be about a session that is live already. Without
    /// ticks a reload has no end that could be seen, so it may be at any time.
    pub fn may_be_about_a_session(&self) -> bool {
        self.reloading.load(Ordering::Relaxed) || lock(&self.last).is_none()
    }

    /// Whether what the broker asks now cannot be about a new connection.
    pub fn is_about_a_session(&self) -> bool {
        self.reloading.load(Ordering::Relaxed) && lock(&self.last).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_reload_lasts_until_the_next_tick() {
        let pulse = Pulse::new(ManualClock::new());
        pulse.beat();
        assert!(!pulse.may_be_about_a_session() && !pulse.is_about_a_session());
        pulse.reload();
        assert!(pulse.may_be_about_a_session() && pulse.is_about_a_session());
        pulse.beat();
        assert!(!pulse.may_be_about_a_session() && !pulse.is_about_a_session());
    }

    #[test]
    fn without_ticks_a_question_may_always_be_about_a_session_and_never_surely_is() {
        let pulse = Pulse::new(ManualClock::new());
        assert!(pulse.may_be_about_a_session() && !pulse.is_about_a_session());
        pulse.reload();
        assert!(pulse.may_be_about_a_session() && !pulse.is_about_a_session());
    }

    #[test]
    fn nothing_is_left_for_a_broker_that_does_not_tick() {
        let clock = ManualClock::new();
        let pulse = Pulse::new(clock.clone());
        assert!(!pulse.is_regular());
        pulse.beat();
        assert!(pulse.is_regular());
        clock.advance(OVERDUE);
        assert!(!pulse.is_regular());
    }

    #[test]
    fn messages_notice_before_long_that_there_are_no_ticks() {
        let clock = ManualClock::new();
        let pulse = Pulse::new(clock.clone());
        assert!(!pulse.seems_regular());
        pulse.beat();
        clock.advance(OVERDUE);
        assert_eq!((0..100).filter(|_| pulse.seems_regular()).count(), SOON as usize);
        pulse.beat();
        assert!((0..100).all(|_| pulse.seems_regular()));
    }
}
