//! An entry that must still be there, by which it is seen whether Redis has lost any.

#![forbid(unsafe_code)]

use super::super::record::Position;
use super::told::Entry;

type Mark = (Position, [u8; 32]);

/// The entry that is looked for, and the one that is after it was found. What was read since the last look is not looked
/// for: an entry that came after a loss is there, and hides it.
#[derive(Default)]
pub(super) struct Anchor {
    sought: Option<Mark>,
    newest: Option<Mark>,
}

impl Anchor {
    pub(super) fn get(&self) -> Option<Mark> {
        self.sought
    }

    /// An entry was read.
    pub(super) fn read(&mut self, entry: &Entry) {
        self.newest = Some((entry.at, entry.digest));
        self.sought = self.sought.or(self.newest);
    }

    /// Everything up to the newest is there.
    pub(super) fn advance(&mut self) {
        self.sought = self.newest;
    }

    /// It is not there, nor is it looked for any more.
    pub(super) fn lose(&mut self) {
        *self = Self::default();
    }
}
