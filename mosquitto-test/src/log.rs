//! What a program has printed so far, and waiting for what it will print.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::watch::Watched;

#[derive(Default)]
struct Printed {
    text: String,
    /// The pipes that are not closed yet. The program closes its ends by exiting.
    open: usize,
}

impl Printed {
    fn ended(&self) -> bool {
        self.open == 0
    }
}

/// What it has printed, filled by threads that read its pipes.
#[derive(Clone, Default)]
pub struct Log(Arc<Watched<Printed>>);

/// What became of a wait for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Found,
    Ended,
    TimedOut,
}

impl Log {
    /// Reads lines into the log until the program closes the pipe.
    pub(crate) fn follow(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        log.0.update(|printed| printed.open += 1);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                log.0.update(|printed| printed.text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            log.0.update(|printed| printed.open -= 1);
        })
    }

    pub fn text(&self) -> String {
        self.0.read(|printed| printed.text.clone())
    }

    /// Where the log ends now, for waits that only count what comes later.
    pub fn mark(&self) -> usize {
        self.0.read(|printed| printed.text.len())
    }

    /// Waits for `needle` at or after `mark`.
    pub(crate) fn wait_for(&self, mark: usize, needle: &str) -> Wait {
        let looked = self.0.wait(|printed| {
            if printed.text[mark..].contains(needle) {
                return Some(Wait::Found);
            }
            printed.ended().then_some(Wait::Ended)
        });
        looked.unwrap_or(Wait::TimedOut)
    }

    /// Waits for whichever text comes first; `None` if the program ends or stays silent.
    pub(crate) fn wait_for_any<'n>(&self, needles: &[&'n str]) -> Option<&'n str> {
        self.0.wait(|printed| {
            let found = needles.iter().copied().find(|needle| printed.text.contains(needle));
            found.map(Some).or(printed.ended().then_some(None))
        })?
    }

    /// Waits until the program has exited; `false` if it does not.
    pub(crate) fn wait_for_end(&self) -> bool {
        self.0.wait(|printed| printed.ended().then_some(())).is_some()
    }
}
