//! Caracal's proxy-wasm filter. It has no rules of its own: it translates between the host and the
//! `authority` crate, keeps what that decides by in step with the STS, and answers refusals.
//!
//! `config`, `structure`, `identity`, `response`, `replay`, `exchanges` and `sync` know no host and are tested natively; `root`,
//! `filter`, `report`, `host`, `metrics` and `environment` speak proxy-wasm.

pub mod config;
pub mod exchanges;
pub mod identity;
pub mod replay;
pub mod response;
pub mod structure;
pub mod sync;

#[cfg(target_arch = "wasm32")]
mod environment;
#[cfg(target_arch = "wasm32")]
mod filter;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod metrics;
#[cfg(target_arch = "wasm32")]
mod report;
#[cfg(target_arch = "wasm32")]
mod root;
