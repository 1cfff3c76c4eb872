//! Answers that wait to be written: the youngest, as many as there is room for.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

/// How many may wait, and how many bytes they may have together.
const MOST: usize = 4096;
const MOST_BYTES: usize = 16 << 20;

/// A key, a value, and for how long it is good.
pub(super) type Answer = (String, Vec<u8>, Duration);

#[derive(Default)]
pub(super) struct Backlog {
    answers: VecDeque<Answer>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Adds the youngest; how many older ones are dropped for it.
    pub(super) fn push(&mut self, answer: Answer) -> usize {
        let mut dropped = 0;
        while !self.has_room_for(&answer) && self.pop().is_some() {
            dropped += 1;
        }
        self.bytes += bytes(&answer);
        self.answers.push_back(answer);
        dropped
    }

    /// Takes the oldest ones.
    pub(super) fn take(&mut self, count: usize) -> Vec<Answer> {
        (0..count).map_while(|_| self.pop()).collect()
    }

    /// Puts back what was taken, the younger ones first; how many there is no room for.
    pub(super) fn put_back(&mut self, answers: Vec<Answer>) -> usize {
        let mut dropped = 0;
        for answer in answers.into_iter().rev() {
            if dropped > 0 || !self.has_room_for(&answer) {
                dropped += 1;
            } else {
                self.bytes += bytes(&answer);
                self.answers.push_front(answer);
            }
        }
        dropped
    }

    fn pop(&mut self) -> Option<Answer> {
        let answer = self.answers.pop_front()?;
        self.bytes -= bytes(&answer);
        Some(answer)
    }

    fn has_room_for(&self, answer: &Answer) -> bool {
        self.answers.len() < MOST && self.bytes + bytes(answer) <= MOST_BYTES
    }
}

fn bytes((key, value, _): &Answer) -> usize {
    key.len() + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: usize, length: usize) -> Answer {
        (format!("{number:4}"), vec![0; length - 4], Duration::ZERO)
    }

    fn names(answers: &[Answer]) -> Vec<usize> {
        answers.iter().map(|(key, ..)| key.trim().parse().unwrap()).collect()
    }

    #[test]
    fn large_answers_take_no_more_room_than_small_ones() {
        let mut backlog = Backlog::default();
        let quarter = MOST_BYTES / 4;
        let dropped: Vec<_> = (0..6).map(|number| backlog.push(answer(number, quarter))).collect();
        assert_eq!(dropped, [0, 0, 0, 0, 1, 1]);
        assert_eq!(backlog.push(answer(6, 4)), 1);
        assert_eq!(names(&backlog.take(2)), [3, 4]);
        assert_eq!(names(&backlog.take(9)), [5, 6]);
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }

    #[test]
    fn of_too_many_the_oldest_are_dropped() {
        let mut backlog = Backlog::default();
        let dropped: usize = (0..=MOST).map(|number| backlog.push(answer(number, 5))).sum();
        assert_eq!(dropped, 1);
        let taken = backlog.take(3);
        assert_eq!(names(&taken), [1, 2, 3]);
        assert_eq!(backlog.push(answer(0, 5)), 0);
        assert_eq!(backlog.put_back(taken), 1);
        assert_eq!(names(&backlog.take(3)), [2, 3, 4]);
    }
}
