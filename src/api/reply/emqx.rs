//! What the body of a 200 says to EMQX.

#![forbid(unsafe_code)]

use super::{Kind, Problem, Response, ResponseFields, Syntax};
use crate::answer::Verdict;
use crate::api::response_body::{self, MediaType};
use crate::json::{self, Whole};

const NOTHING: &str = "compat emqx: the answer says nothing";
const NO_RESULT: &str = "compat emqx: the answer has no \"result\"";
const NO_OBJECT: &str = "compat emqx: the answer is no JSON object";
const NO_TYPE: &str = "compat emqx: the answer has no Content-Type";
const OTHER_TYPE: &str = "compat emqx: the answer's Content-Type is neither application/json nor \
                          application/x-www-form-urlencoded";

/// Reads a 200, which is a yes only if it says so. Of an answer without a type, one to a login is no answer, and
/// any other is JSON.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn fields(kind: Kind, response: &Response) -> Result<ResponseFields, Problem> {
    let body = response.body.as_deref().unwrap_or_default();
    if body.trim_ascii().is_empty() {
        return Ok(no(NOTHING));
    }
    let fields = match (response.declared.first, kind) {
        (MediaType::None, Kind::Login) => no(NO_TYPE),
        (MediaType::Other, _) => no(OTHER_TYPE),
        (MediaType::Form, _) => {
            ResponseFields::of_form(response_body::pairs(body), kind, Syntax::Emqx)?
        }
        (MediaType::Json | MediaType::None, _) => match json::value(body)? {
            Whole::Object => ResponseFields::read(body, kind, Syntax::Emqx)?,
            _ => no(NO_OBJECT),
        },
    };
    match fields.verdict {
        Some(_) => Ok(fields),
        None => Ok(ResponseFields { ttl: fields.ttl, ..no(NO_RESULT) }),
    }
}

fn no(why: &str) -> ResponseFields {
    let (verdict, reason) = (Some(Verdict::Deny), Some(why.to_owned()));
    ResponseFields { verdict, reason, ..ResponseFields::default() }
}

#[cfg(test)]
mod tests;
