//! Caracal's decision core, shared by the gateway plugin and the STS: mandates and their keys,
//! resources and their operations, policies, bundles, and the decision on a request.
//!
//! No I/O, no clock, no randomness and no host calls: time and data come in as arguments, so the
//! same code runs in a proxy's WebAssembly sandbox and in a server, and can be tested in both.
#![warn(missing_docs)]

pub mod audit;
pub mod binding;
pub mod bundle;
pub mod decision;
pub mod delegation;
pub mod ids;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod interop;
pub mod jwks;
pub mod key;
pub mod mandate;
mod number;
pub mod path;
pub mod policy;
pub mod refusal;
pub mod resource;
pub mod revocation;
pub mod signature;
pub mod snapshot;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod time;
pub mod words;

// Named so that its `std` feature reaches regorus, which serialises bytecode with it.
use indexmap as _;
