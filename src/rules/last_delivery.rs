//! The delivery that rules allowed last, for the subscribers that come next.
//!
//! The broker asks about a message's subscribers one after the other, and clients of a kind share
//! their rules ([`RuleSetInterner`](super::RuleSetInterner)). What these rules allow to everybody was found out for the first
//! of them, and nothing that belongs to one of the others alone has to be looked at.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Rules;
use crate::question::{Action, MessageFlags, RawAclCheck};

/// The last delivery that rules allowed to everybody who has them.
#[derive(Default)]
pub(crate) struct LastDelivery(Option<Delivery>);

struct Delivery {
    rules: Arc<Rules>,
    topic: String,
    flags: MessageFlags,
}

impl LastDelivery {
    /// Whether this is that delivery.
    #[must_use]
    pub(crate) fn recall(&self, rules: &Arc<Rules>, raw_check: &RawAclCheck<'_>) -> bool {
        self.0.as_ref().is_some_and(|last| {
            Arc::ptr_eq(&last.rules, rules)
                && last.flags == raw_check.flags
                && last.topic.as_bytes() == raw_check.topic
        })
    }

    /// These rules allow this delivery to everybody who has them.
    pub(crate) fn note(&mut self, rules: &Arc<Rules>, action: &Action<'_>) {
        let (rules, flags) = (Arc::clone(rules), action.flags());
        match &mut self.0 {
            Some(last) => {
                (last.rules, last.flags) = (rules, flags);
                last.topic.clear();
                last.topic.push_str(action.topic);
            }
            none => *none = Some(Delivery { rules, topic: action.topic.to_owned(), flags }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Access;
    use crate::rules::{Condition, Names, Permission, Rule, Verb};

    const TOPICS: [&str; 6] = ["news/a", "news/b", "own/c1", "own/c2", "own/c1/x", "other"];

    fn rules(list: &[(Permission, &str)]) -> Arc<Rules> {
        let rule = |(permission, topic): &(Permission, &str)| {
            let (permission, topic) = (*permission, (*topic).to_owned());
            // For some clients only, where it is about one topic alone.
            let condition = match topic.as_str() {
                "news/b" => Condition { client_id: Some("1".to_owned()), ..Condition::NONE },
                _ => Condition::NONE,
            };
            Rule { permission, verb: Verb::All, topic, qos: Some(vec![0]), retain: None, condition }
        };
        Arc::new(Rules::compile(list.iter().map(rule).collect()).unwrap())
    }

    #[test]
    fn what_it_recalls_the_rules_allow_to_whoever_is_asked_about() {
        use Permission::{Allow, Deny};
        let sets = [
            rules(&[(Allow, "own/${clientid}/#"), (Deny, "own/#"), (Allow, "news/a")]),
            rules(&[(Deny, "own/c2"), (Allow, "own/${username}"), (Allow, "#")]),
            rules(&[(Allow, "+/${clientid}"), (Deny, "news/+")]),
            rules(&[(Deny, "news/b"), (Allow, "news/#"), (Allow, "other")]),
        ];
        let (mut last_delivery, mut recalled) = (LastDelivery::default(), 0);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            // Mostly the same as before, but for one thing.
            let rules = &sets[random.usize(..sets.len())];
            let topic = TOPICS[random.usize(..TOPICS.len())];
            for _ in 0..3 {
                let name = ["c1", "c2"][random.usize(..2)];
                let names =
                    Names { username: name, client_id: name, attributes: None, conditions: None };
                let access = Access::Read;
                let action = Action { access, topic, qos: random.u8(..2), retain: random.bool() };
                let allowed =
                    rules.judge(&action, names).filter(|ruling| ruling.permission == Allow);
                let for_all = |position| rules.is_for_everybody(position, topic);
                let raw_check = RawAclCheck {
                    handle: 1,
                    client_id: name.as_bytes(),
                    username: name.as_bytes(),
                    topic: topic.as_bytes(),
                    access,
                    flags: action.flags(),
                };
                if last_delivery.recall(rules, &raw_check) {
                    assert!(allowed.is_some(), "{action:?} by {name}");
                    recalled += 1;
                } else if allowed.is_some_and(|ruling| for_all(ruling.position)) {
                    last_delivery.note(rules, &action);
                }
            }
        }
        assert!(recalled > 1000, "{recalled}");
    }
}
