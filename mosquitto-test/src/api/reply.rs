//! What the API says to a request: an answer, late or slow if need be, or one of many ways to
//! misbehave.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::watch::{PATIENCE, Watched};

/// What is to happen after a request.
#[derive(Clone)]
pub struct Reply {
    pub(super) gate: Option<Gate>,
    pub(super) drip: Option<Duration>,
    pub(super) act: Act,
    /// What comes byte by byte behind the rest, one in each pause.
    pub(super) trickle: Option<(Vec<u8>, Duration)>,
    /// What nobody asked for, said once the gate is open.
    pub(super) unasked: Option<(Gate, Vec<u8>)>,
    pub(super) then: Then,
}

#[derive(Clone)]
pub(super) enum Act {
    Answer(Answer),
    Raw(Vec<u8>),
    /// Parts that are sent at once, under TLS each as records of its own.
    Parts(Vec<Vec<u8>>),
    /// An answer whose body has this many bytes.
    Huge(usize),
    /// An answer whose body never ends.
    Endless {
        chunked: bool,
    },
    /// The same bytes again and again.
    Endlessly(Vec<u8>),
    /// No answer for as long as the peer waits.
    Never,
    /// No answer, only what follows.
    Nothing,
}

/// What becomes of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
    Reset,
    /// Like `Close`, but under TLS without the word that this is the end.
    Cut,
    CloseOnNextRequest,
    ResetOnNextRequest,
}

#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(act: Act, then: Then) -> Reply {
        Reply { gate: None, drip: None, act, trickle: None, unasked: None, then }
    }

    /// An ordinary answer; the connection is kept.
    pub fn status(status: u16) -> Reply {
        Reply::new(
            Act::Answer(Answer { status, headers: Vec::new(), body: Vec::new() }),
            Then::Keep,
        )
    }

    pub fn header(self, name: &str, value: &str) -> Reply {
        self.with_answer(|answer| answer.headers.push((name.to_owned(), value.to_owned())))
    }

    pub fn body(self, body: impl AsRef<[u8]>) -> Reply {
        self.with_answer(|answer| answer.body = body.as_ref().to_vec())
    }

    pub fn json(self, value: serde_json::Value) -> Reply {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    fn with_answer(mut self, change: impl FnOnce(&mut Answer)) -> Reply {
        match &mut self.act {
            Act::Answer(answer) => change(answer),
            _ => panic!("only Reply::status has headers and a body"),
        }
        self
    }

    /// Comes only once the test opens the gate.
    pub fn after(mut self, gate: &Gate) -> Reply {
        self.gate = Some(gate.clone());
        self
    }

    /// Comes byte by byte, one in each `pause`.
    pub fn drip(mut self, pause: Duration) -> Reply {
        self.drip = Some(pause);
        self
    }

    /// Goes on with these bytes one by one, one in each `pause`.
    pub fn then_drip(self, bytes: impl AsRef<[u8]>, pause: Duration) -> Reply {
        Reply { trickle: Some((bytes.as_ref().to_vec(), pause)), ..self }
    }

    /// The keep-alive lie: nothing in the answer says so, but the connection is closed after it.
    pub fn then_close(self) -> Reply {
        Reply { then: Then::Close, ..self }
    }

    /// Keeps the connection until the next request comes over it, and closes it without an answer.
    /// That request is not recorded: no API ever saw it.
    pub fn close_when_next_request_arrives(self) -> Reply {
        Reply { then: Then::CloseOnNextRequest, ..self }
    }

    /// The same with a TCP reset.
    pub fn reset_when_next_request_arrives(self) -> Reply {
        Reply { then: Then::ResetOnNextRequest, ..self }
    }

    /// Closes the connection without an answer.
    pub fn close() -> Reply {
        Reply::new(Act::Nothing, Then::Close)
    }

    /// Resets the connection without an answer.
    pub fn reset() -> Reply {
        Reply::new(Act::Nothing, Then::Reset)
    }

    /// Reads on, and never answers.
    pub fn never() -> Reply {
        Reply::new(Act::Never, Then::Close)
    }

    /// Sends these bytes instead of an answer, and keeps the connection open.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::new(Act::Raw(bytes.as_ref().to_vec()), Then::Keep)
    }

    /// Sends these bytes instead of an answer and closes: a truncated body, half a head.
    pub fn raw_then_close(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::raw(bytes).then_close()
    }

    /// Sends these bytes instead of an answer and resets the connection.
    pub fn raw_then_reset(bytes: impl AsRef<[u8]>) -> Reply {
        Reply { then: Then::Reset, ..Reply::raw(bytes) }
    }

    /// Sends these bytes instead of an answer and ends the connection as an attacker would who cuts
    /// it: under TLS without saying so.
    pub fn raw_then_cut(bytes: impl AsRef<[u8]>) -> Reply {
        Reply { then: Then::Cut, ..Reply::raw(bytes) }
    }

    /// Sends these bytes instead of an answer, all at once, and under TLS each part as a record of
    /// its own.
    pub fn parts<B: AsRef<[u8]>>(parts: impl IntoIterator<Item = B>) -> Reply {
        let parts = parts.into_iter().map(|part| part.as_ref().to_vec()).collect();
        Reply::new(Act::Parts(parts), Then::Keep)
    }

    /// Says more on the same connection once the gate is open, though nobody asked;
    /// [`super::AuthServer::wait_until_said`] tells that it did.
    pub fn unasked(self, gate: &Gate, bytes: impl AsRef<[u8]>) -> Reply {
        Reply { unasked: Some((gate.clone(), bytes.as_ref().to_vec())), ..self }
    }

    /// 200 with a chunked body that goes on until the peer leaves.
    pub fn endless() -> Reply {
        Reply::new(Act::Endless { chunked: true }, Then::Close)
    }

    /// 200 with a body of no declared length that goes on until the peer leaves.
    pub fn endless_without_length() -> Reply {
        Reply::new(Act::Endless { chunked: false }, Then::Close)
    }

    /// These bytes, again and again until the peer leaves.
    pub fn endlessly(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::new(Act::Endlessly(bytes.as_ref().to_vec()), Then::Close)
    }

    /// 200 with a body of `size` bytes, correctly declared.
    pub fn huge(size: usize) -> Reply {
        Reply::new(Act::Huge(size), Then::Keep)
    }
}

