//! SIGHUP on the broker's thread: held back, and let through.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;

use crate::plugin::Sighup;

thread_local! {
    /// How many instances of the plugin hold it back.
    static HOLDERS: Cell<usize> = const { Cell::new(0) };
}

/// What the plugin may do about SIGHUP.
pub(crate) const SIGHUP: Sighup = Sighup { hold_back, has_come };

/// Whether SIGHUP has come, and is held back.
fn has_come() -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigpending` initialises the set that it is given, if it succeeds.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0
            && libc::sigismember(set.as_ptr(), libc::SIGHUP) == 1
    }
}

/// Holds SIGHUP back for one more instance, or for one fewer. Once nobody holds it back, one that came
/// meanwhile is taken at once. For the broker's own thread; the plugin's other threads take no signals, and
/// one of another library that takes SIGHUP is not held up by this.
fn hold_back(held: bool) {
    let before = HOLDERS.get();
    let after = if held { before + 1 } else { before.saturating_sub(1) };
    HOLDERS.set(after);
    let how = match (before, after) {
        (0, 1) => libc::SIG_BLOCK,
        (1, 0) => libc::SIG_UNBLOCK,
        _ => return,
    };
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that it is given, which is alive and properly aligned; the
    // others read and write it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGHUP);
        libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::super::thread::takes_sighup;
    use super::*;

    #[test]
    fn it_is_held_back_as_long_as_any_instance_wants_it() {
        let steps = [true, true, false, false, false, true, false].map(|held| {
            hold_back(held);
            !takes_sighup()
        });
        assert_eq!(steps, [true, true, true, false, false, true, false]);
        assert!(!has_come());
    }
}
