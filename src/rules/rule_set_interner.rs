//! Sets of rules that many clients have in common.
//!
//! An API usually gives all devices of a kind the same rules, with placeholders for their names.
//! Kept once, they take the memory of one set, and what judges one client is still in the
//! processor's cache for the next.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, Weak};

use super::Rules;
use crate::sync::lock;

/// How many sets there may be before it is looked for those that nobody has any more.
const TIDY_FROM: usize = 64;

/// Knows every set of rules that somebody has.
#[derive(Default)]
pub(crate) struct RuleSetInterner {
    sets: Mutex<HashMap<u64, Weak<Rules>>>,
    hasher: RandomState,
}

impl RuleSetInterner {
    /// The set that is in use already if there is one like this, else this one.
    #[must_use]
    pub(crate) fn share(&self, rules: Arc<Rules>) -> Arc<Rules> {
        let hash = self.hasher.hash_one(&*rules);
        let mut sets = lock(&self.sets);
        let known = sets.get(&hash).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| *known == rules) {
            return known;
        }
        if sets.len() >= TIDY_FROM && sets.len() == sets.capacity() {
            sets.retain(|_, set| set.strong_count() > 0);
        }
        sets.insert(hash, Arc::downgrade(&rules));
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Condition, Permission, Rule, Verb};

    fn rules(topic: &str) -> Arc<Rules> {
        let (permission, verb, topic) = (Permission::Allow, Verb::All, topic.to_owned());
        let rule =
            Rule { permission, verb, topic, qos: None, retain: None, condition: Condition::NONE };
        Arc::new(Rules::compile(vec![rule]).unwrap())
    }

    #[test]
    fn equal_sets_become_one_and_others_stay_apart() {
        let rule_set_interner = RuleSetInterner::default();
        let first = rule_set_interner.share(rules("a/#"));
        assert!(Arc::ptr_eq(&first, &rule_set_interner.share(rules("a/#"))));
        let other = rule_set_interner.share(rules("b/#"));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(other, rules("b/#"));
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten_in_time() {
        let rule_set_interner = RuleSetInterner::default();
        let kept = rule_set_interner.share(rules("kept/#"));
        for number in 0..10_000 {
            let _ = rule_set_interner.share(rules(&format!("gone/{number}")));
        }
        assert!(lock(&rule_set_interner.sets).len() < 1000);
        assert!(Arc::ptr_eq(&kept, &rule_set_interner.share(rules("kept/#"))));
    }
}
