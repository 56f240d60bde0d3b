//! `caracal policy diff` and `caracal policy rollback`: what changed between versions, and the way back.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::with_members,
    error::CliError,
    output::{Field, printable},
    policy_set::{found, version_of},
};

const ROLLED_BACK: [Field; 5] = [
    ("policy set", "policy_set"),
    ("version", "version"),
    ("version id", "version_id"),
    ("manifest sha256", "manifest_sha256"),
    ("sequence", "sequence"),
];

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  caracal policy diff 3 4 --zone demo")]
pub(super) struct DiffArgs {
    /// Version, by number or id
    from: String,
    /// Version, by number or id
    to: String,
    /// Policy set, by name or id
    #[arg(long, value_name = "SET", default_value = "main")]
    set: String,
    #[command(flatten)]
    zone: ZoneArg,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  caracal policy rollback --zone demo")]
pub(super) struct RollbackArgs {
    /// Policy set, by name or id
    #[arg(long, value_name = "SET", default_value = "main")]
    set: String,
    #[command(flatten)]
    zone: ZoneArg,
}

pub(super) fn diff(arguments: &DiffArgs, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let set = found(&client, &context.zone(&arguments.zone)?, &arguments.set)?;
    let (from, _) = version_of(&client, &set, &arguments.from)?;
    let (to, _) = version_of(&client, &set, &arguments.to)?;
    let difference = client.post(&format!("{set}/diff"), &json!({"from": from, "to": to}))?;
    context.output.either(&shown(&difference), &difference)
}

/// The unified diffs one after the other, as `patch` would take them.
fn shown(difference: &Value) -> String {
    let modules = difference.get("modules").and_then(Value::as_array);
    let mut text = String::new();
    for module in modules.into_iter().flatten() {
        let member = |name: &str| module.get(name).and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {}",
            printable(member("change")),
            printable(member("name"))
        );
        for line in member("diff").lines() {
            // Tabs are the indentation of Rego.
            let line: Vec<String> = line.split('\t').map(printable).collect();
            let _ = writeln!(text, "{}", line.join("\t"));
        }
    }
    if text.is_empty() {
        text.push_str("no module differs\n");
    }
    text
}

pub(super) fn roll_back(arguments: &RollbackArgs, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let set = found(&client, &context.zone(&arguments.zone)?, &arguments.set)?;
    let activated = client.post(&format!("{set}/rollback"), &json!({}))?;
    let named = with_members(activated, [("policy_set", json!(arguments.set))]);
    context.output.record(&named, &ROLLED_BACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_keeps_its_tabs_and_cannot_drive_the_terminal() {
        let difference = json!({"modules": [{"name": "a", "change": "changed", "diff": "-\told\n+\tnew\u{1b}[31m\n"}]});
        assert_eq!(shown(&difference), "changed a\n-\told\n+\tnew\\u{1b}[31m\n");
        assert_eq!(shown(&json!({"modules": []})), "no module differs\n");
    }
}
