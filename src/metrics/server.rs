//! Serves the metrics, on a thread of its own.
//!
//! One thread serves all clients, and waits for none of them: whoever sends or reads slowly is
//! passed over until it is ready, and closed when its time is up.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{Connection, Progress};
use crate::clock::Clock;
use crate::pool::Spawn;
use crate::sync::lock;

/// How many clients are served at once. The one that came first goes when another comes.
const MOST: usize = 16;

/// For how long a client is served.
const TIME: Duration = Duration::from_secs(10);

/// When a connection is tried again that could not be taken, as for want of file descriptors.
const RETRY: Duration = Duration::from_millis(500);

const STOP: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// What there is to read.
type Page = dyn Fn() -> String + Send;

/// A running server. It ends when it goes.
pub struct Server {
    stop: Waker,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Listens on this address, and has `page` made for each request.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no thread to be had.
    pub fn start(
        address: SocketAddr,
        spawn: Spawn,
        clock: Arc<dyn Clock>,
        page: Box<Page>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop = Waker::new(poll.registry(), STOP)?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let clients = BTreeMap::new();
        let next = FIRST_CLIENT;
        let serving = Serving { poll, listener, clients, next, retry: None, clock, page };
        let thread = spawn("http-auth-meter".to_owned(), Box::new(move || serving.run()))?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Closes the port and every connection, and joins the thread.
    pub fn shut_down(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        // Without a word to it the thread would never end, and must not be waited for.
        if self.stop.wake().is_ok() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// What the thread works with.
struct Serving {
    poll: Poll,
    listener: TcpListener,
    /// The clients by their tokens, which only grow: the first one came first.
    clients: BTreeMap<usize, Client>,
    next: usize,
    /// When to look for new clients once more.
    retry: Option<Instant>,
    clock: Arc<dyn Clock>,
    page: Box<Page>,
}

struct Client {
    connection: Connection,
    until: Instant,
}

impl Serving {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            for event in &events {
                match event.token() {
                    STOP => return,
                    LISTENER => self.welcome(),
                    Token(client) => self.serve(client),
                }
            }
            let now = self.clock.now();
            if self.retry.is_some_and(|retry| retry <= now) {
                self.welcome();
            }
            self.clients.retain(|_, client| client.until > now);
        }
    }

    /// How long nothing is to be done unless something happens.
    fn patience(&self) -> Option<Duration> {
        let ends = self.clients.values().map(|client| client.until);
        let next = ends.chain(self.retry).min()?;
        Some(next.saturating_duration_since(self.clock.now()))
    }

    /// Takes in all clients that have come.
    fn welcome(&mut self) {
        self.retry = None;
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.retry = Some(self.clock.now() + RETRY);
                    return;
                }
            };
            let token = Token(self.next);
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, both).is_err() {
                continue;
            }
            self.next += 1;
            if self.clients.len() >= MOST {
                self.clients.pop_first();
            }
            let until = self.clock.now() + TIME;
            self.clients.insert(token.0, Client { connection: Connection::new(stream), until });
        }
    }

    fn serve(&mut self, token: usize) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        // A defect costs this client its answer, and no other one theirs.
        let proceeded = catch_unwind(AssertUnwindSafe(|| client.connection.proceed(&self.page)));
        if matches!(proceeded, Ok(Ok(Progress::Waits))) {
            return;
        }
        // Closing takes it off the list of what is waited for.
        self.clients.remove(&token);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::clock::ManualClock;

    fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(body)
    }

    struct Running {
        server: Server,
        address: SocketAddr,
        clock: Arc<ManualClock>,
    }

    fn start(page: impl Fn() -> String + Clone + Send + 'static) -> Running {
        let clock = ManualClock::new();
        loop {
            // Somebody else may take the port between the two calls.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let page = Box::new(page.clone());
            if let Ok(server) = Server::start(address, spawn, clock.clone(), page) {
                return Running { server, address, clock };
            }
        }
    }

    impl Running {
        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream
        }

        fn get(&self) -> String {
            let mut stream = self.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            rest(stream)
        }
    }

    fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn a_slow_client_holds_up_nobody_and_is_closed_in_the_end() {
        let running = start(|| "a 1\n".to_owned());
        let mut slow = running.connect();
        slow.write_all(b"GET /metr").unwrap();
        assert!(running.get().ends_with("\r\n\r\na 1\n"));
        running.clock.advance(TIME / 2);
        slow.write_all(b"ics HTTP/1.1\r\n").unwrap();
        assert!(running.get().ends_with("a 1\n"));
        running.clock.advance(TIME / 2);
        assert!(running.get().ends_with("a 1\n"));
        assert_eq!(rest(slow), "");
    }

    #[test]
    fn a_client_that_does_not_read_holds_up_nobody() {
        let large = "a".repeat(16 << 20);
        let running = start(move || large.clone());
        let mut slow = running.connect();
        slow.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        assert!(running.get().len() > 16 << 20);
        assert!(rest(slow).len() > 16 << 20);
    }

    #[test]
    fn a_page_that_panics_is_no_answer_and_the_next_one_is() {
        let panics = Arc::new(AtomicBool::new(true));
        let panicking = Arc::clone(&panics);
        let running = start(move || {
            assert!(!panicking.load(Ordering::SeqCst), "a defect, on purpose");
            "a 1\n".to_owned()
        });
        assert_eq!(running.get(), "");
        panics.store(false, Ordering::SeqCst);
        assert!(running.get().ends_with("a 1\n"));
    }

    #[test]
    fn whoever_came_first_makes_room_for_who_comes_last() {
        let running = start(|| "a 1\n".to_owned());
        let mut idle: Vec<_> = (0..MOST).map(|_| running.connect()).collect();
        assert!(running.get().ends_with("a 1\n"));
        assert_eq!(rest(idle.remove(0)), "");
        idle[0].write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        assert!(rest(idle.remove(0)).ends_with("a 1\n"), "the others stay");
    }

    #[test]
    fn the_end_closes_the_port_and_every_connection() {
        let running = start(|| "a 1\n".to_owned());
        let idle = running.connect();
        assert!(running.get().ends_with("a 1\n"));
        let taken =
            Server::start(running.address, spawn, running.clock.clone(), Box::new(String::new));
        assert_eq!(taken.err().unwrap().kind(), ErrorKind::AddrInUse);
        running.server.shut_down();
        assert_eq!(rest(idle), "");
        assert!(TcpStream::connect(running.address).is_err());
        running.server.shut_down();
    }
}