impl Answer {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        // These have no body, and nothing may declare or send one: `Reply::raw` is for lies.
        let bodiless = [204, 304].contains(&self.status);
        let declared =
            self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if !declared && !bodiless {
            write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        head.push_str("\r\n");
        let body: &[u8] = if bodiless { &[] } else { &self.body };
        [head.as_bytes(), body].concat()
    }
}

/// Holds answers back until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<Watched<Held>>);

#[derive(Default)]
struct Held {
    open: bool,
    waiting: usize,
}

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets every answer through, those that wait and those to come.
    pub fn open(&self) {
        self.0.update(|held| held.open = true);
    }

    /// Holds the answers to come back again.
    pub fn close(&self) {
        self.0.update(|held| held.open = false);
    }

    /// How many answers wait now.
    pub fn waiting(&self) -> usize {
        self.0.read(|held| held.waiting)
    }

    #[track_caller]
    pub fn wait_until_waiting(&self, count: usize) {
        let reached = self.0.wait(|held| (held.waiting >= count).then_some(()));
        assert!(
            reached.is_some(),
            "{} of {count} answers wait at the gate after {PATIENCE:?}",
            self.waiting()
        );
    }

    /// Waits for the gate to open, or for `given_up`; [`Gate::nudge`] has that looked at again.
    pub(super) fn pass(&self, given_up: impl Fn() -> bool) {
        self.0.update(|held| held.waiting += 1);
        while self.0.wait(|held| (held.open || given_up()).then_some(())).is_none() {}
        self.0.update(|held| held.waiting -= 1);
    }

    pub(super) fn nudge(&self) {
        self.0.update(|_| ());
    }
}
