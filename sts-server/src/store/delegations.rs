//! Rows of delegations: edges from one session to another.

use std::collections::{BTreeSet, HashSet};

use authority::{
    delegation::{Bounds, Step},
    ids::{AgentSessionId, ApplicationId, DelegationId, ZoneId},
};
use serde_json::{Map, Value};
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store, sessions::below};
use crate::clock::Moment;

/// A delegation.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct DelegationRow {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) id: DelegationId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// The session that delegates.
    #[sqlx(try_from = "String")]
    pub(crate) source_session_id: AgentSessionId,
    /// The session that is delegated to.
    #[sqlx(try_from = "String")]
    pub(crate) target_session_id: AgentSessionId,
    /// The application of the source.
    #[sqlx(try_from = "String")]
    pub(crate) issuer_application_id: ApplicationId,
    /// The application of the target.
    #[sqlx(try_from = "String")]
    pub(crate) receiver_application_id: ApplicationId,
    /// The delegation that it passes on from.
    pub(crate) parent_edge_id: Option<String>,
    /// Ids from the first delegation down, itself last.
    #[sqlx(json)]
    pub(crate) path: Vec<String>,
    /// Whether a child began with it, rather than being given it.
    pub(crate) inherited: bool,
    /// Identifiers of resources.
    #[sqlx(json)]
    pub(crate) resources: Vec<String>,
    /// Scopes.
    #[sqlx(json)]
    pub(crate) scopes: Vec<String>,
    /// How many delegations may follow one another from here, itself included.
    pub(crate) max_hops: u32,
    /// Longest life of a mandate under it.
    pub(crate) mandate_ttl_seconds: Option<i64>,
    /// What may be spent.
    pub(crate) budget: Option<i64>,
    /// The constraints as they were given.
    #[sqlx(json)]
    pub(crate) constraints: Map<String, Value>,
    /// End.
    pub(crate) expires_at: Moment,
    /// Time of creation.
    pub(crate) created_at: Moment,
    /// When it was revoked, itself or with something that it rests on.
    pub(crate) revoked_at: Option<Moment>,
}

impl DelegationRow {
    /// `active`, `revoked` or `expired`.
    pub(crate) fn status(&self, now: Moment) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at <= now {
            "expired"
        } else {
            "active"
        }
    }

    /// What it bounds.
    pub(crate) fn bounds(&self) -> Bounds {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        Bounds {
            scopes: self.scopes.iter().cloned().collect(),
            resources: self.resources.iter().cloned().collect(),
            expires_at: self.expires_at.timestamp(),
            max_hops: self.max_hops,
            ttl_seconds: self.mandate_ttl_seconds.map(unsigned),
            budget: self.budget.map(unsigned),
        }
    }

    /// How it came from its parent.
    pub(crate) fn step(&self) -> Step {
        if self.inherited {
            Step::Inherited
        } else {
            Step::Delegated
        }
    }

    fn path_text(&self) -> String {
        Value::from(self.path.clone()).to_string()
    }
}

/// At which end of a delegation a session is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    Source(&'a str),
    Target(&'a str),
    /// At either, of any session of one application or, without one, of the zone.
    Any(Option<&'a str>),
}

const ONE: &str = "SELECT * FROM delegations WHERE id = ? AND zone_id = ?";
const ALONG: &str =
    "SELECT d.* FROM json_each(?) AS p JOIN delegations AS d ON d.id = p.value ORDER BY p.key";

impl Store {
    /// The delegation with this id in this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn delegation(
        &self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<DelegationRow>> {
        let found = self.delegations_along(&[id.to_owned()]).await?;
        Ok(found.into_iter().find(|row| row.zone_id == *zone))
    }

    /// The delegations along `path`, in its order.
    pub(crate) async fn delegations_along(&self, path: &[String]) -> Result<Vec<DelegationRow>> {
        let read = async {
            Ok(sqlx::query_as(ALONG)
                .bind(sqlx::types::Json(path))
                .fetch_all(&self.readers)
                .await?)
        };
        let id = |row: &DelegationRow| row.id.to_string();
        self.kept.delegations.all(path, id, read).await
    }

    /// The delegations of a zone at this end, all or those that are active at `now`.
    pub(crate) async fn delegations(
        &self,
        zone: &ZoneId,
        end: End<'_>,
        active_at: Option<Moment>,
        page: &PageRequest,
    ) -> Result<Page<DelegationRow>> {
        let sql = "SELECT * FROM delegations WHERE zone_id = ?1 AND id > ?2
                   AND (?3 IS NULL OR source_session_id = ?3)
                   AND (?4 IS NULL OR target_session_id = ?4)
                   AND (?5 IS NULL OR issuer_application_id = ?5 OR receiver_application_id = ?5)
                   AND (?6 IS NULL OR revoked_at IS NULL AND expires_at > ?6)
                   ORDER BY id LIMIT ?7";
        let (source, target, application) = match end {
            End::Source(id) => (Some(id), None, None),
            End::Target(id) => (None, Some(id), None),
            End::Any(application) => (None, None, application),
        };
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(source)
            .bind(target)
            .bind(application)
            .bind(active_at)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &DelegationRow| {
            row.id.to_string()
        }))
    }

    /// What rests on a delegation and is active at `now`, itself included; `most` of them.
    pub(crate) async fn delegations_resting_on(
        &self,
        row: &DelegationRow,
        now: Moment,
        most: u32,
    ) -> Result<Vec<DelegationRow>> {
        let (from, to) = below(&row.path_text());
        let sql = "SELECT * FROM delegations WHERE (id = ? OR path > ? AND path < ?)
                   AND revoked_at IS NULL AND expires_at > ? ORDER BY id LIMIT ?";
        Ok(sqlx::query_as(sql)
            .bind(row.id.as_str())
            .bind(from)
            .bind(to)
            .bind(now)
            .bind(most)
            .fetch_all(&self.readers)
            .await?)
    }

    /// The live delegations to `session`.
    pub(crate) async fn live_delegations_to(
        &self,
        session: &AgentSessionId,
        now: Moment,
    ) -> Result<Vec<DelegationRow>> {
        Ok(live_to(session, now).fetch_all(&self.readers).await?)
    }
}

