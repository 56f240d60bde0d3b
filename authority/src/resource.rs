//! Resources, and the operations that say which scope a method on a path needs.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ApplicationId, ResourceId},
    mandate::LIFECYCLE_SCOPE,
    path::NormalPath,
};

/// Most scopes of a resource.
pub const MAX_SCOPES: usize = 64;
/// Longest scope, in characters.
pub const MAX_SCOPE_CHARS: usize = 200;
/// Longest identifier, in characters.
pub const MAX_IDENTIFIER_CHARS: usize = 512;
/// Most applications that a chain may be required to contain.
pub const MAX_CHAIN_APPLICATIONS: usize = 16;
/// Most operations of a resource.
pub const MAX_OPERATIONS: usize = 256;

/// A method on a path pattern, and the scope that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// HTTP method in upper case, or `*` for all.
    pub method: String,
    /// Path as the client sends it. A segment `{name}` stands for any one segment, a last segment
    /// `**` for one or more.
    pub path: String,
    /// The scope that a mandate needs.
    pub scope: String,
}

/// What happens to a request that no operation covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationEnforcement {
    /// It is denied.
    #[default]
    Enforced,
    /// It is allowed to whoever holds any scope of the resource: for transports that send
    /// everything to one path, such as JSON-RPC.
    TransportUniform,
}

/// What the upstream sees in `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// Nothing.
    #[default]
    None,
    /// The mandate that the client sent.
    Mandate,
    /// A mandate of its own, for `use=resource`: addressed to the resource alone.
    ResourceMandate,
}

/// A resource as it is written down and carried in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceSpec {
    /// Id in its zone.
    pub id: ResourceId,
    /// URI by which mandates and requests name it, by convention `resource://name`.
    pub identifier: String,
    /// Every scope that it knows.
    pub scopes: Vec<String>,
    /// Its operations.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// What happens outside them.
    #[serde(default)]
    pub operation_enforcement: OperationEnforcement,
    /// Whether a mandate for it is good for one request only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_use: bool,
    /// Whether an answer that goes on and on, a stream of events for one, ends with the mandate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_streams_at_expiry: bool,
    /// Applications that must all be in the chain of delegation of whoever calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require_chain_contains: Vec<ApplicationId>,
    /// What the upstream sees in `Authorization`, if it is not what the gateway's configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

/// Why a resource is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// The identifier is no URI, or too long.
    #[error(
        "the identifier {0:?} is not a URI of at most {MAX_IDENTIFIER_CHARS} printable characters, such as resource://billing"
    )]
    Identifier(String),
    /// None or too many scopes.
    #[error("a resource has 1 to {MAX_SCOPES} scopes, this one has {0}")]
    ScopeCount(usize),
    /// Not a scope token (RFC 6749 section 3.3).
    #[error(
        "{0:?} is not a scope: 1 to {MAX_SCOPE_CHARS} printable characters without space, quote or backslash"
    )]
    Scope(String),
    /// A scope that has a meaning of its own.
    #[error("the scope {LIFECYCLE_SCOPE} is Caracal's own and cannot belong to a resource")]
    ReservedScope,
    /// The same scope twice.
    #[error("the scope {0:?} is listed twice")]
    DuplicateScope(String),
    /// A chain that is required to contain what is no application.
    #[error(
        "require_chain_contains: expected at most {MAX_CHAIN_APPLICATIONS} application ids, each once"
    )]
    Chain,
    /// Too many operations.
    #[error("a resource has at most {MAX_OPERATIONS} operations, this one has {0}")]
    OperationCount(usize),
    /// An operation that says something impossible.
    #[error("operation {method} {path}: {problem}")]
    Operation {
        /// Its method.
        method: String,
        /// Its path pattern.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// One segment of a path pattern. The order is that of precedence: the most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    Literal(String),
    AnyOne,
    AnyRest,
}

/// An operation, ready to match.
#[derive(Clone, Debug)]
struct Pattern {
    segments: Vec<Segment>,
    operation: Operation,
}

