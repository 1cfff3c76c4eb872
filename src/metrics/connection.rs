//! One request for metrics and its response (RFC 9112).

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a request's head may be.
pub(crate) const REQUEST_BYTES: usize = 8 * 1024;

/// How many header fields it may hold.
const FIELDS: usize = 64;

/// How much is read and passed over after the response: a client that still sends would otherwise
/// lose what it was sent (RFC 9112, section 9.6).
const PASSED_OVER_BYTES: u64 = 64 * 1024;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// A connection, until no time is left.
struct Limited<'a> {
    stream: &'a TcpStream,
    left: &'a dyn Fn() -> Duration,
}

impl Limited<'_> {
    fn time(&self) -> io::Result<Option<Duration>> {
        let left = (self.left)();
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.time()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.time()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a request and answers it, for as long as there is time `left`. `page` is what there is to read.
///
/// # Errors
/// The connection is lost, or its time is up.
pub(crate) fn serve(
    stream: &TcpStream,
    left: &dyn Fn() -> Duration,
    page: &dyn Fn() -> String,
) -> io::Result<()> {
    let mut limited = Limited { stream, left };
    let Some(response) = respond(&mut limited, page)? else { return Ok(()) };
    limited.write_all(&response)?;
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut limited.take(PASSED_OVER_BYTES), &mut io::sink())?;
    Ok(())
}

/// The response to what is read; none if it ends before.
fn respond(from: &mut dyn Read, page: &dyn Fn() -> String) -> io::Result<Option<Vec<u8>>> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if let Some(response) = answer(&head, page) {
            return Ok(Some(response));
        }
    }
}

/// Why a head is no request.
enum Wrong {
    Malformed,
    TooLarge,
}

/// The method and target of a request, once its head is complete. Ends of lines are read as generously as
/// RFC 9112, section 2.2 allows.
fn read_head(head: &[u8]) -> Result<Option<(&str, &str)>, Wrong> {
    let begin = head.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(head.len());
    if head.get(begin).is_some_and(|byte| !byte.is_ascii_uppercase()) {
        // No method begins so: this may be a TLS handshake, which waits for an answer.
        return Err(Wrong::Malformed);
    }
    let mut lines = head[begin..].split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n")?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    });
    let Some(Some(first)) = lines.next() else { return incomplete(head) };
    for number in 0.. {
        let Some(Some(field)) = lines.next() else { return incomplete(head) };
        if field.is_empty() {
            break;
        }
        if number == FIELDS {
            return Err(Wrong::TooLarge);
        }
        let name = field.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.is_empty() || name == field || !name.iter().all(u8::is_ascii_graphic) {
            return Err(Wrong::Malformed);
        }
    }
    let first = std::str::from_utf8(first).map_err(|_| Wrong::Malformed)?;
    let mut words = first.split(' ');
    match [words.next(), words.next(), words.next(), words.next()] {
        [Some(method), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None] => {
            Ok(Some((method, target)))
        }
        _ => Err(Wrong::Malformed),
    }
}

fn incomplete<T>(head: &[u8]) -> Result<Option<T>, Wrong> {
    if head.len() < REQUEST_BYTES { Ok(None) } else { Err(Wrong::TooLarge) }
}

/// The response to a request, once its head is complete.
fn answer(head: &[u8], page: &dyn Fn() -> String) -> Option<Vec<u8>> {
    Some(match read_head(head) {
        Ok(None) => return None,
        Ok(Some((method, target))) => match (path(target), method) {
            ("/metrics", "GET") => response("200 OK", TEXT_FORMAT, "", &page()),
            ("/metrics", _) => plain("405 Method Not Allowed", "Allow: GET\r\n"),
            _ => plain("404 Not Found", ""),
        },
        Err(Wrong::TooLarge) => plain("431 Request Header Fields Too Large", ""),
        Err(Wrong::Malformed) => plain("400 Bad Request", ""),
    })
}

/// Reads a request for a fuzzer, which cuts it at `cut`: what comes in pieces is answered no better than
/// what comes at once.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_request(bytes: &[u8], cut: usize) {
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
            ("GET /metrics  HTTP/1.1", "400 Bad Request"),
            ("GET /metrics HTTP/1.1\r\nno field", "400 Bad Request"),
            ("GET /metrics HTTP/1.1\r\nHost : h", "400 Bad Request"),
            ("GET /metrics HTTP/1.1\r\n: h", "400 Bad Request"),
            ("GET \u{fc} HTTP/1.1", "404 Not Found"),
            ("\x16\x03\x01 a TLS handshake", "400 Bad Request"),
        ] {
            let expected = Some(format!("HTTP/1.1 {expected}"));
            assert_eq!(status(format!("{line}\r\n\r\n").as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn lines_may_end_without_a_carriage_return_and_begin_late() {
        let ok = Some("HTTP/1.1 200 OK".to_owned());
        assert_eq!(status(b"\r\nGET /metrics HTTP/1.1\nHost: h\n\n"), ok);
    }

    #[test]
    fn a_handshake_is_refused_before_it_ends() {
        assert_eq!(status(b"\x16\x03\x01"), Some("HTTP/1.1 400 Bad Request".to_owned()));
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
