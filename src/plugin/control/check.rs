//! What would be decided, and by what: the command `checkAccess`.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::Place;
use super::command::Check;
use crate::answer::{Answer, Decision, Failure, Outcome, Verdict};
use crate::plugin::access::Who;
use crate::plugin::{Ground, Plugin};
use crate::policy::{self, DecidedBy, OnError};
use crate::pool::{Asked, Urgency};
use crate::question::{About, Action, Kind, Question};
use crate::sessions::Standing;
use crate::subscriptions::Portrait;

/// What was found, before anything is asked of the API.
enum Finding {
    Decided(Decision, String),
    /// The API's routes decide, first the one and then the other.
    Ask {
        superuser: bool,
        access: bool,
        /// What holds where the ACL route is not asked, and why.
        without: (Answer, &'static str),
    },
}

impl Plugin {
    /// Finds out what the plugin would tell the broker. What has to be asked of the API is asked
    /// without waiting for it.
    pub(super) fn check_access(&self, check: Check, place: Place) {
        let Check { username, client_id, access, topic } = check;
        let (handle, standing) =
            self.sessions.find(&client_id, &username).unwrap_or((0, Standing::default()));
        let client = Portrait::named(handle, &client_id, &username);
        let (username, standing) = (&username, &standing);
        let who = Who { client: &client, username, standing, on_broker_thread: true };
        let action = Action { access, topic: &topic, qos: 0, retain: false };
        match self.find_decision(who, action) {
            Finding::Decided(decision, by) => place.respond(Ok(report(decision, &by))),
            Finding::Ask { superuser, access, without } => {
                let route = Question { client: &client, username, about: About::Access(action) };
                let superuser_route = Question { about: About::Superuser, ..route };
                let second = access.then(|| self.ask_for(&route));
                let case = Case { second, without, on_error: self.config.on_error, place };
                match superuser.then(|| self.ask_for(&superuser_route)) {
                    Some(first) => case.begin(first),
                    None => case.go_on(Ok(Answer::DENY)),
                }
            }
        }
    }

    fn ask_for(&self, question: &Question<'_>) -> Asked {
        self.engine.ask(self.engine.key(question), question, Urgency::Waiting)
    }

    fn find_decision(&self, who: Who<'_>, action: Action<'_>) -> Finding {
        let decided = |decision, by: &str| Finding::Decided(decision, by.to_owned());
        match self.gate(who.client.id(), Some(who.username)) {
            Err((decision, Ground::LocalUser)) => return decided(decision, "local_users_acl"),
            Err((decision, _)) => return decided(decision, "deny_special_chars"),
            Ok(_) => {}
        }
        if let Some((decision, _, _)) = self.access_by_rules(who, action) {
            let by = match (who.standing.is_superuser, self.ruling_in_words(who, action)) {
                (Some(true), _) | (_, None) => "superuser".to_owned(),
                (_, Some(rule)) => rule,
            };
            return Finding::Decided(decision, by);
        }
        let superuser = self.has_route(Kind::Superuser) && who.standing.is_superuser.is_none();
        let rules = who.standing.rules.as_ref();
        let denied_by_rule = self.ruling_in_words(who, action).is_some();
        let access = self.has_route(Kind::Access) && !denied_by_rule;
        let (without, why) = match rules {
            Some(_) if denied_by_rule => (Answer::DENY, "a rule denies it"),
            Some(_) => (Answer::DENY, "no rule matches"),
            None => (Answer::IGNORE, "neither rules nor http_acl_route"),
        };
        if superuser || access {
            return Finding::Ask { superuser, access, without: (without, why) };
        }
        decided(policy::decide(Kind::Access, &Ok(without), self.config.on_error), why)
    }

    fn ruling_in_words(&self, who: Who<'_>, action: Action<'_>) -> Option<String> {
        let rules = who.standing.rules.as_ref()?;
        let names = crate::rules::Names { username: who.username, client_id: who.client.id() };
        rules.describe(rules.judge(&action, names)?.position)
    }
}

/// A check whose answer is still to come.
struct Case {
    second: Option<Asked>,
    without: (Answer, &'static str),
    on_error: OnError,
    place: Place,
}

impl Case {
    fn begin(self, superuser: Asked) {
        match superuser {
            Asked::Now(outcome) => self.go_on(outcome),
            Asked::Later(ticket) => ticket.watch(move |outcome| self.go_on(outcome)),
        }
    }

    /// The superuser route has answered, or there is none to ask.
    fn go_on(self, superuser: Outcome) {
        let is_superuser = superuser.as_ref().is_ok_and(|a| a.verdict == Verdict::Allow);
        let Self { second, without: (without, why), on_error, place } = self;
        let failure = superuser.err();
        match second {
            _ if is_superuser => place.respond(Ok(report(Decision::Allow, "http_superuser_route"))),
            None => finish(place, on_error, failure.as_ref(), &Ok(without), why),
            Some(Asked::Now(outcome)) => {
                finish(place, on_error, failure.as_ref(), &outcome, "http_acl_route");
            }
            Some(Asked::Later(ticket)) => ticket.watch(move |outcome| {
                finish(place, on_error, failure.as_ref(), &outcome, "http_acl_route");
            }),
        }
    }
}

/// Responds with what follows, if the superuser route failed too. `by` tells whose word the outcome is.
fn finish(
    place: Place,
    on_error: OnError,
    superuser: Option<&Failure>,
    outcome: &Outcome,
    by: &str,
) {
    let (decision, decided_by) = policy::decide_access(superuser, outcome, on_error);
    let by = match (decided_by, outcome) {
        (DecidedBy::SuperuserFailure(failure), _) => {
            format!("on_error, as http_superuser_route failed: {failure}")
        }
        (DecidedBy::Outcome, Err(failure)) => format!("on_error, as {by} failed: {failure}"),
        (DecidedBy::Outcome, Ok(_)) => by.to_owned(),
    };
    place.respond(Ok(report(decision, &by)));
}

fn report(decision: Decision, by: &str) -> Value {
    let decision = match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Defer => "left to the broker",
        Decision::Unavailable | Decision::UnavailableAloud => "unavailable",
    };
    json!({ "decision": decision, "decidedBy": by })
}
