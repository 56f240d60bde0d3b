//! The JSON Canonicalization Scheme (RFC 8785): the one form of a document that is hashed.

use std::fmt::Write;

use serde_json::{Number, Value};

/// Largest integer that a double holds exactly together with its neighbours.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// `value` in canonical form (RFC 8785).
pub fn canonical(value: &Value) -> String {
    let mut text = String::with_capacity(512);
    write(&mut text, value);
    text
}

fn write(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(text, number),
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(text, item);
            }
            text.push(']');
        }
        Value::Object(members) => {
            // Section 3.2.3: by UTF-16 code units, which differs from the order of Rust's strings only
            // past the basic plane.
            let mut members: Vec<_> = members.iter().collect();
            let in_order = members.is_sorted_by_key(|(name, _)| *name);
            if !in_order || !members.iter().all(|(name, _)| name.is_ascii()) {
                members
                    .sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            }
            text.push('{');
            for (place, (name, value)) in members.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_string(text, name);
                text.push(':');
                write(text, value);
            }
            text.push('}');
        }
    }
}

/// Section 3.2.2.2.
pub(super) fn write_string(text: &mut String, string: &str) {
    text.push('"');
    let mut plain_from = 0;
    for (place, byte) in string.bytes().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            b'\t' => "\\t",
            b'\n' => "\\n",
            0x0c => "\\f",
            b'\r' => "\\r",
            0..=0x1f => "",
            _ => continue,
        };
        text.push_str(string.get(plain_from..place).unwrap_or_default());
        text.push_str(escaped);
        if escaped.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\u{byte:04x}");
        }
        plain_from = place + 1;
    }
    text.push_str(string.get(plain_from..).unwrap_or_default());
    text.push('"');
}

/// Section 3.2.2.3: every number is a double, written as ECMAScript does.
fn write_number(text: &mut String, number: &Number) {
    let safe = match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => number <= MAX_SAFE_INTEGER,
        (None, Some(number)) => number.unsigned_abs() <= MAX_SAFE_INTEGER,
        (None, None) => false,
    };
    if safe {
        let _ = write!(text, "{number}");
    } else {
        write_double(text, number.as_f64().unwrap_or_default());
    }
}

/// ECMA-262, Number::toString, from the shortest digits that read back as the same double.
fn write_double(text: &mut String, number: f64) {
    if number == 0.0 {
        text.push('0');
        return;
    }
    if number < 0.0 {
        text.push('-');
    }
    let (digits, exponent) = shortest(number.abs());
    let count = i32::try_from(digits.len()).unwrap_or_default();
    // The decimal point stands after so many digits.
    let point = exponent + 1;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    if count <= point && point <= 21 {
        text.push_str(&digits);
        text.push_str(&zeros(point - count));
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
        text.push_str(whole);
        text.push('.');
        text.push_str(fraction);
    } else if -6 < point && point <= 0 {
        text.push_str("0.");
        text.push_str(&zeros(-point));
        text.push_str(&digits);
    } else {
        let (first, rest) = digits.split_at(1);
        text.push_str(first);
        if !rest.is_empty() {
            text.push('.');
            text.push_str(rest);
        }
        let _ = write!(text, "e{exponent:+}");
    }
}

/// The shortest digits of a positive double, of two the even one, and the exponent of the first. The
/// formatting of the standard library takes the greater one.
fn shortest(number: f64) -> (String, i32) {
    let text = Value::from(number).to_string();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let zeros = all.len() - significant.len();
    let places = |count: usize| i32::try_from(count).unwrap_or_default();
    let first = exponent + places(whole.len()) - 1 - places(zeros);
    (significant.trim_end_matches('0').to_owned(), first)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn numbers_are_written_as_in_the_rfc() {
        // RFC 8785 appendix B.
        for (bits, expected) in [
            (0x0000000000000000, "0"),
            (0x8000000000000000, "0"),
            (0x0000000000000001, "5e-324"),
            (0x8000000000000001, "-5e-324"),
            (0x7fefffffffffffff, "1.7976931348623157e+308"),
            (0x4340000000000000, "9007199254740992"),
            (0x4430000000000000, "295147905179352830000"),
            (0x44b52d02c7e14af5, "9.999999999999997e+22"),
            (0x44b52d02c7e14af6, "1e+23"),
            (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
            (0x444b1ae4d6e2ef4e, "999999999999999700000"),
            (0x444b1ae4d6e2ef4f, "999999999999999900000"),
            (0x444b1ae4d6e2ef50, "1e+21"),
            (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
            (0x3eb0c6f7a0b5ed8d, "0.000001"),
            (0x41b3de4355555553, "333333333.3333332"),
            (0x41b3de4355555555, "333333333.3333333"),
            (0xbecbf647612f3696, "-0.0000033333333333333333"),
            (0x43143ff3c1cb0959, "1424953923781206.2"),
        ] {
            let number = Value::from(f64::from_bits(bits));
            assert_eq!(canonical(&number), expected, "{bits:x}");
        }
        assert_eq!(canonical(&Value::from(u64::MAX)), "18446744073709552000");
        assert_eq!(canonical(&Value::from(-7)), "-7");
        assert_eq!(
            canonical(&Value::from(9_007_199_254_740_991_u64)),
            "9007199254740991"
        );
    }

    #[test]
    fn members_and_strings_are_written_as_in_the_rfc() {
        // RFC 8785 sections 3.2.2 and 3.2.3.
        let document = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
            "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let names: Vec<String> =
            serde_json::from_str::<serde_json::Map<String, Value>>(&canonical(&parsed(document)))
                .map(|members| members.keys().cloned().collect())
                .unwrap();
        assert_eq!(names.len(), 7);
        let text = canonical(&parsed(document));
        let place = |name: &str| text.find(&format!("\"{name}\":")).unwrap();
        let order = [
            "\\r",
            "1",
            "\u{80}",
            "\u{f6}",
            "\u{20ac}",
            "\u{1f600}",
            "\u{fb33}",
        ];
        assert!(order.is_sorted_by_key(|name| place(name)), "{text}");
        let literals = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
            "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        assert_eq!(
            canonical(&parsed(literals)),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
    }

    #[test]
    fn what_was_written_is_read_and_written_the_same() {
        // Doubles of every size, all of which take 16 or 17 digits.
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let text = canonical(&Value::from(number));
                assert_eq!(canonical(&parsed(&text)), text, "{bits:x}");
            }
        }
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }
}
