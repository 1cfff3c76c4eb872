//! Tells how things stand on topics below `$SYS`, as the broker tells of itself.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::status::Status;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::metrics::{Snapshot, TOPICS};
use crate::sync::lock;

/// What is published, and when.
pub(crate) struct SysTopics {
    /// None: nothing is.
    interval: Option<Duration>,
    /// Whether another instance does.
    taken: bool,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    /// None: at once.
    next: Option<Instant>,
    /// What was published last on each topic.
    published: Vec<u64>,
}

impl SysTopics {
    /// `claim` says whether this instance is the first that wants to publish.
    pub(crate) fn new(
        interval: Option<Duration>,
        claim: fn() -> bool,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let taken = interval.is_some() && !claim();
        let interval = interval.filter(|_| !taken);
        Self { interval, taken, state: Mutex::default(), clock: Arc::clone(clock) }
    }

    /// Whether nothing is published because another instance does.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Publishes what has changed, once in an interval.
    pub(crate) fn publish_if_due(&self, broker: &dyn Broker, status: &Status) {
        if self.begins() {
            self.publish(broker, &status.snapshot());
        }
    }

    /// Whether an interval begins now.
    fn begins(&self) -> bool {
        let Some(interval) = self.interval else { return false };
        let (mut state, now) = (lock(&self.state), self.clock.now());
        let due = state.next.is_none_or(|next| now >= next);
        if due {
            state.next = Some(now + interval);
        }
        due
    }

    fn publish(&self, broker: &dyn Broker, snapshot: &Snapshot) {
        let values: Vec<_> = TOPICS.iter().map(|topic| (topic.value)(snapshot)).collect();
        let before = std::mem::replace(&mut lock(&self.state).published, values.clone());
        for (position, (topic, value)) in TOPICS.iter().zip(values).enumerate() {
            if before.get(position) != Some(&value) {
                broker.publish_retained(topic.name, &value.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::fake::FakeBroker;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn sys_topics(
        interval: Option<Duration>,
        claim: fn() -> bool,
    ) -> (SysTopics, Arc<ManualClock>) {
        let clock = ManualClock::new();
        let shared: Arc<dyn Clock> = clock.clone();
        (SysTopics::new(interval, claim, &shared), clock)
    }

    #[test]
    fn everything_is_told_at_first_and_then_what_has_changed() {
        let (sys_topics, _) = sys_topics(Some(INTERVAL), || true);
        let (broker, mut snapshot) = (FakeBroker::default(), Snapshot::blank("http://a"));
        sys_topics.publish(&broker, &snapshot);
        let told = broker.retained.take();
        assert_eq!(told.len(), TOPICS.len());
        assert!(told.contains(&("$SYS/broker/http-auth/endpoints/in-service".into(), "1".into())));
        sys_topics.publish(&broker, &snapshot);
        assert_eq!(broker.retained.take(), []);
        snapshot.sessions = 7;
        sys_topics.publish(&broker, &snapshot);
        assert_eq!(broker.retained.take(), [("$SYS/broker/http-auth/sessions".into(), "7".into())]);
    }

    #[test]
    fn it_is_told_once_in_an_interval() {
        let (sys_topics, clock) = sys_topics(Some(INTERVAL), || true);
        assert!(sys_topics.begins() && !sys_topics.begins());
        clock.advance(INTERVAL);
        assert!(sys_topics.begins() && !sys_topics.begins());
    }

    #[test]
    fn nothing_is_told_without_an_interval_or_by_a_second_instance() {
        let (silent, _) = sys_topics(None, || panic!("nothing is claimed that is not wanted"));
        assert!(!silent.begins() && !silent.is_taken());
        let (second, _) = sys_topics(Some(INTERVAL), || false);
        assert!(!second.begins() && second.is_taken());
    }
}
