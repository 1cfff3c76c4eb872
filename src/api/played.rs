//! Connections without a network: what arrives on them, and in which pieces, is given beforehand.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::client::BUFFER_BYTES;
use super::connector;

/// What a server answers to the second question on its first connection, and to any on others.
pub(crate) const SECOND: u16 = 403;
pub(crate) const ELSEWHERE: u16 = 404;

/// What follows the last byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Close,
    Reset,
    Silence,
}

/// A server that answers the first question with these bytes, of which so many arrive at once.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// None: as every other one.
    pub first: Option<Arc<[u8]>>,
    pub at_once: usize,
    pub end: End,
}

/// Opens connections to it.
#[derive(Debug)]
pub(crate) struct Play {
    played: Played,
    opened: AtomicUsize,
}

impl Play {
    pub(crate) fn new(played: Played) -> Self {
        Self { played, opened: AtomicUsize::new(0) }
    }
}

/// A connection to it.
#[derive(Debug)]
pub(crate) struct Line {
    buffers: LazyBuffers,
    played: Played,
    is_first: bool,
    questions: usize,
    /// Whether a question is being sent.
    is_asking: bool,
    /// What has arrived and was not read yet.
    arrived: VecDeque<u8>,
}

impl Connector for Play {
    type Out = Line;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        connector::count_connection_attempt();
        let is_first =
            self.opened.fetch_add(1, Ordering::Relaxed) == 0 && self.played.first.is_some();
        let buffers = LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES);
        let (played, arrived) = (self.played.clone(), VecDeque::new());
        Ok(Some(Line { buffers, played, is_first, questions: 0, is_asking: false, arrived }))
    }
}

impl Line {
    fn answer(&mut self) {
        self.questions += 1;
        if let (Some(first), true, 1) = (&self.played.first, self.is_first, self.questions) {
            self.arrived.extend(first.iter());
            return;
        }
        let status = if self.is_first { SECOND } else { ELSEWHERE };
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        self.arrived.extend(answer.into_bytes());
    }

    fn has_ended(&self) -> bool {
        self.is_first && self.questions > 0 && self.played.end != End::Silence
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
        if !std::mem::replace(&mut self.is_asking, true) {
            self.answer();
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.is_asking = false;
        let room = self.buffers.input_append_buf();
        let count = self.arrived.len().min(room.len()).min(self.played.at_once.max(1));
        for (place, byte) in room.iter_mut().zip(self.arrived.drain(..count)) {
            *place = byte;
        }
        self.buffers.input_appended(count);
        match self.played.end {
            _ if count > 0 => Ok(true),
            End::Close if self.has_ended() => Ok(false),
            End::Reset if self.has_ended() => {
                Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
            }
            _ => Err(Error::Timeout(timeout.reason)),
        }
    }

    fn is_open(&mut self) -> bool {
        self.arrived.is_empty() && !self.has_ended()
    }
}
