//! Rows of revocations: one for each anchor that is revoked, was, or is only suspended.

use authority::{
    ids::ZoneId,
    revocation::{Anchor, AnchorKind, HashKey},
};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{
    Change, Page, PageRequest, Result, Store,
    suspects::{MOST_SUSPECTS, Suspect},
};
use crate::clock::Moment;

/// Where a zone's revocations stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevocationState {
    /// Of the last change.
    pub(crate) epoch: u64,
    /// From where on every change is still known.
    pub(crate) horizon: u64,
    /// Of the digests.
    pub(crate) key: HashKey,
}

/// A revocation.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct RevocationRow {
    /// What kind of id.
    pub(crate) anchor_type: String,
    /// The id.
    #[serde(rename = "id")]
    pub(crate) anchor_id: String,
    /// Only mandates issued up to then, in seconds since the Unix epoch.
    pub(crate) issued_until: Option<i64>,
    /// Why.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) revoked_at: Moment,
    /// Since when no more.
    pub(crate) withdrawn_at: Option<Moment>,
    /// When gateways may forget it.
    pub(crate) published_until: Moment,
    /// Of its last change.
    pub(crate) epoch: u64,
}

impl RevocationRow {
    /// The anchor, if this version knows its kind.
    pub(crate) fn anchor(&self) -> Option<Anchor<'_>> {
        let kind = AnchorKind::named(&self.anchor_type)?;
        Some(Anchor {
            kind,
            id: &self.anchor_id,
        })
    }
}

/// A revocation to be written.
#[derive(Clone, Debug)]
pub(crate) struct NewRevocation {
    pub(crate) kind: AnchorKind,
    pub(crate) id: String,
    pub(crate) issued_until: Option<u64>,
    pub(crate) reason: String,
    pub(crate) published_until: Moment,
    pub(crate) kept_until: Option<Moment>,
}

/// What falls with an anchor.
#[derive(Clone, Copy, Debug, Default, Serialize, FromRow)]
pub(crate) struct Falls {
    /// Sessions that have not ended.
    pub(crate) sessions: i64,
    /// Delegations in force.
    pub(crate) delegations: i64,
    /// Mandates in date.
    pub(crate) mandates: i64,
}

type StateRow = (i64, i64, Vec<u8>);

fn state(row: Option<StateRow>) -> Option<RevocationState> {
    let (epoch, horizon, key) = row?;
    Some(RevocationState {
        epoch: u64::try_from(epoch).ok()?,
        horizon: u64::try_from(horizon).ok()?,
        key: HashKey(key.try_into().ok()?),
    })
}

const STATE: &str =
    "SELECT revocation_epoch, revocation_horizon, revocation_key FROM zones WHERE id = ?";

/// Anchors as the database looks them up.
fn listed(anchors: &[Anchor<'_>]) -> Value {
    let pairs = anchors
        .iter()
        .map(|anchor| json!([anchor.kind.name(), anchor.id]));
    Value::Array(pairs.collect())
}

/// The few anchors first, and each looked up: a join that the planner may turn round would go through all that
/// a zone has revoked, for every mint.
pub(super) const IN_FORCE: &str = "SELECT r.* FROM json_each(?) AS a CROSS JOIN revocations AS r
    ON r.zone_id = ? AND r.anchor_type = a.value ->> 0 AND r.anchor_id = a.value ->> 1
    WHERE r.withdrawn_at IS NULL";

fn in_force<'q>(
    zone: &'q ZoneId,
    anchors: &[Anchor<'_>],
) -> sqlx::query::QueryAs<'q, Sqlite, RevocationRow, sqlx::sqlite::SqliteArguments> {
    sqlx::query_as(IN_FORCE)
        .bind(sqlx::types::Json(listed(anchors)))
        .bind(zone.as_str())
}

/// What was revoked in a zone after the epoch `after`, one more than are kept at most.
fn newer<'q>(
    zone: &'q ZoneId,
    after: i64,
) -> sqlx::query::QueryAs<'q, Sqlite, Suspect, sqlx::sqlite::SqliteArguments> {
    let sql = "SELECT anchor_type, anchor_id, epoch FROM revocations
               WHERE zone_id = ? AND epoch > ? AND withdrawn_at IS NULL ORDER BY epoch LIMIT ?";
    sqlx::query_as(sql).bind(zone.as_str()).bind(after).bind(
        i64::try_from(MOST_SUSPECTS)
            .unwrap_or(i64::MAX)
            .saturating_add(1),
    )
}