impl Pattern {
    fn parse(operation: &Operation) -> Result<Self, String> {
        let method = operation.method.as_str();
        if method != "*"
            && (method.is_empty()
                || !method
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'-'))
        {
            return Err("the method is an HTTP method in upper case, or * for all".to_owned());
        }
        if operation.path.contains(['?', '%']) {
            return Err("the path is written decoded and without a query".to_owned());
        }
        // What could never arrive cannot be an operation either: one rule for both.
        let plain: String = operation
            .path
            .chars()
            .map(|character| match character {
                ' ' | '\u{80}'.. => 'x',
                other => other,
            })
            .collect();
        NormalPath::parse(&plain).map_err(|error| error.to_string())?;
        let names: Vec<&str> = operation.path.split('/').skip(1).collect();
        let last = names.len().saturating_sub(1);
        let segments = names
            .iter()
            .enumerate()
            .map(|(place, name)| match *name {
                "**" if place == last => Ok(Segment::AnyRest),
                "*" | "**" => {
                    Err("write {name} for any one segment, ** only at the end".to_owned())
                }
                name if name.starts_with('{') && name.ends_with('}') && name.len() > 2 => {
                    Ok(Segment::AnyOne)
                }
                name if name.contains(['{', '}', '*']) => Err(format!(
                    "the segment {name:?} mixes text with a pattern; a {{name}} is a whole segment"
                )),
                name => Ok(Segment::Literal(name.to_owned())),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            segments,
            operation: operation.clone(),
        })
    }

    /// Most specific first: literal before `{name}` before `**`, from the left; then a named method
    /// before `*`.
    fn precedence(&self) -> (&[Segment], bool) {
        (&self.segments, self.operation.method == "*")
    }

    fn matches(&self, method: &str, path: &NormalPath) -> bool {
        if self.operation.method != "*" && self.operation.method != method {
            return false;
        }
        let mut actual = path.segments();
        for segment in &self.segments {
            match (segment, actual.next()) {
                (Segment::Literal(expected), Some(name)) if expected == name => {}
                (Segment::AnyOne, Some(name)) if !name.is_empty() => {}
                (Segment::AnyRest, Some(name)) => return !name.is_empty(),
                _ => return false,
            }
        }
        actual.next().is_none()
    }
}

/// A resource that can be decided on: everything in its specification holds together.
#[derive(Clone, Debug)]
pub struct Resource {
    number: u64,
    spec: ResourceSpec,
    patterns: Vec<Pattern>,
    document: regorus::Value,
}

impl Resource {
    /// Checks `spec` and makes it ready to match.
    ///
    /// # Errors
    /// Every variant of [`ResourceError`].
    pub fn new(spec: ResourceSpec) -> Result<Self, ResourceError> {
        check_identifier(&spec.identifier)?;
        check_scopes(&spec.scopes)?;
        if spec.operations.len() > MAX_OPERATIONS {
            return Err(ResourceError::OperationCount(spec.operations.len()));
        }
        check_chain(&spec.require_chain_contains)?;
        let mut shapes = HashSet::new();
        let mut patterns: Vec<Pattern> = Vec::with_capacity(spec.operations.len());
        for operation in &spec.operations {
            let bad = |problem: String| ResourceError::Operation {
                method: operation.method.clone(),
                path: operation.path.clone(),
                problem,
            };
            let pattern = Pattern::parse(operation).map_err(&bad)?;
            if !spec.scopes.contains(&operation.scope) {
                return Err(bad(format!(
                    "its scope {:?} is not among the resource's scopes",
                    operation.scope
                )));
            }
            if !shapes.insert((operation.method.clone(), pattern.segments.clone())) {
                return Err(bad(
                    "another operation has the same method and pattern".to_owned()
                ));
            }
            let place = patterns.partition_point(|one| one.precedence() <= pattern.precedence());
            patterns.insert(place, pattern);
        }
        let document = crate::policy::input::resource_document(&spec);
        Ok(Self {
            number: crate::number::next(),
            spec,
            patterns,
            document,
        })
    }

    /// What the resource was made from.
    pub fn spec(&self) -> &ResourceSpec {
        &self.spec
    }

    /// The URI that names the resource.
    pub fn identifier(&self) -> &str {
        &self.spec.identifier
    }

    /// Whether the resource knows `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.spec.scopes.iter().any(|own| own == scope)
    }

    /// The most specific operation that covers `method` on `path`.
    pub fn operation(&self, method: &str, path: &NormalPath) -> Option<&Operation> {
        self.covering(method, path).map(|(_, operation)| operation)
    }

    /// The same with its place, by which it is known from the resource's others.
    pub(crate) fn covering(&self, method: &str, path: &NormalPath) -> Option<(usize, &Operation)> {
        let mut patterns = self.patterns.iter().enumerate();
        let (place, pattern) = patterns.find(|(_, pattern)| pattern.matches(method, path))?;
        Some((place, &pattern.operation))
    }

    /// No resource of this process that was made of something else has it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The resource as the policy sees it.
    pub(crate) fn document(&self) -> &regorus::Value {
        &self.document
    }
}

fn check_identifier(identifier: &str) -> Result<(), ResourceError> {
    let error =
        || ResourceError::Identifier(identifier.chars().take(MAX_IDENTIFIER_CHARS).collect());
    let (scheme, rest) = identifier.split_once(':').ok_or_else(error)?;
    let scheme_ok = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let printable = rest
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"\\<>".contains(&byte));
    if scheme_ok && printable && !rest.is_empty() && identifier.len() <= MAX_IDENTIFIER_CHARS {
        Ok(())
    } else {
        Err(error())
    }
}

