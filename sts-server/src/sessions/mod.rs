//! Governed sessions: runs of agents, in trees. Starting them, listing them, holding and ending them;
//! `start` has the rules of starting one, `lease` those of services, `sweep` ends what is over.

mod lease;
mod start;
mod sweep;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub(crate) use self::{
    lease::{Beaten, Heartbeat},
    start::NewSession,
    sweep::Sweeper,
};
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    presented::Caller,
    revocations,
    store::{Change, Page, PageRequest, SessionFilter, SessionRow, SessionState, Zone},
    sts::Sts,
};

/// How many sessions there may be, and how they may nest.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Live sessions in a zone.
    pub per_zone: u32,
    /// Live sessions of an application.
    pub per_application: u32,
    /// Live children of a session.
    pub children: u32,
    /// Levels below a root.
    pub depth: u32,
    /// Requests with an `Idempotency-Key` that are remembered, for an application and an operation.
    pub receipts: u32,
}

/// A tree deeper than that does not fit into a mandate.
pub(crate) const MAX_SESSION_DEPTH: u32 = 20;

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            per_zone: 100_000,
            per_application: 20_000,
            children: 1_000,
            depth: 10,
            receipts: 10_000,
        }
    }
}

/// A session, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionView {
    id: String,
    agent_session_id: String,
    zone_id: String,
    application_id: String,
    parent_id: Option<String>,
    session_path: Vec<String>,
    depth: u32,
    subject_authority_record_id: Option<String>,
    subject: String,
    lifecycle: String,
    labels: Vec<String>,
    metadata: Map<String, Value>,
    status: &'static str,
    ttl_seconds: Option<i64>,
    started_at: Moment,
    expires_at: Option<Moment>,
    last_heartbeat_at: Option<Moment>,
    heartbeat_deadline_at: Option<Moment>,
    lease_generation: i64,
    suspended_at: Option<Moment>,
    ended_at: Option<Moment>,
    end_reason: Option<String>,
    child_count: i64,
}

impl SessionView {
    pub(crate) fn new(row: SessionRow, child_count: i64, now: Moment) -> Self {
        let state = row.state(now);
        Self {
            id: row.id.to_string(),
            agent_session_id: row.id.to_string(),
            zone_id: row.zone_id.to_string(),
            application_id: row.application_id.to_string(),
            parent_id: row.parent_id,
            session_path: row.path,
            depth: row.depth,
            subject_authority_record_id: row.subject_authority_record_id,
            subject: row.subject,
            lifecycle: row.lifecycle,
            labels: row.labels,
            metadata: row.metadata,
            status: state.name(),
            ttl_seconds: row.ttl_seconds,
            started_at: row.started_at,
            expires_at: row.expires_at,
            last_heartbeat_at: row.last_heartbeat_at,
            heartbeat_deadline_at: row.heartbeat_deadline_at,
            lease_generation: row.lease_generation,
            suspended_at: row.suspended_at,
            ended_at: row.ended_at.or(match state {
                SessionState::Expired => row.expires_at,
                _ => None,
            }),
            end_reason: row.end_reason,
            child_count,
        }
    }
}

