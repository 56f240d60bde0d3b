//! Names that people give to things, and the slugs made from them.

use uuid::Uuid;

use crate::error::{Error, Result};

/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 120;
/// Longest slug: as long as a label of a host name.
const MAX_SLUG_BYTES: usize = 63;

/// `text` as a name: trimmed, not empty, not too long, printable.
pub(crate) fn name(text: &str) -> Result<String> {
    let name = text.trim();
    let long = name.chars().nth(MAX_NAME_CHARS).is_some();
    if name.is_empty() || long || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "name: expected 1 to {MAX_NAME_CHARS} printable characters"
        )));
    }
    Ok(name.to_owned())
}

/// `text` as a slug. None parses as an id, so that both can stand in the same place.
pub(crate) fn slug(text: &str) -> Result<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > MAX_SLUG_BYTES || !text.bytes().all(allowed) {
        return Err(Error::invalid(format!(
            "slug: expected 1 to {MAX_SLUG_BYTES} characters out of a-z, 0-9 and -"
        )));
    }
    if Uuid::try_parse(text).is_ok() {
        return Err(Error::invalid(
            "slug: looks like an id; choose one that does not",
        ));
    }
    Ok(text.to_owned())
}

/// A slug from a name: `My Zone!` becomes `my-zone`.
pub(crate) fn slug_from(name: &str) -> Result<String> {
    let words: Vec<String> = name
        .to_ascii_lowercase()
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let mut text = words.join("-");
    text.truncate(MAX_SLUG_BYTES);
    slug(text.trim_end_matches('-')).map_err(|_| {
        Error::invalid("slug: none can be made from this name; give one out of a-z, 0-9 and -")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_made_from_a_name_and_never_looks_like_an_id() {
        assert_eq!(slug_from("  My Zone! 2").unwrap(), "my-zone-2");
        assert_eq!(slug_from(&"ab ".repeat(40)).unwrap().len(), 62);
        assert!(slug_from("\u{5348}").is_err());
        assert!(slug_from("0190f5fe-7c4e-7a3b-8d2c-1f0e9a8b7c6d").is_err());
        for bad in [
            "",
            "A",
            "a_b",
            "a b",
            "../x",
            "0190f5fe7c4e7a3b8d2c1f0e9a8b7c6d",
        ] {
            assert!(slug(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_name_is_printable_and_not_empty() {
        assert_eq!(name(" Demo ").unwrap(), "Demo");
        for bad in ["", "  ", "a\nb", &"x".repeat(121)] {
            assert!(name(bad).is_err(), "{bad:?} passed");
        }
    }
}
