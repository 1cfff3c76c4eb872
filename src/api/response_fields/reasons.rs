//! Why a no is one, and the mode `json`, in which an answer says little else.

#![forbid(unsafe_code)]

use serde::de::MapAccess;

use super::field_path::{FieldPath, one_of, reason as as_reason};
use crate::json::{self, Members, Object, Problem};

/// Reads the body of an answer in the mode `json`: whether it is a yes, and if not, why.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn ok(body: &[u8]) -> Result<(bool, Option<String>), Problem> {
    let object = json::object(body)?.ok_or("the answer is no JSON object")?;
    let mut fields = Okay::default();
    json::read(object, Object(&mut fields))?;
    Ok((fields.ok.unwrap_or(false), fields.reason.or(fields.error)))
}

/// The reason that a body gives which decides nothing; whatever is wrong with it, it gives none.
#[must_use]
pub(crate) fn reason(body: &[u8]) -> Option<String> {
    let mut fields = Reason(None);
    json::read(json::object(body).ok()??, Object(&mut fields)).ok()?;
    fields.0
}

/// The same of a body in the mode `json`, where `error` is a reason as well.
#[must_use]
pub(crate) fn reason_or_error(body: &[u8]) -> Option<String> {
    let mut fields = Okay { ignores_ok: true, ..Okay::default() };
    json::read(json::object(body).ok()??, Object(&mut fields)).ok()?;
    fields.reason.or(fields.error)
}

/// What a body that decides nothing says so far.
struct Reason(Option<String>);

impl<'de> Members<'de> for Reason {
    fn known(&self, name: &str) -> Option<&'static str> {
        one_of(&["reason"], name)
    }

    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        object: &mut A,
    ) -> Result<(), A::Error> {
        self.0 = FieldPath { name, rule: None }.take(object, "", as_reason)?.flatten();
        Ok(())
    }
}

/// What an answer in the mode `json` says so far.
#[derive(Default)]
struct Okay {
    /// Whether something else has decided.
    ignores_ok: bool,
    ok: Option<bool>,
    reason: Option<String>,
    /// The same, by the name that mosquitto-go-auth has for it.
    error: Option<String>,
}

impl<'de> Members<'de> for Okay {
    fn known(&self, name: &str) -> Option<&'static str> {
        // Whoever wrote for these APIs could spell it in any case.
        let ok = (name.eq_ignore_ascii_case("ok") && !self.ignores_ok).then_some("ok");
        ok.or(one_of(&["reason", "error"], name))
    }

    fn may_repeat(&self, known: &str) -> bool {
        known != "ok"
    }

    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        object: &mut A,
    ) -> Result<(), A::Error> {
        let path = FieldPath { name, rule: None };
        if name == "ok" {
            self.ok = path.take(object, "true, false", |value| value.flag())?;
            return Ok(());
        }
        let text = path.take(object, "", as_reason)?.flatten().filter(|text| !text.is_empty());
        let place = if name == "reason" { &mut self.reason } else { &mut self.error };
        // The first that says something.
        *place = place.take().or(text);
        Ok(())
    }
}
