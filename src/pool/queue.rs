//! What waits for a worker: two bounded queues, and one flight per key.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::Batching;
use super::flight::Flight;
use crate::answer::Failure;

/// Questions with somebody waiting that may queue for a worker. More of them could not be answered
/// before their askers give up.
pub const URGENT: usize = 4096;

/// Questions without anybody waiting that may queue; each is as large as its request.
pub const QUIET: usize = 65_536;

/// The flights that were not landed yet, and the order in which they take off.
pub struct Queue<K, J> {
    urgent: VecDeque<K>,
    quiet: VecDeque<K>,
    flights: HashMap<K, (Arc<Flight>, Stage<J>)>,
}

/// How far a flight has come. A quiet one that somebody has come to wait for stands in both
/// queues; whoever takes its job first flies it, and its other entry is passed over.
enum Stage<J> {
    Queued { job: J, urgent: bool },
    Flying,
}

impl<K, J> Default for Queue<K, J> {
    fn default() -> Self {
        Self { urgent: VecDeque::new(), quiet: VecDeque::new(), flights: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, J> Queue<K, J> {
    /// How many wait, at most.
    pub fn len(&self) -> usize {
        self.urgent.len() + self.quiet.len()
    }

    /// How many wait that somebody waits for, and how many that nobody does.
    pub fn lengths(&self) -> [usize; 2] {
        [self.urgent.len(), self.quiet.len()]
    }

    pub fn flight(&self, key: &K) -> Option<&Arc<Flight>> {
        self.flights.get(key).map(|(flight, _)| flight)
    }

    /// The flight under this key, which from now on somebody waits for.
    pub fn hurry(&mut self, key: &K) -> Option<Arc<Flight>> {
        let (flight, stage) = self.flights.get_mut(key)?;
        if let Stage::Queued { urgent: urgent @ false, .. } = stage {
            *urgent = true;
            self.urgent.push_back(key.clone());
        }
        Some(Arc::clone(flight))
    }

    /// Has a new flight wait.
    ///
    /// # Errors
    /// There is no room.
    pub fn push(&mut self, key: &K, job: J, urgent: bool) -> Result<Arc<Flight>, Failure> {
        let (queue, capacity) =
            if urgent { (&mut self.urgent, URGENT) } else { (&mut self.quiet, QUIET) };
        if queue.len() >= capacity {
            return Err(Failure::Overloaded);
        }
        queue.push_back(key.clone());
        let flight = Arc::new(Flight::default());
        self.flights.insert(key.clone(), (Arc::clone(&flight), Stage::Queued { job, urgent }));
        Ok(flight)
    }

    /// Has a new flight wait, unless it is on its way already. Goes before what nobody waits for
    /// as long as half of the room for such is free, so that there is room for others.
    pub fn push_ahead(&mut self, key: &K, job: J) {
        if !self.flights.contains_key(key) {
            let urgent = self.urgent.len() < URGENT / 2;
            // Without room it is asked for when its turn comes.
            let _ = self.push(key, job, urgent);
        }
    }

    /// The next jobs, and whether they are quiet ones.
    pub fn next(
        &mut self,
        may_be_quiet: bool,
        batching: &Batching<J>,
    ) -> Option<(Vec<(K, J)>, bool)> {
        let any = |_: &J| true;
        let (first, quiet) = match self.pop(false, any) {
            Some(job) => (job, false),
            None if may_be_quiet => (self.pop(true, any)?, true),
            None => return None,
        };
        let mut jobs = vec![first];
        if (batching.joins)(&jobs[0].1) {
            while jobs.len() < batching.most {
                let Some(job) = self.pop(quiet, batching.joins) else { break };
                jobs.push(job);
            }
        }
        Some((jobs, quiet))
    }

    /// Takes the first job of a queue, if it `fits`.
    fn pop(&mut self, quiet: bool, fits: impl Fn(&J) -> bool) -> Option<(K, J)> {
        let queue = if quiet { &mut self.quiet } else { &mut self.urgent };
        while let Some(key) = queue.front() {
            match self.flights.get_mut(key) {
                Some((_, Stage::Queued { job, .. })) if !fits(job) => return None,
                Some((_, stage @ Stage::Queued { .. })) => {
                    let taken = std::mem::replace(stage, Stage::Flying);
                    let key = queue.pop_front()?;
                    if let Stage::Queued { job, .. } = taken {
                        return Some((key, job));
                    }
                }
                // Another worker took it out of the other queue.
                _ => {
                    queue.pop_front();
                }
            }
        }
        None
    }

    /// Takes a flight out that has arrived.
    pub fn remove(&mut self, key: &K) -> Option<Arc<Flight>> {
        self.flights.remove(key).map(|(flight, _)| flight)
    }

    /// Takes every flight out that no worker is at.
    pub fn recall(&mut self) -> Vec<Arc<Flight>> {
        let mut waiting = Vec::new();
        self.flights.retain(|_, (flight, stage)| {
            let queued = matches!(stage, Stage::Queued { .. });
            if queued {
                waiting.push(Arc::clone(flight));
            }
            !queued
        });
        self.urgent.clear();
        self.quiet.clear();
        waiting
    }
}
