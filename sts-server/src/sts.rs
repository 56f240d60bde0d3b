//! The STS as its services see it: the store, the keys, the limits, and what is published.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use authority::ids::{ApplicationId, ResourceId, ZoneId};
use tokio::sync::watch;

use crate::{
    credentials::Credentials,
    error::Result,
    exchange::Recorder,
    keys::Keyring,
    ledger::{Checkpoints, LedgerSettings, Unrecorded},
    limits::Limit,
    metrics::Metrics,
    policy_sets::Programs,
    presence::Presence,
    revocations::Bases,
    secret::Secret,
    sessions::{SessionLimits, Sweeper},
    shadows::Shadows,
    store::{Change, Store},
    telemetry::Telemetry,
    verifier::Verifier,
};

/// The state of a running STS. Each noun's rules are methods on it, in the module of that noun.
pub(crate) struct Sts {
    pub(crate) store: Store,
    pub(crate) issuer: String,
    pub(crate) admin_token: Secret,
    pub(crate) keyring: Keyring,
    pub(crate) verifier: Verifier,
    pub(crate) key_publish_lead: Duration,
    pub(crate) credentials: Credentials,
    pub(crate) auth_failures: Limit<(ZoneId, Option<ApplicationId>)>,
    pub(crate) mints: Limit<(ApplicationId, ResourceId)>,
    pub(crate) recorder: Recorder,
    pub(crate) session_limits: SessionLimits,
    pub(crate) sweeper: Sweeper,
    pub(crate) programs: Programs,
    pub(crate) shadows: Shadows,
    pub(crate) news: News,
    /// Of revocation.
    pub(crate) revocation_news: News,
    pub(crate) bases: Bases,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) unrecorded: Unrecorded,
    pub(crate) ledger_settings: LedgerSettings,
    /// Of the ledgers.
    pub(crate) audit_news: News,
    /// Of the gateways.
    pub(crate) presence: Presence,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Telemetry,
    pub(crate) closing: watch::Receiver<bool>,
}

impl Sts {
    /// Commits a change to what gateways of `zone` are to know, and wakes those that wait for it.
    pub(crate) async fn publish(&self, mut change: Change, zone: &ZoneId) -> Result<u64> {
        let sequence = change.next_sequence(zone).await?;
        change.commit().await?;
        self.news.announce(zone);
        Ok(sequence)
    }

    /// Whether requests can be served; if not, why.
    pub(crate) async fn readiness(&self) -> Result<(), &'static str> {
        if *self.closing.borrow() {
            return Err("shutting_down");
        }
        self.store.ping().await.map_err(|error| {
            tracing::error!(%error, "not ready");
            "database_unavailable"
        })
    }

    /// Returns once the server begins to shut down.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.clone();
        // An error means that the sender is gone, and the server with it.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}

/// Wakes those that wait for a change to a zone.
#[derive(Default)]
pub(crate) struct News(Mutex<HashMap<ZoneId, watch::Sender<()>>>);

impl News {
    /// Changes from now on.
    pub(crate) fn subscribe(&self, zone: &ZoneId) -> watch::Receiver<()> {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders
            .entry(zone.clone())
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe()
    }

    pub(crate) fn announce(&self, zone: &ZoneId) {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if senders
            .get(zone)
            .is_some_and(|sender| sender.send(()).is_err())
        {
            senders.remove(zone);
        }
    }
}
