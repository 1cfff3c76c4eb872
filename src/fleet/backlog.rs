//! Answers that wait to be written: the youngest, as many as there is room for.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::log::SILENCE;

/// How many may wait, and how many bytes they may have together.
const MOST: usize = 4096;
const MOST_BYTES: usize = 16 << 20;

/// An answer for other brokers.
pub(super) struct Answer {
    pub(super) key: String,
    pub(super) sealed: Vec<u8>,
    /// For how long it was good when it began to wait.
    pub(super) left: Duration,
    pub(super) pushed: Instant,
}

impl Answer {
    /// The key, the value, and for how long Redis is to keep it.
    pub(super) fn for_redis(&self, now: Instant) -> (&str, &[u8], Duration) {
        (&self.key, &self.sealed, self.left.saturating_sub(self.waited(now)))
    }

    fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.pushed)
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.sealed.len()
    }
}

#[derive(Default)]
pub(super) struct Backlog {
    answers: VecDeque<Answer>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Adds the youngest; how many older ones are dropped for it.
    pub(super) fn push(&mut self, answer: Answer) -> usize {
        let mut dropped = 0;
        while !self.has_room_for(&answer) && self.pop().is_some() {
            dropped += 1;
        }
        self.bytes += answer.bytes();
        self.answers.push_back(answer);
        dropped
    }

    /// Takes the oldest ones that are good still. Those that have waited for longer than this broker may be cut off
    /// without noticing are dropped, since another broker may have written a younger one meanwhile: how many.
    pub(super) fn take(&mut self, count: usize, now: Instant) -> (Vec<Answer>, usize) {
        let (mut taken, mut late) = (Vec::new(), 0);
        while taken.len() < count {
            let Some(answer) = self.pop() else { break };
            let waited = answer.waited(now);
            if waited > SILENCE {
                late += 1;
            } else if waited < answer.left {
                taken.push(answer);
            }
        }
        (taken, late)
    }

    /// Puts back what was taken, the younger ones first; how many there is no room for.
    pub(super) fn put_back(&mut self, answers: Vec<Answer>) -> usize {
        let mut dropped = 0;
        for answer in answers.into_iter().rev() {
            if dropped > 0 || !self.has_room_for(&answer) {
                dropped += 1;
            } else {
                self.bytes += answer.bytes();
                self.answers.push_front(answer);
            }
        }
        dropped
    }

    fn pop(&mut self) -> Option<Answer> {
        let answer = self.answers.pop_front()?;
        self.bytes -= answer.bytes();
        Some(answer)
    }

    fn has_room_for(&self, answer: &Answer) -> bool {
        self.answers.len() < MOST && self.bytes + answer.bytes() <= MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn answer(number: usize, length: usize, pushed: Instant) -> Answer {
        let (key, sealed) = (format!("{number:4}"), vec![0; length - 4]);
        Answer { key, sealed, left: Duration::from_secs(2), pushed }
    }

    fn names(answers: &[Answer]) -> Vec<usize> {
        answers.iter().map(|answer| answer.key.trim().parse().unwrap()).collect()
    }

    #[test]
    fn large_answers_take_no_more_room_than_small_ones() {
        let (mut backlog, now) = (Backlog::default(), SystemClock.now());
        let quarter = MOST_BYTES / 4;
        let dropped: Vec<_> =
            (0..6).map(|number| backlog.push(answer(number, quarter, now))).collect();
        assert_eq!(dropped, [0, 0, 0, 0, 1, 1]);
        assert_eq!(backlog.push(answer(6, 4, now)), 1);
        assert_eq!(names(&backlog.take(2, now).0), [3, 4]);
        assert_eq!(names(&backlog.take(9, now).0), [5, 6]);
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }

    #[test]
    fn of_too_many_the_oldest_are_dropped() {
        let (mut backlog, now) = (Backlog::default(), SystemClock.now());
        let dropped: usize = (0..=MOST).map(|number| backlog.push(answer(number, 5, now))).sum();
        assert_eq!(dropped, 1);
        let (taken, _) = backlog.take(3, now);
        assert_eq!(names(&taken), [1, 2, 3]);
        assert_eq!(backlog.push(answer(0, 5, now)), 0);
        assert_eq!(backlog.put_back(taken), 1);
        assert_eq!(names(&backlog.take(3, now).0), [2, 3, 4]);
    }

    #[test]
    fn an_answer_that_waits_lives_no_longer_for_that() {
        let (mut backlog, began) = (Backlog::default(), SystemClock.now());
        let second = Duration::from_secs(1);
        for number in 0..4_u32 {
            backlog.push(answer(number as usize, 5, began + second * number));
        }
        let now = began + second * 4;
        // Of these the first has waited for too long, and the next two are over.
        let (taken, late) = backlog.take(9, now);
        assert_eq!((names(&taken), late), (vec![3], 1));
        assert_eq!(taken[0].for_redis(now).2, second);
        assert_eq!(backlog.put_back(taken), 0);
        assert_eq!(backlog.take(9, now + second).0.len(), 0);
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }
}
