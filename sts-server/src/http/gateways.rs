//! `/v1/zones/{z}/gateways` for administrators, `/v1/zones/{z}/gateway` for the gateways themselves.

use std::{sync::Arc, time::Duration};

use authority::{audit::Actor, bundle::SIGNATURE_HEADER, decision::shadow::Report};
use axum::{
    Json as Body,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    bearer,
    extract::{Id, InZone, Json, Paged, ZoneText, query},
};
use crate::{
    bundle::MAX_WAIT,
    error::{Code, Error, Result},
    gateways::{GatewayView, NewGateway, RegisteredGateway},
    provenance::proven,
    store::{Gateway, Page},
    sts::Sts,
};

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(new): Json<NewGateway>,
) -> Result<(StatusCode, Body<RegisteredGateway>)> {
    Ok((
        StatusCode::CREATED,
        Body(sts.create_gateway(&zone, new).await?),
    ))
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Paged(page): Paged,
) -> Result<Body<Page<GatewayView>>> {
    Ok(Body(sts.gateways(&zone, &page).await?))
}

pub(super) async fn revoke(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<StatusCode> {
    sts.revoke_gateway(&zone, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The gateway that asks, in its own zone.
pub(super) struct AtGateway(pub(super) Gateway);

impl FromRequestParts<Arc<Sts>> for AtGateway {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        let token = bearer::token(&parts.headers)?;
        let gateway = sts
            .gateway(&token)
            .await?
            .ok_or_else(|| bearer::invalid("this is no gateway token, or it was revoked"))?;
        proven(Actor::Gateway {
            id: gateway.id.clone(),
        });
        let ZoneText(named) = ZoneText::from_request_parts(parts, sts).await?;
        if named == gateway.zone_id.as_str() {
            return Ok(Self(gateway));
        }
        // An archived zone answers to its id alone; the bundle then says that it is gone.
        if sts
            .store
            .zone(&named)
            .await?
            .is_some_and(|zone| zone.id == gateway.zone_id)
        {
            return Ok(Self(gateway));
        }
        if sts.store.zone(gateway.zone_id.as_str()).await?.is_none() {
            return Err(crate::zones::not_found(&named));
        }
        Err(Error::new(
            Code::ZONE_MISMATCH,
            "this gateway token is for another zone",
        ))
    }
}

/// How long to wait for something newer.
pub(super) struct Wait(Duration);

impl FromRequestParts<Arc<Sts>> for Wait {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WaitQuery {
            #[serde(default)]
            wait: u64,
        }
        let WaitQuery { wait } = query(parts, sts).await?;
        Ok(Self(Duration::from_secs(wait).min(MAX_WAIT)))
    }
}

pub(super) async fn bundle(
    State(sts): State<Arc<Sts>>,
    AtGateway(gateway): AtGateway,
    Wait(wait): Wait,
    headers: HeaderMap,
) -> Result<Response> {
    let _waiting = (
        sts.metrics.gateway_poll(),
        sts.presence
            .polls(&gateway.id, known_sequence(&headers), None),
    );
    let newer = sts
        .newer_bundle(&gateway.zone_id, |etag| is_known(&headers, etag), wait)
        .await?;
    let caching = (header::CACHE_CONTROL, "no-cache".to_owned());
    Ok(match newer {
        Some(publication) => {
            let signature = (
                header::HeaderName::from_static(SIGNATURE_HEADER),
                publication.signature,
            );
            let etag = (header::ETAG, publication.etag);
            let media_type = (header::CONTENT_TYPE, "application/json".to_owned());
            ([caching, etag, media_type, signature], publication.body).into_response()
        }
        None => (StatusCode::NOT_MODIFIED, [caching]).into_response(),
    })
}

/// What a gateway's workers found about the zone's shadow policy.
pub(super) async fn shadow(
    State(sts): State<Arc<Sts>>,
    AtGateway(gateway): AtGateway,
    Json(report): Json<Report>,
) -> Result<StatusCode> {
    sts.add_shadow_report(&gateway.zone_id, report).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The sequence of the bundle that the gateway has: its tag begins with it.
fn known_sequence(headers: &HeaderMap) -> Option<u64> {
    let tag = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    tag.trim_matches('"').split('-').next()?.parse().ok()
}

/// RFC 9110 section 13.1.2: the weak comparison, against each of the tags.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}
