//! What the API said, for as long as it may be believed.
//!
//! Only answers are ever stored: a [`crate::answer::Failure`] does not fit in.

#![forbid(unsafe_code)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;

use crate::answer::{Answer, Freshness};
use crate::clock::{Clock, millis};
use crate::question::{Kind, Question};
use crate::random;
use crate::stats::Miss;

mod cached_permission;
mod entry;
mod front;
mod invalidations;
mod key;
mod lifetimes;
pub(crate) use cached_permission::CachedPermission;
pub(crate) use invalidations::Invalidations;
pub use invalidations::{InvalidationScope, Subject};
pub use key::{Key, Keyring, encode};
pub use lifetimes::Lifetimes;

use entry::{Entries, Entry, entries};
use front::Front;

/// How many of the answers that the cache has room for are one step away, as a divisor.
const FRONT_SHARE: u64 = 4;

/// moka does its housekeeping in the middle of a look-up when it was last done 300 ms ago or more: it lets
/// go of all that has ended since then.
const OVERDUE: Duration = Duration::from_millis(250);

/// How often a worker does it where no answers are stored: what has ended takes memory.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How much of its lifetime an answer has behind it when it begins to be asked for again. Whoever
/// asks at least twice in a lifetime never finds it expired.
const REFRESH_FROM: f64 = 0.5;

/// When a refresh that failed may be tried again, so that an outage uses up nobody's chances.
const REFRESH_RETRY: Duration = Duration::from_secs(1);

/// Answers by key. Holds neither questions nor credentials.
pub struct Cache {
    entries: Entries,
    front: Front,
    lifetimes: Lifetimes,
    refresh_ahead: bool,
    /// Whether the last answer about a topic could be kept.
    keeps_access: AtomicBool,
    invalidations: Invalidations,
    began: Instant,
    /// When the last housekeeping was done, in milliseconds since the beginning.
    tidied_ms: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// An answer that is alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    pub answer: Answer,
    /// For how long it may be remembered elsewhere.
    pub(crate) permission: CachedPermission,
    /// Whether it is time to ask for it again, ahead of its end. Said once, and again only when
    /// half of the time that was left has passed.
    pub(crate) refresh: bool,
}

impl Cache {
    #[must_use]
    pub fn new(
        lifetimes: Lifetimes,
        refresh_ahead: bool,
        max_bytes: u64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let most = usize::try_from(max_bytes / FRONT_SHARE / entry::ENTRY_BYTES);
        Self {
            entries: entries(max_bytes),
            front: Front::new(most.unwrap_or(usize::MAX)),
            lifetimes,
            refresh_ahead,
            keeps_access: AtomicBool::new(!lifetimes.access.allow.is_zero()),
            invalidations: Invalidations::default(),
            began: clock.now(),
            tidied_ms: AtomicU64::new(0),
            clock,
        }
    }

    /// Uses no answer to these questions any more that was asked for up to now.
    pub(crate) fn outdate(&self, scope: InvalidationScope) {
        self.invalidations.declare(scope, self.clock.now());
    }

    /// Uses no answer that was asked for up to then while the API answers; none: all are good.
    pub fn doubt(&self, until: Option<Instant>) {
        self.invalidations.doubt(until);
    }

    /// How often answers were declared outdated.
    pub(crate) fn times_outdated(&self) -> u64 {
        self.invalidations.count()
    }

    /// Whether an answer to this question, asked for at that time, was declared outdated since.
    #[must_use]
    pub(crate) fn is_outdated(&self, question: &Question<'_>, asked: Instant) -> bool {
        self.invalidations.covers(&Subject::of(question), asked)
    }

    /// Whether an answer to this client's login, asked for at that time, was declared outdated since.
    #[must_use]
    pub(crate) fn is_login_outdated(
        &self,
        client_id: &str,
        username: &str,
        asked: Instant,
    ) -> bool {
        self.invalidations.covers_login(client_id, username, asked)
    }

    /// Whether an answer that was found here, and is remembered elsewhere, is good still.
    #[must_use]
    pub(crate) fn is_current(&self, permission: &CachedPermission) -> bool {
        permission.holds(self.invalidations.count(), || self.clock.now())
    }

