//! Bearer tokens of administrators and gateways (RFC 6750).

use std::sync::Arc;

use authority::audit::Actor;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use crate::{
    error::{Code, Error, Result},
    provenance::proven,
    secret::Secret,
    sts::Sts,
};

/// Lets through whoever holds the admin token.
pub(super) async fn require_admin(
    State(sts): State<Arc<Sts>>,
    request: Request,
    next: Next,
) -> Result<Response> {
    let token = token(request.headers())?;
    if !sts.admin_token.matches(token.expose()) {
        return Err(invalid("this is not the admin token"));
    }
    proven(Actor::Operator);
    Ok(next.run(request).await)
}

/// The bearer token of a request.
pub(super) fn token(headers: &HeaderMap) -> Result<Secret> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Error::invalid("more than one Authorization header"));
    }
    let missing = || {
        challenge(
            Error::new(Code::MISSING_TOKEN, "expected Authorization: Bearer TOKEN"),
            "",
        )
    };
    let (scheme, token) = first
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(Secret::new(token.trim().to_owned()))
}

/// A token that is not good for what was asked.
pub(super) fn invalid(description: &str) -> Error {
    challenge(
        Error::new(Code::INVALID_TOKEN, description),
        ", error=\"invalid_token\"",
    )
}

fn challenge(error: Error, more: &str) -> Error {
    match HeaderValue::from_str(&format!("Bearer realm=\"caracal\"{more}")) {
        Ok(value) => error.header(header::WWW_AUTHENTICATE, value),
        Err(_) => error,
    }
}
