//! A process beside the brokers, such as the command: no member of the fleet, but one that looks at it, and
//! takes back what a broker may take back.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::link::{KeyNames, Link, PAGE};
use super::log::Log;
use super::members::{Applied, Member, Members};
use super::reader;
use super::record::{Do, Position, Record};
use super::sealing::Sealer;
use crate::cache::InvalidationScope;
use crate::clock::Clock;
use crate::config::{Config, FleetConfig};
use crate::random::{self, NoRandomBytes};

/// How often it is looked whether the brokers have applied a command.
const LOOK: Duration = Duration::from_millis(5);

/// A connection to a fleet's Redis. It waits for Redis: it is not for a broker's threads.
pub struct Observer {
    config: FleetConfig,
    keys: KeyNames,
    records: Sealer,
    members: Members,
    link: Link,
    clock: Arc<dyn Clock>,
}

/// What Redis has of a fleet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overview {
    pub name: String,
    /// The Redis that holds it.
    pub server: String,
    pub brokers: Vec<BrokerStatus>,
    pub log: LogStatus,
    /// How many members cannot be opened: they have another secret.
    pub unreadable_members: usize,
}

/// What a broker has said of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerStatus {
    pub name: String,
    pub version: String,
    /// Brokers of one scope share answers.
    pub scope: String,
    /// Whether it has applied the whole log.
    pub is_up_to_date: bool,
    /// How long ago it said so, by this machine's clock and the broker's.
    pub age: Duration,
}

/// The log of what was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogStatus {
    pub entries: usize,
    /// How many of them cannot be opened.
    pub unreadable: usize,
    /// How old the newest is, by this machine's clock and that of Redis.
    pub newest: Option<Duration>,
}

impl Observer {
    /// Connects. None: the options name no fleet.
    ///
    /// # Errors
    /// Redis cannot be reached, or does not let this one in.
    pub fn connect(config: &Config, clock: Arc<dyn Clock>) -> Option<Result<Self, String>> {
        let fleet = config.fleet.clone()?;
        let credentials = &config.credentials.fleet;
        let link = match Link::open(&fleet, credentials) {
            Ok(link) => link,
            Err(trouble) => return Some(Err(trouble.text)),
        };
        Some(Ok(Self {
            keys: KeyNames::of(&fleet.name),
            records: Sealer::of_records(&fleet.name, &credentials.secrets),
            members: Members::new(config, &fleet, &credentials.secrets),
            link,
            config: fleet,
            clock,
        }))
    }

    /// Looks at the fleet.
    ///
    /// # Errors
    /// Redis fails.
    pub fn look(&mut self) -> Result<Overview, String> {
        let (log, status) = self.read_log()?;
        self.look_at_members()?;
        let (epoch, position) = log.applied();
        let unix_time = self.clock.unix_time();
        let broker = |member: Member| BrokerStatus {
            is_up_to_date: member.has_applied(epoch, position),
            age: unix_time.saturating_sub(member.at),
            name: member.name,
            version: member.version,
            scope: member.scope,
        };
        Ok(Overview {
            name: self.config.name.clone(),
            server: self.link.server.clone(),
            brokers: self.members.known().into_iter().map(broker).collect(),
            log: status,
            unreadable_members: self.members.unreadable(),
        })
    }

    /// Takes something back at all brokers, and waits up to `fleet_ack_ms` until they have applied it.
    ///
    /// # Errors
    /// Redis fails, or the fleet has no broker.
    pub fn publish(&mut self, what: Do, scope: InvalidationScope) -> Result<Applied, String> {
        let (log, _) = self.read_log()?;
        self.look_at_members()?;
        let (Some(epoch), false) = (log.applied().0, self.members.known().is_empty()) else {
            return Err("no broker of the fleet is in touch with this Redis".to_owned());
        };
        let id = random::bytes().map_err(|error| error.to_string())?;
        let from = format!("{} (command)", self.config.broker);
        let at = self.clock.unix_time();
        let record = Record { id, epoch, at, from, what, scope };
        let sealed = self.records.seal(self.config.name.as_bytes(), &record.encode());
        let sealed = sealed.ok_or_else(|| NoRandomBytes.to_string())?;
        let at = self.link.append(&self.keys.log, &sealed).map_err(|trouble| trouble.text)?;
        let until = self.clock.now() + self.config.ack;
        loop {
            self.look_at_members()?;
            let applied = self.members.applied(Some(epoch), at);
            if applied.waiting.is_empty() || self.clock.now() >= until {
                return Ok(applied);
            }
            // Redis does not tell of a change in a hash.
            thread::park_timeout(LOOK);
        }
    }

    fn look_at_members(&mut self) -> Result<(), String> {
        let raw = self.link.members(&self.keys.members).map_err(|trouble| trouble.text)?;
        self.members.note(&raw, self.clock.unix_time());
        Ok(())
    }

    /// Reads the whole log, as a broker does that starts.
    fn read_log(&mut self) -> Result<(Log, LogStatus), String> {
        let mut log = Log::new(self.clock.now(), self.config.blind_ttl);
        log.reach();
        let mut status = LogStatus { entries: 0, unreadable: 0, newest: None };
        loop {
            let (_, after) = log.applied();
            let now = self.clock.now();
            let page = self.link.read(&self.keys.log, after, None);
            let page = page.map_err(|trouble| trouble.text)?;
            let is_whole = page.len() < PAGE;
            let open = |raw| reader::open(raw, &self.records, &self.config.name);
            let entries: Vec<_> = page.into_iter().map(open).collect();
            status.entries += entries.len();
            status.unreadable += entries.iter().filter(|entry| entry.record.is_none()).count();
            let _ = log.read(&entries, is_whole, now, now, self.clock.unix_time());
            if is_whole {
                break;
            }
        }
        let (_, newest) = log.applied();
        if newest != Position::START {
            let at = Duration::from_millis(newest.ms);
            status.newest = Some(self.clock.unix_time().saturating_sub(at));
        }
        Ok((log, status))
    }
}