fn live_to<'q>(
    session: &AgentSessionId,
    now: Moment,
) -> sqlx::query::QueryAs<'q, sqlx::Sqlite, DelegationRow, sqlx::sqlite::SqliteArguments> {
    let sql = "SELECT * FROM delegations WHERE target_session_id = ? AND revoked_at IS NULL
               AND expires_at > ? ORDER BY id";
    sqlx::query_as(sql)
        .bind(session.as_str().to_owned())
        .bind(now)
}

impl Change {
    /// The delegation with this id in this zone, as it stands within this change.
    pub(crate) async fn delegation(
        &mut self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<DelegationRow>> {
        Ok(sqlx::query_as(ONE)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&mut *self.0)
            .await?)
    }

    /// The live delegations to `session`, as they stand within this change.
    pub(crate) async fn live_delegations_to(
        &mut self,
        session: &AgentSessionId,
        now: Moment,
    ) -> Result<Vec<DelegationRow>> {
        Ok(live_to(session, now).fetch_all(&mut *self.0).await?)
    }

    /// Those of these delegations that are active at `now`.
    pub(crate) async fn in_force_among(
        &mut self,
        ids: &BTreeSet<&str>,
        now: Moment,
    ) -> Result<HashSet<String>> {
        let is_in_force = |row: &DelegationRow| row.status(now) == "active";
        let (mut in_force, mut unknown) = (HashSet::new(), Vec::new());
        for id in ids {
            let id = (*id).to_owned();
            match self.2.delegations.certain(&id, is_in_force) {
                Some(true) => _ = in_force.insert(id),
                Some(false) => {}
                None => unknown.push(id),
            }
        }
        if unknown.is_empty() {
            return Ok(in_force);
        }
        let rows: Vec<DelegationRow> = sqlx::query_as(ALONG)
            .bind(sqlx::types::Json(unknown))
            .fetch_all(&mut *self.0)
            .await?;
        for row in rows {
            if is_in_force(&row) {
                in_force.insert(row.id.to_string());
            }
            self.2.delegations.keep_certain(row.id.to_string(), row);
        }
        Ok(in_force)
    }

    /// Whether authority flows from one session to the other by delegations that are active at `now`.
    pub(crate) async fn flows(&mut self, from: &str, to: &str, now: Moment) -> Result<bool> {
        let sql = "WITH RECURSIVE reached (id) AS (
                       SELECT ?1
                       UNION SELECT d.target_session_id FROM reached
                       JOIN delegations AS d ON d.source_session_id = reached.id
                       WHERE d.revoked_at IS NULL AND d.expires_at > ?3
                   )
                   SELECT EXISTS (SELECT 1 FROM reached WHERE id = ?2)";
        Ok(sqlx::query_scalar(sql)
            .bind(from)
            .bind(to)
            .bind(now)
            .fetch_one(&mut *self.0)
            .await?)
    }

    /// A new delegation.
    pub(crate) async fn insert_delegation(&mut self, row: &DelegationRow) -> Result<()> {
        let sql = "INSERT INTO delegations (id, zone_id, source_session_id, target_session_id,
                   issuer_application_id, receiver_application_id, parent_edge_id, path, inherited,
                   resources, scopes, max_hops, mandate_ttl_seconds, budget, constraints, expires_at,
                   created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(row.zone_id.as_str())
            .bind(row.source_session_id.as_str())
            .bind(row.target_session_id.as_str())
            .bind(row.issuer_application_id.as_str())
            .bind(row.receiver_application_id.as_str())
            .bind(&row.parent_edge_id)
            .bind(row.path_text())
            .bind(row.inherited)
            .bind(sqlx::types::Json(&row.resources))
            .bind(sqlx::types::Json(&row.scopes))
            .bind(row.max_hops)
            .bind(row.mandate_ttl_seconds)
            .bind(row.budget)
            .bind(sqlx::types::Json(&row.constraints))
            .bind(row.expires_at)
            .bind(row.created_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Revokes a delegation and all that rest on it. Their target sessions, of those that were live.
    pub(crate) async fn revoke_delegations(
        &mut self,
        row: &DelegationRow,
        now: Moment,
    ) -> Result<(u64, BTreeSet<String>)> {
        let (from, to) = below(&row.path_text());
        let sql = "UPDATE delegations SET revoked_at = ? WHERE (id = ? OR path > ? AND path < ?)
                   AND revoked_at IS NULL RETURNING target_session_id";
        let targets: Vec<String> = sqlx::query_scalar(sql)
            .bind(now)
            .bind(row.id.as_str())
            .bind(from)
            .bind(to)
            .fetch_all(&mut *self.0)
            .await?;
        Ok((
            u64::try_from(targets.len()).unwrap_or(u64::MAX),
            targets.into_iter().collect(),
        ))
    }
}
