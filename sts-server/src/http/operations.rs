//! What operators and their tools ask: is it up, can it serve, what does it count.

use std::sync::Arc;

use axum::{
    Json as Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    metrics::CONTENT_TYPE,
    sts::Sts,
};

/// The process answers.
pub(super) async fn health() -> Body<Value> {
    Body(json!({"status": "ok"}))
}

/// Whether requests can be served. A no is an answer here and no error.
pub(super) async fn ready(State(sts): State<Arc<Sts>>) -> (StatusCode, Body<Value>) {
    match sts.readiness().await {
        Ok(()) => (StatusCode::OK, Body(json!({"status": "ready"}))),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Body(json!({"status": "not_ready", "reason": reason})),
        ),
    }
}

pub(super) async fn metrics(State(sts): State<Arc<Sts>>) -> Result<Response> {
    let page = sts.metrics.render().map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response())
}
