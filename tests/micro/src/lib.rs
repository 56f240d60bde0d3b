//! The parts of a decision, one by one: timed natively by the benchmark, and in Envoy's V8 as a filter of its
//! own, so that what gets slower has an address. The same filter says what Envoy's own library makes of
//! signatures, for a test.

// A tool for people who read its output; whatever goes wrong ends it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

#[cfg(target_arch = "wasm32")]
mod filter;
mod parts;
mod signatures;

use std::hint::black_box;

pub use self::{
    parts::{HANDWRITTEN, Part, parts, verification_by_host},
    signatures::{Case, Verdicts, verdicts},
};

/// How long a part runs for one figure, in nanoseconds.
const SPAN: u64 = 20_000_000;
const ROUNDS: usize = 7;
/// Independent lanes of the calibration loop: as many as fill the units of a processor.
const LANES: usize = 6;

/// What a part took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// Nanoseconds for one run.
    pub nanos: f64,
    /// The same, in runs of the calibration loop beside it: what can be compared with another day's.
    pub ratio: f64,
}

/// What `part` takes, by a clock in nanoseconds: the best of some rounds, since whatever else the machine does
/// only adds to it.
pub fn measure(part: &mut Part, clock: fn() -> u64) -> Took {
    let (mut runs, mut loops) = (
        fitting(&mut part.run, clock),
        fitting(&mut calibrate, clock),
    );
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        best.0 = best.0.min(timed(&mut calibrate, &mut loops, clock));
        best.1 = best.1.min(timed(&mut part.run, &mut runs, clock));
    }
    Took {
        nanos: best.1,
        ratio: best.1 / best.0,
    }
}

/// How many runs fill a span.
fn fitting(run: &mut dyn FnMut(), clock: fn() -> u64) -> u64 {
    let mut runs = 1;
    loop {
        let started = clock();
        (0..runs).for_each(|_| run());
        let took = clock().saturating_sub(started).max(1);
        if took >= SPAN / 4 {
            return (runs * SPAN / took).max(1);
        }
        runs *= 2;
    }
}

fn timed(run: &mut dyn FnMut(), runs: &mut u64, clock: fn() -> u64) -> f64 {
    let started = clock();
    (0..*runs).for_each(|_| run());
    clock().saturating_sub(started) as f64 / *runs as f64
}

/// Work that nobody's change makes faster or slower: a thousand steps of xorshift64 (Marsaglia 2003) in each of some
/// lanes. One lane alone waits for itself, and feels nothing of who shares the processor with it, as the parts do.
fn calibrate() {
    let mut lanes: [u64; LANES] =
        black_box(std::array::from_fn(|lane| 0x2545_f491_4f6c_dd1d << lane));
    for _ in 0..1_000 {
        for state in &mut lanes {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
        }
    }
    black_box(lanes);
}