    /// How many answers were kept, and how many bytes they took, at the last housekeeping.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    /// Whether answers about topics are kept at all, as far as can be told.
    #[must_use]
    pub(crate) fn keeps_access_answers(&self) -> bool {
        self.keeps_access.load(Ordering::Relaxed)
    }

    /// The answer to the question that has this key, for whoever then sees to its refresh.
    ///
    /// # Errors
    /// It is not known, and why.
    pub fn look(&self, key: &Key, question: &Question<'_>) -> Result<Hit, Miss> {
        let invalidations = self.invalidations.count();
        let (entry, age) = self.alive(key, question)?;
        let refresh = self.refresh_ahead && entry.is_due(age);
        let answer = entry.answer.clone();
        Ok(Hit {
            answer,
            permission: CachedPermission::new(entry, self.refresh_ahead, invalidations),
            refresh,
        })
    }

    /// The same answer, for whoever only wants to know: its refresh stays due.
    #[must_use]
    pub fn known(&self, key: &Key, question: &Question<'_>) -> Option<Answer> {
        self.alive(key, question).ok().map(|(entry, _)| entry.answer.clone())
    }

    /// Whether there is such an answer.
    #[must_use]
    pub fn knows(&self, key: &Key, question: &Question<'_>) -> bool {
        self.alive(key, question).is_ok()
    }

    /// The entry that has this key, and its age.
    fn alive(&self, key: &Key, question: &Question<'_>) -> Result<(Arc<Entry>, Duration), Miss> {
        if let Some(entry) = self.front.get(key) {
            let age = self.age(&entry, question)?;
            return Ok((entry, age));
        }
        // Who looks for what is not there does no housekeeping that is overdue.
        let may_be_there = !self.is_overdue() || self.entries.contains_key(key);
        let entry = may_be_there.then(|| self.entries.get(key)).flatten();
        let entry = entry.ok_or_else(|| self.lifetimes.why_absent(question.kind()))?;
        let age = self.age(&entry, question)?;
        // What may be large stays where its size is counted.
        if entry.answer.session_grants.is_none() {
            self.front.put(*key, Arc::clone(&entry));
        }
        Ok((entry, age))
    }

    /// Whether an entry was invalidated since, by what was asked or by the name that the answer gives.
    fn is_covered(&self, entry: &Entry, question: &Question<'_>) -> bool {
        let name = entry
            .answer
            .session_grants
            .as_ref()
            .and_then(|session_grants| session_grants.username.as_deref());
        let by_name = |name| self.is_login_outdated(question.client.id(), name, entry.asked);
        self.invalidations.covers(&Subject::of(question), entry.asked) || name.is_some_and(by_name)
    }

    /// How old an entry is, if it is still alive.
    fn age(&self, entry: &Entry, question: &Question<'_>) -> Result<Duration, Miss> {
        if self.is_covered(entry, question) {
            return Err(Miss::Outdated);
        }
        if self.invalidations.doubts(entry.asked) {
            return Err(Miss::Expired);
        }
        let age = self.clock.now().duration_since(entry.asked);
        if age < entry.life && !self.has_ended(entry) { Ok(age) } else { Err(Miss::Expired) }
    }

    /// Whether its grants have, by the time of day, which may have been set since it was stored.
    fn has_ended(&self, entry: &Entry) -> bool {
        entry.answer.session_grants.as_ref().is_some_and(|session_grants| {
            session_grants.expire_at.is_some_and(|end| end <= self.clock.unix_time().as_secs())
        })
    }

    /// The answer under this key was asked for again, in vain: a use in a second may try anew.
    pub(crate) fn refresh_failed(&self, key: &Key) {
        if let Some(entry) = self.entries.get(key) {
            let age = self.clock.now().duration_since(entry.asked);
            entry.refresh_at_ms.store(millis(age + REFRESH_RETRY), Ordering::Relaxed);
        }
    }

