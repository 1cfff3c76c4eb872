//! What a client may do with a topic.

#![forbid(unsafe_code)]

use super::{Ground, Plugin};
use crate::answer::{Answer, Decision, Failure, Outcome, Verdict};
use crate::block_budget::Payer;
use crate::config::{EmptyCredentials, LocalUsersAcl};
use crate::policy::{self, DecidedBy};
use crate::question::{About, Access, Action, CertificatePart, Client, Glance, Kind, Question};
use crate::rules::{Names, Permission, Ruling};
use crate::sessions::{Basis, Departed, Holder, Standing};

/// Who wants to do something, and what is known of it without asking.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    pub client: &'a dyn Client,
    pub username: &'a str,
    pub standing: &'a Standing,
    /// Whether the broker asks on its own thread; 2.1 asks about its HTTP API on another.
    pub on_broker_thread: bool,
}

/// For whom it holds what is known without asking.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Client,
    /// Everybody who has the same rules.
    Everybody,
}

impl Plugin {
    /// Whether this client was allowed this before, and for the same reason is now. False: that is to
    /// be found out. For the broker's own thread.
    pub fn recall(&self, glance: &Glance<'_>) -> bool {
        let Some(basis) = self.sessions.recall(glance) else { return false };
        if let Basis::Answer(good) = &basis {
            if !self.engine.is_good(good) {
                return false;
            }
            self.tally.hit();
        }
        self.tally.decided(Kind::Access, Decision::Allow);
        true
    }

    /// May this client do this? `username` is none where the client has none.
    pub fn access(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
        on_broker_thread: bool,
    ) -> Decision {
        self.explain_access(client, username, action, on_broker_thread).0
    }

    /// The same, and why.
    pub fn explain_access(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
        on_broker_thread: bool,
    ) -> (Decision, Ground) {
        let judged = self.decide_access(client, username, action, on_broker_thread);
        self.tally.decided(Kind::Access, judged.0);
        if judged.0 == Decision::Deny {
            self.tally.denied(Kind::Access, judged.1.denial());
        }
        judged
    }

    fn decide_access(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
        on_broker_thread: bool,
    ) -> (Decision, Ground) {
        if action.access == Access::Unsubscribe {
            self.subscriptions.remove(client.handle(), action.topic);
            return (Decision::Allow, Ground::Unsubscribe);
        }
        if action.access == Access::Write && is_will_of_nobody(client, username) {
            return (Decision::Deny, Ground::WillOfNobody);
        }
        // From here on the broker knows the client by its own name, and so do its other means, which may
        // be asked next.
        let own = self.attempts.is_entering(client.handle()).then(|| self.enter(client, username));
        let own = own.flatten();
        let username = own.as_deref().or(username);
        if username.is_some_and(|name| self.attempts.is_placeholder(name)) {
            // It waits, or waited in vain; either way nobody has let it in.
            return (Decision::Deny, Ground::NotLetIn);
        }
        self.access_of(client, username, action, on_broker_thread)
    }

    fn access_of(
        &self,
        client: &dyn Client,
        username: Option<&str>,
        action: Action<'_>,
        on_broker_thread: bool,
    ) -> (Decision, Ground) {
        let username = match self.gate(client.id(), username) {
            Ok(username) => username,
            Err(judged) => return judged,
        };
        match self.access_by_session(client, username, action, on_broker_thread) {
            Ok(judged) => judged,
            Err(standing) => {
                let who = Who { client, username, standing: &standing, on_broker_thread };
                self.ask_access(who, action)
            }
        }
    }

