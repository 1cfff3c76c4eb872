//! A request's body as it may be shown: field by field in the order sent, without the password.
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// A body that is no JSON object is not shown at all: there is no telling where in it a password may be.
pub fn body(bytes: &[u8]) -> String {
    serde_json::from_slice(bytes)
        .map_or_else(|_| format!("({} bytes, not a JSON object)", bytes.len()), |Object(text)| text)
}

/// Read by hand, because a `Value` would sort the fields and keep only the last of two with one name.
struct Object(String);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Object, M::Error> {
        let mut shown = Vec::new();
        while let Some((name, value)) = fields.next_entry::<String, Value>()? {
            let value = if name == "password" { Value::from("•••") } else { value };
            shown.push(format!("{}:{value}", Value::from(name)));
        }
        Ok(Object(format!("{{{}}}", shown.join(","))))
    }
}
