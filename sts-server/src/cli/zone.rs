//! `caracal zone`.

use clap::Subcommand;
use serde_json::json;

use super::{
    Context,
    client::{path, with_members},
    error::CliError,
    output::Field,
};

const FIELDS: [Field; 5] = [
    ("id", "id"),
    ("slug", "slug"),
    ("name", "name"),
    ("created", "created_at"),
    ("active policy", "active_policy_set_version_id"),
];

const COLUMNS: [Field; 4] = [
    ("id", "id"),
    ("slug", "slug"),
    ("name", "name"),
    ("created", "created_at"),
];

#[derive(Debug, Subcommand)]
pub(super) enum ZoneCommand {
    /// Create a zone and its first signing key
    #[command(after_help = "Example:\n  caracal zone create 'Team A' --slug team-a")]
    Create {
        /// Name
        name: String,
        /// Short name for paths and options: a-z, 0-9 and hyphens [default: from the name]
        #[arg(long)]
        slug: Option<String>,
    },
    /// List zones
    List,
    /// Show a zone
    Show {
        /// Id or slug
        zone: String,
    },
    /// Archive a zone: it mints nothing more, and its gateways get nothing more
    #[command(after_help = "Example:\n  caracal zone archive team-a")]
    Archive {
        /// Id or slug
        zone: String,
    },
}

pub(super) fn run(command: &ZoneCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    match command {
        ZoneCommand::Create { name, slug } => {
            let slug = slug.iter().map(|slug| ("slug", json!(slug)));
            let body = with_members(json!({"name": name}), slug);
            context
                .output
                .record(&client.post("/v1/zones", &body)?, &FIELDS)
        }
        ZoneCommand::List => context.output.list(&client.items("/v1/zones")?, &COLUMNS),
        ZoneCommand::Show { zone } => context
            .output
            .record(&client.get(&path(&["v1", "zones", zone]))?, &FIELDS),
        ZoneCommand::Archive { zone } => {
            client.delete(&path(&["v1", "zones", zone]))?;
            context.output.either(
                &format!("archived zone {zone}\n"),
                &json!({"archived": true, "zone": zone}),
            )
        }
    }
}
