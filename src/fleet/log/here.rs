//! What was invalidated at this broker alone. It has no entry in the log, so that its place there is found out: it
//! is before the next entry that is written.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::super::record::Position;
use crate::cache::{InvalidationScope, Subject};

/// How many are remembered one by one.
const MOST: usize = 1000;

#[derive(Default)]
pub(super) struct Here {
    declared: Vec<Declared>,
}

struct Declared {
    scope: InvalidationScope,
    at: Instant,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// The log may have entries that were not read yet, and were written before.
    Unknown,
    /// All of those are read: the next entry was written afterwards.
    BeforeTheNext,
    /// An answer with the position of this entry, or a later one, was asked for afterwards.
    Before(Position),
}

impl Here {
    pub(super) fn declare(&mut self, scope: InvalidationScope, at: Instant) {
        let is_full = self.declared.len() >= MOST;
        let scope = if is_full { InvalidationScope::default() } else { scope };
        if is_full {
            self.declared.clear();
        }
        self.declared.push(Declared { scope, at, place: Place::Unknown });
    }

    /// Whether no shared answer of this position is believed about this: it may have been asked for before.
    pub(super) fn covers(&self, subject: &Subject<'_>, position: Position) -> bool {
        let is_before = |place| match place {
            Place::Unknown | Place::BeforeTheNext => true,
            Place::Before(next) => position < next,
        };
        self.declared.iter().any(|one| is_before(one.place) && one.scope.covers(subject))
    }

    /// Everything was read, by a request `sent` then.
    pub(super) fn read_all(&mut self, sent: Instant) {
        for one in &mut self.declared {
            if matches!(one.place, Place::Unknown) && one.at < sent {
                one.place = Place::BeforeTheNext;
            }
        }
    }

    /// This entry is read, for the first time or anew.
    pub(super) fn read(&mut self, at: Position) {
        for one in &mut self.declared {
            if matches!(one.place, Place::BeforeTheNext) {
                one.place = Place::Before(at);
            }
        }
    }

    /// Redis has lost entries: places in the log that it had mean nothing any more, and all is read anew.
    pub(super) fn lose_places(&mut self) {
        self.declared.iter_mut().for_each(|one| one.place = Place::Unknown);
    }
}
