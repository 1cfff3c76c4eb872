//! What is wrong with an option, in one line.

#![forbid(unsafe_code)]

use std::fmt;

/// Values longer than this are cut in messages.
const SHOWN: usize = 80;

/// One mistake in the configuration. Its text names the option, what was given (never a secret)
/// and what is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake(String);

impl Mistake {
    /// The value of a known option is not one that is allowed.
    #[must_use]
    pub fn value(option: &str, given: &str, allowed: &str) -> Self {
        Self(format!("option {option}: {} is not allowed; allowed: {allowed}", shown(given)))
    }

    /// Like [`Mistake::value`], for an option whose value may be a secret.
    #[must_use]
    pub fn secret_value(option: &str, problem: &str) -> Self {
        Self(format!("option {option}: {problem}"))
    }

    /// No option has this name. `given` is left out where it may be a secret.
    #[must_use]
    pub fn unknown(name: &str, given: Option<&str>, nearest: Option<&str>) -> Self {
        let mut text = format!("option {} is not known", name.escape_debug());
        if let Some(given) = given {
            text.push_str(&format!(" (given: {})", shown(given)));
        }
        match nearest {
            Some(nearest) => text.push_str(&format!("; the nearest known name is {nearest}")),
            None => text.push_str("; the README lists the known names"),
        }
        Self(text)
    }

    #[must_use]
    pub fn twice(option: &str) -> Self {
        Self(format!("option {} is given twice; allowed: once", option.escape_debug()))
    }

    /// Something about several options, or about one that is missing.
    #[must_use]
    pub fn overall(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn shown(given: &str) -> String {
    let mut start: String = given.chars().take(SHOWN).collect();
    if start.len() < given.len() {
        start.push('…');
    }
    format!("{start:?}")
}
