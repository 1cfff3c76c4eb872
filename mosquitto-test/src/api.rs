//! The HTTP API, played by the test: it records every request before it answers, and it answers,
//! waits or misbehaves as the test's handler says.
//!
//! It is written on bare TCP because most of its tricks are such as no HTTP library would do.

mod connection;
mod dead;
mod reply;
mod request;

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;

use crate::tls::Identity;
use crate::watch::{PATIENCE, Watched};
use connection::Connection;
use dead::HeldPort;
pub use dead::{Blackhole, Deaf, refused_port};
pub use reply::{Gate, Reply};
pub use request::Request;

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A running API. It ends, with all its connections and threads, when it goes out of scope; a
/// malformed request or a panic in the handler fails the test then.
pub struct AuthServer {
    /// Held also while the API is stopped.
    port: HeldPort,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What the connections' threads work with.
struct Shared {
    state: Watched<State>,
    handler: Mutex<Handler>,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    connections: usize,
    broken_handshakes: usize,
    said_unasked: usize,
    faults: Vec<String>,
    stopping: bool,
    /// The open connections by number, to end them from outside.
    open: Vec<(usize, TcpStream)>,
    threads: Vec<JoinHandle<()>>,
    /// Gates at which answers wait.
    gates: Vec<Gate>,
}

impl AuthServer {
    /// Answers 200 to everything.
    pub fn start() -> AuthServer {
        AuthServer::answering(|_| Reply::status(200))
    }

