//! Reads JSON piece by piece. Of what nobody asked for nothing is kept, so that an answer takes no more
//! memory than what it says; and what is asked for may be said once only, since of two values for one
//! key one reader takes the first, and another the last.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is wrong with JSON, in words.
pub(crate) type Problem = String;

/// A value that is not taken apart.
#[derive(Debug)]
pub(crate) enum Whole<'de> {
    Null,
    Flag(bool),
    Natural(u64),
    Negative(i64),
    Fraction(f64),
    Text(Cow<'de, str>),
    Array {
        is_empty: bool,
    },
    Object,
    /// What has been read already, as it is shown.
    Shown(String),
}

/// What becomes of a value. Without a word about arrays and objects, those are passed over.
pub(crate) trait Read<'de>: Sized {
    type Value;

    /// A value that is not taken apart.
    ///
    /// # Errors
    /// It is not what it should be.
    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Self::Value, E>;

    /// # Errors
    /// It is not what it should be.
    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let is_empty = array.next_element::<IgnoredAny>()?.is_none();
        while array.next_element::<IgnoredAny>()?.is_some() {}
        self.whole(Whole::Array { is_empty })
    }

    /// # Errors
    /// It is not what it should be.
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.whole(Whole::Object)
    }
}

/// Reads an object's members, by the names that are known.
pub(crate) trait Members<'de> {
    /// The name as it is known; none if it is not.
    fn known(&self, name: &str) -> Option<&'static str>;

    /// Whether it may be there twice, since it decides nothing and is only shown.
    fn may_repeat(&self, _known: &str) -> bool {
        false
    }

    /// Takes the value that stands under this name.
    ///
    /// # Errors
    /// It is not what it should be.
    fn take<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        object: &mut A,
    ) -> Result<(), A::Error>;
}

/// Reads all members of an object.
///
/// # Errors
/// One is not what it should be, or is there twice.
pub(crate) fn members<'de, A: MapAccess<'de>>(
    mut object: A,
    members: &mut impl Members<'de>,
) -> Result<(), A::Error> {
    let mut taken = Vec::new();
    while let Some(Name(name)) = object.next_key_seed(ReadName)? {
        let Some(known) = members.known(&name) else {
            object.next_value::<IgnoredAny>()?;
            continue;
        };
        if !taken.contains(&known) {
            taken.push(known);
        } else if !members.may_repeat(known) {
            return Err(A::Error::custom(twice(known)));
        }
        members.take(known, &mut object)?;
    }
    Ok(())
}

/// What is wrong with a name that is there twice.
#[must_use]
pub(crate) fn twice(name: &str) -> Problem {
    format!("\"{name}\" is there twice; allowed: once")
}

/// An object whose members say something.
pub(crate) struct Object<'a, M>(pub &'a mut M);

impl<'de, M: Members<'de>> Read<'de> for Object<'_, M> {
    type Value = ();

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<(), E> {
        Err(E::custom(format_args!("{value} is no JSON object")))
    }

    fn object<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        members(object, self.0)
    }
}

/// The text of an object; none if it does not even begin like one.
///
/// # Errors
/// It is no text, so that nobody can tell what it says.
pub(crate) fn object(body: &[u8]) -> Result<Option<&str>, Problem> {
    let text = text(body)?;
    Ok(text.trim_ascii_start().starts_with('{').then_some(text))
}

/// Reads any value; of an array and an object what they are.
///
/// # Errors
/// It is no JSON.
pub(crate) fn value(body: &[u8]) -> Result<Whole<'_>, Problem> {
    read(text(body)?, Any)
}

/// A value, whatever it is.
struct Any;

impl<'de> Read<'de> for Any {
    type Value = Whole<'de>;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Whole<'de>, E> {
        Ok(value)
    }
}

/// A body as text.
fn text(body: &[u8]) -> Result<&str, Problem> {
    // In UTF-16 every other byte of such text is 0.
    let text = std::str::from_utf8(body).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or("its JSON is broken: it is not UTF-8")?;
    // A byte order mark, as some editors put it before a script, is no part of what the script says
    // (RFC 8259, section 8.1).
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads JSON to its end.
///
/// # Errors
/// It is broken, or not what it should be.
pub(crate) fn read<'de, R: Read<'de>>(json: &'de str, read: R) -> Result<R::Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let value = Seed(read).deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|error| problem(&error))
}

fn problem(error: &serde_json::Error) -> Problem {
    if !error.is_data() {
        return format!("its JSON is broken: {error}");
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    said.strip_suffix(&place).unwrap_or(&said).to_owned()
}

/// Hands a value over to whoever reads it.
pub(crate) struct Seed<R>(pub R);

impl<'de, R: Read<'de>> DeserializeSeed<'de> for Seed<R> {
    type Value = R::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Read<'de>> Visitor<'de> for Seed<R> {
    type Value = R::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<R::Value, E> {
        self.0.whole(Whole::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<R::Value, E> {
        self.0.whole(Whole::Flag(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<R::Value, E> {
        self.0.whole(Whole::Natural(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<R::Value, E> {
        self.0.whole(Whole::Negative(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<R::Value, E> {
        self.0.whole(Whole::Fraction(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<R::Value, E> {
        self.0.whole(Whole::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<R::Value, E> {
        self.0.whole(Whole::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<R::Value, A::Error> {
        self.0.array(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<R::Value, A::Error> {
        self.0.object(object)
    }
}

/// A member's name.
struct Name<'de>(Cow<'de, str>);

struct ReadName;

impl<'de> DeserializeSeed<'de> for ReadName {
    type Value = Name<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for ReadName {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

impl<'de> Whole<'de> {
    pub(crate) fn flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }

    pub(crate) fn natural(&self) -> Option<u64> {
        if let Self::Natural(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// As in JSON, but only the begin of a text; an array and an object by what they are.
impl fmt::Display for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Natural(number) => write!(f, "{number}"),
            Self::Negative(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "{:?}", text.chars().take(60).collect::<String>()),
            Self::Array { .. } => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
            Self::Shown(shown) => f.write_str(shown),
        }
    }
}
