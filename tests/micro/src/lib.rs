//! The parts of a decision, one by one: timed natively by the benchmark, and in Envoy's V8 as a filter of its
//! own, so that what gets slower has an address. The same filter says what Envoy's own library makes of
//! signatures, for a test.

// A tool for people who read its output; whatever goes wrong ends it.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

#[cfg(target_arch = "wasm32")]
mod filter;
mod parts;
mod signatures;

use std::{collections::BTreeMap, hint::black_box};

pub use self::{
    parts::{HANDWRITTEN, Part, parts, verification_by_host},
    signatures::{Case, Verdicts, verdicts},
};

/// How long a part runs for one figure, in nanoseconds.
const SPAN: u64 = 20_000_000;
const ROUNDS: usize = 7;
/// Of the calibration loop: limbs of a number and their bits, products in a row, and members of an object.
const LIMBS: usize = 9;
const LIMB_MASK: u64 = (1 << 29) - 1;
const PRODUCTS: usize = 28;
const MEMBERS: usize = 16;

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

/// Work that nobody's change makes faster or slower, of the two kinds that the parts are made of, about half of each:
/// products of numbers, as in a signature, and texts in a tree, as in a policy's input. What else the machine does
/// slows each kind by so much; a loop of one kind alone follows neither the other nor their mixture.
fn calibrate() {
    products();
    texts();
}

/// Squares of a number of some limbs, as long products and carries.
fn products() {
    let mut limbs: [u64; LIMBS] =
        black_box(std::array::from_fn(|place| 0x0765_4321 + place as u64));
    for _ in 0..PRODUCTS {
        let mut product = [0_u64; 2 * LIMBS];
        for (place, limb) in limbs.iter().enumerate() {
            for (sum, other) in product[place..].iter_mut().zip(&limbs) {
                *sum = sum.wrapping_add(limb.wrapping_mul(*other));
            }
        }
        let (low, high) = product.split_at(LIMBS);
        for (limb, (low, high)) in limbs.iter_mut().zip(low.iter().zip(high)) {
            *limb = (low ^ (high >> 3)) & LIMB_MASK;
        }
    }
    black_box(limbs);
}

/// Members of an object, made, found and dropped.
fn texts() {
    let text = black_box("a member of a document");
    let mut members = BTreeMap::new();
    for number in 0..MEMBERS {
        members.insert(format!("{number} {text}"), text.to_owned());
    }
    let found = members.values().map(String::len).sum::<usize>();
    black_box((found, members.get(text)));
}
