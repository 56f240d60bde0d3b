//! What the policy said of a mandate, so that it is asked once for all calls that look the same to it.
//!
//! A policy that reads of a call no more than its method and its operation says the same to every such call
//! with the same mandate, for as long as the same snapshot decides. Whether a policy is one of these the
//! compiler has seen. Everything that comes before the policy is checked with every call: times, revocation,
//! the resource, the operation and its scope.

use std::sync::{Arc, Mutex, PoisonError};

use super::account::Evaluated;
use crate::refusal::Reason;

/// Most answers that are kept of one mandate: the operations that an agent calls in turn.
const MOST: usize = 8;

/// Longest method that is kept, in bytes: a caller may make up its own.
const MAX_METHOD_BYTES: usize = 32;
/// Most that is kept of what the policy said, in bytes, and once more as it stands in events. With more it is asked
/// every time.
const MAX_SAID_BYTES: usize = 1024;

/// The answers about one mandate, the newest last. Only a verified mandate has any, so that their number is
/// bounded by that of mandates that are kept.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Vec<Answer>>);

/// What the policy is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The [number](crate::snapshot::Snapshot::number) of the snapshot that decides.
    pub(super) snapshot: u64,
    /// The [number](crate::resource::Resource::number) of the resource.
    pub(super) resource: u64,
    pub(super) method: &'a str,
    /// Its place among the operations of the resource.
    pub(super) operation: Option<usize>,
}

/// What it said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Why not.
    pub(super) refusal: Option<Reason>,
    pub(super) evaluated: Arc<Evaluated>,
}

impl Said {
    /// Whether it is no more than is kept of what a policy says.
    pub(super) fn is_short(&self) -> bool {
        self.evaluated.bytes() <= MAX_SAID_BYTES
    }
}

#[derive(Debug)]
struct Answer {
    snapshot: u64,
    resource: u64,
    operation: Option<usize>,
    method: Box<str>,
    said: Said,
}

impl Answer {
    fn is_to(&self, question: &Question<'_>) -> bool {
        self.snapshot == question.snapshot
            && self.resource == question.resource
            && self.operation == question.operation
            && *self.method == *question.method
    }
}

impl Known {
    /// What was said to this before.
    pub(super) fn answer(&self, question: &Question<'_>) -> Option<Said> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = answers.iter().find(|answer| answer.is_to(question))?;
        Some(found.said.clone())
    }

    /// Keeps what was said if it is no more than there is room for, and nothing that another snapshot's
    /// policy said.
    pub(super) fn keep(&self, question: &Question<'_>, said: Said) {
        if question.method.len() > MAX_METHOD_BYTES || !said.is_short() {
            return;
        }
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|answer| answer.snapshot == question.snapshot);
        if answers.len() >= MOST {
            answers.remove(0);
        }
        // Most mandates are good for one operation, or are used for one.
        answers.reserve_exact(1);
        answers.push(Answer {
            snapshot: question.snapshot,
            resource: question.resource,
            operation: question.operation,
            method: question.method.into(),
            said,
        });
    }
}
