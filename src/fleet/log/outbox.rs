//! Entries that this broker has to write, until it reads them back: only then they are certain to be there.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::time::Instant;

use super::super::record::{Do, Epoch, Id, Record};
use crate::cache::Subject;

/// How many commands of this broker's may wait: the log keeps about as many.
const MOST: usize = 10_000;

/// An entry that is to be written, or was not read back yet.
struct Outgoing {
    record: Record,
    due: Instant,
    /// Whether it was handed out for writing.
    is_tried: bool,
    /// When Redis had said that it was written.
    written: Option<Instant>,
}

/// The entries that this broker writes.
#[derive(Default)]
pub(super) struct Outbox {
    entries: Vec<Outgoing>,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MOST
    }

    /// Has an entry written from `due` on.
    pub(super) fn push(&mut self, record: Record, due: Instant) {
        self.entries.push(Outgoing { record, due, is_tried: false, written: None });
    }

    /// An entry was read back; whether it waited for that.
    pub(super) fn remove(&mut self, id: &Id) -> bool {
        let before = self.entries.len();
        self.entries.retain(|outgoing| outgoing.record.id != *id);
        self.entries.len() < before
    }

    pub(super) fn has(&self, id: &Id) -> bool {
        self.entries.iter().any(|outgoing| outgoing.record.id == *id)
    }

    /// Whether an epoch is to begin.
    pub(super) fn begins(&self) -> bool {
        self.entries.iter().any(|outgoing| outgoing.record.what == Do::Begin)
    }

    /// Another epoch has begun.
    pub(super) fn drop_beginnings(&mut self) {
        self.entries.retain(|outgoing| outgoing.record.what != Do::Begin);
    }

    /// Whether an invalidation of this waits here.
    pub(super) fn covers(&self, subject: &Subject<'_>) -> bool {
        self.entries.iter().any(|outgoing| {
            outgoing.record.what == Do::Invalidate && outgoing.record.scope.covers(subject)
        })
    }

    /// The next entry to write, if there is one, for the log's `epoch`. None: only an entry that begins one.
    pub(super) fn next(&mut self, epoch: Option<Epoch>, now: Instant) -> Option<Record> {
        let outgoing = self.entries.iter_mut().find(|outgoing| {
            let may = epoch.is_some() || outgoing.record.what == Do::Begin;
            may && !outgoing.is_tried && outgoing.due <= now
        })?;
        outgoing.is_tried = true;
        if let Some(epoch) = epoch.filter(|_| outgoing.record.what != Do::Begin) {
            outgoing.record.epoch = epoch;
        }
        Some(outgoing.record.clone())
    }

    /// When [`Self::next`] may have something, unless something happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.entries.iter().filter(|outgoing| !outgoing.is_tried);
        waiting.map(|outgoing| outgoing.due).min()
    }

    /// Redis says that it has an entry.
    pub(super) fn written(&mut self, id: &Id, now: Instant) {
        if let Some(outgoing) = self.entries.iter_mut().find(|o| o.record.id == *id) {
            outgoing.written = Some(now);
        }
    }

    /// An entry may not have been written; it is tried again.
    pub(super) fn not_written(&mut self, id: &Id, due: Instant) {
        if let Some(outgoing) = self.entries.iter_mut().find(|o| o.record.id == *id) {
            outgoing.is_tried = false;
            outgoing.due = due;
        }
    }

    /// Nobody writes what was handed out and of which nothing is known; it is tried again.
    pub(super) fn retry_unknown(&mut self) {
        for outgoing in &mut self.entries {
            outgoing.is_tried &= outgoing.written.is_some();
        }
    }

    /// Everything was read, by a request `sent` then: what was written before and is not read back by now is
    /// lost, for instance with a master that had been replaced. It is tried again; whether there was any.
    pub(super) fn retry_lost(&mut self, sent: Instant) -> bool {
        let is_lost = |outgoing: &&mut Outgoing| outgoing.written.is_some_and(|at| at <= sent);
        let mut any = false;
        for outgoing in self.entries.iter_mut().filter(is_lost) {
            outgoing.is_tried = false;
            outgoing.written = None;
            any = true;
        }
        any
    }

    /// The whole log was read, and has these entries only.
    pub(super) fn retry_absent(&mut self, present: &HashSet<Id>) {
        for outgoing in &mut self.entries {
            outgoing.is_tried &= present.contains(&outgoing.record.id);
        }
    }
}
