//! Holds SIGHUP back while logins wait, since Mosquitto 2.1 cannot take it then.
//!
//! The broker lists its clients by when their keep-alive time ends. Where a client leaves, or is closed, while
//! its login waits, 2.1 (up to 2.1.2 at least) takes it off the list only when it frees it, in the next pass of
//! its loop. At the end of a pass it looks whether SIGHUP has come, and if so makes a new list, without that
//! client; then it takes it off a list that it is not in, which damages the list and crashes the broker sooner
//! or later. So SIGHUP is let through once no login waits. If that takes long, those that wait are closed, and
//! ask again. And none begins to wait in a pass in which SIGHUP has come already.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// For how long SIGHUP may be held back before the logins that wait are closed.
const LONGEST: Duration = Duration::from_secs(1);

/// How long no pass of the broker's loop takes.
const LONGEST_PASS: Duration = Duration::from_secs(10);

/// SIGHUP on the broker's thread.
#[derive(Clone, Copy)]
pub struct Sighup {
    /// Holds it back, or lets it through.
    pub(crate) hold_back: fn(bool),
    /// Whether it has come while it was held back.
    pub(crate) has_come: fn() -> bool,
    /// Has it counted from now on whenever it is taken.
    pub(crate) watch: fn(),
    /// How often it has been taken since then.
    pub(crate) taken: fn() -> u64,
}

/// Which logins that wait may be closed in a pass of the broker's loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Closing {
    Nobody,
    /// Those that are to be closed for another reason.
    Due,
    Everybody,
}

/// One instance's hold on SIGHUP.
pub(crate) struct ReloadHold {
    sighup: Option<Sighup>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: State,
    reloads: Reloads,
    /// Since when no login waits, where passes are not told of.
    none_waits_since: Option<Instant>,
}

/// Which SIGHUP that was taken the broker has dealt with, by their count.
#[derive(Default)]
struct Reloads {
    done: u64,
    /// How many had been taken when the last pass began; none: there was no pass yet.
    at_last_pass: Option<u64>,
}

impl Reloads {
    /// A pass begins. What was taken before the last one has been dealt with at its end, even if the broker took two for
    /// one and told of one.
    fn begin_pass(&mut self, taken: u64) {
        if self.at_last_pass == Some(taken) {
            self.done = taken;
        }
        self.at_last_pass = Some(taken);
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Held,
    /// SIGHUP has come, and was found to have come at this time.
    Wanted(Instant),
    /// It has been held back for too long.
    Overdue,
}

impl ReloadHold {
    /// `sighup` is missing where no login waits.
    pub(crate) fn new(sighup: Option<Sighup>) -> Self {
        Self { sighup, inner: Mutex::default() }
    }

    /// A login is about to wait; whether it may.
    pub(crate) fn admit(&self) -> bool {
        let Some(sighup) = self.sighup else { return true };
        let Inner { state, reloads, none_waits_since } = &mut *lock(&self.inner);
        *none_waits_since = None;
        if *state == State::Free {
            state.hold(sighup);
        }
        // From here on it is held back.
        *state != State::Overdue && reloads.done == (sighup.taken)()
    }

    /// The broker reads its configuration again, at the end of a pass.
    pub(crate) fn reloads(&self) {
        self.sighup.iter().for_each(|sighup| lock(&self.inner).reloads.done = (sighup.taken)());
    }

    /// A pass of the broker's loop begins: whoever was closed in the last one is freed.
    pub(crate) fn begin_pass(&self, logins_wait: impl FnOnce() -> bool, now: Instant) -> Closing {
        let Some(sighup) = self.sighup else { return Closing::Due };
        let Inner { state, reloads, none_waits_since } = &mut *lock(&self.inner);
        *none_waits_since = None;
        if reloads.at_last_pass.is_none() {
            // The broker has set its own handler only after it has loaded its plugins.
            (sighup.watch)();
        }
        reloads.begin_pass((sighup.taken)());
        if !logins_wait() {
            state.release(sighup);
            return Closing::Nobody;
        }
        match *state {
            // A SIGHUP may have come already, so that none may be closed before the next pass.
            State::Free => {
                state.hold(sighup);
                return Closing::Nobody;
            }
            State::Held if (sighup.has_come)() => *state = State::Wanted(now),
            State::Wanted(since) if now.saturating_duration_since(since) >= LONGEST => {
                *state = State::Overdue;
            }
            _ => {}
        }
        match *state {
            State::Overdue => Closing::Everybody,
            _ => Closing::Due,
        }
    }

    /// The broker does not tell when a pass begins (2.1 does not while the wall clock is behind): lets SIGHUP
    /// through once the pass in which a login waited last must be over. None begins to wait on such a broker.
    pub(crate) fn look_without_passes(&self, logins_wait: impl FnOnce() -> bool, now: Instant) {
        let Some(sighup) = self.sighup else { return };
        let Inner { state, none_waits_since, .. } = &mut *lock(&self.inner);
        if *state == State::Free {
            return;
        }
        if logins_wait() {
            *none_waits_since = None;
        } else if now.saturating_duration_since(*none_waits_since.get_or_insert(now))
            >= LONGEST_PASS
        {
            state.release(sighup);
        }
    }

