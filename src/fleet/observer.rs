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
use super::record::{Do, Id, Position, Record};
use super::sealing::Sealer;
use crate::cache::InvalidationScope;
use crate::clock::Clock;
use crate::config::{Config, FleetConfig};
use crate::random::{self, NoRandomBytes};

/// How often it is looked whether the brokers have applied a command.
const LOOK: Duration = Duration::from_millis(5);

/// Why a command may have reached nobody.
const LOST: &str = "Redis has lost the command, perhaps as a replica took over: give it again";

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
            Err(error) => return Some(Err(error.text)),
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
    /// Redis fails or has lost it, or the fleet has no broker.
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
        let at = self.link.append(&self.keys.log, &sealed).map_err(|error| error.text)?;
        let until = self.clock.now() + self.config.ack;
        loop {
            self.look_at_members()?;
            let applied = self.members.applied(Some(epoch), at);
            if applied.waiting.is_empty() || self.clock.now() >= until {
                // If Redis has lost it meanwhile, the brokers may have read on without it.
                return if self.has(id, at)? { Ok(applied) } else { Err(LOST.to_owned()) };
            }
            // Redis does not tell of a change in a hash.
            thread::park_timeout(LOOK);
        }
    }

    /// Whether this entry stands there.
    fn has(&mut self, id: Id, at: Position) -> Result<bool, String> {
        let found = self.link.entry(&self.keys.log, Some(at)).map_err(|error| error.text)?;
        let found = found.map(|raw| reader::open(raw, &self.records, &self.config.name));
        Ok(found.is_some_and(|entry| entry.is(id, at)))
    }

    fn look_at_members(&mut self) -> Result<(), String> {
        let raw = self.link.members(&self.keys.members).map_err(|error| error.text)?;
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
            let page = page.map_err(|error| error.text)?;
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

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, OnceLock};

    use super::super::fake_redis::{array, beginning, bulk, config, entry, fleet, serve};
    use super::*;
    use crate::clock::ManualClock;
    use crate::sync::lock;

    /// What is said of a command that one broker seems to have applied, and whose entry Redis has, or has lost.
    fn publish(is_there: bool) -> Result<Applied, String> {
        let (log, written) = (Arc::<OnceLock<[Vec<u8>; 2]>>::default(), Mutex::new(Vec::new()));
        let said = Arc::clone(&log);
        let address = serve(move |command, _| {
            let [beginning, members] = said.get()?;
            match command[0].as_slice() {
                b"XREAD" => Some(array(&[array(&[bulk(b"log"), beginning.clone()])])),
                b"HGETALL" => Some(members.clone()),
                b"XADD" => {
                    lock(&written).clone_from(command.last()?);
                    None
                }
                b"XRANGE" if is_there => Some(array(&[entry("5-0", &lock(&written))])),
                _ => None,
            }
        });
        let clock = ManualClock::new();
        let broker = fleet(&address, &[], clock.clone());
        broker.members.join(1);
        let applied = (Some([1; 16]), Position { ms: 6, seq: 0 });
        let sealed = broker.members.announcement(applied, clock.unix_time()).unwrap();
        let members = array(&[bulk(broker.members.field().as_bytes()), bulk(&sealed)]);
        let beginning = array(&[entry("1-0", &beginning(&broker))]);
        assert!(log.set([beginning, members]).is_ok());
        let mut observer = Observer::connect(&config(&address, &[]), clock).unwrap().unwrap();
        observer.publish(Do::Invalidate, InvalidationScope::default())
    }

    #[test]
    fn a_command_that_redis_has_lost_is_not_reported_as_applied() {
        assert_eq!(publish(true), Ok(Applied { brokers: 1, applied: 1, waiting: vec![] }));
        assert_eq!(publish(false), Err(LOST.to_owned()));
    }
}
