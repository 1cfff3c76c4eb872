//! What the log is told, and what it says follows.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::super::record::{Do, Epoch, Id, Position, Record};
use crate::cache::InvalidationScope;

/// An entry as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub at: Position,
    /// A hash of it, by which another one is told apart that stands in the same place.
    pub(crate) digest: [u8; 32],
    /// None: it cannot be opened, and says nothing.
    pub record: Option<Record>,
}

impl Entry {
    /// Whether it is the one of this ID, in this place.
    pub(crate) fn is(&self, id: Id, at: Position) -> bool {
        self.at == at && self.record.as_ref().is_some_and(|record| record.id == id)
    }

    /// Whether it begins another epoch than this one.
    pub(super) fn begins_after(&self, epoch: Option<Epoch>) -> bool {
        let begins = |record: &Record| record.what == Do::Begin && Some(record.epoch) != epoch;
        self.record.as_ref().is_some_and(begins)
    }
}

/// What follows for this broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// An entry was read for the first time; it does this, and was written here or elsewhere.
    Heard { what: Do, is_own: bool },
    /// No answer to these questions is good any more that was asked for up to now; `sessions`: and the
    /// clients that it is about are asked about again.
    Outdate { scope: InvalidationScope, sessions: bool },
    /// These clients are disconnected.
    Kick(InvalidationScope),
    /// A kick is too old to be obeyed.
    LateKick,
    /// Answers that were asked for up to then are not good while the API answers; none: all are.
    Doubt(Option<Instant>),
    /// Something may have been missed: all clients are asked about again.
    AskAgain,
    /// Entries are missing.
    Gap(Gap),
    /// Redis has said that it had an entry of this broker's, and has not: the connection by which it was written and
    /// the one by which it is read may lead to different servers.
    Lost,
}

/// Why entries are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gap {
    /// This broker was away for longer than the log goes back.
    Trimmed,
    /// Redis has lost them.
    RolledBack,
}
