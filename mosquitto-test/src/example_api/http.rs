//! As much HTTP/1.1 as a broker's questions need: whole bodies, kept-alive connections, one thread for each.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

const MAX_HEAD: u64 = 16 * 1024;
const MAX_BODY: usize = 1024 * 1024;
const MAX_HEADERS: usize = 64;

pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    keep_alive: bool,
}

#[cfg(test)]
impl Request {
    pub fn new(method: &str, path: &str, body: &str) -> Request {
        Request { method: method.into(), path: path.into(), body: body.into(), keep_alive: true }
    }
}

pub struct Response {
    pub status: u16,
    pub text: String,
}

/// A server that runs. Dropping it closes the port and every connection, as the end of a process would.
pub struct Running {
    addr: SocketAddr,
    connections: Arc<Connections>,
    acceptor: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens: the port is a real one, also where port 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        join(self.acceptor.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connections.close();
        // The acceptor sees that it is to stop when the next client comes: be that client.
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let _ = TcpStream::connect((ip, self.addr.port()));
        join(self.acceptor.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // A panic there has been printed already.
        let _ = thread.join();
    }
}

/// The open connections, so that stopping can close them.
#[derive(Default)]
struct Connections(Mutex<Open>);

#[derive(Default)]
struct Open {
    streams: HashMap<u64, TcpStream>,
    count: u64,
    closed: bool,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing once the server is stopping.
    fn add(&self, stream: TcpStream) -> Option<u64> {
        let mut open = self.lock();
        if open.closed {
            return None;
        }
        open.count += 1;
        let id = open.count;
        open.streams.insert(id, stream);
        Some(id)
    }

    fn remove(&self, id: u64) {
        self.lock().streams.remove(&id);
    }

    fn close(&self) {
        let mut open = self.lock();
        open.closed = true;
        for stream in open.streams.values() {
            // It may be closed from the other side already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Listens at once, and answers in the background what comes in.
pub fn serve(
    addr: &str,
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> io::Result<Running> {
    let listener = TcpListener::bind(addr)?;
    let addr = listener.local_addr()?;
    let connections = Arc::new(Connections::default());
    let known = Arc::clone(&connections);
    let acceptor = thread::Builder::new()
        .name("example-api".into())
        .spawn(move || accept(&listener, &known, &answer))?;
    Ok(Running { addr, connections, acceptor: Some(acceptor) })
}

/// Returns when the server is stopped and the last connection's thread has ended.
fn accept(
    listener: &TcpListener,
    connections: &Connections,
    answer: &(impl Fn(&Request) -> Response + Sync),
) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            // A client that is gone before it was accepted is no reason to stop.
            let Ok(stream) = stream else { continue };
            let Ok(copy) = stream.try_clone() else { continue };
            let Some(id) = connections.add(copy) else { break };
            scope.spawn(move || {
                // The client left, or the server stops: there is nobody to tell.
                let _ = converse(&stream, answer);
                connections.remove(id);
            });
        }
    });
}

fn converse(stream: &TcpStream, answer: &impl Fn(&Request) -> Response) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input)? {
        write_response(stream, &answer(&request), request.keep_alive)?;
        if !request.keep_alive {
            break;
        }
    }
    Ok(())
}

fn read_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let head = read_head(input)?;
    if head.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(&head).map_err(malformed)?;

    let header = |name: &str| {
        let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    // A body of unknown length would be taken for the next request.
    if header("transfer-encoding").is_some() {
        return Err(malformed("a request needs a Content-Length"));
    }
    let length: usize =
        header("content-length").unwrap_or("0").trim().parse().map_err(malformed)?;
    if length > MAX_BODY {
        return Err(malformed("the body is too long"));
    }
    let keep_alive = parsed.version == Some(1)
        && !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let target = parsed.path.unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let method = parsed.method.unwrap_or_default().to_owned();

    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(Request { method, path, body, keep_alive }))
}

/// Everything up to the empty line, or nothing if the client has closed the connection between two requests.
fn read_head(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut input = input.take(MAX_HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if input.read_until(b'\n', &mut head)? == 0 {
            return if head.is_empty() {
                Ok(head)
            } else {
                Err(malformed("the request has no end"))
            };
        }
    }
    Ok(head)
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn write_response(mut stream: &TcpStream, response: &Response, keep_alive: bool) -> io::Result<()> {
    let phrase = match response.status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Bad Request",
    };
    let allow = if response.status == 405 { "Allow: POST\r\n" } else { "" };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let text = &response.text;
    let whole = format!(
        "HTTP/1.1 {} {phrase}\r\n{allow}Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{text}\n",
        response.status,
        text.len() + 1,
    );
    // In one piece: a second small packet would wait for the first one's acknowledgement.
    stream.write_all(whole.as_bytes())
}
