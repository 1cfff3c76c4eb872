//! Events that wait to be sent, in bounded space.
//!
//! Strangers can make as many denied logins as they like, with names as long as they like. So where room is
//! short, denials go first, and of clients that are in, nothing is lost to them.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::EventKind;

/// How many events may wait, and how many bytes they may have together: names are as long as clients like.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

/// How many bytes the events of one request may have; one that has more goes alone. Many APIs read bodies
/// of 100 kB at most.
const BATCH_BYTES: usize = 64_000;

/// Events in the order in which they happened, as they are sent.
#[derive(Default)]
pub(crate) struct Queue {
    /// Denied logins, which anybody can cause.
    denials: Lane,
    /// What happens to clients that are in.
    others: Lane,
    /// How many there have been.
    count: u64,
}

/// Events of one sort, with their numbers among all.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    /// How many of the oldest are being sent.
    in_flight: usize,
}

impl Lane {
    fn push(&mut self, number: u64, event: Arc<str>) {
        self.bytes += event.len();
        self.waiting.push_back((number, event));
    }

    fn is_over(&self) -> bool {
        self.waiting.len() > MOST || self.bytes > MOST_BYTES
    }

    /// Drops the oldest that is not being sent; whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.waiting.remove(self.in_flight);
        self.bytes -= oldest.as_ref().map_or(0, |(_, event)| event.len());
        oldest.is_some()
    }

    /// The oldest that is not being sent.
    fn next(&self) -> Option<&(u64, Arc<str>)> {
        self.waiting.get(self.in_flight)
    }

    fn finish(&mut self) {
        for (_, event) in self.waiting.drain(..self.in_flight) {
            self.bytes -= event.len();
        }
        self.in_flight = 0;
    }
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.denials.waiting.len() + self.others.waiting.len()
    }

    fn bytes(&self) -> usize {
        self.denials.bytes + self.others.bytes
    }

    /// Adds an event. How many were dropped for it: the oldest denials that are not being sent, and of the others
    /// only those for which there would be no room without any denial.
    pub(crate) fn push(&mut self, kind: EventKind, event: Arc<str>) -> usize {
        self.push_last(kind, event);
        let mut dropped = 0;
        while self.len() > MOST || self.bytes() > MOST_BYTES {
            let is_dropped =
                self.denials.drop_oldest() || self.others.is_over() && self.others.drop_oldest();
            if !is_dropped {
                break;
            }
            dropped += 1;
        }
        dropped
    }

    /// Adds an event for which none is dropped: of those there are no more than clients.
    pub(crate) fn push_last(&mut self, kind: EventKind, event: Arc<str>) {
        self.count += 1;
        let is_denial = kind == EventKind::LoginDenied;
        let lane = if is_denial { &mut self.denials } else { &mut self.others };
        lane.push(self.count, event);
    }

    /// The oldest events, as many as fit into one request and no more than `most`: they are being sent.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Arc<str>> {
        self.put_back();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < most.max(1) {
            let Some((lane, event)) = self.next() else { break };
            bytes += event.len();
            if bytes > BATCH_BYTES && !taken.is_empty() {
                break;
            }
            lane.in_flight += 1;
            taken.push(event);
        }
        taken
    }

    /// The oldest that is not being sent, and where it waits.
    fn next(&mut self) -> Option<(&mut Lane, Arc<str>)> {
        let lanes = [&mut self.denials, &mut self.others].into_iter();
        let next = lanes.filter_map(|lane| lane.next().cloned().map(|next| (next, lane)));
        let ((_, event), lane) = next.min_by_key(|((number, _), _)| *number)?;
        Some((lane, event))
    }

    /// What was being sent is done with.
    pub(crate) fn finish(&mut self) {
        self.denials.finish();
        self.others.finish();
    }

    /// What was being sent waits again.
    pub(crate) fn put_back(&mut self) {
        self.denials.in_flight = 0;
        self.others.in_flight = 0;
    }

    /// Lets go of everything; how many there were.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.len();
        *self = Self::default();
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: EventKind = EventKind::Connected;
    const STRANGER: EventKind = EventKind::LoginDenied;

    fn event(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    fn texts(events: &[Arc<str>]) -> Vec<&str> {
        events.iter().map(|event| &**event).collect()
    }

    #[test]
    fn events_are_sent_in_order_and_only_once_they_are_taken_they_go() {
        let mut queue = Queue::default();
        for (number, kind) in [CLIENT, STRANGER, STRANGER, CLIENT, STRANGER].into_iter().enumerate()
        {
            assert_eq!(queue.push(kind, event(number)), 0);
        }
        assert_eq!(texts(&queue.take(2)), ["0", "1"]);
        queue.put_back();
        assert_eq!(texts(&queue.take(3)), ["0", "1", "2"]);
        queue.finish();
        assert_eq!(texts(&queue.take(500)), ["3", "4"]);
        queue.finish();
        assert!(queue.take(500).is_empty() && queue.len() == 0 && queue.bytes() == 0);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room_but_not_what_is_being_sent() {
        for kind in [CLIENT, STRANGER] {
            let mut queue = Queue::default();
            (0..MOST).for_each(|number| assert_eq!(queue.push(kind, event(number)), 0));
            assert_eq!(texts(&queue.take(2)), ["0", "1"]);
            assert_eq!((queue.push(kind, event(MOST)), queue.push(kind, event(MOST + 1))), (1, 1));
            assert_eq!(queue.len(), MOST);
            queue.finish();
            assert_eq!(texts(&queue.take(1)), ["4"]);
            assert_eq!(queue.clear(), MOST - 2);
        }
    }

    #[test]
    fn denied_logins_with_long_names_push_out_no_event_of_a_client() {
        let mut queue = Queue::default();
        (0..100).for_each(|number| assert_eq!(queue.push(CLIENT, event(number)), 0));
        let long: Arc<str> = "x".repeat(130_000).into();
        let dropped: usize = (0..1000).map(|_| queue.push(STRANGER, Arc::clone(&long))).sum();
        assert_eq!(queue.len(), 1100 - dropped);
        assert!(queue.len() > 200, "the newest denials are there");
        (100..MOST).for_each(|number| _ = queue.push(CLIENT, event(number)));
        assert_eq!(queue.len(), MOST, "every denial went before an event of a client");
        assert_eq!(queue.push(STRANGER, long), 1, "it finds no room, and goes itself");
        assert_eq!(queue.push(CLIENT, event(MOST)), 1);
        assert_eq!(texts(&queue.take(2)), ["1", "2"]);
    }

    #[test]
    fn denied_logins_that_are_being_sent_push_out_no_event_of_a_client() {
        let mut queue = Queue::default();
        (0..500).for_each(|number| assert_eq!(queue.push(STRANGER, event(number)), 0));
        assert_eq!(queue.take(500).len(), 500);
        (0..MOST).for_each(|number| assert_eq!(queue.push(CLIENT, event(number)), 0));
        assert_eq!(queue.push(CLIENT, event(MOST)), 1);
        queue.finish();
        assert_eq!(texts(&queue.take(1)), ["1"]);
    }

    #[test]
    fn long_names_take_no_more_room_than_others() {
        let mut queue = Queue::default();
        let long: Arc<str> = "x".repeat(130_000).into();
        let dropped: usize = (0..1000).map(|_| queue.push(CLIENT, Arc::clone(&long))).sum();
        assert!(queue.bytes() <= MOST_BYTES && queue.len() == 1000 - dropped && queue.len() > 100);
        assert_eq!(queue.take(500).len(), 1, "one that is too long for a request goes alone");
        queue.finish();
        assert_eq!(queue.bytes(), queue.len() * long.len());
    }

    #[test]
    fn a_request_has_a_bounded_length() {
        let mut queue = Queue::default();
        let event: Arc<str> = "x".repeat(10_000).into();
        (0..20).for_each(|_| _ = queue.push(CLIENT, Arc::clone(&event)));
        assert_eq!(queue.take(500).len(), 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// What is dropped is as many as it says, and what stays is sent once, in order.
        #[test]
        fn whatever_is_dropped_the_rest_is_sent_in_order(
            steps in proptest::collection::vec((0..4, 0..40_usize), 0..200)
        ) {
            let (mut queue, mut count, mut dropped) = (Queue::default(), 0, 0);
            let mut sent = Vec::<usize>::new();
            // So long that a few dozen fill it.
            let long = |number: usize| Arc::from(format!("{number} {}", "x".repeat(400_000)));
            for (what, most) in steps {
                match what {
                    0 | 1 => {
                        let kind = if what == 0 { CLIENT } else { STRANGER };
                        dropped += queue.push(kind, long(count));
                        count += 1;
                    }
                    2 => {
                        let _ = queue.take(most);
                        queue.put_back();
                    }
                    _ => {
                        let taken = queue.take(most);
                        dropped += queue.push(STRANGER, long(count));
                        count += 1;
                        let number = |text: &Arc<str>| text.split(' ').next()?.parse::<usize>().ok();
                        sent.extend(taken.iter().filter_map(number));
                        queue.finish();
                    }
                }
            }
            prop_assert!(sent.is_sorted_by(|one, next| one < next));
            prop_assert_eq!(sent.len() + dropped + queue.len(), count);
        }
    }
}
