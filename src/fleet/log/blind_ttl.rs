//! How `fleet_blind_ttl` counts: which answers are doubted, since something may have been missed.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::SILENCE;

/// How often a broker that is cut off doubts more at least.
const STEP: Duration = Duration::from_secs(1);

/// The answers that one broker doubts.
pub(super) struct BlindTtl {
    length: Duration,
    /// For each gap: from when on answers are doubted, and up to when asked for.
    unsure: Vec<(Instant, Instant)>,
    floor: Option<Instant>,
    /// The last result of [`Self::tick`].
    told: Option<Instant>,
}

impl BlindTtl {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, unsure: Vec::new(), floor: None, told: None }
    }

    /// There was a gap: answers that this broker has now are believed no longer than while it is cut off.
    pub(super) fn add(&mut self, last_touch: Instant, now: Instant) {
        if let Some(due) = last_touch.checked_add(self.length) {
            self.unsure.push((due, now));
        }
    }

    /// Up to when asked for answers are doubted now, if that is not as before. `last_touch`: when nothing had been
    /// missed, `is_in_touch`: and nothing is now.
    pub(super) fn tick(
        &mut self,
        is_in_touch: bool,
        last_touch: Instant,
        now: Instant,
    ) -> Option<Option<Instant>> {
        let is_over = |(due, _): &&(Instant, Instant)| *due <= now;
        let unsure = self.unsure.iter().filter(is_over).map(|(_, before)| *before).max();
        self.unsure.retain(|(due, _)| *due > now);
        self.floor = self.floor.max(unsure);
        let mut doubt = self.floor;
        let limit = self.limit();
        if !is_in_touch && now.saturating_duration_since(last_touch) >= limit {
            doubt = doubt.max(now.checked_sub(limit));
        }
        if doubt == self.told {
            return None;
        }
        self.told = doubt;
        Some(doubt)
    }

    /// When to call [`Self::tick`] next, unless there is more to doubt before.
    pub(super) fn next(&self, last_touch: Instant, now: Instant) -> Instant {
        let soon = now + STEP.min(self.slack() / 2);
        // Before that it is not cut off for so long, and after that it doubts more and more.
        let blind = (last_touch + self.limit()).max(soon);
        self.unsure.iter().map(|(due, _)| *due).fold(blind, Instant::min)
    }

    /// After how long without touch answers are doubted that were asked for before: not a moment too late, though
    /// [`Self::tick`] is called but every now and then.
    fn limit(&self) -> Duration {
        self.length.saturating_sub(self.slack())
    }

    fn slack(&self) -> Duration {
        SILENCE.min(self.length / 2)
    }
}
