//! Who may log in and who may do what: one decision, used by the broker's check, by the command's `access`, by
//! `checkAccess` on the control topic, and by what asks ahead for a message's other subscribers.
//!
//! No I/O, no lock and no clock. A caller asks [`decide`] with the answers that it has so far, gets a
//! decision or the next question, and comes back with its answer.

#![forbid(unsafe_code)]

use crate::answer::{Answer, Decision, Failure, Verdict};
use crate::config::{Config, EmptyCredentials, LocalUsersAcl};
use crate::held_deliveries::AnswersSoFar;
use crate::policy::{self, DecidedBy, OnError};
use crate::question::{Access, Action, Kind};
use crate::rules::{Names, Permission, Ruling};
use crate::sessions::Grants;

mod login;
mod reason;
pub(crate) use login::{Login, LoginStep, login};
pub use reason::Reason;

/// What the options say about deciding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Whether there is an `http_superuser_route`, and an `http_acl_route`.
    pub(crate) superuser_route: bool,
    pub acl_route: bool,
    pub on_error: OnError,
}

/// The client that wants to do something.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub client_id: &'a str,
    pub username: &'a str,
    /// Whether the broker asks for a session that it restored from disk, or whose client was let in until a
    /// time that is over.
    pub(crate) is_away: bool,
    /// Whether the access list of mosquitto-go-auth's backend `files` allows the action; none: there is none.
    pub(crate) file_allows: Option<bool>,
}

/// A decision, or the question whose answer it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Decided(Decision, Reason),
    AskSuperuser,
    AskAcl,
}

impl Step {
    /// The kind of question that is to be asked.
    #[must_use]
    pub fn question(&self) -> Option<Kind> {
        match self {
            Self::Decided(..) => None,
            Self::AskSuperuser => Some(Kind::Superuser),
            Self::AskAcl => Some(Kind::Access),
        }
    }
}

impl Policy {
    #[must_use]
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            superuser_route: config.routes.of(Kind::Superuser).is_some(),
            acl_route: config.routes.of(Kind::Access).is_some(),
            on_error: config.on_error,
        }
    }
}

/// What is decided by a client's names alone; else, the name to ask under. `is_local` tells whether a user
/// is in `local_users_file`.
///
/// # Errors
/// The decision, where the names are enough for one.
pub fn gate<'a>(
    config: &'a Config,
    client_id: &str,
    username: Option<&'a str>,
    is_local: impl FnOnce(&str) -> bool,
) -> Result<&'a str, (Decision, Reason)> {
    // A name with a wildcard in it could pass for a topic filter where the API builds one from it.
    let is_special = |name: &str| config.special_chars.occur_in(name);
    if is_special(client_id) || username.is_some_and(is_special) {
        return Err((Decision::Deny, Reason::SpecialChars));
    }
    let Some(username) = username.or(config.stand_in()) else {
        return Err(match config.empty_credentials {
            EmptyCredentials::Own => (Decision::Defer, Reason::NoUsername),
            EmptyCredentials::Deny => (Decision::Deny, Reason::EmptyCredentials),
        });
    };
    match &config.local_users {
        Some(local) if is_local(username) => {
            let decision = match local.acl {
                LocalUsersAcl::Allow => Decision::Allow,
                LocalUsersAcl::Defer => Decision::Defer,
            };
            Err((decision, Reason::LocalUser))
        }
        _ => Ok(username),
    }
}

