//! The copies of one message for a client with several subscriptions that it matches.
//!
//! The broker asks about a copy for each of them, and does not say for which. They are told from other messages
//! by what is asked between.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Mutex;

use crate::sync::lock;

/// How many copies of the message that is being delivered were held so far.
#[derive(Default)]
pub(super) struct Copies(Mutex<Current>);

#[derive(Default)]
struct Current {
    topic: String,
    /// Where the broker has it in memory.
    payload: usize,
    /// By the handles of those that they are for.
    held: HashMap<usize, usize>,
}

impl Copies {
    /// The number of this copy, from 0, among the `count` that there are for this client.
    pub(super) fn next(
        &self,
        handle: usize,
        (topic, payload): (&str, &[u8]),
        count: usize,
    ) -> usize {
        if count < 2 {
            return 0;
        }
        let mut current = lock(&self.0);
        let address = payload.as_ptr() as usize;
        if current.topic != topic || current.payload != address {
            *current = Current { topic: topic.into(), payload: address, held: HashMap::new() };
        }
        let held = current.held.entry(handle).or_default();
        let number = *held % count;
        *held += 1;
        number
    }

    /// What is delivered next is another message, which may have the same place in memory.
    pub(super) fn end(&self) {
        lock(&self.0).held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_for_each_client_and_message() {
        let (copies, message) = (Copies::default(), ("a", &b"1"[..]));
        let numbers = |handles: &[usize]| {
            handles.iter().map(|handle| copies.next(*handle, message, 2)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&[1, 2, 1, 2]), [0, 0, 1, 1]);
        assert_eq!(numbers(&[1, 1]), [0, 1], "another in the same place, of a bridge");
        assert_eq!(numbers(&[1]), [0]);
        copies.end();
        assert_eq!(numbers(&[1]), [0]);
        assert_eq!(copies.next(1, ("b", message.1), 2), 0);
        assert_eq!(numbers(&[1]), [0]);
        assert_eq!(copies.next(3, message, 1), 0);
        assert_eq!(copies.next(3, message, 1), 0, "it has one subscription");
    }
}
