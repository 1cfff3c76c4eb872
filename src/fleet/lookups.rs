//! The thread that looks answers up: what several workers want goes in one MGET, and each waits for as long
//! as it may, however slowly Redis answers.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Fleet;
use super::link::{Link, LinkError};
use crate::sync::lock;

/// How many answers are looked up at once.
const MOST: usize = 128;

/// How many may wait to be looked up: whoever wanted an answer may have given up since.
const MOST_WAITING: usize = 4096;

/// A value under one of the keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    pub(crate) sealed: Vec<u8>,
    /// For how long Redis keeps it.
    pub(crate) left: Option<Duration>,
}

type Values = Vec<Option<Stored>>;

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

/// The values under these keys, and for how long they stay.
fn get(link: &mut Link, keys: &[String]) -> Result<Values, LinkError> {
    let values = link.get(keys)?;
    let found = keys.iter().zip(&values).filter(|(_, value)| value.is_some());
    let found: Vec<_> = found.map(|(key, _)| key.as_str()).collect();
    // A pipeline without commands is answered by nothing.
    let lives = if found.is_empty() { Vec::new() } else { link.lives(&found)? };
    let mut lives = lives.into_iter();
    let mut stored = |sealed| Stored { sealed, left: lives.next().flatten() };
    Ok(values.into_iter().map(|value| value.map(&mut stored)).collect())
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
                keys.chunks(MOST).map(|keys| get(connection, keys)).collect();
            match values {
                Ok(values) => {
                    let mut values = values.into_iter().flatten();
                    for request in requests {
                        let own = values.by_ref().take(request.keys.len()).collect();
                        // The worker that asked may have given up.
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

    /// The requests of now; waits until there is one.
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
    use std::sync::{Arc, OnceLock};
    use std::thread;

    use super::super::fake_redis::{array, bulk, fleet, serve, touch, wait_until};
    use super::super::record::Position;
    use super::super::{SharedAnswer, Stamp, Subject};
    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::question::SharedName;

    #[test]
    fn no_command_asks_for_more_than_128_answers() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let address = serve(move |command, _| {
            if command[0] == b"MGET" {
                lock(&seen).push(command.len() - 1);
                return Some(array(&vec![bulk(b"a"); command.len() - 1]));
            }
            None
        });
        let fleet = fleet(&address, &[], Arc::new(SystemClock));
        fleet.is_reachable.store(true, Ordering::Relaxed);
        let server = Arc::clone(&fleet);
        let server = thread::Builder::new().spawn(move || server.serve_lookups()).unwrap();
        wait_until("lookups", || fleet.lookups.is_connected());
        let keys: Vec<_> = (0..300).map(|number| number.to_string()).collect();
        let values = fleet.lookups.ask(keys, Duration::from_secs(10)).unwrap();
        let stored = Stored { sealed: b"a".to_vec(), left: None };
        assert_eq!(values, vec![Some(stored); 300]);
        fleet.shut_down();
        server.join().unwrap();
        assert_eq!(*lock(&asked), [128, 128, 44]);
    }

    /// It reads a clock that is an hour behind that of the broker that asked.
    #[test]
    fn a_clock_that_is_behind_makes_no_answer_younger() {
        let value = Arc::new(OnceLock::<Vec<u8>>::new());
        let stored = Arc::clone(&value);
        let hour = Duration::from_secs(3600);
        let address = serve(move |command, _| match command[0].as_slice() {
            b"MGET" => {
                let value = stored.get().unwrap();
                let head = format!("*1\r\n${}\r\n", value.len());
                Some([head.as_bytes(), value, b"\r\n"].concat())
            }
            b"PTTL" => Some(format!(":{}\r\n", (hour / 2).as_millis()).into_bytes()),
            _ => None,
        });
        let options = [("fleet_redis_timeout_ms", "1000")];
        let fleet = fleet(&address, &options, ManualClock::new());
        touch(&fleet);
        let (name, position) = (SharedName([7; 24]), Position { ms: 1, seq: 0 });
        let answer = SharedAnswer {
            stamp: Stamp { epoch: [1; 16], position },
            asked: fleet.clock.unix_time() - hour / 2,
            life: 2 * hour,
            is_given: true,
            stale: None,
            json: br#"{"result":"allow"}"#.to_vec(),
        };
        let text = fleet.namer.text(&name);
        let sealed = fleet.answers.seal(text.as_bytes(), &answer.encode()).unwrap();
        assert!(value.set(sealed).is_ok());
        fleet.is_reachable.store(true, Ordering::Relaxed);
        let server = Arc::clone(&fleet);
        let server = thread::Builder::new().spawn(move || server.serve_lookups()).unwrap();
        wait_until("lookups", || fleet.lookups.is_connected());
        let subject = Subject { client_id: "c", username: "ann", topic: None };
        let found = fleet.look_up(&[(&name, subject)]).pop().flatten().unwrap();
        assert_eq!((found.age, found.life), (hour * 3 / 2, 2 * hour));
        fleet.shut_down();
        server.join().unwrap();
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
