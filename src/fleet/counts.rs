//! What came of looking answers up and sharing them, and what the log has brought.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::log::Gap;
use super::record::Do;
use crate::stats::{Durations, Histogram};

/// What came of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    Hit,
    Absent,
    /// It is over, or comes from a clock that is wrong.
    Expired,
    /// Something was taken back since it was asked for.
    Outdated,
    /// It was written with another secret, or changed.
    Unreadable,
    /// Redis did not answer in time, or said no.
    Failed,
    /// Redis is left alone.
    Skipped,
}

impl Lookup {
    pub(crate) const NAMES: [&'static str; 7] =
        ["hit", "absent", "expired", "outdated", "unreadable", "failed", "skipped"];
}

/// What became of an answer that was to be shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Done,
    /// Redis said no, or could not be reached.
    Failed,
    /// More waited than the queue holds, or it waited for too long.
    Dropped,
}

impl Write {
    pub(crate) const NAMES: [&'static str; 3] = ["done", "failed", "dropped"];
}

/// Who wrote an entry of the log: this broker, or another.
pub(crate) const FROM: [&str; 2] = ["here", "others"];

/// Why entries were missing, in the order of [`Gap`].
pub(crate) const GAPS: [&str; 2] = ["trimmed", "rolled_back"];

#[derive(Default)]
pub(crate) struct Counts {
    lookups: [AtomicU64; Lookup::NAMES.len()],
    took: Durations,
    writes: [AtomicU64; Write::NAMES.len()],
    entries: [[AtomicU64; FROM.len()]; Do::ALL.len()],
    gaps: [AtomicU64; GAPS.len()],
}

/// What has happened so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    pub lookups: Vec<(&'static str, u64)>,
    /// How long lookups took that Redis was asked for.
    pub took: Histogram,
    pub writes: Vec<(&'static str, u64)>,
    /// Entries of the log, by what they do and who wrote them.
    pub entries: Vec<([&'static str; 2], u64)>,
    pub(crate) gaps: Vec<(&'static str, u64)>,
}

impl Counts {
    pub(crate) fn looked(&self, what: Lookup, times: usize) {
        add(&self.lookups[what as usize], times);
    }

    /// Redis was asked, and whoever asked has waited so long.
    pub(crate) fn took(&self, time: Duration) {
        self.took.note(time);
    }

    pub(crate) fn wrote(&self, what: Write, times: usize) {
        add(&self.writes[what as usize], times);
    }

    pub(crate) fn heard(&self, what: Do, is_own: bool) {
        add(&self.entries[what as usize][usize::from(!is_own)], 1);
    }

    pub(crate) fn missed(&self, gap: Gap) {
        add(&self.gaps[gap as usize], 1);
    }

    pub(crate) fn read(&self) -> Counted {
        let entries = Do::ALL.iter().zip(&self.entries).flat_map(|((_, what), counts)| {
            named(&FROM, counts).map(move |(from, count)| ([*what, from], count))
        });
        Counted {
            lookups: named(&Lookup::NAMES, &self.lookups).collect(),
            took: self.took.read(),
            writes: named(&Write::NAMES, &self.writes).collect(),
            entries: entries.collect(),
            gaps: named(&GAPS, &self.gaps).collect(),
        }
    }
}

fn add(counter: &AtomicU64, times: usize) {
    counter.fetch_add(times as u64, Ordering::Relaxed);
}

fn named<'a>(
    names: &'a [&'static str],
    counts: &'a [AtomicU64],
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    names.iter().copied().zip(counts.iter().map(|count| count.load(Ordering::Relaxed)))
}
