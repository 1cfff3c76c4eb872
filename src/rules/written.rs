//! Rules as they were written, for whoever hands them on.

#![forbid(unsafe_code)]

use super::action_mask::QosSet;
use super::{Condition, Conditions, Rule, Rules};

impl Rules {
    /// Rules from which the same are compiled. None: some are for some clients only, or nothing
    /// else is allowed, neither of which is written yet.
    #[must_use]
    pub fn written(&self) -> Option<Vec<Rule>> {
        if self.deny_the_rest || self.conditions != Conditions::default() {
            return None;
        }
        let rule = |position: usize| {
            let kept = self.kept.get(position)?;
            let levels = || (0..=2).filter(|qos| kept.qos.contains(*qos)).collect();
            Some(Rule {
                permission: kept.permission,
                verb: kept.verb,
                topic: self.topic(position)?.to_owned(),
                qos: (kept.qos != QosSet::ANY).then(levels),
                retain: kept.retain,
                condition: Condition::NONE,
            })
        };
        (0..self.len()).map(rule).collect()
    }
}
