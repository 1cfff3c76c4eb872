//! What workers leave for the broker's thread, which a tick then takes.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Wakes the broker's thread; from a worker.
pub(crate) type WakeBroker = Arc<dyn Fn() + Send + Sync>;

/// Items from workers for the broker's thread.
pub(crate) struct Mailbox<T> {
    items: Mutex<VecDeque<T>>,
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
        lock(&self.items).push_back(item);
        self.any.store(true, Ordering::Release);
        (self.wake_broker)();
    }

    /// Whether there are any.
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// All of them, the oldest first.
    #[must_use]
    pub(crate) fn drain(&self) -> VecDeque<T> {
        // Only the broker's thread drains it, so that what it does not see now it sees next time.
        if !self.any() {
            return VecDeque::new();
        }
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.items))
    }

    /// The oldest, no more than `most`; the rest stay.
    #[must_use]
    pub(crate) fn take(&self, most: usize) -> Vec<T> {
        if !self.any() {
            return Vec::new();
        }
        let mut items = lock(&self.items);
        let count = most.min(items.len());
        let taken = items.drain(..count).collect();
        // Under the lock, so that an item which is added now is told of later.
        self.any.store(!items.is_empty(), Ordering::Relaxed);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_portions_comes_in_order_and_once() {
        let mailbox = Mailbox::new(Arc::new(|| {}));
        assert!(mailbox.take(2).is_empty());
        (0..5).for_each(|number| mailbox.send(number));
        assert_eq!((mailbox.take(2), mailbox.any()), (vec![0, 1], true));
        mailbox.send(5);
        assert_eq!((mailbox.take(4), mailbox.any()), (vec![2, 3, 4, 5], false));
        mailbox.send(6);
        assert_eq!((mailbox.drain(), mailbox.any()), (VecDeque::from([6]), false));
    }
}
