//! What handlers take from a request, each with the error that says what was wrong with it.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    error::{Code, Error},
    store::{self, PageRequest},
    sts::Sts,
};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest body of an administrator's request.
const ADMIN_BODY_BYTES: usize = 1024 * 1024;
const DEFAULT_PAGE: u16 = 100;
const MAX_PAGE: u16 = 500;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let JsonText(body) = JsonText::from_request(request, state).await?;
        serde_json::from_slice(&body)
            .map(Json)
            .map_err(|error| unexpected(&error))
    }
}

/// A body that says that it is JSON.
pub(super) struct JsonText(pub(super) Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for JsonText {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        if !has_media_type(request.headers(), "application/json") {
            return Err(Error::new(
                Code::UNSUPPORTED_MEDIA_TYPE,
                "expected Content-Type: application/json",
            ));
        }
        body(request, ADMIN_BODY_BYTES).await.map(Self)
    }
}

/// A body that cannot be read as what it is to be.
pub(super) fn unexpected(error: &serde_json::Error) -> Error {
    Error::invalid(format!("the body is not what is expected here: {error}"))
}

/// The body of `request`, within its bounds of size and time.
pub(super) async fn body(request: Request, most_bytes: usize) -> Result<Vec<u8>, Error> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body(), most_bytes)).await {
        Ok(body) => body,
        Err(_) => Err(Error::new(
            Code::REQUEST_TIMEOUT,
            format!(
                "the body did not arrive within {} seconds",
                BODY_TIMEOUT.as_secs()
            ),
        )),
    }
}

async fn collect(mut body: Body, most_bytes: usize) -> Result<Vec<u8>, Error> {
    // As much as its sender says that there is.
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(most_bytes);
    let mut collected = Vec::with_capacity(told.min(most_bytes));
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Error::invalid("the body could not be read"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if collected.len() + data.len() > most_bytes {
            return Err(Error::new(
                Code::PAYLOAD_TOO_LARGE,
                format!("the body is over {most_bytes} bytes"),
            ));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}

/// The status for what was made, or was there already.
pub(super) fn made(created: bool) -> StatusCode {
    if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// Whether a request says that its body is of `media_type`, whatever its parameters.
pub(super) fn has_media_type(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

/// The zone that the path names by id or slug.
pub(super) struct InZone(pub(super) store::Zone);

#[derive(Deserialize)]
struct ZoneParameter {
    z: String,
}

impl FromRequestParts<Arc<Sts>> for InZone {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self, Error> {
        let ZoneParameter { z } = parameters(parts, sts).await?;
        sts.zone(&z).await.map(InZone)
    }
}

/// The same, or an archived zone by its id.
pub(super) struct InLedgerOf(pub(super) store::Zone);

impl FromRequestParts<Arc<Sts>> for InLedgerOf {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self, Error> {
        let ZoneParameter { z } = parameters(parts, sts).await?;
        let zone = sts.store.zone_even_archived(&z).await?;
        zone.map(Self).ok_or_else(|| crate::zones::not_found(&z))
    }
}

/// The text that stands for the zone in the path, not looked up.
pub(super) struct ZoneText(pub(super) String);

impl FromRequestParts<Arc<Sts>> for ZoneText {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self, Error> {
        let ZoneParameter { z } = parameters(parts, sts).await?;
        Ok(Self(z))
    }
}

/// The id after the zone in the path.
pub(super) struct Id(pub(super) String);

impl FromRequestParts<Arc<Sts>> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct IdParameter {
            id: String,
        }
        let IdParameter { id } = parameters(parts, sts).await?;
        Ok(Self(id))
    }
}

pub(super) async fn parameters<T: DeserializeOwned + Send>(
    parts: &mut Parts,
    sts: &Arc<Sts>,
) -> Result<T, Error> {
    Path::<T>::from_request_parts(parts, sts)
        .await
        .map(|Path(parameters)| parameters)
        .map_err(|_| Error::invalid("the path is not UTF-8"))
}

/// Which part of a list is asked for: `?limit=1..500&cursor=`.
pub(super) struct Paged(pub(super) PageRequest);

impl FromRequestParts<Arc<Sts>> for Paged {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct PageQuery {
            limit: Option<u16>,
            cursor: Option<String>,
        }
        let PageQuery { limit, cursor } = query(parts, sts).await?;
        page(limit, cursor).map(Self)
    }
}

/// The part of a list that `limit` and `cursor` ask for.
pub(super) fn page(limit: Option<u16>, cursor: Option<String>) -> Result<PageRequest, Error> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::invalid(format!("limit: expected 1 to {MAX_PAGE}")));
    }
    let after = cursor.unwrap_or_default();
    if !after.is_empty() && Uuid::try_parse(&after).is_err() {
        return Err(Error::invalid(
            "cursor: expected the next_cursor of the page before",
        ));
    }
    Ok(PageRequest { limit, after })
}

/// The query of a request.
pub(super) async fn query<T: DeserializeOwned>(
    parts: &mut Parts,
    sts: &Arc<Sts>,
) -> Result<T, Error> {
    Query::<T>::from_request_parts(parts, sts)
        .await
        .map(|Query(query)| query)
        .map_err(|rejection| {
            Error::invalid(format!(
                "the query is not what is expected here: {}",
                rejection.body_text()
            ))
        })
}
