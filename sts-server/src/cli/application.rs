//! `caracal app`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::{path, with_members},
    error::CliError,
    output::Field,
    secret::SecretFile,
};

const FIELDS: [Field; 6] = [
    ("id", "id"),
    ("name", "name"),
    ("registration", "registration_method"),
    ("traits", "traits"),
    ("created", "created_at"),
    ("client secret", "client_secret"),
];
const COLUMNS: [Field; 4] = [
    ("id", "id"),
    ("name", "name"),
    ("traits", "traits"),
    ("created", "created_at"),
];

#[derive(Debug, Subcommand)]
pub(super) enum ApplicationCommand {
    /// Register an application; its client secret is shown once
    #[command(after_help = "Examples:\n  \
        caracal app create reader --zone demo --secret-file reader.secret\n  \
        SECRET=$(caracal app create reader --zone demo --output json | jq -r .client_secret)")]
    Create {
        /// Name, unique in the zone
        name: String,
        #[command(flatten)]
        zone: ZoneArg,
        /// Trait; may be given more than once
        #[arg(long = "trait", value_name = "TRAIT")]
        traits: Vec<String>,
        #[command(flatten)]
        secret: SecretArg,
    },
    /// List applications
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Show an application
    Show {
        /// Id or name
        app: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Replace the client secret; the old one is worthless at once, the new one is shown once
    #[command(
        after_help = "Example:\n  caracal app rotate-secret reader --zone demo --secret-file reader.secret"
    )]
    RotateSecret {
        /// Id or name
        app: String,
        #[command(flatten)]
        zone: ZoneArg,
        #[command(flatten)]
        secret: SecretArg,
    },
    /// Archive an application: it is refused everywhere from now on, by gateways too
    #[command(after_help = "Example:\n  caracal app archive reader --zone demo")]
    Archive {
        /// Id or name
        app: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
}

/// Where a new secret goes.
#[derive(Debug, Args)]
pub(super) struct SecretArg {
    /// Write the secret to this file, for its owner only, instead of showing it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArg {
    /// Runs `request` and shows its answer, in which the secret is `member`.
    pub(super) fn deliver(
        &self,
        context: &Context<'_>,
        member: &str,
        fields: &[Field],
        request: impl FnOnce() -> Result<Value, CliError>,
    ) -> Result<(), CliError> {
        let file = self
            .secret_file
            .as_deref()
            .map(SecretFile::open)
            .transpose()?;
        let mut answer = request()?;
        match (file, &self.secret_file) {
            (Some(file), Some(path)) => {
                let secret = answer
                    .as_object_mut()
                    .and_then(|answer| answer.remove(member));
                file.write(secret.as_ref().and_then(Value::as_str).unwrap_or_default())?;
                context.output.note(&format!(
                    "the secret is in {}; it is not shown again",
                    path.display()
                ));
            }
            _ => context
                .output
                .note("the secret is shown this once; keep it where only its user can read it"),
        }
        context.output.record(&answer, fields)
    }
}

/// Path of a zone's applications.
pub(super) fn collection(zone: &str) -> String {
    path(&["v1", "zones", zone, "applications"])
}

pub(super) fn run(command: &ApplicationCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let find = |collection: &str, app: &str| client.id("application", collection, &["name"], app);
    match command {
        ApplicationCommand::Create {
            name,
            zone,
            traits,
            secret,
        } => {
            let collection = collection(&context.zone(zone)?);
            let traits = Some(("traits", json!(traits))).filter(|_| !traits.is_empty());
            let body = with_members(json!({"name": name}), traits);
            secret.deliver(context, "client_secret", &FIELDS, || {
                client.post(&collection, &body)
            })
        }
        ApplicationCommand::List { zone } => context
            .output
            .list(&client.items(&collection(&context.zone(zone)?))?, &COLUMNS),
        ApplicationCommand::Show { app, zone } => {
            let found = client.find(
                "application",
                &collection(&context.zone(zone)?),
                &["name"],
                app,
            )?;
            context.output.record(&found, &FIELDS)
        }
        ApplicationCommand::RotateSecret { app, zone, secret } => {
            let collection = collection(&context.zone(zone)?);
            let id = find(&collection, app)?;
            secret.deliver(context, "client_secret", &FIELDS, || {
                client.post(&format!("{collection}/{id}/rotate-secret"), &json!({}))
            })
        }
        ApplicationCommand::Archive { app, zone } => {
            let collection = collection(&context.zone(zone)?);
            let id = find(&collection, app)?;
            client.delete(&format!("{collection}/{id}"))?;
            context.output.either(
                &format!("archived application {id}\n"),
                &json!({"archived": true, "id": id}),
            )
        }
    }
}
