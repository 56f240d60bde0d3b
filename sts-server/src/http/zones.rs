//! `/v1/zones`.

use std::sync::Arc;

use axum::{Json as Body, extract::State, http::StatusCode};

use super::extract::{InZone, Json, Paged};
use crate::{
    error::Result,
    store::{Page, Zone},
    sts::Sts,
    zones::{NewZone, ZonePatch},
};

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    Json(new): Json<NewZone>,
) -> Result<(StatusCode, Body<Zone>)> {
    Ok((StatusCode::CREATED, Body(sts.create_zone(new).await?)))
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    Paged(page): Paged,
) -> Result<Body<Page<Zone>>> {
    Ok(Body(sts.store.zones(&page).await?))
}

pub(super) async fn show(InZone(zone): InZone) -> Body<Zone> {
    Body(zone)
}

pub(super) async fn patch(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(patch): Json<ZonePatch>,
) -> Result<Body<Zone>> {
    Ok(Body(sts.patch_zone(zone, patch).await?))
}

pub(super) async fn archive(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
) -> Result<StatusCode> {
    sts.archive_zone(&zone).await?;
    Ok(StatusCode::NO_CONTENT)
}
