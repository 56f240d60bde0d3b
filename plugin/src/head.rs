//! The head of a request, as the host hands it over: read where it is, for every request has one and nearly all of it
//! is looked at once.
//!
//! Format: how many fields there are, then for each how long its name and its value are, all in 32 bits with the lowest
//! byte first; then each name and each value, with a zero behind it (proxy-wasm ABI 0.2.1, serialised maps).

use std::ops::Range;

/// Header fields, in their order.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<(Range<usize>, Range<usize>)>,
}

impl Head {
    /// Reads what the host wrote; `None` if that is not what it says it is.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        // Where there is nothing, some hosts do not even write how much.
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (count, lengths) = number(&bytes)?;
        let mut start = count.checked_mul(8)?.checked_add(4)?;
        let mut lengths = lengths.get(..start - 4)?;
        let mut fields = Vec::with_capacity(count);
        let mut take = |length: usize| {
            let end = start.checked_add(length)?;
            let text = start..end;
            start = end.checked_add(1)?;
            (*bytes.get(end)? == 0).then_some(text)
        };
        for _ in 0..count {
            let (name, rest) = number(lengths)?;
            let (value, rest) = number(rest)?;
            lengths = rest;
            fields.push((take(name)?, take(value)?));
        }
        (start == bytes.len()).then_some(Self { bytes, fields })
    }

    /// All fields: name, in lower case as the host has it, and value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let text = |place: &Range<usize>| self.bytes.get(place.clone()).unwrap_or_default();
        self.fields
            .iter()
            .map(move |(name, value)| (text(name), text(value)))
    }

    /// The values of the field `name`.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .filter(move |(own, _)| *own == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// The first of them, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.values(name).next()?).ok()
    }

    /// Whether the client may still send when it is answered: through a tunnel, in another protocol (RFC 9110, sections
    /// 9.3.6 and 7.8), or in gRPC.
    pub fn goes_both_ways(&self) -> bool {
        self.fields().any(|(name, value)| match name {
            b":method" => value == b"CONNECT",
            b"upgrade" => true,
            b"content-type" => value.starts_with(b"application/grpc"),
            _ => false,
        })
    }
}

/// The number at the beginning, and what comes after it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &[(&str, &[u8])]) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut bytes = number(fields.len()).to_vec();
        for (name, value) in fields {
            bytes.extend(number(name.len()));
            bytes.extend(number(value.len()));
        }
        for (name, value) in fields {
            bytes.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
        }
        bytes
    }

    #[test]
    fn fields_are_read_in_their_order_whatever_is_in_them() {
        let fields: [(&str, &[u8]); 5] = [
            (":method", b"GET"),
            ("x-empty", b""),
            ("cookie", b"a=\0\xff"),
            ("x-empty", b"not"),
            ("", b"nameless"),
        ];
        let head = Head::parse(written(&fields)).unwrap();
        let read: Vec<_> = head.fields().collect();
        let expected: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), *value))
            .collect();
        assert_eq!(read, expected);
        let values: Vec<_> = head.values("x-empty").collect();
        assert_eq!(values, [&b""[..], b"not"]);
        assert_eq!(head.text(":method"), Some("GET"));
        assert_eq!((head.text("cookie"), head.text("x-other")), (None, None));
        for nothing in [vec![], written(&[])] {
            assert_eq!(Head::parse(nothing).unwrap().fields().count(), 0);
        }
    }

    #[test]
    fn who_sends_on_while_answered_is_told_from_who_does_not() {
        let both =
            |fields: &[(&str, &[u8])]| Head::parse(written(fields)).unwrap().goes_both_ways();
        let post: (&str, &[u8]) = (":method", b"POST");
        assert!(both(&[(":method", b"CONNECT")]));
        assert!(both(&[(":method", b"GET"), ("upgrade", b"websocket")]));
        assert!(both(&[post, ("content-type", b"application/grpc+proto")]));
        assert!(!both(&[post, ("content-type", b"application/json")]));
        assert!(!both(&[post, ("x-upgrade", b"CONNECT")]));
    }

    #[test]
    fn what_is_cut_off_or_says_what_it_is_not_is_no_head() {
        let whole = written(&[(":method", b"GET"), ("host", b"a.example")]);
        for end in 1..whole.len() {
            assert!(Head::parse(whole[..end].to_vec()).is_none(), "{end} bytes");
        }
        assert!(Head::parse([&whole[..], b"x"].concat()).is_none());
        // Every length, and the number of fields, turned into another.
        for place in 0..20 {
            for other in [0x01, 0x80, 0xff] {
                let mut wrong = whole.clone();
                wrong[place] ^= other;
                assert!(Head::parse(wrong).is_none(), "{place} ^ {other}");
            }
        }
    }
}
