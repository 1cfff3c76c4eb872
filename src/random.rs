//! Chance, as the operating system gives it.

#![forbid(unsafe_code)]

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};

/// The operating system gives no random bytes.
#[derive(Clone, Copy, Debug)]
pub struct NoRandomBytes;

impl fmt::Display for NoRandomBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no random bytes to be had")
    }
}

/// Fills this with random bytes, which nobody can guess.
///
/// # Errors
/// There are none.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomBytes> {
    SystemRandom::new().fill(bytes).map_err(|_| NoRandomBytes)
}

/// So many random bytes, which nobody can guess.
///
/// # Errors
/// There are none.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomBytes> {
    let mut bytes = [0; N];
    fill(&mut bytes).map(|()| bytes)
}

/// A number from 0 to 1, to spread what would otherwise happen at the same time.
pub(crate) fn fraction() -> f64 {
    // An input that makes the fuzzer's model fail must do so each time.
    if cfg!(fuzzing) {
        return 0.5;
    }
    f64::from(bytes().map_or(0, u32::from_ne_bytes)) / f64::from(u32::MAX)
}
