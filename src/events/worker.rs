//! The thread that sends events. It ends when there are none for a while.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use log::Level;

use super::pace::{Pace, Then};
use super::written::body;
use super::{SETTLED, Sending, Shared};
use crate::answer::Failure;
use crate::api::Told;
use crate::failpoint;
use crate::stats::EventEnd;
use crate::sync::lock;

/// How long it waits for an event before it ends.
const LINGER: Duration = Duration::from_secs(10);

/// What is to be done next.
enum Next {
    Send(Vec<Arc<str>>),
    /// The broker does not tick: whoever came a while ago is connected.
    Settle,
    End,
}

impl Shared {
    /// The worker's life.
    pub(super) fn serve(&self) {
        let (mut pace, mut pause) = (Pace::default(), Duration::ZERO);
        loop {
            let events = match self.next(pace.most(), pause) {
                Next::Send(events) => events,
                Next::Settle => {
                    if let Some(before) = self.clock.now().checked_sub(SETTLED) {
                        self.settle(before);
                    }
                    continue;
                }
                Next::End => return,
            };
            pause = Duration::ZERO;
            match pace.after(&self.send(&events), events.len()) {
                Then::Taken => {
                    self.stats.events_ended(EventEnd::Sent, events.len());
                    self.finish();
                }
                Then::Dropped(status) => {
                    self.refused(status, events.len());
                    self.finish();
                }
                Then::Split => self.put_back(),
                Then::Again(after) => {
                    pause = after;
                    self.stats.event_failed();
                    self.put_back();
                }
            }
        }
    }

    /// A panic is a failure like another: the events stay.
    fn send(&self, events: &[Arc<str>]) -> Result<Told, Failure> {
        let send = || {
            failpoint::reached("events");
            self.api.tell(body(events).as_bytes(), events.len())
        };
        catch_unwind(AssertUnwindSafe(send)).unwrap_or(Err(Failure::Internal))
    }

    fn refused(&self, status: u16, count: usize) {
        self.stats.events_ended(EventEnd::Refused, count);
        self.log_queue.seldom(Level::Warn, "events refused", || {
            format!("the API refuses events with status {status}; {count} are dropped")
        });
    }

    fn finish(&self) {
        let mut sending = lock(&self.sending);
        sending.queue.finish();
        if sending.is_ending {
            self.changed.notify_all();
        }
    }

    fn put_back(&self) {
        lock(&self.sending).queue.put_back();
    }

    /// Waits for what is to be done, after a pause if something failed. A broker that ends waits for no
    /// second try.
    fn next(&self, most: usize, pause: Duration) -> Next {
        let mut sending = lock(&self.sending);
        if !pause.is_zero() {
            if sending.is_ending {
                return self.end(sending);
            }
            let goes_on = |sending: &mut Sending| !sending.is_ending;
            let waited = self.changed.wait_timeout_while(sending, pause, goes_on);
            sending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        loop {
            if sending.is_closed {
                return self.end(sending);
            }
            let events = sending.queue.take(most);
            if !events.is_empty() {
                return Next::Send(events);
            }
            if sending.is_ending {
                return self.end(sending);
            }
            let is_unsettled = self.unsettled.load(Ordering::Acquire);
            let limit = if is_unsettled { SETTLED } else { LINGER };
            let waited = self.changed.wait_timeout(sending, limit);
            let (locked, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            sending = locked;
            if timeout.timed_out() && sending.queue.len() == 0 && !sending.is_ending {
                if is_unsettled {
                    return Next::Settle;
                }
                return self.end(sending);
            }
        }
    }

    fn end(&self, mut sending: MutexGuard<'_, Sending>) -> Next {
        sending.has_worker = false;
        self.changed.notify_all();
        Next::End
    }
}
