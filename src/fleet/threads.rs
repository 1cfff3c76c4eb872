//! The threads of a fleet: how they start, what follows if one panics, and how they end.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::{Fleet, Listener};
use crate::pool::Spawn;
use crate::sync::lock;

/// How long the threads may take to end. Each waits for Redis for a second at most if that is honest.
const FAREWELL: Duration = Duration::from_secs(4);

/// How the end of all comes.
#[derive(Default)]
pub(crate) struct End {
    is_near: bool,
    /// How many threads have not ended.
    running: usize,
}

impl Fleet {
    /// Starts the threads. `number` tells the instances of one process apart.
    pub fn start(self: &Arc<Self>, listener: Arc<dyn Listener>, number: u64, spawn: Spawn) {
        let _ = self.listener.set(listener);
        self.members.join(number);
        type Body = fn(&Fleet);
        let bodies: [(&str, Body); 5] = [
            ("log", Self::read_log),
            ("look", Self::serve_lookups),
            ("write", Self::write),
            ("clock", Self::watch_clock),
            ("watch", Self::watch_sentinels),
        ];
        let has_sentinels = self.config.master.is_some();
        for (name, body) in bodies.into_iter().take(if has_sentinels { 5 } else { 4 }) {
            let fleet = Arc::clone(self);
            lock(&self.end).running += 1;
            let body = Box::new(move || fleet.run(body));
            match spawn(format!("http-auth-{name}"), body) {
                Ok(thread) => lock(&self.threads).push(thread),
                // Without its threads it is never in touch, and all goes as without a fleet.
                Err(error) => {
                    lock(&self.end).running -= 1;
                    ::log::error!(
                        logger: *self.log_queue,
                        "fleet {:?}: no thread to be had ({error}); this broker is alone",
                        self.config.name
                    );
                }
            }
        }
    }

    /// A thread's life. Should it panic, it begins anew, and meanwhile nothing that is shared is believed.
    fn run(&self, body: fn(&Self)) {
        while catch_unwind(AssertUnwindSafe(|| body(self))).is_err() {
            lock(&self.log).lose_touch();
            self.rest(Duration::from_secs(1));
        }
        lock(&self.end).running -= 1;
        self.stopped.notify_all();
    }

    /// Ends every thread, but for one that still reads a reply after [`FAREWELL`]: a Redis that sends byte by byte
    /// could have the broker never end. Such a thread keeps what it uses, and its memory is unmapped only
    /// with the process.
    pub fn shut_down(&self) {
        lock(&self.end).is_near = true;
        self.stopped.notify_all();
        self.lookups.wake();
        self.queue.wake();
        let end = lock(&self.end);
        let waited = self
            .stopped
            .wait_timeout_while(end, FAREWELL, |end| end.running > 0)
            .map(|(end, _)| end.running);
        let have_all_ended = waited.is_ok_and(|running| running == 0);
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if have_all_ended || thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.end).is_near
    }

    /// Waits, unless all ends.
    pub(super) fn rest(&self, time: Duration) {
        let end = lock(&self.end);
        drop(self.stopped.wait_timeout_while(end, time, |end| !end.is_near));
    }
}