    /// Lets SIGHUP through for good.
    pub(crate) fn end(&self) {
        self.sighup.iter().for_each(|sighup| lock(&self.inner).state.release(*sighup));
    }
}

impl State {
    fn hold(&mut self, sighup: Sighup) {
        (sighup.hold_back)(true);
        *self = Self::Held;
    }

    fn release(&mut self, sighup: Sighup) {
        if *self != Self::Free {
            (sighup.hold_back)(false);
            *self = Self::Free;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::Closing::{Due, Everybody, Nobody};
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
        static HELD: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
        static HAS_COME: Cell<bool> = const { Cell::new(false) };
    }

    fn reload_hold() -> ReloadHold {
        ReloadHold::new(Some(Sighup {
            hold_back: |held| HELD.with_borrow_mut(|all| all.push(held)),
            has_come: || HAS_COME.get(),
            watch: || {},
            taken: || TAKEN.get(),
        }))
    }

    #[test]
    fn sighup_comes_once_no_login_waits_and_none_is_closed_in_that_pass() {
        let (reload_hold, began) = (reload_hold(), ManualClock::new().now());
        let pass = |waits, ms| {
            let pass = reload_hold.begin_pass(|| waits, began + Duration::from_millis(ms));
            (pass, HELD.take())
        };
        assert_eq!(pass(false, 0), (Nobody, vec![]), "nobody waits");
        assert!(reload_hold.admit() && reload_hold.admit());
        assert_eq!(HELD.take(), [true], "once, before it waits");
        assert_eq!(pass(true, 1), (Due, vec![]));
        assert_eq!(pass(true, 9000), (Due, vec![]), "SIGHUP has not come");
        assert_eq!(pass(false, 9001), (Nobody, vec![false]), "nobody waits any more");
        assert_eq!(pass(true, 9002), (Nobody, vec![true]), "SIGHUP may have come before");
        reload_hold.end();
        assert_eq!(HELD.take(), [false]);
        reload_hold.end();
        assert_eq!(HELD.take(), [false; 0]);
    }

    #[test]
    fn whoever_waits_for_long_while_sighup_is_held_back_is_closed_and_nobody_waits_anew() {
        let (reload_hold, began) = (reload_hold(), ManualClock::new().now());
        let pass = |waits, ms| reload_hold.begin_pass(|| waits, began + Duration::from_millis(ms));
        assert!(reload_hold.admit());
        HAS_COME.set(true);
        assert_eq!(pass(true, 0), Due);
        assert!(reload_hold.admit());
        assert_eq!(pass(true, 999), Due);
        assert_eq!(pass(true, 1000), Everybody);
        assert!(!reload_hold.admit());
        assert_eq!(pass(true, 1001), Everybody, "more than one pass may close");
        assert_eq!(pass(false, 1002), Nobody);
        assert_eq!(HELD.take(), [true, false]);
        assert!(reload_hold.admit());
        HAS_COME.set(false);
    }

    #[test]
    fn no_login_begins_to_wait_in_a_pass_in_which_sighup_was_taken_before() {
        let (reload_hold, now) = (reload_hold(), ManualClock::new().now());
        let pass = || assert_eq!(reload_hold.begin_pass(|| false, now), Nobody);
        pass();
        assert!(reload_hold.admit());
        pass();
        TAKEN.set(1);
        assert!(!reload_hold.admit());
        reload_hold.reloads();
        assert!(reload_hold.admit(), "the pass has ended");
        // One that the broker does not tell of, since it came while it dealt with another.
        TAKEN.set(2);
        pass();
        assert!(!reload_hold.admit(), "it may have come after the last pass");
        pass();
        assert!(reload_hold.admit());
        TAKEN.set(0);
        HELD.take();
    }

    #[test]
    fn where_passes_are_not_told_of_sighup_comes_once_no_login_has_waited_for_a_while() {
        let (reload_hold, began) = (reload_hold(), ManualClock::new().now());
        let look = |waits, s| {
            reload_hold.look_without_passes(|| waits, began + Duration::from_secs(s));
            HELD.take()
        };
        assert_eq!(look(false, 0), [false; 0]);
        assert!(reload_hold.admit());
        assert_eq!(HELD.take(), [true]);
        for (waits, s) in [(true, 1), (false, 2), (true, 11), (false, 12), (false, 21)] {
            assert_eq!(look(waits, s), [false; 0], "{s}");
        }
        assert_eq!(look(false, 22), [false]);
        assert!(reload_hold.admit());
        assert_eq!(HELD.take(), [true]);
        assert_eq!(look(false, 23), [false; 0]);
        reload_hold.begin_pass(|| true, began);
        assert_eq!(look(false, 33), [false; 0], "passes were told of meanwhile");
        HELD.take();
    }

    #[test]
    fn where_no_login_waits_nothing_is_held_back() {
        let reload_hold = ReloadHold::new(None);
        assert!(reload_hold.admit());
        assert_eq!(reload_hold.begin_pass(|| true, ManualClock::new().now()), Due);
        reload_hold.end();
    }
}
