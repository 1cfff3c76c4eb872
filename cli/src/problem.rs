//! Why the command cannot do what it is told.

#![forbid(unsafe_code)]

use std::io;

/// Something for the standard error, or nobody to write it to.
pub(crate) enum Problem {
    Text(String),
    /// Whoever read the output has gone.
    Unheard,
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unheard,
            _ => Self::Text(format!("cannot write: {error}")),
        }
    }
}
