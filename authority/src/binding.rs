//! Bindings: which resource a request is for, by host and path prefix.

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

/// How closely a host pattern fits; later variants fit better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Any,
    Suffix(usize),
    Exact,
}

/// Bindings that do not contradict each other.
#[derive(Clone, Debug, Default)]
pub struct Bindings(Vec<BindingSpec>);

impl Bindings {
    /// Checks `specs`; `Err` names the place of the first bad one.
    ///
    /// # Errors
    /// Every variant of [`BindingError`], with the index of the binding.
    pub fn new(mut specs: Vec<BindingSpec>) -> Result<Self, (usize, BindingError)> {
        let mut seen: Vec<(String, String)> = Vec::new();
        for (place, spec) in specs.iter_mut().enumerate() {
            let prefix =
                NormalPath::parse(&spec.path_prefix).map_err(|error| (place, error.into()))?;
            spec.path_prefix = prefix.as_str().to_owned();
            if spec.hosts.is_empty() {
                return Err((place, BindingError::NoHost));
            }
            for host in &mut spec.hosts {
                *host = host.to_ascii_lowercase();
                if !is_host_pattern(host) {
                    return Err((place, BindingError::Host(host.clone())));
                }
                let key = (host.clone(), spec.path_prefix.clone());
                if seen.contains(&key) {
                    return Err((
                        place,
                        BindingError::Duplicate {
                            host: key.0,
                            prefix: key.1,
                        },
                    ));
                }
                seen.push(key);
            }
        }
        Ok(Self(specs))
    }

    /// The identifier bound to a request: longest prefix first, then the closest host.
    pub fn resource(&self, authority: &str, path: &NormalPath) -> Option<&str> {
        let host = host_without_port(authority).to_ascii_lowercase();
        self.0
            .iter()
            .filter(|binding| path.starts_with(&binding.path_prefix))
            .filter_map(|binding| {
                let fit = binding
                    .hosts
                    .iter()
                    .filter_map(|pattern| fit(pattern, &host))
                    .max()?;
                Some((binding.path_prefix.len(), fit, binding.identifier.as_str()))
            })
            .max_by_key(|(prefix, fit, _)| (*prefix, *fit))
            .map(|(_, _, identifier)| identifier)
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

fn fit(pattern: &str, host: &str) -> Option<Fit> {
    if pattern == "*" {
        return Some(Fit::Any);
    }
    match pattern.strip_prefix('*') {
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix))
            .then_some(Fit::Suffix(suffix.len())),
        None => (pattern == host).then_some(Fit::Exact),
    }
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
    fn contradictions_and_impossible_hosts_are_refused() {
        assert!(Bindings::new(vec![binding("a", &[], "/")]).is_err());
        assert!(Bindings::new(vec![binding("a", &["x:80"], "/")]).is_err());
        assert!(Bindings::new(vec![binding("a", &["a*"], "/")]).is_err());
        assert!(Bindings::new(vec![binding("a", &["*"], "x")]).is_err());
        let twice = vec![binding("a", &["*"], "/x"), binding("b", &["X", "*"], "/x")];
        assert!(matches!(
            Bindings::new(twice),
            Err((1, BindingError::Duplicate { .. }))
        ));
    }
}
