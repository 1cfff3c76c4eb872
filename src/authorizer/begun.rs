//! What the broker is in the middle of.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the broker is in the middle of, which its checks of deliveries do not say.
#[derive(Default)]
pub(crate) struct Begun {
    /// The client that subscribed last: it gets retained messages next.
    subscribing: AtomicUsize,
    /// The client that was let in last: it gets what was queued for its session next.
    returning: AtomicUsize,
    /// Of the message that was published last, and is delivered next: whether it may have properties of which the
    /// broker does not tell, and whether it may expire, which no broker tells.
    may_have_properties: AtomicBool,
    may_expire: AtomicBool,
}

impl Begun {
    pub(crate) fn subscribes(&self, handle: usize) {
        self.subscribing.store(handle, Ordering::Relaxed);
    }

    pub(crate) fn is_let_in(&self, handle: usize) {
        self.returning.store(handle, Ordering::Relaxed);
    }

    /// Whether this client subscribed last, and gets retained messages.
    pub(crate) fn is_subscribing(&self, handle: usize) -> bool {
        self.subscribing.load(Ordering::Relaxed) == handle
    }

    /// Whether this client was let in last, and gets what was queued for its session.
    pub(crate) fn is_returning(&self, handle: usize) -> bool {
        self.returning.load(Ordering::Relaxed) == handle
    }

    /// Whether the broker is in the middle of something for this client.
    pub(crate) fn is_with(&self, handle: usize) -> bool {
        self.is_subscribing(handle) || self.is_returning(handle)
    }

    /// A client publishes, or its Will is. `of_mqtt_5`: it may have properties, which are `told` or not.
    pub(crate) fn message(&self, of_mqtt_5: bool, told: bool) {
        self.may_have_properties.store(of_mqtt_5 && !told, Ordering::Relaxed);
        self.may_expire.store(of_mqtt_5, Ordering::Relaxed);
    }

    pub(crate) fn may_have_properties(&self) -> bool {
        self.may_have_properties.load(Ordering::Relaxed)
    }

    pub(crate) fn may_expire(&self) -> bool {
        self.may_expire.load(Ordering::Relaxed)
    }

    /// The message has no properties, unless it is one that expires.
    pub(crate) fn has_no_properties(&self) {
        self.may_have_properties.store(false, Ordering::Relaxed);
    }

    /// The broker begins with something else.
    pub(crate) fn is_over(&self) {
        self.subscribing.store(0, Ordering::Relaxed);
        self.returning.store(0, Ordering::Relaxed);
        self.message(false, true);
    }
}
