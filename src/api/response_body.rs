//! What the body of a 200 is: JSON, a form, or something that says nothing.
//!
//! A no must be heard however it is labelled, since a program's default type is often wrong (PHP's is
//! `text/html`) and a proxy may join two header lines (RFC 9110, section 5.3). So the type is read
//! tolerantly, and a body that is JSON or a form by its looks is read as such whatever its type. What is
//! said to be JSON, or begins like an object, and does not parse is a broken answer.

#![forbid(unsafe_code)]

use ureq::http::HeaderMap;
use ureq::http::header::CONTENT_TYPE;

use crate::json::{self, Problem, Whole};

/// What `Content-Type` says of a body.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Declared {
    /// What the first line of the field begins with.
    pub first: MediaType,
    /// `application/json`, or anything that ends in `+json` (RFC 6839).
    pub json: bool,
    /// `application/x-www-form-urlencoded`.
    pub form: bool,
    /// A page, a picture, a sound or the like, and nothing else: no answer that is read.
    pub is_unrelated: bool,
}

/// A media type, as far as it matters.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum MediaType {
    /// The field is not there.
    #[default]
    None,
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
    Other,
}

impl MediaType {
    fn of(line: &[u8]) -> Self {
        let is_end = |byte: &u8| matches!(byte, b';' | b',') || byte.is_ascii_whitespace();
        let essence = line.trim_ascii_start().split(is_end).next().unwrap_or_default();
        match essence.to_ascii_lowercase().as_slice() {
            b"application/json" => Self::Json,
            b"application/x-www-form-urlencoded" => Self::Form,
            _ => Self::Other,
        }
    }
}

/// Whether this is the one type of a body that is a picture, a sound, a film or a font. A page is not among them: many
/// an API sends its JSON as `text/html`.
fn is_unrelated(line: &[u8]) -> bool {
    let essence = line.trim_ascii_start().to_ascii_lowercase();
    let kinds: [&[u8]; 4] = [b"image/", b"audio/", b"video/", b"font/"];
    !line.contains(&b',') && kinds.iter().any(|kind| essence.starts_with(kind))
}

impl Declared {
    /// Looks for types in all lines of the field, whatever stands around them.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let first = headers.get(CONTENT_TYPE).map(|line| MediaType::of(line.as_bytes()));
        let mut declared = Self { first: first.unwrap_or_default(), ..Self::default() };
        for line in headers.get_all(CONTENT_TYPE) {
            // A parameter's value is no type: its piece has a `=` in it.
            for piece in line.as_bytes().split(|byte| !is_of_type(*byte)) {
                if piece.contains(&b'=') {
                    continue;
                }
                let piece = piece.to_ascii_lowercase();
                let piece: Vec<_> = piece.into_iter().filter(|byte| *byte != b'"').collect();
                let subtype = piece.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
                declared.json |= subtype == b"json" || subtype.ends_with(b"+json");
                declared.form |= piece == b"application/x-www-form-urlencoded";
            }
        }
        let mut lines = headers.get_all(CONTENT_TYPE).into_iter();
        declared.is_unrelated = !declared.says_something()
            && lines.next().is_some_and(|line| is_unrelated(line.as_bytes()))
            && lines.next().is_none();
        declared
    }

    #[must_use]
    pub(crate) fn says_something(self) -> bool {
        self.json || self.form
    }
}

/// A byte of a token (RFC 9110, section 5.6.2), or what belongs to the same piece of the field.
fn is_of_type(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/=\"".contains(&byte)
}

/// A body that has been told apart.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum ResponseBody {
    /// It says nothing beside the status.
    Unrelated,
    /// A JSON object, which may say more than the status.
    Object,
    /// The pairs of a form.
    Form(Vec<(String, String)>),
}

/// The words that are a yes, in any case.
const YES: [&str; 4] = ["ok", "allow", "allowed", "true"];

/// Plain text that is no yes beside a status that says yes.
const NO: [&str; 2] = ["deny", "ignore"];

