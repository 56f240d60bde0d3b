//! Rows of governed sessions. A state is derived from times, here in SQL and in [`SessionRow::state`].

use std::collections::{BTreeSet, HashSet};

use authority::ids::{AgentSessionId, ApplicationId, ZoneId};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// A session.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct SessionRow {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) id: AgentSessionId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// The application that it is a run of.
    #[sqlx(try_from = "String")]
    pub(crate) application_id: ApplicationId,
    /// The session that started it.
    pub(crate) parent_id: Option<String>,
    /// Ids from the root down, itself last.
    #[sqlx(json)]
    pub(crate) path: Vec<String>,
    /// 0 for a root.
    pub(crate) depth: u32,
    /// The authority record that it acts on behalf of.
    pub(crate) subject_authority_record_id: Option<String>,
    /// `sub` of its mandates.
    pub(crate) subject: String,
    /// Whether it holds its application's own authority, and not only what is delegated to it.
    pub(crate) originates: bool,
    /// `task` or `service`.
    pub(crate) lifecycle: String,
    /// Labels.
    #[sqlx(json)]
    pub(crate) labels: Vec<String>,
    /// What the client noted.
    #[sqlx(json)]
    pub(crate) metadata: Map<String, Value>,
    /// Of a task.
    pub(crate) ttl_seconds: Option<i64>,
    /// Start.
    pub(crate) started_at: Moment,
    /// End, of a task.
    pub(crate) expires_at: Option<Moment>,
    /// Last sign of life, of a service.
    pub(crate) last_heartbeat_at: Option<Moment>,
    /// When the lease of a service lapses.
    pub(crate) heartbeat_deadline_at: Option<Moment>,
    /// Who of a service's successive holders is the current one; 0 for a task.
    pub(crate) lease_generation: i64,
    /// Since when it is suspended, itself and not by an ancestor.
    pub(crate) suspended_at: Option<Moment>,
    /// By `operator` or `application`.
    pub(crate) suspended_by: Option<String>,
    /// When it ended before its time, or was found to have ended.
    pub(crate) ended_at: Option<Moment>,
    /// `terminated` or `expired`.
    pub(crate) ended_as: Option<String>,
    /// Why.
    pub(crate) end_reason: Option<String>,
    /// From when on an ancestor keeps it from acting, unless it changes; 0 if one does for good.
    pub(crate) held_from: Option<Moment>,
}

/// What a session can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionState {
    Active,
    /// It, or one of its ancestors, is suspended or has let its lease lapse.
    Suspended,
    Terminated,
    Expired,
}

impl SessionState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            SessionState::Active => "active",
            SessionState::Suspended => "suspended",
            SessionState::Terminated => "terminated",
            SessionState::Expired => "expired",
        }
    }

    /// Whether it may still become active, or is.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, SessionState::Active | SessionState::Suspended)
    }
}

impl SessionRow {
    /// What it is at `now`.
    pub(crate) fn state(&self, now: Moment) -> SessionState {
        match self.ended_as.as_deref() {
            Some("expired") => return SessionState::Expired,
            Some(_) => return SessionState::Terminated,
            None => {}
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return SessionState::Expired;
        }
        if self.suspended_at.is_some() || self.has_lapsed(now) || self.is_held(now) {
            return SessionState::Suspended;
        }
        SessionState::Active
    }

    /// Whether the lease of a service has lapsed.
    pub(crate) fn has_lapsed(&self, now: Moment) -> bool {
        self.heartbeat_deadline_at
            .is_some_and(|deadline| deadline <= now)
    }

    /// Whether an ancestor keeps it from acting: one that is suspended or has let its lease lapse.
    pub(crate) fn is_held(&self, now: Moment) -> bool {
        self.held_from.is_some_and(|from| from <= now)
    }

    /// The path as it stands in the database, and in the claim.
    fn path_text(&self) -> String {
        Value::from(self.path.clone()).to_string()
    }
}

/// The paths of everything below a path: from here, up to there.
pub(super) fn below(path_text: &str) -> (String, String) {
    let open = path_text.trim_end_matches(']');
    // What follows in a longer path is a comma, and a minus is what comes after that in ASCII.
    (format!("{open},"), format!("{open}-"))
}

/// Which sessions are listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionFilter {
    pub(crate) state: Option<SessionState>,
    pub(crate) lifecycle: Option<String>,
    pub(crate) application_id: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) parent_id: Option<String>,
}

