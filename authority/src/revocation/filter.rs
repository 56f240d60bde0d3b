//! The filter as a gateway holds it: the newest whole publication, what changed since, and the answers
//! that the STS gave on what the filter only suspects.

use std::collections::{HashMap, HashSet};

use super::{Anchor, Base, Bloom, Changes, Content, Digest, Digests, Publication};
use crate::{ids::ZoneId, mandate::Mandate, tags::AsItIs};

/// Most answers of the STS that are kept at once.
const MAX_ANSWERS: usize = 10_000;
/// From how many changes on a gateway takes the whole filter again, rather than carry them along.
pub const MAX_CHANGES: usize = 8_192;

/// What the filter says of a mandate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// None of its anchors is revoked.
    Clear,
    /// One of them is.
    Revoked,
    /// It may be by one of these, by their place among the mandate's anchors: the STS knows.
    Suspect(Vec<usize>),
}

/// Why a publication does not fit what is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Older than what is known.
    #[error(
        "the publication leads to the epoch {found}, older than {known}: a replay, or a restored STS"
    )]
    RolledBack {
        /// Its epoch.
        found: u64,
        /// The epoch that is known.
        known: u64,
    },
    /// Changes before it are missing.
    #[error("the publication builds on the epoch {after}, and only {known} is known")]
    Gap {
        /// What it builds on.
        after: u64,
        /// The epoch that is known.
        known: u64,
    },
    /// For other digests than those that are known.
    #[error("the publication is for another zone, or by another key of digests")]
    OtherKey,
    /// A delta where a whole filter is needed.
    #[error("the publication is no whole filter")]
    NotWhole,
}

/// All that is known of revocation in a zone.
#[derive(Debug)]
pub struct Filter {
    zone_id: ZoneId,
    digests: Digests,
    whole: Whole,
    load: u64,
    base_epoch: u64,
    epoch: u64,
    changed_at: u64,
    added: Set,
    removed: Set,
    cutoffs: HashMap<Digest, u64, AsItIs>,
    /// Until the next change.
    answers: HashMap<Digest, bool, AsItIs>,
}

type Set = HashSet<Digest, AsItIs>;

/// What the newest whole publication says, to be asked with each request: a look or two for each anchor.
#[derive(Debug)]
enum Whole {
    Exact(Set),
    Bloom(Bloom),
}

impl Filter {
    /// From a whole publication.
    ///
    /// # Errors
    /// [`ApplyError::NotWhole`].
    pub fn new(publication: Publication) -> Result<Self, ApplyError> {
        let Content::Whole { load, base } = publication.content else {
            return Err(ApplyError::NotWhole);
        };
        let mut filter = Self {
            zone_id: publication.zone_id,
            digests: Digests::new(publication.key),
            whole: match base {
                Base::Exact(digests) => Whole::Exact(digests.into_iter().collect()),
                Base::Bloom(bloom) => Whole::Bloom(bloom),
            },
            load,
            base_epoch: publication.epoch,
            epoch: publication.epoch,
            changed_at: publication.changed_at,
            added: Set::default(),
            removed: Set::default(),
            cutoffs: HashMap::default(),
            answers: HashMap::default(),
        };
        filter.change(&publication.changes);
        Ok(filter)
    }

    /// Takes over a publication, if it leads on from what is known. Whether it was news.
    ///
    /// # Errors
    /// [`ApplyError`]; the filter is then as it was.
    pub fn apply(&mut self, publication: Publication) -> Result<bool, ApplyError> {
        if publication.zone_id != self.zone_id || publication.key != self.digests.key() {
            return Err(ApplyError::OtherKey);
        }
        match publication.content {
            Content::Whole { .. } if publication.epoch < self.epoch => {
                Err(ApplyError::RolledBack {
                    found: publication.epoch,
                    known: self.epoch,
                })
            }
            Content::Whole { .. } => {
                let news = publication.epoch > self.epoch;
                *self = Self::new(publication)?;
                Ok(news)
            }
            // What is known holds all of it already.
            Content::Delta { .. } if publication.epoch <= self.epoch => Ok(false),
            Content::Delta { after } if after > self.epoch => Err(ApplyError::Gap {
                after,
                known: self.epoch,
            }),
            Content::Delta { .. } => {
                self.change(&publication.changes);
                self.epoch = publication.epoch;
                self.changed_at = self.changed_at.max(publication.changed_at);
                self.answers.clear();
                Ok(true)
            }
        }
    }

