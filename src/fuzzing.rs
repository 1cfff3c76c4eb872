//! What reads the bytes of others, for a fuzzer to feed: `fuzz/` does with a nightly compiler, and the
//! test below with any, from the same seeds.

#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a finding is a panic")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

mod broker;
mod connection;
mod growth;
mod ledger;
mod model;

use crate::answer::{Answer, Verdict};
use crate::api::fuzzing::{Response, read, read_batch};
use crate::api_format::{ApiFormat, Compat, ResponseMode};
use crate::config;
use crate::fleet;
use crate::jose::{self, Checks};
use crate::plugin::fuzzing::read_commands;
use crate::question::{Access, Action, Kind};
use crate::rules::fuzzing::first_match;
use crate::rules::{Condition, Names, Permission, Rule, Rules, Syntax, Verb, Whom};

/// Options as the broker would hand them over, one in a line.
pub fn options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    // What is read from files is not the fuzzer's business.
    let given: Vec<_> =
        text.lines().filter(|l| !l.contains("_file") && !l.contains('@')).map(pair).collect();
    match config::read(&given) {
        Ok(config) => assert!(!config.to_string().contains('\n')),
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(!error.to_string().contains('\n'), "{error:?} is more than a line");
            }
        }
    }
}

/// What stands in the Redis of a fleet, whoever has written it.
pub fn fleet(data: &[u8]) {
    fleet::fuzzing::open(data);
}

/// A set of keys, and in another line a token that is verified with it; or a file of keys.
pub fn token(data: &[u8]) {
    let line_end = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (keys, token) = data.split_at(line_end);
    let keys = jose::read_set(keys).unwrap_or_default();
    if let Some(text) = jose::token_in(token.strip_prefix(b"\n").unwrap_or(token)) {
        let checks = Checks { algorithms: None, issuer: None, audience: &[], leeway: LONG };
        if jose::verify(text, &keys, checks).is_ok() {
            // So says the header, which nobody has looked at but the library.
            let header = text.split('.').next().unwrap_or_default();
            let header = BASE64URL.decode(header).unwrap();
            let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
            let algorithm = header["alg"].as_str().unwrap();
            assert!(["RS", "PS", "ES", "Ed"].iter().any(|kind| algorithm.starts_with(kind)));
            assert!(header.get("crit").is_none());
        }
    }
    let _ = jose::read_set(data);
    let _ = jose::read_pem(data);
}

/// So old tokens are good: those of the standard are, in seconds.
const LONG: u64 = 1_700_000_000;

/// The claims of a token that is signed by the right key, behind a byte for the options.
pub fn claims(data: &[u8]) {
    crate::tokens::fuzzing::claims(data);
}

/// An answer: three bytes for status, kind and format, and its body.
pub fn answer(data: &[u8]) {
    let [status, kind, mode, body @ ..] = data else { return };
    let statuses = [200, 201, 204, 301, 403, 408, 429, 500];
    let status = statuses[usize::from(*status) % statuses.len()];
    let kind = [Kind::Login, Kind::Superuser, Kind::Access][usize::from(*kind) % 3];
    let response = [ResponseMode::Status, ResponseMode::Json, ResponseMode::Text];
    let compat = [Compat::None, Compat::GoAuth, Compat::AuthPlug, Compat::Emqx];
    let api_format = ApiFormat {
        response: response[usize::from(*mode) % 3],
        compat: compat[usize::from(*mode) / 3 % 4],
        ..ApiFormat::default()
    };
    let now = Duration::from_secs(1_700_000_000);
    let response = Response::of(status, body);
    if let Ok(reply) = read(kind, &response, &api_format, now) {
        let Answer { verdict, session_grants, reason, .. } = reply.answer;
        assert!(reason.is_none_or(|reason| verdict == Verdict::Deny && reason.len() <= 200));
        assert!(verdict != Verdict::Allow || (200..300).contains(&status));
        assert!(session_grants.is_none() || (verdict == Verdict::Allow && kind == Kind::Login));
        let lifetime = reply.freshness.lifetime;
        assert!(lifetime.is_none_or(|life| life <= Duration::from_secs(31_536_000)));
    }
    if let Ok(replies) = read_batch(&response, 2) {
        assert!(status == 200 && replies.len() == 2);
    }
}

/// Rules and actions, one in a line: `allow publish a/#`, `write a/b`.
pub fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (mut rules, mut actions) = (Vec::new(), Vec::new());
    for line in text.lines().take(12) {
        rules.extend(rule(line));
        let words: Vec<_> = line.splitn(2, ' ').collect();
        match words[..] {
            ["write", topic] => actions.push((Access::Write, topic)),
            ["read", topic] => actions.push((Access::Read, topic)),
            // The model tries all topics of so many levels.
            ["subscribe", topic] if topic.split('/').count() <= 3 => {
                actions.push((Access::Subscribe, topic));
            }
            _ => {}
        }
    }
    let deep = rules.iter().any(|rule| rule.topic.split('/').count() > 3);
    let syntax = if data.len() % 2 == 0 { Syntax::Own } else { Syntax::Emqx };
    let Ok(compiled) = Rules::compile_as(rules.clone(), syntax) else { return };
    let names = Names::of("ann", "c1");
    let whom = Whom { address: None, username: "ann", client_id: "c1" };
    for (access, topic) in actions {
        let action = Action { access, topic, qos: 0, retain: false };
        let ruling = compiled.judge(&action, names);
        if access != Access::Subscribe || !deep {
            assert_eq!(
                ruling,
                first_match((&rules, syntax), &action, names, whom),
                "{rules:?} {action:?}"
            );
        }
        if let Some(ruling) = ruling {
            assert!(compiled.describe(ruling.position).is_some());
        }
    }
}

