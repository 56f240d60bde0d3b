//! What a policy is told of a mandate.

use std::sync::Arc;

use regorus::Value;

use super::{Mandate, document, locked};
use crate::policy::{Members, Reads, input::MandateInput};

impl Mandate {
    /// Tells of the claims, unknown ones included, as the member `name` of an object, as far as they are read.
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
            None => object.add(name, || {
                let read = document::read(&self.payload, reads);
                read.unwrap_or(Value::Undefined).into()
            }),
        }
    }

    /// The claims that are read where nothing is read but texts that are kept, which most policies leave it at.
    fn texts<'s>(&'s self, reads: &'s Reads) -> Option<impl Iterator<Item = (&'s str, &'s str)>> {
        let claims = self.claims();
        let text = |name: &'s str| claims.text(name).map(|text| (name, text));
        let all_are = reads.names()?.all(|name| text(name).is_some());
        all_are.then_some(reads.names()?.filter_map(text))
    }

    /// What a policy that reads so much is told of it; `keep` makes the same for all who ask from then on.
    pub(crate) fn input(&self, reads: &Arc<Reads>, keep: bool) -> MandateInput {
        let mut kept = locked(&self.input);
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
