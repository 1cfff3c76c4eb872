//! Fetches memory ahead of its use.

use crate::sessions::MemoryRange;

/// What processors fetch at once, in bytes.
const LINE: usize = 64;

/// Has the processor fetch these ranges of memory into its caches; where it is not known how, nothing
/// happens.
pub(crate) fn fetch(ranges: &[MemoryRange]) {
    for (address, bytes) in ranges {
        for line in 0..bytes.div_ceil(LINE) {
            fetch_line(address.wrapping_add(line * LINE));
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn fetch_line(address: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: this is a hint. Nothing is read, and an address at which nothing lies raises no fault.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address as *const i8) };
}

#[cfg(target_arch = "aarch64")]
fn fetch_line(address: usize) {
    // SAFETY: this is a hint. Nothing is read, and an address at which nothing lies raises no fault.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn fetch_line(_: usize) {}
