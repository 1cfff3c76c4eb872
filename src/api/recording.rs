//! What requests look like on the wire and how long they take, for an [`Observer`]. The plugin has
//! none; then nothing is recorded.
//!
//! A request is sent and answered on one thread, so what belongs to it is collected there.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, response};
use zeroize::Zeroizing;

use super::reply::Reply;
use super::request_body::Request;
use crate::answer::Failure;
use crate::clock::Clock;
use crate::trace::TraceId;

/// How much is kept of a response's body.
const SHOWN_BYTES: usize = 4096;

/// Sees every request once it is answered or has failed; on the thread that sent it.
pub trait Observer: Send + Sync {
    fn exchanged(&self, exchange: Exchange<'_>);
}

/// What was asked of one host, and what came of it.
pub struct Exchange<'a> {
    /// The beginning of the host's URLs.
    pub origin: &'a str,
    /// The questions that went in one request.
    pub requests: &'a [&'a Request],
    pub outcome: Result<&'a [Reply], &'a Failure>,
    /// Usually one; a second one where a kept-alive connection lost the first.
    pub attempts: Vec<Attempt>,
    pub took: Duration,
    /// The trace id that the request bore, if any.
    pub trace: Option<TraceId>,
}

/// A request on one connection. Times count from the begin of the [`Exchange`].
#[derive(Default)]
pub struct Attempt {
    /// None: on a connection that was kept alive.
    pub dialled: Option<Dialled>,
    /// As it was sent; none if that was not come to.
    pub head: Option<Head>,
    pub first_byte: Option<Duration>,
    pub answer: Option<Head>,
    /// The begin of the answer's body.
    pub body: Vec<u8>,
    /// How long it was; none if it was not read to its end.
    pub body_length: Option<usize>,
    secrets: Vec<HeaderName>,
    unread: Zeroizing<Vec<u8>>,
}

/// How a connection was made.
#[derive(Clone, Default, Debug)]
pub struct Dialled {
    pub began: Duration,
    pub addresses: Vec<SocketAddr>,
    pub resolved: Option<Duration>,
    pub connected: Option<Duration>,
    /// When the TLS handshake was over.
    pub secured: Option<Duration>,
}

/// The first line of a message, and its header fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    pub line: String,
    /// The value is left out where it is a secret.
    pub fields: Vec<(String, Option<String>)>,
}

struct Recording {
    clock: Arc<dyn Clock>,
    began: Instant,
    attempts: Vec<Attempt>,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// Records what happens meanwhile.
pub fn during<T>(clock: &Arc<dyn Clock>, act: impl FnOnce() -> T) -> (T, Vec<Attempt>, Duration) {
    let began = clock.now();
    let recording = Recording { clock: Arc::clone(clock), began, attempts: Vec::new() };
    RECORDING.set(Some(recording));
    let result = act();
    let attempts = RECORDING.take().map(|recording| recording.attempts).unwrap_or_default();
    (result, attempts, clock.now().duration_since(began))
}

/// A request is about to be sent, with these secrets among its header fields.
pub fn begin(headers: &[(HeaderName, HeaderValue)]) {
    RECORDING.with_borrow_mut(|recording| {
        let Some(recording) = recording else { return };
        let secrets = headers.iter().map(|(name, _)| name.clone()).collect();
        recording.attempts.push(Attempt { secrets, ..Attempt::default() });
    });
}

/// Has the request that is under way noted, with the time.
pub fn note(write: impl FnOnce(&mut Attempt, Duration)) {
    RECORDING.with_borrow_mut(|recording| {
        let Some(recording) = recording else { return };
        let time = recording.clock.now().duration_since(recording.began);
        if let Some(attempt) = recording.attempts.last_mut() {
            write(attempt, time);
        }
    });
}

impl Attempt {
    /// Bytes go out. The head is kept, without its secrets; the body is not looked at.
    pub fn sending(&mut self, bytes: &[u8]) {
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
            let secret = self.secrets.iter().any(|s| s.as_str().eq_ignore_ascii_case(name));
            (name.to_owned(), (!secret).then(|| value.trim().to_owned()))
        };
        self.head = Some(Head { line, fields: lines.map(field).collect() });
        self.unread = Zeroizing::default();
    }

    /// The answer's head is there.
    pub fn answering(&mut self, head: &response::Parts) {
        let line = format!("{:?} {}", head.version, head.status);
        self.answer = Some(Head { line, fields: fields(&head.headers) });
    }
}

fn fields(headers: &HeaderMap) -> Vec<(String, Option<String>)> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        // A cookie is there to be kept from others.
        let shown = name.as_str() != "set-cookie";
        let value = shown.then(|| String::from_utf8_lossy(value.as_bytes()).into_owned());
        (name.as_str().to_owned(), value)
    };
    headers.iter().map(field).collect()
}

/// Takes what is read of a body.
#[derive(Default)]
pub struct BodySink {
    length: usize,
}

impl BodySink {
    /// The body has been read to its end.
    pub fn end(self) {
        note(|attempt, _| attempt.body_length = Some(self.length));
    }
}

impl io::Write for BodySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len();
        note(|attempt, _| {
            let room = SHOWN_BYTES.saturating_sub(attempt.body.len());
            attempt.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("dialled", &self.dialled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn without_an_observer_nothing_is_recorded() {
        begin(&[]);
        note(|_, _| panic!("nobody asked for it"));
    }

    #[test]
    fn the_head_is_kept_without_its_secrets_and_the_body_is_not() {
        let clock: Arc<dyn Clock> = ManualClock::new();
        let secret = (HeaderName::from_static("x-key"), HeaderValue::from_static("s3cret"));
        let ((), attempts, _) = during(&clock, || {
            begin(&[secret]);
            for part in
                [&b"POST /user HTTP/1.1\r\nHost: a:81\r\nX-Ke"[..], b"y: s3cret\r\n\r", b"\nbody"]
            {
                note(|attempt, _| attempt.sending(part));
            }
            note(|attempt, _| attempt.sending(b"\r\n\r\nmore"));
        });
        let head = attempts[0].head.as_ref().unwrap();
        assert_eq!(head.line, "POST /user HTTP/1.1");
        let expected = [("Host", Some("a:81")), ("X-Key", None)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(head.fields, expected);
    }

    #[test]
    fn of_a_long_body_the_begin_is_kept() {
        let clock: Arc<dyn Clock> = ManualClock::new();
        let ((), attempts, _) = during(&clock, || {
            begin(&[]);
            let mut sink = BodySink::default();
            io::Write::write_all(&mut sink, &[b'x'; SHOWN_BYTES]).unwrap();
            io::Write::write_all(&mut sink, b"y").unwrap();
            sink.end();
        });
        assert_eq!(attempts[0].body, [b'x'; SHOWN_BYTES]);
        assert_eq!(attempts[0].body_length, Some(SHOWN_BYTES + 1));
    }
}
