//! What is wrong with an option, in one line.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use super::without_query;

/// Values longer than this are cut in messages.
const SHOWN: usize = 80;

/// One error in the configuration. Its text names the option, what was given (never a secret)
/// and what is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    option: Option<String>,
    text: String,
}

impl ConfigError {
    /// The value of a known option is not one that is allowed.
    #[must_use]
    pub fn value(option: &str, given: &str, allowed: &str) -> Self {
        let text = format!("option {option}: {} is not allowed; allowed: {allowed}", shown(given));
        Self::about(option, text)
    }

    /// Like [`ConfigError::value`], for an option whose value may be a secret.
    #[must_use]
    pub(crate) fn secret_value(option: &str, problem: &str) -> Self {
        Self::about(option, format!("option {option}: {problem}"))
    }

    /// No option has this name. `given` is left out where it may be a secret; `is_near` tells whether
    /// the nearest name may have been meant.
    #[must_use]
    pub fn unknown(name: &str, given: Option<&str>, nearest: &str, is_near: bool) -> Self {
        let mut text = format!("option {} is not known", name.escape_debug());
        if let Some(given) = given {
            text.push_str(&format!(" (given: {})", shown(given)));
        }
        text.push_str(&format!("; the nearest known name is {nearest}"));
        if !is_near {
            text.push_str(", docs/configuration.md has all of them");
        }
        Self::about(name, text)
    }

    /// An option was given more than once; the first two values, unless they may be secrets.
    #[must_use]
    pub fn twice(option: &str, given: Option<[&str; 2]>) -> Self {
        let values = given.map(|values| values.map(shown).join(", then "));
        let values = values.map(|values| format!(" ({values})")).unwrap_or_default();
        let text =
            format!("option {} is given twice{values}; allowed: once", option.escape_debug());
        Self::about(option, text)
    }

    /// Something about several options, or about one that is missing.
    #[must_use]
    pub fn overall(text: impl Into<String>) -> Self {
        Self { option: None, text: text.into() }
    }

    /// Something else about one option that was given.
    #[must_use]
    pub fn about(option: &str, text: String) -> Self {
        Self { option: Some(option.to_owned()), text }
    }

    /// The option that it is about, if it is about one that was given.
    #[must_use]
    pub fn option(&self) -> Option<&str> {
        self.option.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn shown(given: &str) -> String {
    let given = without_credentials(given);
    let given = without_query(&given);
    let mut start: String = given.chars().take(SHOWN).collect();
    if start.len() < given.len() {
        start.push('…');
    }
    format!("{start:?}")
}

/// A whole URI, where a host or a path is asked for, may hold a password (RFC 3986, section 3.2.1).
fn without_credentials(given: &str) -> Cow<'_, str> {
    match given.rsplit_once('@') {
        Some((before, after)) if before.contains(':') => Cow::Owned(format!("…@{after}")),
        _ => Cow::Borrowed(given),
    }
}
