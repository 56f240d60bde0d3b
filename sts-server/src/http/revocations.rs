//! `/v1/zones/{z}/revocations` for administrators, and what gateways ask about revocation.

use std::{sync::Arc, time::Duration};

use authority::bundle::SIGNATURE_HEADER;
use axum::{
    Json as Body,
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    extract::{InZone, Json, parameters, query},
    gateways::AtGateway,
};
use crate::{
    bundle::MAX_WAIT,
    error::{Error, Result},
    revocations::{NamedAnchor, RevocationRequest, Revoked},
    store::{Page, PageRequest, RevocationRow},
    sts::Sts,
};

/// Most anchors that are checked at once: more than a mandate has.
const MAX_CHECKED: usize = 1_000;

pub(super) async fn create(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    Json(request): Json<RevocationRequest>,
) -> Result<Body<Revoked>> {
    Ok(Body(sts.revoke_anchors(&zone, request).await?))
}

/// Which part of the list: by epochs, not by ids.
pub(super) struct ByEpoch(PageRequest);

impl FromRequestParts<Arc<Sts>> for ByEpoch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            limit: Option<u16>,
            cursor: Option<u32>,
        }
        let Fields { limit, cursor } = query(parts, sts).await?;
        let page = super::extract::page(limit, None)?;
        Ok(Self(PageRequest {
            after: cursor.unwrap_or_default().to_string(),
            ..page
        }))
    }
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    ByEpoch(page): ByEpoch,
) -> Result<Body<Page<RevocationRow>>> {
    Ok(Body(sts.store.revocations(&zone.id, &page).await?))
}

/// The anchor in the path.
pub(super) struct AnchorPath(NamedAnchor);

impl FromRequestParts<Arc<Sts>> for AnchorPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Fields {
            anchor_type: String,
            id: String,
        }
        let Fields { anchor_type, id } = parameters(parts, sts).await?;
        Ok(Self(NamedAnchor { anchor_type, id }))
    }
}

pub(super) async fn withdraw(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
    AnchorPath(anchor): AnchorPath,
) -> Result<StatusCode> {
    sts.withdraw_revocation(&zone, &anchor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a gateway knows, and how long it waits for more.
pub(super) struct Since {
    after: Option<u64>,
    wait: Duration,
}

impl FromRequestParts<Arc<Sts>> for Since {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            after: Option<u64>,
            #[serde(default)]
            wait: u64,
        }
        let Fields { after, wait } = query(parts, sts).await?;
        Ok(Self {
            after,
            wait: Duration::from_secs(wait).min(MAX_WAIT),
        })
    }
}

pub(super) async fn poll(
    State(sts): State<Arc<Sts>>,
    AtGateway(gateway): AtGateway,
    Since { after, wait }: Since,
) -> Result<Response> {
    let _waiting = (
        sts.metrics.gateway_poll(),
        sts.presence.polls(&gateway.id, None, after),
    );
    let newer = sts.newer_revocations(&gateway.zone_id, after, wait).await?;
    let caching = (header::CACHE_CONTROL, "no-cache".to_owned());
    Ok(match newer {
        Some(published) => {
            let signature = (
                header::HeaderName::from_static(SIGNATURE_HEADER),
                published.signature,
            );
            let epoch = published.epoch;
            let etag = (
                header::ETAG,
                format!("\"{epoch}-{}\"", after.unwrap_or_default()),
            );
            let media_type = (
                header::CONTENT_TYPE,
                "application/vnd.caracal.revocations".to_owned(),
            );
            ([caching, etag, media_type, signature], published.body).into_response()
        }
        None => (StatusCode::NOT_MODIFIED, [caching]).into_response(),
    })
}

/// What a gateway wants to know exactly.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    anchors: Vec<NamedAnchor>,
}

/// The answer, in the order of the question.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    epoch: u64,
    revoked: Vec<bool>,
}

pub(super) async fn check(
    State(sts): State<Arc<Sts>>,
    AtGateway(gateway): AtGateway,
    Json(Asked { anchors }): Json<Asked>,
) -> Result<Body<Checked>> {
    if anchors.len() > MAX_CHECKED {
        return Err(Error::invalid(format!("anchors: {MAX_CHECKED} at most")));
    }
    let (epoch, revoked) = sts.check_anchors(&gateway.zone_id, &anchors).await?;
    Ok(Body(Checked { epoch, revoked }))
}
