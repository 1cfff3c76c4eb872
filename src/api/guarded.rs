//! Connections, guarded against three things that the HTTP client leaves to them: a request that
//! stays in a buffer after it was sent, an answer that was cut off, and bytes that nobody asked for.

#![forbid(unsafe_code)]

use std::io;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use zeroize::Zeroize;

/// Guards what the connectors before it have made.
#[derive(Debug)]
pub struct Guard;

/// A connection that is guarded.
#[derive(Debug)]
pub struct Guarded<T: Transport> {
    inner: T,
    /// Whether the last read took as much as there was room for: there may be more where that came
    /// from, such as in the TLS layer, and nobody else can see it there.
    was_brimful: bool,
}

impl<In: Transport> Connector<In> for Guard {
    type Out = Guarded<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Guarded { inner, was_brimful: false }))
    }
}

impl<T: Transport> Transport for Guarded<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    /// Wipes what was sent: the buffer lives as long as the connection is kept, and a request may
    /// hold a password.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let sent = self.inner.transmit_output(amount, timeout);
        self.inner.buffers().output()[..amount].zeroize();
        sent
    }

    /// An end that was not announced is an error. The client would take it for the end of a body
    /// that has no length, and an answer that somebody cut off for a whole one.
    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let room = self.inner.buffers().input_append_buf().len();
        let awaited = self.inner.await_input(timeout);
        let buffers = self.inner.buffers();
        self.was_brimful = buffers.input().len() - before >= room;
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

impl<T: Transport> Drop for Guarded<T> {
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

    /// Sends into the void, and receives one of these with each read.
    #[derive(Debug)]
    struct Played {
        buffers: LazyBuffers,
        arriving: Vec<Result<Vec<u8>, io::ErrorKind>>,
    }

    impl Transport for Played {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            let bytes = self.arriving.remove(0).map_err(io::Error::from)?;
            self.buffers.input_append_buf()[..bytes.len()].copy_from_slice(&bytes);
            self.buffers.input_appended(bytes.len());
            Ok(!bytes.is_empty())
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    fn guarded(arriving: Vec<Result<Vec<u8>, io::ErrorKind>>) -> Guarded<Played> {
        let buffers = LazyBuffers::new(16, 16);
        Guarded { inner: Played { buffers, arriving }, was_brimful: false }
    }

    fn soon() -> NextTimeout {
        let (after, reason) = (Duration::from_secs(1), Timeout::Global);
        NextTimeout { after, reason, ..NextTimeout::default() }
    }

    #[test]
    fn what_was_sent_is_wiped() {
        let mut connection = guarded(vec![]);
        connection.buffers().output()[..6].copy_from_slice(b"secret");
        connection.transmit_output(6, soon()).unwrap();
        assert_eq!(connection.buffers().output()[..6], [0; 6]);
    }

    #[test]
    fn an_abrupt_end_is_an_error_that_the_client_does_not_pass_over() {
        for end in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            let ended = guarded(vec![Err(end)]).await_input(soon());
            let Err(Error::Io(error)) = ended else { panic!("{ended:?}") };
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        assert!(!guarded(vec![Ok(vec![])]).await_input(soon()).unwrap(), "an announced end");
    }

    #[test]
    fn a_connection_in_which_something_may_wait_is_not_used_again() {
        let mut connection = guarded(vec![Ok(b"ok".to_vec()), Ok(vec![b'x'; 16])]);
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
