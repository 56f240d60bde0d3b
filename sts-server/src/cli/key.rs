//! `caracal key`.

use clap::Subcommand;
use serde_json::json;

use super::{Context, ZoneArg, client::path, error::CliError, output::Field};

const COLUMNS: [Field; 5] = [
    ("kid", "kid"),
    ("state", "state"),
    ("created", "created_at"),
    ("activates", "activates_at"),
    ("retires", "retires_at"),
];
const ROTATED: [Field; 2] = [("kid", "kid"), ("activates", "activates_at")];

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List a zone's keys: published, signing, retiring
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Add a key; it is published at once and signs once every verifier knows it
    #[command(after_help = "Example:\n  caracal key rotate --zone demo")]
    Rotate {
        #[command(flatten)]
        zone: ZoneArg,
    },
}

pub(super) fn run(command: &KeyCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let collection =
        |zone: &ZoneArg| Ok::<_, CliError>(path(&["v1", "zones", &context.zone(zone)?, "keys"]));
    match command {
        KeyCommand::List { zone } => context
            .output
            .list(&client.items(&collection(zone)?)?, &COLUMNS),
        KeyCommand::Rotate { zone } => {
            let rotated = client.post(&format!("{}/rotate", collection(zone)?), &json!({}))?;
            context.output.record(&rotated, &ROTATED)
        }
    }
}
