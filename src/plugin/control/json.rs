//! JSON in which nothing is said twice: of two values for one key one reader takes the first, and another
//! the last.

#![forbid(unsafe_code)]

use serde::de::{DeserializeSeed as _, Error, MapAccess, SeqAccess};
use serde_json::{Map, Value};

use crate::json::{Read, Seed, Whole};

/// # Errors
/// It is no JSON, or a key stands twice in one object.
pub(crate) fn read(text: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed(Once).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value, and what is in it.
#[derive(Clone, Copy)]
struct Once;

impl<'de> Read<'de> for Once {
    type Value = Value;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Value, E> {
        Ok(match value {
            Whole::Flag(flag) => flag.into(),
            Whole::Natural(number) => number.into(),
            Whole::Negative(number) => number.into(),
            Whole::Fraction(number) => number.into(),
            Whole::Text(text) => text.into(),
            // Arrays and objects are taken apart.
            Whole::Null | Whole::Array { .. } | Whole::Object | Whole::Shown(_) => Value::Null,
        })
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(Seed(self))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "{key:?} is there twice; allowed: once"
                )));
            }
            let value = object.next_value_seed(Seed(self))?;
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
