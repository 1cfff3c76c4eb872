//! Where the HTTP client is less strict, or less able, than RFC 9112: it takes chunk sizes that are no
//! numbers, fails on a long chunk extension, and on an interim answer that has fields.
//!
//! What arrives is looked at in the connection's buffer, before the client sees it. A line that is not
//! complete stays there as it is: the client waits for its end too.

#![forbid(unsafe_code)]

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// How long a chunk's size with its extensions may be (RFC 9112, section 7.1.1, asks for a bound).
const SIZE_LINE_BYTES: usize = 4096;

/// Reads strictly what comes over the connections that the connectors before it have made.
#[derive(Debug)]
pub(crate) struct Strict;

/// A connection whose answers are read strictly.
#[derive(Debug)]
pub(crate) struct StrictlyRead<T> {
    inner: T,
    part: Part,
    /// How many bytes at the end of the buffer are of a head or a line that is not complete.
    incomplete: usize,
}

/// What comes next of an answer.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    Head,
    ChunkSize,
    ChunkData(u64),
    /// Nothing that has to be looked at.
    Rest,
}

impl<In: Transport> Connector<In> for Strict {
    type Out = StrictlyRead<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| StrictlyRead { inner, part: Part::Head, incomplete: 0 }))
    }
}

impl<T: Transport> StrictlyRead<T> {
    /// Looks at what came behind the first `before` bytes of the buffer.
    fn look(&mut self, before: usize) -> Result<(), Error> {
        let buffers = self.inner.buffers();
        let Some(looked_at) = before.checked_sub(self.incomplete) else {
            return Err(broken("its head ends in two places"));
        };
        let raw = &buffers.input()[looked_at..];
        let (mut clean, used) = cleaned(&mut self.part, raw)?;
        self.incomplete = raw.len() - used;
        if clean == raw[..used] {
            return Ok(());
        }
        clean.extend_from_slice(&raw[used..]);
        let whole = [&buffers.input()[..looked_at], &clean].concat();
        buffers.input_consume(looked_at + raw.len());
        // It is no longer than what it was.
        buffers.input_append_buf()[..whole.len()].copy_from_slice(&whole);
        buffers.input_appended(whole.len());
        Ok(())
    }
}

impl<T: Transport> Transport for StrictlyRead<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        (self.part, self.incomplete) = (Part::Head, 0);
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.inner.buffers().input().len();
        let awaited = self.inner.await_input(timeout)?;
        if self.part != Part::Rest && self.inner.buffers().input().len() > before {
            self.look(before)?;
        }
        Ok(awaited)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

fn broken(problem: &str) -> Error {
    Error::Other(problem.into())
}

/// What the client is to see of these bytes, and how many of them that accounts for: the rest is not
/// complete.
fn cleaned(part: &mut Part, raw: &[u8]) -> Result<(Vec<u8>, usize), Error> {
    let (mut clean, mut used) = (Vec::with_capacity(raw.len()), 0);
    while used < raw.len() {
        let rest = &raw[used..];
        match *part {
            Part::Head => {
                let Some(length) = head_length(rest) else { break };
                let head = Head::of(&rest[..length]);
                if head.is_interim()? {
                    used += length;
                    continue;
                }
                clean.extend_from_slice(&rest[..length]);
                used += length;
                *part = if head.has_chunks() { Part::ChunkSize } else { Part::Rest };
            }
            Part::ChunkSize => {
                let line = rest.iter().position(|byte| *byte == b'\n').map(|end| &rest[..=end]);
                let length = line.map_or(rest.len(), <[u8]>::len);
                if length > SIZE_LINE_BYTES {
                    return Err(broken("the extensions of a chunk are longer than 4096 bytes"));
                }
                let Some(line) = line else { break };
                let size = chunk_size(line).ok_or_else(|| broken("a chunk's size is no number"))?;
                clean.extend(format!("{size:x}\r\n").into_bytes());
                used += length;
                // Trailers say nothing here.
                *part = if size == 0 { Part::Rest } else { Part::ChunkData(size) };
            }
            Part::ChunkData(0) => {
                let Some(end) = rest.get(..2) else { break };
                if end != b"\r\n" {
                    return Err(broken("a chunk is longer than its size"));
                }
                clean.extend_from_slice(end);
                used += 2;
                *part = Part::ChunkSize;
            }
            Part::ChunkData(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                clean.extend_from_slice(&rest[..here]);
                used += here;
                *part = Part::ChunkData(left - here as u64);
            }
            Part::Rest => {
                clean.extend_from_slice(rest);
                used = raw.len();
            }
        }
    }
    Ok((clean, used))
}

/// How long the head is that begins here; none while it is not complete. As the client does, it passes
/// over empty lines before the head, and takes a bare line feed for the end of a line (RFC 9112,
/// section 2.2).
fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    let mut has_begun = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        let is_empty = matches!(line, b"\r\n" | b"\n");
        if is_empty && has_begun {
            return Some(length);
        }
        has_begun |= !is_empty;
    }
    None
}

/// A head that is complete. Whether it is well-formed is for the client to see.
struct Head<'a> {
    /// None where the first line is none of HTTP.
    status: Option<&'a [u8]>,
    fields: Vec<Option<(&'a [u8], &'a [u8])>>,
}

