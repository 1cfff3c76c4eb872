//! Characters that no name may have in it.

#![forbid(unsafe_code)]

use std::fmt;

/// A set of ASCII characters, looked up by byte: every check of a topic looks through two names.
#[derive(Clone, PartialEq, Eq)]
pub struct SpecialChars([bool; 256]);

impl SpecialChars {
    /// The bytes have to be ASCII, so that none is a part of another character.
    #[must_use]
    pub fn new(ascii: &[u8]) -> Self {
        let mut set = [false; 256];
        ascii.iter().for_each(|byte| set[usize::from(*byte)] = byte.is_ascii());
        Self(set)
    }

    /// The characters, in the order of ASCII.
    pub fn iter(&self) -> impl Iterator<Item = char> {
        (0..=u8::MAX).filter(|byte| self.0[usize::from(*byte)]).map(char::from)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.contains(&true)
    }

    /// Whether the name has any of them in it.
    #[must_use]
    pub(crate) fn occur_in(&self, name: &str) -> bool {
        // Names are short: to go through all of one is faster than to stop at each byte.
        name.bytes().fold(false, |found, byte| found | self.0[usize::from(byte)])
    }
}

impl fmt::Debug for SpecialChars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_anywhere_in_a_name_and_nothing_else_is() {
        let special = SpecialChars::new(b"+#");
        for name in ["+", "#", "a+", "+a", "é#é"] {
            assert!(special.occur_in(name), "{name}");
        }
        for name in ["", "a", "a/b", "é", "＋"] {
            assert!(!special.occur_in(name), "{name}");
        }
        assert!(!SpecialChars::new(b"").occur_in("+#") && SpecialChars::new(b"").is_empty());
        assert_eq!(format!("{special:?}"), "{'#', '+'}");
    }
}
