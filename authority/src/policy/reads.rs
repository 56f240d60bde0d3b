//! What a policy reads of its input, so that nobody makes what it does not look at.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};

/// Names below each other that are told apart: `context`, `subject_claims` and the name of a claim.
const DEPTH: usize = 3;
/// What is the same for two calls that are the same operation with the same mandate.
const SAME_ACTION: [&str; 3] = ["id", "method", "operation"];

/// What is read of a document: all of it, or some members and of each of them so much.
///
/// As JSON, all is `null` and members are an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reads(Option<BTreeMap<String, Reads>>);

impl Reads {
    /// Nothing.
    pub(crate) fn nothing() -> Self {
        Self(Some(BTreeMap::new()))
    }

    /// All.
    pub fn all() -> Arc<Self> {
        static ALL: OnceLock<Arc<Reads>> = OnceLock::new();
        Arc::clone(ALL.get_or_init(|| Arc::new(Self(None))))
    }

    /// Also what a path of names leads to. Where a name is empty, or none is left, all is read.
    pub(crate) fn add<'a>(&mut self, path: impl IntoIterator<Item = &'a str>) {
        self.add_below(&mut path.into_iter().take(DEPTH));
    }

    fn add_below(&mut self, path: &mut dyn Iterator<Item = &str>) {
        match (&mut self.0, path.next()) {
            (Some(members), Some(name)) if !name.is_empty() => {
                let member = members.entry(name.to_owned());
                member.or_insert_with(Self::nothing).add_below(path);
            }
            _ => self.0 = None,
        }
    }

    /// What is read of a member, if it is read.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match &self.0 {
            Some(members) => members.get(name),
            None => Some(self),
        }
    }

    /// Whether two calls that are the same operation with the same mandate may differ in it: in their paths, their
    /// hosts or the time.
    pub(super) fn the_call(&self) -> bool {
        let action = self.member("action").is_some_and(|action| {
            let names = action.0.as_ref();
            names.is_none_or(|names| names.keys().any(|name| !SAME_ACTION.contains(&&**name)))
        });
        let context = self.member("context");
        action || context.is_some_and(|context| context.member("time").is_some())
    }
}
