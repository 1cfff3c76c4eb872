//! What a client's questions were about recently, for asking them ahead when it comes again.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;

use crate::question::{Access, Action};
use crate::store::{Limits, Store};

/// How many questions are remembered for each client, and how long they may be together, in bytes.
const MOST: usize = 256;
const MOST_TEXT: usize = 16 << 10;

/// How much memory all of it may take, in bytes.
const MOST_BYTES: u64 = 8 << 20;

/// A question about a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    access: Access,
    topic: Arc<str>,
    qos: u8,
    retain: bool,
}

impl Asked {
    #[must_use]
    pub(crate) fn action(&self) -> Action<'_> {
        Action { access: self.access, topic: &self.topic, qos: self.qos, retain: self.retain }
    }

    fn is(&self, action: &Action<'_>) -> bool {
        self.action() == *action
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.topic.len()
    }
}

/// For how long a client that was closed for want of an answer counts as one. Clients come back within a
/// few minutes at the most.
const RETRIES: Duration = Duration::from_secs(600);

/// The last questions, by client identifier and username: of those clients that asked last.
pub(crate) struct LastAsked {
    known: Store<Known>,
    hasher: RandomState,
}

/// What is known of one client.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// What was asked for it, the oldest first.
    pub asked: Arc<[Asked]>,
    /// When the client was closed last because a question of its could not be decided.
    closed: Option<Instant>,
}

impl Known {
    /// Whether the client was closed for want of an answer recently.
    #[must_use]
    pub(crate) fn was_closed(&self, now: Instant) -> bool {
        self.closed.is_some_and(|closed| now.duration_since(closed) < RETRIES)
    }
}

impl Default for LastAsked {
    fn default() -> Self {
        let bytes = |known: &Known| known.asked.iter().map(Asked::bytes).sum::<usize>() + 250;
        let policy = EvictionPolicy::lru();
        let limits = Limits { most: MOST_BYTES, policy, ..Limits::default() };
        Self { known: Store::new(limits, bytes), hasher: RandomState::new() }
    }
}

impl LastAsked {
    fn key(&self, client_id: &str, username: &str) -> u64 {
        self.hasher.hash_one((client_id, username))
    }

    /// This was asked for this client. The oldest go first.
    pub(crate) fn note(&self, client_id: &str, username: &str, action: &Action<'_>) {
        let key = self.key(client_id, username);
        let Known { asked: before, closed } = self.known.get(key).unwrap_or_default();
        if action.topic.len() > MOST_TEXT || before.iter().any(|asked| asked.is(action)) {
            return;
        }
        let Action { access, topic, qos, retain } = *action;
        let asked = Asked { access, topic: topic.into(), qos, retain };
        let mut text = topic.len();
        let kept = before.iter().rev().take(MOST - 1).take_while(|asked| {
            text += asked.topic.len();
            text <= MOST_TEXT
        });
        let mut all: Vec<_> = kept.cloned().collect();
        all.reverse();
        all.push(asked);
        self.known.insert(key, Known { asked: all.into(), closed });
    }

    /// This client is closed because a question of its could not be decided; returns what is known of it.
    pub(crate) fn note_closed(&self, client_id: &str, username: &str, now: Instant) -> Known {
        let key = self.key(client_id, username);
        let known = Known { closed: Some(now), ..self.known.get(key).unwrap_or_default() };
        self.known.insert(key, known.clone());
        known
    }

    /// Whether anything was asked for this client.
    #[must_use]
    pub(crate) fn knows(&self, client_id: &str, username: &str) -> bool {
        self.known.contains_key(self.key(client_id, username))
    }

    /// What is known of this client.
    #[must_use]
    pub(crate) fn of(&self, client_id: &str, username: &str) -> Known {
        self.known.get(self.key(client_id, username)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    fn action(topic: &str) -> Action<'_> {
        Action { access: Access::Subscribe, topic, qos: 1, retain: false }
    }

    fn topics(last: &LastAsked, username: &str) -> Vec<String> {
        last.of("c", username).asked.iter().map(|asked| asked.action().topic.to_owned()).collect()
    }

    #[test]
    fn each_question_is_known_once_for_its_own_client() {
        let last = LastAsked::default();
        for topic in ["a", "b", "a"] {
            last.note("c", "ann", &action(topic));
        }
        last.note("c", "bob", &action("d"));
        assert_eq!(topics(&last, "ann"), ["a", "b"]);
        assert_eq!(topics(&last, "bob"), ["d"]);
        assert!(topics(&last, "eve").is_empty());
    }

    #[test]
    fn a_client_has_so_many_and_so_long_ones() {
        let last = LastAsked::default();
        (0..MOST + 10).for_each(|number| last.note("c", "ann", &action(&number.to_string())));
        assert_eq!(topics(&last, "ann").len(), MOST);
        assert_eq!(topics(&last, "ann")[0], "10");
        last.note("c", "ann", &action(&"x".repeat(MOST_TEXT - 3)));
        assert_eq!(topics(&last, "ann").len(), 2);
        last.note("c", "ann", &action(&"x".repeat(MOST_TEXT + 1)));
        assert_eq!(topics(&last, "ann").len(), 2);
    }

    #[test]
    fn that_a_client_was_closed_is_known_for_a_while() {
        let (last, clock) = (LastAsked::default(), ManualClock::new());
        last.note("c", "ann", &action("a"));
        assert!(!last.of("c", "ann").was_closed(clock.now()));
        last.note_closed("c", "ann", clock.now());
        last.note("c", "ann", &action("b"));
        assert!(last.of("c", "ann").was_closed(clock.now()));
        assert!(!last.of("c", "bob").was_closed(clock.now()));
        assert_eq!(topics(&last, "ann"), ["a", "b"]);
        clock.advance(RETRIES);
        assert!(!last.of("c", "ann").was_closed(clock.now()));
    }

    #[test]
    fn all_of_it_is_bounded() {
        let last = LastAsked::default();
        for number in 0..2000 {
            let long = "x".repeat(10_000);
            last.note("c", &number.to_string(), &action(&long));
        }
        assert!(last.known.settled().1 <= MOST_BYTES);
    }
}
