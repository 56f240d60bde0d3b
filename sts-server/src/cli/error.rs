//! Why a command failed, how that is shown on stderr, and the exit code: 2 for a command that makes
//! no sense as given and for tests of policies that failed, 1 for everything else.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use authority::policy::PolicyError;
use serde_json::{Map, Value, json};

use super::output::{Format, Output, printable};

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments, variables or configuration file make no sense.
    #[error("{0}")]
    Usage(String),
    /// A local file.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// No answer.
    #[error("no answer from {url}: {problem}")]
    Unreachable { url: String, problem: String },
    /// An answer that is not the STS's.
    #[error("{url} answered with status {status} and something that the STS does not say: {body}")]
    Foreign {
        url: String,
        status: u16,
        body: String,
    },
    /// The server's no.
    #[error("{}", .0.description)]
    Refused(Box<ServerRefusal>),
    /// A reference that matches nothing, or more than one object.
    #[error("{0}")]
    Reference(String),
    /// Policies with errors.
    #[error("{}", policy_summary(.0))]
    Policy(Vec<PolicyError>),
    /// A finding that has been written already, and stands for failure.
    #[error("{0}")]
    Finding(String),
    /// Tests that did not pass; they have been shown.
    #[error("{0}")]
    Tests(String),
    /// The server could not start or stopped with an error.
    #[error(transparent)]
    Serve(#[from] sts_server::ServeError),
    /// Traces cannot be sent as it is wanted.
    #[error(transparent)]
    Telemetry(#[from] sts_server::TelemetryError),
    /// Standard output.
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

/// An error body of the server.
#[derive(Debug)]
pub(super) struct ServerRefusal {
    pub(super) status: u16,
    pub(super) error: String,
    pub(super) description: String,
    pub(super) reason: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) policy_errors: Vec<PolicyError>,
    /// What the command line can add, such as where a refused token came from.
    pub(super) hint: Option<String>,
}

impl ServerRefusal {
    /// Reads `{error, error_description, reason?, requestId, errors?}`.
    pub(super) fn read(status: u16, body: &Value) -> Option<Self> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let error = text("error")?;
        let policy_errors = body
            .get("errors")
            .and_then(|errors| serde_json::from_value(errors.clone()).ok())
            .unwrap_or_default();
        Some(Self {
            status,
            description: text("error_description").unwrap_or_else(|| error.clone()),
            error,
            reason: text("reason"),
            request_id: text("requestId"),
            policy_errors,
            hint: None,
        })
    }
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    /// Writes the error to stderr and gives the exit code.
    pub(super) fn report(&self, output: Output) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // The reader has what it wanted (`caracal zone list | head -1`).
            return ExitCode::SUCCESS;
        }
        let text = match output.format() {
            Format::Text => self.text(),
            Format::Json => self.json().to_string(),
        };
        // With stderr gone, the exit code has to do.
        let _ = writeln!(io::stderr().lock(), "{text}");
        match self {
            Self::Usage(_) | Self::Tests(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}", printable_lines(&self.to_string()));
        match self {
            Self::Refused(refusal) => {
                text += &format!(
                    "\n  code:    {} (HTTP {})",
                    printable(&refusal.error),
                    refusal.status
                );
                let extra = [
                    ("reason: ", &refusal.reason),
                    ("request:", &refusal.request_id),
                    ("hint:   ", &refusal.hint),
                ];
                for (label, value) in extra {
                    if let Some(value) = value {
                        text += &format!("\n  {label} {}", printable(value));
                    }
                }
                for error in &refusal.policy_errors {
                    text += &format!("\n{}", placed(error));
                }
            }
            Self::Policy(errors) => {
                for error in errors {
                    text += &format!("\n{}", placed(error));
                }
            }
            _ => {}
        }
        text
    }

    fn json(&self) -> Value {
        let mut body = Map::new();
        let (code, extra) = match self {
            Self::Usage(_) => ("usage", json!({})),
            Self::File { path, .. } => ("file", json!({"path": path})),
            Self::Unreachable { url, .. } => ("unreachable", json!({"url": url})),
            Self::Foreign { url, status, .. } => {
                ("foreign_answer", json!({"url": url, "status": status}))
            }
            Self::Reference(_) => ("not_found", json!({})),
            Self::Policy(errors) => ("invalid_rego", json!({"errors": errors})),
            Self::Finding(_) => ("failed", json!({})),
            Self::Tests(_) => ("tests_failed", json!({})),
            Self::Serve(_) | Self::Telemetry(_) => ("serve", json!({})),
            Self::Output(_) => ("output", json!({})),
            Self::Refused(refusal) => (refusal.error.as_str(), refusal_members(refusal)),
        };
        body.insert("error".to_owned(), code.into());
        body.insert("error_description".to_owned(), self.to_string().into());
        if let Value::Object(extra) = extra {
            body.extend(extra);
        }
        Value::Object(body)
    }
}