/// A look at the revocations of a zone as they stood at one moment.
pub(crate) struct RevocationView {
    view: Transaction<'static, Sqlite>,
    pub(crate) state: RevocationState,
    zone: ZoneId,
}

impl Store {
    /// Where the revocations of a zone stand, archived or not.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn revocation_state(&self, zone: &ZoneId) -> Result<Option<RevocationState>> {
        let row = sqlx::query_as(STATE)
            .bind(zone.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(state(row))
    }

    /// A look at the revocations of a zone, if the zone is there.
    pub(crate) async fn revocation_view(&self, zone: &ZoneId) -> Result<Option<RevocationView>> {
        let mut view = self.readers.begin().await?;
        let row = sqlx::query_as(STATE)
            .bind(zone.as_str())
            .fetch_optional(&mut *view)
            .await?;
        Ok(state(row).map(|state| RevocationView {
            view,
            state,
            zone: zone.clone(),
        }))
    }

    /// Those of `anchors` that are revoked in this zone.
    pub(crate) async fn revocations_of(
        &self,
        zone: &ZoneId,
        anchors: &[Anchor<'_>],
    ) -> Result<Vec<RevocationRow>> {
        let suspects = &self.kept.suspects;
        let read = async |after| Ok(newer(zone, after).fetch_all(&self.readers).await?);
        if suspects
            .clear(zone, anchors, suspects.generation(), read)
            .await?
        {
            return Ok(Vec::new());
        }
        Ok(in_force(zone, anchors).fetch_all(&self.readers).await?)
    }

    /// The revocations of a zone, the oldest change first.
    pub(crate) async fn revocations(
        &self,
        zone: &ZoneId,
        page: &PageRequest,
    ) -> Result<Page<RevocationRow>> {
        let sql = "SELECT * FROM revocations WHERE zone_id = ? AND epoch > CAST(? AS INTEGER)
                   ORDER BY epoch LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &RevocationRow| {
            row.epoch.to_string()
        }))
    }

    /// When the next service lets its lease lapse that is not revoked for it yet.
    pub(crate) async fn next_lapse(&self) -> Result<Option<Moment>> {
        let sql = "SELECT min(heartbeat_deadline_at) FROM sessions AS s
                   WHERE ended_at IS NULL AND heartbeat_deadline_at IS NOT NULL AND NOT EXISTS (
                       SELECT 1 FROM revocations WHERE zone_id = s.zone_id
                       AND anchor_type = 'agent_session_id' AND anchor_id = s.id AND withdrawn_at IS NULL)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }
}

impl RevocationView {
    /// Changes after `after`, the oldest first, at most `most`.
    pub(crate) async fn changes(&mut self, after: u64, most: u32) -> Result<Vec<RevocationRow>> {
        let sql =
            "SELECT * FROM revocations WHERE zone_id = ? AND epoch > ? ORDER BY epoch LIMIT ?";
        Ok(sqlx::query_as(sql)
            .bind(self.zone.as_str())
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(most)
            .fetch_all(&mut *self.view)
            .await?)
    }

    /// A part of the anchors of this kind that are revoked and published at `now`, after `last` in the order
    /// of their ids: each with the time of issue up to which it is, if there is one.
    pub(crate) async fn published(
        &mut self,
        kind: AnchorKind,
        last: Option<&(String, Option<i64>)>,
        now: Moment,
        most: u32,
    ) -> Result<Vec<(String, Option<i64>)>> {
        let (id, by_time) = last.map_or(("", false), |(id, until)| (&**id, until.is_some()));
        let sql = "SELECT anchor_id, issued_until FROM revocations
                   WHERE zone_id = ? AND anchor_type = ? AND (anchor_id, by_time) > (?, ?)
                   AND withdrawn_at IS NULL AND published_until > ?
                   ORDER BY anchor_id, by_time LIMIT ?";
        Ok(sqlx::query_as(sql)
            .bind(self.zone.as_str())
            .bind(kind.name())
            .bind(id)
            .bind(by_time)
            .bind(now)
            .bind(most)
            .fetch_all(&mut *self.view)
            .await?)
    }

    /// When the newest change was made.
    pub(crate) async fn changed_at(&mut self) -> Result<Option<Moment>> {
        let sql = "SELECT coalesce(withdrawn_at, revoked_at) FROM revocations WHERE zone_id = ?
                   ORDER BY epoch DESC LIMIT 1";
        Ok(sqlx::query_scalar(sql)
            .bind(self.zone.as_str())
            .fetch_optional(&mut *self.view)
            .await?)
    }

