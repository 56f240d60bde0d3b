//! `caracal delegation tree`: the sessions of a zone below one another, and under each what was delegated
//! to it.

use std::{
    collections::{BTreeMap, HashMap},
    io::IsTerminal,
};

use clap::Args;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Context, ZoneArg,
    client::{Client, path},
    error::CliError,
    instant,
    output::printable,
    session::application_id,
};

/// Longest text of one label or list of scopes.
const MAX_TEXT: usize = 60;
/// How much of an id is shown: enough to tell apart, as the first half of a UUIDv7 is its time.
const SHOWN_OF_ID: usize = 12;

#[derive(Args, Debug)]
pub(super) struct TreeArgs {
    #[command(flatten)]
    zone: ZoneArg,
    /// This session and what is below it
    #[arg(long, value_name = "SESSION_ID")]
    session: Option<String>,
    /// Of this application, by id or name
    #[arg(long)]
    app: Option<String>,
    /// With sessions that have ended, and delegations that are not in force
    #[arg(long)]
    all: bool,
    /// Show ids in full
    #[arg(long)]
    ids: bool,
}

pub(super) fn run(
    arguments: &TreeArgs,
    client: &Client,
    context: &Context<'_>,
) -> Result<(), CliError> {
    let zone = context.zone(&arguments.zone)?;
    let app = arguments
        .app
        .as_ref()
        .map(|app| application_id(client, &zone, app))
        .transpose()?;
    let filter: Vec<(&str, &str)> = app
        .iter()
        .map(|id| ("application_id", id.as_str()))
        .collect();
    let sessions = client.items_where(&path(&["zones", &zone, "agents"]), &filter)?;
    let delegations = if arguments.all {
        all_delegations(client, &zone, &sessions)?
    } else {
        client.items(&path(&["zones", &zone, "delegations", "active"]))?
    };
    let names: HashMap<String, String> = client
        .items(&path(&["v1", "zones", &zone, "applications"]))?
        .iter()
        .map(|application| (text(application, "id"), text(application, "name")))
        .collect();
    let tree = Tree {
        arguments,
        names,
        now: instant::now(),
        colour: std::io::stdout().is_terminal(),
    };
    let drawn = tree.draw(&sessions, &delegations);
    context.output.either(
        &drawn,
        &json!({"sessions": sessions, "delegations": delegations}),
    )
}

fn all_delegations(
    client: &Client,
    zone: &str,
    sessions: &[Value],
) -> Result<Vec<Value>, CliError> {
    let mut all = Vec::new();
    for session in sessions {
        let id = text(session, "id");
        all.extend(client.items(&path(&["zones", zone, "delegations", "inbound", &id]))?);
    }
    Ok(all)
}

struct Tree<'a> {
    arguments: &'a TreeArgs,
    names: HashMap<String, String>,
    now: u64,
    colour: bool,
}

