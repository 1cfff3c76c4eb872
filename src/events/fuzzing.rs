//! What an API may make of events, whatever it answers.

#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "a finding is a panic")]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pace::{Pace, Then};
use super::queue::Queue;
use crate::answer::Failure;
use crate::api::Told;
use crate::api::fuzzing::told;
use crate::config::EventKind;

/// How many events happen.
const EVENTS: usize = 1200;

/// A byte for each event that the API does not like, up to a zero; then one for each of its answers that has
/// nothing to do with them.
///
/// Events end in order and once each, those that the API likes are taken unless it refuses whatever it is
/// told, and there are not many more requests than events.
pub(crate) fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (disliked, answers) = data.split_at(end);
    let mut at = 0;
    let disliked: BTreeSet<usize> = disliked
        .iter()
        .map(|step| {
            at += usize::from(*step);
            at % EVENTS
        })
        .collect();
    let (mut queue, mut pace) = (Queue::default(), Pace::default());
    for number in 0..EVENTS {
        let kind = if number % 3 == 0 { EventKind::LoginDenied } else { EventKind::Connected };
        assert_eq!(queue.push(kind, Arc::from(number.to_string())), 0);
    }
    let mut answers = answers.iter().skip(1).copied();
    let (mut next_event, mut requests) = (0, 0);
    let allowed = EVENTS + answers.len() + disliked.len() * 24;
    while queue.len() > 0 {
        requests += 1;
        assert!(requests <= allowed, "{requests} requests for {EVENTS} events");
        let events = queue.take(pace.most());
        let numbers: Vec<usize> = events.iter().filter_map(|event| event.parse().ok()).collect();
        assert_eq!(numbers.first(), Some(&next_event), "they are out of order");
        let dislikes = numbers.iter().any(|number| disliked.contains(number));
        let byte = answers.next().filter(|byte| *byte >= 100);
        let outcome = answer(byte, dislikes);
        match pace.after(&outcome, events.len()) {
            Then::Taken => {
                assert_eq!(outcome, Ok(Told::Taken));
                next_event += events.len();
                queue.finish();
            }
            Then::Dropped(status) => {
                let is_for_all = [401, 403, 404, 405, 407, 410].contains(&status);
                assert!(events.len() == 1 || is_for_all, "{} dropped for {status}", events.len());
                assert!(byte.is_some() || dislikes, "one is dropped that the API likes");
                next_event += events.len();
                queue.finish();
            }
            Then::Split => {
                assert!(pace.most() < events.len());
                queue.put_back();
            }
            Then::Again(pause) => {
                assert!(outcome.is_err() && !pause.is_zero());
                queue.put_back();
            }
        }
    }
    assert_eq!(next_event, EVENTS);
}

/// What the API answers: by this byte whatever it is told, else by whether it likes all of it.
fn answer(byte: Option<u8>, has_disliked: bool) -> Result<Told, Failure> {
    match byte {
        Some(255) => Err(Failure::ConnectionLost),
        // Every status once, and some more often.
        Some(byte @ 100..) => told(u16::from(byte - 100) * 4 + 100),
        _ => told(if has_disliked { 422 } else { 200 }),
    }
}