/// Whether an ancestor of `s` is suspended or has lapsed by the moment that is bound to it.
const HELD: &str =
    "EXISTS (SELECT 1 FROM json_each(s.path) AS p JOIN sessions AS a ON a.id = p.value
    WHERE a.id <> s.id AND (a.suspended_at IS NOT NULL OR a.heartbeat_deadline_at <= ";

/// Sessions as they are at any time, for as long as nothing is changed about them and their ancestors.
fn select() -> QueryBuilder<Sqlite> {
    QueryBuilder::new(
        "SELECT s.*, (
             SELECT min(CASE WHEN a.suspended_at IS NULL THEN a.heartbeat_deadline_at ELSE 0 END)
             FROM json_each(s.path) AS p JOIN sessions AS a ON a.id = p.value WHERE a.id <> s.id
         ) AS held_from FROM sessions AS s WHERE ",
    )
}

fn push_held(query: &mut QueryBuilder<Sqlite>, now: Moment) {
    query.push(HELD).push_bind(now).push("))");
}

fn among(ids: impl Serialize + Send + 'static) -> QueryBuilder<Sqlite> {
    let mut query = select();
    query
        .push("s.id IN (SELECT value FROM json_each(")
        .push_bind(sqlx::types::Json(ids))
        .push("))");
    query
}

impl Store {
    /// The session with this id in this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn session(&self, zone: &ZoneId, id: &str) -> Result<Option<SessionRow>> {
        let found = self.sessions_by_id(&[id.to_owned()]).await?;
        Ok(found.into_iter().find(|row| row.zone_id == *zone))
    }

    /// The sessions of a zone that pass `filter`.
    pub(crate) async fn sessions(
        &self,
        zone: &ZoneId,
        filter: &SessionFilter,
        page: &PageRequest,
        now: Moment,
    ) -> Result<Page<SessionRow>> {
        let mut query = select();
        query
            .push("s.zone_id = ")
            .push_bind(zone.as_str())
            .push(" AND s.id > ")
            .push_bind(&page.after);
        for (column, value) in [
            ("lifecycle", &filter.lifecycle),
            ("application_id", &filter.application_id),
            ("parent_id", &filter.parent_id),
        ] {
            if let Some(value) = value {
                query.push(format!(" AND s.{column} = ")).push_bind(value);
            }
        }
        if let Some(label) = &filter.label {
            query
                .push(" AND EXISTS (SELECT 1 FROM json_each(s.labels) AS l WHERE l.value = ")
                .push_bind(label)
                .push(")");
        }
        if let Some(state) = filter.state {
            push_state(&mut query, state, now);
        }
        query.push(" ORDER BY s.id LIMIT ").push_bind(page.rows());
        let rows = query.build_query_as().fetch_all(&self.readers).await?;
        Ok(Page::from_rows(rows, page, |row: &SessionRow| {
            row.id.to_string()
        }))
    }

    /// How many live children each of `parents` has.
    pub(crate) async fn child_counts(&self, parents: &[&str]) -> Result<Vec<(String, i64)>> {
        let sql = "SELECT parent_id, count(*) FROM sessions
                   WHERE parent_id IN (SELECT value FROM json_each(?)) AND ended_at IS NULL
                   GROUP BY parent_id";
        Ok(sqlx::query_as(sql)
            .bind(sqlx::types::Json(parents))
            .fetch_all(&self.readers)
            .await?)
    }

    /// The sessions with these ids, whatever zone they are of.
    pub(crate) async fn sessions_by_id(&self, ids: &[String]) -> Result<Vec<SessionRow>> {
        let read = async {
            Ok(among(ids.to_vec())
                .build_query_as()
                .fetch_all(&self.readers)
                .await?)
        };
        let id = |row: &SessionRow| row.id.to_string();
        self.kept.sessions.all(ids, id, read).await
    }

    /// When the next session ends of itself: a task at its end, a service `patience` after its lease.
    pub(crate) async fn next_session_end(
        &self,
        patience: std::time::Duration,
    ) -> Result<Option<Moment>> {
        let sql = "SELECT min(expires_at) FROM sessions WHERE ended_at IS NULL AND expires_at IS NOT NULL";
        let task: Option<Moment> = sqlx::query_scalar(sql).fetch_one(&self.readers).await?;
        let sql = "SELECT min(heartbeat_deadline_at) FROM sessions
                   WHERE ended_at IS NULL AND heartbeat_deadline_at IS NOT NULL";
        let service: Option<Moment> = sqlx::query_scalar(sql).fetch_one(&self.readers).await?;
        let service = service.map(|deadline| deadline.plus(patience));
        Ok([task, service].into_iter().flatten().min())
    }
}

fn push_state(query: &mut QueryBuilder<Sqlite>, state: SessionState, now: Moment) {
    let suspended = match state {
        SessionState::Active => "NOT ",
        SessionState::Suspended => "",
        SessionState::Terminated => {
            query.push(" AND s.ended_as = 'terminated'");
            return;
        }
        SessionState::Expired => {
            query
                .push(" AND (s.ended_as = 'expired' OR s.ended_at IS NULL AND s.expires_at <= ")
                .push_bind(now)
                .push(")");
            return;
        }
    };
    query
        .push(" AND s.ended_at IS NULL AND (s.expires_at IS NULL OR s.expires_at > ")
        .push_bind(now)
        .push(") AND ")
        .push(suspended)
        .push("(s.suspended_at IS NOT NULL OR coalesce(s.heartbeat_deadline_at <= ")
        .push_bind(now)
        .push(", FALSE) OR ");
    push_held(query, now);
    query.push(")");
}

