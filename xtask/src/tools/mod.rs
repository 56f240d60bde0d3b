//! The tools that Caracal is built and run with: found where the user has them, else fetched into
//! `.tools/` (or, for the compiler, from the distribution), their versions checked either way.

pub(crate) mod bindgen_runner;
pub(crate) mod chromium;
mod debian;
pub(crate) mod envoy;
pub(crate) mod python;
pub(crate) mod wasm_target;

use std::process::Command;

/// The standard output of a command that succeeds, or nothing.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A version of two or more numbers, compared in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The first version in a text such as `rustc 1.96.0 (...)`.
    fn find(text: &str) -> Option<Self> {
        text.split(|c: char| c.is_whitespace() || c == '/')
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut numbers = word.split(['-', '+']).next()?.split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        let patch = numbers.next().map_or(Some(0), |patch| patch.parse().ok())?;
        Some(Self {
            major,
            minor,
            patch,
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        let cases = [
            (
                "rustc 1.96.0 (ac68faa20 2026-05-25)",
                Version::new(1, 96, 0),
            ),
            (
                "envoy  version: 9e5580933739775e8bce/1.40.0/Clean/RELEASE/BoringSSL",
                Version::new(1, 40, 0),
            ),
            ("wasm-bindgen-test-runner 0.2.130", Version::new(0, 2, 130)),
            ("cargo 1.97.0-nightly (abc)", Version::new(1, 97, 0)),
            ("1.95", Version::new(1, 95, 0)),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text), Some(version), "{text}");
        }
        assert_eq!(Version::find("no version here 7"), None);
        assert!(Version::new(1, 33, 0) < Version::new(1, 40, 0));
    }
}