    /// All that is decided before anything is known of the client beyond its names; else, the name to
    /// ask under. Nothing is recalled for a client that has not come this way: [`Sessions::recall`].
    ///
    /// [`Sessions::recall`]: crate::sessions::Sessions::recall
    pub(super) fn gate<'a>(
        &'a self,
        client_id: &str,
        username: Option<&'a str>,
    ) -> Result<&'a str, (Decision, Ground)> {
        if self.is_special(client_id) || username.is_some_and(|name| self.is_special(name)) {
            return Err((Decision::Deny, Ground::SpecialChars));
        }
        let config = &self.config;
        let stand_in = config.anonymous_username.as_deref().or(config.anonymous_access.as_deref());
        let Some(username) = username.or(stand_in) else {
            return Err(match config.empty_credentials {
                EmptyCredentials::Own => (Decision::Defer, Ground::NoUsername),
                EmptyCredentials::Deny => (Decision::Deny, Ground::EmptyCredentials),
            });
        };
        match &config.local_users {
            Some(local) if self.is_local(username) => {
                let decision = match local.acl {
                    LocalUsersAcl::Allow => Decision::Allow,
                    LocalUsersAcl::Defer => Decision::Defer,
                };
                Err((decision, Ground::LocalUser))
            }
            _ => Ok(username),
        }
    }

    /// What is known without asking, which is remembered for the next time if it is a yes; else, how the
    /// client stands.
    fn access_by_session(
        &self,
        client: &dyn Client,
        username: &str,
        action: Action<'_>,
        on_broker_thread: bool,
    ) -> Result<(Decision, Ground), Standing> {
        // Mostly the rules decide, and then nothing of them is copied.
        let judge = |standing: &Standing| {
            let who = Who { client, username, standing, on_broker_thread };
            self.access_by_rules(who, action).ok_or_else(|| standing.clone())
        };
        let holder = holder(client, username);
        let is_another = |departed: &Departed| self.is_another(client, action.access, departed);
        let Some(judged) = self.sessions.look(holder, is_another, judge) else {
            // With check_retain_source, a stand-in for whoever published a retained message.
            let is_stand_in = client.protocol_version() == 0 && action.access == Access::Write;
            let found = is_stand_in.then(|| self.sessions.find(client.id(), username)).flatten();
            let standing = found.map(|(_, standing)| standing).unwrap_or_default();
            return judge(&standing).map(|(decision, ground, _)| (decision, ground));
        };
        let (decision, ground, reach) = judged?;
        match (decision, reach) {
            (Decision::Allow, Reach::Everybody) => {
                self.sessions.note_allowed_to_all(holder, &action);
            }
            (Decision::Allow, Reach::Client) => {
                self.sessions.note_allowed(holder, &action, Basis::Standing);
            }
            _ => {}
        }
        Ok((decision, ground))
    }

    /// Whether this is a new client on a handle that one with the same names has left. Mosquitto 2.0 tells
    /// of nobody that it has come of whom it asks nobody (`use_identity_as_username`), and keeps the
    /// address of one that has left.
    fn is_another(&self, client: &dyn Client, access: Access, departed: &Departed) -> bool {
        if access == Access::Subscribe {
            // Only who is connected subscribes.
            return true;
        }
        // Within the pass in which a client leaves, nobody takes its handle over, and its Will follows.
        if departed.pass == self.pulse.beats() {
            return false;
        }
        // The certificate goes with the connection, and a Will that is delayed is one of MQTT 5.
        client.certificate(CertificatePart::Subject).is_some()
            || access == Access::Write && client.protocol_version() != 5
    }

    /// A name with a wildcard in it could pass for a topic filter where the API builds one from it.
    pub(super) fn is_special(&self, name: &str) -> bool {
        self.config.special_chars.occur_in(name)
    }

    /// What is known without asking: a superuser may do everything, and so may anyone what a rule
    /// allows. A rule that denies is final only if the user is known to be no superuser.
    pub(super) fn access_by_rules(
        &self,
        who: Who<'_>,
        action: Action<'_>,
    ) -> Option<(Decision, Ground, Reach)> {
        let is_superuser = match who.standing.is_superuser {
            None if !self.has_route(Kind::Superuser) => Some(false),
            known => known,
        };
        if is_superuser == Some(true) {
            return Some((Decision::Allow, Ground::Superuser, Reach::Client));
        }
        let (Ruling { permission, position }, reach) = ruling(who, action)?;
        match (permission, is_superuser) {
            (Permission::Allow, _) => Some((Decision::Allow, Ground::Rule(position), reach)),
            (Permission::Deny, Some(_)) => Some((Decision::Deny, Ground::Rule(position), reach)),
            (Permission::Deny, None) => None,
        }
    }

    /// Asks what is not known: first whether the user is a superuser, then the ACL route, unless a
    /// rule denies.
    fn ask_access(&self, who: Who<'_>, action: Action<'_>) -> (Decision, Ground) {
        let is_superuser = self.ask_superuser(who);
        if is_superuser == Ok(true) {
            return (Decision::Allow, Ground::Answer(Kind::Superuser));
        }
        let has_rules = who.standing.rules.is_some();
        let denying =
            ruling(who, action).filter(|(ruling, _)| ruling.permission == Permission::Deny);
        let (outcome, ground) = if let Some((Ruling { position, .. }, _)) = denying {
            (Ok(Answer::DENY), Some(Ground::Rule(position)))
        } else if self.has_route(Kind::Access) {
            (self.ask_access_route(who, action), None)
        } else if has_rules && !(who.standing.has_expired && action.access == Access::Read) {
            (Ok(Answer::DENY), Some(Ground::NoRule))
        } else if is_queued_for_later(who, action) {
            (Ok(Answer::ALLOW), Some(Ground::NoAccessRoute))
        } else {
            (Ok(Answer::IGNORE), Some(Ground::NoAccessRoute))
        };
        let failure = is_superuser.as_ref().err();
        match policy::decide_access(failure, &outcome, self.config.on_error) {
            (decision, DecidedBy::SuperuserFailure(failure)) => {
                (decision, Ground::Failure(Kind::Superuser, failure))
            }
            (decision, DecidedBy::Outcome) => {
                (decision, ground.unwrap_or_else(|| Ground::of(Kind::Access, outcome)))
            }
        }
    }

    /// Whether the user is a superuser. Once that is known, it holds for as long as the client is
    /// connected.
    fn ask_superuser(&self, who: Who<'_>) -> Result<bool, Failure> {
        if let Some(known) = who.standing.is_superuser {
            return Ok(known);
        }
        if !self.has_route(Kind::Superuser) {
            return Ok(false);
        }
        let Who { client, username, .. } = who;
        let question = Question { client, username, about: About::Superuser };
        let asked = self.engine.ask(self.engine.key(&question), &question);
        let answer = self.wait(asked, payer(who))?;
        let is_superuser = answer.verdict == Verdict::Allow;
        if is_connected(client) {
            self.sessions.set_superuser(holder(client, username), is_superuser);
        }
        Ok(is_superuser)
    }

    fn ask_access_route(&self, who: Who<'_>, action: Action<'_>) -> Outcome {
        let Who { client, username, .. } = who;
        let question = Question { client, username, about: About::Access(action) };
        let key = self.engine.key(&question);
        let outcome = match self.engine.known(&key, &question) {
            Some((answer, good)) => {
                if answer.verdict == Verdict::Allow && who.on_broker_thread {
                    self.sessions.note_allowed(
                        holder(client, username),
                        &action,
                        Basis::Answer(good),
                    );
                }
                Ok(answer)
            }
            None => {
                if action.access == Access::Read {
                    self.ask_for_other_subscribers(&key, action);
                }
                self.wait(self.engine.ask_api(key, &question), payer(who))
            }
        };
        let is_allowed = outcome.as_ref().is_ok_and(|answer| answer.verdict == Verdict::Allow);
        if action.access == Access::Subscribe && is_allowed {
            self.note_subscription(who, action.topic, action.qos);
        }
        outcome
    }
}

