//! What the upstream is told about the caller, and which headers of the caller never reach it.

use std::borrow::Cow;

use authority::{decision::RESOURCE_HEADER, ids::AgentSessionId, mandate::Claims, words};

/// The family of headers that only Caracal sets.
const FAMILY: &str = "x-caracal-";

/// Whether the client's header `name` is removed: all of the family but the routing header. Servers
/// that map headers to variables read `_` as `-`, so both spellings count.
pub fn is_reserved(name: &[u8]) -> bool {
    let mut family = FAMILY.bytes();
    let prefix = name.iter().take(FAMILY.len()).all(|byte| {
        let byte = match byte {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
        family.next() == Some(byte)
    });
    prefix && name.len() >= FAMILY.len() && name != RESOURCE_HEADER.as_bytes()
}

/// The headers that tell the upstream who calls.
pub fn headers(claims: &Claims) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    let session = claims.agent_session_id.as_ref();
    let headers = [
        ("x-caracal-client-id", Some(claims.client_id.as_str())),
        ("x-caracal-subject", Some(claims.sub.as_str())),
        ("x-caracal-session", session.map(AgentSessionId::as_str)),
        ("x-caracal-scope", claims.scope.as_deref()),
    ];
    headers
        .into_iter()
        .filter_map(|(name, text)| Some((name, header_text(text?))))
}

/// A usable request id: 1 to 128 printable ASCII characters.
pub fn is_request_id(value: &[u8]) -> bool {
    (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// Whether it is printable ASCII without `%`.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let plain_word = |bytes: &[u8; 8]| {
        let word = u64::from_le_bytes(*bytes);
        let odd = words::has_below(word, 0x20) || words::has_beyond_ascii(word);
        !(odd || words::has(word, 0x7f) || words::has(word, b'%'))
    };
    let plain_byte = |byte: &u8| matches!(byte, 0x20..0x7f) && *byte != b'%';
    words.iter().all(plain_word) && rest.iter().all(plain_byte)
}

/// `text` with everything but printable ASCII percent-encoded (and `%` itself), so that no claim can
/// break out of its header.
fn header_text(text: &str) -> Cow<'_, str> {
    if is_plain(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let escaped = text
        .bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match byte {
                b'%' | 0x00..0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
                printable => out.push(char::from(printable)),
            }
            out
        });
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_removed_in_every_spelling() {
        for name in [
            "x-caracal-client-id",
            "X-Caracal-Scope",
            "x_caracal_subject",
            "x-caracal-",
            "x-caracal_resource",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name} passed");
        }
        for name in [
            "x-caracal-resource",
            "x-caracal",
            "x-request-id",
            "x-caracals",
            "authorization",
            "",
        ] {
            assert!(!is_reserved(name.as_bytes()), "{name} was removed");
        }
    }

    #[test]
    fn a_claim_cannot_break_out_of_its_header() {
        assert_eq!(
            header_text("a\r\nx-admin: 1 é%"),
            "a%0D%0Ax-admin: 1 %C3%A9%25"
        );
        for (odd, escaped) in [
            ("\u{1f}", "%1F"),
            ("\u{7f}", "%7F"),
            ("é", "%C3%A9"),
            ("%", "%25"),
        ] {
            for before in 0..20 {
                let (before, after) = ("~".repeat(before), " ".repeat(20 - before));
                let text = format!("{before}{odd}{after}");
                assert_eq!(header_text(&text), format!("{before}{escaped}{after}"));
            }
        }
    }

    #[test]
    fn request_ids_are_printable_and_short() {
        assert!(is_request_id(b"0190-abc") && !is_request_id(b"") && !is_request_id(b"a b"));
        assert!(!is_request_id(&[b'a'; 129]));
    }
}
