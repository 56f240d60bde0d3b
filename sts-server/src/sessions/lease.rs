//! Services: sessions without an end, held by whoever keeps their lease alive. Each new holder has a
//! higher generation, so that one that was thought dead cannot come back and act beside its successor.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::SessionView;
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    presented::Caller,
    revocations,
    store::{SessionRow, Zone},
    sts::Sts,
};

/// The lifecycle of a session that has a lease.
pub(super) const SERVICE: &str = "service";
/// How long a lease lasts without a heartbeat.
pub(super) const LEASE: Duration = Duration::from_secs(120);

/// A sign of life.
#[derive(Debug, Deserialize)]
pub(crate) struct Heartbeat {
    lease_generation: i64,
}

/// What a service's holder is told.
#[derive(Debug, Serialize)]
pub(crate) struct Beaten {
    agent: SessionView,
}

impl Sts {
    /// Makes the lease last from now on.
    pub(crate) async fn heartbeat(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
        heartbeat: &Heartbeat,
    ) -> Result<Beaten> {
        let now = Moment::now();
        let mut change = self.store.begin().await?;
        let mut row = change.own_session(zone, caller, id).await?;
        check_service(&row, now)?;
        check_generation(&row, heartbeat.lease_generation)?;
        if row.suspended_at.is_some() || row.is_held(now) {
            return Err(suspended());
        }
        if row.has_lapsed(now) {
            return Err(Error::new(
                Code::SESSION_LEASE_EXPIRED,
                "the lease has lapsed; take a new one",
            ));
        }
        extend(&mut row, now);
        change.update_lease(&row).await?;
        change.commit().await?;
        Ok(Beaten {
            agent: SessionView::new(row, 0, now),
        })
    }

    /// Gives the caller the lease, and takes it from whoever held it.
    pub(crate) async fn take_lease(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<SessionView> {
        let now = Moment::now();
        let mut change = self.store.begin().await?;
        let mut row = change.own_session(zone, caller, id).await?;
        check_service(&row, now)?;
        if row.suspended_at.is_some() || row.is_held(now) {
            return Err(suspended());
        }
        row.lease_generation += 1;
        extend(&mut row, now);
        change.update_lease(&row).await?;
        let anchor = revocations::session(row.id.as_str());
        change.release(&zone.id, anchor, now).await?;
        let after = json!({"lease_generation": row.lease_generation});
        let taken = Changed::session("session.take_lease", &row).after(&after);
        change.record(&zone.id, taken).await?;
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, session = %row.id, generation = row.lease_generation, "lease taken");
        Ok(SessionView::new(row, 0, now))
    }
}

/// Whether `generation` is that of the current holder.
pub(super) fn check_generation(row: &SessionRow, generation: i64) -> Result<()> {
    if generation == row.lease_generation {
        return Ok(());
    }
    Err(Error::new(
        Code::SESSION_LEASE_FENCED,
        format!(
            "the lease is in generation {}, not {generation}: somebody else holds it",
            row.lease_generation
        ),
    ))
}

fn check_service(row: &SessionRow, now: Moment) -> Result<()> {
    if row.lifecycle != SERVICE {
        return Err(Error::new(
            Code::SESSION_NOT_SERVICE,
            "only a service has a lease; a task ends by its ttl_seconds",
        ));
    }
    if !row.state(now).is_live() {
        return Err(Error::new(Code::SESSION_NOT_LIVE, "the session has ended"));
    }
    Ok(())
}

fn extend(row: &mut SessionRow, now: Moment) {
    row.last_heartbeat_at = Some(now);
    row.heartbeat_deadline_at = Some(now.plus(LEASE));
}

fn suspended() -> Error {
    Error::new(
        Code::SESSION_SUSPENDED,
        "the session, or one that it is part of, is suspended",
    )
}
