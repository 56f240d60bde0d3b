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

    /// The names of the members that are read, unless all are.
    pub(crate) fn names(&self) -> Option<impl Iterator<Item = &str>> {
        let members = self.0.as_ref()?;
        Some(members.keys().map(String::as_str))
    }

    /// Whether two calls that are the same operation with the same mandate may differ in it: in their paths, their
    /// hosts or the time.
    pub(super) fn the_call(&self) -> bool {
        let action = self.member("action").is_some_and(|action| {
            let names = action.0.as_ref();
            names.is_none_or(|names| names.keys().any(|name| !SAME_ACTION.contains(&&**name)))
        });
        action || self.the_time()
    }

    /// Whether the time is read.
    pub(crate) fn the_time(&self) -> bool {
        let context = self.member("context");
        context.is_some_and(|context| context.member("time").is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::policy::lexical;

    #[test]
    fn what_is_read_of_a_call_is_seen_in_the_text() {
        let claims = r#"{"context":{"subject_claims":null}}"#;
        let named = r#"{"action":{"method":null},"context":{"subject_claims":{"act":null}}}"#;
        for (rule, read, the_call) in [
            (
                "p if input.principal.id",
                r#"{"principal":{"id":null}}"#,
                false,
            ),
            (
                "p if input.action.operation.path",
                r#"{"action":{"operation":{"path":null}}}"#,
                false,
            ),
            (
                "p if input.context.subject_claims.act.sub\nq if input.action.method",
                named,
                false,
            ),
            (
                "p if input.context.subject_claims.sub\nq := input.context.subject_claims",
                claims,
                false,
            ),
            (
                "p := input.context.subject_claims[x]\nq if input.context.subject_claims.sub",
                claims,
                false,
            ),
            (
                "import input.principal as who\np if who.id",
                r#"{"principal":null}"#,
                false,
            ),
            ("# input.action.path\np := `input.action.path`", "{}", false),
            (
                "p if input.action.path",
                r#"{"action":{"path":null}}"#,
                true,
            ),
            (
                "p if input.action.host",
                r#"{"action":{"host":null}}"#,
                true,
            ),
            ("p if input.action", r#"{"action":null}"#, true),
            (r#"p if input.action["path"]"#, r#"{"action":null}"#, true),
            (
                "p if input.context.time",
                r#"{"context":{"time":null}}"#,
                true,
            ),
            ("p if input.context", r#"{"context":null}"#, true),
            (r#"p if input.context["time"]"#, r#"{"context":null}"#, true),
            (r#"p if input["action"]"#, "null", true),
            ("p if f(input)", "null", true),
            ("p if some x in input", "null", true),
            ("p if q with input as {}", "null", true),
            ("import input as i\np if i.principal", "null", true),
            (r#"p := $"{input.principal.id}""#, "null", true),
        ] {
            let mut reads = Reads::nothing();
            lexical::reads(&format!("package p\nimport rego.v1\n{rule}\n"), &mut reads);
            assert_eq!(json!(reads).to_string(), read, "{rule}");
            assert_eq!(reads.the_call(), the_call, "{rule}");
        }
    }
}
