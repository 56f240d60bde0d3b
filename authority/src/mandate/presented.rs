//! A mandate with what it was presented as: from there comes what a policy is told of it and nobody keeps.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use regorus::Value;

use super::{Mandate, document, locked};
use crate::policy::{Members, Reads, input::MandateInput};

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
        match self.texts(reads) {
            Some(texts) => {
                let texts = texts.map(|(name, text)| (Value::from(name), Value::from(text)));
                texts.collect::<BTreeMap<_, _>>().into()
            }
            None => self.read(reads),
        }
    }

    /// The same, told as the member `name` of an object.
    pub(crate) fn tell_claims(&self, object: &mut Members<'_>, name: &str) {
        let Some(reads) = object.reads(name) else {
            return;
        };
        match self.texts(reads) {
            Some(texts) => object.add_object(name, |claims| {
                for (name, text) in texts {
                    claims.add(name, || text.into());
                }
            }),
            None => object.add(name, || self.read(reads).into()),
        }
    }

    /// The claims that are read where nothing is read but texts that are kept, which most policies leave it at.
    fn texts<'s>(&'s self, reads: &'s Reads) -> Option<impl Iterator<Item = (&'s str, &'s str)>> {
        let claims = self.mandate.claims();
        let text = |name: &'s str| claims.text(name).map(|text| (name, text));
        let all_are = reads.names()?.all(|name| text(name).is_some());
        all_are.then_some(reads.names()?.filter_map(text))
    }

    fn read(&self, reads: &Reads) -> Value {
        let read = match &self.payload {
            Payload::Decoded(payload) => document::read(payload, reads).ok(),
            Payload::Encoded(token) => {
                decoded(token).and_then(|payload| document::read(&payload, reads).ok())
            }
        };
        read.unwrap_or(Value::Undefined)
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
