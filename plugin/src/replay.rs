//! Mandates for a single use that were used: a bounded set, cut into shards that fit the host's shared
//! data, so that all workers of a gateway and all lives of its VMs see the same one.

use authority::{mandate::LEEWAY_SECONDS, time::Timestamp};
use sha2::{Digest, Sha256};

/// Into how many cells the set is cut: what a use reads and writes is one of them.
pub const SHARDS: usize = 64;

const HASH_BYTES: usize = 16;
const ENTRY_BYTES: usize = HASH_BYTES + 8;

/// What stands for a mandate in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    hash: [u8; HASH_BYTES],
    /// Until when it must be remembered.
    until: u64,
}

/// What came of marking a mandate as used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It was not: the shard with its mark, to be written.
    Fresh(Vec<u8>),
    /// It was.
    Used,
    /// It was not, and there is no room for its mark.
    Full,
}

impl Mark {
    /// The mark of the mandate `jti` of a zone, which nobody accepts any more after `exp`.
    pub fn new(zone: &str, jti: &str, exp: Timestamp) -> Self {
        let digest = Sha256::new()
            .chain_update(zone)
            .chain_update([0x1f])
            .chain_update(jti)
            .finalize();
        let mut hash = [0; HASH_BYTES];
        for (to, from) in hash.iter_mut().zip(digest) {
            *to = from;
        }
        Self {
            hash,
            until: exp.plus(LEEWAY_SECONDS).seconds(),
        }
    }

    /// The shard that it belongs to.
    pub fn shard(&self) -> usize {
        usize::from(self.hash.last().copied().unwrap_or_default()) % SHARDS
    }

    /// Adds the mark to `shard`, which holds `most` of those that must be remembered still.
    pub fn add(&self, shard: &[u8], now: Timestamp, most: usize) -> Marked {
        let mut kept = Vec::with_capacity(shard.len() + ENTRY_BYTES);
        for entry in shard.chunks_exact(ENTRY_BYTES) {
            let (hash, until) = entry.split_at(HASH_BYTES);
            if until_of(until) <= now.seconds() {
                continue;
            }
            if hash == self.hash {
                return Marked::Used;
            }
            kept.extend_from_slice(entry);
        }
        if kept.len() / ENTRY_BYTES >= most {
            return Marked::Full;
        }
        kept.extend_from_slice(&self.hash);
        kept.extend_from_slice(&self.until.to_le_bytes());
        Marked::Fresh(kept)
    }
}

fn until_of(bytes: &[u8]) -> u64 {
    // Damaged, it is remembered for ever rather than not at all.
    bytes.try_into().map_or(u64::MAX, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn mark(jti: &str, exp: u64) -> Mark {
        Mark::new("z", jti, Timestamp(exp))
    }

    fn fresh(marked: Marked) -> Vec<u8> {
        match marked {
            Marked::Fresh(shard) => shard,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mandate_is_used_once() {
        let shard = fresh(mark("a", 2_000).add(&[], NOW, 10));
        assert_eq!(mark("a", 2_000).add(&shard, NOW, 10), Marked::Used);
        let shard = fresh(mark("b", 2_000).add(&shard, NOW, 10));
        for jti in ["a", "b"] {
            assert_eq!(mark(jti, 2_000).add(&shard, NOW, 10), Marked::Used);
        }
        assert_ne!(Mark::new("y", "a", Timestamp(2_000)), mark("a", 2_000));
    }

    #[test]
    fn it_is_remembered_for_as_long_as_anybody_would_accept_it_and_no_longer() {
        let shard = fresh(mark("a", 1_100).add(&[], NOW, 1));
        let last = Timestamp(1_100 + LEEWAY_SECONDS - 1);
        assert_eq!(mark("a", 1_100).add(&shard, last, 1), Marked::Used);
        assert_eq!(mark("b", 9_000).add(&shard, last, 1), Marked::Full);
        let shard = fresh(mark("b", 9_000).add(&shard, last.plus(1), 1));
        assert_eq!(shard.len(), ENTRY_BYTES);
    }

    #[test]
    fn a_full_shard_takes_nothing_and_forgets_nothing() {
        let mut shard = Vec::new();
        for number in 0..100 {
            shard = fresh(mark(&number.to_string(), 2_000).add(&shard, NOW, 100));
        }
        assert_eq!(mark("more", 2_000).add(&shard, NOW, 100), Marked::Full);
        for number in 0..100 {
            let known = mark(&number.to_string(), 2_000);
            assert_eq!(known.add(&shard, NOW, 100), Marked::Used);
        }
    }

    #[test]
    fn mandates_are_spread_over_the_shards() {
        let shards: std::collections::BTreeSet<usize> = (0..2_000)
            .map(|number| mark(&number.to_string(), 2_000).shard())
            .collect();
        assert_eq!(shards.len(), SHARDS);
        assert!(shards.last().is_some_and(|last| *last < SHARDS));
    }
}
