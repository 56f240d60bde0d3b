//! Requests that were let pass and are not over yet: what may be cut, and how each is cut so that its
//! client learns why, as far as the protocol lets it. No host here: whoever uses this does the cutting.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use authority::{
    decision::Account,
    mandate::Mandate,
    refusal::{Reason, Refusal},
    time::Timestamp,
};

use crate::sync::{Millis, millis};

/// How long a stream of events that is to be cut is given to let a last one pass.
const LAST_WORD: Duration = Duration::from_millis(400);

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The upstream has not begun.
    Awaited,
    /// It has.
    Begun,
    /// It has, with server-sent events, between which another one fits.
    Events,
}

#[derive(Debug)]
struct Stream {
    mandate: Arc<Mandate>,
    account: Rc<Account>,
    answer: Answer,
    /// Whether it ends with the mandate.
    ends_with_mandate: bool,
    /// Why it is being cut, and since when.
    cut: Option<(Reason, Millis)>,
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
pub struct Streams(HashMap<u32, Stream>);

impl Streams {
    /// A request passes.
    pub fn open(
        &mut self,
        context: u32,
        mandate: Arc<Mandate>,
        account: Rc<Account>,
        ends_with_mandate: bool,
    ) {
        let stream = Stream {
            mandate,
            account,
            answer: Answer::Awaited,
            ends_with_mandate,
            cut: None,
        };
        self.0.insert(context, stream);
    }

    /// Its answer begins.
    pub fn answers(&mut self, context: u32, with_events: bool) {
        if let Some(stream) = self.0.get_mut(&context) {
            stream.answer = if with_events {
                Answer::Events
            } else {
                Answer::Begun
            };
        }
    }

    /// It is over.
    pub fn close(&mut self, context: u32) {
        self.0.remove(&context);
    }

    /// What is known of the request.
    pub fn account(&self, context: u32) -> Option<Rc<Account>> {
        Some(Rc::clone(&self.0.get(&context)?.account))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mandates of those that are not being cut.
    pub fn mandates(&self) -> impl Iterator<Item = (u32, &Arc<Mandate>)> {
        self.0
            .iter()
            .filter(|(_, stream)| stream.cut.is_none())
            .map(|(context, stream)| (*context, &stream.mandate))
    }

    /// Those that end with their mandate, which has.
    pub fn expired(&self, now: Timestamp) -> Vec<u32> {
        self.0
            .iter()
            .filter(|(_, stream)| {
                stream.ends_with_mandate
                    && stream.cut.is_none()
                    && stream.mandate.check_time(now).is_err()
            })
            .map(|(context, _)| *context)
            .collect()
    }

    /// Begins to cut a stream. What is to be done at once, if anything is.
    pub fn cut(&mut self, context: u32, reason: Reason, now: Millis) -> Option<Cut> {
        let stream = self.0.get_mut(&context)?;
        if stream.cut.is_some() {
            return None;
        }
        stream.cut = Some((reason, now));
        match stream.answer {
            Answer::Awaited => Some(Cut::Refuse(stream.account.request_id.clone())),
            Answer::Begun => Some(Cut::Reset),
            Answer::Events => None,
        }
    }

    /// Why the stream of events of `context` ends, if it does: its last word can be said now.
    pub fn last_word(&mut self, context: u32) -> Option<Reason> {
        let (reason, since) = self.0.get_mut(&context)?.cut.as_mut()?;
        *since = 0;
        Some(reason.clone())
    }

    /// Those that have had their last word, or had the time for one.
    pub fn overdue(&self, now: Millis) -> Vec<u32> {
        let is_overdue = |stream: &Stream| {
            stream.cut.as_ref().is_some_and(|(_, since)| {
                now.saturating_sub(*since) >= millis(LAST_WORD) || *since > now
            })
        };
        self.0
            .iter()
            .filter(|(_, stream)| stream.answer == Answer::Events && is_overdue(stream))
            .map(|(context, _)| *context)
            .collect()
    }
}

/// The last event of a stream that was cut: after what may be the middle of another one.
pub fn last_event(reason: &Reason) -> String {
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
    fn a_stream_is_cut_once_and_as_far_as_it_has_come() {
        let mandate = mandate();
        let mut streams = Streams::default();
        for context in 1..=3 {
            let id = format!("request-{context}");
            let account = Rc::new(Account {
                request_id: id,
                ..Account::default()
            });
            streams.open(context, Arc::clone(&mandate), account, context == 1);
        }
        streams.answers(2, false);
        streams.answers(3, true);
        streams.answers(9, true);
        assert_eq!(streams.mandates().count(), 3);
        let revoked = || Reason::TokenRevoked;
        assert_eq!(
            streams.cut(1, revoked(), 1_000),
            Some(Cut::Refuse("request-1".to_owned()))
        );
        assert_eq!(streams.cut(2, revoked(), 1_000), Some(Cut::Reset));
        assert_eq!(streams.cut(9, revoked(), 1_000), None);
        // Events: a last word first, or the time for one.
        assert_eq!(streams.last_word(3), None);
        assert_eq!(streams.cut(3, revoked(), 1_000), None);
        assert_eq!(streams.cut(3, Reason::TokenExpired, 1_100), None);
        assert!(streams.overdue(1_399).is_empty());
        assert_eq!(streams.overdue(1_400), [3]);
        assert_eq!(streams.overdue(900), [3], "the clock went back");
        assert_eq!(streams.last_word(3), Some(revoked()));
        assert_eq!(streams.overdue(1_001), [3]);
        assert_eq!(streams.mandates().count(), 0);
        for context in 1..=3 {
            streams.close(context);
        }
        assert!(streams.is_empty() && streams.last_word(3).is_none());
    }

    #[test]
    fn only_what_is_to_end_with_its_mandate_does() {
        let mandate = mandate();
        let mut streams = Streams::default();
        streams.open(1, Arc::clone(&mandate), Rc::default(), true);
        streams.open(2, Arc::clone(&mandate), Rc::default(), false);
        let end = mandate.claims().exp;
        assert!(streams.expired(end).is_empty());
        assert_eq!(streams.expired(end.plus(60)), [1]);
        streams.cut(1, Reason::TokenExpired, 0);
        assert!(streams.expired(end.plus(60)).is_empty());
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
