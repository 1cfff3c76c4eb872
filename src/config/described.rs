//! Every option, for the documentation.

#![forbid(unsafe_code)]

use super::draft::Draft;
use super::options::{OPTIONS, Opt};

/// An option as the documentation has it.
pub struct Described {
    pub name: &'static str,
    pub default: &'static str,
    /// What may be given, in the words in which a mistake is answered.
    pub allowed: String,
    pub meaning: &'static str,
}

/// Every option, for the documentation.
#[must_use]
pub fn described() -> Vec<Described> {
    let describe = |option: &Opt| Described {
        name: option.name,
        default: option.default,
        // No option takes an empty value.
        allowed: (option.set)(&mut Draft::default(), "").err().unwrap_or_default(),
        meaning: option.meaning,
    };
    OPTIONS.iter().map(describe).collect()
}
