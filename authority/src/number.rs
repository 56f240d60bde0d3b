//! Numbers by which things of this process are told apart.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that was not given before.
pub(crate) fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
