//! What is known of a question about a topic, and what is asked if that is not enough. Nobody waits here.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::access::{Who, holder, is_queued_for_later, ruling};
use super::{Ground, Plugin};
use crate::answer::{Answer, Decision, Verdict};
use crate::held_deliveries::Gathered;
use crate::policy::{self, DecidedBy};
use crate::pool::{Asked, Ticket, Urgency};
use crate::question::{About, Access, Action, Kind, Question};
use crate::rules::{Permission, Ruling};
use crate::sessions::Basis;

/// How far a question has come.
pub(super) enum Consulted {
    Known(Decision, Ground),
    Asked(Kind, Ticket),
}

impl Plugin {
    /// What follows from what is known, and what was gathered, of a question that rules alone do not
    /// decide; or the question that is on its way now. First it is whether the user is a superuser, then
    /// the ACL route, unless a rule denies. A yes of either is final. Without one, a superuser route that
    /// failed is a failure: it might have said yes.
    pub(super) fn consult(
        &self,
        who: Who<'_>,
        action: Action<'_>,
        gathered: &mut Gathered,
    ) -> Consulted {
        let Who { client, username, standing, .. } = who;
        let is_known = gathered.superuser.is_some() || standing.is_superuser.is_some();
        if !is_known && self.has_route(Kind::Superuser) {
            let question = Question { client, username, about: About::Superuser };
            match self.engine.ask(self.engine.key(&question), &question, urgency(action)) {
                Asked::Now(outcome) => gathered.superuser = Some(outcome),
                Asked::Later(ticket) => return Consulted::Asked(Kind::Superuser, ticket),
            }
        }
        let is_superuser = match (standing.is_superuser, &gathered.superuser) {
            (Some(known), _) => Ok(known),
            (None, Some(Ok(answer))) => Ok(answer.verdict == Verdict::Allow),
            (None, Some(Err(failure))) => Err(failure.clone()),
            (None, None) => Ok(false),
        };
        if is_superuser == Ok(true) {
            return Consulted::Known(Decision::Allow, Ground::Answer(Kind::Superuser));
        }
        let has_expired = standing.has_expired && action.access == Access::Read;
        let denying =
            ruling(who, action).filter(|(ruling, _)| ruling.permission == Permission::Deny);
        let (outcome, ground) = if let Some((Ruling { position, .. }, _)) = denying {
            (Ok(Answer::DENY), Some(Ground::Rule(position)))
        } else if self.has_route(Kind::Access) {
            match self.consult_access_route(who, action, gathered) {
                Asked::Now(outcome) => (outcome, None),
                Asked::Later(ticket) => return Consulted::Asked(Kind::Access, ticket),
            }
        } else if standing.rules.is_some() && !has_expired {
            (Ok(Answer::DENY), Some(Ground::NoRule))
        } else if is_queued_for_later(who, action) {
            (Ok(Answer::ALLOW), Some(Ground::NoAccessRoute))
        } else {
            (Ok(Answer::IGNORE), Some(Ground::NoAccessRoute))
        };
        let failure = is_superuser.as_ref().err();
        match policy::decide_access(failure, &outcome, self.config.on_error) {
            (decision, DecidedBy::SuperuserFailure(failure)) => {
                Consulted::Known(decision, Ground::Failure(Kind::Superuser, failure))
            }
            (decision, DecidedBy::Outcome) => {
                let ground = ground.unwrap_or_else(|| Ground::of(Kind::Access, outcome));
                Consulted::Known(decision, ground)
            }
        }
    }

    fn consult_access_route(
        &self,
        who: Who<'_>,
        action: Action<'_>,
        gathered: &mut Gathered,
    ) -> Asked {
        let Who { client, username, .. } = who;
        if let Some(outcome) = gathered.access.take() {
            if outcome.as_ref().is_ok_and(|answer| answer.verdict == Verdict::Ignore) {
                self.leaves_to_broker.store(true, Ordering::Relaxed);
            }
            return Asked::Now(outcome);
        }
        let question = Question { client, username, about: About::Access(action) };
        let key = self.engine.key(&question);
        let Some((answer, good)) = self.engine.known(&key, &question) else {
            if action.access == Access::Read {
                self.ask_for_other_subscribers(&key, action);
            }
            self.note_asked(who, action);
            return self.engine.ask_api(key, &question, urgency(action));
        };
        if answer.verdict == Verdict::Allow && who.on_broker_thread {
            self.sessions.note_allowed(holder(client, username), &action, Basis::Answer(good));
        }
        Asked::Now(Ok(answer))
    }
}

/// Who waits for the answer: a delivery can be made later, and for all else the broker's thread waits.
fn urgency(action: Action<'_>) -> Urgency {
    match action.access {
        Access::Read => Urgency::Waiting,
        Access::Write | Access::Subscribe | Access::Unsubscribe => Urgency::Blocking,
    }
}
