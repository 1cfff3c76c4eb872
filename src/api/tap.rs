//! Stands behind the other connectors of an observed client, and notes what goes through.

#![forbid(unsafe_code)]

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::recording;

/// Notes when a connection is ready, and taps it.
#[derive(Debug)]
pub struct Tap;

/// A connection, after TLS: what goes through is plain.
#[derive(Debug)]
pub struct Tapped<T>(T);

impl<In: Transport> Connector<In> for Tap {
    type Out = Tapped<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Tapped<In>>, Error> {
        if chained.as_ref().is_some_and(Transport::is_tls) {
            recording::note(|attempt, time| {
                if let Some(dialled) = &mut attempt.dialled {
                    dialled.secured = Some(time);
                }
            });
        }
        Ok(chained.map(Tapped))
    }
}

impl<T: Transport> Transport for Tapped<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.0.buffers().output();
        recording::note(|attempt, _| attempt.sending(&output[..amount]));
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let has_input = self.0.await_input(timeout)?;
        recording::note(|attempt, time| {
            if has_input {
                attempt.first_byte.get_or_insert(time);
            }
        });
        Ok(has_input)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
