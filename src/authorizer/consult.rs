//! What is known of a question about a topic, and what is asked if that is not enough. Nobody waits here.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::Authorizer;
use super::who::{Who, client_ref};
use crate::answer::{Answer, Decision, Verdict};
use crate::cache::Key;
use crate::decide::{Reason, Step};
use crate::held_deliveries::AnswersSoFar;
use crate::pool::{Asked, Pending, Urgency};
use crate::question::{About, Access, Action, Kind, Question};
use crate::sessions::Basis;

/// How far a question has come.
pub(super) enum Consulted {
    Known(Decision, Reason),
    Asked(Kind, Pending),
}

impl Authorizer {
    /// What follows from what is known, and from the answers so far; or the question that is on its way now. A
    /// delivery that is held insists on its questions.
    pub(super) fn consult(
        &self,
        who: Who<'_>,
        action: Action<'_>,
        is_held: bool,
        answers: &mut AnswersSoFar,
    ) -> Consulted {
        loop {
            let (kind, asked) = match self.decide(who, action, answers) {
                Step::Decided(decision, reason) => {
                    self.note_if_left_to_broker(answers);
                    return Consulted::Known(decision, reason);
                }
                Step::AskSuperuser => (Kind::Superuser, self.ask_superuser(who, action, is_held)),
                Step::AskAcl => (Kind::Access, self.ask_acl(who, action, is_held)),
            };
            match asked {
                Asked::Now(outcome) => answers.note(kind, outcome),
                Asked::Later(pending) => return Consulted::Asked(kind, pending),
            }
        }
    }

    fn note_if_left_to_broker(&self, answers: &AnswersSoFar) {
        if let Some(Ok(Answer { verdict: Verdict::Ignore, .. })) = answers.access {
            self.leaves_to_broker.store(true, Ordering::Relaxed);
        }
    }

    fn ask_superuser(&self, who: Who<'_>, action: Action<'_>, is_held: bool) -> Asked {
        let question = who.question(About::Superuser);
        let key = self.services.engine.key(&question);
        if let Some((answer, _)) = self.services.engine.known(&key, &question) {
            return Asked::Now(Ok(answer));
        }
        self.ask_api(who, action, (key, &question), is_held)
    }

    fn ask_acl(&self, who: Who<'_>, action: Action<'_>, is_held: bool) -> Asked {
        let Who { client, username, .. } = who;
        let question = who.question(About::Access(action));
        let key = self.services.engine.key(&question);
        let Some((answer, permission)) = self.services.engine.known(&key, &question) else {
            if action.access == Access::Read {
                self.ask_for_other_subscribers(&key, action);
            }
            self.note_asked(who, action);
            return self.ask_api(who, action, (key, &question), is_held);
        };
        if answer.verdict == Verdict::Allow && who.broker.is_some() {
            self.services.sessions.note_allowed(
                client_ref(client, username),
                &action,
                Basis::Answer(permission),
            );
        }
        Asked::Now(Ok(answer))
    }

    /// Asks a question whose answer is not known, unless one is kept for this client's retry.
    fn ask_api(
        &self,
        who: Who<'_>,
        action: Action<'_>,
        (key, question): (Key, &Question<'_>),
        is_held: bool,
    ) -> Asked {
        if let Some(outcome) = self.kept_for_retry(who, action, (&key, question)) {
            return Asked::Now(outcome);
        }
        if is_held {
            self.services.engine.insist(key, question)
        } else {
            self.services.engine.ask_api(key, question, urgency(action))
        }
    }
}

/// Who waits for the answer: a delivery can be made later, and for all else the broker's thread waits.
fn urgency(action: Action<'_>) -> Urgency {
    match action.access {
        Access::Read => Urgency::Delivery,
        Access::Write | Access::Subscribe | Access::Unsubscribe => Urgency::Blocking,
    }
}
