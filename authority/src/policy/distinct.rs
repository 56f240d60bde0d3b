//! Documents in bytes that no other documents have: of each value what kind it is and how long, and then what it is.

use regorus::Value;

use super::telling::{Object, Told};

/// Most that is written, in bytes.
const MAX_BYTES: usize = 4 * 1024;

/// A document, written as it is told.
#[derive(Debug, Default)]
pub(crate) struct Distinct {
    bytes: Vec<u8>,
    /// Whether something could not be written.
    is_cut: bool,
}

impl Distinct {
    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.is_cut = false;
    }

    /// What was written; `None` if it was too long, or of a kind that JSON does not have.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (!self.is_cut).then_some(self.bytes.as_slice())
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes.push(b'0'),
            Value::Bool(flag) => self.flag(*flag),
            // Numbers that are the same in JSON are the same to a policy.
            Value::Number(number) => self.counted(b'n', &number.format_decimal()),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.bytes.push(b'[');
                for item in items.iter() {
                    if self.is_cut {
                        return;
                    }
                    self.value(item);
                }
                self.bytes.push(b']');
            }
            Value::Object(members) => {
                self.bytes.push(b'{');
                for (name, value) in members.iter() {
                    if self.is_cut {
                        return;
                    }
                    self.value(name);
                    self.value(value);
                }
                self.bytes.push(b'}');
            }
            Value::Set(_) | Value::Undefined => self.is_cut = true,
        }
        self.is_cut |= self.bytes.len() > MAX_BYTES;
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(if flag { b't' } else { b'f' });
    }

    fn number(&mut self, kind: u8, number: u64) {
        self.bytes.push(kind);
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.counted(b's', text);
    }

    fn counted(&mut self, kind: u8, text: &str) {
        match u16::try_from(text.len()) {
            Ok(length) if usize::from(length) <= MAX_BYTES => {
                self.bytes.push(kind);
                self.bytes.extend(length.to_le_bytes());
                self.bytes.extend(text.as_bytes());
            }
            _ => self.is_cut = true,
        }
    }
}

impl Object for Distinct {
    fn tell(&mut self, name: &str, what: Told<'_>) {
        if self.is_cut {
            return;
        }
        self.text(name);
        match what {
            Told::Flag(flag) => self.flag(flag),
            Told::Number(number) => self.number(b'u', number),
            Told::Text(text) => self.text(text),
            Told::Value(value) => self.value(&value),
            // Of what it is told is the same for as long as it has this number.
            Told::Resource(resource) => self.number(b'#', resource.number()),
        }
        self.is_cut |= self.bytes.len() > MAX_BYTES;
    }

    fn tell_object(&mut self, name: &str, tell: &mut dyn FnMut(&mut dyn Object)) {
        self.text(name);
        self.bytes.push(b'{');
        tell(self);
        self.bytes.push(b'}');
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
        distinct.value(&Value::from(value));
        distinct.whole().map(<[u8]>::to_vec)
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
        assert!(written(json!("x".repeat(MAX_BYTES - 3))).is_some());
        assert!(written(json!("x".repeat(MAX_BYTES - 2))).is_none());
        assert!(written(json!(vec![1; MAX_BYTES])).is_none());
        assert!(written(json!({"a": vec!["x".repeat(1_000); 5]})).is_none());
        let mut distinct = Distinct::default();
        for _ in 0..2 {
            distinct.tell("a", Told::Text(&"x".repeat(MAX_BYTES)));
            distinct.tell("b", Told::Flag(true));
            assert!(distinct.whole().is_none(), "what came later was short");
            distinct.clear();
            distinct.tell("b", Told::Flag(true));
            assert!(distinct.whole().is_some());
        }
    }

    #[test]
    fn what_is_told_is_not_what_is_told_otherwise() {
        type Tell = fn(&mut Distinct);
        let told: [Tell; 10] = [
            |_| {},
            |told| told.tell("a", Told::Text("b")),
            |told| told.tell("b", Told::Text("b")),
            |told| told.tell("a", Told::Number(0)),
            |told| told.tell_object("b", &mut |_| {}),
            |told| told.tell_object("a", &mut |_| {}),
            |told| told.tell_object("a", &mut |inner| inner.tell("b", Told::Flag(true))),
            |told| {
                told.tell_object("a", &mut |_| {});
                told.tell("b", Told::Flag(true));
            },
            |told| {
                told.tell("a", Told::Flag(true));
                told.tell("b", Told::Flag(true));
            },
            |told| told.tell("a", Told::Flag(false)),
        ];
        let distinct: HashSet<Vec<u8>> = told
            .iter()
            .map(|tell| {
                let mut distinct = Distinct::default();
                tell(&mut distinct);
                distinct.whole().unwrap().to_vec()
            })
            .collect();
        assert_eq!(distinct.len(), told.len());
    }
}
