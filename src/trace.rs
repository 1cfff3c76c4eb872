//! The id by which one question is found in this broker's log and in the API's.

#![forbid(unsafe_code)]

use std::fmt;

use crate::random;

/// The name of the header field that carries it (W3C Trace Context, section 3.2).
pub(crate) const TRACEPARENT: &str = "traceparent";

/// A trace id (W3C Trace Context, section 3.2.2.3): 16 bytes that are not all 0. Prints as 32 lower-case
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceId(u128);

impl TraceId {
    /// One by chance. It tells nothing of the client, nor of the broker.
    #[must_use]
    pub fn random() -> Self {
        Self(random::bytes().map_or(1, u128::from_ne_bytes).max(1))
    }

    /// The value of the header for one request of this trace, which gets an id of its own: a question that
    /// is asked of two hosts, or repeated on a new connection, is two requests. The flag says that the
    /// trace is recorded, as its id stands in the broker's log.
    #[must_use]
    pub fn traceparent(self) -> String {
        format!("00-{self}-{:016x}-01", random::bytes().map_or(1, u64::from_ne_bytes).max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How a log line names the trace of the request that it is about, if it has one: the end of the line.
#[must_use]
pub fn mark(trace: Option<TraceId>) -> String {
    trace.map(|trace| format!(" trace={trace}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_has_the_form_of_its_specification() {
        for trace in [TraceId(1), TraceId(u128::MAX), TraceId::random()] {
            let header = trace.traceparent();
            let parts: Vec<_> = header.split('-').collect();
            let [version, id, parent, flags] = parts[..] else { panic!("{header}") };
            assert_eq!((version, id, flags), ("00", trace.to_string().as_str(), "01"));
            let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            assert!(id.len() == 32 && parent.len() == 16 && is_hex(id) && is_hex(parent));
            assert!(id.contains(|c| c != '0') && parent.contains(|c| c != '0'));
            assert_ne!(trace.traceparent(), header, "each request is another");
        }
        assert_ne!(TraceId::random(), TraceId::random());
    }

    #[test]
    fn a_line_without_a_trace_is_as_it_was() {
        assert_eq!(mark(None), "");
        assert_eq!(mark(Some(TraceId(10))), " trace=0000000000000000000000000000000a");
    }
}