fn check_chain(applications: &[ApplicationId]) -> Result<(), ResourceError> {
    let is_id = |id: &ApplicationId| {
        (1..=128).contains(&id.as_str().len())
            && id.as_str().bytes().all(|byte| byte.is_ascii_graphic())
    };
    let distinct: HashSet<&ApplicationId> = applications.iter().collect();
    if applications.len() > MAX_CHAIN_APPLICATIONS
        || distinct.len() < applications.len()
        || !applications.iter().all(is_id)
    {
        return Err(ResourceError::Chain);
    }
    Ok(())
}

fn check_scopes(scopes: &[String]) -> Result<(), ResourceError> {
    if scopes.is_empty() || scopes.len() > MAX_SCOPES {
        return Err(ResourceError::ScopeCount(scopes.len()));
    }
    let mut seen = HashSet::new();
    for scope in scopes {
        if scope == LIFECYCLE_SCOPE {
            return Err(ResourceError::ReservedScope);
        }
        if !is_scope(scope) {
            return Err(ResourceError::Scope(
                scope.chars().take(MAX_SCOPE_CHARS).collect(),
            ));
        }
        if !seen.insert(scope) {
            return Err(ResourceError::DuplicateScope(scope.clone()));
        }
    }
    Ok(())
}

/// Whether `text` is a `scope-token` of RFC 6749 section 3.3, and not over long.
pub fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_SCOPE_CHARS
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn spec(operations: &[(&str, &str, &str)]) -> ResourceSpec {
        ResourceSpec {
            id: "r1".into(),
            identifier: "resource://demo".to_owned(),
            scopes: ["read", "write", "admin"].map(str::to_owned).to_vec(),
            operations: operations
                .iter()
                .map(|(method, path, scope)| Operation {
                    method: (*method).to_owned(),
                    path: (*path).to_owned(),
                    scope: (*scope).to_owned(),
                })
                .collect(),
            operation_enforcement: OperationEnforcement::Enforced,
            single_use: false,
            end_streams_at_expiry: false,
            require_chain_contains: Vec::new(),
            forward: None,
        }
    }

    #[test]
    fn the_most_specific_operation_wins_whatever_the_order() {
        let resource = Resource::new(spec(&[
            ("*", "/files/**", "admin"),
            ("GET", "/files/{id}", "read"),
            ("PUT", "/files/{id}", "write"),
            ("*", "/files/secret", "admin"),
            ("GET", "/files/{id}/meta", "read"),
            ("GET", "/", "read"),
        ]))
        .unwrap();
        for (method, path, scope) in [
            ("GET", "/files/7", Some("read")),
            ("PUT", "/files/7", Some("write")),
            ("DELETE", "/files/7", Some("admin")),
            ("GET", "/files/secret", Some("admin")),
            ("GET", "/files/7/meta", Some("read")),
            ("GET", "/files/7/other", Some("admin")),
            ("GET", "/", Some("read")),
            ("GET", "/files", None),
            ("GET", "/files/", None),
            ("GET", "/Files/7", None),
            ("get", "/files/7/meta", Some("admin")),
        ] {
            let path = NormalPath::parse(path).unwrap();
            let found = resource
                .operation(method, &path)
                .map(|operation| operation.scope.as_str());
            assert_eq!(found, scope, "{method} {path}");
        }
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        for operation in [
            ("get", "/a", "read"),
            ("", "/a", "read"),
            ("GET", "a", "read"),
            ("GET", "/a//b", "read"),
            ("GET", "/a/../b", "read"),
            ("GET", "/a?x", "read"),
            ("GET", "/a%20b", "read"),
            ("GET", "/a/**/b", "read"),
            ("GET", "/a/*", "read"),
            ("GET", "/a/x{id}", "read"),
            ("GET", "/a/{}", "read"),
            ("GET", "/a", "unknown"),
        ] {
            assert!(
                Resource::new(spec(&[operation])).is_err(),
                "{operation:?} passed"
            );
        }
        assert!(
            Resource::new(spec(&[
                ("GET", "/a/{x}", "read"),
                ("GET", "/a/{y}", "write")
            ]))
            .is_err()
        );
        for identifier in [
            "",
            "demo",
            "://x",
            "1a://x",
            "resource://a b",
            "resource:",
            "resource://\u{e9}",
        ] {
            let bad = ResourceSpec {
                identifier: identifier.to_owned(),
                ..spec(&[])
            };
            assert!(Resource::new(bad).is_err(), "{identifier:?} passed");
        }
        for scopes in [
            vec![],
            vec!["a b"],
            vec![""],
            vec!["a", "a"],
            vec!["agent:lifecycle"],
            vec!["a\""],
        ] {
            let bad = ResourceSpec {
                scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
                ..spec(&[])
            };
            assert!(Resource::new(bad).is_err(), "{scopes:?} passed");
        }
    }
}
