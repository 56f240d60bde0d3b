//! A batch of a gateway's events, read no further than it has to be.

use std::borrow::Cow;

use authority::audit::{Event, Facts, Sent};
use serde::Deserialize;

/// What a gateway sends.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub(super) events: Vec<Told<'a>>,
    /// In bytes.
    pub(super) size: usize,
}

/// An event of a batch.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all events are of the large one"
)]
pub(super) enum Told<'a> {
    /// In canonical form, as gateways write them.
    Sent(Sent<'a>),
    /// In any other.
    Parsed(Box<Event>),
}

impl<'a> Batch<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is no batch.
    pub(crate) fn read(body: &'a [u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parsed {
            events: Vec<Event>,
        }
        let size = body.len();
        let as_sent = std::str::from_utf8(body).ok().and_then(as_sent);
        if let Some(events) = as_sent {
            return Ok(Self { events, size });
        }
        let parsed: Parsed = serde_json::from_slice(body)?;
        let told = |event| Told::Parsed(Box::new(event));
        Ok(Self {
            events: parsed.events.into_iter().map(told).collect(),
            size,
        })
    }
}

/// The events of a batch that has no space between them; each by itself is as it may be.
fn as_sent(body: &str) -> Option<Vec<Told<'_>>> {
    let mut rest = body.strip_prefix("{\"events\":[")?;
    let mut events = Vec::new();
    loop {
        let told;
        (told, rest) = match Sent::read(rest) {
            Some((sent, rest)) => (Told::Sent(sent), rest),
            None => parsed(rest)?,
        };
        events.push(told);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return (rest == "]}").then_some(events),
        }
    }
}

/// The event with which `text` begins.
fn parsed(text: &str) -> Option<(Told<'_>, &str)> {
    let mut events = serde_json::Deserializer::from_str(text).into_iter::<Event>();
    let event = events.next()?.ok()?;
    let rest = text.get(events.byte_offset()..)?;
    Some((Told::Parsed(Box::new(event)), rest))
}

impl Told<'_> {
    /// What it says.
    pub(super) fn facts(&self) -> Cow<'_, Facts<'_>> {
        match self {
            Self::Sent(sent) => Cow::Borrowed(sent.facts()),
            Self::Parsed(event) => Cow::Owned(Facts::from(&**event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use authority::{
        audit::{EventType, OccurredAt},
        ids::ZoneId,
    };

    use super::*;

    fn event(number: u64) -> String {
        let id = format!("01980000-0000-7000-8000-{number:012}");
        let zone = ZoneId::from("zone");
        let request = EventType::GatewayRequest;
        let event = Event::new(id, zone, request, "request".to_owned(), OccurredAt(number));
        serde_json::to_string(&event).unwrap()
    }

    /// The ids, and whether the event had to be parsed.
    fn read(body: &str) -> serde_json::Result<Vec<(String, bool)>> {
        let batch = Batch::read(body.as_bytes())?;
        let told = |told: &Told<'_>| {
            let is_parsed = matches!(told, Told::Parsed(_));
            (told.facts().id.to_owned(), is_parsed)
        };
        Ok(batch.events.iter().map(told).collect())
    }

    #[test]
    fn each_event_of_a_batch_is_parsed_only_if_it_has_to_be() {
        let (one, other) = (event(1), event(2));
        let spaced = other.replace(':', ": ").replace("00: 00: 00", "00:00:00");
        let ids = |parsed: [bool; 3]| {
            let id = |number: u64| format!("01980000-0000-7000-8000-{number:012}");
            [1, 2, 1]
                .map(id)
                .into_iter()
                .zip(parsed)
                .collect::<Vec<_>>()
        };
        let body = |between: &str| format!("{{\"events\":[{one}{between}{other},{one}]}}");
        assert_eq!(read(&body(",")).unwrap(), ids([false; 3]));
        let with_space = body(",").replace(&other, &spaced);
        assert_eq!(read(&with_space).unwrap(), ids([false, true, false]));
        assert_eq!(read(&body(", ")).unwrap(), ids([false, true, false]));
        assert_eq!(read(&body(" ,")).unwrap(), ids([true; 3]));
        let empty = read("{\"events\":[]}").unwrap();
        assert!(empty.is_empty());
    }

    #[test]
    fn what_is_no_batch_is_none_however_it_is_read() {
        let one = event(1);
        for body in [
            String::new(),
            "{\"events\":[".to_owned(),
            format!("{{\"events\":[{one}"),
            format!("{{\"events\":[{one},]}}"),
            format!("{{\"events\":[{one}],\"more\":1}}"),
            format!("{{\"events\":[{one}]}} {{}}"),
            format!("{{\"events\":[{one}{one}]}}"),
            format!("{{\"events\":[{one},{{}}]}}"),
            format!("[{one}]"),
        ] {
            assert!(Batch::read(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Batch::read(b"{\"events\":[\"\xff\"]}").is_err());
    }
}
