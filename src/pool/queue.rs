//! What waits for a worker: a bounded queue for each urgency, and one request in flight per key.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::Batching;
use super::in_flight::InFlight;
use crate::answer::Failure;

/// Questions with somebody waiting that may queue for a worker. More of them could not be answered
/// before their askers give up.
pub(crate) const URGENT: usize = 4096;

/// Questions without anybody waiting that may queue; each is as large as its request.
pub(crate) const QUIET: usize = 65_536;

/// Of so many turns, one is for each of the two that are less urgent than logins.
const TURNS: usize = 8;
const DELIVERY_TURN: usize = 4;
const BACKGROUND_TURN: usize = 0;

/// Who waits for an answer. What is more urgent goes first, but not always: see [`Queue::next`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// The broker's thread, which does nothing else meanwhile.
    Blocking,
    /// A client, whose login is answered later.
    Waiting,
    /// Messages that are delivered once it is there.
    Delivery,
    /// Nobody.
    Background,
}

impl Urgency {
    pub const ALL: [Self; 4] = [Self::Blocking, Self::Waiting, Self::Delivery, Self::Background];

    /// How many questions of this urgency may queue.
    fn capacity(self) -> usize {
        if self == Self::Background { QUIET } else { URGENT }
    }
}

/// The requests in flight that were not completed yet, and the order in which they start.
pub(crate) struct Queue<K, J> {
    /// By urgency.
    queues: [VecDeque<K>; 4],
    in_flight: HashMap<K, (Arc<InFlight>, Stage<J>)>,
    /// How often a worker has come for a job.
    turn: usize,
}

/// How far a request in flight has come. One that somebody has come to wait for stands in two queues;
/// whoever takes its job first flies it, and its other entry is passed over.
enum Stage<J> {
    Queued { job: J, urgency: Urgency },
    Running,
}

/// A job that a worker has taken, and the request in flight that it belongs to.
pub(crate) type Taken<K, J> = (K, J, Arc<InFlight>);

impl<K, J> Default for Queue<K, J> {
    fn default() -> Self {
        Self { queues: Default::default(), in_flight: HashMap::new(), turn: 0 }
    }
}

impl<K: Clone + Eq + Hash, J> Queue<K, J> {
    /// How many wait, at most.
    pub(crate) fn len(&self) -> usize {
        self.lengths().iter().sum()
    }

    /// How many wait, by urgency.
    pub(crate) fn lengths(&self) -> [usize; 4] {
        self.queues.each_ref().map(VecDeque::len)
    }

    pub(crate) fn in_flight(&self, key: &K) -> Option<&Arc<InFlight>> {
        self.in_flight.get(key).map(|(in_flight, _)| in_flight)
    }

    /// The request in flight under this key, which from now on is at least that urgent.
    pub(crate) fn join(&mut self, key: &K, at_least: Urgency) -> Option<Arc<InFlight>> {
        let (in_flight, stage) = self.in_flight.get_mut(key)?;
        if let Stage::Queued { urgency, .. } = stage {
            if at_least < *urgency {
                *urgency = at_least;
                self.queues[at_least as usize].push_back(key.clone());
            }
        }
        Some(Arc::clone(in_flight))
    }

    /// Has a new request wait.
    ///
    /// # Errors
    /// There is no room.
    pub(crate) fn push(
        &mut self,
        key: &K,
        job: J,
        urgency: Urgency,
    ) -> Result<Arc<InFlight>, Failure> {
        let queue = &mut self.queues[urgency as usize];
        if queue.len() >= urgency.capacity() {
            return Err(Failure::Overloaded);
        }
        queue.push_back(key.clone());
        let in_flight = Arc::new(InFlight::default());
        self.in_flight
            .insert(key.clone(), (Arc::clone(&in_flight), Stage::Queued { job, urgency }));
        Ok(in_flight)
    }

    /// Has a new request wait, unless it is on its way already. Goes before what nobody waits for
    /// as long as half of the room for such is free, so that there is room for others.
    pub(crate) fn push_ahead(&mut self, key: &K, job: J) {
        if !self.in_flight.contains_key(key) {
            let has_room = self.queues[Urgency::Delivery as usize].len() < URGENT / 2;
            let urgency = if has_room { Urgency::Delivery } else { Urgency::Background };
            // Without room it is asked for when its turn comes.
            let _ = self.push(key, job, urgency);
        }
    }

    /// The next jobs of those urgencies that `may` be taken, and how urgent they are. Of eight workers that
    /// come, one takes what nobody waits for, and one a delivery, before all else: a stranger can bring more
    /// logins than all workers answer, and what is taken back from a client is taken back all the same.
    pub(crate) fn next(
        &mut self,
        may: impl Fn(Urgency) -> bool,
        batching: &Batching<J>,
    ) -> Option<(Vec<Taken<K, J>>, Urgency)> {
        let (first, urgency) = self
            .order()
            .into_iter()
            .filter(|urgency| may(*urgency))
            .find_map(|urgency| Some((self.pop(urgency, |_| true)?, urgency)))?;
        let mut bytes = (batching.bytes)(&first.1);
        let mut jobs = vec![first];
        if (batching.joins)(&jobs[0].1) {
            while jobs.len() < batching.most {
                let left = batching.most_bytes.saturating_sub(bytes);
                let fits = |job: &J| (batching.joins)(job) && (batching.bytes)(job) <= left;
                let Some(job) = self.pop(urgency, fits) else { break };
                bytes += (batching.bytes)(&job.1);
                jobs.push(job);
            }
        }
        Some((jobs, urgency))
    }

    fn order(&mut self) -> impl IntoIterator<Item = Urgency> + use<K, J> {
        self.turn = (self.turn + 1) % TURNS;
        let before_all = match self.turn {
            DELIVERY_TURN => Some(Urgency::Delivery),
            BACKGROUND_TURN => Some(Urgency::Background),
            _ => None,
        };
        before_all.into_iter().chain(Urgency::ALL)
    }

    /// Takes the first job of a queue, if it `fits`.
    fn pop(&mut self, urgency: Urgency, fits: impl Fn(&J) -> bool) -> Option<Taken<K, J>> {
        let queue = &mut self.queues[urgency as usize];
        while let Some(key) = queue.front() {
            match self.in_flight.get_mut(key) {
                Some((_, Stage::Queued { job, .. })) if !fits(job) => return None,
                Some((in_flight, stage @ Stage::Queued { .. })) => {
                    let taken = std::mem::replace(stage, Stage::Running);
                    let key = queue.pop_front()?;
                    if let Stage::Queued { job, .. } = taken {
                        return Some((key, job, Arc::clone(in_flight)));
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

    /// Keeps others from joining this request in flight, which is about to complete.
    pub(crate) fn close(&mut self, key: &K, in_flight: &Arc<InFlight>) {
        if self.in_flight(key).is_some_and(|current| Arc::ptr_eq(current, in_flight)) {
            self.in_flight.remove(key);
        }
    }

    /// Keeps others from joining any request that a worker is at.
    pub(crate) fn close_running(&mut self) {
        self.in_flight.retain(|_, (_, stage)| matches!(stage, Stage::Queued { .. }));
    }

    /// Takes every request out that no worker is at.
    pub(crate) fn drain_queued(&mut self) -> Vec<Arc<InFlight>> {
        let mut waiting = Vec::new();
        self.in_flight.retain(|_, (in_flight, stage)| {
            let queued = matches!(stage, Stage::Queued { .. });
            if queued {
                waiting.push(Arc::clone(in_flight));
            }
            !queued
        });
        self.queues.iter_mut().for_each(VecDeque::clear);
        waiting
    }
}
