//! Which answers were invalidated.
//!
//! An entry does not hold what was asked, only a hash of it. So nothing is looked for and removed;
//! instead it is remembered what was invalidated, and when, and an answer that was asked for before
//! that is not used any more.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use crate::question::{About, Question};

/// What a question is about, as far as invalidations tell questions apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject<'a> {
    pub client_id: &'a str,
    pub username: &'a str,
    /// None: the question is about no topic.
    pub topic: Option<&'a str>,
}

impl<'a> Subject<'a> {
    #[must_use]
    pub fn of(question: &Question<'a>) -> Self {
        let topic = match question.about {
            About::Access(action) => Some(action.topic),
            About::Login { .. } | About::Token(_) | About::Superuser => None,
        };
        Self { client_id: question.client.id(), username: question.username, topic }
    }
}

/// How many users and clients are remembered one by one.
const MOST_NAMES: usize = 100_000;

/// How many topic filters are; each look-up goes through all of them.
const MOST_FILTERS: usize = 100;

/// Which questions are meant: those to which everything applies that is given here.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct InvalidationScope {
    pub username: Option<String>,
    pub client_id: Option<String>,
    /// A topic filter; then only questions about topics are meant.
    pub topic: Option<String>,
}

impl InvalidationScope {
    /// Whether a question is meant.
    #[must_use]
    pub fn covers(&self, subject: &Subject<'_>) -> bool {
        self.is_about(subject.client_id, subject.username)
            && self.topic.as_deref().is_none_or(|filter| {
                subject.topic.is_some_and(|topic| overlap(filter.split('/'), topic.split('/')))
            })
    }

    /// Whether this client is meant by the name that it is known by, or by the one that it gave where that is
    /// another.
    #[must_use]
    pub(crate) fn is_about_either(
        &self,
        client_id: &str,
        username: &str,
        given_username: Option<&str>,
    ) -> bool {
        let mut names = [Some(username), given_username].into_iter().flatten();
        names.any(|name| self.is_about(client_id, name))
    }

    /// Whether this client is meant, whatever the topic.
    #[must_use]
    pub fn is_about(&self, client_id: &str, username: &str) -> bool {
        let fits = |wanted: &Option<String>, given| wanted.as_deref().is_none_or(|w| w == given);
        fits(&self.username, username) && fits(&self.client_id, client_id)
    }
}

/// What was invalidated, and when: by the clock, or by anything else that only grows.
pub(crate) struct Invalidations<T = Instant> {
    marks: RwLock<Marks<T>>,
    /// How often anything was, readable without the lock: every look into the cache asks.
    count: AtomicU64,
}

struct Marks<T> {
    /// Every answer is invalid that was asked for up to then: everything was invalidated, or what
    /// was invalidated then is no longer remembered one by one.
    floor: Option<T>,
    /// Every answer is doubted that was asked for up to then: it is good only where the API fails.
    doubt: Option<T>,
    /// By a hash of the client identifier and the username, of which one may be missing. Where two
    /// hashes are equal, one answer too many is asked for again.
    names: HashMap<u64, T>,
    filters: VecDeque<(InvalidationScope, T)>,
    hasher: RandomState,
}

