//! What is wrong with a policy, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One error in a policy's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyError {
    /// The module's name.
    pub file: String,
    /// Line, from 1; 0 where the error concerns the whole.
    pub line: u32,
    /// Column in characters, from 1; 0 where the error concerns the whole.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// The line of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

impl PolicyError {
    /// An error of a module as a whole.
    pub(super) fn whole(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            snippet: None,
        }
    }

    /// An error at a byte of `source`.
    pub(super) fn at(file: &str, source: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let snippet = source
            .get(line_start..)
            .and_then(|rest| rest.lines().next())
            .map(str::to_owned);
        Self {
            file: file.to_owned(),
            line: count(before.matches('\n').count() + 1),
            column: count(before.get(line_start..).unwrap_or_default().chars().count() + 1),
            message: message.into(),
            snippet,
        }
    }

    /// An error at a line and column that a parser counted, from 1.
    pub(super) fn in_line(
        file: &str,
        source: &str,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: count(line),
            column: count(column),
            message: message.into(),
            snippet: source
                .lines()
                .nth(line.saturating_sub(1))
                .map(str::to_owned),
        }
    }

    /// Takes apart what regorus reports: `--> file:line:column`, the line with a caret, and
    /// `kind: message`.
    pub fn from_regorus(default_file: &str, report: &str) -> Self {
        let report = report.trim();
        let Some((_, located)) = report.split_once("--> ") else {
            return Self::whole(default_file, report);
        };
        let mut lines = located.lines();
        let mut place = lines.next().unwrap_or_default().rsplitn(3, ':');
        let column = place.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let line = place.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let file = place.next().unwrap_or(default_file).to_owned();
        let snippet = lines
            .nth(1)
            .and_then(|numbered| numbered.split_once("| "))
            .map(|(_, text)| text.to_owned());
        let message = lines
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned();
        let message = message
            .strip_prefix("error: ")
            .unwrap_or(&message)
            .to_owned();
        Self {
            file,
            line,
            column,
            message,
            snippet,
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

impl std::error::Error for PolicyError {}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
