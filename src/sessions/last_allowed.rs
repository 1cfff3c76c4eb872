//! What a client was allowed last, for when it is asked about once more.
//!
//! Most clients publish the same over and over, and are sent the same. What was found out about that,
//! whether by rules or from the cache, is kept where the session is looked at anyway.

#![forbid(unsafe_code)]

use std::ptr;

use super::session_map::MemoryRange;
use crate::cache::CachedPermission;
use crate::question::{Access, Action, MessageFlags, RawAclCheck};

/// The longest topic name that is kept, in bytes.
const LONGEST: usize = 69;

/// One of the client's deliveries and one of its publishes, that were allowed. Most sessions of whose
/// clients the rules are those of others too need none.
#[derive(Default)]
pub(crate) struct LastAllowed {
    allowed: Option<Box<[Allowed; 2]>>,
    /// Whether anything was allowed, so that no option that looks at a client's names stops this one.
    has_passed: bool,
    /// Where the answer lies, or lay, on which the permission of the last delivery rests. Only to be
    /// fetched ahead.
    answer: MemoryRange,
}

/// What a permission rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Basis {
    /// The session's own grants.
    Grants,
    /// An answer that was found in the cache, for as long as it is good: the entry itself.
    Answer(CachedPermission),
}

struct Allowed {
    basis: Basis,
    flags: MessageFlags,
    /// How long the topic is; 0: there is none.
    length: u8,
    topic: [u8; LONGEST],
}

const NOTHING: Allowed = Allowed {
    basis: Basis::Grants,
    flags: MessageFlags::of(Access::Read, 0, false),
    length: 0,
    topic: [0; LONGEST],
};

impl LastAllowed {
    /// What the permission rests on, if the same was allowed.
    pub(crate) fn recall(&self, raw_check: &RawAclCheck<'_>) -> Option<&Basis> {
        let allowed = &self.allowed.as_ref()?[slot(raw_check.access)?];
        let topic = allowed.topic.get(..usize::from(allowed.length))?;
        let is_same = allowed.flags == raw_check.flags && topic == raw_check.topic;
        (is_same && allowed.length > 0).then_some(&allowed.basis)
    }

    /// This was allowed.
    pub(crate) fn note(&mut self, action: &Action<'_>, basis: Basis) {
        self.has_passed = true;
        let Some(slot) = slot(action.access) else { return };
        let bytes = action.topic.as_bytes();
        let (Ok(length), true) = (u8::try_from(bytes.len()), bytes.len() <= LONGEST) else {
            return;
        };
        let allowed = &mut self.allowed.get_or_insert_with(|| Box::new([NOTHING; 2]))[slot];
        allowed.topic[..bytes.len()].copy_from_slice(bytes);
        if slot == 0 {
            self.answer = basis.range();
        }
        (allowed.basis, allowed.flags, allowed.length) = (basis, action.flags(), length);
    }

    /// Something was allowed that is remembered elsewhere.
    pub(crate) fn pass(&mut self) {
        self.has_passed = true;
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed
    }

    /// Nothing of it holds any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Where it lies in memory, with what has to be looked at for the next delivery.
    pub(crate) fn ranges(&self) -> [MemoryRange; 2] {
        let allowed = self.allowed.as_ref().map_or((0, 0), |allowed| {
            let address = ptr::from_ref(&**allowed) as usize;
            (address, size_of_val(&**allowed))
        });
        [allowed, self.answer]
    }
}

impl Basis {
    fn range(&self) -> MemoryRange {
        match self {
            Self::Grants => (0, 0),
            Self::Answer(permission) => (permission.address(), 1),
        }
    }
}

/// Nobody subscribes over and over.
fn slot(access: Access) -> Option<usize> {
    match access {
        Access::Read => Some(0),
        Access::Write => Some(1),
        Access::Subscribe | Access::Unsubscribe => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(access: Access, topic: &str) -> Action<'_> {
        Action { access, topic, qos: 1, retain: false }
    }

    fn recall(last_allowed: &LastAllowed, action: Action<'_>) -> Option<Basis> {
        let Action { access, topic, .. } = action;
        let flags = action.flags();
        let topic = topic.as_bytes();
        let raw_check =
            RawAclCheck { handle: 1, client_id: b"c", username: b"u", topic, access, flags };
        last_allowed.recall(&raw_check).cloned()
    }

    #[test]
    fn the_same_is_recalled_and_nothing_else_is() {
        let mut last_allowed = LastAllowed::default();
        for access in [Access::Read, Access::Write] {
            let noted = action(access, "a/b");
            assert_eq!(recall(&last_allowed, noted), None);
            last_allowed.note(&noted, Basis::Grants);
            assert_eq!(recall(&last_allowed, noted), Some(Basis::Grants));
            for topic in ["", "a", "a/", "a/c", "a/b/", "a/bb", "A/b"] {
                assert_eq!(recall(&last_allowed, Action { topic, ..noted }), None, "{topic}");
            }
            assert_eq!(recall(&last_allowed, Action { qos: 0, ..noted }), None);
            assert_eq!(recall(&last_allowed, Action { retain: true, ..noted }), None);
        }
        last_allowed.note(&action(Access::Read, "b"), Basis::Grants);
        assert_eq!(
            recall(&last_allowed, action(Access::Read, "a/b")),
            None,
            "another came after it"
        );
        assert_eq!(recall(&last_allowed, action(Access::Write, "a/b")), Some(Basis::Grants));
        last_allowed.forget();
        assert_eq!(recall(&last_allowed, action(Access::Write, "a/b")), None);
    }

    #[test]
    fn neither_long_names_nor_none_nor_filters_are_kept() {
        let mut last_allowed = LastAllowed::default();
        let (longest, longer) = ("x".repeat(LONGEST), "x".repeat(LONGEST + 1));
        last_allowed.note(&action(Access::Write, &longest), Basis::Grants);
        assert_eq!(recall(&last_allowed, action(Access::Write, &longest)), Some(Basis::Grants));
        for long in [longer, "x".repeat(256 + LONGEST)] {
            last_allowed.note(&action(Access::Write, &long), Basis::Grants);
            assert_eq!(recall(&last_allowed, action(Access::Write, &long)), None);
        }
        last_allowed.note(&action(Access::Write, ""), Basis::Grants);
        last_allowed.note(&action(Access::Subscribe, "a"), Basis::Grants);
        assert_eq!(recall(&last_allowed, action(Access::Write, "")), None);
        assert_eq!(recall(&last_allowed, action(Access::Subscribe, "a")), None);
    }
}