impl<T> Default for Invalidations<T> {
    fn default() -> Self {
        Self { marks: RwLock::default(), count: AtomicU64::new(0) }
    }
}

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self {
            floor: None,
            doubt: None,
            names: HashMap::new(),
            filters: VecDeque::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<T: Copy + Ord> Invalidations<T> {
    /// Invalidates all answers that were asked for up to now.
    pub(crate) fn declare(&self, scope: InvalidationScope, now: T) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        if scope == InvalidationScope::default() {
            marks.names.clear();
            marks.filters.clear();
            marks.raise_floor(now);
        } else if scope.topic.is_some() {
            marks.add_filter(scope, now);
        } else {
            marks.add_names(scope.client_id.as_deref(), scope.username.as_deref(), now);
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    /// How many there have been.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether an answer to this question, asked for at that time, is invalid.
    pub(crate) fn covers(&self, subject: &Subject<'_>, asked: T) -> bool {
        self.look(|marks| {
            marks.covers_client(subject.client_id, subject.username, asked)
                || marks.filters.iter().any(|(scope, at)| asked <= *at && scope.covers(subject))
        })
    }

    /// Whether an answer to this client's login, asked for at that time, is invalid.
    pub(crate) fn covers_login(&self, client_id: &str, username: &str, asked: T) -> bool {
        self.look(|marks| marks.covers_client(client_id, username, asked))
    }

    /// Doubts all answers that were asked for up to then; none: no answer.
    pub(crate) fn doubt(&self, until: Option<T>) {
        self.marks.write().unwrap_or_else(PoisonError::into_inner).doubt = until;
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Whether an answer that was asked for at that time is doubted.
    pub(crate) fn doubts(&self, asked: T) -> bool {
        self.look(|marks| marks.doubt.is_some_and(|until| asked <= until))
    }

    /// Whether any may be.
    pub(crate) fn doubts_any(&self) -> bool {
        self.look(|marks| marks.doubt.is_some())
    }

    fn look(&self, covers: impl Fn(&Marks<T>) -> bool) -> bool {
        self.count() > 0 && covers(&self.marks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Copy + Ord> Marks<T> {
    fn raise_floor(&mut self, to: T) {
        self.floor = Some(self.floor.map_or(to, |floor| floor.max(to)));
    }

    fn add_filter(&mut self, scope: InvalidationScope, now: T) {
        if self.filters.len() >= MOST_FILTERS {
            if let Some((_, oldest)) = self.filters.pop_front() {
                self.raise_floor(oldest);
            }
        }
        self.filters.push_back((scope, now));
    }

    fn add_names(&mut self, client_id: Option<&str>, username: Option<&str>, now: T) {
        if self.names.len() >= MOST_NAMES {
            let mut times: Vec<_> = self.names.values().copied().collect();
            let half = times.len() / 2;
            let (_, floor, _) = times.select_nth_unstable(half);
            let floor = *floor;
            self.raise_floor(floor);
            self.names.retain(|_, at| *at > floor);
        }
        let hash = self.hasher.hash_one((client_id, username));
        self.names.insert(hash, now);
    }

    /// Whether all answers about this client are invalid that were asked for at that time.
    fn covers_client(&self, client_id: &str, username: &str, asked: T) -> bool {
        let is_since = |at: &T| asked <= *at;
        let names =
            [(Some(client_id), None), (None, Some(username)), (Some(client_id), Some(username))];
        self.floor.as_ref().is_some_and(is_since)
            || (!self.names.is_empty()
                && names.iter().any(|names| {
                    self.names.get(&self.hasher.hash_one(names)).is_some_and(is_since)
                }))
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
        let (invalidations, now) = (Invalidations::default(), SystemClock.now());
        let client = FakeClient { id: "c".into(), ..FakeClient::default() };
        let action = Action { access: Access::Write, topic: "a/b", qos: 0, retain: false };
        let access = Question {
            client: &client,
            username: "ann",
            attributes: None,
            about: About::Access(action),
        };
        let superuser = Question { about: About::Superuser, ..access };
        let some = |text: &str| Some(text.to_owned());
        assert!(!invalidations.covers(&Subject::of(&access), now));
        for (scope, covers_access, covers_superuser) in [
            (
                InvalidationScope { username: some("ben"), ..InvalidationScope::default() },
                false,
                false,
            ),
            (
                InvalidationScope { topic: some("b/#"), ..InvalidationScope::default() },
                false,
                false,
            ),
            (
                InvalidationScope {
                    topic: some("a/#"),
                    username: some("ben"),
                    ..InvalidationScope::default()
                },
                false,
                false,
            ),
            (InvalidationScope { topic: some("a/#"), ..InvalidationScope::default() }, true, false),
            (
                InvalidationScope { client_id: some("c"), username: some("ann"), topic: None },
                true,
                true,
            ),
        ] {
            let invalidations = Invalidations::default();
            invalidations.declare(scope, now);
            assert_eq!(invalidations.covers(&Subject::of(&access), now), covers_access);
            assert_eq!(invalidations.covers(&Subject::of(&superuser), now), covers_superuser);
            assert!(
                !invalidations.covers(&Subject::of(&access), now + Duration::from_millis(1)),
                "asked later"
            );
            // As with the other question that has no topic.
            assert_eq!(invalidations.covers_login("c", "ann", now), covers_superuser);
        }
    }

    fn username(name: &str) -> InvalidationScope {
        InvalidationScope { username: Some(name.to_owned()), ..InvalidationScope::default() }
    }

    /// Whether this user's answer is invalid that was asked for then.
    fn covers(invalidations: &Invalidations, username: &str, asked: Instant) -> bool {
        let client = FakeClient::default();
        let question =
            Question { client: &client, username, attributes: None, about: About::Superuser };
        invalidations.covers(&Subject::of(&question), asked)
    }

    #[test]
    fn many_users_are_remembered_one_by_one() {
        let (invalidations, now) = (Invalidations::default(), SystemClock.now());
        for number in 0..MOST_NAMES {
            invalidations.declare(username(&number.to_string()), now);
        }
        assert!(covers(&invalidations, "0", now) && covers(&invalidations, "99999", now));
        assert!(!covers(&invalidations, "ann", now));
    }

    #[test]
    fn of_too_many_the_oldest_hold_for_everything_that_is_older() {
        let (invalidations, start) = (Invalidations::default(), SystemClock.now());
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..=MOST_NAMES {
            invalidations.declare(username(&number.to_string()), at(number));
        }
        let half = MOST_NAMES / 2;
        assert!(covers(&invalidations, "ann", at(half)), "as old as what is forgotten");
        assert!(!covers(&invalidations, "ann", at(half + 1)), "younger");
        assert!(covers(&invalidations, "99999", at(99_999)));
        assert!(!covers(&invalidations, "1", at(half + 1)), "asked for later");
    }

    #[test]
    fn of_too_many_filters_as_well() {
        let (invalidations, start) = (Invalidations::default(), SystemClock.now());
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..=MOST_FILTERS {
            let topic = Some(format!("{number}/#"));
            let scope = InvalidationScope { topic, ..InvalidationScope::default() };
            invalidations.declare(scope, at(number));
        }
        assert!(covers(&invalidations, "ann", at(0)) && !covers(&invalidations, "ann", at(1)));
    }
}
