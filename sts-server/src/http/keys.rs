//! `/v1/zones/{z}/keys`.

use std::sync::Arc;

use axum::{Json as Body, extract::State};

use super::extract::InZone;
use crate::{
    error::Result,
    keys::{KeyView, Rotation},
    store::Page,
    sts::Sts,
};

pub(super) async fn list(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
) -> Result<Body<Page<KeyView>>> {
    // Bounded by the number of keys that may be published at once: one page.
    Ok(Body(Page {
        items: sts.keys(&zone).await?,
        next_cursor: None,
    }))
}

pub(super) async fn rotate(
    State(sts): State<Arc<Sts>>,
    InZone(zone): InZone,
) -> Result<Body<Rotation>> {
    Ok(Body(sts.rotate_key(&zone).await?))
}
