//! `/oauth/2`: exchanging, revoking and introspecting tokens.

use std::sync::Arc;

use axum::{
    Extension, Json as Body,
    extract::{Request, State},
    http::header,
};

use super::{edge::RequestId, extract};
use crate::{
    error::{Code, Error, Result},
    exchange::Response,
    sts::Sts,
};

/// Largest form.
const MAX_BODY_BYTES: usize = 64 * 1024;

pub(super) async fn exchange(
    State(sts): State<Arc<Sts>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> Result<Body<Response>> {
    let Form {
        body,
        authorization,
    } = form(request).await?;
    Ok(Body(
        sts.exchange(&body, authorization.as_deref(), &request_id)
            .await?,
    ))
}

/// RFC 7009.
pub(super) async fn revoke(
    State(sts): State<Arc<Sts>>,
    request: Request,
) -> Result<Body<serde_json::Value>> {
    let Form {
        body,
        authorization,
    } = form(request).await?;
    sts.revoke_token(&body, authorization.as_deref()).await?;
    Ok(Body(serde_json::json!({})))
}

/// RFC 7662.
pub(super) async fn introspect(
    State(sts): State<Arc<Sts>>,
    request: Request,
) -> Result<(
    [(header::HeaderName, &'static str); 1],
    Body<serde_json::Value>,
)> {
    let Form {
        body,
        authorization,
    } = form(request).await?;
    let answer = sts.introspect(&body, authorization.as_deref()).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Body(answer)))
}

/// A form, and who sent it.
struct Form {
    body: Vec<u8>,
    authorization: Option<String>,
}

async fn form(request: Request) -> Result<Form> {
    if !extract::has_media_type(request.headers(), "application/x-www-form-urlencoded") {
        let text = "expected Content-Type: application/x-www-form-urlencoded";
        return Err(Error::new(Code::UNSUPPORTED_MEDIA_TYPE, text));
    }
    // Queries end up in logs; nothing of a token request belongs there.
    if request.uri().query().is_some() {
        return Err(Error::invalid(
            "this path takes no query; send every field in the form",
        ));
    }
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Error::invalid("more than one Authorization header"));
    }
    let authorization = first
        .map(|value| {
            value
                .to_str()
                .map(str::to_owned)
                .map_err(|_| Error::invalid("Authorization: not printable"))
        })
        .transpose()?;
    let body = extract::body(request, MAX_BODY_BYTES).await?;
    Ok(Form {
        body,
        authorization,
    })
}
