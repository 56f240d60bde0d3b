//! `/zones/{z}/agents`: governed sessions, under their historical name on the wire.

use std::sync::Arc;

use axum::{
    Json as Body,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    bearer,
    extract::{Id, InZone, Json, Paged, body, page, query},
};
use crate::{
    delegations::EffectiveAuthority,
    error::{Error, Result},
    presented::Caller,
    receipts::IdempotencyKey,
    sessions::{Beaten, Heartbeat, NewSession, SessionView},
    store::{Page, PageRequest, SessionFilter, SessionState, Zone},
    sts::Sts,
};

const MAX_SMALL_BODY_BYTES: usize = 4 * 1024;

/// Whoever calls, and in which zone.
pub(super) struct Called {
    pub(super) zone: Zone,
    pub(super) caller: Caller,
}

impl FromRequestParts<Arc<Sts>> for Called {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        let token = bearer::token(&parts.headers)?;
        // Whether there is such a zone is for those to know who hold a token; a mandate of another
        // zone says so before that.
        let InZone(zone) = InZone::from_request_parts(parts, sts).await?;
        let caller = sts.caller(&zone, &token).await?;
        Ok(Self { zone, caller })
    }
}

/// `Idempotency-Key`, if it was sent.
pub(super) struct Idempotent(pub(super) Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Idempotent {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        let key = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Error::invalid("Idempotency-Key: expected UTF-8"))?;
        let generated = parts
            .headers
            .get("idempotency-key-kind")
            .is_some_and(|kind| kind == "generated");
        IdempotencyKey::new(key, generated).map(|key| Self(Some(key)))
    }
}

/// The answer to what makes something, the first time or again.
pub(super) fn made((answer, replayed): (Value, bool)) -> Response {
    let mut response = (StatusCode::CREATED, Body(answer)).into_response();
    if replayed {
        response.headers_mut().insert(
            "idempotency-replayed",
            axum::http::HeaderValue::from_static("true"),
        );
    }
    response
}

pub(super) async fn start(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Idempotent(key): Idempotent,
    Json(new): Json<NewSession>,
) -> Result<Response> {
    Ok(made(sts.start_session(&zone, &caller, new, key).await?))
}

/// Which sessions, and which part of them.
pub(super) struct Listed {
    filter: SessionFilter,
    page: PageRequest,
}

impl FromRequestParts<Arc<Sts>> for Listed {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ListQuery {
            limit: Option<u16>,
            cursor: Option<String>,
            status: Option<String>,
            lifecycle: Option<String>,
            application_id: Option<String>,
            label: Option<String>,
            parent_id: Option<String>,
        }
        let asked: ListQuery = query(parts, sts).await?;
        let state = match asked.status.as_deref() {
            None => None,
            Some("active") => Some(SessionState::Active),
            Some("suspended") => Some(SessionState::Suspended),
            Some("terminated") => Some(SessionState::Terminated),
            Some("expired") => Some(SessionState::Expired),
            Some(_) => {
                return Err(Error::invalid(
                    "status: expected active, suspended, terminated or expired",
                ));
            }
        };
        if asked
            .lifecycle
            .as_deref()
            .is_some_and(|lifecycle| !matches!(lifecycle, "task" | "service"))
        {
            return Err(Error::invalid("lifecycle: expected task or service"));
        }
        Ok(Self {
            page: page(asked.limit, asked.cursor)?,
            filter: SessionFilter {
                state,
                lifecycle: asked.lifecycle,
                application_id: asked.application_id,
                label: asked.label,
                parent_id: asked.parent_id,
            },
        })
    }
}

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Listed { filter, page }: Listed,
) -> Result<Body<Page<SessionView>>> {
    Ok(Body(sts.sessions(&zone, &caller, filter, &page).await?))
}

pub(super) async fn show(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<SessionView>> {
    Ok(Body(sts.session(&zone, &caller, &id).await?))
}

pub(super) async fn children(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
    Paged(page): Paged,
) -> Result<Body<Page<SessionView>>> {
    let filter = SessionFilter {
        parent_id: Some(id),
        ..SessionFilter::default()
    };
    Ok(Body(sts.sessions(&zone, &caller, filter, &page).await?))
}

pub(super) async fn effective_authority(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<EffectiveAuthority>> {
    Ok(Body(sts.effective_authority(&zone, &caller, &id).await?))
}

pub(super) async fn suspend(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<Value>> {
    let suspended = sts.suspend_session(&zone, &caller, &id).await?;
    Ok(Body(json!({"suspended": suspended})))
}

pub(super) async fn resume(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<Value>> {
    let resumed = sts.resume_session(&zone, &caller, &id).await?;
    Ok(Body(json!({"resumed": resumed})))
}

/// Why a session is ended.
pub(super) struct Why(Option<String>);

impl FromRequestParts<Arc<Sts>> for Why {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WhyQuery {
            reason: Option<String>,
        }
        let WhyQuery { reason } = query(parts, sts).await?;
        Ok(Self(reason))
    }
}

pub(super) async fn terminate(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
    Why(reason): Why,
    request: Request,
) -> Result<StatusCode> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Held {
        lease_generation: Option<i64>,
    }
    let Held { lease_generation } = optional(request).await?;
    sts.terminate_session(&zone, &caller, &id, lease_generation, reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn heartbeat(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
    Json(heartbeat): Json<Heartbeat>,
) -> Result<Body<Beaten>> {
    Ok(Body(sts.heartbeat(&zone, &caller, &id, &heartbeat).await?))
}

pub(super) async fn lease(
    State(sts): State<Arc<Sts>>,
    Called { zone, caller }: Called,
    Id(id): Id,
) -> Result<Body<SessionView>> {
    Ok(Body(sts.take_lease(&zone, &caller, &id).await?))
}

/// A JSON body where one was sent.
async fn optional<T: DeserializeOwned + Default>(request: Request) -> Result<T> {
    let headers: HeaderMap = request.headers().clone();
    let body = body(request, MAX_SMALL_BODY_BYTES).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    if !super::extract::has_media_type(&headers, "application/json") {
        return Err(Error::invalid("expected Content-Type: application/json"));
    }
    serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("the body is not what is expected here: {error}")))
}
