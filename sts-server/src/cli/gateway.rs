//! `caracal gateway`.

use clap::Subcommand;
use serde_json::json;

use super::{
    Context, ZoneArg, application::SecretArg, client::path, error::CliError, output::Field,
};

const FIELDS: [Field; 4] = [
    ("id", "id"),
    ("name", "name"),
    ("created", "created_at"),
    ("token", "token"),
];
const COLUMNS: [Field; 3] = [("id", "id"), ("name", "name"), ("created", "created_at")];

#[derive(Debug, Subcommand)]
pub(super) enum GatewayCommand {
    /// Register a gateway; its token is shown once
    #[command(after_help = "Example, for the Envoy of envoy.yaml:\n  \
        export CARACAL_GATEWAY_TOKEN=$(caracal gateway create edge-1 --zone demo --output json | jq -r .token)")]
    Create {
        /// Name, such as the host's
        name: String,
        #[command(flatten)]
        zone: ZoneArg,
        #[command(flatten)]
        secret: SecretArg,
    },
    /// List gateways
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Revoke a gateway's token
    #[command(after_help = "Example:\n  caracal gateway revoke edge-1 --zone demo")]
    Revoke {
        /// Id or name
        gateway: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
}

pub(super) fn run(command: &GatewayCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let collection = |zone: &ZoneArg| {
        Ok::<_, CliError>(path(&["v1", "zones", &context.zone(zone)?, "gateways"]))
    };
    match command {
        GatewayCommand::Create { name, zone, secret } => {
            let collection = collection(zone)?;
            secret.deliver(context, "token", &FIELDS, || {
                client.post(&collection, &json!({"name": name}))
            })
        }
        GatewayCommand::List { zone } => context
            .output
            .list(&client.items(&collection(zone)?)?, &COLUMNS),
        GatewayCommand::Revoke { gateway, zone } => {
            let collection = collection(zone)?;
            let id = client.id("gateway", &collection, &["name"], gateway)?;
            client.delete(&format!("{collection}/{id}"))?;
            context.output.either(
                &format!("revoked gateway {id}\n"),
                &json!({"revoked": true, "id": id}),
            )
        }
    }
}
