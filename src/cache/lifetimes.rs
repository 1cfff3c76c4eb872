//! How long answers live where the API does not say.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::answer::Verdict;
use crate::config::Lifetime;
use crate::question::Kind;
use crate::stats::Miss;

/// How long answers live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Answers to logins.
    pub login: Lifetime,
    /// Answers about topics, and about who is a superuser.
    pub access: Lifetime,
    /// For how long past its life a permission may stand in for an answer that cannot be had.
    pub stale: Duration,
}

impl Lifetimes {
    pub(super) fn of(&self, kind: Kind) -> &Lifetime {
        match kind {
            Kind::Login => &self.login,
            Kind::Superuser | Kind::Access => &self.access,
        }
    }

    /// How long an answer with this verdict lives where the API does not say.
    pub(super) fn of_answer(&self, kind: Kind, verdict: Verdict) -> Duration {
        let configured = self.of(kind);
        match verdict {
            Verdict::Deny => configured.deny,
            Verdict::Allow | Verdict::Ignore => configured.allow,
        }
    }

    /// Why an answer of this kind would not be there. The API may have some kept all the same.
    pub(super) fn why_absent(&self, kind: Kind) -> Miss {
        let Lifetime { allow, deny, .. } = self.of(kind);
        if allow.is_zero() && deny.is_zero() { Miss::NotKept } else { Miss::Absent }
    }
}
