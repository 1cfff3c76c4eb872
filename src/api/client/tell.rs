//! Requests of which only the status matters.

#![forbid(unsafe_code)]

use super::body::read_away;
use super::{Client, Outgoing};
use crate::answer::Failure;
use crate::api::framing;
use crate::api_format::Method;
use crate::trace::TraceId;

impl Client {
    /// Sends a JSON object, in whatever form questions are asked, and returns the status of the response.
    pub(crate) fn tell(
        &self,
        url: &str,
        body: &[u8],
        trace: Option<TraceId>,
    ) -> Result<u16, Failure> {
        let (method, content_type) = (Method::Post, "application/json");
        let response = self.send(Outgoing { method, content_type, url, body, trace })?;
        let response = self.read_as(response, |head, _, body| {
            framing::check(head)?;
            Ok((None, read_away(body, framing::ends_with_the_connection(head))?))
        })?;
        Ok(response.status)
    }
}
