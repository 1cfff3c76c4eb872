//! What a client may do with a topic.

#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use log::Level;

use super::Authorizer;
use super::consult::Consulted;
use super::held::Ahead;
use super::who::{AccessReply, Check, Who, client_ref, is_connected, is_retain_source};
use crate::answer::{Decision, Failure, Verdict};
use crate::block_budget::{Bound, Payer};
use crate::decide::{self, Policy, Reason, Step, Subject};
use crate::held_deliveries::AnswersSoFar;
use crate::log_queue::quoted;
use crate::pool::Asked;
use crate::question::{Access, Action, CertificatePart, Client, Kind, RawAclCheck};
use crate::sessions::{Basis, EndedSession, Grants};
use crate::trace::mark;

impl Authorizer {
    /// Whether this client was allowed this before, and for the same reason is now. False: that is to
    /// be found out. For the broker's own thread.
    pub(crate) fn recall(&self, raw_check: &RawAclCheck<'_>) -> bool {
        if raw_check.access == Access::Read && self.held.any() && self.held.is_for(raw_check.handle)
        {
            return false;
        }
        let holds = self.services.sessions.recall(raw_check, |basis| match basis {
            Basis::Grants => true,
            Basis::Answer(permission) => {
                let holds = self.services.engine.is_current(permission);
                if holds {
                    self.services.stats.hit();
                }
                holds
            }
        });
        let is_allowed = holds == Some(true);
        if is_allowed {
            self.services.stats.decided(Kind::Access, Decision::Allow);
        }
        is_allowed
    }

    /// May this client do this?
    pub(crate) fn access(&self, check: &Check<'_>) -> AccessReply {
        let Some((decision, reason)) = self.decide_access(check) else { return AccessReply::Deny };
        self.note_access(check.client, check.username, check.action, (decision, &reason));
        match decision {
            Decision::Allow => AccessReply::Allow,
            Decision::Deny => AccessReply::Deny,
            Decision::Defer => AccessReply::Defer,
            Decision::Unavailable | Decision::UnavailableWithReason => {
                self.reply_to_undecided(check)
            }
        }
    }

    /// The same, and why; nothing is kept for later.
    pub(crate) fn explain_access(&self, check: &Check<'_>) -> (Decision, Reason) {
        let check = &Check { message: None, ..*check };
        let judged = self.decide_access(check);
        let (decision, reason) = judged.unwrap_or((Decision::Deny, Reason::NotLetIn));
        self.note_access(check.client, check.username, check.action, (decision, &reason));
        (decision, reason)
    }

    /// Counts, and says at debug why something is denied.
    pub(super) fn note_access(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
        (decision, reason): (Decision, &Reason),
    ) {
        self.services.stats.decided(Kind::Access, decision);
        if decision != Decision::Deny {
            return;
        }
        let why = reason.denial();
        self.services.stats.denied(Kind::Access, why);
        if self.services.log_queue.keeps(Level::Debug) {
            log::debug!(
                logger: *self.services.log_queue,
                "access denied: username={} clientid={} acc={} topic={} reason={}{}",
                quoted(username.unwrap_or_default()),
                quoted(client.id()),
                action.access.acc(),
                quoted(action.topic),
                why.name(),
                mark(reason.trace())
            );
        }
    }

    /// None: it is a delivery that waits for its answer.
    fn decide_access(&self, check: &Check<'_>) -> Option<(Decision, Reason)> {
        let Check { client, username, action, .. } = *check;
        if action.access == Access::Unsubscribe {
            self.subscriptions.remove(client.handle(), action.topic);
            return Some((Decision::Allow, Reason::Unsubscribe));
        }
        if action.access == Access::Write && is_will_of_nobody(client, username) {
            return Some((Decision::Deny, Reason::WillOfNobody));
        }
        if username.is_some_and(|name| self.services.attempts.is_placeholder(name)) {
            // It waits, or waited in vain; either way nobody has let it in.
            return Some((Decision::Deny, Reason::NotLetIn));
        }
        self.access_of(check)
    }

    fn access_of(&self, check: &Check<'_>) -> Option<(Decision, Reason)> {
        let Check { client, action, broker, .. } = *check;
        if broker.is_some() && is_retain_source(client, action) {
            self.checks_retain_source.store(true, Ordering::Relaxed);
        }
        let username = match self.gate(client.id(), check.username) {
            Ok(username) => username,
            Err(judged) => return Some(judged),
        };
        if action.access == Access::Subscribe {
            self.begun.subscribes(client.handle());
            self.copies.end();
        }
        self.note_named(check, username);
        if self.waits_behind_others(check, username) {
            return None;
        }
        match self.access_by_session(check, username) {
            Ok(judged) => Some(judged),
            Err(grants) => {
                let who = Who { client, username, grants: &grants, broker };
                self.ask_access(who, check)
            }
        }
    }

