//! Requests as they arrived, and reading them from a connection.

use std::io::{self, Read};

/// One request as the API received it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The target as it was sent, with its query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came over; they count from 1.
    pub connection: usize,
    /// Which request of its connection it is, from 1: more than 1 means a connection was kept.
    pub nth_on_connection: usize,
}

impl Request {
    /// A header's first value, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Bytes of a connection that were read beyond the request before.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next request; `None` when the peer is done, also in the middle of a request.
    pub(super) fn read_request(&mut self, stream: &mut impl Read) -> io::Result<Option<Request>> {
        loop {
            if let Some((mut request, head)) = parse_head(&self.0)? {
                self.0.drain(..head);
                let chunked = request
                    .header("transfer-encoding")
                    .is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
                let body = if chunked {
                    self.read_chunks(stream)?
                } else {
                    self.read_sized(stream, &request)?
                };
                return Ok(body.map(|body| {
                    request.body = body;
                    request
                }));
            }
            if !self.fill(stream)? {
                return Ok(None);
            }
        }
    }

    fn read_sized(
        &mut self,
        stream: &mut impl Read,
        request: &Request,
    ) -> io::Result<Option<Vec<u8>>> {
        let length = match request.header("content-length") {
            Some(length) => length.parse().map_err(|_| invalid("content-length is no number"))?,
            None => 0,
        };
        self.take(stream, length)
    }

    fn read_chunks(&mut self, stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.0)
                .map_err(|_| invalid("malformed chunk size"))?
            {
                httparse::Status::Complete((head, size)) => {
                    self.0.drain(..head);
                    let size = usize::try_from(size).map_err(|_| invalid("chunk too large"))?;
                    let Some(chunk) = self.take(stream, size + 2)? else { return Ok(None) };
                    body.extend_from_slice(&chunk[..size]);
                    if size == 0 {
                        return Ok(Some(body));
                    }
                }
                httparse::Status::Partial if !self.fill(stream)? => return Ok(None),
                httparse::Status::Partial => {}
            }
        }
    }

    fn take(&mut self, stream: &mut impl Read, count: usize) -> io::Result<Option<Vec<u8>>> {
        while self.0.len() < count {
            if !self.fill(stream)? {
                return Ok(None);
            }
        }
        Ok(Some(self.0.drain(..count).collect()))
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let count = stream.read(&mut bytes)?;
        self.0.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }
}

/// A complete request head and its length.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes).map_err(|e| invalid(&e.to_string()))? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            let header = |h: &httparse::Header| {
                (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned())
            };
            let request = Request {
                method: head.method.unwrap_or_default().to_owned(),
                path: head.path.unwrap_or_default().to_owned(),
                headers: head.headers.iter().map(header).collect(),
                body: Vec::new(),
                connection: 0,
                nth_on_connection: 0,
            };
            Ok(Some((request, length)))
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
