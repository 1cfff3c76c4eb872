//! What a thread takes of the machine: budgets of tests and fuzz targets are about what one reader takes,
//! whatever else runs at the same time.

use std::time::Duration;

/// For how long the processor has run this thread.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the write, and every Linux has this clock.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "the clock is there");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What something takes of memory at most at one time, in bytes, and what comes of it. Only a test counts; for a
/// fuzzer it is nothing, which has limits of its own (`-malloc_limit_mb`).
pub(crate) fn most_memory<T>(take: impl FnOnce() -> T) -> (T, usize) {
    #[cfg(test)]
    return counting::most(take);
    #[cfg(not(test))]
    (take(), 0)
}

#[cfg(test)]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    /// The system's allocator, which notes how much of each thread is in use.
    struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    thread_local! {
        static NOW: Cell<isize> = const { Cell::new(0) };
        static MOST: Cell<isize> = const { Cell::new(0) };
    }

    pub(crate) fn most<T>(take: impl FnOnce() -> T) -> (T, usize) {
        let before = NOW.get();
        MOST.set(before);
        let taken = take();
        (taken, (MOST.get() - before).max(0).unsigned_abs())
    }

    fn note(bytes: isize) {
        NOW.set(NOW.get() + bytes);
        MOST.set(MOST.get().max(NOW.get()));
    }

    fn size(layout: Layout) -> isize {
        isize::try_from(layout.size()).unwrap_or(isize::MAX)
    }

    // SAFETY: all is done by the system's allocator, with the arguments as they are.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            note(size(layout));
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            note(size(layout));
            // SAFETY: as the caller promises.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            note(-size(layout));
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(pointer, layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            note(isize::try_from(new_size).unwrap_or(isize::MAX) - size(layout));
            // SAFETY: as the caller promises.
            unsafe { System.realloc(pointer, layout, new_size) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_takes_is_measured() {
        let (kept, most) = most_memory(|| {
            drop(vec![0_u8; 1 << 20]);
            vec![1_u8; 1 << 10]
        });
        assert!((1 << 20..1 << 21).contains(&most), "{most}");
        let began = thread_time();
        let mut sum = 0_u64;
        while thread_time() - began < Duration::from_millis(5) {
            sum = sum.wrapping_add(kept.iter().map(|byte| u64::from(*byte)).sum());
        }
        assert!(sum > 0);
    }
}
