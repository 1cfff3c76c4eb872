//! Answers that are not to be used any more.

#![forbid(unsafe_code)]

use std::time::Instant;

use super::{Engine, Hasher};
use crate::cache::InvalidationScope;
use crate::question::Question;

impl Engine {
    /// Believes no answer to these questions any more that was asked for up to now, also not one
    /// that is on its way.
    pub(crate) fn outdate(&self, scope: InvalidationScope) {
        self.cache.outdate(scope);
        self.asker.pool.close_running();
        self.hasher.iter().for_each(Hasher::close_running);
    }

    /// How often answers were taken back. The broker's thread does that, and the fleet's own while that waits.
    pub(crate) fn times_outdated(&self) -> u64 {
        self.cache.times_outdated()
    }

    /// Whether an answer to this question, asked for at that time, is not to be believed any more.
    #[must_use]
    pub(crate) fn is_outdated(&self, question: &Question<'_>, asked: Instant) -> bool {
        self.cache.is_outdated(question, asked)
    }

    /// Whether an answer to this client's login, asked for at that time, is not to be believed any more.
    #[must_use]
    pub(crate) fn is_login_outdated(
        &self,
        client_id: &str,
        username: &str,
        asked: Instant,
    ) -> bool {
        self.cache.is_login_outdated(client_id, username, asked)
    }

    /// Uses no answer that was asked for up to then while the API answers; none: all are good.
    pub fn doubt(&self, until: Option<Instant>) {
        self.cache.doubt(until);
    }
}
