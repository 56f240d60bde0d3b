//! Rows of zones. An archived zone is not found.

use authority::ids::ZoneId;
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// A zone.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct Zone {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) id: ZoneId,
    /// Name in URLs and configuration.
    pub(crate) slug: String,
    /// Name.
    pub(crate) name: String,
    /// Of the bundle.
    #[serde(skip)]
    pub(crate) sequence: u64,
    /// The policy that decides; none denies everything.
    pub(crate) active_policy_set_version_id: Option<String>,
    /// The policy that is evaluated beside it and not enforced.
    pub(crate) shadow_policy_set_version_id: Option<String>,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

impl Store {
    /// The zone with this id or slug. No slug parses as an id.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn zone(&self, id_or_slug: &str) -> Result<Option<Zone>> {
        let sql = "SELECT * FROM zones WHERE (id = ?1 OR slug = ?1) AND archived_at IS NULL";
        let read = async {
            Ok(sqlx::query_as(sql)
                .bind(id_or_slug)
                .fetch_optional(&self.readers)
                .await?)
        };
        self.kept.zones.get(id_or_slug.to_owned(), read).await
    }

    /// The same, or an archived zone with this id: for its evidence, which outlives it.
    pub(crate) async fn zone_even_archived(&self, id_or_slug: &str) -> Result<Option<Zone>> {
        if let Some(zone) = self.zone(id_or_slug).await? {
            return Ok(Some(zone));
        }
        Ok(sqlx::query_as("SELECT * FROM zones WHERE id = ?")
            .bind(id_or_slug)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The zones.
    pub(crate) async fn zones(&self, page: &PageRequest) -> Result<Page<Zone>> {
        let sql = "SELECT * FROM zones WHERE id > ? AND archived_at IS NULL ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |zone: &Zone| {
            zone.id.to_string()
        }))
    }
}

impl Change {
    /// A new zone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](super::StoreError::Conflict): the slug.
    pub(crate) async fn insert_zone(&mut self, zone: &Zone) -> Result<()> {
        sqlx::query(
            "INSERT INTO zones (id, slug, name, sequence, created_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(zone.id.as_str())
        .bind(&zone.slug)
        .bind(&zone.name)
        .bind(i64::try_from(zone.sequence).unwrap_or(i64::MAX))
        .bind(zone.created_at)
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    /// Gives a zone another name.
    pub(crate) async fn rename_zone(&mut self, zone: &ZoneId, name: &str) -> Result<()> {
        let sql = "UPDATE zones SET name = ? WHERE id = ?";
        sqlx::query(sql)
            .bind(name)
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Archives a zone.
    pub(crate) async fn archive_zone(&mut self, zone: &ZoneId, now: Moment) -> Result<()> {
        let sql = "UPDATE zones SET archived_at = ? WHERE id = ? AND archived_at IS NULL";
        sqlx::query(sql)
            .bind(now)
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Counts one more change to the zone's bundle, and returns its sequence.
    pub(crate) async fn next_sequence(&mut self, zone: &ZoneId) -> Result<u64> {
        let sql = "UPDATE zones SET sequence = sequence + 1 WHERE id = ? RETURNING sequence";
        Ok(sqlx::query_scalar(sql)
            .bind(zone.as_str())
            .fetch_one(&mut *self.0)
            .await?)
    }
}
