//! `/v1/zones/{z}/policy-sets`, and the zone's shadow, `/v1/zones/{z}/shadow`.

use std::sync::Arc;

use axum::{Json as Body, extract::State, http::StatusCode};
use serde_json::Value;

use super::extract::{Id, InZone, Json, Paged, made};
use crate::{
    activations::{Activated, Activation},
    error::Result,
    policy_diff::{Comparison, Difference},
    policy_sets::{CreatedVersion, NewPolicySet, NewVersion},
    shadows::{NewShadow, ShadowAccount, Shadowed},
    simulations::Simulation,
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
) -> Result<(StatusCode, Body<CreatedVersion>)> {
    let set = sts.policy_set(&zone, &id).await?;
    let (version, created) = sts.create_policy_set_version(&zone, &set, new).await?;
    Ok((made(created), Body(version)))
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

pub(super) async fn roll_back(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Body<Activated>> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok(Body(sts.roll_back(&zone, &set).await?))
}

pub(super) async fn diff(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(comparison): Json<Comparison>,
) -> Result<Body<Difference>> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok(Body(sts.compare(&zone, &set, &comparison).await?))
}

pub(super) async fn begin_shadow(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(new): Json<NewShadow>,
) -> Result<Body<Shadowed>> {
    let set = sts.policy_set(&zone, &id).await?;
    Ok(Body(sts.begin_shadow(&zone, &set, &new).await?))
}

pub(super) async fn end_shadow(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<StatusCode> {
    let set = sts.policy_set(&zone, &id).await?;
    sts.end_shadow(&zone, &set).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn shadow(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
) -> Result<Body<ShadowAccount>> {
    Ok(Body(sts.shadow_account(&zone).await?))
}
