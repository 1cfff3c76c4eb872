//! The thread that looks answers up: what several workers want goes in one MGET, and each waits for as long
//! as it may, however slowly Redis answers.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Fleet;
use super::link::Link;
use crate::sync::lock;

/// How many answers are looked up at once.
const MOST: usize = 128;

/// How many may wait to be looked up: whoever wanted an answer may have given up since.
const MOST_WAITING: usize = 4096;

type Values = Vec<Option<Vec<u8>>>;

struct Request {
    keys: Vec<String>,
    reply: Sender<Values>,
}

/// What workers want to have looked up.
#[derive(Default)]
pub(crate) struct Lookups {
    requests: Mutex<VecDeque<Request>>,
    wanted: Condvar,
    /// Whether there is a connection; nobody waits for one to be made.
    is_connected: AtomicBool,
}

impl Lookups {
    pub(crate) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// The values under these keys. None: they did not come in time, or too much waits already.
    pub(crate) fn ask(&self, keys: Vec<String>, limit: Duration) -> Option<Values> {
        let (reply, values) = channel();
        {
            let mut requests = lock(&self.requests);
            let waiting: usize = requests.iter().map(|request| request.keys.len()).sum();
            if waiting + keys.len() > MOST_WAITING {
                return None;
            }
            requests.push_back(Request { keys, reply });
        }
        self.wanted.notify_one();
        values.recv_timeout(limit).ok()
    }

    pub(crate) fn wake(&self) {
        // Under the lock, so that the thread does not miss it on its way to sleep.
        let _requests = lock(&self.requests);
        self.wanted.notify_all();
    }

    fn clear(&self) {
        lock(&self.requests).clear();
    }
}

impl Fleet {
    /// The thread's life.
    pub(super) fn serve_lookups(&self) {
        let mut link: Option<Link> = None;
        let mut found = 0;
        while !self.is_stopping() {
            let now_found = self.found.load(Ordering::Relaxed);
            if found != now_found {
                // The reader had to look for Redis, so this connection may lead to another one.
                (link, found) = (None, now_found);
            }
            if link.is_none() && self.is_reachable.load(Ordering::Relaxed) {
                link = Link::open(&self.config, &lock(&self.credentials).clone()).ok();
                if let Some(link) = &mut link {
                    let _ = link.limit(self.config.timeout);
                }
                self.lookups.clear();
                self.lookups.is_connected.store(link.is_some(), Ordering::Relaxed);
                if link.is_none() {
                    self.rest(Duration::from_secs(1));
                    continue;
                }
            }
            let requests = self.next_lookups();
            let Some(connection) = &mut link else { continue };
            if requests.is_empty() {
                continue;
            }
            let keys: Vec<_> = requests.iter().flat_map(|request| request.keys.clone()).collect();
            // One worker may want more than that, if its questions go to the API in one request.
            let values: Result<Vec<_>, _> =
                keys.chunks(MOST).map(|keys| connection.get(keys)).collect();
            match values {
                Ok(values) => {
                    let mut values = values.into_iter().flatten();
                    for request in requests {
                        let own = values.by_ref().take(request.keys.len()).collect();
                        // Whoever asked may have given up.
                        let _ = request.reply.send(own);
                    }
                }
                Err(_) => {
                    link = None;
                    self.lookups.is_connected.store(false, Ordering::Relaxed);
                }
            }
        }
        self.lookups.clear();
    }

    /// What is wanted now; waits until something is.
    fn next_lookups(&self) -> Vec<Request> {
        let mut requests = lock(&self.lookups.requests);
        if requests.is_empty() {
            if self.is_stopping() {
                return Vec::new();
            }
            requests = self.lookups.wanted.wait(requests).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut taken, mut count) = (Vec::new(), 0);
        while let Some(next) = requests.front() {
            count += next.keys.len();
            if count > MOST && !taken.is_empty() {
                break;
            }
            taken.extend(requests.pop_front());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::super::fake_redis::{fleet, serve};
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn no_command_asks_for_more_than_128_answers() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let address = serve(move |command, _| {
            if command[0] == b"MGET" {
                lock(&seen).push(command.len() - 1);
                return Some(
                    [
                        b"*",
                        (command.len() - 1).to_string().as_bytes(),
                        b"\r\n",
                        &b"$1\r\na\r\n".repeat(command.len() - 1),
                    ]
                    .concat(),
                );
            }
            None
        });
        let fleet = fleet(&address, &[], Arc::new(SystemClock));
        fleet.is_reachable.store(true, Ordering::Relaxed);
        let server = Arc::clone(&fleet);
        let server = thread::Builder::new().spawn(move || server.serve_lookups()).unwrap();
        while !fleet.lookups.is_connected() {
            thread::yield_now();
        }
        let keys: Vec<_> = (0..300).map(|number| number.to_string()).collect();
        let values = fleet.lookups.ask(keys, Duration::from_secs(10)).unwrap();
        assert_eq!(values, vec![Some(b"a".to_vec()); 300]);
        fleet.shut_down();
        server.join().unwrap();
        assert_eq!(*lock(&asked), [128, 128, 44]);
    }

    #[test]
    fn what_nobody_looks_up_takes_little_memory() {
        let lookups = Lookups::default();
        for _ in 0..100 {
            let keys = vec!["a key".to_owned(); MOST];
            assert_eq!(lookups.ask(keys, Duration::ZERO), None);
        }
        let requests = lock(&lookups.requests);
        assert_eq!(requests.iter().map(|request| request.keys.len()).sum::<usize>(), MOST_WAITING);
    }
}
