//! What requests look like on the wire, and how long they take.
//!
//! A request is sent and answered on one thread, so what belongs to it is collected there.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mosquitto_http_auth::api::WireEvent;
use mosquitto_http_auth::clock::{Clock as _, SystemClock};
use zeroize::Zeroizing;

/// How much is kept of a response's body.
const SHOWN_BYTES: usize = 4096;

/// A request on one connection. Times count from when the question was about to be asked.
#[derive(Default)]
pub(crate) struct Attempt {
    /// None: on a connection that was kept alive.
    pub(crate) connection: Option<NewConnection>,
    /// As it was sent; none if that was not come to.
    pub(crate) head: Option<Head>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) answer: Option<Head>,
    /// The begin of the answer's body.
    pub(crate) body: Vec<u8>,
    /// How long it was; none if it was not read to its end.
    pub(crate) body_length: Option<usize>,
    secrets: Vec<String>,
    unread: Zeroizing<Vec<u8>>,
    /// How much of the body was read.
    read: usize,
}

/// How a connection was made.
#[derive(Clone, Default, Debug)]
pub(crate) struct NewConnection {
    pub(crate) began: Duration,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) resolved: Option<Duration>,
    pub(crate) connected: Option<Duration>,
    /// When the TLS handshake was over.
    pub(crate) secured: Option<Duration>,
}

/// The first line of a message, and its header fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    /// The value is left out where it is a secret.
    pub(crate) fields: Vec<(String, Option<String>)>,
}

struct Recording {
    began: Instant,
    attempts: Vec<Attempt>,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// Records what happens from now on.
pub(crate) fn begin() {
    RECORDING.set(Some(Recording { began: SystemClock.now(), attempts: Vec::new() }));
}

/// What was recorded, and how long it took.
pub(crate) fn end() -> (Vec<Attempt>, Duration) {
    let Some(Recording { began, attempts }) = RECORDING.take() else { return Default::default() };
    (attempts, SystemClock.now().duration_since(began))
}

/// Records one event.
pub(crate) fn record(event: WireEvent<'_>) {
    RECORDING.with_borrow_mut(|recording| {
        let Some(Recording { began, attempts }) = recording else { return };
        if let WireEvent::Request(secrets) = event {
            let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
            attempts.push(Attempt { secrets, ..Attempt::default() });
        } else if let Some(attempt) = attempts.last_mut() {
            attempt.note(event, SystemClock.now().duration_since(*began));
        }
    });
}

impl Attempt {
    fn note(&mut self, event: WireEvent<'_>, time: Duration) {
        match event {
            WireEvent::Request(_) => {}
            WireEvent::Connecting => {
                self.connection = Some(NewConnection { began: time, ..NewConnection::default() });
            }
            WireEvent::Resolved(addresses) => self.note_connection(|new| {
                new.addresses = addresses.to_vec();
                new.resolved = Some(time);
            }),
            WireEvent::Connected => self.note_connection(|new| new.connected = Some(time)),
            WireEvent::Secured => self.note_connection(|new| new.secured = Some(time)),
            WireEvent::Sent(bytes) => self.sending(bytes),
            WireEvent::Received => {
                self.first_byte.get_or_insert(time);
            }
            WireEvent::Head(head) => {
                let line = format!("{:?} {}", head.version, head.status);
                // A cookie is there to be kept from others.
                let shown = |name: &str| name != "set-cookie";
                let fields = head.headers.iter().map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.as_str().to_owned(), shown(name.as_str()).then_some(value))
                });
                self.answer = Some(Head { line, fields: fields.collect() });
            }
            WireEvent::Body(bytes) => {
                self.read += bytes.len();
                let room = SHOWN_BYTES.saturating_sub(self.body.len());
                self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            WireEvent::End => self.body_length = Some(self.read),
        }
    }

    fn note_connection(&mut self, write: impl FnOnce(&mut NewConnection)) {
        if let Some(connection) = &mut self.connection {
            write(connection);
        }
    }

    /// Bytes go out. The head is kept, without its secrets; the body is not looked at.
    fn sending(&mut self, bytes: &[u8]) {
        if self.head.is_some() {
            return;
        }
        self.unread.extend_from_slice(bytes);
        let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") else {
            return;
        };
        let text = Zeroizing::new(String::from_utf8_lossy(&self.unread[..end]).into_owned());
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let secret = self.secrets.iter().any(|secret| secret.eq_ignore_ascii_case(name));
            (name.to_owned(), (!secret).then(|| value.trim().to_owned()))
        };
        self.head = Some(Head { line, fields: lines.map(field).collect() });
        self.unread = Zeroizing::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_recorded_before_the_begin() {
        record(WireEvent::Request(&[]));
        assert!(end().0.is_empty());
    }

    #[test]
    fn the_head_is_kept_without_its_secrets_and_the_body_is_not() {
        begin();
        record(WireEvent::Request(&["x-key"]));
        for part in
            [&b"POST /user HTTP/1.1\r\nHost: a:81\r\nX-Ke"[..], b"y: s3cret\r\n\r", b"\nbody"]
        {
            record(WireEvent::Sent(part));
        }
        record(WireEvent::Sent(b"\r\n\r\nmore"));
        let (attempts, _) = end();
        let head = attempts[0].head.as_ref().unwrap();
        assert_eq!(head.line, "POST /user HTTP/1.1");
        let expected = [("Host", Some("a:81")), ("X-Key", None)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(head.fields, expected);
    }

    #[test]
    fn of_a_long_body_the_begin_is_kept() {
        begin();
        record(WireEvent::Request(&[]));
        record(WireEvent::Body(&[b'x'; SHOWN_BYTES]));
        record(WireEvent::Body(b"y"));
        record(WireEvent::End);
        let (attempts, _) = end();
        assert_eq!(attempts[0].body, [b'x'; SHOWN_BYTES]);
        assert_eq!(attempts[0].body_length, Some(SHOWN_BYTES + 1));
    }
}
