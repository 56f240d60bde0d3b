//! `caracal resource`.

use std::path::PathBuf;

use authority::resource::Operation;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    Context, ZoneArg, client::path, error::CliError, output::Field, policy_source::read_text,
};

const FIELDS: [Field; 8] = [
    ("id", "id"),
    ("identifier", "identifier"),
    ("name", "name"),
    ("scopes", "scopes"),
    ("operations", "operations"),
    ("enforcement", "operation_enforcement"),
    ("upstream", "upstream_url"),
    ("created", "created_at"),
];
const COLUMNS: [Field; 5] = [
    ("id", "id"),
    ("identifier", "identifier"),
    ("name", "name"),
    ("scopes", "scopes"),
    ("enforcement", "operation_enforcement"),
];

#[derive(Debug, Subcommand)]
pub(super) enum ResourceCommand {
    /// Register what is to be protected
    #[command(after_help = "Examples:\n  \
        caracal resource create resource://demo --zone demo \\\n      \
        --operation 'GET /demo/items=demo:read' --operation 'POST /demo/items=demo:write'\n  \
        caracal resource create resource://files --zone demo --operation 'GET /files/**=files:read'\n  \
        caracal resource create --zone demo --file resource.json")]
    Create {
        /// Identifier, a URI such as resource://demo
        #[arg(required_unless_present = "file")]
        identifier: Option<String>,
        #[command(flatten)]
        zone: ZoneArg,
        #[command(flatten)]
        description: DescriptionArgs,
    },
    /// List resources
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Show a resource and its operations
    Show {
        /// Id, identifier or name
        resource: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Change a resource: what is named replaces what was there, the rest stays
    #[command(
        after_help = "Example:\n  caracal resource update resource://demo --zone demo \\\n      \
        --operation 'GET /demo/items=demo:read' --scope demo:read"
    )]
    Update {
        /// Id, identifier or name
        resource: String,
        #[command(flatten)]
        zone: ZoneArg,
        #[command(flatten)]
        description: DescriptionArgs,
    },
    /// Archive a resource: nothing is minted for it any more, and gateways refuse it
    Archive {
        /// Id, identifier or name
        resource: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
}

