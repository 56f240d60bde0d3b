//! The STS over HTTP: a real server on a free port, spoken to as its clients do.

// Helpers of tests are not seen as tests by clippy.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value
)]

mod admin;
mod audit;
mod bundle;
mod decision;
mod delegations;
mod exchange;
mod governed;
mod keys;
mod lifecycle;
mod limits;
mod narrowing;
mod policies;
mod revocation;
mod sessions;
mod shadow;
mod simulate;
mod world;
