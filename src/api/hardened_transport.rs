//! Connections that make up for what the HTTP client leaves to them.
//!
//! A request goes out in one piece: the client sends its head and its body one after the other, which is
//! twice the work for the kernels of both ends, and for many a server two reads. What was sent is wiped. An end that nobody
//! announced is an error, and a connection in which anything may wait is not used again.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use zeroize::{Zeroize as _, Zeroizing};

thread_local! {
    static RECEIVED: Cell<u64> = const { Cell::new(0) };
}

/// How often bytes of answers have come to this thread. A request during which the count stands still
/// had not one byte of an answer.
pub(crate) fn received() -> u64 {
    RECEIVED.get()
}

/// Hardens what the connectors before it have made: below the TLS layer, which has no eye for what waits
/// there, and above it, where requests go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harden {
    BelowTls,
    Requests,
}

/// A hardened connection.
#[derive(Debug)]
pub(crate) struct Hardened<T: Transport> {
    inner: T,
    layer: Harden,
    /// What is to be sent together with what comes next.
    held: Zeroizing<Vec<u8>>,
    /// Whether what comes next is the beginning of a request.
    is_beginning: bool,
    /// Whether the last read took as much as there was room for: there may be more where that came
    /// from, such as in the TLS layer, and nobody else can see it there.
    was_brimful: bool,
}

impl<In: Transport> Connector<In> for Harden {
    type Out = Hardened<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Hardened::new(inner, *self)))
    }
}

impl<T: Transport> Hardened<T> {
    fn new(inner: T, layer: Harden) -> Self {
        let is_beginning = layer == Harden::Requests;
        Self { inner, layer, held: Zeroizing::default(), is_beginning, was_brimful: false }
    }

    /// Sends what lies in the buffer, and wipes it: the buffer lives as long as the connection is kept, and
    /// a request may hold a password.
    fn send(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let sent = self.inner.transmit_output(amount, timeout);
        self.inner.buffers().output()[..amount].zeroize();
        sent
    }

    fn send_bytes(&mut self, bytes: &[u8], timeout: NextTimeout) -> Result<(), Error> {
        self.inner.buffers().output()[..bytes.len()].copy_from_slice(bytes);
        self.send(bytes.len(), timeout)
    }
}