/// Tells what a body is.
///
/// # Errors
/// It is JSON or a form, and broken; or it says something that is no yes and no answer either.
pub(crate) fn read(declared: Declared, body: &[u8]) -> Result<ResponseBody, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(ResponseBody::Unrelated);
    }
    if begins_as_object(body) {
        // What only looks blank before it is no JSON.
        json::object(body)?.ok_or("its JSON is broken: something stands before the object")?;
        return Ok(ResponseBody::Object);
    }
    match (declared.json, json::value(body)) {
        (_, Ok(value)) => match is_yes(&value) {
            true => Ok(ResponseBody::Unrelated),
            false => Err(format!("it is {value}, which is no answer; allowed: a JSON object")),
        },
        (true, Err(problem)) => Err(problem),
        (false, Err(_)) => text(declared.form, body),
    }
}

/// Checks a body that is not read as JSON, but said to be some or begins like it.
///
/// # Errors
/// It does not parse.
pub(crate) fn check_json(declared: Declared, body: &[u8]) -> Result<(), Problem> {
    let is_json = declared.json || begins_as_object(body);
    if is_json && !body.trim_ascii().is_empty() { json::value(body).map(|_| ()) } else { Ok(()) }
}

/// Whether the first visible byte is that of an object. What is not seen, such as white space of any
/// kind, a byte order mark, or half of a character in UTF-16, does not hide it.
pub(crate) fn begins_as_object(body: &[u8]) -> bool {
    let hidden = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}')
    };
    let mut chunks = body.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
    chunks.find(|c| !hidden(*c)) == Some('{')
}

/// Whether JSON that is no object agrees with a status that says yes.
fn is_yes(value: &Whole<'_>) -> bool {
    match value {
        Whole::Null | Whole::Natural(_) | Whole::Negative(_) | Whole::Fraction(_) => true,
        Whole::Flag(flag) => *flag,
        Whole::Text(text) => YES.iter().any(|yes| text.eq_ignore_ascii_case(yes)),
        Whole::Array { is_empty } => *is_empty,
        Whole::Object | Whole::Shown(_) => false,
    }
}

/// Text that may be a form by its looks, or a single word.
fn text(is_form: bool, body: &[u8]) -> Result<ResponseBody, Problem> {
    let body = body.trim_ascii();
    if NO.iter().any(|no| body.eq_ignore_ascii_case(no.as_bytes())) {
        let word = String::from_utf8_lossy(body);
        return Err(format!("it is {word:?}, which is no answer; allowed: a JSON object"));
    }
    let looks_like_one =
        body.iter().all(|byte| byte.is_ascii_alphanumeric() || b"*-._~+%&=".contains(byte));
    if !is_form && !looks_like_one {
        return Ok(ResponseBody::Unrelated);
    }
    Ok(ResponseBody::Form(pairs(body)))
}

/// The pairs of a form that say something.
pub(crate) fn pairs(body: &[u8]) -> Vec<(String, String)> {
    body.split(|byte| *byte == b'&').filter_map(pair).collect()
}

/// The names that say something in a form.
const KNOWN: [&str; 8] = [
    "result",
    "reason",
    "is_superuser",
    "ttl",
    "expire_at",
    "acl",
    "clientid_override",
    "zone_override",
];

/// A name and its value, of those that say something (WHATWG URL, section 5.1).
fn pair(piece: &[u8]) -> Option<(String, String)> {
    let split = piece.iter().position(|byte| *byte == b'=')?;
    let name = unescaped(&piece[..split]);
    KNOWN.contains(&name.as_str()).then(|| (name, unescaped(&piece[split + 1..])))
}

