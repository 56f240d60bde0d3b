//! Rows of applications. The hash of the secret is never shown.

use authority::ids::{ApplicationId, ZoneId};
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// An application.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct Application {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) id: ApplicationId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// Name, unique in the zone whatever its case.
    pub(crate) name: String,
    /// How it came to be registered.
    pub(crate) registration_method: String,
    /// Marks with a meaning to the operator.
    #[sqlx(json)]
    pub(crate) traits: Vec<String>,
    /// argon2id.
    #[serde(skip)]
    pub(crate) secret_hash: String,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

const ONE: &str = "SELECT * FROM applications WHERE id = ? AND zone_id = ? AND archived_at IS NULL";

impl Store {
    /// The name of an application, archived or not, and since when it is.
    pub(crate) async fn application_even_archived(
        &self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<(String, Option<Moment>)>> {
        let sql = "SELECT name, archived_at FROM applications WHERE zone_id = ? AND id = ?";
        Ok(sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(id)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The application with this id in this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn application(&self, zone: &ZoneId, id: &str) -> Result<Option<Application>> {
        let read = async {
            Ok(sqlx::query_as(ONE)
                .bind(id)
                .bind(zone.as_str())
                .fetch_optional(&self.readers)
                .await?)
        };
        let key = (zone.clone(), id.to_owned());
        self.kept.applications.get(key, read).await
    }

    /// The application with this id, whatever zone it is of.
    pub(crate) async fn application_anywhere(&self, id: &str) -> Result<Option<Application>> {
        let sql = "SELECT * FROM applications WHERE id = ? AND archived_at IS NULL";
        Ok(sqlx::query_as(sql)
            .bind(id)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The applications of a zone.
    pub(crate) async fn applications(
        &self,
        zone: &ZoneId,
        page: &PageRequest,
    ) -> Result<Page<Application>> {
        let sql = "SELECT * FROM applications WHERE zone_id = ? AND id > ? AND archived_at IS NULL
                   ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &Application| {
            row.id.to_string()
        }))
    }
}

impl Change {
    /// The application with this id in this zone, as it stands within this change.
    pub(crate) async fn application(
        &mut self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<Application>> {
        Ok(sqlx::query_as(ONE)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&mut *self.0)
            .await?)
    }

    /// A new application.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](super::StoreError::Conflict): the name.
    pub(crate) async fn insert_application(&mut self, row: &Application) -> Result<()> {
        let sql = "INSERT INTO applications
                   (id, zone_id, name, name_folded, registration_method, traits, secret_hash, created_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(row.zone_id.as_str())
            .bind(&row.name)
            .bind(row.name.to_lowercase())
            .bind(&row.registration_method)
            .bind(sqlx::types::Json(&row.traits))
            .bind(&row.secret_hash)
            .bind(row.created_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Writes the name, traits and secret of an application; false if there is none any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](super::StoreError::Conflict): the name.
    pub(crate) async fn update_application(&mut self, row: &Application) -> Result<bool> {
        let sql = "UPDATE applications SET name = ?, name_folded = ?, traits = ?, secret_hash = ?
                   WHERE id = ? AND archived_at IS NULL";
        let done = sqlx::query(sql)
            .bind(&row.name)
            .bind(row.name.to_lowercase())
            .bind(sqlx::types::Json(&row.traits))
            .bind(&row.secret_hash)
            .bind(row.id.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Archives an application; false if there is none any more.
    pub(crate) async fn archive_application(
        &mut self,
        zone: &ZoneId,
        id: &str,
        now: Moment,
    ) -> Result<bool> {
        let sql = "UPDATE applications SET archived_at = ? WHERE id = ? AND zone_id = ? AND archived_at IS NULL";
        let done = sqlx::query(sql)
            .bind(now)
            .bind(id)
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
