//! `/v1/zones/{z}/policies` and `/v1/policies/validate`.

use std::sync::Arc;

use axum::{Json as Body, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::extract::{Id, InZone, Json, Paged, made};
use crate::{
    error::Result,
    policies::{self, Content, CreatedPolicy, Draft, NewPolicy},
    store::{Page, Policy, PolicyVersion},
    sts::Sts,
};

/// A policy and its last versions.
#[derive(Serialize)]
pub(super) struct PolicyDetail {
    #[serde(flatten)]
    policy: Policy,
    /// The newest first, without their texts.
    versions: Vec<PolicyVersion>,
}

pub(super) async fn validate(Json(draft): Json<Draft>) -> Result<Body<Value>> {
    let kind = policies::validate(draft).await?;
    Ok(Body(json!({"valid": true, "kind": kind})))
}

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(new): Json<NewPolicy>,
) -> Result<(StatusCode, Body<CreatedPolicy>)> {
    Ok((
        StatusCode::CREATED,
        Body(sts.create_policy(&zone, new).await?),
    ))
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Paged(page): Paged,
) -> Result<Body<Page<Policy>>> {
    Ok(Body(sts.store.policies(&zone.id, &page).await?))
}

pub(super) async fn show(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Body<PolicyDetail>> {
    let policy = sts.policy(&zone, &id).await?;
    let versions = sts.store.latest_policy_versions(&policy.id).await?;
    Ok(Body(PolicyDetail { policy, versions }))
}

pub(super) async fn versions(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Paged(page): Paged,
) -> Result<Body<Page<PolicyVersion>>> {
    let policy = sts.policy(&zone, &id).await?;
    Ok(Body(sts.store.policy_versions(&policy.id, &page).await?))
}

pub(super) async fn create_version(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
    Json(content): Json<Content>,
) -> Result<(StatusCode, Body<PolicyVersion>)> {
    let policy = sts.policy(&zone, &id).await?;
    let (version, created) = sts.create_policy_version(&zone, &policy, content).await?;
    Ok((made(created), Body(version)))
}
