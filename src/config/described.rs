//! Every option, for the documentation.

#![forbid(unsafe_code)]

use super::options::{Opt, Preset, options};
use super::raw_config::RawConfig;
use crate::question::Kind;

/// An option as the documentation has it.
pub struct Described {
    pub name: &'static str,
    /// As the documentation writes it.
    pub default: String,
    /// What may be given, in the words in which an error is answered.
    pub allowed: String,
    pub meaning: &'static str,
}

/// Every option, for the documentation.
#[must_use]
pub fn described() -> Vec<Described> {
    let describe = |option: &Opt| Described {
        name: option.name,
        default: match option.default {
            Preset::Words(words) => words.to_owned(),
            Preset::Value(value) if value.starts_with(|c: char| c.is_ascii_digit()) => {
                value.to_owned()
            }
            Preset::Value(word) => format!("`{word}`"),
        },
        // No option takes an empty value.
        allowed: (option.set)(&mut RawConfig::default(), "").err().unwrap_or_default(),
        meaning: option.meaning,
    };
    options().map(describe).collect()
}

/// The option that names the route of these questions.
#[must_use]
pub fn route_option(kind: Kind) -> &'static str {
    match kind {
        Kind::Login => "http_user_route",
        Kind::Superuser => "http_superuser_route",
        Kind::Access => "http_acl_route",
    }
}
