//! `/v1/zones/{z}/resources`.

use std::sync::Arc;

use axum::{Json as Body, extract::State, http::StatusCode};

use super::extract::{Id, InZone, Json, Paged};
use crate::{
    error::Result,
    resources::{NewResource, ResourcePatch},
    store::{Page, ResourceRow},
    sts::Sts,
};

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(new): Json<NewResource>,
) -> Result<(StatusCode, Body<ResourceRow>)> {
    Ok((
        StatusCode::CREATED,
        Body(sts.create_resource(&zone, new).await?),
    ))
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Paged(page): Paged,
) -> Result<Body<Page<ResourceRow>>> {
    Ok(Body(sts.store.resources(&zone.id, &page).await?))
}

pub(super) async fn show(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Body<ResourceRow>> {
    Ok(Body(sts.resource(&zone, &id).await?))
}

pub(super) async fn patch(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(patch): Json<ResourcePatch>,
) -> Result<Body<ResourceRow>> {
    Ok(Body(sts.patch_resource(&zone, &id, patch).await?))
}

pub(super) async fn archive(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<StatusCode> {
    sts.archive_resource(&zone, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
