//! Events as a table (RFC 4180).

use authority::{audit::Event, mandate::MandateUse};

const COLUMNS: [&str; 20] = [
    "seq",
    "occurred_at",
    "event_type",
    "action",
    "decision",
    "reason",
    "request_id",
    "client_id",
    "sub",
    "use",
    "jti",
    "agent_session_id",
    "delegation_edge_id",
    "resource",
    "method",
    "path",
    "policy_set_version_id",
    "gateway_id",
    "latency_us",
    "event_id",
];

/// A table with a head.
pub(super) fn table<'a>(events: impl Iterator<Item = (u64, &'a Event)>) -> String {
    let mut text = COLUMNS.join(",");
    text.push_str("\r\n");
    for (seq, event) in events {
        let mandate = &event.mandate;
        let or_nothing = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut resources: Vec<&str> = event
            .resources
            .iter()
            .filter_map(|resource| resource.get("identifier")?.as_str())
            .collect();
        resources.extend(event.resource.as_deref());
        let row = [
            seq.to_string(),
            event.occurred_at.to_string(),
            event.event_type.name().to_owned(),
            or_nothing(&event.action),
            event.decision.name().to_owned(),
            or_nothing(&event.reason),
            event.request_id.clone(),
            or_nothing(&mandate.client_id),
            or_nothing(&mandate.sub),
            mandate.mandate_use.map_or("", MandateUse::name).to_owned(),
            or_nothing(&mandate.jti),
            or_nothing(&mandate.agent_session_id),
            mandate.delegation_path.last().cloned().unwrap_or_default(),
            resources.join(" "),
            or_nothing(&event.method),
            or_nothing(&event.path),
            or_nothing(&event.policy.policy_set_version_id),
            or_nothing(&event.gateway_id),
            event
                .latency_us
                .map(|latency| latency.to_string())
                .unwrap_or_default(),
            event.id.clone(),
        ];
        let row: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
        text.push_str(&row.join(","));
        text.push_str("\r\n");
    }
    text
}

fn quoted(cell: &str) -> String {
    // A spreadsheet takes a cell that begins so for a formula.
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    if guard.is_empty() && !cell.contains(['"', ',', '\r', '\n']) {
        return cell.to_owned();
    }
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_never_formulas() {
        for (cell, text) in [
            ("", ""),
            ("/demo/items", "/demo/items"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(quoted(cell), text);
        }
    }
}
