//! Which epoch the log is in, and which are over.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::super::record::Epoch;

/// How many epochs are remembered that are over.
const MOST: usize = 1000;

/// The epochs that this broker has seen. One that is over never begins again, however often Redis loses
/// what came after it: answers of that time may have been taken back since.
#[derive(Default)]
pub(super) struct Epochs {
    current: Option<Epoch>,
    over: VecDeque<Epoch>,
}

impl Epochs {
    pub(super) fn current(&self) -> Option<Epoch> {
        self.current
    }

    /// The current one, unless it is over.
    pub(super) fn alive(&self) -> Option<Epoch> {
        self.current.filter(|epoch| !self.over.contains(epoch))
    }

    /// Whether another has to begin.
    pub(super) fn is_over(&self) -> bool {
        self.current.is_some() && self.alive().is_none()
    }

    /// The log says that this one begins, after which the one before it is over.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        if self.current != Some(epoch) {
            self.end();
            self.current = Some(epoch);
        }
    }

    /// The log's entries are of this one, of whose beginning nothing is known.
    pub(super) fn assume(&mut self, epoch: Epoch) {
        self.current = Some(epoch);
    }

    /// The current one is over.
    pub(super) fn end(&mut self) {
        let Some(epoch) = self.alive() else { return };
        if self.over.len() >= MOST {
            self.over.pop_front();
        }
        self.over.push_back(epoch);
    }
}
