//! The log as the thread that writes knows it.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::super::record::{Epoch, Id, Position, Record};
use super::Log;

impl Log {
    /// This broker takes something back. It has done so itself already. The writer asks [`Self::place`] how far that has
    /// come, until it calls [`Self::forget`]. False: too much waits already, and the others do not hear of it.
    #[must_use]
    pub(crate) fn publish(&mut self, record: Record, now: Instant) -> bool {
        if self.outbox.is_full() {
            return false;
        }
        self.memory.note(&record, now);
        self.awaited.insert(record.id, None);
        self.outbox.push(record, now);
        true
    }

    /// Where an entry of this broker's stands in the log that all read. None: it was not read back, so that
    /// it is not certain to be there, even if Redis says that it was written.
    pub(crate) fn place(&self, id: &Id) -> Option<(Epoch, Position)> {
        let at = self.awaited.get(id).copied().flatten()?;
        Some((self.epochs.alive()?, at))
    }

    /// Nobody wants to know any more where this entry stands.
    pub(crate) fn forget(&mut self, id: &Id) {
        self.awaited.remove(id);
    }

    /// The next entry to write, if there is one; an epoch begins before anything else is written.
    pub(crate) fn next_to_write(&mut self, now: Instant) -> Option<Record> {
        self.outbox.next(self.epochs.alive(), now)
    }

    /// When [`Self::next_to_write`] may have something, unless something happens before.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.outbox.next_due()
    }

    /// Redis says that it has an entry.
    pub(crate) fn written(&mut self, id: &Id, now: Instant) {
        self.outbox.written(id, now);
    }

    /// An entry may not have been written; it is tried again.
    pub(crate) fn not_written(&mut self, id: &Id, due: Instant) {
        self.outbox.not_written(id, due);
    }

    /// The thread that writes begins anew, and knows of no entry that was handed out to it.
    pub(crate) fn retry_unknown(&mut self) {
        self.outbox.retry_unknown();
    }
}
