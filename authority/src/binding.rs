//! Bindings: which resource a request is for, by host and path prefix.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::path::{NormalPath, PathError};

/// Binds hosts and a path prefix to a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingSpec {
    /// The resource's identifier.
    pub identifier: String,
    /// Hosts without port: exact, `*.example.com`, or `*`.
    pub hosts: Vec<String>,
    /// Prefix of the path, matched at the border of a segment.
    pub path_prefix: String,
}

/// Why a binding is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// No host.
    #[error("hosts is empty; write [\"*\"] for all")]
    NoHost,
    /// A host that no request can have.
    #[error("the host {0:?} is neither a name without port, nor *.name, nor *")]
    Host(String),
    /// The prefix is no path.
    #[error("path_prefix: {0}")]
    Prefix(#[from] PathError),
    /// Two bindings that match the same requests equally well.
    #[error("another binding has the host {host} and the prefix {prefix} as well")]
    Duplicate {
        /// The host that both have.
        host: String,
        /// The prefix that both have.
        prefix: String,
    },
}

/// Bindings that do not contradict each other, found by what they bind: however many there are, a request is looked for
/// once for each length that a prefix has.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    by_prefix: HashMap<String, Hosts>,
    /// Of the prefixes, the longest first.
    lengths: Vec<usize>,
}

/// The resources behind one prefix.
#[derive(Clone, Debug, Default)]
struct Hosts {
    exact: HashMap<String, Arc<str>>,
    /// By what a host ends with, the longest first.
    suffixes: Vec<(String, Arc<str>)>,
    any: Option<Arc<str>>,
}

impl Bindings {
    /// Checks `specs`; `Err` names the place of the first bad one.
    ///
    /// # Errors
    /// Every variant of [`BindingError`], with the index of the binding.
    pub fn new(specs: Vec<BindingSpec>) -> Result<Self, (usize, BindingError)> {
        let mut bindings = Self::default();
        for (place, spec) in specs.iter().enumerate() {
            bindings.add(spec).map_err(|error| (place, error))?;
        }
        bindings.lengths = bindings.by_prefix.keys().map(String::len).collect();
        bindings
            .lengths
            .sort_unstable_by(|one, other| other.cmp(one));
        bindings.lengths.dedup();
        Ok(bindings)
    }