    /// What stands in where the API fails: a permission that has expired, but not for long, and an answer
    /// that is doubted, for its own life. A denial is never prolonged.
    #[must_use]
    pub fn stale(&self, key: &Key, question: &Question<'_>) -> Option<Answer> {
        if self.lifetimes.stale.is_zero() && !self.invalidations.doubts_any() {
            return None;
        }
        let entry = self.entries.get(key)?;
        if self.is_covered(&entry, question) {
            return None;
        }
        let age = self.clock.now().duration_since(entry.asked);
        let is_doubted = age < entry.life && self.invalidations.doubts(entry.asked);
        let stale = entry.stale();
        let is_stale = entry.is_permission() && !stale.is_zero() && age < entry.life + stale;
        let serves = (is_doubted || is_stale) && !self.has_ended(&entry);
        serves.then(|| entry.answer.clone())
    }

    /// How long an answer lives where the API does not say.
    #[must_use]
    pub fn lifetime(&self, kind: Kind, answer: &Answer) -> Duration {
        self.lifetimes.of_answer(kind, answer.verdict)
    }

    /// Keeps an answer that the API may have given a lifetime, see [`Cache::store_for`].
    pub fn store(
        &self,
        key: Key,
        kind: Kind,
        answer: Answer,
        lifetime: Option<Duration>,
        asked: Instant,
    ) {
        self.store_for(key, kind, answer, Freshness { lifetime, stale: None }, asked);
    }

    /// Keeps an answer for its lifetime, counted from when it was `asked` for: the one that the API gave, or
    /// what is configured, but never past the time at which its grants expire. One whose lifetime is 0 is
    /// not kept, and takes away what an older answer left.
    pub(crate) fn store_for(
        &self,
        key: Key,
        kind: Kind,
        answer: Answer,
        freshness: Freshness,
        asked: Instant,
    ) {
        self.keep(key, kind, answer, freshness, (asked, None));
    }

    /// Keeps an answer that another broker had asked for that long before it was `found` there. Not if there is a
    /// younger one: false.
    pub(crate) fn store_shared(
        &self,
        key: Key,
        kind: Kind,
        answer: Answer,
        freshness: Freshness,
        (found, age): (Instant, Duration),
    ) -> bool {
        self.keep(key, kind, answer, freshness, (found, Some(age)))
    }

    fn keep(
        &self,
        key: Key,
        kind: Kind,
        answer: Answer,
        freshness: Freshness,
        (asked, shared_age): (Instant, Option<Duration>),
    ) -> bool {
        let configured = self.lifetimes.of(kind);
        let lifetime = freshness.lifetime.unwrap_or_else(|| self.lifetime(kind, &answer));
        let stale =
            freshness.stale.map_or(self.lifetimes.stale, |given| given.min(self.lifetimes.stale));
        let expire_at =
            answer.session_grants.as_ref().and_then(|session_grants| session_grants.expire_at);
        let lifetime = expire_at.map_or(lifetime, |expire_at| {
            let left = Duration::from_secs(expire_at).saturating_sub(self.clock.unix_time());
            lifetime.min(left)
        });
        if kind == Kind::Access {
            self.keeps_access.store(!lifetime.is_zero(), Ordering::Relaxed);
        }
        let entry = (!lifetime.is_zero()).then(|| {
            let life = configured.jitter.of(lifetime, random::fraction());
            let refresh_at_ms = AtomicU64::new(millis(life.mul_f64(REFRESH_FROM)));
            let stale_s = u32::try_from(stale.as_secs()).unwrap_or(u32::MAX);
            let tables = AtomicU8::new(1);
            let shared_age_ms = shared_age.map(|age| {
                let age_ms = u32::try_from(millis(age)).unwrap_or(u32::MAX);
                NonZeroU32::MIN.saturating_add(age_ms)
            });
            let entry =
                Entry { answer, asked, life, stale_s, refresh_at_ms, tables, shared_age_ms };
            Arc::new(entry)
        });
        self.replace(key, entry, (asked, shared_age))
    }

