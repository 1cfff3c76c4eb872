//! A session, whom it belongs to, and what may be done by whoever that is.

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use smol_str::SmolStr;

use super::last_allowed::LastAllowed;
use super::session_map::MemoryRange;
use crate::answer::SessionGrants;
use crate::cache::{InvalidationScope, Key};
use crate::clock::Deadline;
use crate::question::{Attributes, RawAclCheck};
use crate::rules::{ConditionsMet, Rules, Whom};
use crate::sealed::SealedQuestion;

/// Whom a session belongs to.
#[derive(Clone, Copy)]
pub(crate) struct ClientRef<'a> {
    pub handle: usize,
    pub client_id: &'a str,
    pub username: &'a str,
}

/// A session, and the login by which it was let in: as long as both agree, what is said of the one
/// holds for the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionKey {
    pub handle: usize,
    pub client_id: String,
    /// The login question that the API answered with yes.
    pub key: Key,
    /// By what the client is known again; see [`Engine::identity`](crate::engine::Engine::identity).
    pub identity: Key,
}

#[cfg(test)]
impl SessionKey {
    pub(crate) fn from_number(handle: usize, client_id: &str, number: u32) -> Self {
        let key = Key::from_number(number);
        Self { handle, client_id: client_id.into(), key, identity: key }
    }
}

/// Who let a client in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AuthenticatedBy {
    Api,
    /// The broker's other means, to which the API, or its failure, left the question.
    Broker,
}

/// What may be done by whoever a session belongs to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Grants {
    /// The rules that the API gave when it let the client in.
    pub rules: Option<Arc<Rules>>,
    /// Which of their conditions the client meets; none: they have none.
    pub conditions: Option<ConditionsMet>,
    /// What else it said of the client.
    pub attributes: Option<Arc<Attributes>>,
    /// Whether the user is a superuser, once that is known.
    pub is_superuser: Option<bool>,
    /// Whether it was let in until a time that is over, and has left.
    pub(crate) has_expired: bool,
}

impl Grants {
    /// What somebody may do whom the API let in on these grants.
    pub(crate) fn on(session_grants: Option<&Arc<SessionGrants>>, whom: Whom<'_>) -> Self {
        let Some(session_grants) = session_grants else { return Self::default() };
        let SessionGrants { rules, attributes, is_superuser, .. } = &**session_grants;
        let conditions = rules.as_ref().and_then(|rules| rules.met_by(whom));
        let (rules, attributes) = (rules.clone(), attributes.clone());
        Self { rules, conditions, attributes, is_superuser: *is_superuser, has_expired: false }
    }

    /// What is left of it when its time is over: that there were rules, none of which matches any more,
    /// so that nothing is left to the broker's other means that was not before.
    pub(crate) fn expired(&self) -> Self {
        Self { is_superuser: None, has_expired: true, ..self.clone() }
    }

    /// The rules that hold.
    pub(crate) fn rules_in_force(&self) -> Option<&Arc<Rules>> {
        self.rules.as_ref().filter(|_| !self.has_expired)
    }
}

/// Short names lie in the session itself: every check compares them, and mostly those of another
/// client each time, so that each place in memory that is looked at is one to wait for.
pub(crate) struct Session {
    pub client_id: SmolStr,
    pub username: SmolStr,
    /// The name that the client gave, where the API gave it another: what is asked about its login.
    pub(crate) given_username: Option<Box<str>>,
    /// Where it comes from, if that is known and not for the client to choose.
    pub address: Option<IpAddr>,
    pub grants: Grants,
    /// What it was allowed last, by these grants.
    pub(crate) last_allowed: LastAllowed,
    /// None: nobody was asked about its login.
    pub key: Option<Key>,
    pub(crate) identity: Option<Key>,
    pub(crate) authenticated_by: AuthenticatedBy,
    /// The login question, for asking again.
    pub question: Option<Arc<SealedQuestion>>,
    /// When what the login's answer says ends.
    pub expiry: Option<Deadline>,
    /// When it is to be asked about again: by the time that never goes back, and by the time of day, in
    /// seconds of Unix time.
    pub due: (Option<Instant>, Option<u64>),
}

impl Session {
    /// One of a client that nobody was asked about.
    pub(crate) fn of_nobody(client_id: &str, username: &str) -> Self {
        Self {
            client_id: client_id.into(),
            username: username.into(),
            given_username: None,
            address: None,
            grants: Grants::default(),
            last_allowed: LastAllowed::default(),
            key: None,
            identity: None,
            authenticated_by: AuthenticatedBy::Broker,
            question: None,
            expiry: None,
            due: (None, None),
        }
    }

    pub(crate) fn is_covered(&self, scope: &InvalidationScope) -> bool {
        scope.is_about_either(&self.client_id, &self.username, self.given_username.as_deref())
    }

    /// Whether these grants go with the name by which the client is known.
    pub(crate) fn is_named_by(&self, session_grants: Option<&Arc<SessionGrants>>) -> bool {
        let given = self.given_username.as_deref().unwrap_or(&self.username);
        SessionGrants::known_as(session_grants, given) == self.username
    }

    /// What the conditions of rules are judged by.
    pub(crate) fn whom(&self) -> Whom<'_> {
        Whom { address: self.address, username: &self.username, client_id: &self.client_id }
    }

    /// From now on this is what the client may do.
    pub(crate) fn set_grants(&mut self, grants: Grants) {
        self.grants = grants;
        self.last_allowed.forget();
    }

    /// Whether what the broker asks about is this session's client.
    pub(crate) fn is_of(&self, raw_check: &RawAclCheck<'_>) -> bool {
        self.client_id.as_bytes() == raw_check.client_id
            && self.username.as_bytes() == raw_check.username
    }

    /// Where in memory more of it lies.
    pub(crate) fn elsewhere(&self) -> [MemoryRange; 2] {
        self.last_allowed.ranges()
    }

    pub(crate) fn has_key(&self, session_key: &SessionKey) -> bool {
        self.identity == Some(session_key.identity) && self.client_id == session_key.client_id
    }

    /// Whether it is to be asked about now; not while it is being asked about.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.0.is_some_and(|due| due <= now)
    }

    pub(crate) fn belongs_to(&self, client_ref: ClientRef<'_>) -> bool {
        self.client_id == client_ref.client_id && self.username == client_ref.username
    }
}