    fn add(&mut self, spec: &BindingSpec) -> Result<(), BindingError> {
        let prefix = NormalPath::parse(&spec.path_prefix)?;
        if spec.hosts.is_empty() {
            return Err(BindingError::NoHost);
        }
        let bound = self.by_prefix.entry(prefix.as_str().to_owned());
        let (bound, identifier) = (bound.or_default(), Arc::from(spec.identifier.as_str()));
        for host in &spec.hosts {
            let host = host.to_ascii_lowercase();
            if !is_host_pattern(&host) {
                return Err(BindingError::Host(host));
            }
            if !bound.add(&host, Arc::clone(&identifier)) {
                return Err(BindingError::Duplicate {
                    host,
                    prefix: prefix.as_str().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The identifier bound to a request: longest prefix first, then the closest host.
    pub fn resource(&self, authority: &str, path: &NormalPath) -> Option<&str> {
        let host = host_without_port(authority);
        self.lengths.iter().find_map(|length| {
            let prefix = path.as_str().get(..*length)?;
            let hosts = self.by_prefix.get(prefix)?;
            hosts.resource(host).filter(|_| path.starts_with(prefix))
        })
    }
}

impl Hosts {
    /// Whether the pattern was not there yet.
    fn add(&mut self, pattern: &str, identifier: Arc<str>) -> bool {
        if pattern == "*" {
            return self.any.replace(identifier).is_none();
        }
        let Some(suffix) = pattern.strip_prefix('*') else {
            return self.exact.insert(pattern.to_owned(), identifier).is_none();
        };
        let shorter = |(own, _): &(String, Arc<str>)| own.len() < suffix.len();
        let place = self.suffixes.iter().position(shorter);
        let is_new = !self.suffixes.iter().any(|(own, _)| own == suffix);
        let place = place.unwrap_or(self.suffixes.len());
        self.suffixes.insert(place, (suffix.to_owned(), identifier));
        is_new
    }

    fn resource(&self, host: &str) -> Option<&str> {
        let exact = || {
            if self.exact.is_empty() {
                return None;
            }
            self.exact.get(lowercase(host).as_ref())
        };
        let suffix = || {
            let fitting = self.suffixes.iter().find(|(suffix, _)| {
                let start = host.len().checked_sub(suffix.len());
                let end = start
                    .filter(|start| *start > 0)
                    .and_then(|at| host.get(at..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            });
            fitting.map(|(_, identifier)| identifier)
        };
        let found = exact().or_else(suffix).or(self.any.as_ref());
        found.map(AsRef::as_ref)
    }
}

/// `host` as patterns are written, which nearly all hosts are sent in.
fn lowercase(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn host_without_port(authority: &str) -> &str {
    if authority.starts_with('[') {
        // IPv6 literal: the colon of a port follows the bracket.
        return authority
            .find(']')
            .and_then(|end| authority.get(..=end))
            .unwrap_or(authority);
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _port)| host)
}

fn is_host_pattern(pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let bracketed = name.starts_with('[') && name.ends_with(']');
    !name.is_empty()
        && name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || b"-._".contains(&byte)
                || (bracketed && b"[]:".contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn binding(identifier: &str, hosts: &[&str], path_prefix: &str) -> BindingSpec {
        BindingSpec {
            identifier: identifier.to_owned(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            path_prefix: path_prefix.to_owned(),
        }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_closest_host() {
        let bindings = Bindings::new(vec![
            binding("any", &["*"], "/"),
            binding("files", &["*"], "/files"),
            binding("api", &["api.example.com"], "/"),
            binding("wild", &["*.example.com"], "/"),
            binding("v6", &["[::1]"], "/"),
        ])
        .unwrap();
        for (host, path, identifier) in [
            ("x", "/", "any"),
            ("api.example.com:8081", "/", "api"),
            ("API.example.com", "/x", "api"),
            ("b.example.com", "/x", "wild"),
            ("example.com", "/x", "any"),
            ("api.example.com", "/files/1", "files"),
            ("api.example.com", "/filesystem", "api"),
            ("[::1]:8081", "/", "v6"),
        ] {
            let path = NormalPath::parse(path).unwrap();
            assert_eq!(
                bindings.resource(host, &path),
                Some(identifier),
                "{host} {path}"
            );
        }
        assert_eq!(
            Bindings::default().resource("x", &NormalPath::parse("/").unwrap()),
            None
        );
    }

    #[test]
    fn one_is_found_among_many_and_nothing_beside_them() {
        let prefixes = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/%C3%A9"];
        let hosts = ["*", "x.y", "*.y", "*.x.y", "z"];
        let specs: Vec<BindingSpec> = prefixes
            .iter()
            .flat_map(|prefix| {
                hosts.map(|host| binding(&format!("{host} {prefix}"), &[host], prefix))
            })
            .collect();
        let paths = [
            "/",
            "/a",
            "/a/",
            "/a/b",
            "/a/bc",
            "/a/b/",
            "/a/b/c/d",
            "/ab",
            "/abc",
            "/%C3%A9",
            "/%C3%A9/x",
            "/%C3%A8",
            "/x",
        ];
        let sent = [
            "x.y", "X.Y:80", "w.x.y", ".y", "y", "a.y", "z", "zz", "", "é.y",
        ];
        // Each is left out in turn, and each is alone.
        for left in 0..=specs.len() {
            let mut some = specs.clone();
            let alone: Vec<_> = some.get(left).cloned().into_iter().collect();
            if left < some.len() {
                some.remove(left);
            }
            for specs in [some, alone] {
                let bindings = Bindings::new(specs.clone()).unwrap();
                for path in paths {
                    let path = NormalPath::parse(path).unwrap();
                    for host in sent {
                        let found = bindings.resource(host, &path);
                        assert_eq!(found, model(&specs, host, &path), "{host} {path}");
                    }
                }
            }
        }
    }

    /// The rule as it is documented, by looking at all of them.
    fn model<'s>(specs: &'s [BindingSpec], authority: &str, path: &NormalPath) -> Option<&'s str> {
        let host = host_without_port(authority).to_ascii_lowercase();
        let fit = |pattern: &str| match pattern.strip_prefix('*') {
            Some("") => Some(0),
            Some(end) => (host.len() > end.len() && host.ends_with(end)).then_some(end.len()),
            None => (pattern == host).then_some(usize::MAX),
        };
        let fitting = specs.iter().filter_map(|spec| {
            let prefix = NormalPath::parse(&spec.path_prefix).unwrap();
            let fit = spec.hosts.iter().filter_map(|pattern| fit(pattern)).max()?;
            let fits = path.starts_with(prefix.as_str());
            fits.then_some((prefix.as_str().len(), fit, spec.identifier.as_str()))
        });
        fitting.max().map(|(_, _, identifier)| identifier)
    }

    #[test]
    fn contradictions_and_impossible_hosts_are_refused() {
        assert!(Bindings::new(vec![binding("a", &[], "/")]).is_err());
        assert!(Bindings::new(vec![binding("a", &["x:80"], "/")]).is_err());
        assert!(Bindings::new(vec![binding("a", &["a*"], "/")]).is_err());
        assert!(Bindings::new(vec![binding("a", &["*"], "x")]).is_err());
        let twice = vec![binding("a", &["*"], "/x"), binding("b", &["X", "*"], "/x")];
        for twice in [
            twice,
            vec![binding("a", &["x"], "/x"), binding("b", &["X"], "/%78")],
            vec![
                binding("a", &["*.x"], "/"),
                binding("b", &["*.y", "*.X"], "/"),
            ],
        ] {
            assert!(matches!(
                Bindings::new(twice),
                Err((1, BindingError::Duplicate { .. }))
            ));
        }
    }
}
