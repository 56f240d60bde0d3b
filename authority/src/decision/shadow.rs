//! Shadow policies: what a policy that is tried out would have decided beside the one that is in
//! force, and the bounded account of where the two disagree. A shadow never changes an outcome.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    policy::{EvalError, PolicyResult},
    refusal::Reason,
};

/// Longest name of an application, a method or a reason that is kept, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest resource identifier or path that is kept, in bytes.
pub const MAX_PATH_BYTES: usize = 512;
/// Most rows in one report.
pub const MAX_REPORT_ROWS: usize = 256;

/// Text of at most `MAX` bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// As much of `text` as fits.
    pub fn cut(text: &str) -> Self {
        let end = (0..=MAX.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        Self(text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > MAX {
            return Err(format!("a text of {} bytes, {MAX} at most", text.len()));
        }
        Ok(Self(text))
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

/// What a policy decided, in short. A policy that gives no result denies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No.
    Deny {
        /// The policy's reason, or that of having no result.
        reason: Text<MAX_NAME_BYTES>,
    },
}

impl Verdict {
    /// A no for this reason.
    pub fn deny(reason: &str) -> Self {
        Self::Deny {
            reason: Text::cut(reason),
        }
    }

    /// What an evaluation comes to.
    pub fn of(evaluated: &Result<PolicyResult, EvalError>) -> Self {
        match evaluated {
            Ok(result) if result.allows() => Self::Allow,
            Ok(result) => Self::deny(own_reason(result)),
            Err(error) => Self::deny(failure(error).code()),
        }
    }

    /// Why not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Allow => None,
            Self::Deny { reason } => Some(reason.as_str()),
        }
    }
}

/// The reason that a policy's denial goes by.
pub fn own_reason(denial: &PolicyResult) -> &str {
    denial.reason().unwrap_or("policy_denied")
}

/// The reason that an evaluation without a result goes by.
pub fn failure(error: &EvalError) -> Reason {
    match error {
        EvalError::Undefined => Reason::PolicyUndefined,
        _ => Reason::PolicyEvalFailed,
    }
}

/// The moment of a decision; the `action.id` of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Moment {
    /// In the STS, before a mandate exists.
    TokenExchange,
    /// At the gateway.
    Request,
}

/// A decision on which the shadow disagrees with the policy in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Disagreement {
    /// When it was decided.
    pub moment: Moment,
    /// Who asked.
    pub client_id: Text<MAX_NAME_BYTES>,
    /// For which resource.
    pub resource: Text<MAX_PATH_BYTES>,
    /// Of a request: its method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Text<MAX_NAME_BYTES>>,
    /// Of a request: its path without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Text<MAX_PATH_BYTES>>,
    /// What counted.
    pub enforced: Verdict,
    /// What the shadow said.
    pub shadow: Verdict,
}

/// What a shadow said of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShadowVerdict {
    /// The same.
    Same,
    /// Something else, or the same for another reason.
    Different(Box<Disagreement>),
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRow {
    /// What was decided differently.
    #[serde(flatten)]
    pub disagreement: Disagreement,
    /// How often.
    pub count: u64,
}

/// What became of a shadow since the report before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The policy set version that is the shadow.
    pub version_id: Text<MAX_NAME_BYTES>,
    /// Decisions on which it agreed.
    pub same: u64,
    /// Decisions on which it did not, those included that no row lists.
    pub different: u64,
    /// The disagreements, each once.
    pub rows: Vec<ReportRow>,
}

/// Counts what one shadow says. It lists so many distinct disagreements and no more; the others are
/// counted.
#[derive(Debug)]
pub struct Tally {
    most_rows: usize,
    version_id: String,
    same: u64,
    different: u64,
    rows: BTreeMap<Disagreement, u64>,
}

impl Tally {
    /// An empty tally that lists up to `most_rows` distinct disagreements.
    pub fn listing(most_rows: usize) -> Self {
        Self {
            most_rows,
            version_id: String::new(),
            same: 0,
            different: 0,
            rows: BTreeMap::new(),
        }
    }

    /// Counts one verdict of the shadow `version_id`. What was counted of another shadow is dropped:
    /// nobody asks for it any more.
    pub fn add(&mut self, version_id: &str, verdict: ShadowVerdict) {
        self.begin(version_id);
        match verdict {
            ShadowVerdict::Same => self.same = self.same.saturating_add(1),
            ShadowVerdict::Different(disagreement) => {
                self.different = self.different.saturating_add(1);
                self.list(*disagreement, 1);
            }
        }
    }

    /// What was counted since the last time; nothing if nothing was.
    pub fn take(&mut self) -> Option<Report> {
        if self.same == 0 && self.different == 0 {
            return None;
        }
        Some(Report {
            version_id: Text::cut(&self.version_id),
            same: std::mem::take(&mut self.same),
            different: std::mem::take(&mut self.different),
            rows: std::mem::take(&mut self.rows)
                .into_iter()
                .map(|(disagreement, count)| ReportRow {
                    disagreement,
                    count,
                })
                .collect(),
        })
    }

    /// Takes back a report that reached nobody, unless another shadow has been counted since.
    pub fn put_back(&mut self, report: Report) {
        if self.version_id != report.version_id.as_str() {
            return;
        }
        self.same = self.same.saturating_add(report.same);
        self.different = self.different.saturating_add(report.different);
        for row in report.rows {
            self.list(row.disagreement, row.count);
        }
    }

    fn begin(&mut self, version_id: &str) {
        if self.version_id != version_id {
            *self = Self {
                version_id: version_id.to_owned(),
                ..Self::listing(self.most_rows)
            };
        }
    }

    fn list(&mut self, disagreement: Disagreement, count: u64) {
        if let Some(known) = self.rows.get_mut(&disagreement) {
            *known = known.saturating_add(count);
        } else if self.rows.len() < self.most_rows {
            self.rows.insert(disagreement, count);
        }
    }
}
