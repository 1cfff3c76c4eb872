//! What would be decided, and by what: the command `checkAccess`.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::Place;
use super::command::Check;
use crate::answer::{Answer, Decision, Outcome, Verdict};
use crate::config::LocalUsersAcl;
use crate::plugin::Plugin;
use crate::plugin::access::Who;
use crate::policy::{self, OnError};
use crate::pool::Asked;
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
        without: Decision,
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
        self.engine.ask(self.engine.key(question), question)
    }

    fn find_decision(&self, who: Who<'_>, action: Action<'_>) -> Finding {
        let decided = |decision, by: &str| Finding::Decided(decision, by.to_owned());
        if self.is_special(who.client.id()) || self.is_special(who.username) {
            return decided(Decision::Deny, "deny_special_chars");
        }
        match &self.config.local_users {
            Some(local) if self.is_local(who.username) => {
                let decision = match local.acl {
                    LocalUsersAcl::Allow => Decision::Allow,
                    LocalUsersAcl::Defer => Decision::Defer,
                };
                return decided(decision, "local_users_acl");
            }
            _ => {}
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
        let without = if rules.is_some() { Decision::Deny } else { Decision::Defer };
        match (superuser, access) {
            (false, false) if rules.is_some() => decided(without, "no rule matches"),
            (false, false) => decided(without, "neither rules nor http_acl_route"),
            _ => Finding::Ask { superuser, access, without },
        }
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
    without: Decision,
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
        match self.second {
            _ if is_superuser => {
                self.place.respond(Ok(report(Decision::Allow, "http_superuser_route")))
            }
            None => {
                let (decision, by) = match &superuser {
                    Ok(_) => (self.without, "no rule allows it".to_owned()),
                    Err(failure) => (
                        policy::decide(Kind::Superuser, &superuser, self.on_error),
                        format!("on_error, as http_superuser_route failed: {failure}"),
                    ),
                };
                self.place.respond(Ok(report(decision, &by)));
            }
            Some(Asked::Now(outcome)) => finish(self.place, self.on_error, &outcome),
            Some(Asked::Later(ticket)) => {
                let (place, on_error) = (self.place, self.on_error);
                ticket.watch(move |outcome| finish(place, on_error, &outcome));
            }
        }
    }
}

fn finish(place: Place, on_error: OnError, outcome: &Outcome) {
    let decision = policy::decide(Kind::Access, outcome, on_error);
    let by = match outcome {
        Ok(_) => "http_acl_route".to_owned(),
        Err(failure) => format!("on_error, as http_acl_route failed: {failure}"),
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
