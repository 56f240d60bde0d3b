//! What clients and verifiers look up: metadata (RFC 8414) and keys (RFC 7517).

use std::sync::Arc;

use authority::jwks::JwkSet;
use axum::{
    Json as Body,
    extract::{FromRequestParts, State},
    http::{header, request::Parts},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::query;
use crate::{
    error::{Error, Result},
    exchange::GRANT_TYPE,
    sts::Sts,
};

/// For how long what is published here may be kept.
const CACHING: [(header::HeaderName, &str); 1] = [(
    header::CACHE_CONTROL,
    "public, max-age=300, must-revalidate",
)];

const CLIENT_AUTHENTICATION: [&str; 2] = ["client_secret_post", "client_secret_basic"];

type Cached<T> = ([(header::HeaderName, &'static str); 1], Body<T>);

pub(super) async fn metadata(State(sts): State<Arc<Sts>>) -> Cached<Value> {
    let issuer = &sts.issuer;
    let metadata = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/2/token"),
        "revocation_endpoint": format!("{issuer}/oauth/2/revoke"),
        "introspection_endpoint": format!("{issuer}/oauth/2/introspect"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "grant_types_supported": [GRANT_TYPE],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
        "revocation_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
        "introspection_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
    });
    (CACHING, Body(metadata))
}

/// The zone that keys are asked for.
pub(super) struct ZoneQuery(Option<String>);

impl FromRequestParts<Arc<Sts>> for ZoneQuery {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Fields {
            zone_id: Option<String>,
        }
        let Fields { zone_id } = query(parts, sts).await?;
        Ok(Self(zone_id))
    }
}

pub(super) async fn jwks(
    State(sts): State<Arc<Sts>>,
    ZoneQuery(zone): ZoneQuery,
) -> Result<Cached<JwkSet>> {
    Ok((CACHING, Body(sts.jwks(zone.as_deref()).await?)))
}
