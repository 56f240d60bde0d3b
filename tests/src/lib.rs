//! What the end-to-end tests share: a gateway that is a real Envoy with the real wasm, an upstream
//! that remembers what reached it, a client that sends exactly the bytes it is told to, mandates good
//! and bad, and a real STS.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod browser;
pub mod clients;
pub mod collector;
pub mod gateway;
pub mod http;
pub mod mandates;
pub mod parts;
pub mod process;
pub mod publisher;
pub mod refusals;
pub mod site;
pub mod sts;
pub mod upstream;
pub mod wasm;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Longest wait for anything. Nothing takes this long; it only ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `attempt` gives something; fails the test if it never does.
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, attempt)
}

/// The same for something that takes up to `patience`.
pub fn within<T>(patience: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "this never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the load of a test is to go on: until this is dropped, or a thread that holds it panics.
/// Without it one failed thread would leave the others running for ever.
#[derive(Debug, Default)]
pub struct Load(AtomicBool);

impl Load {
    /// Calls `work` again and again until the load ends.
    pub fn run(&self, mut work: impl FnMut()) {
        let _ends_with_a_panic = self.ending();
        while !self.0.load(Ordering::Relaxed) {
            work();
        }
    }

    /// Ends the load when what this gives is dropped.
    pub fn ending(&self) -> impl Drop {
        struct Ending<'a>(&'a AtomicBool);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Ending(&self.0)
    }

    /// Fails the test if the load ended before its time.
    pub fn check(&self) {
        assert!(!self.0.load(Ordering::Relaxed), "the load failed");
    }
}
