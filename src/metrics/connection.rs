//! One request for metrics and its response (RFC 9112), on a connection that never blocks.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// How long a request's head may be.
pub const REQUEST_BYTES: usize = 8 * 1024;

/// How many header fields it may hold.
const FIELDS: usize = 64;

/// How much is read and passed over after the response: a client that still sends would otherwise
/// lose what it was sent (RFC 9112, section 9.6).
const PASSED_OVER_BYTES: usize = 64 * 1024;

/// What a connection is good for: one request.
pub struct Connection {
    stream: TcpStream,
    stage: Stage,
}

enum Stage {
    Reading { head: Vec<u8> },
    Writing { response: Vec<u8>, written: usize },
    Leaving { passed_over: usize },
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It waits for the client.
    Waits,
    Done,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, stage: Stage::Reading { head: Vec::new() } }
    }

    /// Goes as far as it can without waiting. `page` is what there is to read.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn proceed(&mut self, page: &dyn Fn() -> String) -> io::Result<Progress> {
        loop {
            match self.step(page) {
                Ok(Progress::Waits) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waits),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn step(&mut self, page: &dyn Fn() -> String) -> io::Result<Progress> {
        let mut buffer = [0; 1024];
        match &mut self.stage {
            Stage::Reading { head } => {
                let count = self.stream.read(&mut buffer)?;
                head.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    return Ok(Progress::Done);
                }
                if let Some(response) = answer(head, page) {
                    self.stage = Stage::Writing { response, written: 0 };
                }
            }
            Stage::Writing { response, written } => {
                *written += self.stream.write(&response[*written..])?;
                if *written == response.len() {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Leaving { passed_over: 0 };
                }
            }
            Stage::Leaving { passed_over } => {
                let count = self.stream.read(&mut buffer)?;
                *passed_over += count;
                if count == 0 || *passed_over >= PASSED_OVER_BYTES {
                    return Ok(Progress::Done);
                }
            }
        }
        Ok(Progress::Waits)
    }
}

/// The response to a request, once its head is complete.
fn answer(head: &[u8], page: &dyn Fn() -> String) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    Some(match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {
            let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
            match (path(target), method) {
                ("/metrics", "GET") => response("200 OK", prometheus::TEXT_FORMAT, "", &page()),
                ("/metrics", _) => plain("405 Method Not Allowed", "Allow: GET\r\n"),
                _ => plain("404 Not Found", ""),
            }
        }
        Ok(httparse::Status::Partial) if head.len() < REQUEST_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            plain("431 Request Header Fields Too Large", "")
        }
        Err(_) => plain("400 Bad Request", ""),
    })
}

/// Reads a request for a fuzzer, which cuts it at `cut`: what comes in pieces is answered no better than
/// what comes at once.
#[cfg(any(test, fuzzing))]
pub fn read_request(bytes: &[u8], cut: usize) {
    const PAGE: &str = "a 1\n";
    let head = &bytes[..bytes.len().min(REQUEST_BYTES)];
    let answered = |head: &[u8]| {
        let response = String::from_utf8(answer(head, &|| PAGE.to_owned())?).ok()?;
        let (fields, body) = response.split_once("\r\n\r\n")?;
        assert!(fields.contains(&format!("Content-Length: {}\r\n", body.len())), "{fields}");
        assert_eq!(body == PAGE, fields.starts_with("HTTP/1.1 200 OK\r\n"), "{fields}");
        Some(body == PAGE)
    };
    let (begun, whole) = (answered(&head[..cut.min(head.len())]), answered(head));
    assert!(begun.is_none() || whole.is_some());
    assert!(begun != Some(false) || whole != Some(true), "an error became the page");
    assert!(whole.is_some() || head.len() < REQUEST_BYTES, "a head without end is not refused");
}

/// The path of a request's target, which may be a whole URI (RFC 9112, section 3.2.2).
fn path(target: &str) -> &str {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    path.split('?').next().unwrap_or(path)
}

fn plain(status: &str, fields: &str) -> Vec<u8> {
    let body = format!("{status}: the metrics are at GET /metrics\n");
    response(status, "text/plain; charset=utf-8", fields, &body)
}

fn response(status: &str, content_type: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         {fields}Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status line of the answer to this head; none while it is incomplete.
    fn status(head: &[u8]) -> Option<String> {
        let response = String::from_utf8(answer(head, &|| "a 1\n".to_owned())?).unwrap();
        assert!(response.contains("\r\n\r\n") && response.contains("Connection: close\r\n"));
        Some(response.lines().next().unwrap().to_owned())
    }

    #[test]
    fn the_page_is_there_and_nothing_else_is() {
        let ok = Some("HTTP/1.1 200 OK".to_owned());
        for line in ["GET /metrics HTTP/1.1", "GET /metrics?x=1 HTTP/1.0"] {
            assert_eq!(status(format!("{line}\r\nHost: h\r\n\r\n").as_bytes()), ok, "{line}");
        }
        assert_eq!(status(b"GET http://h:9180/metrics HTTP/1.1\r\nHost: h:9180\r\n\r\n"), ok);
        for (line, expected) in [
            ("GET / HTTP/1.1", "404 Not Found"),
            ("GET http://h HTTP/1.1", "404 Not Found"),
            ("GET /metrics/ HTTP/1.1", "404 Not Found"),
            ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("HEAD /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("GET /metrics HTTP/9", "400 Bad Request"),
            ("\x16\x03\x01 a TLS handshake", "400 Bad Request"),
        ] {
            let expected = Some(format!("HTTP/1.1 {expected}"));
            assert_eq!(status(format!("{line}\r\n\r\n").as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn a_request_is_bounded() {
        assert_eq!(status(b"GET /metrics HTTP/1.1\r\nHost: h\r\n"), None);
        let too_large = Some("HTTP/1.1 431 Request Header Fields Too Large".to_owned());
        let endless = [b"GET /", "a".repeat(REQUEST_BYTES).as_bytes()].concat();
        assert_eq!(status(&endless), too_large);
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(status(many.as_bytes()), too_large);
    }
}