impl<T: Transport> Transport for Hardened<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        if self.is_beginning {
            self.is_beginning = false;
            self.held.extend_from_slice(&output[..amount]);
            output[..amount].zeroize();
            return Ok(());
        }
        if self.held.is_empty() {
            return self.send(amount, timeout);
        }
        let held = std::mem::take(&mut self.held);
        let together = held.len() + amount;
        if together <= output.len() {
            output.copy_within(..amount, held.len());
            output[..held.len()].copy_from_slice(&held);
            return self.send(together, timeout);
        }
        let rest = Zeroizing::new(output[..amount].to_vec());
        self.send_bytes(&held, timeout)?;
        self.send_bytes(&rest, timeout)
    }

    /// An end that was not announced is an error. The client would take it for the end of a body
    /// that has no length, and an answer that somebody cut off for a whole one.
    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.is_beginning = self.layer == Harden::Requests;
        // A request without a body.
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.send_bytes(&held, timeout)?;
        }
        let before = self.inner.buffers().input().len();
        let room = self.inner.buffers().input_append_buf().len();
        let awaited = self.inner.await_input(timeout);
        let received = self.inner.buffers().input().len() - before;
        self.was_brimful = received >= room;
        if received > 0 && self.layer == Harden::Requests {
            RECEIVED.set(RECEIVED.get() + 1);
        }
        awaited.map_err(|error| match error {
            Error::Io(error) if is_abrupt_end(error.kind()) => {
                Error::Io(io::Error::new(io::ErrorKind::BrokenPipe, error))
            }
            error => error,
        })
    }

    /// Whether the connection can carry another question: nothing waits in it that would be taken
    /// for the answer.
    fn is_open(&mut self) -> bool {
        !self.was_brimful && self.inner.buffers().input().is_empty() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T: Transport> Drop for Hardened<T> {
    /// A request that was not sent to its end was not wiped either.
    fn drop(&mut self) {
        self.inner.buffers().output().zeroize();
    }
}

fn is_abrupt_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind;

    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use ureq::Timeout;
    use ureq::unversioned::transport::{LazyBuffers, time::Duration};

    use super::*;

    const CAPACITY: usize = 16;

    /// Notes what it is to send, and receives one of these with each read; then nothing more.
    #[derive(Debug)]
    struct Played {
        buffers: LazyBuffers,
        sent: Vec<String>,
        arriving: Vec<Result<Vec<u8>, io::ErrorKind>>,
    }

    impl Transport for Played {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
            let sent = String::from_utf8(self.buffers.output()[..amount].to_vec()).unwrap();
            self.sent.push(sent);
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            if self.arriving.is_empty() {
                return Ok(true);
            }
            let bytes = self.arriving.remove(0).map_err(io::Error::from)?;
            self.buffers.input_append_buf()[..bytes.len()].copy_from_slice(&bytes);
            self.buffers.input_appended(bytes.len());
            Ok(!bytes.is_empty())
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    fn hardened(layer: Harden, arriving: Vec<Result<Vec<u8>, io::ErrorKind>>) -> Hardened<Played> {
        let buffers = LazyBuffers::new(CAPACITY, CAPACITY);
        Hardened::new(Played { buffers, sent: Vec::new(), arriving }, layer)
    }

    fn below_tls(arriving: Vec<Result<Vec<u8>, io::ErrorKind>>) -> Hardened<Played> {
        hardened(Harden::BelowTls, arriving)
    }

    fn soon() -> NextTimeout {
        let (after, reason) = (Duration::from_secs(1), Timeout::Global);
        NextTimeout { after, reason, ..NextTimeout::default() }
    }

    /// What is sent of a request in these pieces, and of one more after its answer.
    fn sent(pieces: &[&str]) -> Vec<String> {
        let mut connection = hardened(Harden::Requests, Vec::new());
        for pieces in [pieces, &["next", "one"]] {
            for piece in pieces {
                connection.buffers().output()[..piece.len()].copy_from_slice(piece.as_bytes());
                connection.transmit_output(piece.len(), soon()).unwrap();
            }
            connection.await_input(soon()).unwrap();
            assert!(connection.held.is_empty());
        }
        std::mem::take(&mut connection.inner.sent)
    }

    #[test]
    fn a_head_and_a_body_are_sent_together() {
        assert_eq!(sent(&["head", "body"]), ["headbody", "nextone"]);
    }

    #[test]
    fn a_head_alone_is_sent_before_its_answer_is_awaited() {
        assert_eq!(sent(&["head"]), ["head", "nextone"]);
    }

    #[test]
    fn what_does_not_fit_together_is_sent_in_order() {
        assert_eq!(sent(&["a head of 13 b", "body"]), ["a head of 13 b", "body", "nextone"]);
        assert_eq!(sent(&["head", "body", "more"]), ["headbody", "more", "nextone"]);
    }

    #[test]
    fn nothing_of_what_was_sent_stays_in_the_buffer() {
        let mut connection = hardened(Harden::Requests, Vec::new());
        for piece in ["head", "secret"] {
            connection.buffers().output()[..piece.len()].copy_from_slice(piece.as_bytes());
            connection.transmit_output(piece.len(), soon()).unwrap();
        }
        assert_eq!(connection.buffers().output(), [0; CAPACITY]);
    }

    #[test]
    fn what_was_sent_is_wiped() {
        let mut connection = below_tls(vec![]);
        connection.buffers().output()[..6].copy_from_slice(b"secret");
        connection.transmit_output(6, soon()).unwrap();
        assert_eq!(connection.buffers().output()[..6], [0; 6]);
    }

    #[test]
    fn an_abrupt_end_is_an_error_that_the_client_does_not_pass_over() {
        for end in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            let ended = below_tls(vec![Err(end)]).await_input(soon());
            let Err(Error::Io(error)) = ended else { panic!("{ended:?}") };
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        assert!(!below_tls(vec![Ok(vec![])]).await_input(soon()).unwrap(), "an announced end");
    }

    #[test]
    fn a_connection_in_which_something_may_wait_is_not_used_again() {
        let mut connection = below_tls(vec![Ok(b"ok".to_vec()), Ok(vec![b'x'; 16])]);
        assert!(connection.is_open());
        connection.await_input(soon()).unwrap();
        assert!(!connection.is_open(), "unread bytes");
        connection.buffers().input_consume(2);
        assert!(connection.is_open());
        connection.await_input(soon()).unwrap();
        connection.buffers().input_consume(16);
        assert!(!connection.is_open(), "there may be more");
    }
}