/// How many sessions there are that have not ended.
#[derive(Clone, Copy, Debug, FromRow)]
pub(crate) struct LiveSessions {
    pub(crate) in_zone: i64,
    pub(crate) of_application: i64,
    pub(crate) of_parent: i64,
}

impl Change {
    /// The session with this id in this zone, as it stands within this change.
    pub(crate) async fn session(&mut self, zone: &ZoneId, id: &str) -> Result<Option<SessionRow>> {
        let mut query = select();
        query.push("s.id = ").push_bind(id);
        query.push(" AND s.zone_id = ").push_bind(zone.as_str());
        Ok(query.build_query_as().fetch_optional(&mut *self.0).await?)
    }

    /// Those of these sessions that are active at `now`, as they stand within this change.
    pub(crate) async fn active_among(
        &mut self,
        ids: &BTreeSet<&str>,
        now: Moment,
    ) -> Result<HashSet<String>> {
        let is_active = |row: &SessionRow| row.state(now) == SessionState::Active;
        let (mut active, mut unknown) = (HashSet::new(), Vec::new());
        for id in ids {
            let id = (*id).to_owned();
            match self.2.sessions.certain(&id, is_active) {
                Some(true) => _ = active.insert(id),
                Some(false) => {}
                None => unknown.push(id),
            }
        }
        if unknown.is_empty() {
            return Ok(active);
        }
        let rows: Vec<SessionRow> = among(unknown)
            .build_query_as()
            .fetch_all(&mut *self.0)
            .await?;
        for row in rows {
            if is_active(&row) {
                active.insert(row.id.to_string());
            }
            self.2.sessions.keep_certain(row.id.to_string(), row);
        }
        Ok(active)
    }

    /// What the limits on sessions look at.
    pub(crate) async fn live_sessions(
        &mut self,
        zone: &ZoneId,
        application: &ApplicationId,
        parent: Option<&str>,
    ) -> Result<LiveSessions> {
        let sql = "SELECT
            coalesce((SELECT live FROM live_sessions WHERE zone_id = ?1 AND application_id = ''), 0) AS in_zone,
            coalesce((SELECT live FROM live_sessions WHERE zone_id = ?1 AND application_id = ?2), 0)
                AS of_application,
            (SELECT count(*) FROM sessions WHERE parent_id = ?3 AND ended_at IS NULL) AS of_parent";
        Ok(sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(application.as_str())
            .bind(parent)
            .fetch_one(&mut *self.0)
            .await?)
    }

