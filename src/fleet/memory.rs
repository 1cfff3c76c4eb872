//! Which entries of the log were seen, and those of the last minutes themselves.

#![forbid(unsafe_code)]

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::record::{Id, Record};

/// How long entries are kept, for putting them back where Redis has lost them.
const KEPT: Duration = Duration::from_secs(600);

/// How many entries are kept, and how many are told apart from new ones.
const MOST_KEPT: usize = 10_000;
const MOST_SEEN: usize = 50_000;

/// The entries that went by.
#[derive(Default)]
pub(crate) struct Memory {
    seen: HashSet<Id>,
    order: VecDeque<Id>,
    recent: VecDeque<(Instant, Record)>,
}

impl Memory {
    /// Notes an entry; whether it is new.
    pub(crate) fn note(&mut self, record: &Record, now: Instant) -> bool {
        if !self.seen.insert(record.id) {
            return false;
        }
        self.order.push_back(record.id);
        if self.order.len() > MOST_SEEN {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        self.keep(record, now);
        true
    }

    /// Keeps an entry as if it were new.
    pub(crate) fn renew(&mut self, record: &Record, now: Instant) {
        self.recent.retain(|(_, kept)| kept.id != record.id);
        self.keep(record, now);
    }

    fn keep(&mut self, record: &Record, now: Instant) {
        self.recent.push_back((now, record.clone()));
        while self.recent.len() > MOST_KEPT || self.is_oldest_over(now) {
            self.recent.pop_front();
        }
    }

    fn is_oldest_over(&self, now: Instant) -> bool {
        self.recent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > KEPT)
    }

    /// The entries of the last minutes.
    pub(crate) fn recent(&self, now: Instant) -> impl Iterator<Item = &Record> {
        let is_recent =
            move |(at, _): &&(Instant, Record)| now.saturating_duration_since(*at) <= KEPT;
        self.recent.iter().filter(is_recent).map(|(_, record)| record)
    }
}
