//! `/v1/zones/{z}/applications`.

use std::sync::Arc;

use axum::{Json as Body, extract::State, http::StatusCode};

use super::extract::{Id, InZone, Json, Paged};
use crate::{
    applications::{ApplicationPatch, NewApplication, Registered, Rotated},
    error::Result,
    store::{Application, Page},
    sts::Sts,
};

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(new): Json<NewApplication>,
) -> Result<(StatusCode, Body<Registered>)> {
    Ok((
        StatusCode::CREATED,
        Body(sts.create_application(&zone, new).await?),
    ))
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Paged(page): Paged,
) -> Result<Body<Page<Application>>> {
    Ok(Body(sts.store.applications(&zone.id, &page).await?))
}

pub(super) async fn show(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Body<Application>> {
    Ok(Body(sts.application(&zone, &id).await?))
}

pub(super) async fn patch(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(patch): Json<ApplicationPatch>,
) -> Result<Body<Application>> {
    Ok(Body(sts.patch_application(&zone, &id, patch).await?))
}

pub(super) async fn rotate_secret(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Body<Rotated>> {
    Ok(Body(sts.rotate_secret(&zone, &id).await?))
}

pub(super) async fn archive(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<StatusCode> {
    sts.archive_application(&zone, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