    /// All that is decided before anything is known of the client beyond its names; else, the name to
    /// ask under. Nothing is recalled for a client that has not come this way: [`Sessions::recall`].
    ///
    /// [`Sessions::recall`]: crate::sessions::Sessions::recall
    pub(crate) fn gate<'a>(
        &'a self,
        client_id: &str,
        username: Option<&'a str>,
    ) -> Result<&'a str, (Decision, Reason)> {
        decide::gate(&self.services.config, client_id, username, |name| {
            self.services.local_users.as_ref().is_some_and(|users| users.contains(name))
        })
    }

    /// What follows from what is known of a client that has passed the gate, and from the answers so far.
    pub(super) fn decide(&self, who: Who<'_>, action: Action<'_>, answers: &AnswersSoFar) -> Step {
        let subject = who.subject();
        let file_allows = self.file_allows(subject.username, subject.client_id, &action);
        let subject = Subject { file_allows, ..subject };
        decide::decide(Policy::of(&self.services.config), who.grants, subject, action, answers)
    }

    /// What is decided without asking, which is remembered for the next time if it is a yes; else, how the
    /// client stands.
    fn access_by_session(
        &self,
        check: &Check<'_>,
        username: &str,
    ) -> Result<(Decision, Reason), Grants> {
        let Check { client, action, broker, .. } = *check;
        // Mostly the rules decide, and then nothing of them is copied.
        let judge = |grants: &Grants| {
            let who = Who { client, username, grants, broker };
            match self.decide(who, action, &AnswersSoFar::default()) {
                Step::Decided(decision, reason) => Ok((decision, reason)),
                Step::AskSuperuser | Step::AskAcl => Err(grants.clone()),
            }
        };
        let client_ref = client_ref(client, username);
        let is_another = |ended: &EndedSession| self.is_another(client, action.access, ended);
        let Some(judged) = self.services.sessions.look(client_ref, is_another, judge) else {
            let found = is_retain_source(client, action)
                .then(|| self.services.sessions.find(client.id(), username))
                .flatten();
            let grants = found.map(|(_, grants)| grants).unwrap_or_default();
            return judge(&grants);
        };
        match judged {
            Ok((Decision::Allow, Reason::Superuser)) => {
                self.services.sessions.note_allowed(client_ref, &action, Basis::Grants);
            }
            Ok((Decision::Allow, Reason::Rule(position))) => {
                self.services.sessions.note_allowed_by_rule(client_ref, &action, position);
            }
            _ => {}
        }
        judged
    }

    /// Whether this is a new client on a handle that one with the same names has left. Mosquitto 2.0 tells
    /// of nobody that it has come of whom it asks nobody (`use_identity_as_username`), and keeps the
    /// address of one that has left.
    fn is_another(&self, client: &dyn Client, access: Access, ended: &EndedSession) -> bool {
        if access == Access::Subscribe {
            // Only who is connected subscribes.
            return true;
        }
        // Within the pass in which a client leaves, nobody takes its handle over, and its Will follows.
        if ended.pass == self.services.tick_monitor.beats() {
            return false;
        }
        // The certificate goes with the connection, and a Will that is delayed is one of MQTT 5.
        client.certificate(CertificatePart::Subject).is_some()
            || access == Access::Write && client.protocol_version() != 5
    }

    /// Whose allowance the broker waits by. None: it does not wait, since this is a delivery that can be made
    /// later.
    fn payer<'a>(&self, who: Who<'a>, check: &Check<'_>) -> Option<Payer<'a>> {
        if who.broker.is_none() {
            return Some(Payer::HttpApi);
        }
        if !self.may_hold(check) || self.waits_a_moment(check) {
            return Some(Payer::Client { client_id: who.client.id(), username: who.username });
        }
        self.would_lose_properties(check).then_some(Payer::Deliveries)
    }

    /// Asks what is not known, and waits for it, unless it is a delivery, which can be made later.
    fn ask_access(&self, who: Who<'_>, check: &Check<'_>) -> Option<(Decision, Reason)> {
        let action = check.action;
        let mut answers = AnswersSoFar::default();
        let (mut bound, mut trace) = (Bound::Question, None);
        let mut unheard = None;
        let (decision, reason) = loop {
            let asked_at = self.services.clock.now();
            let taken_back = self.services.engine.times_outdated();
            let (kind, pending) = match self.consult(who, action, false, &mut answers) {
                Consulted::Known(decision, reason) => break (decision, reason),
                Consulted::Asked(kind, pending) => (kind, pending),
            };
            let Some(payer) = self.payer(who, check) else {
                self.hold(who, check, Ahead::Asked(answers, kind, pending));
                return None;
            };
            let mut asked = Asked::Later(pending);
            let waited = self.services.waiter.wait(&mut asked, payer);
            if waited.outcome.is_ok() && self.services.engine.times_outdated() != taken_back {
                // Another broker of the fleet took something back meanwhile, perhaps this.
                continue;
            }
            (bound, trace) = (waited.bound, waited.trace);
            if waited.outcome == Err(Failure::NotYet) {
                unheard = Some((kind, asked, asked_at));
            } else if self.closes(check) {
                self.note_told(who, action, (kind, &waited.outcome, asked_at));
            }
            answers.note(kind, waited.outcome);
        };
        if let (Some(Ok(answer)), true) = (&answers.superuser, is_connected(who.client)) {
            let is_superuser = answer.verdict == Verdict::Allow;
            self.services
                .sessions
                .set_superuser(client_ref(who.client, who.username), is_superuser);
        }
        if decision == Decision::Unavailable && self.may_hold(check) {
            let ahead = match unheard {
                Some((kind, Asked::Later(pending), _)) => Ahead::Asked(answers, kind, pending),
                _ => Ahead::Failed,
            };
            self.hold(who, check, ahead);
            return None;
        }
        if let Reason::Failure(_, failure) = &reason {
            self.report_undecided(failure, (bound, trace), who, check);
            if decision == Decision::Unavailable && self.closes(check) {
                self.prepare_retry(who, action, unheard);
            }
        } else if action.access == Access::Subscribe && decision == Decision::Allow {
            self.note_subscription(who, action.topic, action.qos);
        }
        Some((decision, reason))
    }
}

/// Whether this is the Will of a client that left while its login still waited: the broker
/// publishes it all the same, of a client without a name and an address.
fn is_will_of_nobody(client: &dyn Client, username: Option<&str>) -> bool {
    username.is_none() && client.address().is_none() && client.protocol_version() != 0
}
