//! Writes down that sessions are over. They are from the moment their time is up, whether it is
//! written or not; what depends on the writing is the count of live ones and that lists stay short.

use std::{collections::BTreeMap, time::Duration};

use authority::ids::ZoneId;
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    clock::Moment,
    error::Result,
    ledger::Changed,
    revocations,
    store::{Change, SessionRow},
    sts::Sts,
};

/// How long a service may be without a holder before it ends.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Most tasks that one change ends, so that it keeps nobody waiting.
const BATCH: u32 = 1_000;
/// Shortest rest between two looks.
const SHORTEST_REST: Duration = Duration::from_millis(100);
/// Longest: how late a clock that was set back is noticed.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Wakes whoever sweeps when something is to end earlier than was known.
#[derive(Default)]
pub(crate) struct Sweeper(Notify);

impl Sweeper {
    /// Something ends at some time.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

impl Sts {
    /// Ends what is over, when it is, until the server closes.
    pub(crate) async fn keep_sessions(&self) {
        loop {
            let rest = match self.sweep_sessions().await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::warn!(%error, "sessions could not be swept");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                biased;
                () = self.closed() => return,
                () = tokio::time::sleep(SHORTEST_REST) => {}
            }
            tokio::select! {
                biased;
                () = self.closed() => return,
                () = tokio::time::sleep(rest) => {}
                () = self.sweeper.0.notified() => {}
            }
        }
    }

    /// How long there is nothing to do after that.
    async fn sweep_sessions(&self) -> Result<Duration> {
        let now = Moment::now();
        let due = |end: Option<Moment>| end.is_some_and(|end| end <= now);
        if due(self.store.next_session_end(PATIENCE).await?) {
            let mut change = self.store.begin().await?;
            let tasks = change.expire_tasks(now, BATCH).await?;
            let mut ended = u64::try_from(tasks.len()).unwrap_or_default();
            record_ends(&mut change, &tasks, "ttl").await?;
            if let Some(service) = change.abandoned_service(now.minus(PATIENCE)).await? {
                ended += change
                    .end_subtree(&service, "expired", "lease", now)
                    .await?;
                record_ends(&mut change, &[service], "lease").await?;
            }
            change.commit().await?;
            tracing::debug!(ended, "sessions ended");
            return Ok(Duration::ZERO);
        }
        if due(self.store.next_lapse().await?) {
            self.hold_lapsed(now).await?;
            return Ok(Duration::ZERO);
        }
        let ends = [
            self.store.next_session_end(PATIENCE).await?,
            self.store.next_lapse().await?,
        ];
        let next = ends.into_iter().flatten().min();
        Ok(next.map_or(LONGEST_REST, |end| end.since(now).min(LONGEST_REST)))
    }

    /// Revokes services whose lease has lapsed, until somebody takes it again.
    async fn hold_lapsed(&self, now: Moment) -> Result<()> {
        let mut change = self.store.begin().await?;
        let lapsed = change.lapsed_services(now, BATCH).await?;
        for (zone, id) in &lapsed {
            let zone = ZoneId::from(zone.as_str());
            change
                .hold(&zone, revocations::session(id), "lease lapsed", now)
                .await?;
            if let Some(row) = change.session(&zone, id).await? {
                let lapsed = Changed::session("session.lapse", &row);
                change.record(&zone, lapsed).await?;
            }
        }
        change.commit().await?;
        for (zone, id) in &lapsed {
            self.revocation_news.announce(&ZoneId::from(zone.as_str()));
            tracing::info!(zone, session = id, "lease lapsed");
        }
        Ok(())
    }
}

/// Writes down that sessions ended by themselves.
async fn record_ends(change: &mut Change, rows: &[SessionRow], reason: &str) -> Result<()> {
    let mut by_zone: BTreeMap<&ZoneId, Vec<Changed>> = BTreeMap::new();
    for row in rows {
        let after = json!({"state": "expired", "reason": reason});
        by_zone
            .entry(&row.zone_id)
            .or_default()
            .push(Changed::session("session.expire", row).after(&after));
    }
    for (zone, ends) in by_zone {
        change.record_all(zone, ends).await?;
    }
    Ok(())
}
