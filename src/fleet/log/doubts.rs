//! Which answers are doubted, since something may have been missed.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::SILENCE;

/// How often the doubts of a broker that is cut off grow at least.
const STEP: Duration = Duration::from_secs(1);

/// The doubts of one broker.
pub(super) struct Doubts {
    blind_ttl: Duration,
    /// What is not certain after a gap: from when on answers are doubted, and up to when asked for.
    unsure: Vec<(Instant, Instant)>,
    floor: Option<Instant>,
    /// What was said last.
    told: Option<Instant>,
}

impl Doubts {
    pub(super) fn new(blind_ttl: Duration) -> Self {
        Self { blind_ttl, unsure: Vec::new(), floor: None, told: None }
    }

    /// What is known of answers by now may be wrong, and is believed no longer than while cut off.
    pub(super) fn add(&mut self, last_touch: Instant, now: Instant) {
        if let Some(due) = last_touch.checked_add(self.blind_ttl) {
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
    pub(super) fn next(&self, last_touch: Instant, now: Instant) -> Option<Instant> {
        let soon = now.checked_add(STEP.min(self.slack() / 2));
        // Before that it is not cut off for so long, and after that its doubts grow with the time.
        let blind = last_touch.checked_add(self.limit());
        let unsure = self.unsure.iter().map(|(due, _)| *due).min();
        blind.max(soon).into_iter().chain(unsure).min()
    }

    /// After how long without touch answers are doubted that were asked for before: not a moment too late, though
    /// [`Self::tick`] is called but every now and then.
    fn limit(&self) -> Duration {
        self.blind_ttl.saturating_sub(self.slack())
    }

    fn slack(&self) -> Duration {
        SILENCE.min(self.blind_ttl / 2)
    }
}
