//! When each gateway was last heard of, and what it knew then. In memory only: gateways come back by
//! themselves within a poll.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use crate::clock::Moment;

/// What a gateway knew when it last asked.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Known {
    /// When it was last heard of.
    pub(crate) heard_at: Option<Moment>,
    /// Polls of it that wait for news right now.
    pub(crate) waiting: u32,
    /// The state of revocation that it knew.
    pub(crate) revocation_epoch: Option<u64>,
    /// The bundle that it had.
    pub(crate) bundle_sequence: Option<u64>,
    /// When it last brought evidence.
    pub(crate) evidence_at: Option<Moment>,
}

/// What all gateways know.
#[derive(Default)]
pub(crate) struct Presence(Mutex<HashMap<String, Known>>);

/// A poll that waits, until it is dropped.
pub(crate) struct Waiting<'a> {
    presence: &'a Presence,
    gateway: String,
}

impl Presence {
    fn with<T>(&self, gateway: &str, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(gateway.to_owned()).or_default();
        known.heard_at = Some(Moment::now());
        look(known)
    }

    /// It asks for what is newer than this.
    pub(crate) fn polls(
        &self,
        gateway: &str,
        bundle: Option<u64>,
        epoch: Option<u64>,
    ) -> Waiting<'_> {
        self.with(gateway, |known| {
            known.waiting += 1;
            known.bundle_sequence = bundle.or(known.bundle_sequence);
            known.revocation_epoch = epoch.or(known.revocation_epoch);
        });
        Waiting {
            presence: self,
            gateway: gateway.to_owned(),
        }
    }

    /// It brings evidence.
    pub(crate) fn tells(&self, gateway: &str) {
        self.with(gateway, |known| known.evidence_at = known.heard_at);
    }

    /// What this gateway knew.
    pub(crate) fn of(&self, gateway: &str) -> Known {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(gateway).cloned().unwrap_or_default()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.presence.with(&self.gateway, |known| {
            known.waiting = known.waiting.saturating_sub(1);
        });
    }
}
