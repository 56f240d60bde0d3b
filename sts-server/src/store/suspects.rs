//! Which anchors of a zone may be revoked, in memory: every mint asks of ten or more, of which hardly one ever is.
//! Those that are not among the suspects are not revoked. Those that are have to be looked up: one may have been
//! withdrawn since, or only look like another.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use authority::{ids::ZoneId, revocation::Anchor};

use super::{
    Result,
    kept::{Changes, Table},
};

/// Most suspects of a zone. Of one that has more, all anchors are looked up.
pub(super) const MOST_SUSPECTS: usize = 16_384;
/// Most zones of which suspects are kept.
const MOST_ZONES: usize = 32;
/// After how long a zone that had too many is tried again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was revoked: the kind of an anchor, its id, and the epoch.
pub(super) type Suspect = (String, String, i64);

/// Of some zones, what may be revoked. Each revocation has the next epoch of its zone, so it is found again from
/// the last one on, and a zone's epoch stands in its row, so the row is changed with it.
pub(super) struct Suspects {
    changes: Changes,
    hasher: RandomState,
    zones: Mutex<HashMap<ZoneId, OfZone>>,
}

#[derive(Default)]
struct OfZone {
    /// When this was all.
    generation: Option<u64>,
    /// Of the last of them.
    epoch: i64,
    anchors: HashSet<u64>,
    /// There are too many, as of then.
    crowded: Option<Instant>,
}

/// What is known of anchors in memory.
enum Known {
    Clear,
    Suspected,
    /// What was revoked after this epoch is still to be read.
    After(i64),
}

impl Suspects {
    pub(super) fn new(changes: &Changes) -> Self {
        Self {
            changes: changes.clone(),
            hasher: RandomState::new(),
            zones: Mutex::default(),
        }
    }

    /// The present, for [`Suspects::clear`]. To be asked before anything is read.
    pub(super) fn generation(&self) -> u64 {
        self.changes.generation(Table::Zones)
    }

    /// The same for who writes, unless revocations may be under way.
    pub(super) fn certain_generation(&self) -> Option<u64> {
        self.changes.certain_generation(Table::Zones)
    }

    /// Whether none of `anchors` can be revoked. `read` tells what was revoked in the zone after an epoch and is not
    /// withdrawn: all of it, or one more than [`MOST_SUSPECTS`].
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) async fn clear(
        &self,
        zone: &ZoneId,
        anchors: &[Anchor<'_>],
        generation: u64,
        read: impl AsyncFnOnce(i64) -> Result<Vec<Suspect>>,
    ) -> Result<bool> {
        let after = match self.known(zone, anchors, generation) {
            Known::Clear => return Ok(true),
            Known::Suspected => return Ok(false),
            Known::After(epoch) => epoch,
        };
        let newer = read(after).await?;
        self.add(zone, &newer, after, generation);
        Ok(matches!(
            self.known(zone, anchors, generation),
            Known::Clear
        ))
    }

    fn known(&self, zone: &ZoneId, anchors: &[Anchor<'_>], generation: u64) -> Known {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = zones.get(zone) else {
            return Known::After(0);
        };
        if let Some(since) = known.crowded {
            if since.elapsed() < PATIENCE {
                return Known::Suspected;
            }
            zones.remove(zone);
            return Known::After(0);
        }
        if known.generation.is_none_or(|then| then < generation) {
            return Known::After(known.epoch);
        }
        let mut anchors = anchors.iter();
        if anchors.any(|anchor| {
            known
                .anchors
                .contains(&self.hash(anchor.kind.name(), anchor.id))
        }) {
            Known::Suspected
        } else {
            Known::Clear
        }
    }

    /// What was revoked after the epoch `after`, read at `generation` or later.
    fn add(&self, zone: &ZoneId, newer: &[Suspect], after: i64, generation: u64) {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if zones.len() >= MOST_ZONES && !zones.contains_key(zone) {
            zones.clear();
        }
        let known = zones.entry(zone.clone()).or_default();
        if known.epoch < after {
            // It was forgotten meanwhile, and this is not all.
            return;
        }
        for (kind, id, epoch) in newer {
            known.anchors.insert(self.hash(kind, id));
            known.epoch = known.epoch.max(*epoch);
        }
        known.generation = known.generation.max(Some(generation));
        if newer.len() > MOST_SUSPECTS || known.anchors.len() > MOST_SUSPECTS {
            *known = OfZone {
                crowded: Some(Instant::now()),
                ..OfZone::default()
            };
        }
    }

    fn hash(&self, kind: &str, id: &str) -> u64 {
        self.hasher.hash_one((kind, id))
    }
}

#[cfg(test)]
mod tests {
    use authority::revocation::AnchorKind;

    use super::*;

    fn jti(id: &str) -> Anchor<'_> {
        Anchor {
            kind: AnchorKind::Jti,
            id,
        }
    }

    fn suspect(number: usize) -> Suspect {
        let epoch = i64::try_from(number).unwrap();
        ("jti".to_owned(), number.to_string(), epoch)
    }

    fn zone() -> ZoneId {
        "z".into()
    }

    async fn clear(
        suspects: &Suspects,
        id: &str,
        generation: u64,
        read: impl AsyncFnOnce(i64) -> Result<Vec<Suspect>>,
    ) -> bool {
        let (zone, anchors) = (zone(), [jti(id)]);
        let clear = suspects.clear(&zone, &anchors, generation, read);
        clear.await.unwrap()
    }

    async fn unasked(_: i64) -> Result<Vec<Suspect>> {
        unreachable!("it is known")
    }

    #[tokio::test]
    async fn suspects_are_read_once_and_then_from_the_last_one_on() {
        let suspects = Suspects::new(&Changes::default());
        assert!(clear(&suspects, "1", 0, async |_| Ok(Vec::new())).await);
        assert!(clear(&suspects, "1", 0, unasked).await);
        let two = async |after| {
            assert_eq!(after, 0);
            Ok(vec![suspect(1), suspect(2)])
        };
        assert!(!clear(&suspects, "1", 1, two).await);
        assert!(!clear(&suspects, "2", 1, unasked).await);
        assert!(clear(&suspects, "3", 1, unasked).await);
        let third = async |after| {
            assert_eq!(after, 2);
            Ok(vec![suspect(3)])
        };
        assert!(!clear(&suspects, "3", 2, third).await);
        // One who looked before and comes late knows no less for it.
        assert!(!clear(&suspects, "3", 1, unasked).await);
        assert!(!clear(&suspects, "1", 2, unasked).await);
    }

    #[tokio::test]
    async fn where_too_much_is_revoked_everything_is_looked_up() {
        let suspects = Suspects::new(&Changes::default());
        let all: Vec<_> = (1..=MOST_SUSPECTS + 1).map(suspect).collect();
        assert!(!clear(&suspects, "0", 0, async |_| Ok(all)).await);
        assert!(!clear(&suspects, "0", 0, unasked).await);
        let kept = suspects.zones.lock().unwrap();
        assert!(kept.values().all(|zone| zone.anchors.is_empty()));
    }

    #[tokio::test]
    async fn whoever_was_forgotten_while_reading_clears_nothing() {
        let suspects = Suspects::new(&Changes::default());
        assert!(clear(&suspects, "0", 0, async |_| Ok(vec![suspect(1)])).await);
        let read = async |_| {
            suspects.zones.lock().unwrap().clear();
            Ok(vec![suspect(2)])
        };
        assert!(!clear(&suspects, "3", 1, read).await);
    }
}
