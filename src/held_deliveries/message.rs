//! A delivery that is kept, and the memory that it takes.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use crate::memory::MemoryPermit;
use crate::question::Properties;

/// A delivery as the broker asked about it.
pub(crate) struct Message {
    pub(super) payload: Arc<Payload>,
    pub properties: Option<Properties>,
    /// As the API is asked about it.
    pub qos: u8,
    pub retain: bool,
    /// The QoS with which it is sent.
    pub(crate) send_qos: u8,
    /// When it is given up.
    pub until: Instant,
    pub(super) bytes: usize,
    pub(super) _permit: MemoryPermit,
}

impl Message {
    #[must_use]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload.bytes
    }
}

/// A payload, which all recipients of the message share.
pub(crate) struct Payload {
    pub bytes: Box<[u8]>,
    pub(super) _permit: MemoryPermit,
}

/// What the broker said of a delivery that is to be kept.
pub(crate) struct NewDelivery<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub properties: Option<Properties>,
    pub qos: u8,
    pub retain: bool,
    pub(crate) send_qos: u8,
    pub until: Instant,
    /// Whether it was queued for the session before anything that waits.
    pub(crate) is_older: bool,
    /// Whether the broker will tell of the end of its recipient's session.
    pub(crate) is_certain: bool,
}
