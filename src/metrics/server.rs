//! Serves the metrics: a thread takes connections, and each client has one for as long as it is served.
//!
//! Sockets block, with time-outs: a client is served for [`TIME`] at the most. Of more than [`MOST`]
//! clients the one that came first is closed.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::connection;
use crate::clock::Clock;
use crate::pool::Spawn;
use crate::sync::{catch_panic, lock};

/// How many clients are served at once.
const MOST: usize = 16;

/// For how long a client is served.
const TIME: Duration = Duration::from_secs(10);

/// When a connection is tried again that could not be taken, as for want of file descriptors.
const RETRY: Duration = Duration::from_millis(500);

/// What there is to read.
type Page = dyn Fn() -> String + Send + Sync;

/// A running server. It ends when it goes.
pub(crate) struct Server {
    shared: Arc<Shared>,
    /// The thread that takes connections, and the socket at which it waits.
    listening: Mutex<Option<(JoinHandle<()>, TcpStream)>>,
}

struct Shared {
    clients: Mutex<Clients>,
    closed: Condvar,
    time: Duration,
    clock: Arc<dyn Clock>,
    spawn: Spawn,
    page: Box<Page>,
}

#[derive(Default)]
struct Clients {
    /// Those that are served; the first one came first.
    served: VecDeque<Client>,
    is_closed: bool,
}

struct Client {
    /// The connection ends with its thread.
    stream: Weak<TcpStream>,
    thread: JoinHandle<()>,
}

impl Client {
    /// Ends the connection, and joins its thread.
    fn close(self) {
        if let Some(stream) = self.stream.upgrade() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.thread.join();
    }
}

impl Server {
    /// Listens on this address, and has `page` made for each request.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no thread to be had.
    pub(crate) fn start(
        address: SocketAddr,
        spawn: Spawn,
        clock: Arc<dyn Clock>,
        page: Box<Page>,
    ) -> io::Result<Self> {
        Self::start_with(address, TIME, spawn, clock, page)
    }

    fn start_with(
        address: SocketAddr,
        time: Duration,
        spawn: Spawn,
        clock: Arc<dyn Clock>,
        page: Box<Page>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // Linux ends a wait for connections when the socket is shut down.
        let socket = TcpStream::from(OwnedFd::from(listener.try_clone()?));
        let (clients, closed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { clients, closed, time, clock, spawn, page });
        let taking = Arc::clone(&shared);
        let body = Box::new(move || taking.take_connections(&listener));
        let thread = spawn("http-auth-meter".to_owned(), body)?;
        Ok(Self { shared, listening: Mutex::new(Some((thread, socket))) })
    }

    /// Closes the port and every connection, and joins the threads.
    pub(crate) fn shut_down(&self) {
        let Some((thread, socket)) = lock(&self.listening).take() else { return };
        lock(&self.shared.clients).is_closed = true;
        self.shared.closed.notify_all();
        let _ = socket.shutdown(Shutdown::Both);
        let _ = thread.join();
        let served = std::mem::take(&mut lock(&self.shared.clients).served);
        served.into_iter().for_each(Client::close);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Shared {
    fn take_connections(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let taken = listener.accept();
            let mut clients = lock(&self.clients);
            if clients.is_closed {
                return;
            }
            match taken {
                Ok((stream, _)) => self.welcome(&mut clients, stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    let is_open = |clients: &mut Clients| !clients.is_closed;
                    drop(self.closed.wait_timeout_while(clients, RETRY, is_open));
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, clients: &mut Clients, stream: TcpStream) {
        let served = std::mem::take(&mut clients.served).into_iter();
        let (over, served): (VecDeque<_>, VecDeque<_>) =
            served.partition(|client| client.thread.is_finished());
        over.into_iter().for_each(Client::close);
        clients.served = served;
        if clients.served.len() >= MOST {
            clients.served.pop_front().into_iter().for_each(Client::close);
        }
        let stream = Arc::new(stream);
        let (shared, weak) = (Arc::clone(self), Arc::downgrade(&stream));
        let body = Box::new(move || shared.serve(&stream));
        // Without a thread the connection ends.
        if let Ok(thread) = (self.spawn)("http-auth-page".to_owned(), body) {
            clients.served.push_back(Client { stream: weak, thread });
        }
    }

    fn serve(&self, stream: &TcpStream) {
        let until = self.clock.now() + self.time;
        let left = || until.saturating_duration_since(self.clock.now());
        // A panic costs this client its answer, and no other one theirs.
        catch_panic(|| drop(connection::serve(stream, &left, &self.page)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::clock::SystemClock;

    fn spawn(name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(body)
    }

    struct Running {
        server: Server,
        address: SocketAddr,
    }

    fn start(page: impl Fn() -> String + Clone + Send + Sync + 'static) -> Running {
        start_with(Duration::from_secs(60), page)
    }

    /// A server with this time limit.
    fn start_with(
        time: Duration,
        page: impl Fn() -> String + Clone + Send + Sync + 'static,
    ) -> Running {
        loop {
            // Somebody else may take the port between the two calls.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let page = Box::new(page.clone());
            let clock = Arc::new(SystemClock);
            if let Ok(server) = Server::start_with(address, time, spawn, clock, page) {
                return Running { server, address };
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
        let running = start_with(Duration::from_secs(5), || "a 1\n".to_owned());
        let mut slow = running.connect();
        slow.write_all(b"GET /metr").unwrap();
        let mut others = 0;
        // What it sends now and then gives it no more time.
        while others % 64 != 0 || slow.write_all(b"i").is_ok() {
            assert!(running.get().ends_with("\r\n\r\na 1\n"));
            others += 1;
        }
        assert!(others > 1, "nobody else was served meanwhile");
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
        let clock = Arc::new(SystemClock);
        let taken = Server::start(running.address, spawn, clock, Box::new(String::new));
        assert_eq!(taken.err().unwrap().kind(), ErrorKind::AddrInUse);
        running.server.shut_down();
        assert_eq!(rest(idle), "");
        assert!(TcpStream::connect(running.address).is_err());
        running.server.shut_down();
    }
}
