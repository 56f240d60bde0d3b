//! Claims as a policy sees them: those that it reads.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use regorus::Value;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::policy::Reads;

/// Whether `payload` is JSON of which [`read`] can make all. What nobody asks for is otherwise passed over without a
/// look at it.
pub(super) fn check(payload: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str(payload).map(|Checked| ())
}

/// Reads of `payload`, a JSON object, as much as is read of it.
pub(super) fn read(payload: &str, reads: &Reads) -> Result<Value, serde_json::Error> {
    ReadOf(reads).deserialize(&mut serde_json::Deserializer::from_str(payload))
}

struct ReadOf<'r>(&'r Reads);

/// A text where it stands, if it was written without escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for ReadOf<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadOf<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut claims: A) -> Result<Value, A::Error> {
        let mut read = BTreeMap::new();
        while let Some(Text(name)) = claims.next_key()? {
            if self.0.member(&name).is_some() {
                read.insert(Value::from(&*name), claims.next_value()?);
            } else {
                claims.next_value::<IgnoredAny>()?;
            }
        }
        Ok(read.into())
    }
}

/// Any value, looked at and not kept.
pub(super) struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while let Some(Self) = items.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while let Some((Self, Self)) = members.next_entry()? {}
        Ok(self)
    }
}
