//! The HTTP API: one thread serves all connections, and answers after a delay that costs nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

const USER_ROUTE: &str = "/user";
const ACL_ROUTE: &str = "/acl";

/// A running API. It allows everything but a login with the password `wrong`.
pub struct Api {
    port: u16,
    counts: Arc<Counts>,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    logins: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

/// Listen or stop listening, and say when that is done.
struct Order {
    listen: bool,
    done: mpsc::Sender<u16>,
}

impl Api {
    pub fn start(delay: Duration) -> Api {
        let (orders, receiver) = unbounded_channel();
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(obey(receiver, delay, shared));
        });
        let mut api = Api { port: 0, counts, orders: Some(orders), thread: Some(thread) };
        api.port = api.order(true);
        api
    }

    /// Closes the port and cuts every connection, as the death of its process would.
    pub fn kill(&self) {
        self.order(false);
    }

    /// Comes back on the same port.
    pub fn restart(&self) {
        self.order(true);
    }

    fn order(&self, listen: bool) -> u16 {
        let (done, wait) = mpsc::channel();
        let orders = self.orders.as_ref().expect("the API runs");
        orders.send(Order { listen, done }).expect("the API's thread runs");
        wait.recv().expect("the API obeys")
    }

    /// The plugin's options for this API.
    pub fn options(&self) -> Vec<(String, String)> {
        let port = self.port.to_string();
        [
            ("http_host", "127.0.0.1"),
            ("http_port", &port),
            ("http_user_route", USER_ROUTE),
            ("http_acl_route", ACL_ROUTE),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// How many login questions came so far.
    pub fn logins(&self) -> usize {
        self.counts.logins.load(Relaxed)
    }

    /// The most requests that were ever under way at once.
    pub fn most_in_flight(&self) -> usize {
        self.counts.most_in_flight.load(Relaxed)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Listens and stops as ordered, until nobody is left to order.
async fn obey(mut orders: UnboundedReceiver<Order>, delay: Duration, counts: Arc<Counts>) {
    let mut port = 0;
    let mut serving = JoinSet::new();
    while let Some(order) = orders.recv().await {
        serving.shutdown().await;
        counts.in_flight.store(0, Relaxed);
        if order.listen {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = TcpListener::bind(address).await.expect("the API's port is free");
            port = listener.local_addr().unwrap().port();
            serving.spawn(accept(listener, delay, Arc::clone(&counts)));
        }
        let _ = order.done.send(port);
    }
}

/// Its connections end with it.
async fn accept(listener: TcpListener, delay: Duration, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream, delay, Arc::clone(&counts)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection until its peer closes it.
async fn serve(stream: TcpStream, delay: Duration, counts: Arc<Counts>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    loop {
        while let Some((length, is_login)) = request(&unread) {
            let denied = is_login && contains(&unread[..length], br#""password":"wrong""#);
            unread.drain(..length);
            counts.logins.fetch_add(usize::from(is_login), Relaxed);
            let in_flight = counts.in_flight.fetch_add(1, Relaxed) + 1;
            counts.most_in_flight.fetch_max(in_flight, Relaxed);
            tokio::time::sleep(delay).await;
            counts.in_flight.fetch_sub(1, Relaxed);
            let status = if denied { "403 Forbidden" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.writable().await?;
            // A fresh answer always fits into the socket's buffer.
            stream.try_write(answer.as_bytes())?;
        }
        stream.readable().await?;
        let mut bytes = [0; 4096];
        match stream.try_read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => unread.extend_from_slice(&bytes[..count]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// The length of the request that these bytes begin with, once all of it is there, and whether it
/// is about a login.
fn request(bytes: &[u8]) -> Option<(usize, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(bytes).expect("the plugin sends valid requests") {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let is_length = |name: &str| name.eq_ignore_ascii_case("content-length");
    let length = head.headers.iter().find(|header| is_length(header.name));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let whole = head_length + length.unwrap_or(0);
    (bytes.len() >= whole).then_some((whole, head.path == Some(USER_ROUTE)))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