impl<'a> Head<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut lines = bytes
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty());
        let status = lines.next().and_then(status);
        Self { status, fields: lines.map(field).collect() }
    }

    /// Whether this is no answer yet (RFC 9110, section 15.2). 101 is one: it ends HTTP.
    fn is_interim(&self) -> Result<bool, Error> {
        let is_interim = self.status.is_some_and(|status| status[0] == b'1' && status != b"101");
        if !is_interim || self.fields.contains(&None) {
            return Ok(false);
        }
        if self.has("content-length") || self.has("transfer-encoding") {
            return Err(broken("an interim answer with a body"));
        }
        Ok(true)
    }

    fn has_chunks(&self) -> bool {
        let has_body = !matches!(self.status, Some(b"204" | b"304"));
        has_body && self.has("transfer-encoding")
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().flatten().any(|field| field.0.eq_ignore_ascii_case(name.as_bytes()))
    }
}

fn status(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"HTTP/1.0 ").or_else(|| line.strip_prefix(b"HTTP/1.1 "))?;
    let (status, reason) = rest.split_at_checked(3)?;
    let is_status = status.iter().all(u8::is_ascii_digit) && matches!(reason, [] | [b' ', ..]);
    (is_status && reason.iter().all(is_of_text)).then_some(status)
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    let is_sound = !name.is_empty() && name.iter().all(is_of_token) && value.iter().all(is_of_text);
    is_sound.then_some((name, value))
}

/// What a field's value may hold (RFC 9110, section 5.5). The client fails at anything else, and may have seen
/// it before the line is complete here.
fn is_of_text(byte: &u8) -> bool {
    *byte == b'\t' || !byte.is_ascii_control()
}

/// RFC 9110, section 5.6.2.
fn is_of_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The size of a chunk (RFC 9112, section 7.1); none where the line is not well-formed. What extensions
/// say is ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at(digits);
    let is_sound = extensions.is_empty() || {
        let name = extensions.trim_ascii_start().strip_prefix(b";").map(<[u8]>::trim_ascii_start);
        name.and_then(<[u8]>::first).is_some_and(is_of_token) && extensions.iter().all(is_of_text)
    };
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_sound)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// What the client sees of an answer that comes in pieces of this length.
    fn seen(answer: &str, step: usize) -> Option<String> {
        let (mut part, mut seen, mut rest) = (Part::Head, Vec::new(), Vec::new());
        for piece in answer.as_bytes().chunks(step) {
            rest.extend_from_slice(piece);
            let (clean, used) = cleaned(&mut part, &rest).ok()?;
            seen.extend(clean);
            rest.drain(..used);
        }
        seen.extend(rest);
        Some(String::from_utf8(seen).unwrap())
    }

    #[test]
    fn interim_answers_are_passed_over_however_they_arrive() {
        for interim in [
            "HTTP/1.1 100 Continue\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.1 100\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            "\r\nHTTP/1.1 102 Processing\nX: y\n\n",
        ] {
            for step in 1..=200 {
                assert_eq!(
                    seen(&format!("{interim}{OK}"), step).unwrap(),
                    OK,
                    "{interim:?} {step}"
                );
            }
        }
        for answer in [
            "HTTP/1.1 101 Switching\r\n\r\nx",
            "HTTP/1.1 100 C\r\nno field\r\n\r\n",
            "HTTP/1.1 100 C\r\nX:\r y\r\n\r\n",
            "HTTP/1.1 100 C\u{7f}\r\n\r\n",
            "x\r\n",
        ] {
            assert_eq!(seen(answer, 1).unwrap(), answer);
        }
        assert_eq!(seen("HTTP/1.1 100 C\r\nContent-Length: 2\r\n\r\nok", 1), None);
    }

    #[test]
    fn chunks_go_without_their_extensions() {
        let long = "f".repeat(4000);
        for size in ["2", "002", "2;a", "2 ; a=b", "2;a=\"\u{e9};\"", &format!("2;x={long}")] {
            let answer = format!("{CHUNKED}{size}\r\nok\r\n0;z\r\nX: y\r\n\r\n");
            let wanted = format!("{CHUNKED}2\r\nok\r\n0\r\nX: y\r\n\r\n");
            for step in [1, 2, 3, 7, 64, 9000] {
                assert_eq!(seen(&answer, step).unwrap(), wanted, "{size} {step}");
            }
        }
    }

    #[test]
    fn a_size_that_is_no_number_breaks_the_answer() {
        let long = format!("2;x={}", "f".repeat(5000));
        for size in [
            "+2",
            "-2",
            "0x2",
            " 2",
            "2 ",
            "2\t",
            "2\u{b}",
            "",
            ";a",
            "2;",
            "2;;a",
            "2;=b",
            "2;a\0",
            "2;a\nb",
            "2x",
            "10000000000000000",
            &long,
        ] {
            for step in [1, 9000] {
                let answer = format!("{CHUNKED}{size}\r\nok\r\n0\r\n\r\n");
                assert_eq!(seen(&answer, step), None, "{size:?} {step}");
            }
        }
        assert_eq!(seen(&format!("{CHUNKED}2\nok\r\n0\r\n\r\n"), 1), None);
        assert_eq!(seen(&format!("{CHUNKED}1\r\nok\r\n0\r\n\r\n"), 1), None);
    }

    #[test]
    fn what_has_no_chunks_goes_as_it_is() {
        for answer in [OK, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n+2", "\r\n\n"] {
            assert_eq!(seen(answer, 1).unwrap(), answer);
        }
    }
}
