//! The path of a request in its one plain form. A path that gateway and upstream might read
//! differently is refused, not repaired: whatever is forwarded is what was decided on.

use std::fmt;

/// Longest path that is looked at, in bytes, query not counted.
pub const MAX_PATH_BYTES: usize = 8192;

/// A path, percent-decoded once, without dot segments, empty segments, backslashes, parameters or
/// control characters, and without the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath(String);

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Does not begin with a slash.
    #[error("the path does not begin with /")]
    NotAbsolute,
    /// Over [`MAX_PATH_BYTES`].
    #[error("the path is over {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// `%` without two hexadecimal digits.
    #[error("the path has a % without two hexadecimal digits")]
    BadEscape,
    /// A character that servers read in different ways, plain or percent-encoded.
    #[error("the path has {0:?}, plain or percent-encoded, which servers read in different ways")]
    AmbiguousCharacter(char),
    /// `.` or `..` as a segment.
    #[error("the path has a dot segment")]
    DotSegment,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// Percent-decodes to something that is no UTF-8, or holds raw bytes above 0x7e.
    #[error("the path is not UTF-8 in percent-encoding")]
    NotUtf8,
}

impl NormalPath {
    /// Reads the target of a request (RFC 9112 section 3.2.1, origin form) up to its query.
    ///
    /// # Errors
    /// Every variant of [`PathError`].
    pub fn parse(target: &str) -> Result<Self, PathError> {
        let path = target.split_once('?').map_or(target, |(path, _query)| path);
        if !path.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        let decoded = String::from_utf8(decode(path)?).map_err(|_| PathError::NotUtf8)?;
        let mut segments = decoded.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "." | ".." => return Err(PathError::DotSegment),
                "" if segments.peek().is_some() => return Err(PathError::EmptySegment),
                _ => {}
            }
        }
        Ok(Self(decoded))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments: `/a/b/` has `a`, `b` and an empty one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }

    /// Whether the path lies under `prefix`, at the border of a segment.
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.0
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
    }
}

impl fmt::Display for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Percent-decodes once (RFC 3986 section 2.1), refusing what would be read differently after
/// another decoding or by another parser.
fn decode(path: &str) -> Result<Vec<u8>, PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = if byte == b'%' {
            let digits = (bytes.next(), bytes.next());
            let (Some(high), Some(low)) = (digits.0.and_then(hex), digits.1.and_then(hex)) else {
                return Err(PathError::BadEscape);
            };
            (high << 4 | low, true)
        } else {
            (byte, false)
        };
        match byte {
            // A slash separates segments only when it is plain; encoded, servers disagree.
            b'/' if escaped => return Err(PathError::AmbiguousCharacter('/')),
            b'\\' | b';' | b'#' | b'?' | b'%' | 0x00..0x20 | 0x7f => {
                return Err(PathError::AmbiguousCharacter(char::from(byte)));
            }
            b' ' if !escaped => return Err(PathError::AmbiguousCharacter(' ')),
            0x80.. if !escaped => return Err(PathError::NotUtf8),
            _ => decoded.push(byte),
        }
    }
    Ok(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn plain_paths_pass_and_are_decoded_once() {
        for (target, plain) in [
            ("/", "/"),
            ("/demo/items", "/demo/items"),
            ("/demo/items/", "/demo/items/"),
            ("/demo/items?x=/../admin", "/demo/items"),
            ("/d%65mo/%C3%A9", "/demo/é"),
            ("/a%20b/c.d/...", "/a b/c.d/..."),
        ] {
            assert_eq!(
                NormalPath::parse(target).unwrap().as_str(),
                plain,
                "{target}"
            );
        }
    }

    #[test]
    fn every_disguise_is_refused() {
        for target in [
            "",
            "demo",
            "*",
            "http://x/demo",
            "/a/../b",
            "/a/./b",
            "/..",
            "/.",
            "/a/..",
            "/a/%2e%2e/b",
            "/a/%2E%2E/b",
            "/a/.%2e/b",
            "/a/%2e/b",
            "/a%2Fb",
            "/a%2fb",
            "//a",
            "/a//b",
            "/a///",
            "/a;x=1/b",
            "/a%3Bx",
            "/a\\b",
            "/a%5Cb",
            "/a%5cb",
            "/a%252e%252e/b",
            "/a%25",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%00",
            "/a%0d%0a",
            "/a%7f",
            "/a b",
            "/a\u{e9}",
            "/a%ff",
            "/a%3Fb",
            "/a%23b",
            "/a#b",
        ] {
            assert!(NormalPath::parse(target).is_err(), "{target} passed");
        }
        assert_eq!(
            NormalPath::parse(&format!("/{}", "a".repeat(MAX_PATH_BYTES))),
            Err(PathError::TooLong)
        );
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let path = NormalPath::parse("/demo/items").unwrap();
        assert!(
            path.starts_with("/demo/")
                && path.starts_with("/demo")
                && path.starts_with("/demo/items")
        );
        assert!(!path.starts_with("/dem") && !path.starts_with("/demo/items/"));
    }
}