    /// A new session.
    pub(crate) async fn insert_session(&mut self, row: &SessionRow) -> Result<()> {
        let sql = "INSERT INTO sessions (id, zone_id, application_id, parent_id, path, depth,
                   subject_authority_record_id, subject, originates, lifecycle, labels, metadata, ttl_seconds,
                   started_at, expires_at, last_heartbeat_at, heartbeat_deadline_at, lease_generation)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(row.zone_id.as_str())
            .bind(row.application_id.as_str())
            .bind(&row.parent_id)
            .bind(row.path_text())
            .bind(row.depth)
            .bind(&row.subject_authority_record_id)
            .bind(&row.subject)
            .bind(row.originates)
            .bind(&row.lifecycle)
            .bind(sqlx::types::Json(&row.labels))
            .bind(sqlx::types::Json(&row.metadata))
            .bind(row.ttl_seconds)
            .bind(row.started_at)
            .bind(row.expires_at)
            .bind(row.last_heartbeat_at)
            .bind(row.heartbeat_deadline_at)
            .bind(row.lease_generation)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Writes the lease of a service.
    pub(crate) async fn update_lease(&mut self, row: &SessionRow) -> Result<()> {
        let sql = "UPDATE sessions SET last_heartbeat_at = ?, heartbeat_deadline_at = ?,
                   lease_generation = ? WHERE id = ?";
        sqlx::query(sql)
            .bind(row.last_heartbeat_at)
            .bind(row.heartbeat_deadline_at)
            .bind(row.lease_generation)
            .bind(row.id.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Suspends one session, and everything below it with it; or lets it go on.
    pub(crate) async fn set_suspended(
        &mut self,
        row: &SessionRow,
        suspended: Option<(Moment, &str)>,
    ) -> Result<()> {
        sqlx::query("UPDATE sessions SET suspended_at = ?, suspended_by = ? WHERE id = ?")
            .bind(suspended.map(|(at, _)| at))
            .bind(suspended.map(|(_, by)| by))
            .bind(row.id.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// How many sessions at and below `row` have not ended at `now`, and are suspended or are not.
    pub(crate) async fn count_subtree(
        &mut self,
        row: &SessionRow,
        state: SessionState,
        now: Moment,
    ) -> Result<i64> {
        let (from, to) = below(&row.path_text());
        let mut query = QueryBuilder::new("SELECT count(*) FROM sessions AS s WHERE (s.id = ");
        query
            .push_bind(row.id.as_str())
            .push(" OR s.path > ")
            .push_bind(from)
            .push(" AND s.path < ")
            .push_bind(to)
            .push(")");
        push_state(&mut query, state, now);
        Ok(query.build_query_scalar().fetch_one(&mut *self.0).await?)
    }

    /// Ends a session and all below it that have not ended yet, and revokes every delegation that
    /// touches one of them or rests on one that does.
    pub(crate) async fn end_subtree(
        &mut self,
        row: &SessionRow,
        ended_as: &str,
        reason: &str,
        now: Moment,
    ) -> Result<u64> {
        let (from, to) = below(&row.path_text());
        let sql = "WITH RECURSIVE gone (id) AS (
                       SELECT id FROM sessions
                       WHERE (id = ?1 OR path > ?2 AND path < ?3) AND ended_at IS NULL
                   ), fallen (id) AS (
                       SELECT d.id FROM gone JOIN delegations AS d ON d.source_session_id = gone.id
                       UNION SELECT d.id FROM gone JOIN delegations AS d ON d.target_session_id = gone.id
                       UNION SELECT d.id FROM fallen JOIN delegations AS d ON d.parent_edge_id = fallen.id
                   )
                   UPDATE delegations SET revoked_at = ?4
                   WHERE revoked_at IS NULL AND id IN (SELECT id FROM fallen)";
        sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(&from)
            .bind(&to)
            .bind(now)
            .execute(&mut *self.0)
            .await?;
        let sql = "UPDATE sessions SET ended_at = ?4, ended_as = ?5, end_reason = ?6
                   WHERE (id = ?1 OR path > ?2 AND path < ?3) AND ended_at IS NULL";
        let done = sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(&from)
            .bind(&to)
            .bind(now)
            .bind(ended_as)
            .bind(reason)
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected())
    }

    /// Ends all sessions of an application, and revokes every delegation that it gave or received and all
    /// that rest on those.
    pub(crate) async fn end_sessions_of(
        &mut self,
        application: &str,
        reason: &str,
        now: Moment,
    ) -> Result<()> {
        let sql = "WITH RECURSIVE fallen (id) AS (
                       SELECT id FROM delegations
                       WHERE (issuer_application_id = ?1 OR receiver_application_id = ?1) AND revoked_at IS NULL
                       UNION SELECT d.id FROM fallen JOIN delegations AS d ON d.parent_edge_id = fallen.id
                   )
                   UPDATE delegations SET revoked_at = ?2
                   WHERE revoked_at IS NULL AND id IN (SELECT id FROM fallen)";
        sqlx::query(sql)
            .bind(application)
            .bind(now)
            .execute(&mut *self.0)
            .await?;
        let sql = "UPDATE sessions SET ended_at = ?, ended_as = 'terminated', end_reason = ?
                   WHERE application_id = ? AND ended_at IS NULL";
        sqlx::query(sql)
            .bind(now)
            .bind(reason)
            .bind(application)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Writes down of up to `most` tasks that their time is over.
    pub(crate) async fn expire_tasks(&mut self, now: Moment, most: u32) -> Result<Vec<SessionRow>> {
        let mut query = select();
        query
            .push("s.ended_at IS NULL AND s.expires_at <= ")
            .push_bind(now)
            .push(" LIMIT ")
            .push_bind(most);
        let due: Vec<SessionRow> = query.build_query_as().fetch_all(&mut *self.0).await?;
        let ids: Vec<&str> = due.iter().map(|row| row.id.as_str()).collect();
        let sql =
            "UPDATE sessions SET ended_at = expires_at, ended_as = 'expired', end_reason = 'ttl'
                   WHERE id IN (SELECT value FROM json_each(?))";
        sqlx::query(sql)
            .bind(sqlx::types::Json(ids))
            .execute(&mut *self.0)
            .await?;
        Ok(due)
    }

    /// A service that has been without a holder since before `since`.
    pub(crate) async fn abandoned_service(&mut self, since: Moment) -> Result<Option<SessionRow>> {
        let mut query = select();
        query
            .push("s.ended_at IS NULL AND s.heartbeat_deadline_at <= ")
            .push_bind(since)
            .push(" LIMIT 1");
        Ok(query.build_query_as().fetch_optional(&mut *self.0).await?)
    }
}
