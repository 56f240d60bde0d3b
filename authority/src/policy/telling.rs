//! How a document is told, member by member: to one who makes it, or to one who only tells it from others.

use std::collections::BTreeMap;

use regorus::Value;

use super::reads::Reads;
use crate::resource::Resource;

/// A member of a document.
pub(crate) enum Told<'a> {
    Flag(bool),
    Number(u64),
    Text(&'a str),
    Value(Value),
    Resource(&'a Resource),
}

/// An object that is being told.
pub(crate) trait Object {
    /// One more member, which is no object.
    fn tell(&mut self, name: &str, what: Told<'_>);

    /// One more member that is an object, of which `tell` tells once.
    fn tell_object(&mut self, name: &str, tell: &mut dyn FnMut(&mut dyn Object));
}

/// The members of an object, as far as they are read.
pub(crate) struct Members<'o> {
    reads: &'o Reads,
    to: &'o mut dyn Object,
}

impl<'o> Members<'o> {
    pub(crate) fn new(reads: &'o Reads, to: &'o mut dyn Object) -> Self {
        Self { reads, to }
    }

    /// How much is read of a member, if it is read.
    pub(crate) fn reads(&self, name: &str) -> Option<&'o Reads> {
        self.reads.member(name)
    }

    pub(crate) fn add<'a>(&mut self, name: &str, make: impl FnOnce() -> Told<'a>) {
        if self.reads(name).is_some() {
            self.to.tell(name, make());
        }
    }

    pub(super) fn add_if<'a, T>(
        &mut self,
        name: &str,
        what: Option<T>,
        make: impl FnOnce(T) -> Told<'a>,
    ) {
        if let Some(what) = what {
            self.add(name, || make(what));
        }
    }

    pub(crate) fn add_object(&mut self, name: &str, tell: impl FnOnce(&mut Members<'_>)) {
        if let Some(reads) = self.reads(name) {
            let mut tell = Some(tell);
            self.to.tell_object(name, &mut |to| {
                if let Some(tell) = tell.take() {
                    tell(&mut Members { reads, to });
                }
            });
        }
    }
}

/// Makes it.
impl Object for BTreeMap<Value, Value> {
    fn tell(&mut self, name: &str, what: Told<'_>) {
        self.insert(name.into(), what.into());
    }

    fn tell_object(&mut self, name: &str, tell: &mut dyn FnMut(&mut dyn Object)) {
        let mut members = Self::new();
        tell(&mut members);
        self.insert(name.into(), members.into());
    }
}

impl From<Told<'_>> for Value {
    fn from(told: Told<'_>) -> Self {
        match told {
            Told::Flag(flag) => flag.into(),
            Told::Number(number) => number.into(),
            Told::Text(text) => text.into(),
            Told::Value(value) => value,
            Told::Resource(resource) => resource.document().clone(),
        }
    }
}

impl From<bool> for Told<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Told<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Told<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<Value> for Told<'_> {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}
