//! Tokens that are decided here, without a request (RFC 7519): the keys that are known, and what a token
//! says to which one of them vouches.
//!
//! Keys come from files, or from the API (`http_jwks_route`). Those are fetched by a worker, before the
//! first login where the broker ticks; a token whose key is not known has them fetched again. While the
//! API fails, the keys stay that were known.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::answer::{Answer, Failure, InvalidToken};
use crate::api::Api;
use crate::clock::Clock;
use crate::config::TokensConfig;
use crate::jose::{self, Checks, KeySet};
use crate::sync::lock;

mod claims;

/// How long fetched keys are good where `Cache-Control` does not say (RFC 9111, section 4.2.2).
const USUAL_LIFE: Duration = Duration::from_secs(300);

/// How often keys are fetched at most once some have come, whatever tokens name and `Cache-Control` says.
const PAUSE: Duration = Duration::from_secs(30);

/// How often it is tried to fetch the first ones.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// What of tokens is believed, and why.
pub(crate) struct Tokens {
    config: TokensConfig,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

struct State {
    /// From files.
    own: KeySet,
    /// From the API; none until they have come.
    fetched: Option<KeySet>,
    /// Both.
    all: Arc<KeySet>,
    /// Counts how often `all` has changed: what was verified before is to be verified again.
    generation: u64,
    /// When fetched keys are to be fetched again.
    refresh_at: Option<Instant>,
    /// When they were fetched last, and why in vain.
    last_attempt: Option<(Instant, Option<Failure>)>,
}

/// Keys that were fetched, and are others than before.
pub(crate) struct NewKeys {
    pub(crate) count: usize,
    /// Why some of all keys are never tried.
    pub(crate) never_tried: Option<String>,
}

/// What came of looking at a token.
#[derive(PartialEq, Debug)]
pub(crate) enum Looked {
    Decided(Answer),
    /// The keys must be fetched first.
    NeedsKeys,
    /// They would have to be, and could not be a moment ago.
    Failed(Failure),
}

impl Tokens {
    #[must_use]
    pub(crate) fn new(config: TokensConfig, own: &KeySet, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            own: own.clone(),
            fetched: None,
            all: Arc::new(own.clone()),
            generation: 0,
            refresh_at: None,
            last_attempt: None,
        };
        Self { config, state: Mutex::new(state), clock }
    }

    /// See [`State::generation`].
    #[must_use]
    pub(crate) fn generation(&self) -> u64 {
        lock(&self.state).generation
    }

    /// Decides about a token by the keys that are known. Who bears it gave this name, which may be empty.
    #[must_use]
    pub(crate) fn look(&self, token: &str, bearer: &str) -> Looked {
        let keys = Arc::clone(&lock(&self.state).all);
        match self.verify(token, bearer, &keys) {
            Ok(answer) => Looked::Decided(answer),
            Err(why) => self.look_at_invalid(token, why),
        }
    }

    /// Decides about a token now that keys have been fetched.
    #[must_use]
    pub(crate) fn decide(&self, token: &str, bearer: &str) -> Answer {
        let keys = Arc::clone(&lock(&self.state).all);
        self.verify(token, bearer, &keys).unwrap_or_else(Answer::invalid)
    }

    /// What follows from a token that is not believed: other keys may vouch for it, if it is not signed with a
    /// secret, which the API never hands out.
    fn look_at_invalid(&self, token: &str, why: InvalidToken) -> Looked {
        let may_be_public = jose::may_have_public_key(token, self.config.algorithms.as_deref());
        let state = lock(&self.state);
        let is_first = state.fetched.is_none();
        let may_be_meant = match why {
            InvalidToken::UnknownKey => true,
            // A token that names no key is tried with those that there are.
            InvalidToken::Algorithm | InvalidToken::Signature => is_first,
            _ => false,
        };
        if self.config.jwks_route.is_none() || !may_be_public || !may_be_meant {
            return Looked::Decided(Answer::invalid(why));
        }
        let pause = if is_first { FIRST_PAUSE } else { PAUSE };
        match &state.last_attempt {
            Some((at, failure)) if self.clock.now().duration_since(*at) < pause => match failure {
                Some(failure) => Looked::Failed(failure.clone()),
                None => Looked::Decided(Answer::invalid(why)),
            },
            _ => Looked::NeedsKeys,
        }
    }

    fn verify(&self, token: &str, bearer: &str, keys: &KeySet) -> Result<Answer, InvalidToken> {
        let checks = Checks {
            algorithms: self.config.algorithms.as_deref(),
            issuer: self.config.issuer.as_deref(),
            audience: &self.config.audience,
            leeway: self.config.leeway.as_secs(),
        };
        let claims = jose::verify(token, keys, checks)?;
        claims::read(claims.get(), bearer, &self.config, self.clock.unix_time())
    }

    /// Whether keys are to be fetched, although nobody waits for them.
    #[must_use]
    pub(crate) fn want_keys(&self) -> bool {
        if self.config.jwks_route.is_none() {
            return false;
        }
        let (state, now) = (lock(&self.state), self.clock.now());
        let pause = if state.fetched.is_none() { FIRST_PAUSE } else { PAUSE };
        let paused = |(at, _): &(Instant, _)| now.duration_since(*at) < pause;
        let is_due = state.refresh_at.is_none_or(|at| now >= at);
        is_due && !state.last_attempt.as_ref().is_some_and(paused)
    }

    /// Fetches the keys; for a worker. None: they are the same as before.
    ///
    /// # Errors
    /// Why they cannot be had; those that were known stay.
    pub(crate) fn fetch(&self, api: &Api) -> Result<Option<NewKeys>, Failure> {
        let route = self.config.jwks_route.as_deref().ok_or(Failure::Internal)?;
        let fetched = api.fetch(route, "the keys that verify tokens", jose::read_set);
        let now = self.clock.now();
        let mut state = lock(&self.state);
        state.last_attempt = Some((now, fetched.as_ref().err().cloned()));
        let (keys, life) = fetched?;
        state.refresh_at = now.checked_add(life.unwrap_or(USUAL_LIFE).max(PAUSE));
        if state.fetched.as_ref() == Some(&keys) {
            return Ok(None);
        }
        let count = keys.len();
        state.fetched = Some(keys);
        state.combine();
        Ok(Some(NewKeys { count, never_tried: self.never_tried(&state) }))
    }

    /// Uses other keys from files from now on. Why some of all keys are never tried then, if they are others than
    /// before.
    pub(crate) fn renew(&self, own: &KeySet) -> Option<String> {
        let mut state = lock(&self.state);
        if state.own == *own {
            return None;
        }
        state.own = own.clone();
        state.combine();
        self.never_tried(&state)
    }

    fn never_tried(&self, state: &State) -> Option<String> {
        let problem = state.all.never_tried(self.config.algorithms.as_deref())?;
        Some(format!("keys that verify tokens: {problem}"))
    }
}

impl State {
    fn combine(&mut self) {
        let fetched = self.fetched.clone().unwrap_or_default();
        self.all = Arc::new(self.own.with(&fetched));
        self.generation += 1;
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
