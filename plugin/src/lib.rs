//! Caracal's proxy-wasm filter. It has no rules of its own: it translates between the host and the
//! `authority` crate, keeps what that decides by in step with the STS, and answers refusals.
//!
//! `checks`, `config`, `evidence`, `exchanges`, `head`, `identity`, `questions`, `replay`, `response`, `streams`, `structure`
//! and `sync` know no host and are tested natively; the others speak proxy-wasm.

pub mod checks;
pub mod config;
pub mod evidence;
pub mod exchanges;
pub mod head;
pub mod identity;
pub mod questions;
pub mod replay;
pub mod response;
pub mod streams;
pub mod structure;
pub mod sync;

#[cfg(target_arch = "wasm32")]
mod asking;
#[cfg(target_arch = "wasm32")]
mod contexts;
#[cfg(target_arch = "wasm32")]
mod delivery;
#[cfg(target_arch = "wasm32")]
mod environment;
#[cfg(target_arch = "wasm32")]
mod filter;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod metrics;
#[cfg(target_arch = "wasm32")]
mod polling;
#[cfg(target_arch = "wasm32")]
mod raw;
#[cfg(target_arch = "wasm32")]
mod report;
#[cfg(target_arch = "wasm32")]
mod revocation;
#[cfg(target_arch = "wasm32")]
mod root;
#[cfg(target_arch = "wasm32")]
mod worker;