    /// Puts an answer in another's place, or nothing, unless the other was asked for later: a question may
    /// be under way twice, once from before an invalidation. Whether it did.
    fn replace(
        &self,
        key: Key,
        entry: Option<Arc<Entry>>,
        (asked, shared_age): (Instant, Option<Duration>),
    ) -> bool {
        let now = self.clock.now();
        let mut is_older = false;
        self.entries.entry(key).and_compute_with(|before| {
            is_older = before.is_some_and(|before| before.value().outlasts(asked, shared_age, now));
            match &entry {
                _ if is_older => Op::Nop,
                Some(entry) => Op::Put(Arc::clone(entry)),
                None => Op::Remove,
            }
        });
        if !is_older {
            // One that moka has had no room for any more is there alone.
            self.front.revoke_others(&key, entry.as_ref());
        }
        !is_older
    }

    /// Lets go of what has ended and of what there is no room for. That takes longer the more answers there
    /// are, so that it is for no thread that somebody waits for.
    pub(crate) fn tidy_up(&self) {
        self.entries.run_pending_tasks();
        let now = millis(self.clock.now().duration_since(self.began));
        self.tidied_ms.store(now, Ordering::Relaxed);
    }

    /// Whether a worker should do that now, though no answers are stored.
    #[must_use]
    pub(crate) fn wants_tidying(&self, now: Instant) -> bool {
        self.untidy_for(now) >= TIDY_EVERY && self.entries.entry_count() > 0
    }

    fn is_overdue(&self) -> bool {
        self.untidy_for(self.clock.now()) >= OVERDUE
    }

