//! What the simulated APIs were asked and said, and when; so, what may be believed.

use std::time::{Duration, Instant};

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    /// The instance whose API is asked.
    pub instance: usize,
    pub username: String,
    pub subject: Subject,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    Login { password: String },
    Access { topic: String, access: Option<u64> },
}

#[derive(Debug)]
struct Entry {
    question: Asked,
    asked: u64,
    asked_at: Instant,
    /// None: not yet. What was said is none where the API failed.
    answered: Option<(u64, Option<bool>)>,
}

/// Everything in the order in which it happened, counted by events.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    events: u64,
    invalidated: Vec<(u64, usize, &'static str)>,
}

impl Ledger {
    pub(super) fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// A question has arrived; returns its number.
    pub(super) fn asked(&mut self, question: Asked, asked_at: Instant) -> usize {
        let asked = self.event();
        self.entries.push(Entry { question, asked, asked_at, answered: None });
        self.entries.len() - 1
    }

    pub(super) fn answered(&mut self, number: usize, said: Option<bool>) {
        let event = self.event();
        self.entries[number].answered = Some((event, said));
    }

    pub(crate) fn invalidated(&mut self, instance: usize, username: &'static str) {
        let event = self.event();
        self.invalidated.push((event, instance, username));
    }

    /// What was said to this last, if it was asked since then.
    pub(crate) fn answer_since(&self, question: &Asked, began: u64) -> Option<Option<bool>> {
        let of = self.entries.iter().rev().find(|e| e.question == *question && e.asked > began)?;
        Some(of.answered?.1)
    }

    /// What was asked and said about a question, and what was declared.
    pub(super) fn about(&self, question: &Asked) -> String {
        let about = self.entries.iter().filter(|entry| entry.question == *question);
        let about = about.map(|e| (e.asked, e.asked_at, e.answered)).collect::<Vec<_>>();
        format!("{about:?}, invalidated {:?}", self.invalidated)
    }

    /// Whether what was said may serve whoever came at the event `began`: it was said since, or is to be
    /// remembered still; no `invalidate` came after the question, and the opposite was not said later.
    pub(super) fn serves(
        &self,
        question: &Asked,
        said: bool,
        began: u64,
        now: Instant,
        ttl: Duration,
    ) -> bool {
        let about = || self.entries.iter().filter(|entry| entry.question == *question);
        about().any(|entry| {
            let Some((answered, Some(what))) = entry.answered else { return false };
            let is_recent = answered > began || now.duration_since(entry.asked_at) <= ttl;
            let is_invalid = self.invalidated.iter().any(|(event, instance, username)| {
                *event > entry.asked
                    && *instance == question.instance
                    && *username == question.username
            });
            let is_over = about().any(|later| {
                let opposite = later.answered.filter(|(_, what)| *what == Some(!said));
                later.asked > answered && opposite.is_some_and(|(event, _)| event < began)
            });
            what == said && is_recent && !is_invalid && !is_over
        })
    }
}
