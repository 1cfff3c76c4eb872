//! What an [`Observer`] sees of requests. A broker has none; then nothing is noted.
//!
//! A request is sent and answered on one thread, so that the thread knows who observes it. What goes through a
//! connection is seen by a transport behind the others, after TLS.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ureq::Error;
use ureq::http::{HeaderName, HeaderValue, response};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::reply::Reply;
use super::request_body::Request;
use crate::answer::Failure;
use crate::trace::TraceId;

/// Sees every request, on the thread that sends it.
pub trait Observer: Send + Sync {
    /// A question is about to be asked.
    fn begins(&self);

    fn happens(&self, event: WireEvent<'_>);

    /// It is answered, or has failed.
    fn exchanged(&self, exchange: Exchange<'_>);
}

/// What was asked of one host, and what came of it.
pub struct Exchange<'a> {
    /// The beginning of the host's URLs.
    pub origin: &'a str,
    /// The questions that went in one request.
    pub requests: &'a [&'a Request],
    pub outcome: Result<&'a [Reply], &'a Failure>,
    /// The trace id that the request bore, if any.
    pub trace: Option<TraceId>,
}

/// What happens to a request, in this order.
pub enum WireEvent<'a> {
    /// It is about to be sent, with these secrets among its header fields. Once more where a kept-alive
    /// connection lost the first.
    Request(&'a [&'a str]),
    /// A connection is made for it.
    Connecting,
    Resolved(&'a [SocketAddr]),
    Connected,
    /// The TLS handshake is over.
    Secured,
    /// These bytes go out.
    Sent(&'a [u8]),
    /// The first bytes of the response have come, or more of them.
    Received,
    /// The response's head.
    Head(&'a response::Parts),
    /// Some of its body.
    Body(&'a [u8]),
    /// The body was read to its end.
    End,
}

thread_local! {
    static OBSERVER: RefCell<Option<Arc<dyn Observer>>> = const { RefCell::new(None) };
}

/// Has this observer see what happens meanwhile.
pub(crate) fn during<T>(observer: &Arc<dyn Observer>, act: impl FnOnce() -> T) -> T {
    observer.begins();
    OBSERVER.set(Some(Arc::clone(observer)));
    let result = act();
    OBSERVER.set(None);
    result
}

/// Tells the observer, if there is one.
pub(crate) fn note(event: WireEvent<'_>) {
    OBSERVER.with_borrow(|observer| {
        if let Some(observer) = observer {
            observer.happens(event);
        }
    });
}

/// A request is about to be sent, with these secrets among its header fields.
pub(crate) fn note_request(headers: &[(HeaderName, HeaderValue)]) {
    if OBSERVER.with_borrow(Option::is_some) {
        let secrets: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        note(WireEvent::Request(&secrets));
    }
}

/// Takes what is read of a body.
pub(crate) struct BodySink;

impl io::Write for BodySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(WireEvent::Body(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Notes when a connection is ready, and what goes through it.
#[derive(Debug)]
pub(crate) struct Observe;

/// A connection that is observed, after TLS: what goes through is plain.
#[derive(Debug)]
pub(crate) struct Observed<T>(T);

impl<In: Transport> Connector<In> for Observe {
    type Out = Observed<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Observed<In>>, Error> {
        if chained.as_ref().is_some_and(Transport::is_tls) {
            note(WireEvent::Secured);
        }
        Ok(chained.map(Observed))
    }
}

impl<T: Transport> Transport for Observed<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        note(WireEvent::Sent(&self.0.buffers().output()[..amount]));
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let has_input = self.0.await_input(timeout)?;
        if has_input {
            note(WireEvent::Received);
        }
        Ok(has_input)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