    fn untidy_for(&self, now: Instant) -> Duration {
        let tidied = Duration::from_millis(self.tidied_ms.load(Ordering::Relaxed));
        now.duration_since(self.began).saturating_sub(tidied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::SessionGrants;
    use crate::clock::{ManualClock, SystemClock};
    use crate::config::{Jitter, Lifetime};
    use crate::fake::FakeClient;
    use crate::question::About;

    const DENY: Duration = Duration::from_secs(5);

    const fn lifetime(seconds: u64) -> Lifetime {
        let allow = Duration::from_secs(seconds);
        Lifetime { allow, deny: DENY, jitter: Jitter::Shorter }
    }

    const LIFETIMES: Lifetimes =
        Lifetimes { login: lifetime(30), access: lifetime(20), stale: Duration::ZERO };

    fn with_question<T>(ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let client = FakeClient::default();
        ask(&Question {
            client: &client,
            username: "ann",
            attributes: None,
            about: About::Superuser,
        })
    }

    fn get(cache: &Cache, key: &Key) -> Option<Hit> {
        with_question(|question| cache.look(key, question)).ok()
    }

    fn stale(cache: &Cache, key: &Key) -> Option<Answer> {
        with_question(|question| cache.stale(key, question))
    }

    fn cache(lifetimes: Lifetimes) -> (Cache, Arc<ManualClock>) {
        let clock = ManualClock::new();
        (Cache::new(lifetimes, true, 1 << 20, clock.clone()), clock)
    }

    #[track_caller]
    fn lives(kind: Kind, answer: Answer, lifetime: Duration) {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        cache.store(key, kind, answer.clone(), None, clock.now());
        clock.advance(lifetime.mul_f64(1.0 - Jitter::SHARE) - Duration::from_millis(1));
        assert_eq!(get(&cache, &key).map(|hit| hit.answer), Some(answer), "gone too early");
        clock.advance(lifetime.mul_f64(Jitter::SHARE) + Duration::from_millis(2));
        assert_eq!(get(&cache, &key), None, "older than its lifetime");
    }

    #[test]
    fn each_kind_of_answer_has_its_own_lifetime() {
        lives(Kind::Login, Answer::ALLOW, LIFETIMES.login.allow);
        lives(Kind::Access, Answer::ALLOW, LIFETIMES.access.allow);
        lives(Kind::Superuser, Answer::ALLOW, LIFETIMES.access.allow);
        for kind in [Kind::Login, Kind::Superuser, Kind::Access] {
            lives(kind, Answer::DENY, DENY);
        }
    }

    #[test]
    fn entries_stored_together_do_not_expire_together() {
        let (cache, clock) = cache(LIFETIMES);
        for number in 0..1000 {
            cache.store(Key::from_number(number), Kind::Login, Answer::ALLOW, None, clock.now());
        }
        clock.advance(LIFETIMES.login.allow.mul_f64(1.0 - Jitter::SHARE / 2.0));
        let alive = (0..1000).filter(|n| get(&cache, &Key::from_number(*n)).is_some()).count();
        assert!((300..700).contains(&alive), "{alive} of 1000 left at half of the jitter");
    }

    #[test]
    fn a_lifetime_of_zero_keeps_nothing_and_forgets_what_was_kept() {
        let (cache, clock) = cache(Lifetimes {
            login: Lifetime { deny: Duration::ZERO, ..lifetime(30) },
            ..LIFETIMES
        });
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, Answer::ALLOW, None, clock.now());
        cache.store(key, Kind::Login, Answer::DENY, None, clock.now());
        assert_eq!(get(&cache, &key), None);
    }

    #[test]
    fn a_permission_in_use_is_due_ahead_of_its_end_and_not_at_every_use() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, Answer::ALLOW, None, clock.now());
        let mut due = 0;
        let mut first = None;
        let step = Duration::from_millis(10);
        let mut age = Duration::ZERO;
        while let Some(hit) = get(&cache, &key) {
            due += u32::from(hit.refresh);
            if hit.refresh {
                first.get_or_insert(age);
            }
            clock.advance(step);
            age += step;
        }
        let half = LIFETIMES.login.allow.mul_f64(REFRESH_FROM);
        let first = first.unwrap();
        assert!(first >= half.mul_f64(1.0 - Jitter::SHARE) && first <= half + step, "{first:?}");
        assert!((2..=14).contains(&due), "due {due} times");
    }

    #[test]
    fn whoever_only_wants_to_know_leaves_the_refresh_to_others() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, Answer::ALLOW, None, clock.now());
        clock.advance(LIFETIMES.login.allow.mul_f64(REFRESH_FROM));
        with_question(|question| {
            assert!(cache.knows(&key, question));
            assert_eq!(cache.known(&key, question), Some(Answer::ALLOW));
        });
        assert!(get(&cache, &key).unwrap().refresh);
    }

    #[test]
    fn a_refresh_that_failed_is_due_again_before_long() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, Answer::ALLOW, None, clock.now());
        clock.advance(LIFETIMES.login.allow.mul_f64(REFRESH_FROM));
        for _ in 0..5 {
            assert!(get(&cache, &key).unwrap().refresh);
            assert!(!get(&cache, &key).unwrap().refresh, "not at every use");
            cache.refresh_failed(&key);
            clock.advance(REFRESH_RETRY);
        }
    }

    #[test]
    fn a_denial_is_never_due() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, Answer::DENY, None, clock.now());
        while let Some(hit) = get(&cache, &key) {
            assert!(!hit.refresh);
            clock.advance(Duration::from_millis(50));
        }
    }

    #[test]
    fn a_miss_says_why() {
        let (cache, clock) = cache(LIFETIMES);
        let why = |cache: &Cache, key| with_question(|question| cache.look(key, question)).err();
        let key = Key::from_number(1);
        assert_eq!(why(&cache, &key), Some(Miss::Absent));
        cache.store(key, Kind::Login, Answer::ALLOW, None, clock.now());
        assert_eq!(why(&cache, &key), None);
        clock.advance(LIFETIMES.login.allow);
        assert_eq!(why(&cache, &key), Some(Miss::Expired));
        cache.outdate(InvalidationScope::default());
        assert_eq!(why(&cache, &key), Some(Miss::Outdated));
        let nothing = Lifetime { deny: Duration::ZERO, ..lifetime(0) };
        let nothing = Lifetimes { login: lifetime(30), access: nothing, stale: Duration::ZERO };
        let cache = Cache::new(nothing, true, 1 << 20, clock);
        assert_eq!(why(&cache, &key), Some(Miss::NotKept));
    }

    #[test]
    fn a_permission_may_serve_past_its_end_and_a_denial_may_not() {
        let (cache, clock) = cache(Lifetimes { stale: Duration::from_secs(60), ..LIFETIMES });
        let (allowed, denied) = (Key::from_number(1), Key::from_number(2));
        cache.store(allowed, Kind::Login, Answer::ALLOW, None, clock.now());
        cache.store(denied, Kind::Login, Answer::DENY, None, clock.now());
        clock.advance(LIFETIMES.login.allow + Duration::from_secs(1));
        assert_eq!((get(&cache, &allowed), get(&cache, &denied)), (None, None));
        assert_eq!(stale(&cache, &allowed), Some(Answer::ALLOW));
        assert_eq!(stale(&cache, &denied), None);
        clock.advance(Duration::from_secs(60));
        assert_eq!(stale(&cache, &allowed), None);
    }

    #[test]
    fn an_answer_serves_past_its_end_for_no_longer_than_the_api_lets_it() {
        let (cache, clock) = cache(Lifetimes { stale: Duration::from_secs(60), ..LIFETIMES });
        for (number, limit) in [(0, None), (1, Some(0)), (2, Some(10)), (3, Some(3600))] {
            let (lifetime, stale) = (Some(Duration::from_secs(5)), limit.map(Duration::from_secs));
            let (key, freshness) = (Key::from_number(number), Freshness { lifetime, stale });
            cache.store_for(key, Kind::Login, Answer::ALLOW, freshness, clock.now());
        }
        for (seconds, serving) in [
            (6, [true, false, true, true]),
            (10, [true, false, false, true]),
            (60, [false, false, false, false]),
        ] {
            clock.advance(Duration::from_secs(seconds));
            let serves = |number: u32| stale(&cache, &Key::from_number(number)).is_some();
            assert_eq!([0, 1, 2, 3].map(serves), serving);
        }
    }

    /// What is found under this key, which is good at first.
    fn found(cache: &Cache, key: &Key) -> CachedPermission {
        let permission = get(cache, key).expect("it is there").permission;
        assert!(cache.is_current(&permission));
        permission
    }

    #[test]
    fn what_is_remembered_elsewhere_is_good_until_the_answer_wants_to_be_looked_at() {
        let (cache, clock) = cache(LIFETIMES);
        let (allowed, denied) = (Key::from_number(1), Key::from_number(2));
        cache.store(allowed, Kind::Access, Answer::ALLOW, None, clock.now());
        cache.store(denied, Kind::Access, Answer::DENY, None, clock.now());
        let (allowed, denied) = (found(&cache, &allowed), found(&cache, &denied));
        clock.advance(LIFETIMES.access.deny + Duration::from_millis(1));
        assert!(cache.is_current(&allowed) && !cache.is_current(&denied));
        clock.advance(LIFETIMES.access.allow.mul_f64(REFRESH_FROM) - LIFETIMES.access.deny);
        assert!(!cache.is_current(&allowed), "it is to be refreshed");
        let key = Key::from_number(1);
        assert!(
            get(&cache, &key).is_some_and(|hit| hit.refresh && cache.is_current(&hit.permission))
        );
    }

    #[test]
    fn what_is_remembered_elsewhere_is_no_longer_good_when_a_permission_may_have_gone() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        let store = |key: u32, answer: Answer, lifetime| {
            cache.store(Key::from_number(key), Kind::Access, answer, lifetime, clock.now());
        };
        store(1, Answer::ALLOW, None);
        let permission = found(&cache, &key);
        store(2, Answer::ALLOW, None);
        cache.store(Key::from_number(3), Kind::Login, Answer::DENY, None, clock.now());
        assert!(cache.is_current(&permission), "more was said, of others");
        store(1, Answer::DENY, None);
        assert!(!cache.is_current(&permission), "it was taken back");
        store(1, Answer::ALLOW, None);
        let permission = found(&cache, &key);
        store(1, Answer::ALLOW, Some(Duration::ZERO));
        assert!(!cache.is_current(&permission), "it is not to be kept");
        store(1, Answer::ALLOW, None);
        let permission = found(&cache, &key);
        cache.outdate(InvalidationScope::default());
        assert!(!cache.is_current(&permission), "it was declared outdated");
    }

    #[test]
    fn what_had_to_make_room_is_no_longer_good_and_ends_nothing_else() {
        let clock = ManualClock::new();
        let cache = Cache::new(LIFETIMES, true, 100 * entry::ENTRY_BYTES, clock.clone());
        let (mut evicted, mut kept) = (0, 0);
        let permissions: Vec<_> = (0..1000)
            .map(|number| {
                let key = Key::from_number(number);
                cache.store(key, Kind::Access, Answer::ALLOW, None, clock.now());
                (key, cache.entries.get(&key).map(|entry| CachedPermission::new(entry, false, 0)))
            })
            .collect();
        cache.tidy_up();
        for (key, permission) in permissions {
            let is_current = permission.is_some_and(|permission| cache.is_current(&permission));
            assert_eq!(is_current, cache.entries.get(&key).is_some());
            *(if is_current { &mut kept } else { &mut evicted }) += 1;
        }
        assert!(kept > 0 && evicted > 0, "{kept} kept and {evicted} evicted");
    }

    #[test]
    fn what_was_asked_for_earlier_takes_no_later_answers_place() {
        let (cache, clock) = cache(LIFETIMES);
        let (key, earlier) = (Key::from_number(1), clock.now());
        clock.advance(Duration::from_secs(1));
        cache.store(key, Kind::Access, Answer::DENY, None, clock.now());
        for lifetime in [None, Some(Duration::ZERO)] {
            cache.store(key, Kind::Access, Answer::ALLOW, lifetime, earlier);
            assert_eq!(get(&cache, &key).map(|hit| hit.answer), Some(Answer::DENY));
        }
    }

    #[test]
    fn what_another_broker_was_told_earlier_takes_no_later_answers_place() {
        let (cache, clock) = cache(LIFETIMES);
        let (key, asked) = (Key::from_number(1), clock.now());
        let share = |age| {
            let found = (clock.now(), Duration::from_secs(age));
            let freshness = Freshness { lifetime: Some(Duration::from_secs(9)), stale: None };
            cache.store_shared(key, Kind::Access, Answer::ALLOW, freshness, found)
        };
        let answer = || get(&cache, &key).map(|hit| hit.answer);
        // Another broker's answer is found while the API is asked again, which then says no.
        clock.advance(Duration::from_secs(1));
        assert!(share(10));
        assert_eq!(answer(), Some(Answer::ALLOW));
        cache.store(key, Kind::Access, Answer::DENY, None, asked);
        assert_eq!(answer(), Some(Answer::DENY));
        // The same, only that it is kept once the API has said no.
        assert!(!share(2));
        assert_eq!(answer(), Some(Answer::DENY));
        clock.advance(Duration::from_secs(2));
        assert!(share(1));
        assert!(!share(2), "there is a younger one");
        clock.advance(Duration::from_secs(10));
        assert!(share(15), "that one has ended");
    }

    #[test]
    fn the_first_denials_of_some_end_nothing_that_is_remembered_of_others() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(0);
        cache.store(key, Kind::Access, Answer::ALLOW, None, clock.now());
        let permission = found(&cache, &key);
        for number in 1..1000 {
            let lifetime = (number % 2 == 0).then_some(Duration::ZERO);
            let denied = Key::from_number(number);
            cache.store(denied, Kind::Access, Answer::DENY, lifetime, clock.now());
        }
        assert!(cache.is_current(&permission));
    }

    #[test]
    fn the_size_is_bounded() {
        let clock = ManualClock::new();
        let cache = Cache::new(LIFETIMES, true, 100 * entry::ENTRY_BYTES, clock.clone());
        for number in 0..10_000 {
            cache.store(Key::from_number(number), Kind::Login, Answer::ALLOW, None, clock.now());
        }
        cache.tidy_up();
        let (answers, bytes) = cache.size();
        assert!(
            (50..=100).contains(&answers) && bytes == answers * entry::ENTRY_BYTES,
            "{answers}"
        );
    }

    #[test]
    fn what_has_ended_is_let_go_of_in_time() {
        // moka's clock is not to be set.
        let life = Duration::from_millis(100);
        let cache = Cache::new(LIFETIMES, true, 1 << 20, Arc::new(SystemClock));
        for number in 0..100 {
            let lifetime = (number > 0).then_some(life);
            let key = Key::from_number(number);
            cache.store(key, Kind::Login, Answer::ALLOW, lifetime, SystemClock.now());
        }
        let began = SystemClock.now();
        cache.tidy_up();
        while cache.size().0 > 1 {
            std::thread::yield_now();
            cache.tidy_up();
        }
        // For as long again it is known that they have expired.
        assert!(SystemClock.now().duration_since(began) > life.mul_f64(1.5));
        assert!(get(&cache, &Key::from_number(0)).is_some());
    }

    #[test]
    fn a_worker_tidies_up_from_time_to_time_where_there_is_anything() {
        let (cache, clock) = cache(LIFETIMES);
        clock.advance(TIDY_EVERY);
        assert!(!cache.wants_tidying(clock.now()), "it is empty");
        cache.store(Key::from_number(1), Kind::Login, Answer::ALLOW, None, clock.now());
        cache.tidy_up();
        assert!(!cache.wants_tidying(clock.now()), "it was done just now");
        clock.advance(TIDY_EVERY);
        assert!(cache.wants_tidying(clock.now()));
    }

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_not_while_housekeeping_is_overdue() {
        let (cache, clock) = cache(LIFETIMES);
        cache.store(Key::from_number(1), Kind::Login, Answer::ALLOW, None, clock.now());
        clock.advance(OVERDUE);
        assert!(cache.is_overdue());
        assert!(get(&cache, &Key::from_number(1)).is_some());
        assert!(get(&cache, &Key::from_number(2)).is_none());
    }

    #[test]
    fn the_api_may_say_how_long_an_answer_lives() {
        let (cache, clock) = cache(LIFETIMES);
        let (long, none) = (Key::from_number(1), Key::from_number(2));
        let hour = Duration::from_secs(3600);
        cache.store(long, Kind::Access, Answer::DENY, Some(hour), clock.now());
        cache.store(none, Kind::Access, Answer::ALLOW, Some(Duration::ZERO), clock.now());
        assert!(!cache.keeps_access_answers());
        clock.advance(hour.mul_f64(1.0 - Jitter::SHARE) - Duration::from_secs(1));
        assert_eq!(get(&cache, &long).map(|hit| hit.answer), Some(Answer::DENY));
        assert_eq!(get(&cache, &none), None);
    }

    #[test]
    fn no_answer_outlives_its_session_grants() {
        let (cache, clock) = cache(Lifetimes { stale: Duration::from_secs(60), ..LIFETIMES });
        let session_grants = SessionGrants {
            is_superuser: None,
            rules: None,
            expire_at: Some(clock.unix_time().as_secs() + 3),
            ..SessionGrants::default()
        };
        let answer = Answer { session_grants: Some(Arc::new(session_grants)), ..Answer::ALLOW };
        let key = Key::from_number(1);
        cache.store(key, Kind::Login, answer, None, clock.now());
        assert!(get(&cache, &key).is_some());
        clock.advance(Duration::from_secs(3));
        assert_eq!((get(&cache, &key), stale(&cache, &key)), (None, None));
    }

    #[test]
    fn an_answer_is_as_old_as_its_request_and_may_be_outdated_when_it_comes() {
        let (cache, clock) = cache(LIFETIMES);
        let key = Key::from_number(1);
        let asked = clock.now();
        clock.advance(Duration::from_secs(1));
        cache.outdate(InvalidationScope::default());
        cache.store(key, Kind::Login, Answer::ALLOW, None, asked);
        assert_eq!(get(&cache, &key), None);
        clock.advance(Duration::from_secs(1));
        cache.store(key, Kind::Login, Answer::ALLOW, None, clock.now());
        assert!(get(&cache, &key).is_some());
    }
}
