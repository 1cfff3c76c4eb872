//! What was invalidated at this broker alone. It has no entry in the log, so that its place there is found out:
//! it is where everything is read that the log had afterwards.

#![forbid(unsafe_code)]

use std::time::Instant;

use crate::cache::{InvalidationScope, Subject};

/// How many may wait for that one by one.
const MOST: usize = 1000;

/// What has no place yet.
#[derive(Default)]
pub(super) struct Here {
    waiting: Vec<(InvalidationScope, Instant)>,
}

impl Here {
    pub(super) fn declare(&mut self, scope: InvalidationScope, now: Instant) {
        let is_full = self.waiting.len() >= MOST;
        let scope = if is_full { InvalidationScope::default() } else { scope };
        if is_full {
            self.waiting.clear();
        }
        self.waiting.push((scope, now));
    }

    /// Whether no shared answer about this is believed: another broker may have applied more of the log than
    /// this one, and have asked before.
    pub(super) fn covers(&self, subject: &Subject<'_>) -> bool {
        self.waiting.iter().any(|(scope, _)| scope.covers(subject))
    }

    /// Everything was read, by a request `sent` then: what was declared before has its place now.
    pub(super) fn take(&mut self, sent: Instant) -> Vec<InvalidationScope> {
        let waiting = std::mem::take(&mut self.waiting);
        let (placed, waiting) = waiting.into_iter().partition(|(_, declared)| *declared < sent);
        self.waiting = waiting;
        let placed: Vec<(InvalidationScope, Instant)> = placed;
        placed.into_iter().map(|(scope, _)| scope).collect()
    }
}