    /// A part of the ids that mandates in date may carry, by kind, and where the next part begins.
    pub(crate) async fn live_ids(
        &mut self,
        kind: AnchorKind,
        after: &str,
        now: Moment,
        most: u32,
    ) -> Result<Vec<String>> {
        let sql = match kind {
            AnchorKind::Sid => {
                "SELECT id FROM authority_records WHERE zone_id = ?1 AND id > ?2 AND expires_at > ?3
                 ORDER BY id LIMIT ?4"
            }
            AnchorKind::RootSid => {
                "SELECT DISTINCT root_id FROM authority_records
                 WHERE zone_id = ?1 AND root_id > ?2 AND expires_at > ?3 ORDER BY root_id LIMIT ?4"
            }
            AnchorKind::Jti => {
                "SELECT jti FROM authority_records WHERE zone_id = ?1 AND jti > ?2 AND expires_at > ?3
                 ORDER BY jti LIMIT ?4"
            }
            AnchorKind::Session => {
                "SELECT id FROM sessions WHERE zone_id = ?1 AND id > ?2 AND ended_at IS NULL
                 AND ?3 IS NOT NULL ORDER BY id LIMIT ?4"
            }
            AnchorKind::Delegation => {
                "SELECT id FROM delegations WHERE zone_id = ?1 AND id > ?2 AND revoked_at IS NULL
                 AND expires_at > ?3 ORDER BY id LIMIT ?4"
            }
            AnchorKind::Application => {
                "SELECT id FROM applications WHERE zone_id = ?1 AND id > ?2 AND archived_at IS NULL
                 AND ?3 IS NOT NULL ORDER BY id LIMIT ?4"
            }
            AnchorKind::Key => {
                "SELECT kid FROM signing_keys WHERE zone_id = ?1 AND kid > ?2 AND ?3 IS NOT NULL
                 ORDER BY kid LIMIT ?4"
            }
            AnchorKind::Zone => {
                "SELECT id FROM zones WHERE id = ?1 AND id > ?2 AND ?3 IS NOT NULL LIMIT ?4"
            }
            AnchorKind::Subject => return Ok(Vec::new()),
        };
        Ok(sqlx::query_scalar(sql)
            .bind(self.zone.as_str())
            .bind(after)
            .bind(now)
            .bind(most)
            .fetch_all(&mut *self.view)
            .await?)
    }