fn refusal_members(refusal: &ServerRefusal) -> Value {
    let mut members = json!({"status": refusal.status});
    let optional = [
        ("reason", &refusal.reason),
        ("requestId", &refusal.request_id),
        ("hint", &refusal.hint),
    ];
    if let Some(members) = members.as_object_mut() {
        for (name, value) in optional {
            if let Some(value) = value {
                members.insert(name.to_owned(), value.as_str().into());
            }
        }
        if !refusal.policy_errors.is_empty() {
            members.insert("errors".to_owned(), json!(refusal.policy_errors));
        }
    }
    members
}

fn policy_summary(errors: &[PolicyError]) -> String {
    match errors.len() {
        1 => "1 error in the policy".to_owned(),
        number => format!("{number} errors in the policy"),
    }
}

/// `file:line:column: message`, the line, and a caret under the column.
pub(super) fn placed(error: &PolicyError) -> String {
    let mut text = printable_lines(&error.to_string());
    if let Some(snippet) = &error.snippet
        && error.line > 0
    {
        let number = error.line.to_string();
        let before = usize::try_from(error.column.saturating_sub(1)).unwrap_or_default();
        // Tabs stay tabs, so that the caret stands under its column in any terminal.
        let pad: String = snippet
            .chars()
            .take(before)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let gutter = " ".repeat(number.len());
        text += &format!(
            "\n  {number} | {}\n  {gutter} | {pad}^",
            printable_lines(snippet)
        );
    }
    text
}

/// Like [`printable`], but lines and tabs stay.
fn printable_lines(text: &str) -> String {
    text.split('\n')
        .map(|line| {
            line.split('\t')
                .map(printable)
                .collect::<Vec<_>>()
                .join("\t")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> CliError {
        let body = json!({
            "error": "access_denied", "error_description": "policy denied (no_active_policy_set)",
            "reason": "no_active_policy_set", "requestId": "0199-a",
        });
        CliError::Refused(Box::new(ServerRefusal::read(403, &body).unwrap()))
    }

    #[test]
    fn a_refusal_shows_error_description_reason_and_request_id() {
        assert_eq!(
            refusal().text(),
            "error: policy denied (no_active_policy_set)\n  code:    access_denied (HTTP 403)\n  \
             reason:  no_active_policy_set\n  request: 0199-a"
        );
    }

    #[test]
    fn a_refusal_in_json_keeps_the_names_of_the_wire() {
        let expected = json!({
            "error": "access_denied", "error_description": "policy denied (no_active_policy_set)",
            "reason": "no_active_policy_set", "requestId": "0199-a", "status": 403,
        });
        assert_eq!(refusal().json(), expected);
    }

    #[test]
    fn a_policy_error_shows_its_line_with_a_caret_under_the_column() {
        let error = PolicyError {
            file: "grants.rego".into(),
            line: 12,
            column: 4,
            message: "expected `}`".into(),
            snippet: Some("\ta := {".into()),
        };
        assert_eq!(
            placed(&error),
            "grants.rego:12:4: expected `}`\n  12 | \ta := {\n     | \t  ^"
        );
    }

    #[test]
    fn what_a_server_says_cannot_drive_the_terminal() {
        let body = json!({"error": "x", "error_description": "red \u{1b}[31m"});
        let error = CliError::Refused(Box::new(ServerRefusal::read(400, &body).unwrap()));
        assert!(!error.text().contains('\u{1b}'));
    }
}
