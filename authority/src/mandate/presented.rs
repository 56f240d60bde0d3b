//! A mandate with what it was presented as: from there comes what a policy is told of it and nobody keeps.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use regorus::Value;

use super::{Mandate, document, locked};
use crate::policy::{Reads, input::MandateInput};

/// A verified mandate as somebody presents it. Only [`verify`](super::verify) and what was kept of it make one.
pub struct Presented<'t> {
    mandate: Arc<Mandate>,
    payload: Payload<'t>,
}

/// What was signed of the token that the mandate was verified as.
enum Payload<'t> {
    Decoded(Vec<u8>),
    /// Within the token.
    Encoded(&'t [u8]),
}

impl<'t> Presented<'t> {
    pub(super) fn first(mandate: Mandate, payload: Vec<u8>) -> Self {
        Self {
            mandate: Arc::new(mandate),
            payload: Payload::Decoded(payload),
        }
    }

    /// One that `token` was verified to be before.
    pub(super) fn again(mandate: Arc<Mandate>, token: &'t [u8]) -> Self {
        Self {
            mandate,
            payload: Payload::Encoded(token),
        }
    }

    /// The mandate by itself.
    pub fn mandate(&self) -> &Arc<Mandate> {
        &self.mandate
    }

    /// The same.
    pub fn into_mandate(self) -> Arc<Mandate> {
        self.mandate
    }

    /// The same without the token.
    pub(super) fn into_owned(self) -> Presented<'static> {
        let payload = match self.payload {
            Payload::Decoded(payload) => payload,
            // What was read once can be read again.
            Payload::Encoded(token) => decoded(token).unwrap_or_default(),
        };
        Presented {
            mandate: self.mandate,
            payload: Payload::Decoded(payload),
        }
    }

    /// The claims as a policy sees them, unknown ones included, as far as they are read.
    pub(crate) fn document(&self, reads: &Reads) -> Value {
        if let Some(document) = self.texts(reads) {
            return document;
        }
        let read = match &self.payload {
            Payload::Decoded(payload) => document::read(payload, reads).ok(),
            Payload::Encoded(token) => {
                decoded(token).and_then(|payload| document::read(&payload, reads).ok())
            }
        };
        read.unwrap_or(Value::Undefined)
    }

    /// The same where nothing is read but texts that are kept, which most policies leave it at.
    fn texts(&self, reads: &Reads) -> Option<Value> {
        let claims = self.mandate.claims();
        let texts = reads.names()?.map(|name| {
            let text = claims.text(name)?;
            Some((Value::from(name), Value::from(text)))
        });
        let texts: Option<BTreeMap<_, _>> = texts.collect();
        Some(texts?.into())
    }

    /// What a policy that reads so much is told of it; `keep` makes the same for all who ask from then on.
    pub(crate) fn input(&self, reads: &Arc<Reads>, keep: bool) -> MandateInput {
        let mut kept = locked(&self.mandate.input);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_for(reads)) {
            return kept.as_ref().clone();
        }
        let made = MandateInput::new(self, reads);
        if keep {
            *kept = Some(Box::new(made.clone()));
        }
        made
    }
}

fn decoded(token: &[u8]) -> Option<Vec<u8>> {
    let payload = token.split(|byte| *byte == b'.').nth(1)?;
    BASE64URL_NOPAD.decode(payload).ok()
}

impl Deref for Presented<'_> {
    type Target = Mandate;

    fn deref(&self) -> &Mandate {
        &self.mandate
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presented").field(&self.mandate).finish()
    }
}