/// What hangs below a line.
enum Branch<'a> {
    Delegation(&'a Value),
    Session(&'a Value),
}

impl Tree<'_> {
    fn draw(&self, sessions: &[Value], delegations: &[Value]) -> String {
        let is_live = |session: &&Value| {
            self.arguments.all || matches!(text(session, "status").as_str(), "active" | "suspended")
        };
        let shown: Vec<&Value> = sessions.iter().filter(is_live).collect();
        let ids: HashMap<&str, &Value> = shown
            .iter()
            .filter_map(|session| Some((session.get("id")?.as_str()?, *session)))
            .collect();
        let mut children: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        let mut roots = Vec::new();
        for session in &shown {
            let parent = session.get("parent_id").and_then(Value::as_str);
            match (parent, &self.arguments.session) {
                (_, Some(wanted)) if text(session, "id") == *wanted => roots.push(*session),
                (Some(parent), _) if ids.contains_key(parent) => {
                    children.entry(parent).or_default().push(session);
                }
                (_, None) => roots.push(*session),
                _ => {}
            }
        }
        let mut inbound: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for edge in delegations {
            if let Some(target) = edge.get("target_session_id").and_then(Value::as_str) {
                inbound.entry(target).or_default().push(edge);
            }
        }
        if roots.is_empty() {
            return "no sessions\n".to_owned();
        }
        let mut drawn = String::new();
        for root in roots {
            drawn += &format!("{}\n", self.session(root));
            self.below(root, &children, &inbound, "", &mut drawn);
        }
        drawn
    }

    fn below(
        &self,
        session: &Value,
        children: &BTreeMap<&str, Vec<&Value>>,
        inbound: &BTreeMap<&str, Vec<&Value>>,
        indent: &str,
        drawn: &mut String,
    ) {
        let id = text(session, "id");
        let held = inbound.get(id.as_str()).into_iter().flatten();
        let started = children.get(id.as_str()).into_iter().flatten();
        let branches: Vec<Branch<'_>> = held
            .map(|edge| Branch::Delegation(edge))
            .chain(started.map(|child| Branch::Session(child)))
            .collect();
        let last = branches.len().saturating_sub(1);
        for (place, branch) in branches.iter().enumerate() {
            let (elbow, bar) = if place == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            match branch {
                Branch::Delegation(edge) => {
                    drawn.push_str(&format!("{indent}{elbow}{}\n", self.delegation(edge)));
                }
                Branch::Session(child) => {
                    drawn.push_str(&format!("{indent}{elbow}{}\n", self.session(child)));
                    // Sessions nest twenty deep at most.
                    let indent = format!("{indent}{bar}");
                    self.below(child, children, inbound, &indent, drawn);
                }
            }
        }
    }

    fn session(&self, session: &Value) -> String {
        let status = text(session, "status");
        let labels = list(session, "labels");
        let mut line = format!(
            "{} {}",
            self.name(&text(session, "application_id")),
            self.id(&text(session, "id"))
        );
        if !labels.is_empty() {
            line += &format!("  [{}]", cut(&labels));
        }
        if text(session, "lifecycle") == "service" {
            line += "  service";
        }
        line += &format!("  {}", self.state(&status));
        line += &format!("  {} old", span(self.since(session, "started_at")));
        line
    }

    fn delegation(&self, edge: &Value) -> String {
        let from = format!(
            "{} {}",
            self.name(&text(edge, "issuer_application_id")),
            self.id(&text(edge, "source_session_id"))
        );
        let verb = if edge.get("inherited") == Some(&json!(true)) {
            "inherits"
        } else {
            "may"
        };
        let mut line = format!(
            "{verb} {} on {}  from {from}",
            cut(&list(edge, "scopes")),
            cut(&list(edge, "resources"))
        );
        let hops = edge.get("max_hops").and_then(Value::as_u64).unwrap_or(1);
        if hops > 1 {
            line += &format!("  {hops} hops");
        }
        match text(edge, "status").as_str() {
            "active" => line += &format!("  {} left", span(self.until(edge, "expires_at"))),
            other => line += &format!("  {}", self.state(other)),
        }
        format!("{line}  ({})", self.id(&text(edge, "id")))
    }

    fn name(&self, application: &str) -> String {
        match self.names.get(application) {
            Some(name) => cut(name),
            None => self.id(application),
        }
    }

    /// The end of an id: the beginning is the time, which neighbours have in common.
    fn id(&self, id: &str) -> String {
        let id = printable(id);
        if self.arguments.ids {
            return id;
        }
        let skip = id.chars().count().saturating_sub(SHOWN_OF_ID);
        let end: String = id.chars().skip(skip).collect();
        if skip > 0 { format!("…{end}") } else { end }
    }

    fn state(&self, state: &str) -> String {
        let colour = match state {
            "active" => "32",
            "suspended" => "33",
            _ => "31",
        };
        let state = printable(state);
        if self.colour {
            format!("\u{1b}[{colour}m{state}\u{1b}[0m")
        } else {
            state
        }
    }

    fn since(&self, object: &Value, member: &str) -> u64 {
        seconds(object, member).map_or(0, |then| self.now.saturating_sub(then))
    }

    fn until(&self, object: &Value, member: &str) -> u64 {
        seconds(object, member).map_or(0, |then| then.saturating_sub(self.now))
    }
}

