//! What a login's answer says of the client beside its name.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::de::{Error, MapAccess};

use super::field_path::FieldPath;
use crate::json::{Read, Whole};
use crate::question::{Attributes, MOST_ATTRIBUTES};

/// An object of texts; none of `null`.
pub(crate) struct ReadAttributes(pub FieldPath);

const ALLOWED: &str = "an object of at most 32 texts, each with a name and of at most 255 bytes";

impl<'de> Read<'de> for ReadAttributes {
    type Value = Option<Attributes>;

    fn whole<E: Error>(self, value: Whole<'de>) -> Result<Option<Attributes>, E> {
        match value {
            Whole::Null => Ok(None),
            value => Err(self.0.problem(&value, ALLOWED)),
        }
    }

    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Option<Attributes>, A::Error> {
        let mut pairs = BTreeMap::new();
        let wrong = || self.0.problem(&Whole::Object, ALLOWED);
        while let Some(name) = object.next_key::<String>()? {
            let text = |value: &Whole<'_>| value.text().map(str::to_owned);
            let value = object.next_value_seed(self.0.one(ALLOWED, text))?;
            if pairs.insert(name, value).is_some() {
                let name = self.0.name;
                return Err(A::Error::custom(format_args!(
                    "\"{name}\" has a name that is there twice; allowed: once"
                )));
            }
            if pairs.len() > MOST_ATTRIBUTES {
                return Err(wrong());
            }
        }
        Attributes::new(pairs).map(Some).ok_or_else(wrong)
    }
}
