//! Which attempt to log in is the newest under each client identifier, in the whole process.
//!
//! The broker has one table of logins that wait, by client identifier, for all instances of the
//! plugin. So the instances have one registry beside it. Each tells it whenever the broker asks about
//! an identifier for a new connection: while a login waits under an identifier the broker asks about
//! no other, so that such a question proves that whoever waited has left.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;

use crate::random::{self, NoRandomBytes};
use crate::store::{Limits, Store};
use crate::sync::lock;

/// For how long no login waits under an identifier after some that waited there were not let in, and
/// after each further one that comes meanwhile.
pub(crate) const CONTESTED: Duration = Duration::from_secs(10);

/// For how long they may keep it occupied in all: anybody may mistype a password, and an API may fail.
const TOLERATED: Duration = Duration::from_millis(500);

/// How many identifiers are remembered for that; those that were marked first go first.
const MOST_CONTESTED: u64 = 100_000;

/// How much of a username goes into a placeholder, in bytes: a name of 65,535 bytes must not become too
/// long for the broker by becoming one.
const NAME_IN_PLACEHOLDER: usize = 100;

/// The process's attempts to log in.
pub struct LoginAttempts {
    state: Mutex<State>,
    /// By a hash of the identifiers, which may be long.
    contested: Store<Contest>,
    hasher: RandomState,
    /// How placeholders end. The broker's log shows it, so it proves nothing.
    mark: String,
    /// Who is being let in right now, by its handle; 0: nobody. Readable without the lock.
    entering: AtomicUsize,
}

/// What happened under an identifier recently.
#[derive(Clone, Copy)]
struct Contest {
    /// For how long it was occupied by attempts that were not let in.
    occupied: Duration,
    /// When one of them ended, or came.
    last: Instant,
}

#[derive(Default)]
struct State {
    /// The last generation that was given out.
    last: u64,
    /// The generation of the attempt that waits under an identifier, and since when it does.
    newest: HashMap<String, (u64, Instant)>,
    entering: Option<Entering>,
}

/// A client that the broker is letting in at this moment.
#[derive(Clone)]
pub(crate) struct Entering {
    /// See [`crate::question::Client::handle`].
    pub handle: usize,
    pub placeholder: String,
    pub username: String,
}

impl LoginAttempts {
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new() -> Result<Self, NoRandomBytes> {
        let limits = Limits {
            most: MOST_CONTESTED,
            time_to_live: Some(CONTESTED),
            policy: EvictionPolicy::lru(),
            ..Limits::default()
        };
        let contested = Store::new(limits, |_| 1);
        Ok(Self {
            state: Mutex::default(),
            contested,
            hasher: RandomState::new(),
            mark: format!(", {:016x})", u64::from_ne_bytes(random::bytes()?)),
            entering: AtomicUsize::new(0),
        })
    }

    /// The broker asks about a new connection under this identifier: whoever waited there has left.
    pub(crate) fn supersede(&self, client_id: &str, now: Instant) {
        let has_left = lock(&self.state).newest.remove(client_id);
        if let Some((_, since)) = has_left {
            self.contest(client_id, since, now);
        }
    }

    /// A login waits under this identifier from now on; returns its generation.
    pub fn wait(&self, client_id: &str, now: Instant) -> u64 {
        let mut state = lock(&self.state);
        state.last += 1;
        let generation = state.last;
        state.newest.insert(client_id.to_owned(), (generation, now));
        generation
    }

    /// Ends the waiting of this generation under this identifier; whether it was the one that waited there.
    pub fn take(&self, client_id: &str, generation: u64) -> bool {
        let mut state = lock(&self.state);
        let is_newest =
            state.newest.get(client_id).is_some_and(|(newest, _)| *newest == generation);
        if is_newest {
            state.newest.remove(client_id);
        }
        is_newest
    }

    /// Somebody kept this identifier occupied since that time and was not let in, or comes while that is
    /// not long ago. While a login waits, the broker refuses all others under its identifier; so none
    /// waits there for a while once some did for too long.
    pub(crate) fn contest(&self, client_id: &str, since: Instant, now: Instant) {
        let hash = self.hasher.hash_one(client_id);
        let before = self.contest_of(hash, now).map_or(Duration::ZERO, |contest| contest.occupied);
        let occupied = before.saturating_add(now.saturating_duration_since(since));
        self.contested.insert(hash, Contest { occupied, last: now });
    }

    /// Whether a login may wait under this identifier.
    #[must_use]
    pub(crate) fn may_wait(&self, client_id: &str, now: Instant) -> bool {
        let contest = self.contest_of(self.hasher.hash_one(client_id), now);
        contest.is_none_or(|contest| contest.occupied < TOLERATED)
    }

    fn contest_of(&self, hash: u64, now: Instant) -> Option<Contest> {
        let contest = self.contested.get(hash)?;
        (now.duration_since(contest.last) < CONTESTED).then_some(contest)
    }

    /// A name for a login that waits, which no client bears and nobody can guess. None: there are no
    /// random bytes to be had.
    #[must_use]
    pub fn placeholder(&self, username: &str) -> Option<String> {
        let fits = |end: &usize| username.is_char_boundary(*end);
        let end = (0..=username.len().min(NAME_IN_PLACEHOLDER)).rev().find(fits).unwrap_or(0);
        let number = u64::from_ne_bytes(random::bytes().ok()?);
        Some(format!("{} (login {number:016x}{}", &username[..end], self.mark))
    }

