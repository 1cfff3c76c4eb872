//! How a fleet does, for metrics and the control topic.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::Fleet;
use super::counts::{Counted, Counts};
use crate::sync::lock;

/// How a fleet does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub name: String,
    pub broker: String,
    pub(crate) is_in_touch: bool,
    pub members: Vec<String>,
    pub outbox: usize,
    /// Since when something may have been missed.
    pub(crate) lag: Duration,
    pub(crate) counted: Counted,
}

impl Status {
    /// That of a broker to which nothing has happened.
    pub(crate) fn blank() -> Self {
        Self {
            name: String::new(),
            broker: String::new(),
            is_in_touch: false,
            members: Vec::new(),
            outbox: 0,
            lag: Duration::ZERO,
            counted: Counts::default().read(),
        }
    }
}

impl Fleet {
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.clock.now();
        let log = lock(&self.log);
        Status {
            name: self.config.name.clone(),
            broker: self.config.broker.clone(),
            is_in_touch: log.is_in_touch(now),
            members: self.members.names(),
            outbox: log.outbox(),
            lag: log.lag(now),
            counted: self.counts.read(),
        }
    }
}
