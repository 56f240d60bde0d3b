//! A Bloom filter over digests (B. H. Bloom, "Space/time trade-offs in hash coding with allowable
//! errors", CACM 13, 1970), probed by enhanced double hashing (P. C. Dillinger and P. Manolios, "Bloom
//! filters in probabilistic verification", FMCAD 2004): the digests are hashes already.

use super::{Digest, wire::MAX_FILTER_BYTES};

/// Bits for each digest. With [`PROBES`] of them, an id that was never added is found once in 4.5
/// million times (0.22e-6), a quarter of the 1e-6 that is promised.
const BITS_EACH: u64 = 32;
const PROBES: u8 = 20;
/// Most probes that a filter may ask for: what a foreign one can cost.
pub(super) const MAX_PROBES: u8 = 64;

/// A set of digests that may hold more than was added to it, but never less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bloom {
    bytes: Vec<u8>,
    probes: u8,
}

impl Bloom {
    /// An empty filter, sized for `load` digests. Past what may travel it grows no more, and finds too
    /// much rather than too little.
    pub fn sized_for(load: usize) -> Self {
        let bits = u64::try_from(load).unwrap_or(u64::MAX).max(1);
        let bytes = usize::try_from(bits.saturating_mul(BITS_EACH) / 8).unwrap_or(usize::MAX);
        Self {
            bytes: vec![0; bytes.min(MAX_FILTER_BYTES)],
            probes: PROBES,
        }
    }

    /// As it travelled; the form has been checked.
    pub(super) fn from_parts(bytes: Vec<u8>, probes: u8) -> Self {
        Self { bytes, probes }
    }

    /// Adds a digest.
    pub fn insert(&mut self, digest: &Digest) {
        for bit in self.probes(digest) {
            if let Some(byte) = self.bytes.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }

    /// Whether the digest may have been added. If not, it has not.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.probes(digest).all(|bit| {
            // What is not there was never written, and the form does not let it happen.
            self.bytes
                .get(bit / 8)
                .is_none_or(|byte| byte & (1 << (bit % 8)) != 0)
        })
    }

    /// The bits, from the lowest of the first byte on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bits stand for a digest.
    pub fn probe_count(&self) -> u8 {
        self.probes
    }

    fn probes(&self, digest: &Digest) -> impl Iterator<Item = usize> + use<> {
        let bits = u64::try_from(self.bytes.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(8)
            .max(1);
        let (first, second) = halves(digest);
        let (mut place, mut step) = (first % bits, second % bits);
        (1..=u64::from(self.probes)).map(move |round| {
            let bit = place;
            place = (place + step) % bits;
            step = (step + round) % bits;
            usize::try_from(bit).unwrap_or(usize::MAX)
        })
    }
}

/// The two halves of a digest as little-endian numbers.
fn halves(digest: &Digest) -> (u64, u64) {
    let number = u128::from_le_bytes(digest.0);
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
    let high = u64::try_from(number >> 64).unwrap_or_default();
    (low, high)
}
