//! Events that wait to be sent, in bounded space.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

/// How many events may wait, and how many bytes they may have together: names are as long as clients like.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

/// How many bytes the events of one request may have; one that has more goes alone. Many APIs read bodies
/// of 100 kB at most.
const BATCH_BYTES: usize = 64_000;

/// Events in the order in which they happened, as they are sent.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Arc<str>>,
    bytes: usize,
    /// How many of the oldest are being sent.
    in_flight: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds an event. How many were dropped for it: the oldest that are not being sent.
    pub(crate) fn push(&mut self, event: Arc<str>) -> usize {
        self.push_last(event);
        let mut dropped = 0;
        while self.waiting.len() > MOST || self.bytes > MOST_BYTES {
            let Some(event) = self.waiting.remove(self.in_flight) else { break };
            self.bytes -= event.len();
            dropped += 1;
        }
        dropped
    }

    /// Adds an event for which none is dropped: of those there are no more than clients.
    pub(crate) fn push_last(&mut self, event: Arc<str>) {
        self.bytes += event.len();
        self.waiting.push_back(event);
    }

    /// The oldest events, as many as fit into one request and no more than `most`: they are being sent.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Arc<str>> {
        let mut bytes = 0;
        let fits = |event: &&Arc<str>| {
            bytes += event.len();
            bytes <= BATCH_BYTES
        };
        let fitting = self.waiting.iter().take_while(fits).take(most).count();
        self.in_flight = fitting.max(1).min(self.waiting.len());
        self.waiting.iter().take(self.in_flight).cloned().collect()
    }

    /// What was being sent is done with.
    pub(crate) fn finish(&mut self) {
        for event in self.waiting.drain(..self.in_flight) {
            self.bytes -= event.len();
        }
        self.in_flight = 0;
    }

    /// What was being sent waits again.
    pub(crate) fn put_back(&mut self) {
        self.in_flight = 0;
    }

    /// Lets go of everything; how many there were.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.waiting.len();
        *self = Self::default();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    fn texts(events: &[Arc<str>]) -> Vec<&str> {
        events.iter().map(|event| &**event).collect()
    }

    #[test]
    fn events_are_sent_in_order_and_only_once_they_are_taken_they_go() {
        let mut queue = Queue::default();
        (0..5).for_each(|number| assert_eq!(queue.push(event(number)), 0));
        assert_eq!(texts(&queue.take(2)), ["0", "1"]);
        queue.put_back();
        assert_eq!(texts(&queue.take(3)), ["0", "1", "2"]);
        queue.finish();
        assert_eq!(texts(&queue.take(500)), ["3", "4"]);
        queue.finish();
        assert!(queue.take(500).is_empty() && queue.len() == 0 && queue.bytes == 0);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_but_not_what_is_being_sent() {
        let mut queue = Queue::default();
        (0..MOST).for_each(|number| assert_eq!(queue.push(event(number)), 0));
        assert_eq!(texts(&queue.take(2)), ["0", "1"]);
        assert_eq!((queue.push(event(MOST)), queue.push(event(MOST + 1))), (1, 1));
        assert_eq!(queue.len(), MOST);
        queue.finish();
        assert_eq!(texts(&queue.take(1)), ["4"]);
        assert_eq!(queue.clear(), MOST - 2);
    }

    #[test]
    fn long_names_take_no_more_room_than_others() {
        let mut queue = Queue::default();
        let long: Arc<str> = "x".repeat(130_000).into();
        let dropped: usize = (0..1000).map(|_| queue.push(Arc::clone(&long))).sum();
        assert!(queue.bytes <= MOST_BYTES && queue.len() == 1000 - dropped && queue.len() > 100);
        assert_eq!(queue.take(500).len(), 1, "one that is too long for a request goes alone");
        queue.finish();
        assert_eq!(queue.bytes, queue.len() * long.len());
    }

    #[test]
    fn a_request_has_a_bounded_length() {
        let mut queue = Queue::default();
        let event: Arc<str> = "x".repeat(10_000).into();
        (0..20).for_each(|_| _ = queue.push(Arc::clone(&event)));
        assert_eq!(queue.take(500).len(), 6);
    }
}
