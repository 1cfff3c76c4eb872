//! A session, whom it belongs to, and what may be done by whoever that is.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use smol_str::SmolStr;

use super::lately::Lately;
use super::places::Piece;
use crate::answer::Terms;
use crate::cache::Key;
use crate::question::Glance;
use crate::rules::Rules;
use crate::vault::SealedQuestion;

/// Whom a session belongs to.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub handle: usize,
    pub client_id: &'a str,
    pub username: &'a str,
}

/// A session, and the login by which it was let in: as long as both agree, what is said of the one
/// holds for the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    pub handle: usize,
    pub client_id: String,
    /// The login question that the API answered with yes.
    pub key: Key,
}

/// Who let a client in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LetInBy {
    Api,
    /// The broker's other means, to which the API, or its failure, left the question.
    Broker,
}

/// What may be done by whoever a session belongs to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The rules that the API gave when it let the client in.
    pub rules: Option<Arc<Rules>>,
    /// Whether the user is a superuser, once that is known.
    pub is_superuser: Option<bool>,
}

impl Standing {
    /// What somebody may do whom the API let in on these terms.
    pub fn on(terms: Option<&Arc<Terms>>) -> Self {
        let Some(terms) = terms else { return Self::default() };
        Self { rules: terms.rules.clone(), is_superuser: terms.is_superuser }
    }
}

/// Short names lie in the session itself: every check compares them, and mostly those of another
/// client each time, so that each place in memory that is looked at is one to wait for.
pub struct Session {
    pub client_id: SmolStr,
    pub username: SmolStr,
    pub standing: Standing,
    /// What it was allowed last, by this standing.
    pub lately: Lately,
    /// None: nobody was asked about its login.
    pub key: Option<Key>,
    pub let_in_by: LetInBy,
    /// The login question, for asking again.
    pub question: Option<Arc<SealedQuestion>>,
    pub due: Option<Instant>,
}

impl Session {
    /// One of a client that nobody was asked about.
    pub fn of_nobody(client_id: &str, username: &str) -> Self {
        Self {
            client_id: client_id.into(),
            username: username.into(),
            standing: Standing::default(),
            lately: Lately::default(),
            key: None,
            let_in_by: LetInBy::Broker,
            question: None,
            due: None,
        }
    }

    /// From now on this is what the client may do.
    pub fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        self.lately.forget();
    }

    /// Whether what the broker asks about is this session's client.
    pub fn is_seen(&self, glance: &Glance<'_>) -> bool {
        self.client_id.as_bytes() == glance.client_id && self.username.as_bytes() == glance.username
    }

    /// Where in memory more of it lies.
    pub fn elsewhere(&self) -> Piece {
        self.lately.piece()
    }

    pub fn was_admitted_by(&self, admission: &Admission) -> bool {
        self.key == Some(admission.key) && self.client_id == admission.client_id
    }

    pub fn belongs_to(&self, holder: Holder<'_>) -> bool {
        self.client_id == holder.client_id && self.username == holder.username
    }
}
