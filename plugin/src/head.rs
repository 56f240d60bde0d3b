//! The head of a request, as the host hands it over: read where it is, and once, for every request has one. What
//! decisions ask for is found on the way.
//!
//! Format: how many fields there are, then for each how long its name and its value are, all in 32 bits with the lowest
//! byte first; then each name and each value, with a zero behind it (proxy-wasm ABI 0.2.1, serialised maps).

use std::ops::Range;

use authority::decision::{RESOURCE_HEADER, SingleHeader};

use crate::identity;

/// Header fields, in their order.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<(Range<usize>, Range<usize>)>,
    /// Their places among the fields.
    known: [SingleHeader<usize>; KNOWN],
    both_ways: bool,
    reserved: bool,
}

/// Fields that are asked for of every request.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    Method,
    Path,
    Authority,
    Authorization,
    Resource,
    RequestId,
    TraceParent,
}

const KNOWN: usize = Known::TraceParent as usize + 1;

impl Known {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" => Self::Authority,
            b"authorization" => Self::Authorization,
            b"x-request-id" => Self::RequestId,
            b"traceparent" => Self::TraceParent,
            _ if name == RESOURCE_HEADER.as_bytes() => Self::Resource,
            _ => return None,
        })
    }
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
        let mut known: [SingleHeader<usize>; KNOWN] = Default::default();
        let (mut both_ways, mut reserved) = (false, false);
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
            let (name, value) = (take(name)?, take(value)?);
            let (name_text, value_text) = (bytes.get(name.clone())?, bytes.get(value.clone())?);
            both_ways |= goes_both_ways(name_text, value_text);
            match Known::of(name_text) {
                Some(field) => known.get_mut(field as usize)?.push(fields.len()),
                None => reserved |= identity::is_reserved(name_text),
            }
            fields.push((name, value));
        }
        (start == bytes.len()).then_some(Self {
            bytes,
            fields,
            known,
            both_ways,
            reserved,
        })
    }

    /// All fields: name, in lower case as the host has it, and value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (self.text_at(name), self.text_at(value)))
    }

    /// The values of the field `name`.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .filter(move |(own, _)| *own == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// A field that should be there once.
    pub fn single(&self, field: Known) -> SingleHeader<&[u8]> {
        match self.known.get(field as usize) {
            None | Some(SingleHeader::Absent) => SingleHeader::Absent,
            Some(SingleHeader::Many) => SingleHeader::Many,
            Some(SingleHeader::One(place)) => {
                let value = self
                    .fields
                    .get(*place)
                    .map(|(_, value)| self.text_at(value));
                value.map_or(SingleHeader::Absent, SingleHeader::One)
            }
        }
    }

    /// Its value, if it is there once and is text.
    pub fn text(&self, field: Known) -> Option<&str> {
        match self.single(field) {
            SingleHeader::One(value) => std::str::from_utf8(value).ok(),
            SingleHeader::Absent | SingleHeader::Many => None,
        }
    }

    /// The names of those that only Caracal sets.
    pub fn reserved(&self) -> impl Iterator<Item = &[u8]> {
        let fields = self.reserved.then(|| self.fields()).into_iter().flatten();
        let names = fields.map(|(name, _)| name);
        names.filter(|name| identity::is_reserved(name))
    }

    /// Whether the client may still send when it is answered: through a tunnel, in another protocol (RFC 9110, sections
    /// 9.3.6 and 7.8), or in gRPC.
    pub fn goes_both_ways(&self) -> bool {
        self.both_ways
    }

    fn text_at(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }
}

/// Whether a field tells of a client that may still send when it is answered.
fn goes_both_ways(name: &[u8], value: &[u8]) -> bool {
    match name {
        b":method" => value == b"CONNECT",
        b"upgrade" => true,
        b"content-type" => value.starts_with(b"application/grpc"),
        _ => false,
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
        assert_eq!(head.text(Known::Method), Some("GET"));
        for nothing in [vec![], written(&[])] {
            assert_eq!(Head::parse(nothing).unwrap().fields().count(), 0);
        }
    }

    #[test]
    fn what_is_asked_for_is_absent_there_once_or_too_often() {
        let known = [
            (Known::Method, ":method"),
            (Known::Path, ":path"),
            (Known::Authority, ":authority"),
            (Known::Authorization, "authorization"),
            (Known::Resource, RESOURCE_HEADER),
            (Known::RequestId, "x-request-id"),
            (Known::TraceParent, "traceparent"),
        ];
        assert_eq!(known.len(), KNOWN);
        let other: (&str, &[u8]) = ("x-other", b"other");
        for (field, name) in known {
            let there = |number: usize, value: &[u8]| {
                let mut fields = vec![other];
                fields.extend(vec![(name, value); number]);
                let head = Head::parse(written(&fields)).unwrap();
                assert_eq!(head.values(name).count(), number);
                for (own, _) in known.iter().filter(|(_, own)| *own != name) {
                    assert_eq!(head.single(*own), SingleHeader::Absent, "{name} is {own:?}");
                }
                let text = head.text(field).map(str::to_owned);
                let kind = match head.single(field) {
                    SingleHeader::Absent => 0,
                    SingleHeader::One(own) => {
                        assert_eq!(own, value);
                        1
                    }
                    SingleHeader::Many => 2,
                };
                (kind, text)
            };
            assert_eq!(there(0, b""), (0, None));
            assert_eq!(there(1, b"value"), (1, Some("value".to_owned())));
            assert_eq!(there(1, b"\xff"), (1, None), "{name} is no text");
            assert_eq!(there(2, b"value"), (2, None));
            assert_eq!(there(3, b"value"), (2, None));
        }
    }

    #[test]
    fn names_that_are_reserved_are_found() {
        let reserved = |names: &[&str]| -> Vec<String> {
            let fields: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
            let head = Head::parse(written(&fields)).unwrap();
            let names = head.reserved();
            names
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        assert!(reserved(&["accept", RESOURCE_HEADER, "x-caracal"]).is_empty());
        let sent = [
            "x-caracal-scope",
            "accept",
            RESOURCE_HEADER,
            "x_caracal_subject",
        ];
        assert_eq!(reserved(&sent), ["x-caracal-scope", "x_caracal_subject"]);
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
