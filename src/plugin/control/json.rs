//! JSON in which nothing is said twice: of two values for one key one reader takes the first, and another
//! the last.

#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// # Errors
/// It is no JSON, or a key stands twice in one object.
pub(crate) fn read(text: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Once.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value, and what is in it.
#[derive(Clone, Copy)]
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "{key:?} is there twice; allowed: once"
                )));
            }
            let value = object.next_value_seed(self)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads_but_nothing_twice() {
        for text in [
            "null",
            "true",
            "-1",
            "1.5",
            "18446744073709551615",
            r#""a\u00e9\n""#,
            "[]",
            "[1,[2]]",
            "{}",
            r#"{"a":{"b":[{}, "c"]},"b":null}"#,
            "",
            "{",
            "[1,]",
            "{} {}",
            "nul",
            r#"{"a"}"#,
            "{1:2}",
            "\u{feff}{}",
        ] {
            let expected: serde_json::Result<Value> = serde_json::from_str(text);
            assert_eq!(read(text.as_bytes()).ok(), expected.ok(), "{text}");
        }
        let deep = "[".repeat(1000);
        assert!(read(deep.as_bytes()).is_err());
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":1}}]"#] {
            let problem = read(text.as_bytes()).unwrap_err().to_string();
            assert!(problem.contains("\"a\" is there twice; allowed: once"), "{problem}");
        }
    }
}