    /// Those of `anchors` that are revoked.
    pub(crate) async fn among(&mut self, anchors: &[Anchor<'_>]) -> Result<Vec<RevocationRow>> {
        Ok(in_force(&self.zone, anchors)
            .fetch_all(&mut *self.view)
            .await?)
    }
}

impl Change {
    /// Those of `anchors` that are revoked within this change.
    pub(crate) async fn revocations_of(
        &mut self,
        zone: &ZoneId,
        anchors: &[Anchor<'_>],
    ) -> Result<Vec<RevocationRow>> {
        let suspects = &self.2.suspects;
        if let Some(generation) = suspects.certain_generation() {
            let read = async |after| Ok(newer(zone, after).fetch_all(&mut *self.0).await?);
            if suspects.clear(zone, anchors, generation, read).await? {
                return Ok(Vec::new());
            }
        }
        Ok(in_force(zone, anchors).fetch_all(&mut *self.0).await?)
    }

    async fn next_revocation_epoch(&mut self, zone: &ZoneId) -> Result<i64> {
        let sql = "UPDATE zones SET revocation_epoch = revocation_epoch + 1 WHERE id = ?
                   RETURNING revocation_epoch";
        Ok(sqlx::query_scalar(sql)
            .bind(zone.as_str())
            .fetch_one(&mut *self.0)
            .await?)
    }

    /// How many anchors of a zone are revoked up to a time, and published at `now`.
    pub(crate) async fn count_cutoffs(&mut self, zone: &ZoneId, now: Moment) -> Result<i64> {
        let sql = "SELECT count(*) FROM revocations WHERE zone_id = ? AND issued_until IS NOT NULL
                   AND withdrawn_at IS NULL AND published_until > ?";
        Ok(sqlx::query_scalar(sql)
            .bind(zone.as_str())
            .bind(now)
            .fetch_one(&mut *self.0)
            .await?)
    }

    /// Writes a revocation, over what was known of the anchor. Of two times up to which, the later counts.
    pub(crate) async fn revoke(
        &mut self,
        zone: &ZoneId,
        new: &NewRevocation,
        now: Moment,
    ) -> Result<()> {
        let epoch = self.next_revocation_epoch(zone).await?;
        let sql = "INSERT INTO revocations (zone_id, anchor_type, anchor_id, by_time, issued_until,
                   reason, revoked_at, published_until, kept_until, epoch)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT DO UPDATE SET
                       issued_until = CASE WHEN withdrawn_at IS NULL
                           THEN max(issued_until, excluded.issued_until) ELSE excluded.issued_until END,
                       published_until = max(published_until, excluded.published_until),
                       kept_until = excluded.kept_until, reason = excluded.reason,
                       revoked_at = excluded.revoked_at, withdrawn_at = NULL, epoch = excluded.epoch";
        sqlx::query(sql)
            .bind(zone.as_str())
            .bind(new.kind.name())
            .bind(&new.id)
            .bind(new.issued_until.is_some())
            .bind(new.issued_until.and_then(|until| i64::try_from(until).ok()))
            .bind(&new.reason)
            .bind(now)
            .bind(new.published_until)
            .bind(new.kept_until)
            .bind(epoch)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Takes a revocation back, if there is one: that of all mandates first, and then that of those issued
    /// up to a time. It is told of until `published_until`.
    pub(crate) async fn withdraw(
        &mut self,
        zone: &ZoneId,
        anchor: Anchor<'_>,
        now: Moment,
        published_until: Moment,
    ) -> Result<bool> {
        let found = self.revocations_of(zone, &[anchor]).await?;
        let by_time = found.iter().all(|row| row.issued_until.is_some());
        if found.is_empty() {
            return Ok(false);
        }
        let epoch = self.next_revocation_epoch(zone).await?;
        let sql = "UPDATE revocations SET withdrawn_at = ?, published_until = ?, kept_until = ?, epoch = ?
                   WHERE zone_id = ? AND anchor_type = ? AND anchor_id = ? AND by_time = ?";
        sqlx::query(sql)
            .bind(now)
            .bind(published_until)
            .bind(published_until)
            .bind(epoch)
            .bind(zone.as_str())
            .bind(anchor.kind.name())
            .bind(anchor.id)
            .bind(by_time)
            .execute(&mut *self.0)
            .await?;
        Ok(true)
    }

    /// Removes up to `most` revocations of which nothing can come any more. Gateways that have not heard
    /// that one of them was withdrawn get the whole filter.
    pub(crate) async fn forget_revocations(&mut self, now: Moment, most: u32) -> Result<u64> {
        let due = "SELECT zone_id, anchor_type, anchor_id, by_time FROM revocations
             WHERE kept_until <= ? ORDER BY kept_until LIMIT ?";
        let sql = format!(
            "UPDATE zones SET revocation_horizon = max(revocation_horizon, coalesce((
                 SELECT max(epoch) FROM revocations AS r WHERE r.zone_id = zones.id
                 AND withdrawn_at IS NOT NULL
                 AND (zone_id, anchor_type, anchor_id, by_time) IN ({due})), 0))
             WHERE id IN (SELECT zone_id FROM ({due}))"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(now)
            .bind(most)
            .bind(now)
            .bind(most)
            .execute(&mut *self.0)
            .await?;
        let sql = format!(
            "DELETE FROM revocations WHERE (zone_id, anchor_type, anchor_id, by_time) IN ({due})"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(now)
            .bind(most)
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected())
    }

    /// Services of any zone whose lease has lapsed at `now`, and that are not revoked for it yet.
    pub(crate) async fn lapsed_services(
        &mut self,
        now: Moment,
        most: u32,
    ) -> Result<Vec<(String, String)>> {
        let sql = "SELECT zone_id, id FROM sessions AS s
                   WHERE ended_at IS NULL AND heartbeat_deadline_at <= ? AND NOT EXISTS (
                       SELECT 1 FROM revocations WHERE zone_id = s.zone_id
                       AND anchor_type = 'agent_session_id' AND anchor_id = s.id AND withdrawn_at IS NULL)
                   LIMIT ?";
        Ok(sqlx::query_as(sql)
            .bind(now)
            .bind(most)
            .fetch_all(&mut *self.0)
            .await?)
    }

