//! Values in bytes that no other values have: of each what kind it is and how long, and then what it is.

use regorus::Value;

/// Most that is written, in bytes.
const MAX_BYTES: usize = 4 * 1024;

/// Values one after the other.
#[derive(Debug, Default)]
pub(super) struct Distinct(Vec<u8>);

impl Distinct {
    /// Writes a value; `None` if it is too long, or of a kind that JSON does not have.
    pub(super) fn value(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Null => self.0.push(b'0'),
            Value::Bool(false) => self.0.push(b'f'),
            Value::Bool(true) => self.0.push(b't'),
            // Numbers that are the same in JSON are the same to a policy.
            Value::Number(number) => self.text(b'n', &number.format_decimal())?,
            Value::String(text) => self.text(b's', text)?,
            Value::Array(items) => {
                self.count(b'a', items.len())?;
                items.iter().try_for_each(|item| self.value(item))?;
            }
            Value::Object(members) => {
                self.count(b'o', members.len())?;
                for (name, value) in members.iter() {
                    self.value(name)?;
                    self.value(value)?;
                }
            }
            Value::Set(_) | Value::Undefined => return None,
        }
        (self.0.len() <= MAX_BYTES).then_some(())
    }

    /// Writes what stands for a value.
    pub(super) fn number(&mut self, number: u64) {
        self.0.push(b'#');
        self.0.extend(number.to_le_bytes());
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn text(&mut self, kind: u8, text: &str) -> Option<()> {
        if text.len() > MAX_BYTES {
            return None;
        }
        self.count(kind, text.len())?;
        self.0.extend(text.as_bytes());
        Some(())
    }

    fn count(&mut self, kind: u8, count: usize) -> Option<()> {
        self.0.push(kind);
        self.0.extend(u32::try_from(count).ok()?.to_le_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn written(value: serde_json::Value) -> Option<Vec<u8>> {
        let mut distinct = Distinct::default();
        distinct.value(&Value::from(value))?;
        Some(distinct.into_bytes())
    }

    #[test]
    fn values_that_differ_are_written_otherwise() {
        let values = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(-1),
            json!(0.1),
            json!(1e300),
            json!(u64::MAX),
            json!("null"),
            json!("0"),
            json!(""),
            json!("ab"),
            json!(["ab"]),
            json!(["a", "b"]),
            json!([["a"], "b"]),
            json!([["a", "b"]]),
            json!([]),
            json!([[]]),
            json!([[], []]),
            json!({}),
            json!({"a": "b"}),
            json!({"a": ["b"]}),
            json!({"a": {"b": "c"}}),
            json!({"a": {}, "b": "c"}),
            json!({"ab": ""}),
            json!({"a": "", "b": ""}),
        ];
        let distinct: HashSet<Vec<u8>> = values
            .iter()
            .map(|value| written(value.clone()).unwrap())
            .collect();
        assert_eq!(distinct.len(), values.len());
        // None begins as another does, so that those of two in a row cannot be those of another two.
        for one in &distinct {
            assert!(
                !distinct
                    .iter()
                    .any(|other| other != one && other.starts_with(one))
            );
        }
        assert_eq!(
            written(json!({"a": 1, "b": 2})),
            written(json!({"b": 2, "a": 1}))
        );
    }

    #[test]
    fn what_is_long_is_not_written() {
        assert!(written(json!("x".repeat(MAX_BYTES - 5))).is_some());
        assert!(written(json!("x".repeat(MAX_BYTES - 4))).is_none());
        assert!(written(json!(vec![1; MAX_BYTES])).is_none());
        assert!(written(json!({"a": vec!["x".repeat(1_000); 5]})).is_none());
    }
}