/// Whose allowance the broker waits by, for this client's checks.
fn payer<'a>(who: Who<'a>) -> Payer<'a> {
    match who.on_broker_thread {
        true => Payer::Client { client_id: who.client.id(), username: who.username },
        false => Payer::HttpApi,
    }
}

/// What the client's own rules say, and for whom they say so.
fn ruling(who: Who<'_>, action: Action<'_>) -> Option<(Ruling, Reach)> {
    let rules = who.standing.rules_in_force()?;
    let names = Names { username: who.username, client_id: who.client.id() };
    let (ruling, for_all) = rules.judge_for(&action, names);
    Some((ruling?, if for_all { Reach::Everybody } else { Reach::Client }))
}

pub(super) fn holder<'a>(client: &'a dyn Client, username: &'a str) -> Holder<'a> {
    Holder { handle: client.handle(), client_id: client.id(), username }
}

/// Whether the broker will tell when this client leaves. (Version 0 is a stand-in: the broker's own
/// for whoever published a retained message, or 2.1's for its HTTP API.)
fn is_connected(client: &dyn Client) -> bool {
    client.address().is_some() && client.protocol_version() != 0
}

/// Whether this is the Will of a client that left while its login still waited: the broker
/// publishes it all the same, of a client without a name and an address.
fn is_will_of_nobody(client: &dyn Client, username: Option<&str>) -> bool {
    username.is_none() && client.address().is_none() && client.protocol_version() != 0
}

/// Whether a message is about to be queued for a session that the broker restored from disk, or whose
/// client was let in until a time that is over by now. When its client comes back and is let in, the broker
/// asks about every queued message again.
fn is_queued_for_later(who: Who<'_>, action: Action<'_>) -> bool {
    let is_away = who.client.address().is_none() || who.standing.has_expired;
    action.access == Access::Read && is_away && who.on_broker_thread
}
