//! Entries of the log: what was taken back, by whom, and when.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::cache::InvalidationScope;
use crate::clock::millis;

/// Tells one entry from all others, wherever it comes to stand.
pub(crate) type Id = [u8; 16];

/// A stretch of time in which the log only grew. It ends when Redis has lost a part of it.
pub(crate) type Epoch = [u8; 16];

/// Where an entry stands in the log: the ID that Redis gives it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Position {
    pub ms: u64,
    pub(crate) seq: u64,
}

impl Position {
    pub(crate) const START: Self = Self { ms: 0, seq: 0 };

    /// The position right before it.
    #[must_use]
    pub(crate) fn before(self) -> Self {
        match self.seq.checked_sub(1) {
            Some(seq) => Self { seq, ..self },
            None => Self { ms: self.ms.saturating_sub(1), seq: u64::MAX },
        }
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ms, seq) = text.split_once('-').ok_or(())?;
        Ok(Self { ms: ms.parse().map_err(drop)?, seq: seq.parse().map_err(drop)? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// How old a kick may be that is obeyed: clients that have logged in since were not meant.
const KICK: Duration = Duration::from_secs(600);

/// What an entry has done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Do {
    /// No answer to these questions is used that was asked for before.
    Invalidate,
    /// The client, or the user's clients, are disconnected.
    Kick,
    /// A new epoch begins: answers of others are not believed.
    Begin,
}

impl Do {
    pub const ALL: [(Self, &str); 3] =
        [(Self::Invalidate, "invalidate"), (Self::Kick, "kick"), (Self::Begin, "epoch")];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(this, _)| *this == self).map_or("", |(_, name)| name)
    }
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub id: Id,
    /// The epoch that its writer knew, or that begins.
    pub epoch: Epoch,
    /// When it was written, in Unix time.
    pub at: Duration,
    /// Which broker wrote it.
    pub from: String,
    pub what: Do,
    pub scope: InvalidationScope,
}

impl Record {
    /// Whether it is too old to disconnect anybody.
    pub(crate) fn is_late(&self, unix_time: Duration) -> bool {
        unix_time.saturating_sub(self.at) >= KICK
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { id, epoch, at, from, what, scope } = self;
        json!({
            "id": BASE64.encode(id), "epoch": BASE64.encode(epoch), "at": millis(*at), "from": from,
            "do": what.name(), "username": scope.username, "clientid": scope.client_id,
            "topic": scope.topic,
        })
        .to_string()
        .into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let word = value["do"].as_str()?;
        let (what, _) = Do::ALL.into_iter().find(|(_, name)| *name == word)?;
        let id = |name: &str| BASE64.decode(value[name].as_str()?).ok()?.try_into().ok();
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Self {
            id: id("id")?,
            epoch: id("epoch")?,
            at: Duration::from_millis(value["at"].as_u64()?),
            from: text("from")?,
            what,
            scope: InvalidationScope {
                username: text("username"),
                client_id: text("clientid"),
                topic: text("topic"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_in_the_order_of_redis() {
        let at = |text: &str| text.parse::<Position>().unwrap();
        assert!(at("5-9") < at("5-10") && at("5-10") < at("10-0"));
        assert_eq!(at("5-1").before(), at("5-0"));
        assert!(at("5-0").before() < at("5-0") && at("5-0").before() > at("4-9"));
        assert_eq!(at("17-3").to_string(), "17-3");
        assert!("17".parse::<Position>().is_err() && "a-1".parse::<Position>().is_err());
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for (what, _) in Do::ALL {
            let record = Record {
                id: [1; 16],
                epoch: [2; 16],
                at: Duration::from_millis(1234),
                from: "b\"1".to_owned(),
                what,
                scope: InvalidationScope {
                    username: Some("ann".into()),
                    client_id: None,
                    topic: Some("a/#".into()),
                },
            };
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        assert_eq!(Record::decode(b"{}"), None);
    }
}