fn unescaped(text: &[u8]) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = (*byte == b'%')
            .then(|| Some((digit(text.get(at + 1))? * 16 + digit(text.get(at + 2))?) as u8))
            .flatten();
        at += if escaped.is_some() { 3 } else { 1 };
        bytes.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    fn declared(lines: &[&[u8]]) -> Declared {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONTENT_TYPE, HeaderValue::from_bytes(line).unwrap());
        }
        Declared::of(&headers)
    }

    #[test]
    fn a_type_is_found_whatever_stands_around_it() {
        for line in [
            &b"application/json"[..],
            b"Application/JSON;charset=utf-8",
            b"application/json, application/json",
            b"text/html, application/json",
            b"application/json; x=\"\xc3\xa9\"",
            b"application/json charset=utf-8",
            b",application/json,",
            b"application/json\xa0",
            b"\"application/json\"",
            b"application/problem+json",
        ] {
            assert!(declared(&[line]).json, "{}", String::from_utf8_lossy(line));
        }
        assert!(declared(&[b"text/html", b"application/json"]).json);
        assert!(declared(&[b"application/x-www-form-urlencoded; charset=utf-8"]).form);
        for line in [
            &b"text/plain; x=application/json"[..],
            b"text/html; x=\"application/json\"",
            b"application/jsonp",
            b"json",
            b"",
        ] {
            let expected = Declared { first: MediaType::Other, ..Declared::default() };
            assert_eq!(declared(&[line]), expected);
        }
        assert_eq!(declared(&[]), Declared::default());
    }

    #[test]
    fn a_picture_is_no_answer_unless_the_type_says_more() {
        for line in [&b"image/png"[..], b"Image/SVG+xml ;charset=utf-8", b" video/mp4"] {
            assert!(declared(&[line]).is_unrelated, "{}", String::from_utf8_lossy(line));
        }
        for lines in [
            &[][..],
            &[""],
            &["text/plain"],
            &["application/octet-stream"],
            &["application/json"],
            &["image/svg+json"],
            &["text/html"],
            &["image/png, text/plain"],
            &["image/png", "text/plain"],
            &["image/png", "application/json"],
            &["image/png application/json"],
        ] {
            let lines: Vec<_> = lines.iter().map(|line: &&str| line.as_bytes()).collect();
            assert!(!declared(&lines).is_unrelated, "{lines:?}");
        }
    }

    /// `+` says nothing beside the status, `{` an object, `=` a form, `!` broken: as JSON, and untyped.
    #[test]
    fn every_body_is_what_it_looks_like() {
        let json = Declared { json: true, ..Declared::default() };
        for (body, expected) in [
            (&b""[..], "++"),
            (b" \r\n", "++"),
            (b"{\"result\":\"deny\"}", "{{"),
            (b"\xef\xbb\xbf {\"result\":\"deny\"}", "{{"),
            (b"\xef\xbb\xbf", "!+"),
            (b"\xef\xbb\xbf\xef\xbb\xbf{}", "!!"),
            (b" \xef\xbb\xbf{}", "!!"),
            (b"\x0b{}", "!!"),
            (b"\xc2\xa0{}", "!!"),
            (b"\xa0{}", "!!"),
            (b"\xff\xfe{\0}\0", "!!"),
            (b"\0{\0}", "!!"),
            (b";{}", "!+"),
            (b"/**/{}", "!+"),
            (b")]}',\n{}", "!+"),
            (b"<br />Warning: x{}", "!+"),
            (b"<html><a href=\"?result=deny\">", "!+"),
            (b"denied", "!+"),
            (b"ok", "!+"),
            (b"deny", "!!"),
            (b"Ignore\n", "!!"),
            (b"\"deny\"", "!!"),
            (b"[\"deny\"]", "!!"),
            (b"[{\"result\":\"deny\"}]", "!!"),
            (b"[INFO] fine", "!+"),
            (b"false", "!!"),
            (b"\"no\"", "!!"),
            (b"true", "++"),
            (b"null", "++"),
            (b"0", "++"),
            (b"-1.5", "++"),
            (b"[]", "++"),
            (b"[ ]", "++"),
            (b"\"OK\"", "++"),
            (b"\"Allowed\"", "++"),
            (b"result=deny", "!="),
            (b"a=1&result=deny\n", "!="),
            (b"res%75lt=deny", "!="),
        ] {
            let found: String = [json, Declared::default()]
                .map(|declared| match read(declared, body) {
                    Ok(ResponseBody::Unrelated) => '+',
                    Ok(ResponseBody::Object) => '{',
                    Ok(ResponseBody::Form(pairs)) if pairs.is_empty() => '+',
                    Ok(ResponseBody::Form(_)) => '=',
                    Err(_) => '!',
                })
                .iter()
                .collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_form_is_unescaped() {
        let form = Declared { form: true, ..Declared::default() };
        let Ok(ResponseBody::Form(pairs)) = read(form, b"x=1&res%75lt=d%65ny+%&ttl") else {
            panic!()
        };
        assert_eq!(pairs, [("result".to_owned(), "deny %".to_owned())]);
    }
}
