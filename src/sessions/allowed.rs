//! What was allowed to clients before, so that it need not be found out again.

#![forbid(unsafe_code)]

use super::{Basis, ClientRef, Sessions, State};
use crate::question::{Access, Action, RawAclCheck};
use crate::sync::lock;

impl Sessions {
    /// What `view` makes of what a permission rests on that this client was given before, if that is known:
    /// the session's grants are the same still.
    pub(crate) fn recall<R>(
        &self,
        raw_check: &RawAclCheck<'_>,
        view: impl FnOnce(&Basis) -> R,
    ) -> Option<R> {
        let mut state = lock(&self.state);
        let State { live, last_delivery, .. } = &mut *state;
        let session = if raw_check.access == Access::Read {
            let names =
                [raw_check.client_id.as_ptr() as usize, raw_check.username.as_ptr() as usize];
            live.follow(raw_check.handle, names)?
        } else {
            live.get(raw_check.handle)?
        };
        if !session.is_of(raw_check) {
            return None;
        }
        match session.grants.rules_in_force() {
            Some(rules)
                if session.last_allowed.has_passed() && last_delivery.recall(rules, raw_check) =>
            {
                Some(view(&Basis::Grants))
            }
            _ => session.last_allowed.recall(raw_check).map(view),
        }
    }

    /// This client is allowed this, on this basis.
    pub(crate) fn note_allowed(
        &self,
        client_ref: ClientRef<'_>,
        action: &Action<'_>,
        basis: Basis,
    ) {
        let mut state = lock(&self.state);
        if let Some(session) = state.live.get_mut(client_ref.handle) {
            if session.belongs_to(client_ref) {
                session.last_allowed.note(action, basis);
            }
        }
    }

    /// This client is allowed this by the rule at this position.
    pub(crate) fn note_allowed_by_rule(
        &self,
        client_ref: ClientRef<'_>,
        action: &Action<'_>,
        position: usize,
    ) {
        let mut state = lock(&self.state);
        let State { live, last_delivery, .. } = &mut *state;
        let session =
            live.get_mut(client_ref.handle).filter(|session| session.belongs_to(client_ref));
        let Some(session) = session else { return };
        let rules = session.grants.rules_in_force().filter(|_| action.access == Access::Read);
        match rules.filter(|rules| rules.is_for_everybody(position, action.topic)) {
            Some(rules) => {
                last_delivery.note(rules, action);
                session.last_allowed.pass();
            }
            None => session.last_allowed.note(action, Basis::Grants),
        }
    }

    /// Forgets what was allowed to whoever is connected: what is decided before that may have changed.
    pub(crate) fn forget_allowed(&self) {
        lock(&self.state).live.iter_mut().for_each(|(_, session)| session.last_allowed.forget());
    }
}
