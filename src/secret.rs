//! Bytes that cannot be printed and are wiped when they go.

#![forbid(unsafe_code)]

use std::{fmt, io};

use zeroize::Zeroizing;

/// A password, a header's value, or a request that holds one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves: for the wire, never for a log.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that is being written. A vector that grows moves, and leaves a copy behind for whoever
/// gets the memory next; this one wipes where it was.
#[derive(Default)]
pub(crate) struct SecretBuilder(Zeroizing<Vec<u8>>);

impl SecretBuilder {
    #[must_use]
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let mut larger = Vec::with_capacity(length.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    /// Wipes what was written.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    #[must_use]
    pub(crate) fn finish(self) -> Secret {
        Secret(self.0)
    }
}

impl io::Write for SecretBuilder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_grows_with_what_is_written() {
        let mut builder = SecretBuilder::with_capacity(2);
        for part in ["", "a", "bc", "defghijk", "l"] {
            builder.push(part.as_bytes());
        }
        assert_eq!(builder.finish().expose(), b"abcdefghijkl");
    }

    #[test]
    fn a_secret_does_not_print() {
        let printed = format!("{:?}", Secret::new(b"open sesame".to_vec()));
        assert!(!printed.contains("sesame"), "{printed}");
    }
}
