//! In which action_mask a rule has a say, as a set that one comparison looks into.

#![forbid(unsafe_code)]

use crate::question::{Access, Action};

/// Levels of quality of service: a bit for each, and one for whatever else a broker may say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct QosSet(u8);

impl QosSet {
    const OTHER: u8 = 3;
    pub(crate) const ANY: Self = Self(0b1111);

    /// The set of these.
    #[must_use]
    pub(crate) fn of(list: &[u8]) -> Self {
        Self(list.iter().fold(0, |set, qos| set | 1 << (*qos).min(Self::OTHER)))
    }

    #[must_use]
    pub(crate) fn contains(self, qos: u8) -> bool {
        self.0 & (1 << qos.min(Self::OTHER)) != 0
    }
}

/// A set of action_mask. Eight bits for each access, which are four levels of quality of service,
/// each without and with `retain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ActionMask(u32);

impl ActionMask {
    pub(crate) const NONE: Self = Self(0);

    /// The one action_mask that an action is in; none when no rule has a say in it.
    #[must_use]
    pub(crate) fn of(action: &Action<'_>) -> Option<Self> {
        let qos = action.qos.min(QosSet::OTHER);
        let bit = 1 << (qos * 2 + u8::from(action.retain));
        Some(Self::NONE.with(first_bit(action.access)?, bit))
    }

    /// An access to messages of these kinds.
    #[must_use]
    pub(crate) fn narrowed(access: Access, qos: QosSet, retain: Option<bool>) -> Self {
        let Some(first) = first_bit(access) else { return Self::NONE };
        let mut bits = 0;
        for level in 0..=QosSet::OTHER {
            for retained in [false, true] {
                if qos.contains(level) && retain.is_none_or(|only| only == retained) {
                    bits |= 1 << (level * 2 + u8::from(retained));
                }
            }
        }
        Self::NONE.with(first, bits)
    }

    fn with(self, first_bit: u32, bits: u8) -> Self {
        Self(self.0 | u32::from(bits) << first_bit)
    }

    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

fn first_bit(access: Access) -> Option<u32> {
    match access {
        Access::Write => Some(0),
        Access::Read => Some(8),
        Access::Subscribe => Some(16),
        Access::Unsubscribe => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An access, whatever the message.
    fn any(access: Access) -> ActionMask {
        ActionMask::narrowed(access, QosSet::ANY, None)
    }

    const JUDGED: [Access; 3] = [Access::Write, Access::Read, Access::Subscribe];

    fn actions() -> impl Iterator<Item = Action<'static>> {
        JUDGED.into_iter().flat_map(|access| {
            (0..6).flat_map(move |qos| {
                [false, true].map(|retain| Action { access, topic: "", qos, retain })
            })
        })
    }

    #[test]
    fn a_set_holds_what_it_was_made_for() {
        for access in JUDGED {
            for qos in [vec![0], vec![1], vec![2], vec![0, 2], vec![2, 1, 2]] {
                for retain in [None, Some(false), Some(true)] {
                    let set = ActionMask::narrowed(access, QosSet::of(&qos), retain);
                    for action in actions() {
                        let expected = action.access == access
                            && qos.contains(&action.qos)
                            && retain.is_none_or(|only| only == action.retain);
                        let action_mask = ActionMask::of(&action).unwrap();
                        assert_eq!(
                            set.meets(action_mask),
                            expected,
                            "{qos:?} {retain:?} {action:?}"
                        );
                    }
                }
            }
            for action in actions() {
                let action_mask = ActionMask::of(&action).unwrap();
                assert_eq!(any(access).meets(action_mask), action.access == access);
            }
        }
    }

    #[test]
    fn sets_add_up_and_take_away() {
        let both = any(Access::Read).or(any(Access::Write));
        assert!(both.meets(any(Access::Read)));
        assert_eq!(both.without(any(Access::Read)), any(Access::Write));
        assert_eq!(both.without(both), ActionMask::NONE);
        assert!(!both.meets(ActionMask::NONE));
    }

    #[test]
    fn no_rule_has_a_say_in_an_unsubscribe() {
        let action = Action { access: Access::Unsubscribe, topic: "a", qos: 0, retain: false };
        assert_eq!(ActionMask::of(&action), None);
        assert_eq!(any(Access::Unsubscribe), ActionMask::NONE);
    }
}
