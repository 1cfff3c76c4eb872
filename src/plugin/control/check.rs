//! What would be decided, and by what: the command `checkAccess`.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::ResponseSlot;
use super::command::Check;
use crate::answer::{Decision, Failure};
use crate::config::route_option;
use crate::decide::{self, Policy, Reason, Step, Subject};
use crate::held_deliveries::AnswersSoFar;
use crate::plugin::Plugin;
use crate::pool::{Asked, Urgency};
use crate::question::{About, Action, ClientSnapshot, Kind, Question};
use crate::rules::Rules;
use crate::sessions::Grants;
use crate::trace::TraceId;

/// A check whose answers are still to come.
struct AccessCheck {
    check: Check,
    grants: Grants,
    policy: Policy,
    file_allows: Option<bool>,
    /// What the API was asked, all at once.
    asked: Vec<(Kind, Asked)>,
    answers: AnswersSoFar,
    /// The trace ids of the requests that failed, where they have any.
    failed: Vec<(Kind, TraceId)>,
    slot: ResponseSlot,
}

impl Plugin {
    /// Finds out what the plugin would tell the broker. What has to be asked of the API is asked
    /// without waiting for it.
    pub(super) fn check_access(&self, check: Check, slot: ResponseSlot) {
        if let Err((decision, reason)) =
            self.authorizer.gate(&check.client_id, Some(&check.username))
        {
            return slot.respond(Ok(report(decision, in_words(&reason, None), None)));
        }
        let known = self.services.sessions.find(&check.client_id, &check.username);
        let (handle, grants) = known.unwrap_or((0, Grants::default()));
        let client = ClientSnapshot::named(handle, &check.client_id, &check.username);
        let (policy, action) = (Policy::of(&self.services.config), action(&check));
        let ask = |kind| {
            let about = match kind {
                Kind::Superuser => About::Superuser,
                Kind::Access | Kind::Login => About::Access(action),
            };
            let attributes = grants.attributes.as_deref();
            let question =
                Question { client: &client, username: &check.username, attributes, about };
            (
                kind,
                self.services.engine.ask(
                    self.services.engine.key(&question),
                    &question,
                    Urgency::Waiting,
                ),
            )
        };
        let file_allows = self.authorizer.file_allows(&check.username, &check.client_id, &action);
        let questions =
            decide::questions(policy, &grants, subject(&check, &grants, file_allows), action);
        let asked = questions.into_iter().map(ask).collect();
        let (answers, failed) = (AnswersSoFar::default(), Vec::new());
        AccessCheck { check, grants, policy, file_allows, asked, answers, failed, slot }.go_on();
    }
}

fn action(check: &Check) -> Action<'_> {
    Action { access: check.access, topic: &check.topic, qos: 0, retain: false }
}

fn subject<'a>(check: &'a Check, grants: &Grants, file_allows: Option<bool>) -> Subject<'a> {
    let Check { client_id, username, .. } = check;
    // Whoever asks means a client that is connected, whether or not it is at this moment.
    Subject { client_id, username, is_away: grants.has_expired, file_allows }
}

impl AccessCheck {
    /// Responds, if the answers so far are enough, or goes on with the next answer.
    fn go_on(mut self) {
        loop {
            let Self { policy, grants, check, answers, file_allows, .. } = &self;
            let subject = subject(check, grants, *file_allows);
            let step = decide::decide(*policy, grants, subject, action(check), answers);
            let kind = match step {
                Step::Decided(decision, reason) => {
                    let by = in_words(&reason, self.grants.rules.as_deref());
                    let trace = self.trace(&reason);
                    return self.slot.respond(Ok(report(decision, by, trace)));
                }
                Step::AskSuperuser => Kind::Superuser,
                Step::AskAcl => Kind::Access,
            };
            let position = self.asked.iter().position(|(asked, _)| *asked == kind);
            match position.map(|position| self.asked.remove(position).1) {
                Some(Asked::Now(outcome)) => self.answers.note(kind, outcome),
                Some(Asked::Later(pending)) => {
                    let trace = pending.trace_of();
                    return pending.watch(move |outcome| {
                        let trace = trace.filter(|_| outcome.is_err());
                        let trace = trace.and_then(|trace| trace.get());
                        self.failed.extend(trace.map(|trace| (kind, trace)));
                        self.answers.note(kind, outcome);
                        self.go_on();
                    });
                }
                None => self.answers.note(kind, Err(Failure::Internal)),
            }
        }
    }
}

impl AccessCheck {
    /// The trace id of the request that was decisive.
    fn trace(&self, reason: &Reason) -> Option<TraceId> {
        let Reason::Failure(kind, _) = reason else { return reason.trace() };
        self.failed.iter().find(|(failed, _)| failed == kind).map(|(_, trace)| *trace)
    }
}

/// Which rule, option or route it was.
fn in_words(reason: &Reason, rules: Option<&Rules>) -> String {
    match reason {
        Reason::LocalUser => "local_users_acl".to_owned(),
        Reason::Superuser => "superuser".to_owned(),
        Reason::Rule(position) => rules
            .and_then(|rules| rules.describe(*position))
            .unwrap_or_else(|| format!("rule {}", position + 1)),
        Reason::NoRule => "no rule matches".to_owned(),
        Reason::AclFile => "files_acl_path".to_owned(),
        Reason::NoAccessRoute => "neither rules nor http_acl_route".to_owned(),
        Reason::Answer(kind, _) => route_option(*kind).to_owned(),
        Reason::Failure(kind, failure) => {
            format!("on_error, as {} failed: {failure}", route_option(*kind))
        }
        // All else that may be known of a client that is only named is known by its names.
        _ => "deny_special_chars".to_owned(),
    }
}

fn report(decision: Decision, by: String, trace: Option<TraceId>) -> Value {
    let decision = match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Defer => "left to the broker",
        Decision::Unavailable | Decision::UnavailableWithReason => "unavailable",
    };
    let mut report = json!({ "decision": decision, "decidedBy": by });
    if let Some(trace) = trace {
        report["trace"] = trace.to_string().into();
    }
    report
}
