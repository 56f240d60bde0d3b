//! Requests that were let pass and are not over yet: what may be cut, and how each is cut so that its
//! client learns why, as far as the protocol lets it. No host here: whoever uses this does the cutting.
//!
//! Nearly all are over before anything is to be cut, so nothing is looked at for that case alone: not the answer's
//! headers, for which the host would enter the VM twice with each request, but how an answer goes on once it is cut.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use authority::{
    decision::Account,
    mandate::Mandate,
    refusal::{Reason, Refusal},
    time::Timestamp,
};

use crate::sync::{Millis, millis};

/// How long an answer that is to be cut is given to go on, so that a last word fits in if it is one of events.
const LAST_WORD: Duration = Duration::from_millis(400);

/// What of a chunk is looked at, in bytes.
pub const LOOKED_AT: usize = 64;

#[derive(Debug)]
struct Stream {
    mandate: Arc<Mandate>,
    account: Rc<Account>,
    passes: Passes,
    /// Why it is being cut, and since when.
    cut: Option<(Reason, Millis)>,
}

/// How a request passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Until the mandate ends, at the longest.
    pub until_expiry: bool,
    /// Once it is answered its client still sends, so that a cut waits for nothing.
    pub both_ways: bool,
}

/// How a stream is to be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// There is no answer yet, so a refusal can be one: to the request of this id.
    Refuse(String),
    /// It is reset: in the middle of an answer nothing can be said.
    Reset,
}

/// What passes through a worker, by the contexts of the host.
#[derive(Debug, Default)]
pub struct Streams {
    open: HashMap<u32, Stream, BuildHasherDefault<Spread>>,
    /// Whether the host has told of the parts of any answer; it may be configured not to.
    sees_answers: bool,
}

/// Spreads the numbers of contexts over a table (D. E. Knuth, "The Art of Computer Programming", volume 3, section 6.4:
/// multiplicative hashing). The host gives one after the other, and nobody else chooses any.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Streams {
    /// A request passes.
    pub fn open(
        &mut self,
        context: u32,
        mandate: Arc<Mandate>,
        account: Rc<Account>,
        passes: Passes,
    ) {
        let stream = Stream {
            mandate,
            account,
            passes,
            cut: None,
        };
        self.open.insert(context, stream);
    }

    /// It is over.
    pub fn close(&mut self, context: u32) {
        self.open.remove(&context);
    }

    /// What is known of the request.
    pub fn account(&self, context: u32) -> Option<Rc<Account>> {
        Some(Rc::clone(&self.open.get(&context)?.account))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The mandates of those that are not being cut.
    pub fn mandates(&self) -> impl Iterator<Item = (u32, &Arc<Mandate>)> {
        self.open
            .iter()
            .filter(|(_, stream)| stream.cut.is_none())
            .map(|(context, stream)| (*context, &stream.mandate))
    }

    /// Those that end with their mandate, which has.
    pub fn expired(&self, now: Timestamp) -> Vec<u32> {
        self.open
            .iter()
            .filter(|(_, stream)| {
                stream.passes.until_expiry
                    && stream.cut.is_none()
                    && stream.mandate.check_time(now).is_err()
            })
            .map(|(context, _)| *context)
            .collect()
    }

    /// Begins to cut a stream, whose answer may have begun. What is to be done at once, if anything is.
    pub fn cut(
        &mut self,
        context: u32,
        reason: Reason,
        is_answered: bool,
        now: Millis,
    ) -> Option<Cut> {
        // Of an answer whose parts are not told of, none could be held back.
        let can_hold = self.sees_answers;
        let stream = self.open.get_mut(&context)?;
        if stream.cut.is_some() {
            return None;
        }
        stream.cut = Some((reason, now));
        match (is_answered, stream.passes.both_ways) {
            (false, _) => Some(Cut::Refuse(stream.account.request_id.clone())),
            (true, false) if can_hold => None,
            (true, _) => Some(Cut::Reset),
        }
    }

    /// A part of an answer comes: whether it is held back, since the stream of `context` is being cut.
    pub fn holds_back(&mut self, context: u32) -> bool {
        self.sees_answers = true;
        self.open
            .get(&context)
            .is_some_and(|stream| stream.cut.is_some())
    }

    /// What is said instead of a chunk that begins with `start`, in a stream that is being cut: nothing, if it is not
    /// one of events. Either way its time is over.
    pub fn last_word(&mut self, context: u32, start: &[u8]) -> Option<String> {
        let (reason, since) = self.open.get_mut(&context)?.cut.as_mut()?;
        *since = 0;
        begins_event(start).then(|| last_event(reason))
    }

    /// Those that have had their last word, or had the time for one.
    pub fn overdue(&self, now: Millis) -> Vec<u32> {
        let is_overdue = |stream: &Stream| {
            stream.cut.as_ref().is_some_and(|(_, since)| {
                now.saturating_sub(*since) >= millis(LAST_WORD) || *since > now
            })
        };
        self.open
            .iter()
            .filter(|(_, stream)| is_overdue(stream))
            .map(|(context, _)| *context)
            .collect()
    }
}

