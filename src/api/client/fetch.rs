//! Documents that are no answer to a question.

#![forbid(unsafe_code)]

use ureq::http::{StatusCode, header};

use super::Client;
use super::body::{read_away, read_whole};
use crate::answer::Failure;
use crate::api::response::Response;
use crate::api::{error_map, framing, observer};
use crate::sync::lock;
use crate::trace::{TRACEPARENT, TraceId};

impl Client {
    /// Fetches a document: seldom, so that a connection of its own is opened for it.
    pub(crate) fn fetch(&self, url: &str, trace: Option<TraceId>) -> Result<Response, Failure> {
        let link = lock(&self.link).clone().ok_or(Failure::Stopping)?;
        observer::note_request(&link.headers);
        let mut request = link.fresh.get(url).header(header::ACCEPT, "application/json");
        for (name, value) in link.headers.iter() {
            request = request.header(name, value);
        }
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.traceparent());
        }
        self.read_as(request.call().map_err(error_map::failure)?, |head, _, body| {
            let is_document = head.status == StatusCode::OK;
            framing::check(head)?;
            let may_end = framing::ends_with_the_connection(head);
            if is_document {
                let whole = read_whole(body, may_end, true)?;
                framing::check_encoding(head, &whole)?;
                Ok((Some(whole), Vec::new()))
            } else {
                Ok((None, read_away(body, may_end)?))
            }
        })
    }
}
