//! The HTTP API: one thread serves all connections, and answers after a delay that costs nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

const USER_ROUTE: &str = "/user";
const ACL_ROUTE: &str = "/acl";
const BATCH_ROUTE: &str = "/acl/batch";

/// The plugin's option for asking many questions about topics in one request.
pub const BATCHES: (&str, &str) = ("http_acl_batch_route", BATCH_ROUTE);

/// What a login is answered with rules: what a device may do, and whatever has to do with `news`.
const RULES: &str = r##"{"acl": [
    {"permission": "allow", "action": "publish", "topic": "devices/${clientid}/up/#"},
    {"permission": "allow", "action": "subscribe", "topic": "devices/${clientid}/down/#"},
    {"permission": "allow", "action": "all", "topic": "news/#"},
    {"permission": "deny", "action": "all", "topic": "#"}
]}"##;

/// A running API. It allows everything but a login with the password `wrong`.
pub struct Api {
    port: u16,
    shared: Arc<Shared>,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// How it answers, and what it has counted.
#[derive(Default)]
struct Shared {
    delay_us: AtomicU64,
    gives_rules: AtomicBool,
    logins: AtomicUsize,
    checks: AtomicUsize,
    check_requests: AtomicUsize,
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
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(obey(receiver, of_thread));
        });
        let mut api = Api { port: 0, shared, orders: Some(orders), thread: Some(thread) };
        api.set_delay(delay);
        api.port = api.order(true);
        api
    }

    /// What every request takes from now on.
    pub fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap();
        self.shared.delay_us.store(micros, Relaxed);
    }

    /// Answers logins with rules from now on.
    pub fn give_rules(&self) {
        self.shared.gives_rules.store(true, Relaxed);
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
        self.shared.logins.load(Relaxed)
    }

    /// How many questions about topics came so far, and in how many requests.
    pub fn checks(&self) -> (usize, usize) {
        (self.shared.checks.load(Relaxed), self.shared.check_requests.load(Relaxed))
    }

    /// The most requests that were ever under way at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Relaxed)
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
async fn obey(mut orders: UnboundedReceiver<Order>, shared: Arc<Shared>) {
    let mut port = 0;
    let mut serving = JoinSet::new();
    while let Some(order) = orders.recv().await {
        serving.shutdown().await;
        shared.in_flight.store(0, Relaxed);
        if order.listen {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = TcpListener::bind(address).await.expect("the API's port is free");
            port = listener.local_addr().unwrap().port();
            serving.spawn(accept(listener, Arc::clone(&shared)));
        }
        let _ = order.done.send(port);
    }
}

/// Its connections end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection until its peer closes it.
async fn serve(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    loop {
        while let Some((length, question)) = request(&unread) {
            unread.drain(..length);
            let answer = shared.answer(&question);
            let in_flight = shared.in_flight.fetch_add(1, Relaxed) + 1;
            shared.most_in_flight.fetch_max(in_flight, Relaxed);
            tokio::time::sleep(Duration::from_micros(shared.delay_us.load(Relaxed))).await;
            shared.in_flight.fetch_sub(1, Relaxed);
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

impl Shared {
    fn answer(&self, question: &Question) -> String {
        let (status, body) = match question {
            Question::Login { is_right } => {
                self.logins.fetch_add(1, Relaxed);
                let gives_rules = self.gives_rules.load(Relaxed);
                let body = if gives_rules { RULES.to_owned() } else { String::new() };
                (if *is_right { "200 OK" } else { "403 Forbidden" }, body)
            }
            Question::Check => {
                self.count_checks(1);
                ("200 OK", String::new())
            }
            Question::Checks(count) => {
                self.count_checks(*count);
                ("200 OK", json!({ "results": vec!["allow"; *count] }).to_string())
            }
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{kind}Content-Length: {length}\r\n\r\n{body}")
    }

    fn count_checks(&self, count: usize) {
        self.checks.fetch_add(count, Relaxed);
        self.check_requests.fetch_add(1, Relaxed);
    }
}

/// What a request asks.
enum Question {
    Login { is_right: bool },
    Check,
    Checks(usize),
}

/// The length of the request that these bytes begin with, once all of it is there, and what it
/// asks.
fn request(bytes: &[u8]) -> Option<(usize, Question)> {
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
    let body = bytes.get(head_length..whole)?;
    let question = match head.path {
        Some(USER_ROUTE) => Question::Login { is_right: !contains(body, br#""password":"wrong""#) },
        Some(BATCH_ROUTE) => {
            let body: Value = serde_json::from_slice(body).expect("the plugin sends JSON");
            Question::Checks(body["checks"].as_array().map_or(0, Vec::len))
        }
        _ => Question::Check,
    };
    Some((whole, question))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
