//! Logins of users that a password file knows: their passwords are hashed on threads of their own, of which
//! there are few, and the API is asked about those whose password is another.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread::available_parallelism;

use super::asker::Asker;
use super::job::Consult;
use super::{Engine, LINGER, Work};
use crate::answer::{Answer, Failure, Outcome, Verdict};
use crate::cache::{Cache, Key};
use crate::clock::Clock;
use crate::failpoint;
use crate::files::Files;
use crate::pool::{Asked, Batching, Completion, Pending, Pool, Spawn, Urgency};
use crate::question::{About, Kind, Password, Question};
use crate::secret::Secret;

/// A password that is claimed to be a user's.
pub(crate) struct Claim {
    key: Key,
    username: String,
    password: Secret,
}

/// Hashes passwords.
pub(crate) struct Hasher {
    files: Arc<Files>,
    pool: Pool<Key, Claim>,
}

impl Hasher {
    pub(crate) fn new(
        files: Arc<Files>,
        cache: Arc<Cache>,
        clock: Arc<dyn Clock>,
        spawn: Spawn,
    ) -> Self {
        let checker = Arc::clone(&files);
        let work = move |claims: Vec<(Claim, Completion<'_>)>| {
            for (claim, completion) in claims {
                failpoint::reached("password");
                let asked = clock.now();
                let is_right = checker.let_in(&claim.username, claim.password.expose());
                let verdict = if is_right { Verdict::Allow } else { Verdict::Deny };
                let answer = Answer::of_password_file(verdict);
                if is_right {
                    cache.store(claim.key, Kind::Login, answer.clone(), None, asked);
                }
                completion.complete(Ok(answer));
            }
        };
        let batching = Batching { most: 1, joins: |_| false, most_bytes: 0, bytes: |_| 0 };
        // Half of the processors: the broker needs one as well.
        let threads = available_parallelism().map_or(1, |count| count.get() / 2).clamp(1, 4);
        Self { files, pool: Pool::new(threads, LINGER, batching, spawn, Box::new(work)) }
    }

    pub(crate) fn has_passwords(&self) -> bool {
        self.files.has_passwords()
    }

    /// The password, where this is about the login of a user that the file knows.
    fn claimed<'a>(&self, question: &Question<'a>) -> Option<&'a [u8]> {
        let About::Login { password } = question.about else { return None };
        let password = match password {
            Password::Text(text) => text.as_bytes(),
            Password::Base64(bytes) => bytes,
        };
        self.files.knows(question.username).then_some(password)
    }

    pub(crate) fn close_running(&self) {
        self.pool.close_running();
    }

    pub(crate) fn shut_down(&self) {
        self.pool.shut_down(|| {});
    }
}

/// The API's turn, once the file has not let a user in.
pub(crate) struct ApisTurn {
    asker: Asker,
    key: Key,
    /// What it joins.
    in_flight: Key,
    urgency: Urgency,
    stale: Option<Answer>,
    /// None: there is no route for logins, and the file has the last word.
    job: Option<Work>,
}

impl ApisTurn {
    fn take(self, by_file: Outcome) -> Asked {
        let Self { asker, key, in_flight, urgency, stale, job } = self;
        match (by_file, job) {
            (Ok(Answer { verdict: Verdict::Deny, .. }), Some(job)) => {
                // It is there already, and counted.
                asker.ask((&key, &in_flight), (urgency, false, 0), stale, || None, || job)
            }
            (by_file, _) => Asked::Now(by_file),
        }
    }
}

impl Engine {
    /// Asks about a login where there is a password file; none: it is not for the file.
    pub(super) fn ask_file(
        &self,
        key: Key,
        question: &Question<'_>,
        urgency: Urgency,
    ) -> Option<Asked> {
        let hasher = self.hasher.as_ref().filter(|hasher| hasher.has_passwords())?;
        let About::Login { .. } = question.about else { return None };
        let Some(password) = hasher.claimed(question) else {
            // Whoever the file does not know is nobody where there is no route to ask.
            let denied = || Asked::Now(Ok(Answer::of_password_file(Verdict::Deny)));
            return (!self.asks_logins).then(denied);
        };
        let turn = self.apis_turn(key, question, urgency, Consult::Others);
        let claim = || claim(key, question.username, password);
        Some(match hasher.pool.ask(&key, urgency, || self.cache.known(&key, question), claim) {
            Asked::Later(pending) => {
                Asked::Later(pending.followed_by(|by_file| turn.take(by_file)))
            }
            asked => asked,
        })
    }

    /// Has a question asked in the background for a younger answer, of the file first where it is for that.
    pub(super) fn ask_for_younger(
        &self,
        key: Key,
        question: &Question<'_>,
    ) -> Result<Pending, Failure> {
        let consult = Consult::ForYounger;
        let hasher = self.hasher.as_ref();
        let claimed = hasher.and_then(|hasher| Some((hasher, hasher.claimed(question)?)));
        let Some((hasher, password)) = claimed else {
            return self.asker.pool.ask_quietly(&key, || self.job(key, question, consult));
        };
        let turn = self.apis_turn(key, question, Urgency::Background, consult);
        let pending = hasher.pool.ask_quietly(&key, || claim(key, question.username, password))?;
        Ok(pending.followed_by(|by_file| turn.take(by_file)))
    }

    /// The password, where this is about the login of a user that a file knows.
    pub(super) fn claimed(&self, question: &Question<'_>) -> Option<Secret> {
        let password = self.hasher.as_ref()?.claimed(question)?;
        Some(Secret::new(password.to_vec()))
    }

    /// Has a login asked again that was for the file when its client came.
    pub(super) fn ask_file_again(
        &self,
        key: Key,
        username: &str,
        password: Secret,
        job: Work,
    ) -> Option<Pending> {
        let hasher = self.hasher.as_ref()?;
        let (asker, urgency) = (self.asker.clone(), Urgency::Background);
        let job = self.asks_logins.then_some(job);
        let in_flight = self.in_flight_key(&key);
        let turn = ApisTurn { asker, key, in_flight, urgency, stale: None, job };
        let claim = || Claim { key, username: username.to_owned(), password };
        let pending = hasher.pool.ask_quietly(&key, claim).ok()?;
        Some(pending.followed_by(|by_file| turn.take(by_file)))
    }

    fn apis_turn(
        &self,
        key: Key,
        question: &Question<'_>,
        urgency: Urgency,
        consult: Consult,
    ) -> ApisTurn {
        let job = self.asks_logins.then(|| self.job(key, question, consult));
        let stale = self.cache.stale(&key, question);
        ApisTurn { asker: self.asker.clone(), key, in_flight: key, urgency, stale, job }
    }
}

fn claim(key: Key, username: &str, password: &[u8]) -> Claim {
    let password = Secret::new(password.to_vec());
    Claim { key, username: username.to_owned(), password }
}
