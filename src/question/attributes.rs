//! What the API says of a client beside its name.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

/// How many a client may have, and how long a name or a value may be, in bytes.
pub(crate) const MOST_ATTRIBUTES: usize = 32;
pub(crate) const ATTRIBUTE_BYTES: usize = 255;

/// A client's attributes, by name. The API gave them when it let the client in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// None: there are too many, one of them is too long, or has no name.
    #[must_use]
    pub(crate) fn new(pairs: BTreeMap<String, String>) -> Option<Self> {
        let fits = |text: &String| text.len() <= ATTRIBUTE_BYTES;
        let fit = pairs.iter().all(|(name, value)| !name.is_empty() && fits(name) && fits(value));
        (fit && pairs.len() <= MOST_ATTRIBUTES).then_some(Self(pairs))
    }

    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// By name, in the order of the names.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// About how much memory they take, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        const PAIR: usize = 2 * (size_of::<String>() + 16);
        self.0.iter().map(|(name, value)| PAIR + name.len() + value.len()).sum()
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
