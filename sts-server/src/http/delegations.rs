//! `/zones/{z}/delegations`.

use std::sync::Arc;

use axum::{
    Json as Body,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    response::Response,
};
use serde::Deserialize;

use super::{
    extract::{Id, Json, Paged},
    sessions::{Called, Idempotent, made},
};
use crate::{
    delegations::{DelegationView, Impact, NewDelegation, Revoked},
    error::{Error, Result},
    store::Page,
    sts::Sts,
};

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Idempotent(key): Idempotent,
    Json(new): Json<NewDelegation>,
) -> Result<Response> {
    Ok(made(sts.create_delegation(&zone, &caller, new, key).await?))
}

pub(super) async fn active(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Paged(page): Paged,
) -> Result<Body<Page<DelegationView>>> {
    Ok(Body(sts.active_delegations(&zone, &caller, &page).await?))
}

pub(super) async fn show(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<DelegationView>> {
    Ok(Body(sts.delegation(&zone, &caller, &id).await?))
}

pub(super) async fn inbound(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(session): Id,
    Paged(page): Paged,
) -> Result<Body<Page<DelegationView>>> {
    let page = sts
        .inbound_delegations(&zone, &caller, &session, &page)
        .await?;
    Ok(Body(page))
}

pub(super) async fn outbound(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(session): Id,
    Paged(page): Paged,
) -> Result<Body<Page<DelegationView>>> {
    let page = sts
        .outbound_delegations(&zone, &caller, &session, &page)
        .await?;
    Ok(Body(page))
}

/// The delegation after the session in the path.
pub(super) struct Edge(String);

impl FromRequestParts<Arc<Sts>> for Edge {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        struct EdgeParameter {
            edge: String,
        }
        Path::<EdgeParameter>::from_request_parts(parts, sts)
            .await
            .map(|Path(EdgeParameter { edge })| Self(edge))
            .map_err(|_| Error::invalid("the path is not UTF-8"))
    }
}

pub(super) async fn inbound_one(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(session): Id,
    Edge(edge): Edge,
) -> Result<Body<DelegationView>> {
    let view = sts
        .inbound_delegation(&zone, &caller, &session, &edge)
        .await?;
    Ok(Body(view))
}

pub(super) async fn impact(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<Impact>> {
    Ok(Body(sts.impact(&zone, &caller, &id).await?))
}

pub(super) async fn revoke(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<Revoked>> {
    Ok(Body(sts.revoke_delegation(&zone, &caller, &id).await?))
}