    /// The records in date that came of exchanges of the mandate of record `id`, itself included.
    pub(crate) async fn records_below(
        &mut self,
        zone: &ZoneId,
        id: &str,
        now: Moment,
    ) -> Result<Vec<String>> {
        let sql = "WITH RECURSIVE below (id) AS (
                       SELECT id FROM authority_records WHERE id = ? AND zone_id = ?
                       UNION SELECT r.id FROM below JOIN authority_records AS r ON r.parent_id = below.id
                   )
                   SELECT below.id FROM below JOIN authority_records AS r ON r.id = below.id
                   WHERE r.expires_at > ?";
        Ok(sqlx::query_scalar(sql)
            .bind(id)
            .bind(zone.as_str())
            .bind(now)
            .fetch_all(&mut *self.0)
            .await?)
    }

    /// Whether a mandate, an authority record or a root of the zone has this id.
    pub(crate) async fn is_recorded(
        &mut self,
        zone: &ZoneId,
        kind: AnchorKind,
        id: &str,
    ) -> Result<bool> {
        let column = match kind {
            AnchorKind::Jti => "jti",
            AnchorKind::RootSid => "root_id",
            _ => "id",
        };
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM authority_records WHERE {column} = ? AND zone_id = ?)"
        );
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(zone.as_str())
            .fetch_one(&mut *self.0)
            .await?)
    }

    /// What would fall if this anchor were revoked at `now`, mandates issued up to `issued_until`.
    pub(crate) async fn falls(
        &mut self,
        zone: &ZoneId,
        anchor: Anchor<'_>,
        issued_until: Option<u64>,
        now: Moment,
    ) -> Result<Falls> {
        // Sessions that would be held, delegations that would be, and mandates that carry the anchor.
        let (gone, fallen, dead) = match anchor.kind {
            AnchorKind::Jti => ("0", "0", "jti = ?2"),
            AnchorKind::Sid => ("0", "0", "id IN (SELECT id FROM below)"),
            AnchorKind::RootSid => ("0", "0", "root_id = ?2"),
            AnchorKind::Subject => ("0", "0", "subject = ?2"),
            AnchorKind::Zone => ("1", "1", "1"),
            AnchorKind::Application if issued_until.is_some() => (
                "0",
                "0",
                "(application_id = ?2 OR delegation_edge_id IN (SELECT id FROM fallen))",
            ),
            AnchorKind::Application => (
                "id IN (SELECT id FROM gone)",
                "id IN (SELECT id FROM fallen)",
                "(application_id = ?2 OR agent_session_id IN (SELECT id FROM gone)
                  OR delegation_edge_id IN (SELECT id FROM fallen))",
            ),
            AnchorKind::Session => (
                "id IN (SELECT id FROM gone)",
                "id IN (SELECT id FROM fallen)",
                "(agent_session_id IN (SELECT id FROM gone)
                  OR delegation_edge_id IN (SELECT id FROM fallen))",
            ),
            AnchorKind::Delegation => (
                "0",
                "id IN (SELECT id FROM fallen)",
                "delegation_edge_id IN (SELECT id FROM fallen)",
            ),
            // Which key signed a mandate is not recorded; all that are in date may be its.
            AnchorKind::Key => ("0", "0", "1"),
        };
        let sql = format!(
            "WITH RECURSIVE gone (id) AS (
                 SELECT id FROM sessions WHERE zone_id = ?1 AND (id = ?2 OR application_id = ?2)
                 UNION SELECT s.id FROM gone JOIN sessions AS s ON s.parent_id = gone.id
             ), fallen (id) AS (
                 SELECT id FROM delegations WHERE zone_id = ?1 AND (id = ?2
                     OR issuer_application_id = ?2 OR receiver_application_id = ?2)
                 UNION SELECT d.id FROM gone JOIN delegations AS d ON d.source_session_id = gone.id
                 UNION SELECT d.id FROM gone JOIN delegations AS d ON d.target_session_id = gone.id
                 UNION SELECT d.id FROM fallen JOIN delegations AS d ON d.parent_edge_id = fallen.id
             ), below (id) AS (
                 SELECT id FROM authority_records WHERE id = ?2 AND zone_id = ?1
                 UNION SELECT r.id FROM below JOIN authority_records AS r ON r.parent_id = below.id
             )
             SELECT
                 (SELECT count(*) FROM sessions WHERE zone_id = ?1 AND ended_at IS NULL
                     AND (expires_at IS NULL OR expires_at > ?3) AND {gone}) AS sessions,
                 (SELECT count(*) FROM delegations WHERE zone_id = ?1 AND revoked_at IS NULL
                     AND expires_at > ?3 AND {fallen}) AS delegations,
                 (SELECT count(*) FROM authority_records WHERE zone_id = ?1 AND expires_at > ?3
                     AND (?4 IS NULL OR issued_at <= ?4) AND {dead}) AS mandates"
        );
        let until = issued_until.map(|until| Moment::from(authority::time::Timestamp(until)));
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(zone.as_str())
            .bind(anchor.id)
            .bind(now)
            .bind(until)
            .fetch_one(&mut *self.0)
            .await?)
    }
}
