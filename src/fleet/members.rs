//! The brokers of a fleet: who is there, and how far each has applied the log.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::link::RawMember;
use super::naming::Scope;
use super::record::{Epoch, Position};
use super::sealing::Sealer;
use crate::clock::millis;
use crate::config::{Config, FleetConfig};
use crate::secret::Secret;
use crate::sync::lock;

/// For how long a broker counts that says nothing.
const GONE: Duration = Duration::from_secs(60);

/// For how long Redis keeps what a broker has said of itself that says nothing any more.
const FORGOTTEN: Duration = Duration::from_secs(86_400);

/// How many are watched that cannot be opened.
const MOST_WATCHED: usize = 1000;

/// How far a command has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    pub brokers: usize,
    pub applied: usize,
    /// The names of the others.
    pub waiting: Vec<String>,
}

/// What a broker says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub name: String,
    pub epoch: Option<Epoch>,
    pub position: Position,
    /// Of the plugin.
    pub version: String,
    /// Brokers of one scope share answers.
    pub scope: String,
    /// In Unix time.
    pub at: Duration,
}

impl Member {
    fn encode(&self) -> Vec<u8> {
        let epoch = self.epoch.map(|epoch| BASE64.encode(epoch));
        json!({ "name": self.name, "epoch": epoch, "position": self.position.to_string(),
                "at": millis(self.at), "version": self.version, "scope": self.scope })
        .to_string()
        .into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            epoch: value["epoch"].as_str().and_then(|e| BASE64.decode(e).ok()?.try_into().ok()),
            position: value["position"].as_str()?.parse().ok()?,
            version: value["version"].as_str()?.to_owned(),
            scope: value["scope"].as_str()?.to_owned(),
            at: Duration::from_millis(value["at"].as_u64()?),
        })
    }

    /// Whether it has applied the entry at this position of this epoch.
    pub(crate) fn has_applied(&self, epoch: Option<Epoch>, at: Position) -> bool {
        self.epoch == epoch && self.position >= at
    }
}

/// Reads and writes what brokers say of themselves.
pub(crate) struct Members {
    sealer: Sealer,
    broker: String,
    scope: Mutex<String>,
    /// Under which field this one stands.
    field: OnceLock<String>,
    known: Mutex<Known>,
    watched: Mutex<Watched>,
}

/// What cannot be opened, by a hash of its field, which may be long: a hash of it, and since when it is the same.
type Watched = HashMap<[u8; 32], ([u8; 32], Instant)>;

#[derive(Default)]
struct Known {
    members: Vec<Member>,
    unreadable: usize,
}

impl Members {
    pub(crate) fn new(config: &Config, fleet: &FleetConfig, secrets: &[Secret]) -> Self {
        let scope = Scope::new(config, fleet).digest(&config.credentials.headers);
        Self {
            sealer: Sealer::of_members(&fleet.name, secrets),
            broker: fleet.broker.clone(),
            scope: Mutex::new(scope_text(&scope)),
            field: OnceLock::new(),
            known: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    /// This instance of the broker's takes part, by its number in the process.
    pub(crate) fn join(&self, number: u64) {
        // Nobody without the secret is to tell from it which brokers there are.
        let name = format!("{} {number}", self.broker);
        let _ = self.field.set(self.sealer.tag(name.as_bytes()));
    }

    /// This broker asks in another way from now on.
    pub(crate) fn set_scope(&self, scope: &[u8; 32]) {
        *lock(&self.scope) = scope_text(scope);
    }

    pub(crate) fn field(&self) -> &str {
        self.field.get().map_or("", String::as_str)
    }

    /// What this one says of itself.
    pub(crate) fn announcement(
        &self,
        applied: (Option<Epoch>, Position),
        at: Duration,
    ) -> Option<Vec<u8>> {
        let (epoch, position) = applied;
        let member = Member {
            name: self.broker.clone(),
            epoch,
            position,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scope: lock(&self.scope).clone(),
            at,
        };
        self.sealer.seal(self.field().as_bytes(), &member.encode())
    }

    /// Notes what Redis has of all.
    pub(crate) fn note(&self, raw: &[RawMember], unix_time: Duration) {
        let mut members: Vec<_> =
            raw.iter().filter_map(|(field, sealed)| self.open(field, sealed)).collect();
        let unreadable = raw.len() - members.len();
        members.retain(|member| unix_time.saturating_sub(member.at) < GONE);
        members.sort_by(|a, b| a.name.cmp(&b.name));
        *lock(&self.known) = Known { members, unreadable };
    }

    fn open(&self, field: &[u8], sealed: &[u8]) -> Option<Member> {
        Member::decode(&self.sealer.open(field, sealed)?)
    }

    /// The fields that brokers have left there a long time ago. What cannot be opened says not when that was, but
    /// a broker with another secret, which is there, changes it all the time.
    pub(crate) fn forgotten<'a>(
        &self,
        raw: &'a [RawMember],
        now: Instant,
        unix_time: Duration,
    ) -> Vec<&'a [u8]> {
        let mut watched = lock(&self.watched);
        let before = std::mem::take(&mut *watched);
        let mut is_forgotten = |field: &[u8], sealed: &[u8]| {
            if let Some(member) = self.open(field, sealed) {
                return unix_time.saturating_sub(member.at) >= FORGOTTEN;
            }
            let [key, hash] = [field, sealed].map(|bytes| *blake3::hash(bytes).as_bytes());
            let known = before.get(&key).filter(|(known, _)| *known == hash);
            let since = known.map_or(now, |(_, since)| *since);
            if watched.len() < MOST_WATCHED {
                watched.insert(key, (hash, since));
            }
            now.saturating_duration_since(since) >= FORGOTTEN
        };
        let forgotten = raw.iter().filter(|(field, sealed)| is_forgotten(field, sealed));
        forgotten.map(|(field, _)| field.as_slice()).collect()
    }