    /// Whether this has the form of a placeholder.
    #[must_use]
    pub(crate) fn is_placeholder(&self, username: &str) -> bool {
        username.ends_with(&self.mark)
    }

    /// Notes whom the broker is about to let in; none when it has.
    pub(crate) fn set_entering(&self, entering: Option<Entering>) {
        let mut state = lock(&self.state);
        self.entering.store(entering.as_ref().map_or(0, |e| e.handle), Ordering::Relaxed);
        state.entering = entering;
    }

    /// Whether the broker is letting this client in at this moment. For every check of a topic.
    #[must_use]
    pub(crate) fn is_entering(&self, handle: usize) -> bool {
        self.entering.load(Ordering::Relaxed) == handle
    }

    /// The own name of the client that is being let in, whichever instance lets it, if this is the
    /// client and the name that it waited under.
    #[must_use]
    pub(crate) fn own_name(&self, handle: usize, placeholder: &str) -> Option<String> {
        let state = lock(&self.state);
        let entering = state.entering.as_ref()?;
        let is_it = entering.handle == handle && entering.placeholder == placeholder;
        is_it.then(|| entering.username.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    fn attempts() -> LoginAttempts {
        LoginAttempts::new().unwrap()
    }

    #[test]
    fn a_generation_counts_while_nobody_was_asked_about_anew() {
        let (attempts, clock) = (attempts(), ManualClock::new());
        let first = attempts.wait("c", clock.now());
        let other = attempts.wait("d", clock.now());
        attempts.supersede("c", clock.now());
        let second = attempts.wait("c", clock.now());
        assert!(!attempts.take("c", first), "a later one waits");
        assert!(!attempts.take("d", second));
        assert!(attempts.take("c", second) && attempts.take("d", other));
        assert!(!attempts.take("c", second), "once is enough");
        assert!(lock(&attempts.state).newest.is_empty());
    }

    #[test]
    fn nobody_waits_for_a_while_where_one_left_or_was_not_let_in() {
        let (attempts, clock) = (attempts(), ManualClock::new());
        let may_wait = |id| attempts.may_wait(id, clock.now());
        attempts.supersede("c", clock.now());
        assert!(may_wait("c"), "nobody waited");
        let occupy = |time| {
            attempts.wait("c", clock.now());
            clock.advance(time);
            attempts.supersede("c", clock.now());
        };
        occupy(TOLERATED / 2);
        assert!(attempts.may_wait("c", clock.now()), "one may be a mistake");
        occupy(TOLERATED / 2);
        let may_wait = |id| attempts.may_wait(id, clock.now());
        assert!(!may_wait("c") && may_wait("d"));
        clock.advance(CONTESTED - Duration::from_millis(1));
        assert!(!may_wait("c"));
        attempts.contest("c", clock.now(), clock.now());
        clock.advance(CONTESTED - Duration::from_millis(1));
        assert!(!may_wait("c"), "somebody came meanwhile");
        clock.advance(Duration::from_millis(1));
        assert!(may_wait("c"));
    }

    #[test]
    fn what_is_remembered_of_identifiers_is_bounded() {
        let (attempts, clock) = (attempts(), ManualClock::new());
        for number in 0..2 * MOST_CONTESTED {
            attempts.contest(&number.to_string(), clock.now(), clock.now() + TOLERATED);
        }
        let last = (2 * MOST_CONTESTED - 1).to_string();
        assert!(attempts.contested.settled().1 <= MOST_CONTESTED);
        assert!(!attempts.may_wait(&last, clock.now()));
    }

    #[test]
    fn placeholders_are_short_and_differ_and_are_told_from_other_names() {
        let attempts = attempts();
        for name in ["", "ann", &"n".repeat(65_535), &"é".repeat(30_000), &"𝄞".repeat(40)] {
            let [one, two] = [0, 1].map(|_| attempts.placeholder(name).unwrap());
            assert_ne!(one, two);
            assert!(one.len() <= 200, "{} bytes", one.len());
            assert!(attempts.is_placeholder(&one) && !attempts.is_placeholder(name));
            let kept = one.split(" (login ").next().unwrap();
            assert!(name.starts_with(kept) && (name.len() < 100) == (kept == name), "{one}");
        }
        let other = LoginAttempts::new().unwrap();
        assert!(!other.is_placeholder(&attempts.placeholder("ann").unwrap()));
    }

    #[test]
    fn a_placeholder_leads_back_only_while_its_own_client_enters() {
        let attempts = attempts();
        let placeholder = attempts.placeholder("ann").unwrap();
        let entering =
            Entering { handle: 7, placeholder: placeholder.clone(), username: "ann".into() };
        assert_eq!(attempts.own_name(7, &placeholder), None);
        attempts.set_entering(Some(entering));
        assert!(attempts.is_entering(7) && !attempts.is_entering(8));
        assert_eq!(attempts.own_name(7, &placeholder).as_deref(), Some("ann"));
        assert_eq!(attempts.own_name(8, &placeholder), None, "another client that bears the name");
        assert_eq!(attempts.own_name(7, &attempts.placeholder("ann").unwrap()), None);
        attempts.set_entering(None);
        assert_eq!(attempts.own_name(7, &placeholder), None);
    }
}
