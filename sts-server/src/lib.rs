//! Caracal's security token service: it mints mandates by token exchange after the policy allows it,
//! keeps zones, applications, resources and policies, and publishes what gateways decide by.
//!
//! Handlers in `http` translate HTTP, the modules of the nouns hold their rules, `store` holds SQL.
//! What the gateway must judge in the same way is not here but in `authority`.

mod activations;
mod applications;
mod bundle;
mod clock;
mod credentials;
mod data_dir;
mod delegations;
mod entropy;
mod error;
mod exchange;
mod gateways;
mod http;
mod introspection;
mod keys;
mod ledger;
mod limits;
mod metrics;
mod name;
mod pace;
mod policies;
mod policy_diff;
mod policy_sets;
mod presence;
mod presented;
mod provenance;
mod receipts;
mod resources;
mod revocations;
mod sealing;
pub mod secret;
mod server;
mod sessions;
mod shadows;
mod simulations;
mod store;
mod sts;
pub mod suite;
mod telemetry;
mod verifier;
mod zones;

pub use self::{
    clock::bound_policies,
    credentials::CredentialError,
    data_dir::DataDirError,
    entropy::EntropyError,
    ledger::LedgerSettings,
    sealing::SealError,
    server::{ServeConfig, ServeError, serve},
    sessions::SessionLimits,
    store::StoreError,
    telemetry::{Telemetry, TelemetryError},
};
