//! What travels from the STS to a gateway: the whole filter, or what changed since an epoch. The layout
//! is described, for other implementations, in `docs/reference/revocation-filter.md`.

use super::{Bloom, Digest, HashKey, bloom::MAX_PROBES};
use crate::{
    ids::{KeyId, ZoneId},
    jwks::KeySet,
    key::SigningKey,
    signature::{self, Artifact, SignatureError},
};

/// Largest publication that a gateway takes in, in bytes.
pub const MAX_PUBLICATION_BYTES: usize = 16 * 1024 * 1024;
/// Largest filter in one.
pub(super) const MAX_FILTER_BYTES: usize = 15 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"CRVF";
const VERSION: u8 = 1;
const KIND_DELTA: u8 = 0;
const KIND_EXACT: u8 = 1;
const KIND_BLOOM: u8 = 2;

/// A state of revocation in a zone, or the way from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The zone.
    pub zone_id: ZoneId,
    /// The key of its digests.
    pub key: HashKey,
    /// The state that this leads to.
    pub epoch: u64,
    /// When the last change was made, in milliseconds since the Unix epoch; 0 if there was none.
    pub changed_at: u64,
    /// What is to be known besides the content.
    pub changes: Changes,
    /// From where it leads there.
    pub content: Content,
}

/// What counts whatever else says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Anchors that are revoked for mandates issued up to a time, in seconds since the Unix epoch; 0
    /// for those that no longer are.
    pub cutoffs: Vec<(Digest, u64)>,
    /// Anchors that are revoked.
    pub added: Vec<Digest>,
    /// Anchors that are not: withdrawn ones and those that a filter finds by mistake.
    pub removed: Vec<Digest>,
}

/// From where a publication leads to its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// From any state since `after`.
    Delta {
        /// The oldest epoch that it builds on.
        after: u64,
    },
    /// From nothing.
    Whole {
        /// How many anchors the base was made of.
        load: u64,
        /// Those anchors.
        base: Base,
    },
}

/// A set of revoked anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Their digests, ascending.
    Exact(Vec<Digest>),
    /// A filter that finds them, and others by mistake.
    Bloom(Bloom),
}

impl Base {
    /// The base for these digests, in the form that suits their number.
    pub fn of(mut digests: Vec<Digest>) -> Self {
        if digests.len() > super::MAX_EXACT {
            let mut bloom = Bloom::sized_for(digests.len());
            for digest in &digests {
                bloom.insert(digest);
            }
            return Self::Bloom(bloom);
        }
        digests.sort_unstable();
        digests.dedup();
        Self::Exact(digests)
    }

    /// How many bytes it takes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Exact(digests) => digests.len() * Digest::BYTES,
            Self::Bloom(bloom) => bloom.bytes().len(),
        }
    }
}

/// Why a publication is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicationError {
    /// Over [`MAX_PUBLICATION_BYTES`].
    #[error("the publication is over {MAX_PUBLICATION_BYTES} bytes")]
    TooLarge,
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Another format.
    #[error("this is no revocation filter of version {VERSION}")]
    Format,
    /// Its form.
    #[error("the publication is malformed: {0}")]
    Malformed(&'static str),
    /// Another zone's.
    #[error("the publication is for the zone {found}, not for {expected}")]
    OtherZone {
        /// The zone of the publication.
        found: String,
        /// The zone of the gateway.
        expected: String,
    },
}

/// Signs the bytes of a publication, for [`SIGNATURE_HEADER`](crate::bundle::SIGNATURE_HEADER).
pub fn sign(body: &[u8], kid: &KeyId, key: &SigningKey) -> String {
    signature::sign(Artifact::Revocations, body, kid, key)
}

/// Reads a publication after checking its signature and its zone.
///
/// # Errors
/// Every variant of [`PublicationError`].
pub fn open(
    body: &[u8],
    signature: &str,
    keys: &KeySet,
    zone: &ZoneId,
) -> Result<Publication, PublicationError> {
    if body.len() > MAX_PUBLICATION_BYTES {
        return Err(PublicationError::TooLarge);
    }
    signature::verify(Artifact::Revocations, body, signature, keys)?;
    let publication = Publication::decode(body)?;
    if publication.zone_id != *zone {
        return Err(PublicationError::OtherZone {
            found: publication.zone_id.to_string(),
            expected: zone.to_string(),
        });
    }
    Ok(publication)
}