    pub(crate) fn known(&self) -> Vec<Member> {
        lock(&self.known).members.clone()
    }

    /// How many could not be opened, since they have another secret.
    pub(crate) fn unreadable(&self) -> usize {
        lock(&self.known).unreadable
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.known).members.iter().map(|member| member.name.clone()).collect()
    }

    /// How many have applied the entry at this position of this epoch.
    pub(crate) fn applied(&self, epoch: Option<Epoch>, at: Position) -> Applied {
        let known = &lock(&self.known).members;
        let waiting = known.iter().filter(|member| !member.has_applied(epoch, at));
        let waiting: Vec<_> = waiting.map(|member| member.name.clone()).collect();
        Applied { brokers: known.len(), applied: known.len() - waiting.len(), waiting }
    }

    /// Where nothing can be written: this one has applied it, as for the others, nobody knows.
    pub(crate) fn of_this_one(&self) -> Applied {
        let known = &lock(&self.known).members;
        let others = known.iter().filter(|member| member.name != self.broker);
        let waiting: Vec<_> = others.map(|member| member.name.clone()).collect();
        Applied { brokers: waiting.len() + 1, applied: 1, waiting }
    }
}

/// A scope as people see it.
fn scope_text(scope: &[u8; 32]) -> String {
    BASE64.encode(&scope[..9])
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    if let Some(member) = Member::decode(data) {
        assert_eq!(Member::decode(&member.encode()), Some(member));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake_redis;
    use super::*;
    use crate::clock::{Clock, ManualClock};

    fn members(broker: &str, secret: u8) -> Members {
        let config = fake_redis::config("r", &[("fleet_broker", broker)]);
        let fleet = config.fleet.clone().unwrap();
        let members = Members::new(&config, &fleet, &[Secret::new(vec![secret; 32])]);
        members.join(1);
        members
    }

    #[test]
    fn what_brokers_have_left_is_removed_a_day_later_and_nothing_of_those_who_are_there() {
        let clock = ManualClock::new();
        let [one, gone, stranger, gone_stranger] =
            [("one", 1), ("gone", 1), ("stranger", 2), ("gone stranger", 2)]
                .map(|(broker, secret)| members(broker, secret));
        let said = |members: &Members| {
            let sealed = members.announcement((None, Position::START), clock.unix_time());
            (members.field().as_bytes().to_vec(), sealed.unwrap())
        };
        let left = [said(&gone), said(&gone_stranger)];
        let forgotten = || {
            let raw = [said(&one), said(&stranger), left[0].clone(), left[1].clone()];
            let forgotten = one.forgotten(&raw, clock.now(), clock.unix_time());
            forgotten.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert!(forgotten().is_empty());
        clock.advance(FORGOTTEN - Duration::from_secs(1));
        assert!(forgotten().is_empty());
        clock.advance(Duration::from_secs(1));
        assert_eq!(forgotten(), left.each_ref().map(|(field, _)| field.clone()));
    }
}
