//! What was judged last, for whoever comes next.
//!
//! The broker asks about a message's subscribers one after the other, and clients of a kind share
//! their rules ([`Shelf`](super::Shelf)). What these rules say of the topic, unless they name the
//! client, was found out for the first of them.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use super::placeholder::Names;
use super::{Rules, Ruling, Situations};
use crate::question::{Access, Action};
use crate::sync::lock;

/// The last judgement of a delivery.
#[derive(Default)]
pub struct Recent(Mutex<Option<Judgement>>);

struct Judgement {
    rules: Arc<Rules>,
    topic: String,
    situation: Situations,
    ruling: Option<Ruling>,
}

impl Recent {
    /// What [`Rules::judge`] says.
    #[must_use]
    pub fn judge(
        &self,
        rules: &Arc<Rules>,
        action: &Action<'_>,
        names: Names<'_>,
    ) -> Option<Ruling> {
        // Nothing else is asked about one client after the other.
        if action.access != Access::Read {
            return rules.judge(action, names);
        }
        let situation = Situations::of(action)?;
        let mut last = lock(&self.0);
        if let Some(last) = &*last {
            let is_same = Arc::ptr_eq(&last.rules, rules) && last.situation == situation;
            if is_same && last.topic == action.topic {
                return last.ruling;
            }
        }
        let (ruling, for_all) = rules.judge_for(action, names);
        if for_all {
            let topic = action.topic.to_owned();
            *last = Some(Judgement { rules: Arc::clone(rules), topic, situation, ruling });
        }
        ruling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Permission, Rule, Verb};

    const TOPICS: [&str; 6] = ["news/a", "news/b", "own/c1", "own/c2", "own/c1/x", "other"];

    fn rules(list: &[(Permission, &str)]) -> Arc<Rules> {
        let rule = |(permission, topic): &(Permission, &str)| {
            let (permission, topic) = (*permission, (*topic).to_owned());
            Rule { permission, verb: Verb::All, topic, qos: Some(vec![0]), retain: None }
        };
        Arc::new(Rules::compile(list.iter().map(rule).collect()).unwrap())
    }

    #[test]
    fn it_says_what_the_rules_say_in_whatever_order_it_is_asked() {
        use Permission::{Allow, Deny};
        let sets = [
            rules(&[(Allow, "own/${clientid}/#"), (Deny, "own/#"), (Allow, "news/a")]),
            rules(&[(Deny, "own/c2"), (Allow, "own/${username}"), (Allow, "#")]),
            rules(&[(Allow, "+/${clientid}"), (Deny, "news/+")]),
        ];
        let recent = Recent::default();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            // Mostly the same as before, but for one thing.
            let rules = &sets[random.usize(..sets.len())];
            let topic = TOPICS[random.usize(..TOPICS.len())];
            for _ in 0..3 {
                let name = ["c1", "c2"][random.usize(..2)];
                let names = Names { username: name, client_id: name };
                let access = [Access::Read, Access::Read, Access::Write][random.usize(..3)];
                let action = Action { access, topic, qos: random.u8(..2), retain: random.bool() };
                assert_eq!(
                    recent.judge(rules, &action, names),
                    rules.judge(&action, names),
                    "{action:?} by {name}"
                );
            }
        }
    }

    #[test]
    fn it_remembers_what_is_so_for_all() {
        let rules = rules(&[(Permission::Allow, "own/${clientid}"), (Permission::Allow, "news/+")]);
        let recent = Recent::default();
        let topic = |recent: &Recent| lock(&recent.0).as_ref().map(|last| last.topic.clone());
        let names = Names { username: "ann", client_id: "c1" };
        let read = |topic| Action { access: Access::Read, topic, qos: 0, retain: false };
        let _ = recent.judge(&rules, &read("own/c1"), names);
        assert_eq!(topic(&recent), None);
        let _ = recent.judge(&rules, &read("news/a"), names);
        assert_eq!(topic(&recent).as_deref(), Some("news/a"));
    }
}