/// Whether a chunk begins with a line of an event stream: a field that has a meaning there, or a comment (WHATWG HTML,
/// section 9.2.5). Events that are compressed do not, and text between them would spoil them.
fn begins_event(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    [&b":"[..], b"data:", b"event:", b"id:", b"retry:"]
        .iter()
        .any(|line| start.starts_with(line))
}

/// The last event of a stream that was cut: after what may be the middle of another one.
fn last_event(reason: &Reason) -> String {
    let data = serde_json::json!({
        "error": "stream_ended",
        "reason": reason.code(),
        "error_description": Refusal::from(reason.clone()).description(),
    });
    format!("\n\nevent: error\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use authority::{
        ids::{KeyId, ZoneId},
        jwks::{Jwk, JwkSet, KeySet},
        key::SigningKey,
        mandate::{Claims, Expected, MandateUse, SubjectType, sign, verify},
    };

    use super::*;

    #[test]
    fn an_answer_whose_parts_are_not_told_of_is_cut_at_once() {
        let mut streams = Streams::default();
        for context in [1, 2] {
            streams.open(context, mandate(), Rc::default(), Passes::default());
        }
        let cut = streams.cut(1, Reason::TokenRevoked, true, 1_000);
        assert_eq!(cut, Some(Cut::Reset));
        assert!(!streams.holds_back(2));
        assert_eq!(streams.cut(2, Reason::TokenRevoked, true, 1_000), None);
    }

    #[test]
    fn a_stream_is_cut_once_and_as_far_as_it_has_come() {
        let mandate = mandate();
        let mut streams = Streams::default();
        for context in 1..=4 {
            let id = format!("request-{context}");
            let account = Rc::new(Account {
                request_id: id,
                ..Account::default()
            });
            let passes = Passes {
                both_ways: context == 2,
                ..Passes::default()
            };
            streams.open(context, Arc::clone(&mandate), account, passes);
        }
        assert_eq!(streams.mandates().count(), 4);
        assert!(!streams.holds_back(9));
        let revoked = || Reason::TokenRevoked;
        assert_eq!(
            streams.cut(1, revoked(), false, 1_000),
            Some(Cut::Refuse("request-1".to_owned()))
        );
        assert_eq!(streams.cut(2, revoked(), true, 1_000), Some(Cut::Reset));
        streams.close(1);
        streams.close(2);
        assert_eq!(streams.cut(9, revoked(), true, 1_000), None);
        // A last word first, or the time for one.
        let event = b"\nevent: tick\ndata: 1\n\n";
        assert!(!streams.holds_back(3) && streams.last_word(3, event).is_none());
        for context in [3, 4] {
            assert_eq!(streams.cut(context, revoked(), true, 1_000), None);
            assert!(streams.holds_back(context));
        }
        assert_eq!(streams.cut(3, Reason::TokenExpired, false, 1_100), None);
        assert!(streams.overdue(1_399).is_empty());
        assert_eq!(streams.overdue(1_400).len(), 2);
        assert_eq!(streams.overdue(900).len(), 2, "the clock went back");
        assert_eq!(streams.last_word(3, event), Some(last_event(&revoked())));
        assert_eq!(streams.overdue(1_001), [3]);
        // Of bytes that are no events there is none, and no more of them.
        assert_eq!(streams.last_word(4, b"{\"data\":1}"), None);
        assert_eq!(streams.overdue(1_001).len(), 2);
        assert_eq!(streams.mandates().count(), 0);
        for context in [3, 4] {
            streams.close(context);
        }
        assert!(streams.is_empty() && streams.last_word(3, event).is_none());
    }

    #[test]
    fn only_what_is_to_end_with_its_mandate_does() {
        let mandate = mandate();
        let mut streams = Streams::default();
        for (context, until_expiry) in [(1, true), (2, false)] {
            let passes = Passes {
                until_expiry,
                ..Passes::default()
            };
            streams.open(context, Arc::clone(&mandate), Rc::default(), passes);
        }
        let end = mandate.claims().exp;
        assert!(streams.expired(end).is_empty());
        assert_eq!(streams.expired(end.plus(60)), [1]);
        streams.cut(1, Reason::TokenExpired, true, 0);
        assert!(streams.expired(end.plus(60)).is_empty());
    }

    #[test]
    fn a_chunk_of_events_is_told_from_any_other() {
        let events: [&[u8]; 7] = [
            b"data: {}\n\n",
            b"data:x",
            b"\r\n\r\nevent: a",
            b"id: 1\ndata: 2\n\n",
            b"retry: 5",
            b": still here\n\n",
            b":\n",
        ];
        for start in events {
            assert!(begins_event(start), "{}", String::from_utf8_lossy(start));
        }
        let others: [&[u8]; 7] = [
            b"",
            b"\n\n",
            b"{\"data\": 1}",
            b"database: x",
            b"ata: 1\n\n",
            b"\x1f\x8b\x08data: 1",
            b"<p>data: 1",
        ];
        for start in others {
            assert!(!begins_event(start), "{}", String::from_utf8_lossy(start));
        }
    }

    #[test]
    fn the_last_event_is_one_wherever_the_stream_was() {
        let event = last_event(&Reason::TokenRevoked);
        let lines: Vec<&str> = event.split('\n').collect();
        assert_eq!((lines[0], lines[1], lines[2]), ("", "", "event: error"));
        let data = lines[3].strip_prefix("data: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["reason"], "token_revoked");
        assert!(event.ends_with("\n\n"));
    }

    fn mandate() -> Arc<Mandate> {
        let key = SigningKey::from_bytes(&[7; 32]).unwrap();
        let (kid, zone) = (KeyId::from("key-1"), ZoneId::from("zone-1"));
        let jwk = Jwk::new(&kid, &key.verifying_key());
        let keys = KeySet::from_jwks(&JwkSet { keys: vec![jwk] }).unwrap();
        let issuer = "https://sts.test";
        let claims = Claims {
            iss: issuer.into(),
            sub: "app-1".into(),
            aud: vec![issuer.into()],
            exp: Timestamp(2_000),
            iat: Timestamp(1_000),
            nbf: None,
            jti: "jti-1".into(),
            zone_id: zone.clone(),
            client_id: "app-1".into(),
            sid: "sid-1".into(),
            root_sid: "sid-1".into(),
            mandate_use: MandateUse::Gateway,
            sub_type: SubjectType::Application,
            scope: None,
            target: Vec::new(),
            agent_session_id: None,
            session_path: Vec::new(),
            granting_sessions: Vec::new(),
            labels: Vec::new(),
            delegation_edge_id: None,
            source_session_id: None,
            target_session_id: None,
            delegation_path: Vec::new(),
            delegation_chain: Vec::new(),
            hop_count: None,
            act: None,
            once: false,
        };
        let token = sign(&claims, &kid, &key).unwrap();
        let expected = Expected {
            issuer,
            zone: &zone,
            uses: &[MandateUse::Gateway],
        };
        verify(&token, &keys, &expected, claims.iat).unwrap()
    }
}
