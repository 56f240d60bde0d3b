//! Requests that were let pass and are not over yet: what may be cut, and how each is cut so that its
//! client learns why, as far as the protocol lets it. No host here: whoever uses this does the cutting.

use std::{collections::HashMap, sync::Arc, time::Duration};

use authority::{
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
    answer: Answer,
    /// Whether it ends with the mandate.
    ends_with_mandate: bool,
    /// Why it is being cut, and since when.
    cut: Option<(Reason, Millis)>,
}

/// How a stream is to be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// There is no answer yet, so a refusal can be one.
    Refuse(Reason),
    /// It is reset: in the middle of an answer nothing can be said.
    Reset(Reason),
}

/// What passes through a worker, by the contexts of the host.
#[derive(Debug, Default)]
pub struct Streams(HashMap<u32, Stream>);

impl Streams {
    /// A request passes.
    pub fn open(&mut self, context: u32, mandate: Arc<Mandate>, ends_with_mandate: bool) {
        let stream = Stream {
            mandate,
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
        stream.cut = Some((reason.clone(), now));
        match stream.answer {
            Answer::Awaited => Some(Cut::Refuse(reason)),
            Answer::Begun => Some(Cut::Reset(reason)),
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
