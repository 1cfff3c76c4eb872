//! What workers leave for the broker's thread, which a tick then takes.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Wakes the broker's thread; from a worker.
pub(crate) type WakeBroker = Arc<dyn Fn() + Send + Sync>;

/// Items from workers for the broker's thread.
pub(crate) struct Mailbox<T> {
    items: Mutex<Vec<T>>,
    /// Whether there are any, readable without the lock: every tick asks.
    any: AtomicBool,
    wake_broker: WakeBroker,
}

impl<T> Mailbox<T> {
    #[must_use]
    pub(crate) fn new(wake_broker: WakeBroker) -> Arc<Self> {
        Arc::new(Self { items: Mutex::default(), any: AtomicBool::new(false), wake_broker })
    }

    /// Leaves an item, and wakes the broker's thread.
    pub(crate) fn send(&self, item: T) {
        lock(&self.items).push(item);
        self.any.store(true, Ordering::Release);
        (self.wake_broker)();
    }

    /// Whether there are any.
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    #[must_use]
    pub(crate) fn drain(&self) -> Vec<T> {
        // Only the broker's thread drains it, so that what it does not see now it sees next time.
        if !self.any() {
            return Vec::new();
        }
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.items))
    }
}