fn text(object: &Value, member: &str) -> String {
    let text = object.get(member).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn list(object: &Value, member: &str) -> String {
    let items = object.get(member).and_then(Value::as_array);
    let items: Vec<&str> = items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    items.join(" ")
}

/// `text` with nothing that a terminal would obey, and not too long.
fn cut(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= MAX_TEXT {
        return text;
    }
    let kept: String = text.chars().take(MAX_TEXT - 1).collect();
    format!("{kept}…")
}

fn seconds(object: &Value, member: &str) -> Option<u64> {
    let text = object.get(member)?.as_str()?;
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

/// A time span in its largest unit, and the next where that says more.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(session: Option<&str>, all: bool) -> TreeArgs {
        TreeArgs {
            zone: ZoneArg::default(),
            session: session.map(str::to_owned),
            app: None,
            all,
            ids: false,
        }
    }

    fn session(id: &str, parent: Option<&str>, status: &str) -> Value {
        json!({
            "id": id, "application_id": "a", "parent_id": parent, "status": status,
            "labels": ["reader"], "lifecycle": "task", "started_at": "2026-01-01T00:00:00Z",
        })
    }

    fn drawn(arguments: &TreeArgs, sessions: &[Value], delegations: &[Value]) -> String {
        let tree = Tree {
            arguments,
            names: HashMap::from([("a".to_owned(), "agent".to_owned())]),
            now: 1_767_225_600 + 125,
            colour: false,
        };
        tree.draw(sessions, delegations)
    }

    #[test]
    fn sessions_hang_below_one_another_with_what_was_delegated_to_them() {
        let sessions = [
            session("lead", None, "active"),
            session("child-of-a-long-id", Some("lead"), "suspended"),
            session("leaf", Some("child-of-a-long-id"), "active"),
            session("gone", Some("lead"), "terminated"),
            session("other", None, "active"),
        ];
        let edge = json!({
            "id": "edge", "source_session_id": "lead", "target_session_id": "child-of-a-long-id",
            "issuer_application_id": "a", "scopes": ["read", "write"], "resources": ["resource://demo"],
            "max_hops": 2, "status": "active", "expires_at": "2026-01-01T02:00:00Z", "inherited": false,
        });
        let text = drawn(
            &arguments(None, false),
            &sessions,
            std::slice::from_ref(&edge),
        );
        let expected = "\
agent lead  [reader]  active  2 min old
└─ agent …of-a-long-id  [reader]  suspended  2 min old
   ├─ may read write on resource://demo  from agent lead  2 hops  1 h 57 min left  (edge)
   └─ agent leaf  [reader]  active  2 min old
agent other  [reader]  active  2 min old
";
        assert_eq!(text, expected);
        let all = drawn(&arguments(None, true), &sessions, &[]);
        assert!(all.contains("└─ agent gone  [reader]  terminated"), "{all}");
        let below = drawn(
            &arguments(Some("child-of-a-long-id"), false),
            &sessions,
            &[],
        );
        assert!(
            below.starts_with("agent …of-a-long-id") && !below.contains("other"),
            "{below}"
        );
        assert_eq!(
            drawn(&arguments(Some("none"), false), &sessions, &[]),
            "no sessions\n"
        );
    }

    #[test]
    fn a_label_cannot_write_to_the_terminal() {
        let mut hostile = session("s", None, "active");
        hostile["labels"] = json!(["\u{1b}[2J", "x".repeat(100)]);
        let text = drawn(&arguments(None, false), &[hostile], &[]);
        assert!(!text.contains('\u{1b}') && text.contains('…'), "{text}");
    }
}
