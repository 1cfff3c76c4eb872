//! The subcommands `login` and `access`: ask as the plugin does.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use mosquitto_http_auth::answer::Decision;
use mosquitto_http_auth::decide::Reason;
use mosquitto_http_auth::plugin::{Attempt, Check, LoginReply};
use mosquitto_http_auth::question::{Access, Action, Kind};
use zeroize::Zeroizing;

use crate::args::{self, Acc};
use crate::block::{self, Start, Started};
use crate::exchange::Witness;
use crate::exit;
use crate::mask::Mask;
use crate::password;
use crate::problem::Problem;
use crate::report::Report;
use crate::tls;
use crate::verdict::Judged;

pub(crate) fn login(args: &args::Login, out: &mut dyn Write) -> Result<u8, Problem> {
    let session = Session::start(&args.conf)?;
    let username = args.user.username.as_deref().filter(|name| !name.is_empty());
    let password = password::read(&args.password, username)?;
    let judged = session.log_in(&args.client, username, &password);
    let status = judged.status();
    session.report(vec![judged], (&args.client, username, &password), args.json, out)?;
    Ok(status)
}

pub(crate) fn access(args: &args::Access, out: &mut dyn Write) -> Result<u8, Problem> {
    let access = match args.acc {
        Acc::Receive => Access::Read,
        Acc::Publish => Access::Write,
        Acc::Subscribe => Access::Subscribe,
        Acc::Unsubscribe => Access::Unsubscribe,
    };
    check_topic(access, &args.topic)?;
    let session = Session::start(&args.conf)?;
    let username = args.user.username.as_deref().filter(|name| !name.is_empty());
    let mut all = Vec::new();
    let mut password = Zeroizing::default();
    if args.login {
        password = password::read(&args.password, username)?;
        all.push(session.log_in(&args.client, username, &password));
    }
    // Whom nobody lets in does nothing. What the broker's other means say is not known here.
    let is_out = |judged: &Judged| ![exit::YES, exit::LEFT_TO_BROKER].contains(&judged.status());
    if !all.iter().any(is_out) {
        let action = Action { access, topic: &args.topic, qos: args.qos, retain: args.retain };
        let client = &args.client;
        let granted = all.last().and_then(Judged::granted);
        let known_as =
            granted.as_ref().and_then(|session_grants| session_grants.username.as_deref());
        let username = known_as.or(username);
        let broker = block::Log::default();
        let check = Check { client, username, action, message: None, broker: Some(&broker) };
        let (decision, reason) = session.started.plugin.explain_access(&check);
        let judged = session.judged(Kind::Access, decision, reason, all.last());
        all.push(Judged { beforehand: beforehand(access, &args.topic), ..judged });
    }
    let status = all.last().map_or(exit::USAGE, Judged::status);
    session.report(all, (&args.client, username, &password), args.json, out)?;
    Ok(status)
}

/// What the broker itself refuses before it asks anyone.
fn check_topic(access: Access, topic: &str) -> Result<(), String> {
    let has_wildcards = topic.contains(['+', '#']);
    if topic.is_empty() {
        return Err("--topic: a topic has at least one character".to_owned());
    }
    if has_wildcards && matches!(access, Access::Read | Access::Write) {
        return Err(format!(
            "--topic {topic:?} is not allowed; allowed: a topic name, which has no + and no # in \
             it (a topic filter goes with --acc subscribe)"
        ));
    }
    if matches!(access, Access::Subscribe | Access::Unsubscribe) && !is_filter(topic) {
        return Err(format!(
            "--topic {topic:?} is no topic filter: # is the whole of the last level, and + the whole \
             of a level"
        ));
    }
    Ok(())
}

/// MQTT 5.0, section 4.7.1.
fn is_filter(topic: &str) -> bool {
    let (above, last) = topic.rsplit_once('/').unwrap_or(("", topic));
    let is_level = |level: &str| level == "+" || !level.contains(['+', '#']);
    (last == "#" || is_level(last)) && above.split('/').all(is_level)
}

/// What Mosquitto decides before it asks a plugin.
fn beforehand(access: Access, topic: &str) -> Option<&'static str> {
    let is_state = topic.starts_with("$SYS/broker/connection/") && topic.ends_with("/state");
    match access {
        Access::Write if topic.starts_with("$SYS/") && !is_state => {
            Some("Mosquitto itself denies a publish to $SYS, and asks nobody")
        }
        Access::Read | Access::Write if topic.starts_with("$share") => {
            Some("Mosquitto itself denies messages on $share, and asks nobody")
        }
        _ => None,
    }
}

/// The plugin, started for one client's questions.
struct Session {
    started: Started,
    witness: Arc<Witness>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.started.plugin.shut_down();
    }
}

impl Session {
    fn start(args: &args::Conf) -> Result<Self, String> {
        let witness = Arc::new(Witness::default());
        let how = Start { observer: Some(witness.clone()), patient: true, ..Start::default() };
        Ok(Self { started: block::chosen(args, how)?, witness })
    }

    fn log_in(
        &self,
        client: &args::ClientFacts,
        username: Option<&str>,
        password: &[u8],
    ) -> Judged {
        let broker = block::Log::default();
        let attempt = Attempt { client, username, password, broker: Some(&broker) };
        let (reply, reason) = self.started.plugin.explain_login(&attempt);
        let decision = match reply {
            LoginReply::Now(decision) => decision,
            // It was told that it cannot.
            LoginReply::Later => Decision::Unavailable,
        };
        self.judged(Kind::Login, decision, reason, None)
    }

    fn judged(
        &self,
        kind: Kind,
        decision: Decision,
        reason: Reason,
        login: Option<&Judged>,
    ) -> Judged {
        let exchanges = self.witness.take();
        let rules = login.and_then(Judged::granted);
        let rule = match (&reason, &rules) {
            (Reason::Rule(position), Some(session_grants)) => {
                session_grants.rules.as_ref().and_then(|rules| rules.describe(*position))
            }
            _ => None,
        };
        Judged { kind, decision, reason, rule, exchanges, beforehand: None }
    }

    fn report(
        &self,
        judged: Vec<Judged>,
        (client, username, password): (&args::ClientFacts, Option<&str>, &[u8]),
        json: bool,
        out: &mut dyn Write,
    ) -> Result<(), Problem> {
        let config = &self.started.config;
        let asked: BTreeSet<_> =
            judged.iter().flat_map(|judged| &judged.exchanges).map(|e| &e.origin).collect();
        let hosts = config.endpoints.iter().filter(|_| config.https);
        let hosts = hosts.filter(|host| asked.contains(&host.origin(true)));
        let tls = hosts.map(|host| (host.origin(true), tls::look_at(config, host))).collect();
        let log = self.started.lines.iter().cloned().chain(block::lines(&self.started.plugin));
        let mask = Mask { config, client, username, password };
        let report = Report { judged: &judged, tls, log: log.collect(), mask };
        if json { report.as_json(out) } else { report.print(out) }?;
        Ok(())
    }
}
