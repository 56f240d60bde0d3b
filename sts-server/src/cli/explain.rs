//! `caracal explain`: the story of a request, for people.

use std::fmt::Write;

use clap::Args;
use serde_json::Value;

use super::{Context, ZoneArg, client::path, error::CliError, output::printable};

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    caracal explain 7f9c2ba4-e88f-4a02-9f2b-0d7e1a3c5b6d --zone demo\n\n\
    The request id is in the answer's body, in the header x-request-id, and in Envoy's access log.")]
pub(super) struct ExplainArgs {
    /// The request
    #[arg(value_name = "REQUEST_ID")]
    request_id: String,
    #[command(flatten)]
    zone: ZoneArg,
}

pub(super) fn run(arguments: &ExplainArgs, context: &Context<'_>) -> Result<(), CliError> {
    let zone = context.zone(&arguments.zone)?;
    let id = &arguments.request_id;
    let address = path(&["v1", "zones", &zone, "audit", "by-request", id, "explain"]);
    let story = context.admin()?.get(&address)?;
    context.output.either(&told(&story), &story)
}

/// A member as text, fit for a terminal.
fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), printable))
                .collect();
            items.join(" ")
        }
        Some(other) => other.to_string(),
    }
}

fn has(value: &Value, name: &str) -> bool {
    value.get(name).is_some_and(|value| !value.is_null())
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn told(story: &Value) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let out = &mut page;
    let _ = writeln!(out, "Request {}", text(story, "request_id"));
    for event in items(story, "events") {
        event_line(out, event);
    }
    let verdict = match text(story, "final_decision").as_str() {
        "allow" => "ALLOWED".to_owned(),
        "deny" => format!("DENIED: {}", text(story, "reason")),
        _ => "no decision on a call".to_owned(),
    };
    let _ = writeln!(out, "\n  {verdict}");
    if let Some(application) = story.get("application").filter(|value| !value.is_null()) {
        let _ = write!(
            out,
            "\nBy whom\n  application {} ({})",
            text(application, "name"),
            text(application, "id")
        );
        if has(application, "archived_at") {
            let _ = write!(out, ", archived {}", text(application, "archived_at"));
        }
        let _ = writeln!(out);
    }
    for session in items(story, "sessions") {
        let labels = match text(session, "labels") {
            labels if labels.is_empty() => String::new(),
            labels => format!(", labels {labels}"),
        };
        let _ = writeln!(
            out,
            "  session {} started {}, now {}{labels}",
            text(session, "agent_session_id"),
            text(session, "started_at"),
            text(session, "status"),
        );
    }
    exchanges(out, story);
    delegations(out, story);
    policy(out, story);
    revocations(out, story);
    page
}

fn event_line(out: &mut String, event: &Value) {
    let what = if has(event, "method") {
        format!(
            "{} {} on {}",
            text(event, "method"),
            text(event, "path"),
            text(event, "resource")
        )
    } else if has(event, "action") {
        text(event, "action")
    } else {
        let asked: Vec<String> = items(event, "resources")
            .iter()
            .map(|resource| text(resource, "identifier"))
            .collect();
        let scopes = text(event, "requested_scopes");
        format!("asked for a mandate: {} for {}", scopes, asked.join(" "))
    };
    let _ = write!(
        out,
        "  {}  {what}: {}",
        text(event, "occurred_at"),
        text(event, "decision")
    );
    if has(event, "reason") {
        let _ = write!(out, " ({})", text(event, "reason"));
    }
    if has(event, "latency_us") {
        let _ = write!(out, ", decided in {} us", text(event, "latency_us"));
    }
    let _ = write!(out, ", event {}", text(event, "seq"));
    if has(event, "gateway_id") {
        let _ = write!(out, ", gateway {}", text(event, "gateway_id"));
    }
    let _ = writeln!(out);
}

fn exchanges(out: &mut String, story: &Value) {
    let mut led = items(story, "exchanges").iter();
    let Some(last) = led.next() else { return };
    let _ = writeln!(
        out,
        "\nThe mandate\n  {} (use {}) for {}, scope {}\n  on behalf of {}, valid {} to {}",
        text(last, "jti"),
        text(last, "use"),
        text(last, "targets"),
        text(last, "scope"),
        text(last, "sub"),
        text(last, "issued_at"),
        text(last, "expires_at"),
    );
    let _ = writeln!(out, "\nMinted by");
    for exchange in std::iter::once(last).chain(led) {
        let _ = write!(
            out,
            "  exchange {} at {}",
            text(exchange, "request_id"),
            text(exchange, "issued_at")
        );
        if has(exchange, "seq") {
            let _ = write!(out, " (event {})", text(exchange, "seq"));
        }
        let _ = writeln!(
            out,
            ": {} for {}, by {}",
            text(exchange, "scope"),
            text(exchange, "targets"),
            ids(exchange, "determining_policies")
        );
    }
}

/// The ids of what decided.
fn ids(value: &Value, name: &str) -> String {
    let ids: Vec<String> = items(value, name)
        .iter()
        .map(|policy| text(policy, "id"))
        .collect();
    if ids.is_empty() {
        "-".to_owned()
    } else {
        ids.join(" ")
    }
}

fn delegations(out: &mut String, story: &Value) {
    let chain = items(story, "delegations");
    if chain.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nDelegated, from the root");
    for edge in chain {
        let _ = writeln!(
            out,
            "  {} ({}) gave {} ({})\n    {} on {}, from {} to {}, {}\n    delegation {}",
            text(edge, "issuer_name"),
            text(edge, "source_session_id"),
            text(edge, "receiver_name"),
            text(edge, "target_session_id"),
            text(edge, "scopes"),
            text(edge, "resources"),
            text(edge, "created_at"),
            text(edge, "expires_at"),
            text(edge, "status"),
            text(edge, "delegation_edge_id"),
        );
    }
}

fn policy(out: &mut String, story: &Value) {
    let Some(policy) = story.get("policy").filter(|value| !value.is_null()) else {
        return;
    };
    let now = match policy.get("in_force_now").and_then(Value::as_bool) {
        Some(true) => "in force now",
        _ => "not in force any more",
    };
    let _ = writeln!(
        out,
        "\nThe policy\n  set {} version {}, {now}\n  {}\n  manifest SHA-256 {}",
        text(policy, "policy_set_name"),
        text(policy, "version"),
        text(policy, "policy_set_version_id"),
        text(policy, "manifest_sha256"),
    );
    for module in items(policy, "modules") {
        let _ = writeln!(
            out,
            "  {} ({})",
            text(module, "name"),
            text(module, "policy_version_id")
        );
    }
    for decided in items(policy, "decided") {
        let _ = writeln!(out, "\nDecided by {}", text(decided, "said"));
        for rule in items(decided, "rules") {
            let _ = writeln!(out, "  {}:{}", text(rule, "module"), text(rule, "line"));
            for line in rule
                .get("text")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .lines()
            {
                let spaced = line.replace('\t', "    ");
                let _ = writeln!(out, "    {}", printable(&spaced));
            }
        }
    }
}

fn revocations(out: &mut String, story: &Value) {
    let revoked = items(story, "revocations");
    let _ = writeln!(out, "\nRevoked by now");
    if revoked.is_empty() {
        let _ = writeln!(out, "  nothing of what the mandate stands on");
    }
    for row in revoked {
        let _ = writeln!(
            out,
            "  {} {} since {}: {}",
            text(row, "anchor_type"),
            text(row, "id"),
            text(row, "revoked_at"),
            text(row, "reason"),
        );
    }
}
