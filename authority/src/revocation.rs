//! Revocation: which ids a mandate stands or falls with, and the filter by which a gateway knows those
//! that are revoked. What travels, and when it may be taken over, is here as well; who revokes what,
//! and why, is the STS's to say.

mod bloom;
mod digests;
mod filter;
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod property;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod vectors;
mod wire;

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};

pub(crate) use self::digests::Digests;
pub use self::{
    bloom::Bloom,
    filter::{ApplyError, Filter, Finding, MAX_CHANGES},
    wire::{
        Base, Changes, Content, MAX_PUBLICATION_BYTES, Publication, PublicationError, open, sign,
    },
};
use crate::{
    ids::KeyId,
    mandate::{Claims, LEEWAY_SECONDS, MAX_TTL_SECONDS},
};

/// How long an anchor is published, in seconds: the longest life of a mandate that a gateway takes,
/// with the leeway of its clock and of the clock of whoever signed.
pub const PUBLISHED_SECONDS: u64 = MAX_TTL_SECONDS + 2 * LEEWAY_SECONDS;
/// Up to how many revoked anchors travel as they are; more of them as a Bloom filter.
pub const MAX_EXACT: usize = 4_096;

/// What kind of id an anchor is. The same id as another kind is another anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AnchorKind {
    /// One mandate.
    Jti = 1,
    /// The authority record of one mint.
    Sid = 2,
    /// The authority record at the root of a series of exchanges.
    RootSid = 3,
    /// A session: of the mandate, above it, or one through which its authority came.
    Session = 4,
    /// A delegation: of the mandate, or one that it rests on.
    Delegation = 5,
    /// An application: the mandate's, or one of its delegation chain.
    Application = 6,
    /// The zone.
    Zone = 7,
    /// The key that signed the mandate.
    Key = 8,
    /// The subject. It can only be cut off by time.
    Subject = 9,
}

impl AnchorKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Jti,
        Self::Sid,
        Self::RootSid,
        Self::Session,
        Self::Delegation,
        Self::Application,
        Self::Zone,
        Self::Key,
        Self::Subject,
    ];

    /// Its name: that of the claim, or of the header parameter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Sid => "sid",
            Self::RootSid => "root_sid",
            Self::Session => "agent_session_id",
            Self::Delegation => "delegation_edge_id",
            Self::Application => "client_id",
            Self::Zone => "zone_id",
            Self::Key => "kid",
            Self::Subject => "sub",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An id that a mandate stands or falls with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Anchor<'a> {
    /// What kind of id.
    pub kind: AnchorKind,
    /// The id.
    pub id: &'a str,
}

/// The ids that the mandate with these claims, signed by `kid`, stands or falls with, each once.
pub fn anchors<'a>(claims: &'a Claims, kid: &'a KeyId) -> Vec<Anchor<'a>> {
    use AnchorKind as K;
    let one = |kind, id| Anchor { kind, id };
    let mut anchors = vec![
        one(K::Zone, claims.zone_id.as_str()),
        one(K::Key, kid.as_str()),
        one(K::Application, claims.client_id.as_str()),
        one(K::Subject, &claims.sub),
        one(K::RootSid, claims.root_sid.as_str()),
        one(K::Sid, claims.sid.as_str()),
        one(K::Jti, &claims.jti),
    ];
    let mut add = |kind, id: &'a str| {
        let anchor = one(kind, id);
        if !anchors.contains(&anchor) {
            anchors.push(anchor);
        }
    };
    let sessions = claims.session_path.iter();
    for id in sessions
        .chain(&claims.agent_session_id)
        .chain(&claims.granting_sessions)
        .chain(&claims.source_session_id)
    {
        add(K::Session, id.as_str());
    }
    let delegations = claims.delegation_path.iter();
    for id in delegations.chain(&claims.delegation_edge_id) {
        add(K::Delegation, id.as_str());
    }
    for hop in &claims.delegation_chain {
        add(K::Application, hop.application_id.as_str());
        if let Some(id) = &hop.agent_session_id {
            add(K::Session, id.as_str());
        }
        if let Some(id) = &hop.delegation_edge_id {
            add(K::Delegation, id.as_str());
        }
    }
    anchors
}

/// The key of a zone's digests. It is published with the filter: it keeps ids of one zone from being
/// chosen so that they collide in another, and filters of two zones from being compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

/// What stands for an anchor in a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; Self::BYTES]);

impl Digest {
    /// Length, in bytes.
    pub const BYTES: usize = 16;
}

/// It is a hash already, by a key that who chooses ids does not know.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(half) = self.0.first_chunk() {
            state.write_u64(u64::from_le_bytes(*half));
        }
    }
}

impl HashKey {
    /// The first 16 bytes of SHA-256 over the key, the number of the kind, and the id.
    pub fn digest(&self, anchor: Anchor<'_>) -> Digest {
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update([anchor.kind as u8])
            .chain_update(anchor.id)
            .finalize();
        let mut digest = [0; Digest::BYTES];
        for (to, from) in digest.iter_mut().zip(hash) {
            *to = from;
        }
        Digest(digest)
    }
}
