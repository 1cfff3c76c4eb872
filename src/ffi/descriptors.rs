//! Makes room for the broker's connections while that costs nothing.
//!
//! Linux doubles a process's table of file descriptors as it fills. In a process with threads,
//! such as a broker becomes by this plugin, each doubling waits for all processors to have seen
//! it (`synchronize_rcu`): 10 to 15 ms in which the broker does nothing, at the 256th connection,
//! the 512th, and so on. Before the first thread the table grows at once, and it never shrinks.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The most descriptors that room is made for; the table then takes half a megabyte.
const MOST: libc::rlim_t = 65_536;

/// Makes room for as many descriptors as the process may have. Where that cannot be, the broker
/// only pauses for a moment later on.
pub(crate) fn make_room() {
    let Ok(file) = File::open("/dev/null") else { return };
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` is alive, and written by the call where it succeeds.
    let limit = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) != 0 {
            return;
        }
        limit.assume_init()
    };
    let Ok(highest) = libc::c_int::try_from(limit.rlim_cur.min(MOST).saturating_sub(1)) else {
        return;
    };
    // SAFETY: the file is open, and the call only makes a new descriptor of it.
    let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, highest) };
    if high >= 0 {
        // SAFETY: the descriptor is new, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(high) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of this process's table (proc(5), `FDSize`).
    fn table() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        size.trim().parse().unwrap()
    }

    #[test]
    fn there_is_room_for_as_many_as_the_process_may_have() {
        make_room();
        let mut limit = MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: as above.
        let limit = unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()), 0);
            limit.assume_init().rlim_cur
        };
        assert!(table() >= limit.min(MOST), "{} of {limit}", table());
    }
}
