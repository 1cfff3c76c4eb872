//! The subcommand `fleet`: makes its secret, looks at its brokers, and takes back what they know.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use mosquitto_http_auth::cache::InvalidationScope;
use mosquitto_http_auth::clock::SystemClock;
use mosquitto_http_auth::config;
use mosquitto_http_auth::fleet::{Applied, BrokerStatus, Do, Observer, Overview};
use mosquitto_http_auth::random;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::{self, Fleet};
use crate::block;
use crate::conf::Conf;
use crate::exit;
use crate::paint::{FAINT, GOOD, HEADING, Paint as _, WARNING, WRONG};
use crate::problem::Problem;

pub(crate) fn run(command: &Fleet, out: &mut dyn Write) -> Result<u8, Problem> {
    match command {
        Fleet::Key => key(out),
        Fleet::Status(args) => status(args, out),
        Fleet::Invalidate(args) => {
            let args::FleetInvalidate { conf, username, id, topic, all: _, json } = args;
            let scope = InvalidationScope {
                username: username.clone(),
                client_id: id.clone(),
                topic: topic.clone(),
            };
            publish(conf, Do::Invalidate, scope, *json, out)
        }
        Fleet::Kick(args) => {
            let args::FleetKick { conf, username, id, json } = args;
            let scope = InvalidationScope {
                username: username.clone(),
                client_id: id.clone(),
                topic: None,
            };
            publish(conf, Do::Kick, scope, *json, out)
        }
    }
}

/// Prints a new secret.
fn key(out: &mut dyn Write) -> Result<u8, Problem> {
    let mut bytes = Zeroizing::new([0; 32]);
    random::fill(bytes.as_mut_slice()).map_err(|error| error.to_string())?;
    writeln!(out, "{}", BASE64.encode(bytes.as_slice()))?;
    Ok(exit::YES)
}

fn status(args: &args::FleetStatus, out: &mut dyn Write) -> Result<u8, Problem> {
    let overview = match connect(&args.conf)?.and_then(|mut observer| observer.look()) {
        Ok(overview) => overview,
        Err(error) => return failed(&error, args.json, out),
    };
    if args.json {
        writeln!(out, "{:#}", as_json(&overview))?;
    } else {
        print(&overview, out)?;
    }
    let is_well = overview.unreadable_members == 0
        && overview.log.unreadable == 0
        && overview.brokers.iter().all(|broker| broker.is_up_to_date)
        && !overview.brokers.is_empty();
    Ok(if is_well { exit::YES } else { exit::NO })
}

fn publish(
    conf: &args::Conf,
    what: Do,
    scope: InvalidationScope,
    json: bool,
    out: &mut dyn Write,
) -> Result<u8, Problem> {
    let applied = connect(conf)?.and_then(|mut observer| observer.publish(what, scope));
    let Applied { brokers, applied, waiting } = match applied {
        Ok(applied) => applied,
        Err(error) => return failed(&error, json, out),
    };
    if json {
        let said = json!({ "brokers": brokers, "applied": applied, "waiting": waiting });
        writeln!(out, "{said}")?;
    } else {
        let style = if waiting.is_empty() { GOOD } else { WARNING };
        let said = format!("applied by {applied} of {brokers} brokers");
        write!(out, "{}", said.paint(style))?;
        if !waiting.is_empty() {
            write!(out, "; not yet by {}", waiting.join(", "))?;
        }
        writeln!(out)?;
    }
    Ok(if waiting.is_empty() { exit::YES } else { exit::NO })
}

/// The outer error: there is no fleet to connect to. The inner one: Redis failed.
fn connect(args: &args::Conf) -> Result<Result<Observer, String>, String> {
    let conf = Conf::read(&args.file)?;
    let block = block::choose(&conf, args)?;
    let config = config::read(&block.given()).map_err(|errors| {
        let line = |error: &config::ConfigError| {
            format!("\n  {}: {error}", block.place_of(error.option()))
        };
        format!("the configuration has mistakes:{}", errors.iter().map(line).collect::<String>())
    })?;
    Observer::connect(&config, Arc::new(SystemClock)).ok_or_else(|| {
        format!("the block at {} does not set fleet_redis: there is no fleet", block.place)
    })
}

fn failed(error: &str, json: bool, out: &mut dyn Write) -> Result<u8, Problem> {
    if json {
        writeln!(out, "{}", json!({ "failed": error }))?;
    } else {
        writeln!(out, "{} {error}", "failed:".paint(WRONG))?;
    }
    Ok(exit::FAILED)
}

fn print(overview: &Overview, out: &mut dyn Write) -> Result<(), Problem> {
    let Overview { name, server, brokers, log, unreadable_members } = overview;
    let heading = format!("fleet {name:?} at {server}");
    writeln!(out, "{}: {} brokers", heading.as_str().paint(HEADING), brokers.len())?;
    let width = brokers.iter().map(|broker| broker.name.chars().count()).max().unwrap_or(0);
    for BrokerStatus { name, version, is_up_to_date, age, .. } in brokers {
        let (state, style) =
            if *is_up_to_date { ("up to date", GOOD) } else { ("behind", WARNING) };
        let details = format!("{} ago, version {version}", seconds(*age));
        let (state, details) = (state.paint(style), details.as_str().paint(FAINT));
        writeln!(out, "  {name:width$}  {state}  {details}")?;
    }
    let newest = log.newest.map(|age| format!(", the newest {} old", seconds(age)));
    writeln!(out, "log: {} entries{}", log.entries, newest.unwrap_or_default())?;
    for hint in hints(overview, *unreadable_members) {
        writeln!(out, "{} {hint}", "hint:".paint(WARNING))?;
    }
    Ok(())
}

fn hints(overview: &Overview, unreadable_members: usize) -> Vec<String> {
    let mut hints = Vec::new();
    let unreadable = unreadable_members + overview.log.unreadable;
    if unreadable > 0 {
        hints.push(format!(
            "{unreadable} entries cannot be opened: a broker has another fleet_secret or fleet_name"
        ));
    }
    let mut groups = BTreeMap::<&str, Vec<&str>>::new();
    for broker in &overview.brokers {
        groups.entry(&broker.scope).or_default().push(&broker.name);
    }
    if groups.len() > 1 {
        let groups: Vec<_> = groups.into_values().map(|names| names.join(", ")).collect();
        hints.push(format!(
            "these share no answers with one another: {}; their routes, fields, modes or headers differ, \
             and fleet_scope can say that the answers are the same",
            groups.join(" | ")
        ));
    }
    hints
}

fn as_json(overview: &Overview) -> serde_json::Value {
    let Overview { name, server, brokers, log, unreadable_members } = overview;
    let broker = |broker: &BrokerStatus| {
        let BrokerStatus { name, version, scope, is_up_to_date, age } = broker;
        json!({ "name": name, "version": version, "scope": scope, "upToDate": is_up_to_date,
                "secondsAgo": age.as_secs() })
    };
    json!({
        "fleet": name,
        "redis": server,
        "brokers": brokers.iter().map(broker).collect::<Vec<_>>(),
        "unreadableMembers": unreadable_members,
        "log": { "entries": log.entries, "unreadable": log.unreadable,
                 "newestSecondsAgo": log.newest.map(|age| age.as_secs()) },
    })
}

fn seconds(age: Duration) -> String {
    format!("{} s", age.as_secs())
}
