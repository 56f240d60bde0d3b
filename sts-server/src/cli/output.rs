//! How results are written: aligned text for people, the server's JSON for programs.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{error::CliError, instant::rfc3339};

/// Form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned text
    Text,
    /// JSON, as the server answers it
    Json,
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
}

/// A column or line: its title, and the member that it shows.
pub(super) type Field = (&'static str, &'static str);

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(super) fn format(self) -> Format {
        self.format
    }

    /// One object: a line for each field that it has.
    pub(super) fn record(self, record: &Value, fields: &[Field]) -> Result<(), CliError> {
        match self.format {
            Format::Text => write(&lines(record, fields)),
            Format::Json => self.json(record),
        }
    }

    /// Many objects: a table, or `{items, next_cursor}` as the server's lists are.
    pub(super) fn list(self, items: &[Value], fields: &[Field]) -> Result<(), CliError> {
        match self.format {
            Format::Text => write(&table(items, fields)),
            Format::Json => self.json(&json!({"items": items, "next_cursor": null})),
        }
    }

    /// `text` for people, `value` for programs.
    pub(super) fn either(self, text: &str, value: &Value) -> Result<(), CliError> {
        match self.format {
            Format::Text => write(text),
            Format::Json => self.json(value),
        }
    }

    /// What is for programs in either form.
    pub(super) fn raw(self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(CliError::Output)
    }

    fn json(self, value: &Value) -> Result<(), CliError> {
        write(&format!("{value:#}\n"))
    }

    /// A remark for people, on stderr.
    pub(super) fn note(self, text: &str) {
        // A remark that cannot be written is no reason to fail.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

fn write(text: &str) -> Result<(), CliError> {
    Output::new(Format::Text).raw(text.as_bytes())
}

/// A table with a header, columns two spaces apart, no trailing spaces.
pub(super) fn table(items: &[Value], fields: &[Field]) -> String {
    let header: Vec<String> = fields
        .iter()
        .map(|(title, _)| title.to_uppercase())
        .collect();
    let rows = items
        .iter()
        .map(|item| fields.iter().map(|(_, name)| cell(item, name)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let mut widths = vec![0; fields.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A line for each field that `record` has.
pub(super) fn lines(record: &Value, fields: &[Field]) -> String {
    let present: Vec<_> = fields
        .iter()
        .filter(|(_, name)| !record.get(name).unwrap_or(&Value::Null).is_null())
        .collect();
    let width = present
        .iter()
        .map(|(title, _)| title.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for (title, name) in present {
        let values = match record.get(name) {
            Some(Value::Array(values)) if values.iter().any(Value::is_object) => {
                values.iter().map(member).collect()
            }
            _ => vec![cell(record, name)],
        };
        for (index, value) in values.iter().enumerate() {
            let title = if index == 0 { title } else { "" };
            let _ = writeln!(text, "{title:<width$}  {value}");
        }
    }
    text
}

fn cell(item: &Value, name: &str) -> String {
    match item.get(name) {
        Some(Value::Number(seconds)) if name.ends_with("_at") => seconds
            .as_u64()
            .map_or_else(|| seconds.to_string(), rfc3339),
        Some(value) => member(value),
        None => "-".to_owned(),
    }
}

fn member(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => printable(text),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(member).collect::<Vec<_>>().join(" "),
        Value::Object(object) => match (
            object.get("method"),
            object.get("path"),
            object.get("scope"),
        ) {
            (Some(method), Some(path), Some(scope)) => {
                format!("{} {} = {}", member(method), member(path), member(scope))
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// `text` without characters that could drive a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut safe, c| {
            if c.is_control() {
                safe.extend(c.escape_default());
            } else {
                safe.push(c);
            }
            safe
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_ends_no_line_with_spaces() {
        let items = [
            json!({"id": "1", "name": "long name", "scopes": ["a:b", "c:d"]}),
            json!({"id": "two", "name": "é", "scopes": []}),
        ];
        let text = table(
            &items,
            &[("id", "id"), ("name", "name"), ("scopes", "scopes")],
        );
        assert_eq!(
            text,
            "ID   NAME       SCOPES\n1    long name  a:b c:d\ntwo  é          -\n"
        );
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(table(&[], &[("id", "id"), ("name", "name")]), "ID  NAME\n");
    }

    #[test]
    fn a_record_has_a_line_for_each_member_and_for_each_operation() {
        let operation = |method: &str| json!({"method": method, "path": "/x", "scope": "s"});
        let record = json!({"id": "1", "upstream_url": null, "operations": [operation("GET"), operation("PUT")]});
        let text = lines(
            &record,
            &[
                ("id", "id"),
                ("upstream", "upstream_url"),
                ("operations", "operations"),
            ],
        );
        assert_eq!(
            text,
            "id          1\noperations  GET /x = s\n            PUT /x = s\n"
        );
    }

    #[test]
    fn times_in_seconds_are_shown_as_dates() {
        let text = lines(
            &json!({"created_at": 1_700_000_000}),
            &[("created", "created_at")],
        );
        assert_eq!(text, "created  2023-11-14T22:13:20Z\n");
    }
}
