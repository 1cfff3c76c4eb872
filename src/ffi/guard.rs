//! Stops a panic at the border.
//!
//! A panic that leaves an `extern "C"` function aborts the broker, so every call from the broker
//! passes through here. After a panic the answer is the refusal that the caller names: there is no
//! default, since 0 means success to Mosquitto.

use std::os::raw::c_int;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};

use crate::sync::lock;

/// Where there were panics that nobody has reported yet: in calls from the broker, and in workers.
static PANICKED_AT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether there were any, readable without the lock: every callback asks.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// How many such places are kept; few places in the code can panic at all.
const MOST_PLACES: usize = 32;

/// Runs the body of a call from the broker. After a panic it tells `report` where that was and
/// returns the refusal.
pub(crate) fn catch_panic(
    refusal: c_int,
    report: impl FnOnce(&str),
    body: impl FnOnce() -> c_int,
) -> c_int {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let places = panicked_at();
        let place =
            if places.is_empty() { "an unknown place".to_owned() } else { places.join(", ") };
        // Reporting may panic as well; nothing is left then but to refuse.
        let _ = catch_unwind(AssertUnwindSafe(|| report(&place)));
        refusal
    })
}

/// Shows the place of a panic instead of its message, which may hold what a client sent (slicing
/// a text shows the text) and with it a password.
///
/// The hook belongs to this library's own copy of Rust's runtime, not to the broker's process.
pub(crate) fn hide_panic_messages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let mut places = lock(&PANICKED_AT);
            if places.len() < MOST_PLACES && !places.contains(&place) {
                places.push(place);
            }
            PANICKED.store(true, Ordering::Release);
        }));
    });
}

/// Whether a panic has been caught, here or in a worker, since [`panicked_at`] was last asked.
pub(crate) fn has_panicked() -> bool {
    PANICKED.load(Ordering::Acquire)
}

/// Where panics have been caught since this was last asked.
pub(crate) fn panicked_at() -> Vec<String> {
    PANICKED.store(false, Ordering::Relaxed);
    std::mem::take(&mut *lock(&PANICKED_AT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: c_int = 11;

    #[test]
    fn what_the_body_returns_passes() {
        assert_eq!(catch_panic(REFUSAL, |_| panic!("nothing to report"), || 0), 0);
    }

    #[test]
    fn after_a_panic_the_answer_is_the_refusal_and_it_is_reported() {
        let mut reports = 0;
        let returned = catch_panic(REFUSAL, |_| reports += 1, || panic!("a defect, on purpose"));
        assert_eq!((returned, reports), (REFUSAL, 1));
    }

    #[test]
    fn a_report_that_panics_too_changes_nothing() {
        let returned = catch_panic(REFUSAL, |_| panic!("again"), || panic!("a defect, on purpose"));
        assert_eq!(returned, REFUSAL);
    }
}
