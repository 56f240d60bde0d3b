//! Events that the STS does not have yet, in the order in which they happened and in the bodies in which they are sent:
//! to give one out, nothing is copied, and to forget it is to forget one thing.

use std::{borrow::Cow, collections::VecDeque};

use authority::audit::OccurredAt;

/// Most events in one body.
pub(super) const MOST_TOGETHER: usize = 500;
/// Events that are worth a body of their own. What is handed over, sent and taken in at once holds up requests
/// meanwhile, so bodies are longer only where a multiple of it is held: then the STS is slow, or far away.
pub(super) const ENOUGH: usize = 128;
/// Largest body, in bytes, unless it is of one event: the STS takes a mebibyte.
pub(super) const MOST_BYTES: usize = 768 * 1024;

const BEGIN: &[u8] = b"{\"events\":[";
const END: &[u8] = b"]}";

/// Events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Held {
    bodies: VecDeque<Body>,
    events: usize,
    /// How long the body before was, as the next one is likely to become.
    room: usize,
}

#[derive(Debug)]
struct Body {
    /// Without its end until it is closed.
    text: Vec<u8>,
    events: VecDeque<Place>,
    /// Nothing is added any more.
    is_closed: bool,
}

/// Where an event is in a body.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its text ends here.
    end: usize,
    at: OccurredAt,
    is_stranger: bool,
}

impl Held {
    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.events
    }

    /// When the first of them happened.
    pub(super) fn first_at(&self) -> Option<OccurredAt> {
        Some(self.bodies.front()?.events.front()?.at)
    }

    /// One more, by its JSON.
    pub(super) fn push(&mut self, event: &[u8], at: OccurredAt, is_stranger: bool) {
        let most = (self.events / 4).clamp(ENOUGH, MOST_TOGETHER);
        let last = self.bodies.back();
        if last.is_none_or(|last| !last.takes(event, most)) {
            if let Some(last) = self.bodies.back_mut() {
                self.room = last.closed().len();
                last.text.shrink_to_fit();
            }
            // Where more and more is held, the next is longer: to move it would leave a hole.
            let room = (self.room + self.room / 4).max(BEGIN.len() + event.len());
            self.bodies.push_back(Body::with_room(room));
        }
        let Some(body) = self.bodies.back_mut() else {
            return;
        };
        body.push(event, at, is_stranger);
        self.events += 1;
    }

    /// The first body, of no more than so many events, with one more event at its end if there is one. How many it has
    /// without that one.
    pub(super) fn body(&mut self, most: usize, and: Option<&[u8]>) -> (Cow<'_, [u8]>, usize) {
        let whole = self.bodies.front().map_or(0, |body| body.events.len());
        let events = whole.min(most);
        if and.is_none() && events == whole {
            let body = self.bodies.front_mut();
            let text = body.map(Body::closed).unwrap_or_default();
            self.room = text.len();
            return (text.into(), events);
        }
        // Something is wrong, so that it may cost more.
        let mut body = BEGIN.to_vec();
        if let Some(first) = self.bodies.front() {
            body.extend_from_slice(first.first(events));
        }
        if let Some(event) = and {
            if events > 0 {
                body.push(b',');
            }
            body.extend_from_slice(event);
        }
        body.extend_from_slice(END);
        (body.into(), events)
    }

    /// Forgets the first events of the first body. How many of them were of requests without a good mandate.
    pub(super) fn forget(&mut self, events: usize) -> usize {
        let Some(body) = self.bodies.front_mut() else {
            return 0;
        };
        let (gone, strangers) = body.forget(events);
        self.events -= gone;
        if body.events.is_empty() {
            self.bodies.pop_front();
        }
        strangers
    }
}

impl Body {
    fn with_room(bytes: usize) -> Self {
        let mut text = Vec::with_capacity(bytes);
        text.extend_from_slice(BEGIN);
        Self {
            text,
            events: VecDeque::new(),
            is_closed: false,
        }
    }

    fn takes(&self, event: &[u8], most: usize) -> bool {
        let bytes = self.text.len() + event.len() + END.len();
        !self.is_closed && self.events.len() < most && bytes < MOST_BYTES
    }

    fn push(&mut self, event: &[u8], at: OccurredAt, is_stranger: bool) {
        if !self.events.is_empty() {
            self.text.push(b',');
        }
        self.text.extend_from_slice(event);
        self.events.push_back(Place {
            end: self.text.len(),
            at,
            is_stranger,
        });
    }

    /// All of it.
    fn closed(&mut self) -> &[u8] {
        if !self.is_closed {
            self.text.extend_from_slice(END);
            self.is_closed = true;
        }
        &self.text
    }

    /// Its first events, one after the other.
    fn first(&self, events: usize) -> &[u8] {
        let last = events.checked_sub(1).and_then(|last| self.events.get(last));
        let end = last.map_or(BEGIN.len(), |place| place.end);
        self.text.get(BEGIN.len()..end).unwrap_or_default()
    }

    /// Forgets the first events. How many they are, and how many of those were of requests without a good mandate.
    fn forget(&mut self, events: usize) -> (usize, usize) {
        let (mut gone, mut strangers, mut after) = (0, 0, BEGIN.len());
        for place in self.events.drain(..events.min(self.events.len())) {
            gone += 1;
            strangers += usize::from(place.is_stranger);
            // With the comma.
            after = place.end + 1;
        }
        if gone > 0 && !self.events.is_empty() {
            self.text.drain(BEGIN.len()..after);
            for place in &mut self.events {
                place.end -= after - BEGIN.len();
            }
        }
        (gone, strangers)
    }
}