impl Sts {
    /// The session with this id, if `caller` may know of it.
    pub(crate) async fn session(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<SessionView> {
        let row = self.session_row(zone, caller, id).await?;
        let counts = self.store.child_counts(&[row.id.as_str()]).await?;
        let children = counts.first().map_or(0, |(_, count)| *count);
        Ok(SessionView::new(row, children, Moment::now()))
    }

    /// The same, as it stands in the database.
    pub(crate) async fn session_row(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<SessionRow> {
        let row = self.store.session(&zone.id, id).await?;
        owned(row, caller)
    }

    /// The sessions that `caller` may know of: an application its own.
    pub(crate) async fn sessions(
        &self,
        zone: &Zone,
        caller: &Caller,
        mut filter: SessionFilter,
        page: &PageRequest,
    ) -> Result<Page<SessionView>> {
        if let Some(calling) = caller.application() {
            let own = calling.application.id.to_string();
            if filter.application_id.as_ref().is_some_and(|id| *id != own) {
                return Err(ownership_required());
            }
            filter.application_id = Some(own);
        }
        if let Some(parent) = &filter.parent_id {
            self.session_row(zone, caller, parent).await?;
        }
        let now = Moment::now();
        let rows = self.store.sessions(&zone.id, &filter, page, now).await?;
        let ids: Vec<&str> = rows.items.iter().map(|row| row.id.as_str()).collect();
        let counts: std::collections::HashMap<String, i64> =
            self.store.child_counts(&ids).await?.into_iter().collect();
        Ok(Page {
            items: rows
                .items
                .into_iter()
                .filter(|row| caller.reaches(&row.path))
                .map(|row| {
                    let children = counts.get(row.id.as_str()).copied().unwrap_or(0);
                    SessionView::new(row, children, now)
                })
                .collect(),
            next_cursor: rows.next_cursor,
        })
    }

    /// Keeps a session, and everything below it, from acting. How many sessions that stops.
    pub(crate) async fn suspend_session(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<i64> {
        let now = Moment::now();
        let mut change = self.store.begin().await?;
        let row = change.session(&zone.id, id).await?;
        let row = owned(row, caller)?;
        if !row.state(now).is_live() || row.suspended_at.is_some() {
            return Err(Error::new(
                Code::SESSION_NOT_ACTIVE,
                "the session has ended or is suspended already",
            ));
        }
        let stopped = change
            .count_subtree(&row, SessionState::Active, now)
            .await?;
        let by = match caller {
            Caller::Operator => "operator",
            Caller::Application(_) => "application",
        };
        change.set_suspended(&row, Some((now, by))).await?;
        let anchor = revocations::session(row.id.as_str());
        change.hold(&zone.id, anchor, "suspended", now).await?;
        let after = json!({"state": "suspended", "by": by, "sessions_stopped": stopped});
        change
            .record(
                &zone.id,
                Changed::session("session.suspend", &row).after(&after),
            )
            .await?;
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, session = %row.id, by, stopped, "session suspended");
        Ok(stopped)
    }

    /// Lets a suspended session go on, and what is below it. How many sessions are active again.
    pub(crate) async fn resume_session(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<i64> {
        let now = Moment::now();
        let mut change = self.store.begin().await?;
        let row = change.session(&zone.id, id).await?;
        let row = owned(row, caller)?;
        if !row.state(now).is_live() || row.suspended_at.is_none() {
            let text = if row.has_lapsed(now) {
                "the session's lease has lapsed; take a new one"
            } else {
                "the session itself is not suspended"
            };
            return Err(Error::new(Code::SESSION_NOT_SUSPENDED, text));
        }
        if row.suspended_by.as_deref() == Some("operator") && caller.application().is_some() {
            return Err(Error::new(
                Code::OPERATOR_SUSPENSION,
                "an operator suspended this session, and an operator resumes it",
            ));
        }
        let before = change
            .count_subtree(&row, SessionState::Active, now)
            .await?;
        change.set_suspended(&row, None).await?;
        let after = change
            .count_subtree(&row, SessionState::Active, now)
            .await?;
        // A service whose lease has lapsed meanwhile is suspended for that.
        if !row.has_lapsed(now) {
            let anchor = revocations::session(row.id.as_str());
            change.release(&zone.id, anchor, now).await?;
        }
        let resumed = json!({"sessions_resumed": after - before});
        change
            .record(
                &zone.id,
                Changed::session("session.resume", &row).after(&resumed),
            )
            .await?;
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, session = %row.id, resumed = after - before, "session resumed");
        Ok(after - before)
    }

    /// Ends a session and everything below it. Again does nothing.
    pub(crate) async fn terminate_session(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
        lease_generation: Option<i64>,
        reason: Option<String>,
    ) -> Result<()> {
        let reason = reason.unwrap_or_else(|| "requested".to_owned());
        revocations::check_reason(&reason)?;
        let now = Moment::now();
        let mut change = self.store.begin().await?;
        let row = change.session(&zone.id, id).await?;
        let row = owned(row, caller)?;
        if !row.state(now).is_live() {
            return Ok(());
        }
        if row.lifecycle == lease::SERVICE {
            match lease_generation {
                Some(generation) => lease::check_generation(&row, generation)?,
                None if caller.application().is_some() => {
                    return Err(Error::new(
                        Code::LEASE_GENERATION_REQUIRED,
                        "lease_generation: a service is ended by the holder of its lease",
                    ));
                }
                None => {}
            }
        }
        let ended = change.end_subtree(&row, "terminated", &reason, now).await?;
        let anchor = revocations::session(row.id.as_str());
        change
            .revoke_for_good(&zone.id, anchor, &reason, now)
            .await?;
        let after = json!({"state": "terminated", "reason": reason, "sessions_ended": ended});
        change
            .record(
                &zone.id,
                Changed::session("session.terminate", &row).after(&after),
            )
            .await?;
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, session = %row.id, ended, reason, "session terminated");
        Ok(())
    }
}

impl Change {
    /// The session `id` of `caller`, as it stands within this change.
    pub(crate) async fn own_session(
        &mut self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<SessionRow> {
        let row = self.session(&zone.id, id).await?;
        owned(row, caller)
    }
}

/// A session that is there, and the caller's.
fn owned(row: Option<SessionRow>, caller: &Caller) -> Result<SessionRow> {
    let row = row.ok_or_else(|| {
        Error::new(
            Code::SESSION_NOT_FOUND,
            "no session of this zone has this id",
        )
    })?;
    if !caller.is(&row.application_id) {
        return Err(ownership_required());
    }
    if !caller.reaches(&row.path) {
        return Err(Error::new(
            Code::PARENT_OWNERSHIP_REQUIRED,
            "the mandate is bound to a session, and this one is not below it",
        ));
    }
    Ok(row)
}

fn ownership_required() -> Error {
    Error::new(
        Code::APPLICATION_OWNERSHIP_REQUIRED,
        "the session is another application's",
    )
}
