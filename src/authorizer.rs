//! Who may do what with a topic: publish, receive, subscribe.
//!
//! [`Authorizer::recall`] knows what the same client was allowed last, [`Authorizer::access`] decides all
//! else: what is known of the session first ([`decide`](crate::decide)), then what the API says. A delivery
//! does not hold up the broker; it is kept until its answer comes, and sent by a later tick.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::held_deliveries::HeldDeliveries;
use crate::last_asked::LastAsked;
use crate::mailbox::Mailbox;
use crate::question::{Action, Departure, Kind};
use crate::services::Services;
use crate::stats::HeldEnd;
use crate::subscriptions::Subscriptions;

mod access;
mod acl_prefetch;
mod begun;
mod consult;
mod copies;
mod held;
mod retry;
mod undecided;
mod who;
pub(crate) use held::recipient;
pub(crate) use who::AccessReply;
pub use who::Check;
pub(crate) use who::client_ref;

use acl_prefetch::LastPrefetch;
use begun::Begun;
use copies::Copies;
use held::HeldAnswer;
use retry::PostponedEntries;

/// Decides who may do what.
pub(crate) struct Authorizer {
    services: Services,
    subscriptions: Subscriptions,
    /// Deliveries that wait for their answers, and what has come of them.
    held: Arc<HeldDeliveries>,
    held_answers: Arc<Mailbox<HeldAnswer>>,
    begun: Begun,
    copies: Copies,
    /// What is asked ahead for a client that comes in.
    last_asked: LastAsked,
    postponed_entries: PostponedEntries,
    /// Whether the API has ever left an ACL check to the broker's other means.
    leaves_to_broker: AtomicBool,
    /// Whether the broker has ever asked about the source of a retained message (`check_retain_source`).
    checks_retain_source: AtomicBool,
    /// Whether the broker says who is connected.
    tells_who_connects: bool,
    last_prefetch: LastPrefetch,
}

impl Authorizer {
    pub(crate) fn new(
        services: &Services,
        held: &Arc<HeldDeliveries>,
        tells_who_connects: bool,
    ) -> Self {
        Self {
            services: services.clone(),
            held: Arc::clone(held),
            held_answers: Mailbox::new(Arc::clone(&services.wake_broker)),
            subscriptions: Subscriptions::default(),
            begun: Begun::default(),
            copies: Copies::default(),
            last_asked: LastAsked::default(),
            postponed_entries: PostponedEntries::default(),
            leaves_to_broker: AtomicBool::new(false),
            checks_retain_source: AtomicBool::new(false),
            tells_who_connects,
            last_prefetch: LastPrefetch::default(),
        }
    }

    fn has_route(&self, kind: Kind) -> bool {
        self.services.config.routes.of(kind).is_some()
    }

    /// Whether the file of an access list allows this; none: there is none.
    pub(crate) fn file_allows(
        &self,
        username: &str,
        client_id: &str,
        action: &Action<'_>,
    ) -> Option<bool> {
        self.services.files.as_ref().and_then(|files| files.allow(username, client_id, action))
    }

    /// The client of this handle has left, or its session has gone offline.
    pub(crate) fn left(&self, handle: usize, departure: Departure) {
        self.services.sessions.end(handle, self.services.tick_monitor.beats());
        self.subscriptions.left(handle, departure);
        self.services.stats.held_ended(HeldEnd::Gone, self.held.left(handle, departure));
    }
}
