//! Regular expressions: OPA's are RE2's, ours are those of the `regex` crate. Where the two write the
//! same thing, or nearly, a pattern is taken; where they differ, it is refused.

use regorus::unstable::Expr;

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// Builtins with a pattern, and which argument it is.
pub(super) const WITH_PATTERN: [(&str, usize); 6] = [
    ("regex.match", 0),
    ("regex.split", 0),
    ("regex.find_n", 0),
    ("regex.find_all_string_submatch_n", 0),
    ("regex.replace", 1),
    ("regex.is_valid", 0),
];

/// The pattern that stands in `expr`, as the `regex` crate means what RE2 means.
///
/// # Errors
/// What is wrong with it, as a sentence's end.
pub(super) fn translate(expr: &Expr) -> Result<String, String> {
    let (Expr::String { value, .. } | Expr::RawString { value, .. }) = expr else {
        return Err("a pattern has to stand there as a string".to_owned());
    };
    let pattern = value
        .as_string()
        .map(|text| text.to_string())
        .unwrap_or_default();
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "a pattern of {} bytes, {MAX_PATTERN_BYTES} at most",
            pattern.len()
        ));
    }
    let translated = classes(&pattern)?;
    regex::RegexBuilder::new(&translated)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!(
                "the pattern is not valid: {}",
                last.trim_start_matches("error: ")
            )
        })?;
    Ok(translated)
}

/// Spells out RE2's classes, which are ASCII, and refuses what the two read differently.
fn classes(pattern: &str) -> Result<String, String> {
    let refused = |what: &str| Err(format!("{what} in a pattern is not supported"));
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    let mut in_class = false;
    let mut class_start = false;
    while let Some(character) = characters.next() {
        let first_in_class = std::mem::take(&mut class_start);
        match character {
            '\\' => match characters.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if in_class {
                    "0-9A-Za-z_"
                } else {
                    "[0-9A-Za-z_]"
                }),
                Some('s') => out.push_str(if in_class {
                    r"\t\n\f\r\x20"
                } else {
                    r"[\t\n\f\r\x20]"
                }),
                Some('D') if !in_class => out.push_str("[^0-9]"),
                Some('W') if !in_class => out.push_str("[^0-9A-Za-z_]"),
                Some('S') if !in_class => out.push_str(r"[^\t\n\f\r\x20]"),
                Some('b') if !in_class && characters.peek() != Some(&'{') => {
                    out.push_str(r"(?-u:\b)");
                }
                Some('<' | '>') => return refused(r"\< and \>"),
                Some(other @ ('A' | 'z' | 'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x')) => {
                    out.push('\\');
                    out.push(other);
                }
                Some(other) if other.is_ascii_punctuation() => {
                    out.push('\\');
                    out.push(other);
                }
                Some(other) => return refused(&format!(r"\{other}")),
                None => return refused(r"a trailing \"),
            },
            '[' if !in_class => {
                in_class = true;
                class_start = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            '[' => {
                if characters.peek() != Some(&':') {
                    return refused("[ inside a class, without \\,");
                }
                // A class with a name, such as [:alpha:].
                out.push('[');
                for inner in characters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            ']' if in_class && first_in_class => out.push_str(r"\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '-' | '~' if in_class && characters.peek() == Some(&character) => {
                return refused(&format!("{character}{character} inside a class"));
            }
            '(' if !in_class && characters.peek() == Some(&'?') => {
                out.push('(');
                let mut flags = String::new();
                while let Some(flag) =
                    characters.next_if(|next| !matches!(next, ':' | ')' | '<' | 'P'))
                {
                    flags.push(flag);
                }
                if !flags
                    .chars()
                    .all(|flag| matches!(flag, '?' | 'i' | 'm' | 's' | 'U' | '-'))
                {
                    return refused(&format!("({flags}"));
                }
                out.push_str(&flags);
            }
            other => out.push(other),
        }
    }
    Ok(out)
}
