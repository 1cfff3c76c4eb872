//! A broker, as far as it has to do with the log.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Instant;

use super::{Answer, BLIND, Effect, Log, Stamp, USERS};

pub(super) struct Broker {
    pub(super) log: Log,
    pub(super) cache: HashMap<&'static str, Answer>,
    pub(super) invalidated: HashMap<&'static str, Instant>,
    pub(super) all_invalidated: Option<Instant>,
    pub(super) doubt: Option<Instant>,
    /// Questions on their way to the API.
    pub(super) asking: Vec<(&'static str, Answer, Option<Stamp>)>,
    /// Whether it reaches Redis.
    pub(super) is_cut: bool,
    pub(super) is_connected: bool,
    /// The last command about each user that it has applied, by what had happened before.
    pub(super) applied: HashMap<&'static str, usize>,
    /// The commands that it has read, and told nobody of.
    pub(super) read: Vec<(&'static str, usize)>,
    /// When it was last certain to have read everything.
    pub(super) touch: Instant,
    /// How often it has asked about all its clients again.
    pub(super) asked_again: usize,
}

impl Broker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            log: Log::new(now, BLIND),
            cache: HashMap::new(),
            invalidated: HashMap::new(),
            all_invalidated: None,
            doubt: None,
            asking: Vec::new(),
            is_cut: false,
            is_connected: false,
            applied: HashMap::new(),
            read: Vec::new(),
            touch: now,
            asked_again: 0,
        }
    }

    pub(super) fn heed(&mut self, effects: Vec<Effect>, now: Instant) {
        for effect in effects {
            match effect {
                Effect::Outdate { scope, .. } => match scope.username {
                    None => self.all_invalidated = Some(now),
                    Some(name) => {
                        let user = USERS.iter().find(|user| **user == name).unwrap();
                        self.invalidated.insert(user, now);
                    }
                },
                Effect::Doubt(until) => self.doubt = until,
                Effect::AskAgain => self.asked_again += 1,
                Effect::Heard { .. }
                | Effect::Kick(_)
                | Effect::LateKick
                | Effect::Gap(_)
                | Effect::Lost => {}
            }
        }
    }

    /// What its cache says, as the real one would.
    pub(super) fn known(&self, user: &str) -> Option<Answer> {
        let answer = *self.cache.get(user)?;
        let outdated =
            self.invalidated.get(user).copied().max(self.all_invalidated).max(self.doubt);
        outdated.is_none_or(|until| answer.asked_at > until).then_some(answer)
    }
}
