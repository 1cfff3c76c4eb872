//! Single values: what they mean, and what is said of one that means nothing.

#![forbid(unsafe_code)]

use serde::de::{Error, MapAccess};

use crate::json::{Read, Seed, Whole};
use crate::rules::is_username;

/// Where a value stands, for what is said of it.
#[derive(Clone, Copy)]
pub(crate) struct FieldPath {
    pub name: &'static str,
    /// The number of the rule that it belongs to.
    pub rule: Option<usize>,
}

impl FieldPath {
    /// Takes a member's value; none if it is `null`, which says nothing.
    pub(crate) fn take<'de, A: MapAccess<'de>, T>(
        self,
        object: &mut A,
        allowed: &'static str,
        read: impl Fn(&Whole<'_>) -> Option<T>,
    ) -> Result<Option<T>, A::Error> {
        let read = |value: &Whole<'_>| match value {
            Whole::Null => Some(None),
            value => read(value).map(Some),
        };
        object.next_value_seed(self.one(allowed, read))
    }

    /// Reads a value that must be there.
    pub(crate) fn one<F>(self, allowed: &'static str, read: F) -> Seed<One<F>> {
        Seed(One { path: self, allowed, read })
    }

    pub(crate) fn problem<E: Error>(self, value: &Whole<'_>, allowed: &str) -> E {
        let Self { name, rule } = self;
        let rule = rule.map(|number| format!("rule {number}: ")).unwrap_or_default();
        E::custom(format_args!("{rule}\"{name}\" is {value}; allowed: {allowed}"))
    }
}

/// A value that is not taken apart, and what it means.
pub(crate) struct One<F> {
    path: FieldPath,
    allowed: &'static str,
    read: F,
}

impl<'de, T, F: Fn(&Whole<'_>) -> Option<T>> Read<'de> for One<F> {
    type Value = T;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<T, E> {
        (self.read)(&value).ok_or_else(|| self.path.problem(&value, self.allowed))
    }
}

pub(crate) fn one_of(names: &[&'static str], name: &str) -> Option<&'static str> {
    names.iter().copied().find(|known| *known == name)
}

/// Whole seconds: those that have passed, of a number with a fraction. One that is too large becomes the
/// largest.
pub(crate) fn seconds(value: &Whole<'_>) -> Option<u64> {
    match value {
        Whole::Fraction(number) => (*number >= 0.0).then_some(*number as u64),
        value => value.natural(),
    }
}

/// The names that an answer may give a client.
pub(crate) const NAME: &str =
    "a name without +, #, / and control characters, of at most 65535 bytes";

/// A name that a client may be given.
pub(crate) fn name(value: &Whole<'_>) -> Option<String> {
    value.text().filter(|name| is_username(name)).map(str::to_owned)
}

/// How long a reason may be, in bytes.
const REASON_BYTES: usize = 200;

/// A reason, cut where it is too long. One that is no text says nothing: an answer is not broken for what
/// only a reader of the log looks at.
#[expect(clippy::unnecessary_wraps, reason = "every value is read")]
pub(crate) fn reason(value: &Whole<'_>) -> Option<Option<String>> {
    Some(value.text().map(cut))
}

/// A text as long as a reason may be.
pub(crate) fn cut(text: &str) -> String {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=text.len().min(REASON_BYTES)).rev().find(fits).unwrap_or(0);
    text[..end].to_owned()
}

/// Yes or no in the spellings of other APIs; nothing is a no.
pub(crate) fn yes_or_no(value: &Whole<'_>) -> Option<bool> {
    match value {
        Whole::Null => Some(false),
        Whole::Text(text) if text.is_empty() => Some(false),
        value => flag(value),
    }
}

/// True or false, which may be written as a number or a text.
pub(crate) fn flag(value: &Whole<'_>) -> Option<bool> {
    match value {
        Whole::Flag(flag) => Some(*flag),
        Whole::Natural(1) => Some(true),
        Whole::Natural(0) => Some(false),
        Whole::Text(text) => match &**text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
