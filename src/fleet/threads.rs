//! The threads of a fleet: how they start, what follows if one panics, and how they end.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::link::LinkError;
use super::{Fleet, Listener};
use crate::pool::Spawn;
use crate::sync::lock;

/// How long the threads may take to end. Each waits for Redis for a second at most if that is honest.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// How far the threads have ended.
#[derive(Default)]
pub(crate) struct End {
    is_stopping: bool,
    /// How many threads have not ended.
    running: usize,
}

impl Fleet {
    /// Starts the threads. `number` tells the instances of one process apart.
    pub fn start(self: &Arc<Self>, listener: Arc<dyn Listener>, number: u64, spawn: Spawn) {
        let _ = self.listener.set(listener);
        self.members.join(number);
        type Body = fn(&Fleet);
        // The one that reads the log comes last: without any of the others this broker is never in touch.
        let bodies: [(&str, Body); 5] = [
            ("clock", Self::watch_clock),
            ("look", Self::serve_lookups),
            ("write", Self::write),
            ("watch", Self::watch_sentinels),
            ("log", Self::read_log),
        ];
        let has_sentinels = self.config.master.is_some();
        for (name, body) in bodies {
            if name == "watch" && !has_sentinels {
                continue;
            }
            let fleet = Arc::clone(self);
            lock(&self.end).running += 1;
            let body = Box::new(move || fleet.run(body));
            match spawn(format!("http-auth-{name}"), body) {
                Ok(thread) => lock(&self.threads).push(thread),
                // All goes as for a broker that is cut off, or without a clock as without a fleet.
                Err(error) => {
                    lock(&self.end).running -= 1;
                    ::log::error!(
                        logger: *self.log_queue,
                        "fleet {:?}: no thread to be had ({error}); this broker is alone",
                        self.config.name
                    );
                    return;
                }
            }
        }
    }

    /// A thread's life. Should it panic, it begins anew, and what is shared is not believed until the log was read by
    /// another connection.
    fn run(&self, body: fn(&Self)) {
        while catch_unwind(AssertUnwindSafe(|| body(self))).is_err() {
            lock(&self.log).lose_touch();
            let error = LinkError::new("a thread of the plugin has panicked");
            *lock(&self.interrupted) = Some(error);
            self.rest(Duration::from_secs(1));
        }
        lock(&self.end).running -= 1;
        self.stopped.notify_all();
    }

    /// Ends every thread, but for one that still reads a reply after [`SHUTDOWN_TIMEOUT`]: a Redis that sends byte by
    /// byte could have the broker never end. Such a thread keeps what it uses, and its memory is unmapped only with the
    /// process.
    pub fn shut_down(&self) {
        lock(&self.end).is_stopping = true;
        self.stopped.notify_all();
        self.lookups.wake();
        self.queue.wake();
        let end = lock(&self.end);
        let waited = self
            .stopped
            .wait_timeout_while(end, SHUTDOWN_TIMEOUT, |end| end.running > 0)
            .map(|(end, _)| end.running);
        let have_all_ended = waited.is_ok_and(|running| running == 0);
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if have_all_ended || thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        lock(&self.end).is_stopping
    }

    /// Waits, unless all ends.
    pub(super) fn rest(&self, time: Duration) {
        let end = lock(&self.end);
        drop(self.stopped.wait_timeout_while(end, time, |end| !end.is_stopping));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::OnceLock;
    use std::thread::{self, JoinHandle};

    use super::super::fake_redis::{array, beginning, bulk, entry, fleet, serve, wait_until};
    use super::super::record::Do;
    use super::*;
    use crate::cache::InvalidationScope;
    use crate::clock::SystemClock;

    struct Deaf;

    impl Listener for Deaf {
        fn outdate(&self, _: InvalidationScope, _: bool) {}
        fn kick(&self, _: InvalidationScope) {}
        fn ask_again(&self) {}
        fn doubt(&self, _: Option<std::time::Instant>) {}
    }

    /// A fleet whose log has an entry that begins an epoch.
    fn begun() -> Arc<Fleet> {
        let log = Arc::new(OnceLock::<Vec<u8>>::new());
        let entries = Arc::clone(&log);
        let address = serve(move |command, _| {
            let entries = entries.get()?.clone();
            match command[0].as_slice() {
                b"XRANGE" => Some(entries),
                // An entry that it said to have and has not would have the broker connect anew.
                b"XADD" => Some(b"-ERR not now\r\n".to_vec()),
                b"XREAD" if command.last()? == b"0-0" => {
                    Some(array(&[array(&[bulk(b"log"), entries])]))
                }
                _ => None,
            }
        });
        let fleet = fleet(&address, &[("fleet_ack_ms", "0")], Arc::new(SystemClock));
        assert!(log.set(array(&[entry("1-0", &beginning(&fleet))])).is_ok());
        fleet
    }

    fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(body)
    }

    fn spawn_but(
        missing: &str,
        name: String,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<JoinHandle<()>> {
        if name == missing { Err(io::ErrorKind::WouldBlock.into()) } else { spawn(name, body) }
    }

    #[test]
    fn without_one_of_its_threads_a_broker_does_not_read_the_log() {
        let spawns: [Spawn; 3] = [
            |name, body| spawn_but("http-auth-clock", name, body),
            |name, body| spawn_but("http-auth-look", name, body),
            |name, body| spawn_but("http-auth-write", name, body),
        ];
        let started = spawns.map(|spawn| {
            let fleet = begun();
            fleet.start(Arc::new(Deaf), 1, spawn);
            let started: Vec<_> = lock(&fleet.threads)
                .iter()
                .map(|thread| thread.thread().name().unwrap().to_owned())
                .collect();
            fleet.shut_down();
            started
        });
        assert_eq!(
            started,
            [vec![], vec!["http-auth-clock"], vec!["http-auth-clock", "http-auth-look"]]
        );
    }

    #[test]
    fn a_broker_is_in_touch_again_after_one_of_its_threads_has_panicked() {
        let fleet = begun();
        fleet.start(Arc::new(Deaf), 1, spawn);
        let is_in_touch = || fleet.status().is_in_touch;
        wait_until("in touch", is_in_touch);
        #[allow(clippy::panic, reason = "that is what it is for")]
        fleet.publish(Do::Kick, InvalidationScope::default(), |_| panic!("on purpose"));
        wait_until("not in touch", || !is_in_touch());
        wait_until("in touch again", is_in_touch);
        fleet.shut_down();
    }
}
