//! By what an event is found.

use std::collections::HashMap;

use authority::{audit::Facts, ids::ZoneId};
use sha2::{Digest, Sha256};

/// A kind of thing that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum TermKind {
    Request = 1,
    Mandate,
    Object,
    Delegation,
    Session,
    Client,
    Subject,
    Reason,
    Resource,
    PolicyVersion,
    Type,
    Decision,
    Zone,
}

/// Something that can be asked for, as 64 bits: what is found is looked at again, so that two things with
/// the same bits do no harm.
pub(super) fn term(zone: &ZoneId, kind: TermKind, value: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(zone.as_str());
    hasher.update([0, kind as u8]);
    hasher.update(value);
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hasher.finalize());
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// How many things an event has one of at most that it shares with others.
const SINGLE: usize = 11;

/// The terms of a batch: what is the same in many events is hashed once, and not even looked up if it is the same as in
/// the one before.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    zone: &'a ZoneId,
    known: HashMap<(TermKind, &'a str), i64>,
    last: [Option<(&'a str, i64)>; SINGLE],
}

impl<'a> Terms<'a> {
    /// Of events of `zone`.
    pub(super) fn of(zone: &'a ZoneId) -> Self {
        Self {
            zone,
            known: HashMap::new(),
            last: [None; SINGLE],
        }
    }

    /// Hands over everything that an event is found by, some of it more than once.
    pub(super) fn each(&mut self, event: &'a Facts<'_>, mut take: impl FnMut(i64)) {
        use TermKind as K;
        let some: [_; SINGLE] = [
            (K::Zone, Some("")),
            (K::Type, Some(event.event_type.name())),
            (K::Decision, Some(event.decision.name())),
            (K::Mandate, event.jti),
            (K::Client, event.client_id),
            (K::Subject, event.sub),
            (K::Session, event.agent_session_id),
            (K::Resource, event.resource),
            (K::Reason, event.reason),
            (K::PolicyVersion, event.policy_set_version_id),
            (K::Object, event.object),
        ];
        let more = [
            (K::Session, &event.session_path),
            (K::Delegation, &event.delegation_path),
            (K::Resource, &event.resources),
        ];
        let zone = self.zone;
        let known = &mut self.known;
        let mut known = |kind, value: &'a str| {
            let hashed = known.entry((kind, value));
            *hashed.or_insert_with(|| term(zone, kind, value))
        };
        for ((kind, value), last) in some.into_iter().zip(&mut self.last) {
            let Some(value) = value else { continue };
            let same = last.filter(|(before, _)| *before == value);
            let (_, term) = *last.insert(same.unwrap_or_else(|| (value, known(kind, value))));
            take(term);
        }
        for (kind, values) in more {
            values.iter().for_each(|value| take(known(kind, value)));
        }
        // Hardly ever the same twice.
        take(term(zone, K::Request, event.request_id));
    }
}
