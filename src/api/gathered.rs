//! Sends a request in one piece. The HTTP client sends the head and then the body, each at once: that is
//! twice the work for the kernels of both ends, and for many a server two reads.

#![forbid(unsafe_code)]

use std::cell::Cell;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use zeroize::{Zeroize as _, Zeroizing};

thread_local! {
    static RECEIVED: Cell<u64> = const { Cell::new(0) };
}

/// How often bytes of answers have come to this thread. A request during which the count stands still
/// had not one byte of an answer.
pub fn received() -> u64 {
    RECEIVED.get()
}

/// Gathers what goes into the connections that the connectors before it have made.
#[derive(Debug)]
pub struct Gather;

/// A connection into which requests go in one piece.
#[derive(Debug)]
pub struct Gathered<T> {
    inner: T,
    /// What is to be sent together with what comes next.
    held: Zeroizing<Vec<u8>>,
    /// Whether what comes next is the beginning of a request.
    is_beginning: bool,
}

impl<In: Transport> Connector<In> for Gather {
    type Out = Gathered<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let gathered = |inner| Gathered { inner, held: Zeroizing::default(), is_beginning: true };
        Ok(chained.map(gathered))
    }
}

impl<T: Transport> Gathered<T> {
    /// Sends what lies in the buffer, and nothing of it any more after that.
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

impl<T: Transport> Transport for Gathered<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        if self.is_beginning {
            self.is_beginning = false;
            self.held.extend_from_slice(&output[..amount]);
            return Ok(());
        }
        if self.held.is_empty() {
            return self.inner.transmit_output(amount, timeout);
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

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.is_beginning = true;
        // A request without a body.
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.send_bytes(&held, timeout)?;
        }
        let before = self.inner.buffers().input().len();
        let awaited = self.inner.await_input(timeout);
        if self.inner.buffers().input().len() > before {
            RECEIVED.set(RECEIVED.get() + 1);
        }
        awaited
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use ureq::Timeout;
    use ureq::unversioned::transport::{LazyBuffers, time::Duration};

    use super::*;

    const ROOM: usize = 16;

    /// Notes what it is to send.
    #[derive(Debug)]
    struct Played {
        buffers: LazyBuffers,
        sent: Vec<String>,
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
            Ok(true)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    fn soon() -> NextTimeout {
        let (after, reason) = (Duration::from_secs(1), Timeout::Global);
        NextTimeout { after, reason, ..NextTimeout::default() }
    }

    /// What is sent of a request in these pieces, and of one more after its answer.
    fn sent(pieces: &[&str]) -> Vec<String> {
        let inner = Played { buffers: LazyBuffers::new(ROOM, ROOM), sent: Vec::new() };
        let mut connection = Gathered { inner, held: Zeroizing::default(), is_beginning: true };
        for pieces in [pieces, &["next", "one"]] {
            for piece in pieces {
                connection.buffers().output()[..piece.len()].copy_from_slice(piece.as_bytes());
                connection.transmit_output(piece.len(), soon()).unwrap();
            }
            connection.await_input(soon()).unwrap();
            assert!(connection.held.is_empty());
        }
        connection.inner.sent
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
        let inner = Played { buffers: LazyBuffers::new(ROOM, ROOM), sent: Vec::new() };
        let mut connection = Gathered { inner, held: Zeroizing::default(), is_beginning: true };
        for piece in ["head", "secret"] {
            connection.buffers().output()[..piece.len()].copy_from_slice(piece.as_bytes());
            connection.transmit_output(piece.len(), soon()).unwrap();
        }
        assert_eq!(connection.buffers().output(), [0; ROOM]);
    }
}
