//! Reads the bodies of responses, and no more of them than is worth it.

#![forbid(unsafe_code)]

use std::io::{self, Read};

use ureq::Body;

use crate::answer::Failure;
use crate::api::error_map::{self, broken_off};
use crate::api::observer::{self, BodySink, WireEvent};
use crate::api::{response_body, response_fields};

/// How long a body may be: ten thousand rules fit in. What is longer is not read to its end, and an
/// answer that is not complete is none.
const BODY_BYTES: u64 = 4 * 1024 * 1024;

/// How much is looked at of a body that says nothing.
const BEGINNING_BYTES: u64 = 2048;

/// `may_end` is whether the end of the connection is to be its end. Over TLS that must have been
/// announced, unless nothing can be missing: an object that is complete has no more to say. `must_say`
/// is whether the body is said to be one that says something.
pub(crate) fn read_whole(body: Body, may_end: bool, must_say: bool) -> Result<Vec<u8>, Failure> {
    refuse_longer(body.content_length())?;
    let mut whole = Vec::new();
    // One byte more than allowed tells that there is more.
    match body.into_reader().take(BODY_BYTES + 1).read_to_end(&mut whole) {
        Ok(_) => {}
        Err(error) if may_end && error_map::is_unannounced_end(&error) => {
            let is_text = !must_say && !response_body::begins_as_object(&whole);
            if !is_text && !response_fields::is_whole(&whole) {
                return Err(broken_off(error));
            }
        }
        Err(error) => return Err(broken_off(error)),
    }
    observer::note(WireEvent::Body(&whole));
    observer::note(WireEvent::End);
    refuse_longer(Some(whole.len() as u64))?;
    Ok(whole)
}

/// Reads the body away, so that the connection can be used again and a broken answer is noticed;
/// returns its beginning. Of what says nothing nothing can be missing, so that one that is to end with
/// the connection may end with it, announced or not.
pub(crate) fn read_away(body: Body, may_end: bool) -> Result<Vec<u8>, Failure> {
    refuse_longer(body.content_length())?;
    let mut beginning = Vec::new();
    let mut reader = body.into_reader().take(BODY_BYTES + 1);
    let read = reader.by_ref().take(BEGINNING_BYTES).read_to_end(&mut beginning);
    observer::note(WireEvent::Body(&beginning));
    let rest = match read.and_then(|_| io::copy(&mut reader, &mut BodySink)) {
        Ok(rest) => rest,
        Err(error) if may_end && error_map::is_unannounced_end(&error) => 0,
        Err(error) => return Err(broken_off(error)),
    };
    refuse_longer(Some(beginning.len() as u64 + rest))?;
    observer::note(WireEvent::End);
    Ok(beginning)
}

fn refuse_longer(length: Option<u64>) -> Result<(), Failure> {
    match length {
        Some(length) if length > BODY_BYTES => {
            let problem = format!("its body is longer than {BODY_BYTES} bytes");
            Err(Failure::BrokenAnswer(problem))
        }
        _ => Ok(()),
    }
}
