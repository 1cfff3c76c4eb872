//! Logins by a token: decided where they are asked, and by a worker where keys must be fetched first or
//! nobody waits.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Engine, Work};
use crate::answer::{Answer, Failure, Outcome, Verdict};
use crate::api::Api;
use crate::cache::Key;
use crate::failpoint;
use crate::jose::KeySet;
use crate::log_queue::LogQueue;
use crate::pool::{Asked, Completion, Pending, Urgency};
use crate::question::{About, Kind, Question};
use crate::secret::Secret;
use crate::tokens::{Looked, NewKeys, Tokens};

/// What a worker is to do about tokens.
pub(crate) enum TokenJob {
    /// Look at one once more that has let a client in which gave this name.
    Verify(Secret, String),
    /// Fetch the keys that verify them.
    FetchKeys,
}

/// Who does it.
pub(crate) struct Verifier {
    pub tokens: Arc<Tokens>,
    pub api: Arc<Api>,
    pub log_queue: Arc<LogQueue>,
}

impl Verifier {
    pub(crate) fn run(&self, job: &TokenJob, completion: Completion<'_>) {
        failpoint::reached("tokens");
        completion.complete(match job {
            TokenJob::Verify(token, bearer) => self.verify(token, bearer),
            TokenJob::FetchKeys => self.fetch_keys(),
        });
    }

    fn verify(&self, token: &Secret, bearer: &str) -> Outcome {
        match self.tokens.look(text(token), bearer) {
            Looked::Decided(answer) => Ok(answer),
            Looked::Failed(failure) => Err(failure),
            Looked::NeedsKeys => {
                self.fetch_keys()?;
                Ok(self.tokens.decide(text(token), bearer))
            }
        }
    }

    /// Keys that were fetched are a yes to whoever waits for them; each then looks at its own token.
    fn fetch_keys(&self) -> Outcome {
        if let Some(NewKeys { count, never_tried }) = self.tokens.fetch(&self.api)? {
            log::info!(logger: *self.log_queue, "the API has {count} public keys that verify tokens");
            if let Some(problem) = never_tried {
                log::warn!(logger: *self.log_queue, "{problem}");
            }
        }
        Ok(Answer::ALLOW)
    }
}

/// A token came as text.
fn text(token: &Secret) -> &str {
    std::str::from_utf8(token.expose()).unwrap_or_default()
}

impl Engine {
    /// What is known about a login that has this key. A token is known by itself, unless its key is to be
    /// fetched.
    #[must_use]
    pub(crate) fn known_login(&self, key: &Key, question: &Question<'_>) -> Option<Answer> {
        let About::Token(token) = question.about else {
            return self.known(key, question).map(|(answer, _)| answer);
        };
        let entry = self.token_entry(key);
        match self.cache.look(&entry, question) {
            Ok(hit) => {
                self.stats.hit();
                return Some(hit.answer);
            }
            Err(why) => self.stats.missed(why),
        }
        let tokens = self.tokens.as_ref()?;
        let Looked::Decided(answer) = tokens.look(token, question.username) else { return None };
        // Only what lets somebody in is remembered: a no may have another reason in a second.
        if answer.verdict == Verdict::Allow {
            self.cache.store(entry, Kind::Login, answer.clone(), None, self.asker.clock.now());
        }
        Some(answer)
    }

    /// Under which key a token's answer is kept: with other keys, it must be looked at anew.
    fn token_entry(&self, key: &Key) -> Key {
        let generation = self.tokens.as_ref().map_or(0, |tokens| tokens.generation());
        self.keyring.of_generation(key, generation)
    }

    /// Decides about a token that is not known, once there are keys.
    pub(super) fn ask_token(&self, token: &str, bearer: &str, urgency: Urgency) -> Asked {
        let Some(tokens) = &self.tokens else { return Asked::Now(Err(Failure::Internal)) };
        match tokens.look(token, bearer) {
            Looked::Decided(answer) => return Asked::Now(Ok(answer)),
            Looked::Failed(failure) => return Asked::Now(Err(failure)),
            Looked::NeedsKeys => {}
        }
        let (tokens, token) = (Arc::clone(tokens), Secret::new(token.as_bytes().to_vec()));
        let (key, bearer) = (self.keyring.of_token_keys(), bearer.to_owned());
        match self.asker.pool.ask(&key, urgency, || None, || Work::Tokens(TokenJob::FetchKeys)) {
            Asked::Later(pending) => Asked::Later(pending.then(move |fetched| {
                fetched?;
                Ok(tokens.decide(text(&token), &bearer))
            })),
            asked => asked,
        }
    }

    /// Has a worker look at a token that let a client in. None: it cannot be done now.
    pub(super) fn verify_again(&self, key: Key, token: Secret, bearer: String) -> Option<Pending> {
        self.asker.pool.ask_quietly(&key, || Work::Tokens(TokenJob::Verify(token, bearer))).ok()
    }

    /// Uses other keys from files from now on. Why some of all keys are never tried then, if they are others than
    /// before.
    pub(crate) fn renew_token_keys(&self, own: &KeySet) -> Option<String> {
        self.tokens.as_ref()?.renew(own)
    }

    /// Has the keys of tokens fetched in the background, if it is time for that.
    pub(crate) fn fetch_keys_if_due(&self) {
        if self.tokens.as_ref().is_some_and(|tokens| tokens.want_keys()) {
            let key = self.keyring.of_token_keys();
            // If there is no room, the next tick tries again.
            let _ = self.asker.pool.ask_quietly(&key, || Work::Tokens(TokenJob::FetchKeys));
        }
    }
}