/// What a resource is like.
#[derive(Debug, Args)]
pub(super) struct DescriptionArgs {
    /// Name [default: the last part of the identifier]
    #[arg(long)]
    name: Option<String>,
    /// Scope; may be given more than once. Scopes of operations need not be named again
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Operation and the scope that it needs; may be given more than once. In the path, {name}
    /// stands for one segment and a final /** for one or more
    #[arg(long = "operation", value_name = "METHOD PATH=SCOPE", value_parser = parse_operation)]
    operations: Vec<Operation>,
    /// Whether calls outside the operations are refused, or all are governed by the policy alone
    #[arg(long, value_enum)]
    enforcement: Option<Enforcement>,
    /// Where the resource is served
    #[arg(long, value_name = "URL")]
    upstream_url: Option<String>,
    /// A mandate for it is good for one request only
    #[arg(long, value_name = "BOOL")]
    single_use: Option<bool>,
    /// An answer that goes on and on, a stream of events for one, ends with the mandate
    #[arg(long, value_name = "BOOL")]
    end_streams_at_expiry: Option<bool>,
    /// An application that must be in the chain of delegation of whoever calls; may be repeated
    #[arg(long = "require-chain", value_name = "APPLICATION_ID")]
    require_chain_contains: Vec<String>,
    /// What the upstream sees in Authorization, whatever the gateway is configured to do
    #[arg(long, value_enum)]
    forward: Option<ForwardArg>,
    /// Take the description from a JSON file (- for standard input), with the members of the HTTP
    /// interface
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "scopes", "operations", "enforcement", "upstream_url", "single_use", "end_streams_at_expiry", "require_chain_contains", "forward"])]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Enforcement {
    /// A call that no operation covers is refused
    Enforced,
    /// A call that no operation covers needs any scope of the resource
    TransportUniform,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ForwardArg {
    /// Nothing
    None,
    /// The mandate that the client sent
    Mandate,
    /// A mandate of its own, that is good for this resource alone
    ResourceMandate,
}

/// Reads `METHOD PATH=SCOPE`. The path may hold `=`: the scope follows the last one.
fn parse_operation(text: &str) -> Result<Operation, String> {
    let form = "expected METHOD PATH=SCOPE, such as 'GET /demo/items=demo:read'";
    let (method, rest) = text.trim().split_once(char::is_whitespace).ok_or(form)?;
    let (path, scope) = rest
        .rsplit_once('=')
        .ok_or(format!("there is no =SCOPE; {form}"))?;
    let (path, scope) = (path.trim(), scope.trim());
    if !path.starts_with('/') {
        return Err(format!("the path {path:?} does not start with /; {form}"));
    }
    if scope.is_empty() {
        return Err(format!("the scope is empty; {form}"));
    }
    Ok(Operation {
        method: method.to_owned(),
        path: path.to_owned(),
        scope: scope.to_owned(),
    })
}

impl DescriptionArgs {
    /// The members that were named, as the HTTP interface has them.
    fn body(&self) -> Result<Map<String, Value>, CliError> {
        if let Some(file) = &self.file {
            let text = read_text(file)?;
            return serde_json::from_str(&text).map_err(|error| {
                CliError::usage(format!("{}: not a JSON object: {error}", file.display()))
            });
        }
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        let mut scopes = self.scopes.clone();
        for operation in &self.operations {
            if !scopes.contains(&operation.scope) {
                scopes.push(operation.scope.clone());
            }
        }
        set("name", self.name.as_ref().map(|name| json!(name)));
        set("scopes", Some(json!(scopes)).filter(|_| !scopes.is_empty()));
        set(
            "operations",
            Some(json!(self.operations)).filter(|_| !self.operations.is_empty()),
        );
        let enforcement = self
            .enforcement
            .and_then(|enforcement| enforcement.to_possible_value());
        set(
            "operation_enforcement",
            enforcement.map(|value| json!(value.get_name())),
        );
        set(
            "upstream_url",
            self.upstream_url.as_ref().map(|url| json!(url)),
        );
        set("single_use", self.single_use.map(|single| json!(single)));
        set(
            "end_streams_at_expiry",
            self.end_streams_at_expiry.map(|ends| json!(ends)),
        );
        set(
            "require_chain_contains",
            Some(json!(self.require_chain_contains))
                .filter(|_| !self.require_chain_contains.is_empty()),
        );
        let forward = self.forward.and_then(|forward| forward.to_possible_value());
        set("forward", forward.map(|value| json!(value.get_name())));
        Ok(body)
    }
}

pub(super) fn run(command: &ResourceCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let collection = |zone: &ZoneArg| {
        Ok::<_, CliError>(path(&["v1", "zones", &context.zone(zone)?, "resources"]))
    };
    let names = ["identifier", "name"];
    match command {
        ResourceCommand::Create {
            identifier,
            zone,
            description,
        } => {
            let mut body = description.body()?;
            if let Some(identifier) = identifier {
                body.insert("identifier".to_owned(), json!(identifier));
                body.entry("name")
                    .or_insert_with(|| json!(default_name(identifier)));
            }
            context.output.record(
                &client.post(&collection(zone)?, &Value::Object(body))?,
                &FIELDS,
            )
        }
        ResourceCommand::List { zone } => context
            .output
            .list(&client.items(&collection(zone)?)?, &COLUMNS),
        ResourceCommand::Show { resource, zone } => {
            let found = client.find("resource", &collection(zone)?, &names, resource)?;
            context.output.record(&found, &FIELDS)
        }
        ResourceCommand::Update {
            resource,
            zone,
            description,
        } => {
            let body = description.body()?;
            if body.is_empty() {
                return Err(CliError::usage(
                    "nothing to change: name at least one of the options, see --help",
                ));
            }
            let collection = collection(zone)?;
            let id = client.id("resource", &collection, &names, resource)?;
            let changed = client.patch(&format!("{collection}/{id}"), &Value::Object(body))?;
            context.output.record(&changed, &FIELDS)
        }
        ResourceCommand::Archive { resource, zone } => {
            let collection = collection(zone)?;
            let id = client.id("resource", &collection, &names, resource)?;
            client.delete(&format!("{collection}/{id}"))?;
            context.output.either(
                &format!("archived resource {id}\n"),
                &json!({"archived": true, "id": id}),
            )
        }
    }
}

fn default_name(identifier: &str) -> &str {
    identifier
        .rsplit(['/', ':'])
        .find(|part| !part.is_empty())
        .unwrap_or(identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_method_path_and_scope() {
        let cases = [
            (
                "GET /demo/items=demo:read",
                ("GET", "/demo/items", "demo:read"),
            ),
            (
                "  DELETE   /a/{id}/** = a:write ",
                ("DELETE", "/a/{id}/**", "a:write"),
            ),
            ("GET /a=b/c=s", ("GET", "/a=b/c", "s")),
        ];
        for (text, (method, path, scope)) in cases {
            let operation = parse_operation(text).unwrap();
            assert_eq!(
                (
                    operation.method.as_str(),
                    operation.path.as_str(),
                    operation.scope.as_str()
                ),
                (method, path, scope)
            );
        }
    }

    #[test]
    fn an_operation_that_is_none_says_what_was_expected() {
        for text in [
            "",
            "GET",
            "GET /demo",
            "/demo=x",
            "GET demo=x",
            "GET /demo=",
        ] {
            let problem = parse_operation(text).unwrap_err();
            assert!(
                problem.contains("expected METHOD PATH=SCOPE"),
                "{text}: {problem}"
            );
        }
    }

    #[test]
    fn scopes_of_operations_need_not_be_named_again() {
        let description = DescriptionArgs {
            name: None,
            scopes: vec!["demo:admin".into(), "demo:read".into()],
            operations: vec![
                parse_operation("GET /a=demo:read").unwrap(),
                parse_operation("PUT /a=demo:write").unwrap(),
            ],
            enforcement: Some(Enforcement::TransportUniform),
            upstream_url: None,
            single_use: None,
            end_streams_at_expiry: None,
            require_chain_contains: Vec::new(),
            forward: None,
            file: None,
        };
        let body = description.body().unwrap();
        assert_eq!(
            body["scopes"],
            json!(["demo:admin", "demo:read", "demo:write"])
        );
        assert_eq!(body["operation_enforcement"], "transport_uniform");
        assert!(!body.contains_key("upstream_url"));
    }

    #[test]
    fn the_name_is_the_last_part_of_the_identifier() {
        for (identifier, name) in [
            ("resource://demo", "demo"),
            ("https://a.example/b/", "b"),
            ("urn:x:y", "y"),
        ] {
            assert_eq!(default_name(identifier), name);
        }
    }
}
