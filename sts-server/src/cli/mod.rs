//! The command line: what it accepts, and the road from the arguments to one command and its exit
//! code. Each noun's commands live in the file of that noun.

mod application;
mod audit;
mod audit_convert;
mod audit_export;
mod audit_verify;
mod client;
mod connection;
mod delegation;
mod delegation_tree;
mod error;
mod explain;
mod gateway;
mod health;
mod inspect;
mod instant;
mod key;
mod mint;
mod ocsf;
mod ocsf_parquet;
mod output;
mod policy;
mod policy_eval;
mod policy_files;
mod policy_history;
mod policy_set;
mod policy_shadow;
mod policy_source;
mod policy_test;
mod policy_trial;
mod progress;
mod resource;
mod revoke;
mod secret;
mod serve;
mod session;
mod settings;
mod variables;
mod zone;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use self::{
    client::Client,
    connection::Connection,
    error::CliError,
    output::{Format, Output},
    variables::Variables,
};

/// Authority for AI agents and services: decides before each call, proves it afterwards, and takes
/// it away within a second.
#[derive(Debug, Parser)]
#[command(name = "caracal", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  caracal serve
  caracal zone create demo
  caracal app create reader --zone demo --secret-file reader.secret
  caracal resource create resource://demo --zone demo --operation 'GET /demo/items=demo:read'
  caracal policy activate --zone demo grants.rego
  caracal mint --zone demo --app reader --resource resource://demo --scope demo:read \\
      --client-secret-file reader.secret

The server's address and admin token come from --url and --admin-token-file, from CARACAL_URL and
CARACAL_ADMIN_TOKEN or CARACAL_ADMIN_TOKEN_FILE, or from the data directory of a server on this
machine, in this order.";

/// Options that every command takes.
#[derive(Debug, Args)]
struct Common {
    /// How results are written, and errors too
    #[arg(long, global = true, value_enum, value_name = "text|json", hide_possible_values = true, default_value_t = Format::Text, help_heading = "Common options")]
    output: Format,
    /// Data directory of the server [env: CARACAL_DATA_DIR] [default: ./.caracal]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Common options"
    )]
    data_dir: Option<PathBuf>,
    /// Address of the server that a command talks to [env: CARACAL_URL]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Common options"
    )]
    url: Option<String>,
    /// File that holds the admin token [env: CARACAL_ADMIN_TOKEN, CARACAL_ADMIN_TOKEN_FILE]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Common options"
    )]
    admin_token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Zones: tenancy boundaries, each with its own keys, policy and everything else
    #[command(subcommand)]
    Zone(zone::ZoneCommand),
    /// Applications: registered clients and their secrets
    #[command(subcommand)]
    App(application::ApplicationCommand),
    /// Resources: what is protected, its scopes and its operations
    #[command(subcommand)]
    Resource(resource::ResourceCommand),
    /// Policies: check them, store them, put them in force
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Policy sets: versions of what is in force, to look at, simulate and go back to
    #[command(subcommand)]
    PolicySet(policy_set::PolicySetCommand),
    /// Signing keys of a zone
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Gateways: the tokens with which plugins fetch a zone's bundle
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// Sessions: governed runs of agents
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Delegations: what one session passes on to another
    #[command(subcommand)]
    Delegation(delegation::DelegationCommand),
    /// Take authority away: from a session and all it started, a delegation, an application, a mandate
    Revoke(revoke::RevokeArgs),
    /// Revocations: what is revoked
    #[command(subcommand)]
    Revocation(revoke::RevocationCommand),
    /// Evidence: find events, follow them, take them away, verify them
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Tell the story of a request: who, by whose authority, under which policy, and why so
    Explain(explain::ExplainArgs),
    /// Mint a mandate by token exchange; prints the mandate and nothing else
    Mint(mint::MintArgs),
    /// Decode a mandate, and check its signature where keys are at hand
    Inspect(inspect::InspectArgs),
    /// Whether the server is up and ready
    Health,
}

/// The zone that a command works in.
#[derive(Debug, Args, Default)]
struct ZoneArg {
    /// Zone, by id or slug [env: CARACAL_ZONE_ID]
    #[arg(long, short, value_name = "ZONE")]
    zone: Option<String>,
}

/// What a command needs beside its own arguments.
struct Context<'a> {
    output: Output,
    common: &'a Common,
    variables: Variables<'a>,
}

impl Context<'_> {
    /// A client that presents the admin token.
    fn admin(&self) -> Result<Client, CliError> {
        let connection = Connection::find(self.common, &self.variables)?;
        let token = connection.admin_token(self.common, &self.variables)?;
        Client::new(connection.url(), Some(token))
    }

    /// A client for what anyone may call.
    fn public(&self) -> Result<Client, CliError> {
        Client::new(Connection::find(self.common, &self.variables)?.url(), None)
    }

    /// The zone named by the flag or by `CARACAL_ZONE_ID`.
    fn zone(&self, argument: &ZoneArg) -> Result<String, CliError> {
        argument
            .zone
            .clone()
            .or_else(|| self.variables.text("CARACAL_ZONE_ID"))
            .ok_or_else(|| {
                CliError::usage("which zone? Name it with --zone ZONE or in CARACAL_ZONE_ID")
            })
    }
}

/// Parses the arguments, runs the command, and reports its failure.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    sts_server::bound_policies();
    let output = Output::new(cli.common.output);
    let context = Context {
        output,
        common: &cli.common,
        variables: Variables::of_process(),
    };
    match run(&cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(output),
    }
}

fn run(command: &Command, context: &Context<'_>) -> Result<(), CliError> {
    match command {
        Command::Serve(arguments) => serve::run(arguments, context),
        Command::Zone(command) => zone::run(command, context),
        Command::App(command) => application::run(command, context),
        Command::Resource(command) => resource::run(command, context),
        Command::Policy(command) => policy::run(command, context),
        Command::PolicySet(command) => policy_set::run(command, context),
        Command::Key(command) => key::run(command, context),
        Command::Gateway(command) => gateway::run(command, context),
        Command::Session(command) => session::run(command, context),
        Command::Delegation(command) => delegation::run(command, context),
        Command::Revoke(arguments) => revoke::run(arguments, context),
        Command::Revocation(command) => revoke::run_list(command, context),
        Command::Audit(command) => audit::run(command, context),
        Command::Explain(arguments) => explain::run(arguments, context),
        Command::Mint(arguments) => mint::run(arguments, context),
        Command::Inspect(arguments) => inspect::run(arguments, context),
        Command::Health => health::run(context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_takes_a_secret_as_an_argument() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = name.contains("secret") || (name.contains("token") && name != "token");
                assert!(
                    !secret || name.ends_with("_file"),
                    "{} --{name}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