impl Publication {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        let (kind, after) = match &self.content {
            Content::Delta { after } => (KIND_DELTA, *after),
            Content::Whole {
                base: Base::Exact(_),
                ..
            } => (KIND_EXACT, 0),
            Content::Whole {
                base: Base::Bloom(_),
                ..
            } => (KIND_BLOOM, 0),
        };
        out.extend([VERSION, kind]);
        let zone = self.zone_id.as_str().as_bytes();
        out.extend(u16::try_from(zone.len()).unwrap_or_default().to_le_bytes());
        out.extend(zone);
        out.extend(self.key.0);
        for number in [after, self.epoch, self.changed_at] {
            out.extend(number.to_le_bytes());
        }
        put_count(&mut out, self.changes.cutoffs.len());
        for (digest, until) in &self.changes.cutoffs {
            out.extend(digest.0);
            out.extend(until.to_le_bytes());
        }
        for digests in [&self.changes.added, &self.changes.removed] {
            put_count(&mut out, digests.len());
            out.extend(digests.iter().flat_map(|digest| digest.0));
        }
        if let Content::Whole { load, base } = &self.content {
            out.extend(load.to_le_bytes());
            match base {
                Base::Exact(digests) => out.extend(digests.iter().flat_map(|digest| digest.0)),
                Base::Bloom(bloom) => {
                    put_count(&mut out, bloom.bytes().len());
                    out.push(bloom.probe_count());
                    out.extend(bloom.bytes());
                }
            }
        }
        out
    }

    /// From what travelled, or from a gateway's own memory; a signature is not looked at.
    ///
    /// # Errors
    /// [`PublicationError::Format`], [`PublicationError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, PublicationError> {
        let mut rest = Reader(body);
        if rest.take(4).ok() != Some(MAGIC.as_slice()) || rest.take(1).ok() != Some(&[VERSION]) {
            return Err(PublicationError::Format);
        }
        let [kind] = rest.array()?;
        let length = u16::from_le_bytes(rest.array()?);
        let zone = std::str::from_utf8(rest.take(usize::from(length))?)
            .map_err(|_| PublicationError::Malformed("the zone is not UTF-8"))?;
        let key = HashKey(rest.array()?);
        let (after, epoch, changed_at) = (rest.number()?, rest.number()?, rest.number()?);
        let mut cutoffs = Vec::new();
        for _ in 0..rest.count(Digest::BYTES + 8)? {
            cutoffs.push((Digest(rest.array()?), rest.number()?));
        }
        let changes = Changes {
            cutoffs,
            added: rest.counted_digests()?,
            removed: rest.counted_digests()?,
        };
        let content = match kind {
            KIND_DELTA if after < epoch => Content::Delta { after },
            KIND_DELTA => return Err(PublicationError::Malformed("a delta that leads nowhere")),
            KIND_EXACT | KIND_BLOOM if after != 0 => {
                return Err(PublicationError::Malformed(
                    "a whole filter builds on nothing",
                ));
            }
            KIND_EXACT => {
                let load = rest.number()?;
                let count = usize::try_from(load)
                    .map_err(|_| PublicationError::Malformed("too many digests"))?;
                let digests = rest.digests(count)?;
                if !digests.is_sorted_by(|one, next| one < next) {
                    return Err(PublicationError::Malformed("the digests do not ascend"));
                }
                Content::Whole {
                    load,
                    base: Base::Exact(digests),
                }
            }
            KIND_BLOOM => {
                let load = rest.number()?;
                let bytes = u32::from_le_bytes(rest.array()?);
                let [probes] = rest.array()?;
                if bytes == 0 || !(1..=MAX_PROBES).contains(&probes) {
                    return Err(PublicationError::Malformed(
                        "a filter without size or probes",
                    ));
                }
                let bytes = rest.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                Content::Whole {
                    load,
                    base: Base::Bloom(Bloom::from_parts(bytes.to_vec(), probes)),
                }
            }
            _ => return Err(PublicationError::Format),
        };
        if !rest.0.is_empty() {
            return Err(PublicationError::Malformed("something follows the end"));
        }
        Ok(Self {
            zone_id: ZoneId::from(zone),
            key,
            epoch,
            changed_at,
            changes,
            content,
        })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], PublicationError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(PublicationError::Malformed("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PublicationError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(PublicationError::Malformed("it is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, PublicationError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of items of `size` bytes, all of which must still be there.
    fn count(&mut self, size: usize) -> Result<usize, PublicationError> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX);
        if count > self.0.len() / size {
            return Err(PublicationError::Malformed("it is cut off"));
        }
        Ok(count)
    }

    fn counted_digests(&mut self) -> Result<Vec<Digest>, PublicationError> {
        let count = self.count(Digest::BYTES)?;
        self.digests(count)
    }

    fn digests(&mut self, count: usize) -> Result<Vec<Digest>, PublicationError> {
        let bytes = self.take(count.saturating_mul(Digest::BYTES))?;
        let (digests, _) = bytes.as_chunks();
        Ok(digests.iter().copied().map(Digest).collect())
    }
}