/// A rule from `allow publish a/#`.
fn rule(line: &str) -> Option<Rule> {
    let words: Vec<_> = line.splitn(3, ' ').collect();
    let [permission @ ("allow" | "deny"), verb, topic] = words[..] else { return None };
    let permission = if permission == "allow" { Permission::Allow } else { Permission::Deny };
    let verb = match verb {
        "publish" => Verb::Publish,
        "subscribe" => Verb::Subscribe,
        "read" => Verb::Read,
        _ => Verb::All,
    };
    let (topic, condition) = (topic.to_owned(), Condition::NONE);
    Some(Rule { permission, verb, topic, qos: None, retain: None, condition })
}

/// What arrives on a connection to the API: four bytes for how it arrives, and the answer.
pub fn connection(data: &[u8]) {
    connection::run(data);
}

/// What an API makes of events: those that it does not like, and a byte for each of its answers.
pub fn told(data: &[u8]) {
    crate::events::fuzzing::run(data);
}

/// Texts that grow: four bytes for who reads it and what of it is repeated, and the text.
pub fn growth(data: &[u8]) {
    growth::run(data);
}

/// A request for metrics: two bytes for where it is cut, and the request.
pub fn metrics(data: &[u8]) {
    let [low, high, request @ ..] = data else { return };
    crate::metrics::fuzzing::read_request(request, u16::from_le_bytes([*low, *high]).into());
}

/// Mosquitto's password file.
pub fn passwords(data: &[u8]) {
    crate::local_users::read_names(data);
    let text = String::from_utf8_lossy(data);
    let (passwords, acl) = text.split_once("\n\n").unwrap_or((&text, &text));
    crate::files::fuzz(passwords, acl);
}

/// Events of a broker with two instances: a byte for what broker and options it has, and the events.
pub fn model(data: &[u8]) {
    model::run(data);
}

/// A message on the control topic.
pub fn command(data: &[u8]) {
    read_commands(data);
}

/// The events of a login, a check, a command and a client's end.
pub fn event(data: &[u8]) {
    crate::ffi::fuzzing::event(data);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::clock::{Clock, SystemClock};

    /// Seconds that each target gets; `FUZZ_SECONDS` says otherwise.
    const SECONDS: u64 = 2;

    /// Feeds a target its seeds, and then changed ones, until the time is over.
    fn run(name: &str, target: fn(&[u8])) {
        run_with_head(name, 0, target);
    }

    /// The same of a target whose seeds begin with so many bytes, of which all but the first may be anything.
    fn run_with_head(name: &str, head: usize, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let seeds: Vec<_> = files.map(|path| fs::read(path).unwrap()).collect();
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| target(seed));
        let given = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        let limit = Duration::from_secs(given.unwrap_or(SECONDS));
        let began = SystemClock.now();
        let mut random = fastrand::Rng::with_seed(1);
        while SystemClock.now().duration_since(began) < limit {
            let mut data = random.choice(&seeds).unwrap().clone();
            for _ in 0..random.usize(1..6) {
                change(&mut data, random.choice(&seeds).unwrap(), &mut random);
            }
            for byte in data.iter_mut().take(head).skip(1) {
                *byte = random.u8(..);
            }
            target(&data);
        }
    }

    fn change(data: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
        let at = random.usize(0..=data.len());
        match random.u8(0..5) {
            0 => data.insert(at, random.u8(..)),
            1 => data.insert(at, *random.choice(b"+#/$%{}[]\",: \n0").unwrap()),
            2 if at < data.len() => {
                data.remove(at);
            }
            3 => data.truncate(at),
            _ => {
                let from = random.usize(0..=other.len());
                let to = random.usize(from..=other.len());
                data.splice(at..at, other[from..to].iter().copied());
            }
        }
    }

    #[test]
    fn options_from_seeds() {
        run("options", options);
    }

    #[test]
    fn what_a_fleet_shares_from_seeds() {
        run("fleet", fleet);
    }

    #[test]
    fn tokens_from_seeds() {
        run("token", token);
    }

    #[test]
    fn claims_from_seeds() {
        run("claims", claims);
    }

    /// A seed that is misunderstood leads nowhere.
    #[test]
    fn seeds_of_answers_are_what_they_are_meant_for() {
        let now = Duration::from_secs(1_700_000_000);
        for (name, compat) in [
            ("rules", Compat::None),
            ("conditions", Compat::None),
            ("named", Compat::None),
            ("emqx", Compat::Emqx),
        ] {
            let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/answer").join(name);
            let api_format = ApiFormat { compat, ..ApiFormat::default() };
            let response = Response::of(200, &fs::read(seed).unwrap()[3..]);
            let reply = read(Kind::Login, &response, &api_format, now).unwrap();
            assert!(reply.answer.session_grants.is_some(), "{name}");
        }
    }

    #[test]
    fn answers_from_seeds() {
        run("answer", answer);
    }

    #[test]
    fn rules_from_seeds() {
        run("rules", rules);
    }

    #[test]
    fn events_from_seeds() {
        run("event", event);
    }

    #[test]
    fn connections_from_seeds() {
        run_with_head("connection", 4, connection);
    }

    #[test]
    fn what_is_made_of_events_from_seeds() {
        run("told", told);
    }

    #[test]
    fn texts_that_grow_from_seeds() {
        run_with_head("growth", 4, growth);
    }

    #[test]
    fn metrics_requests_from_seeds() {
        run("metrics", metrics);
    }

    #[test]
    fn password_files_from_seeds() {
        run("passwords", passwords);
    }

    #[test]
    fn nobody_gets_what_the_api_did_not_say() {
        run("model", model);
    }

    #[test]
    fn commands_from_seeds() {
        run("command", command);
    }
}
