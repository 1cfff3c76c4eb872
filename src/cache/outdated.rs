//! Which answers somebody has declared outdated.
//!
//! An entry does not hold what was asked, only a hash of it. So nothing is looked for and removed;
//! instead it is remembered what was declared, and when, and an answer that was asked for before
//! that is not used any more.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use crate::question::{About, Question};

/// How many declarations are remembered one by one. With one more, everything is outdated.
const MOST: usize = 1000;

/// Which questions are meant: those to which everything applies that is given here.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Matter {
    pub username: Option<String>,
    pub client_id: Option<String>,
    /// A topic filter; then only questions about topics are meant.
    pub topic: Option<String>,
}

/// What was declared outdated.
#[derive(Default)]
pub struct Outdated {
    declared: RwLock<Vec<(Matter, Instant)>>,
    /// Whether anything was, readable without the lock: every look into the cache asks.
    any: AtomicBool,
}

impl Matter {
    /// Whether a question is meant.
    fn covers(&self, question: &Question<'_>) -> bool {
        let topic = match question.about {
            About::Access(action) => Some(action.topic),
            About::Login { .. } | About::Superuser => None,
        };
        self.is_about(question.client.id(), question.username)
            && self.topic.as_deref().is_none_or(|filter| {
                topic.is_some_and(|topic| overlap(filter.split('/'), topic.split('/')))
            })
    }

    /// Whether this client is meant, whatever the topic.
    #[must_use]
    pub fn is_about(&self, client_id: &str, username: &str) -> bool {
        let fits = |wanted: &Option<String>, given| wanted.as_deref().is_none_or(|w| w == given);
        fits(&self.username, username) && fits(&self.client_id, client_id)
    }
}

impl Outdated {
    /// Declares all answers outdated that were asked for up to now.
    pub fn declare(&self, matter: Matter, now: Instant) {
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        let everything = matter == Matter::default() || declared.len() >= MOST;
        if everything {
            *declared = vec![(Matter::default(), now)];
        } else {
            declared.push((matter, now));
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether an answer to this client's login, asked for at that time, is outdated.
    pub fn covers_login(&self, client_id: &str, username: &str, asked: Instant) -> bool {
        self.any_since(asked, |it| it.topic.is_none() && it.is_about(client_id, username))
    }

    /// Whether an answer to this question, asked for at that time, is outdated.
    pub fn covers(&self, question: &Question<'_>, asked: Instant) -> bool {
        self.any_since(asked, |matter| matter.covers(question))
    }

    fn any_since(&self, asked: Instant, covers: impl Fn(&Matter) -> bool) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let declared = self.declared.read().unwrap_or_else(PoisonError::into_inner);
        declared.iter().any(|(matter, at)| asked <= *at && covers(matter))
    }
}

/// Whether a topic can match both of these filters, or the one and the other topic name. It may
/// say yes where `$`-topics make it a no: that only costs a question.
fn overlap<'a>(
    mut one: impl Iterator<Item = &'a str>,
    mut other: impl Iterator<Item = &'a str>,
) -> bool {
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(one), Some(other)) if one == other || one == "+" || other == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::fake::FakeClient;
    use crate::question::{Access, Action};

    fn overlaps(one: &str, other: &str) -> bool {
        overlap(one.split('/'), other.split('/'))
    }

    #[test]
    fn filters_overlap_where_a_topic_matches_both() {
        for (one, other) in [("a/b", "a/b"), ("a/+", "+/b"), ("#", "a"), ("a/#", "a"), ("a", "#")] {
            assert!(overlaps(one, other) && overlaps(other, one), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a/b", "a"), ("a/+", "a"), ("a/#", "b/a"), ("+", "a/b")] {
            assert!(!overlaps(one, other) && !overlaps(other, one), "{one} {other}");
        }
    }

    #[test]
    fn what_is_declared_holds_for_what_was_asked_before() {
        let (outdated, now) = (Outdated::default(), SystemClock.now());
        let client = FakeClient { id: "c".into(), ..FakeClient::default() };
        let action = Action { access: Access::Write, topic: "a/b", qos: 0, retain: false };
        let access = Question { client: &client, username: "ann", about: About::Access(action) };
        let superuser = Question { about: About::Superuser, ..access };
        let some = |text: &str| Some(text.to_owned());
        assert!(!outdated.covers(&access, now));
        for (matter, covers_access, covers_superuser) in [
            (Matter { username: some("ben"), ..Matter::default() }, false, false),
            (Matter { topic: some("b/#"), ..Matter::default() }, false, false),
            (
                Matter { topic: some("a/#"), username: some("ben"), ..Matter::default() },
                false,
                false,
            ),
            (Matter { topic: some("a/#"), ..Matter::default() }, true, false),
            (Matter { client_id: some("c"), username: some("ann"), topic: None }, true, true),
        ] {
            let outdated = Outdated::default();
            outdated.declare(matter, now);
            assert_eq!(outdated.covers(&access, now), covers_access);
            assert_eq!(outdated.covers(&superuser, now), covers_superuser);
            assert!(!outdated.covers(&access, now + Duration::from_millis(1)), "asked later");
            // As with the other question that has no topic.
            assert_eq!(outdated.covers_login("c", "ann", now), covers_superuser);
        }
    }

    #[test]
    fn too_many_declarations_are_one_about_everything() {
        let (outdated, now) = (Outdated::default(), SystemClock.now());
        for number in 0..=MOST {
            let username = Some(number.to_string());
            outdated.declare(Matter { username, ..Matter::default() }, now);
        }
        let client = FakeClient::default();
        let question = Question { client: &client, username: "ann", about: About::Superuser };
        assert!(outdated.covers(&question, now));
    }
}
