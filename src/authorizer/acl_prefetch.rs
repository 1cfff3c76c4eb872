//! A message to many subscribers, decided by an API that is asked about each.
//!
//! The broker asks about one subscriber after another and delivers nothing else meanwhile. So when
//! the first answer is not known, all the others are asked for at the same time.

#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Authorizer;
use super::who::{Who, client_ref};
use crate::answer::Answer;
use crate::cache::Key;
use crate::clock::Clock;
use crate::decide::Step;
use crate::failpoint;
use crate::held_deliveries::AnswersSoFar;
use crate::question::{About, Action, CertificatePart, ClientSnapshot, Kind, Question};
use crate::sync::lock;

/// About how many subscribers of one message is asked ahead.
const MOST: usize = 10_000;

/// For how long the subscribers of a topic are not looked up again: whoever is asked about
/// meanwhile and was not among them would have them looked up each time.
const PAUSE: Duration = Duration::from_secs(1);

/// The topic whose subscribers were asked about last, and when.
#[derive(Default)]
pub(crate) struct LastPrefetch(Mutex<Option<(String, Instant)>>);

impl LastPrefetch {
    /// Whether this topic's turn has come; it then is the last one.
    fn begins(&self, topic: &str, clock: &dyn Clock) -> bool {
        let (mut last, now) = (lock(&self.0), clock.now());
        let is_same = last
            .as_ref()
            .is_some_and(|(before, at)| before == topic && now.duration_since(*at) < PAUSE);
        if !is_same {
            *last = Some((topic.to_owned(), now));
        }
        !is_same
    }
}

impl Authorizer {
    /// Notes that deliveries for this filter to this client will be asked of the API.
    pub(super) fn note_subscription(&self, who: Who<'_>, filter: &str, qos: u8) {
        self.subscriptions.add(who.client, filter, qos, || {
            ClientSnapshot::of(who.client, who.username, &self.certificate_parts())
        });
    }

    /// Whether the ACL route will be asked about this, unless the user is a superuser that is not known as
    /// one.
    pub(super) fn will_ask_acl(&self, who: Who<'_>, action: Action<'_>) -> bool {
        let is_no_superuser = AnswersSoFar { superuser: Some(Ok(Answer::DENY)), access: None };
        self.gate(who.client.id(), Some(who.username)).is_ok()
            && self.decide(who, action, &is_no_superuser) == Step::AskAcl
    }

    /// What questions about topics tell of a client's certificate.
    pub(super) fn certificate_parts(&self) -> Vec<CertificatePart> {
        let fields = self.services.config.fields.of(Kind::Access);
        fields.iter().filter_map(|field| field.certificate_part()).collect()
    }

    /// A delivery whose answer is not known is the first of many: the same message goes to others
    /// as well. Without answers that can be kept, asking ahead would be in vain.
    pub(super) fn ask_for_other_subscribers(&self, key: &Key, action: Action<'_>) {
        if !self.services.engine.keeps_access_answers() || self.services.engine.is_under_way(key) {
            return;
        }
        if !self.last_prefetch.begins(action.topic, &*self.services.clock) {
            return;
        }
        let subscribers = self.subscriptions.of(action.topic, MOST);
        let unknown = subscribers.iter().filter_map(|snapshot| {
            failpoint::reached("fan_out");
            let snapshot: &ClientSnapshot = snapshot;
            let grants = self.services.sessions.grants(client_ref(snapshot, &snapshot.username));
            let grants = &grants.unwrap_or_default();
            let username = &snapshot.username;
            let who = Who { client: snapshot, username, grants, broker: None };
            self.will_ask_acl(who, action).then(|| (snapshot, grants.attributes.clone()))
        });
        let unknown: Vec<_> = unknown.collect();
        self.services.engine.ask_ahead(unknown.iter().map(|(snapshot, attributes)| Question {
            client: *snapshot,
            username: &snapshot.username,
            attributes: attributes.as_deref(),
            about: About::Access(action),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_same_topic_is_looked_up_once_in_a_while() {
        let (last, clock) = (LastPrefetch::default(), ManualClock::new());
        assert!(last.begins("a", &*clock) && !last.begins("a", &*clock));
        assert!(last.begins("b", &*clock) && last.begins("a", &*clock));
        clock.advance(PAUSE);
        assert!(last.begins("a", &*clock));
    }
}
