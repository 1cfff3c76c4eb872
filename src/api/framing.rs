//! Whether an answer says without doubt where it ends, and what its body is.
//!
//! What one reader takes for the end of an answer another takes for its middle; a proxy between the
//! two then gives one question the answer to another. RFC 9112 (section 6.3) lets a client choose
//! how to read such an answer. Here it is broken.

#![forbid(unsafe_code)]

use ureq::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use ureq::http::response::Parts;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::answer::Failure;

/// Checks the head of an answer.
///
/// # Errors
/// What is ambiguous about it.
pub(crate) fn check(head: &Parts) -> Result<(), Failure> {
    if head.status.is_informational() {
        return broken("an interim status ends the exchange");
    }
    let codings = texts(&head.headers, &TRANSFER_ENCODING).collect::<Vec<_>>();
    match codings.as_slice() {
        [] => {}
        _ if head.version != Version::HTTP_11 => {
            return broken("HTTP/1.0 has no Transfer-Encoding");
        }
        _ if head.headers.contains_key(CONTENT_LENGTH) => {
            return broken("both Content-Length and Transfer-Encoding");
        }
        [coding] if coding.eq_ignore_ascii_case("chunked") => {}
        _ => return broken("a Transfer-Encoding other than chunked"),
    }
    Ok(())
}

/// The registered content codings but `identity` (RFC 9110, section 16.6.1), in which a body cannot be read.
/// Some servers write into the field what belongs elsewhere, such as `UTF-8`: that changes no body.
const CODINGS: [&str; 12] = [
    "gzip",
    "x-gzip",
    "compress",
    "x-compress",
    "deflate",
    "br",
    "zstd",
    "dcb",
    "dcz",
    "exi",
    "pack200-gzip",
    "aes128gcm",
];

/// Whether a body is encoded, although it was asked for as it is.
#[must_use]
pub(crate) fn is_encoded(head: &Parts, body: &[u8]) -> bool {
    let is_coding = |word: &[u8]| {
        CODINGS.iter().any(|coding| coding.as_bytes().eq_ignore_ascii_case(word.trim_ascii()))
    };
    let mut lines = head.headers.get_all(CONTENT_ENCODING).into_iter();
    !body.is_empty() && lines.any(|line| line.as_bytes().split(|byte| *byte == b',').any(is_coding))
}

/// Checks that a body can be read.
///
/// # Errors
/// It is encoded, so that nobody knows what it says.
pub(crate) fn check_encoding(head: &Parts, body: &[u8]) -> Result<(), Failure> {
    if is_encoded(head, body) {
        return broken("its body has a Content-Encoding, such as gzip, that nobody asked for");
    }
    Ok(())
}

fn broken(problem: &str) -> Result<(), Failure> {
    Err(Failure::BrokenAnswer(problem.to_owned()))
}

/// Whether the end of the connection is the end of the body.
pub(crate) fn ends_with_the_connection(head: &Parts) -> bool {
    // These have no body, and need not say so (RFC 9110, section 8.6).
    let has_none = matches!(head.status.as_u16(), 204 | 304);
    let has_length = head.headers.contains_key(CONTENT_LENGTH);
    !has_none && !has_length && !head.headers.contains_key(TRANSFER_ENCODING)
}

/// Whether it is, although the server did not say that the connection would end, so that one that was
/// cut off cannot be told from one that is complete. HTTP/1.0 says so by itself (RFC 9112, section
/// 9.3).
pub(crate) fn ends_unannounced(head: &Parts) -> bool {
    let closes = texts(&head.headers, &CONNECTION)
        .flat_map(|options| options.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"));
    ends_with_the_connection(head) && !closes && head.version == Version::HTTP_11
}

/// The values of all lines of a header field; one that is no text is taken for an empty one.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or_default().trim();
    headers.get_all(name).into_iter().map(text)
}

#[cfg(test)]
mod tests {
    use ureq::http::Response;

    use super::*;

    fn head(version: Version, status: u16, lines: &[(&str, &str)]) -> Parts {
        let mut response = Response::builder().version(version).status(status);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    fn is_sound(lines: &[(&str, &str)]) -> bool {
        check(&head(Version::HTTP_11, 200, lines)).is_ok()
    }

    #[test]
    fn an_answer_that_says_one_way_how_long_it_is_is_sound() {
        for lines in [&[][..], &[("Content-Length", "5")], &[("Transfer-Encoding", "Chunked")]] {
            assert!(is_sound(lines), "{lines:?}");
        }
    }

    #[test]
    fn what_two_readers_may_read_in_two_ways_is_broken() {
        for lines in [
            &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")][..],
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "identity")],
        ] {
            assert!(!is_sound(lines), "{lines:?}");
        }
        let chunks = [("Transfer-Encoding", "chunked")];
        assert!(check(&head(Version::HTTP_10, 200, &chunks)).is_err());
        assert!(check(&head(Version::HTTP_11, 101, &[])).is_err());
    }

    #[test]
    fn a_body_ends_with_its_connection_where_the_server_said_so() {
        let unannounced =
            |version, lines: &[(&str, &str)]| ends_unannounced(&head(version, 200, lines));
        assert!(unannounced(Version::HTTP_11, &[]));
        assert!(unannounced(Version::HTTP_11, &[("Connection", "keep-alive")]));
        for lines in [
            ("Connection", "close"),
            ("Connection", "x, Close"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"),
        ] {
            assert!(!unannounced(Version::HTTP_11, &[lines]), "{lines:?}");
        }
        assert!(!unannounced(Version::HTTP_10, &[]));
        for status in [204, 304] {
            assert!(!ends_with_the_connection(&head(Version::HTTP_11, status, &[])), "{status}");
        }
    }

    #[test]
    fn a_body_that_may_say_something_is_not_encoded() {
        let reads = |encodings: &[&str], body: &[u8]| {
            let lines: Vec<_> = encodings.iter().map(|one| ("Content-Encoding", *one)).collect();
            check_encoding(&head(Version::HTTP_11, 200, &lines), body).is_ok()
        };
        for plain in [
            &[][..],
            &[""],
            &["identity"],
            &["Identity", " "],
            &["UTF-8"],
            &["utf-8, identity", "none"],
            &["gzipped"],
            &["\u{e9}"],
        ] {
            assert!(reads(plain, b"x"), "{plain:?}");
        }
        for encoded in [
            &["gzip"][..],
            &["GZip"],
            &["identity", "br"],
            &["identity, gzip"],
            &["\u{e9},zstd ,x"],
        ] {
            assert!(!reads(encoded, b"x"), "{encoded:?}");
            assert!(reads(encoded, b""), "there is nothing to read");
        }
    }
}