    fn change(&mut self, changes: &Changes) {
        for digest in &changes.added {
            self.removed.remove(digest);
            self.added.insert(*digest);
        }
        for digest in &changes.removed {
            self.added.remove(digest);
            self.removed.insert(*digest);
        }
        for (digest, until) in &changes.cutoffs {
            if *until == 0 {
                self.cutoffs.remove(digest);
            } else {
                self.cutoffs.insert(*digest, *until);
            }
        }
    }

    /// Everything since the last whole publication, for those who have that one.
    pub fn since_whole(&self) -> Option<Publication> {
        (self.epoch > self.base_epoch).then(|| Publication {
            zone_id: self.zone_id.clone(),
            key: self.digests.key(),
            epoch: self.epoch,
            changed_at: self.changed_at,
            changes: Changes {
                cutoffs: self
                    .cutoffs
                    .iter()
                    .map(|(digest, until)| (*digest, *until))
                    .collect(),
                added: self.added.iter().copied().collect(),
                removed: self.removed.iter().copied().collect(),
            },
            content: Content::Delta {
                after: self.base_epoch,
            },
        })
    }

    /// What is known of a mandate.
    pub fn find(&self, mandate: &Mandate) -> Finding {
        let issued = mandate.claims().iat.seconds();
        let mut suspects = Vec::new();
        mandate.with_digests(&self.digests, |digests| {
            for (place, digest) in digests.iter().enumerate() {
                if self
                    .cutoffs
                    .get(digest)
                    .is_some_and(|until| issued <= *until)
                {
                    return Finding::Revoked;
                }
                match self.find_digest(digest) {
                    Some(true) => return Finding::Revoked,
                    Some(false) => {}
                    None => suspects.push(place),
                }
            }
            if suspects.is_empty() {
                Finding::Clear
            } else {
                Finding::Suspect(std::mem::take(&mut suspects))
            }
        })
    }

    /// Whether an anchor is revoked, whenever the mandate was issued; `None` if only the STS knows.
    pub fn is_revoked(&self, anchor: Anchor<'_>) -> Option<bool> {
        self.find_digest(&self.digests.of(anchor))
    }

    fn find_digest(&self, digest: &Digest) -> Option<bool> {
        if self.added.contains(digest) {
            return Some(true);
        }
        let based = match &self.whole {
            Whole::Exact(digests) => digests.contains(digest),
            Whole::Bloom(bloom) => bloom.contains(digest),
        };
        if !based || self.removed.contains(digest) {
            return Some(false);
        }
        match self.whole {
            Whole::Exact(_) => Some(true),
            Whole::Bloom(_) => self.answers.get(digest).copied(),
        }
    }

    /// Keeps what the STS said of an anchor at `epoch`, unless more is known already.
    pub fn answer(&mut self, anchor: Anchor<'_>, epoch: u64, revoked: bool) {
        if epoch < self.epoch {
            return;
        }
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(self.digests.of(anchor), revoked);
    }

    /// The state that is known.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The zone.
    pub fn zone(&self) -> &ZoneId {
        &self.zone_id
    }

    /// When the last change was made, in milliseconds since the Unix epoch; 0 if there was none.
    pub fn changed_at(&self) -> u64 {
        self.changed_at
    }

    /// How many anchors are known to be revoked.
    pub fn load(&self) -> u64 {
        let added = u64::try_from(self.added.len() + self.cutoffs.len()).unwrap_or(u64::MAX);
        self.load.saturating_add(added)
    }

    /// How many bytes that takes, about.
    pub fn size_bytes(&self) -> usize {
        let (exact, bloom) = match &self.whole {
            Whole::Exact(digests) => (digests.len(), 0),
            Whole::Bloom(bloom) => (0, bloom.bytes().len()),
        };
        // A table of hashes is half full, on average.
        let held = exact + self.added.len() + self.removed.len() + self.cutoffs.len();
        bloom + 2 * Digest::BYTES * held
    }

    /// Whether so much has changed since the last whole publication that another one is due.
    pub fn is_worn(&self) -> bool {
        self.added.len() + self.removed.len() > MAX_CHANGES
    }
}
