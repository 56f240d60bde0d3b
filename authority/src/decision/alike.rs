//! What the policy said to an input, so that it is not asked about one that is the same, whosever the call is.
//!
//! An input has in it what the policy reads and nothing else, so that new mandates of one application look the same to
//! most policies. A policy is a function of its input (it has no clock, no randomness and nobody to ask), and what a
//! snapshot has beside it never changes: where all of the input is the same, so is the answer. Everything that comes
//! before the policy is checked with every call, as it is with what is [known](super::known) of a mandate.

use super::known::Said;
use crate::{
    policy::{Distinct, input::Call},
    tags::{Kept, Tag, TagKey},
};

/// Most answers that are kept. Only calls with a verified mandate, for an operation that it is good for, get so far as
/// to have one.
const MOST: usize = 4_096;

/// The answers of one policy in one snapshot.
#[derive(Debug)]
pub(crate) struct Answers {
    key: TagKey,
    kept: Kept<Said>,
    /// Where inputs are written.
    scratch: Distinct,
}

impl Answers {
    /// Nothing yet; room for no more answers than mandates are kept.
    pub(crate) fn new(mandates: usize, key: TagKey) -> Self {
        Self {
            key,
            kept: Kept::new(mandates.min(MOST)),
            scratch: Distinct::default(),
        }
    }

    /// Forgets everything: the policy has changed.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }

    /// What stands for the input about a call, unless nothing is kept of such.
    pub(super) fn tag(&mut self, call: &Call<'_>) -> Option<Tag> {
        if self.kept.capacity() == 0 {
            return None;
        }
        self.scratch.clear();
        call.write(&mut self.scratch);
        Some(self.key.tag(self.scratch.whole()?))
    }

    /// What was said to the same before.
    pub(super) fn answer(&mut self, tag: Tag) -> Option<Said> {
        self.kept.get(tag).cloned()
    }

    /// Keeps what was said, if it is no more than there is room for.
    pub(super) fn keep(&mut self, tag: Tag, said: &Said) {
        if said.is_short() {
            self.kept.insert(tag, said.clone());
        }
    }
}