    /// Answers as the handler says.
    pub fn answering(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> AuthServer {
        AuthServer::launch(0, None, Arc::new(handler))
    }

    /// On a certain port: the one of an API that was dropped.
    pub fn start_on(port: u16) -> AuthServer {
        AuthServer::launch(port, None, Arc::new(|_: &Request| Reply::status(200)))
    }

    /// Over TLS, with this certificate.
    pub fn start_tls(identity: impl AsRef<Identity>) -> AuthServer {
        let config = identity.as_ref().server_config(false);
        AuthServer::launch(0, Some(config), Arc::new(|_: &Request| Reply::status(200)))
    }

    /// Over TLS, only for clients that have a certificate of the same authority.
    pub fn start_mutual_tls(identity: impl AsRef<Identity>) -> AuthServer {
        let config = identity.as_ref().server_config(true);
        AuthServer::launch(0, Some(config), Arc::new(|_: &Request| Reply::status(200)))
    }

    fn launch(port: u16, tls: Option<Arc<ServerConfig>>, handler: Handler) -> AuthServer {
        let shared = Arc::new(Shared { state: Watched::default(), handler: Mutex::new(handler) });
        let port = HeldPort::new(port);
        let server = AuthServer { port, tls, shared, acceptor: Mutex::new(None) };
        server.listen();
        server
    }

    fn listen(&self) {
        let address = ("127.0.0.1", self.port());
        let listener = TcpListener::bind(address).expect("the API's port is free");
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        let acceptor = thread::spawn(move || shared.accept(&listener, tls.as_ref()));
        *self.acceptor() = Some(acceptor);
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The plugin's options for this API: where it is, and what else the test says. Over TLS the
    /// test adds `http_protocol` and `tls_ca_file`.
    pub fn options<K: ToString, V: ToString>(
        &self,
        more: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<(String, String)> {
        let mut options = vec![
            ("http_host".to_owned(), "127.0.0.1".to_owned()),
            ("http_port".to_owned(), self.port().to_string()),
        ];
        options.extend(more.into_iter().map(|(name, value)| (name.to_string(), value.to_string())));
        options
    }

    /// Answers as this handler says from now on.
    pub fn set_handler(&self, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.shared.handler.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handler);
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.read(|state| state.requests.clone())
    }

    /// The requests for one path.
    pub fn requests_to(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// Forgets the requests so far, so that the test can count anew.
    pub fn forget_requests(&self) {
        self.shared.state.update(|state| state.requests.clear());
    }

    /// Waits until there are at least so many requests, and returns them all.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        let enough =
            |state: &mut State| (state.requests.len() >= count).then(|| state.requests.clone());
        let Some(requests) = self.shared.state.wait(enough) else {
            panic!("{} of {count} requests came within {PATIENCE:?}", self.requests().len());
        };
        requests
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.state.read(|state| state.connections)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.state.read(|state| state.open.len())
    }

    /// Waits until the number of open connections is what the test expects.
    #[track_caller]
    pub fn wait_for_open_connections(&self, count: usize) {
        let reached = self.shared.state.wait(|state| (state.open.len() == count).then_some(()));
        assert!(
            reached.is_some(),
            "{} connections are open instead of {count}",
            self.open_connections()
        );
    }

    /// How many TLS handshakes were broken off.
    pub fn broken_handshakes(&self) -> usize {
        self.shared.state.read(|state| state.broken_handshakes)
    }

    /// Waits until it has said so many things that nobody had asked for: [`Reply::unasked`].
    #[track_caller]
    pub fn wait_until_said(&self, count: usize) {
        let said = self.shared.state.wait(|state| (state.said_unasked >= count).then_some(()));
        assert!(said.is_some(), "the API did not speak unasked within {PATIENCE:?}");
    }

    /// Closes every connection and goes on listening: what an idle timeout of the API does.
    pub fn close_connections(&self) {
        self.shared
            .state
            .read(|state| state.open.iter().for_each(|(_, tcp)| connection::shut(tcp)));
        self.wait_for_open_connections(0);
    }

    /// Closes the port and every connection. Requests stay to be looked at.
    pub fn stop(&self) {
        let Some(acceptor) = self.acceptor().take() else { return };
        self.shared.state.update(|state| state.stopping = true);
        // The acceptor sees this connection, or sees that it is to stop.
        let _ = TcpStream::connect(("127.0.0.1", self.port()));
        let mut panicked = acceptor.join().is_err();
        let (gates, threads) = self.shared.state.update(|state| {
            state.open.iter().for_each(|(_, tcp)| connection::shut(tcp));
            (std::mem::take(&mut state.gates), std::mem::take(&mut state.threads))
        });
        gates.iter().for_each(Gate::nudge);
        for thread in threads {
            panicked |= thread.join().is_err();
        }
        if panicked {
            self.shared
                .state
                .update(|state| state.faults.push("the test's handler panicked".to_owned()));
        }
    }

    /// Comes back on the same port after [`AuthServer::stop`].
    pub fn restart(&self) {
        assert!(self.acceptor().is_none(), "the API runs already");
        self.shared.state.update(|state| state.stopping = false);
        self.listen();
    }

    fn acceptor(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        self.stop();
        let faults = self.shared.state.read(|state| state.faults.clone());
        assert!(faults.is_empty() || thread::panicking(), "the API met faults: {faults:?}");
    }
}

impl Shared {
    /// Gives every connection a thread until the server stops.
    fn accept(self: &Arc<Self>, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
        for tcp in listener.incoming() {
            if self.stopping() {
                return;
            }
            let Ok(tcp) = tcp else { continue };
            let Ok(handle) = tcp.try_clone() else { continue };
            let number = self.state.update(|state| {
                state.connections += 1;
                state.open.push((state.connections, handle));
                state.connections
            });
            let (shared, tls) = (self.clone(), tls.cloned());
            let thread = thread::spawn(move || shared.serve(tcp, tls, number));
            self.state.update(|state| state.threads.push(thread));
        }
    }

    fn serve(&self, tcp: TcpStream, tls: Option<Arc<ServerConfig>>, number: usize) {
        let _closed = CloseLast { shared: self, number };
        if let Some(connection) = Connection::open(self, tcp, tls, number) {
            connection.serve();
        }
    }

    fn handle(&self, request: &Request) -> Reply {
        let handler = self.handler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        handler(request)
    }

    fn stopping(&self) -> bool {
        self.state.read(|state| state.stopping)
    }

    /// Waits for the gate, or for the end of the server.
    fn wait_at(&self, gate: &Gate) {
        self.state.update(|state| state.gates.push(gate.clone()));
        gate.pass(|| self.stopping());
    }

    /// Lets time pass; `true` if the server stops meanwhile.
    fn pause(&self, time: Duration) -> bool {
        self.state.wait_within(time, |state| state.stopping.then_some(())).is_some()
    }
}

/// Takes a connection off the list when its thread is done, also after a panic. The list's handle is
/// a second descriptor of the same socket: the peer sees the close only when both are gone.
struct CloseLast<'a> {
    shared: &'a Shared,
    number: usize,
}

impl Drop for CloseLast<'_> {
    fn drop(&mut self) {
        self.shared.state.update(|state| state.open.retain(|(number, _)| *number != self.number));
    }
}
