//! `caracal mint`: one token exchange.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    Context, ZoneArg, application,
    client::is_id,
    error::CliError,
    output::printable,
    secret::{read_secret_file, read_secret_from_stdin, secret_variable},
};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const RESOURCE_MANDATE: &str = "urn:caracal:params:oauth:token-type:resource-mandate";
const LIFECYCLE_SCOPE: &str = "agent:lifecycle";
const SECRET_VARIABLE: &str = "CARACAL_CLIENT_SECRET";

/// Arguments of `caracal mint`.
#[derive(Debug, Args)]
#[command(after_help = "\
The client secret comes from --client-secret-file, from CARACAL_CLIENT_SECRET or
CARACAL_CLIENT_SECRET_FILE, or from standard input; it is never an argument.

Examples:
  export CARACAL_CLIENT_SECRET_FILE=reader.secret
  curl -H \"Authorization: Bearer $(caracal mint --zone demo --app reader \\
      --resource resource://demo --scope demo:read)\" http://127.0.0.1:8081/demo/items
  caracal mint --zone demo --app reader --resource resource://demo --use session")]
pub(super) struct MintArgs {
    /// Application, by id, or by name where an admin token is at hand [env: CARACAL_APPLICATION_ID]
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    #[command(flatten)]
    zone: ZoneArg,
    /// Identifier of a resource; may be given more than once
    #[arg(long = "resource", value_name = "IDENTIFIER", required = true)]
    resources: Vec<String>,
    /// Scope; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE", required_unless_present = "mandate_use", required_if_eq_any = [("mandate_use", "gateway"), ("mandate_use", "resource")])]
    scopes: Vec<String>,
    /// What the mandate is for
    #[arg(long = "use", id = "mandate_use", value_name = "USE", value_enum)]
    mandate_use: Option<Use>,
    /// The governed session to act in
    #[arg(long, value_name = "SESSION_ID")]
    session: Option<String>,
    /// The delegation to act under
    #[arg(long, value_name = "DELEGATION_ID", requires = "session")]
    delegation: Option<String>,
    /// File with the session mandate of whom the subject delegates to
    #[arg(long, value_name = "FILE", requires = "subject_token_file", conflicts_with_all = ["session", "delegation"])]
    actor_token_file: Option<PathBuf>,
    /// Lifetime in seconds [default: 900]
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// File with the client secret
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// File with a session mandate to exchange instead of authenticating with a client secret
    #[arg(long, value_name = "FILE")]
    subject_token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Use {
    /// At a gateway (the default)
    Gateway,
    /// At the resource itself
    Resource,
    /// At the STS, to start sessions with (scope agent:lifecycle)
    Session,
}

pub(super) fn run(arguments: &MintArgs, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.public()?;
    let zone = context.zone(&arguments.zone)?;
    let subject_token = arguments
        .subject_token_file
        .as_deref()
        .map(read_secret_file)
        .transpose()?;
    let secret = client_secret(arguments, context, subject_token.is_some())?;
    let app = application_id(arguments, context, &zone, subject_token.is_some())?;
    let ttl = arguments.ttl.map(|ttl| ttl.to_string());
    let scope = scope(arguments);

    let mut fields = vec![
        ("grant_type", GRANT_TYPE),
        ("zone_id", zone.as_str()),
        ("scope", scope.as_str()),
    ];
    fields.extend(
        arguments
            .resources
            .iter()
            .map(|resource| ("resource", resource.as_str())),
    );
    if let Some(app) = &app {
        fields.push(("application_id", app));
    }
    if let Some(secret) = &secret {
        fields.push(("client_secret", secret));
    }
    if let Some(token) = &subject_token {
        fields.extend([
            ("subject_token", token.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
        ]);
    }
    let actor_token = arguments
        .actor_token_file
        .as_deref()
        .map(read_secret_file)
        .transpose()?;
    if let Some(token) = &actor_token {
        fields.extend([
            ("actor_token", token.as_str()),
            ("actor_token_type", ACCESS_TOKEN),
        ]);
    }
    if let Some(session) = &arguments.session {
        fields.push(("agent_session_id", session));
    }
    if let Some(delegation) = &arguments.delegation {
        fields.push(("delegation_edge_id", delegation));
    }
    if let Some(ttl) = &ttl {
        fields.push(("ttl_seconds", ttl));
    }
    if arguments.mandate_use == Some(Use::Resource) {
        fields.push(("requested_token_type", RESOURCE_MANDATE));
    }
    let answer = client.post_form("/oauth/2/token", &fields)?;
    let mandate = client.member(&answer, "access_token")?;
    for skipped in not_granted(&arguments.resources, &answer) {
        context
            .output
            .note(&format!("not granted: {}", printable(skipped)));
    }
    context.output.either(&format!("{mandate}\n"), &answer)
}

fn scope(arguments: &MintArgs) -> String {
    if arguments.scopes.is_empty() && arguments.mandate_use == Some(Use::Session) {
        return LIFECYCLE_SCOPE.to_owned();
    }
    arguments.scopes.join(" ")
}

/// The resources that were asked for and are not in the answer.
fn not_granted<'a>(resources: &'a [String], answer: &'a Value) -> impl Iterator<Item = &'a str> {
    let granted = answer.get("target_resources").and_then(Value::as_array);
    let missing = move |resource: &&String| {
        granted.is_some_and(|granted| {
            !granted
                .iter()
                .any(|own| own.as_str() == Some(resource.trim()))
        })
    };
    resources.iter().filter(missing).map(String::as_str)
}

/// The secret, which a subject token makes optional.
fn client_secret(
    arguments: &MintArgs,
    context: &Context<'_>,
    optional: bool,
) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(file) = &arguments.client_secret_file {
        return read_secret_file(file).map(Some);
    }
    if let Some((secret, _)) = secret_variable(&context.variables, SECRET_VARIABLE)? {
        return Ok(Some(secret));
    }
    if optional {
        return Ok(None);
    }
    match read_secret_from_stdin()? {
        Some(secret) => Ok(Some(secret)),
        None => Err(CliError::usage(format!(
            "no client secret: name a file with --client-secret-file or {SECRET_VARIABLE}_FILE, set \
             {SECRET_VARIABLE}, or pipe the secret in"
        ))),
    }
}

fn application_id(
    arguments: &MintArgs,
    context: &Context<'_>,
    zone: &str,
    optional: bool,
) -> Result<Option<String>, CliError> {
    let named = arguments
        .app
        .clone()
        .or_else(|| context.variables.text("CARACAL_APPLICATION_ID"));
    match named {
        None if optional => Ok(None),
        None => Err(CliError::usage(
            "which application? Name it with --app APP or in CARACAL_APPLICATION_ID",
        )),
        Some(id) if is_id(&id) => Ok(Some(id)),
        Some(name) => {
            let admin = context.admin().map_err(|error| {
                CliError::usage(format!("{name:?} is not an application's id, and to look up a name takes an admin token: {error}"))
            })?;
            admin
                .id(
                    "application",
                    &application::collection(zone),
                    &["name"],
                    &name,
                )
                .map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Mint {
        #[command(flatten)]
        arguments: MintArgs,
    }

    fn parse(line: &str) -> Result<MintArgs, clap::Error> {
        Mint::try_parse_from(std::iter::once("mint").chain(line.split(' ')))
            .map(|mint| mint.arguments)
    }

    #[test]
    fn a_session_mandate_needs_no_scope_and_others_do() {
        assert_eq!(
            scope(&parse("--resource r --use session").unwrap()),
            "agent:lifecycle"
        );
        assert_eq!(
            scope(&parse("--resource r --scope a --scope b").unwrap()),
            "a b"
        );
        assert!(parse("--resource r").is_err());
        assert!(parse("--resource r --use gateway").is_err());
    }

    #[test]
    fn resources_missing_from_the_answer_are_named() {
        let resources = ["a".to_owned(), "b".to_owned()];
        let answer = json!({"target_resources": ["a"]});
        assert_eq!(not_granted(&resources, &answer).collect::<Vec<_>>(), ["b"]);
        assert_eq!(not_granted(&resources, &json!({})).count(), 0);
    }
}
