//! `/v1/zones/{z}/policy-sets`.

use std::sync::Arc;

use axum::{Json as Body, extract::State, http::StatusCode};
use serde_json::Value;

use super::extract::{Id, InZone, Json, Paged};
use crate::{
    error::Result,
    policy_sets::{Activated, Activation, NewPolicySet, NewVersion, Simulation},
    store::{Page, PolicySet, PolicySetVersion},
    sts::Sts,
};

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(new): Json<NewPolicySet>,
) -> Result<(StatusCode, Body<PolicySet>)> {
    Ok((
        StatusCode::CREATED,
        Body(sts.create_policy_set(&zone, new).await?),
    ))
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Paged(page): Paged,
) -> Result<Body<Page<PolicySet>>> {
    Ok(Body(sts.store.policy_sets(&zone.id, &page).await?))
}

pub(super) async fn show(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Body<PolicySet>> {
    Ok(Body(sts.policy_set(&zone, &id).await?))
}

pub(super) async fn versions(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Paged(page): Paged,
) -> Result<Body<Page<PolicySetVersion>>> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok(Body(sts.store.policy_set_versions(&set.id, &page).await?))
}

pub(super) async fn create_version(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(new): Json<NewVersion>,
) -> Result<(StatusCode, Body<PolicySetVersion>)> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok((
        StatusCode::CREATED,
        Body(sts.create_policy_set_version(&zone, &set, new).await?),
    ))
}

pub(super) async fn activate(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(activation): Json<Activation>,
) -> Result<Body<Activated>> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok(Body(sts.activate(&zone, &set, &activation).await?))
}

pub(super) async fn simulate(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(simulation): Json<Simulation>,
) -> Result<Body<Value>> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok(Body(sts.simulate(&zone, &set, simulation).await?))
}
