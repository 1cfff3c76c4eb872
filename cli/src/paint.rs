//! Colours. Whoever writes them away from a terminal takes them out again.

#![forbid(unsafe_code)]

use std::fmt;

use anstyle::{AnsiColor, Style};

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const WRONG: Style = AnsiColor::Red.on_default().bold();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// A text in a style.
pub(crate) struct Painted<'a>(&'a str, Style);

pub(crate) trait Paint {
    fn paint(&self, style: Style) -> Painted<'_>;
}

impl Paint for str {
    fn paint(&self, style: Style) -> Painted<'_> {
        Painted(self, style)
    }
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, style) = self;
        write!(f, "{style}{text}{style:#}")
    }
}