/// What follows, for a client that has passed [`gate`], from what it was granted and the answers so far;
/// or the next question.
///
/// A superuser may do everything, and everybody may do what a file or a rule allows. Next is asked whether the user
/// is a superuser, and last, unless a rule denies, the ACL route. A yes of either is final. Without one, a
/// superuser route that failed is a failure: it might have said yes. Rules that deny the rest leave nothing to
/// the ACL route.
#[must_use]
pub(crate) fn decide(
    policy: Policy,
    grants: &Grants,
    client: Subject<'_>,
    action: Action<'_>,
    answers: &AnswersSoFar,
) -> Step {
    if action.access == Access::Unsubscribe {
        return Step::Decided(Decision::Allow, Reason::Unsubscribe);
    }
    if grants.is_superuser == Some(true) {
        return Step::Decided(Decision::Allow, Reason::Superuser);
    }
    if client.file_allows == Some(true) {
        return Step::Decided(Decision::Allow, Reason::AclFile);
    }
    let ruling = ruling(grants, client, action);
    if let Some(Ruling { permission: Permission::Allow, position }) = ruling {
        return Step::Decided(Decision::Allow, Reason::Rule(position));
    }
    let mut superuser_failure = None;
    if grants.is_superuser.is_none() && policy.superuser_route {
        match &answers.superuser {
            None => return Step::AskSuperuser,
            Some(Ok(answer)) if answer.verdict == Verdict::Allow => {
                return Step::Decided(
                    Decision::Allow,
                    Reason::Answer(Kind::Superuser, answer.trace()),
                );
            }
            Some(Ok(_)) => {}
            Some(Err(failure)) => superuser_failure = Some(failure),
        }
    }
    if let Some(Ruling { position, .. }) = ruling {
        return policy.conclude(superuser_failure, Answer::DENY, Reason::Rule(position));
    }
    let denies_the_rest = grants.rules.as_ref().is_some_and(|rules| rules.deny_the_rest());
    if policy.acl_route && !denies_the_rest {
        return match &answers.access {
            None => Step::AskAcl,
            Some(outcome) => {
                let (decision, by) =
                    policy::decide_access(superuser_failure, outcome, policy.on_error);
                Step::Decided(decision, reason(by, Reason::of(Kind::Access, outcome.clone())))
            }
        };
    }
    let (answer, reason) = without_acl_route(grants, client, action);
    policy.conclude(superuser_failure, answer, reason)
}

/// What holds where neither a rule nor the ACL route says anything.
fn without_acl_route(grants: &Grants, client: Subject<'_>, action: Action<'_>) -> (Answer, Reason) {
    let is_delivery = action.access == Access::Read;
    let has_expired = grants.has_expired && is_delivery;
    if grants.rules.is_some() && !has_expired {
        (Answer::DENY, Reason::NoRule)
    } else if client.file_allows == Some(false) {
        (Answer::DENY, Reason::AclFile)
    } else if is_delivery && client.is_away {
        // The broker is about to queue it. When the client comes back and is let in, the broker asks about
        // every queued message again.
        (Answer::ALLOW, Reason::NoAccessRoute)
    } else {
        (Answer::IGNORE, Reason::NoAccessRoute)
    }
}

impl Policy {
    fn conclude(self, superuser: Option<&Failure>, answer: Answer, otherwise: Reason) -> Step {
        let (decision, by) = policy::decide_access(superuser, &Ok(answer), self.on_error);
        Step::Decided(decision, reason(by, otherwise))
    }
}

fn reason(by: DecidedBy, otherwise: Reason) -> Reason {
    match by {
        DecidedBy::Outcome => otherwise,
        DecidedBy::SuperuserFailure(failure) => Reason::Failure(Kind::Superuser, failure),
    }
}

/// What the client's own rules say.
fn ruling(grants: &Grants, client: Subject<'_>, action: Action<'_>) -> Option<Ruling> {
    let Subject { client_id, username, .. } = client;
    let (attributes, conditions) = (grants.attributes.as_deref(), grants.conditions.as_ref());
    let names = Names { username, client_id, attributes, conditions };
    grants.rules_in_force()?.judge(&action, names)
}

/// The questions that have to be asked, unless the user turns out to be a superuser.
#[must_use]
pub(crate) fn questions(
    policy: Policy,
    grants: &Grants,
    client: Subject<'_>,
    action: Action<'_>,
) -> Vec<Kind> {
    let mut answers = AnswersSoFar::default();
    let mut questions = Vec::new();
    while let Some(kind) = decide(policy, grants, client, action, &answers).question() {
        answers.note(kind, Ok(Answer::DENY));
        questions.push(kind);
    }
    questions
}

#[cfg(test)]
mod tests;
