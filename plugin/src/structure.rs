//! The two forms in which a host hands over a configuration: JSON text (from a
//! `google.protobuf.StringValue`), or the bytes of a `google.protobuf.Struct`, which Envoy passes on
//! as they are.

use prost::Message;
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Number, Value};

/// Reads a configuration in either form. JSON that does not parse is reported as JSON.
///
/// # Errors
/// What is wrong with the JSON.
pub fn read(configuration: &[u8]) -> Result<Value, serde_json::Error> {
    // No Struct is JSON: its keys stand behind length bytes, not in quotes.
    serde_json::from_slice(configuration).or_else(|error| match Struct::decode(configuration) {
        Ok(fields) if !fields.fields.is_empty() && !fields.fields.contains_key("") => {
            Ok(object(fields))
        }
        _ => Err(error),
    })
}

fn object(fields: Struct) -> Value {
    Value::Object(
        fields
            .fields
            .into_iter()
            .map(|(name, field)| (name, value(field)))
            .collect::<Map<_, _>>(),
    )
}

fn value(value_: prost_types::Value) -> Value {
    match value_.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => self::number(number),
        Some(Kind::StructValue(fields)) => object(fields),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(value).collect()),
    }
}

/// A Struct knows doubles only; whole ones become integers again, as they were written.
fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)] // checked on the line above
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(kind: Kind) -> prost_types::Value {
        prost_types::Value { kind: Some(kind) }
    }

    #[test]
    fn both_forms_read_the_same() {
        let inner = Struct {
            fields: [("seconds".to_owned(), field(Kind::NumberValue(25.0)))].into(),
        };
        let list = prost_types::ListValue {
            values: vec![
                field(Kind::StringValue("*".to_owned())),
                field(Kind::BoolValue(true)),
                field(Kind::NullValue(0)),
            ],
        };
        let message = Struct {
            fields: [
                (
                    "zone".to_owned(),
                    field(Kind::StringValue("demo".to_owned())),
                ),
                ("sts".to_owned(), field(Kind::StructValue(inner))),
                ("hosts".to_owned(), field(Kind::ListValue(list))),
                ("half".to_owned(), field(Kind::NumberValue(0.5))),
            ]
            .into(),
        };
        let expected = json!({"zone": "demo", "sts": {"seconds": 25}, "hosts": ["*", true, null], "half": 0.5});
        assert_eq!(read(&message.encode_to_vec()).unwrap(), expected);
        assert_eq!(read(format!("\n{expected}").as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_neither_is_an_error() {
        for bytes in [
            &b""[..],
            b"{",
            b"\n{",
            b"\n{\"zone\": }",
            b"zone: demo",
            b"\x0a\xff\xff",
            &[0x0a; 40],
        ] {
            assert!(read(bytes).is_err(), "{bytes:?} passed");
        }
    }
}
