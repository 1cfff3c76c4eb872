//! What the work on a secret leaves behind on the broker's thread: on its stack, and in its vector registers.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;

/// As deep as work on a login goes, and more: in bytes.
const DEPTH: usize = 32 << 10;

/// Overwrites what the caller's callees have left on this thread's stack and in its vector registers. To hash, to
/// encrypt and to copy a password, libraries keep parts of it there and wipe nothing; and what is in a register goes
/// onto the stack for good when the next signal comes.
pub(crate) fn wipe_traces() {
    wipe_stack();
    // Last: what overwrites the stack uses them, too.
    wipe_registers();
}

#[inline(never)]
fn wipe_stack() {
    std::hint::black_box(&mut [0_u8; DEPTH]);
}

#[cfg(target_arch = "x86_64")]
fn wipe_registers() {
    if is_x86_feature_detected!("avx") {
        // SAFETY: the processor has the instruction, and no register that it clears has to be kept.
        unsafe {
            asm!("vzeroall", clobber_abi("sysv64"), options(nomem, nostack, preserves_flags));
        }
    }
    macro_rules! clear {
        ($($register:ident)+) => { asm!(
            $(concat!("vpxord ", stringify!($register), ",", stringify!($register), ",", stringify!($register)),)+
            clobber_abi("sysv64"),
            options(nomem, nostack, preserves_flags)
        ) };
    }
    // These hold what a large copy copied last, and few instructions ever overwrite them.
    if is_x86_feature_detected!("avx512vl") {
        // SAFETY: as before. To clear the lowest part of a register clears it as a whole.
        unsafe {
            clear!(xmm16 xmm17 xmm18 xmm19 xmm20 xmm21 xmm22 xmm23);
            clear!(xmm24 xmm25 xmm26 xmm27 xmm28 xmm29 xmm30 xmm31);
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn wipe_registers() {
    macro_rules! clear {
        ($($register:ident)+) => { asm!(
            $(concat!("movi ", stringify!($register), ".2d,#0"),)+
            clobber_abi("C"),
            options(nomem, nostack, preserves_flags)
        ) };
    }
    // SAFETY: these are the registers that no function has to keep for its caller (AAPCS64, section 6.1.2).
    unsafe {
        clear!(v0 v1 v2 v3 v4 v5 v6 v7 v16 v17 v18 v19 v20 v21 v22 v23);
        clear!(v24 v25 v26 v27 v28 v29 v30 v31);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn wipe_registers() {}
