//! The HTTP interface: routes, and handlers that translate between HTTP and the services.

mod applications;
mod audit;
mod bearer;
mod console;
mod delegations;
mod discovery;
mod edge;
mod extract;
mod gateways;
mod keys;
mod operations;
mod policies;
mod policy_sets;
mod resources;
mod revocations;
mod sessions;
mod token;
mod unread;
mod zones;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    error::{Code, Error},
    sts::Sts,
};

/// All routes of the STS.
pub(crate) fn router(sts: Arc<Sts>) -> Router {
    let admin = Router::new()
        .route("/v1/zones", get(zones::list).post(zones::create))
        .route(
            "/v1/zones/{z}",
            get(zones::show).patch(zones::patch).delete(zones::archive),
        )
        .route(
            "/v1/zones/{z}/applications",
            get(applications::list).post(applications::create),
        )
        .route(
            "/v1/zones/{z}/applications/{id}",
            get(applications::show)
                .patch(applications::patch)
                .delete(applications::archive),
        )
        .route(
            "/v1/zones/{z}/applications/{id}/rotate-secret",
            post(applications::rotate_secret),
        )
        .route(
            "/v1/zones/{z}/resources",
            get(resources::list).post(resources::create),
        )
        .route(
            "/v1/zones/{z}/resources/{id}",
            get(resources::show)
                .patch(resources::patch)
                .delete(resources::archive),
        )
        .route("/v1/policies/validate", post(policies::validate))
        .route(
            "/v1/zones/{z}/policies",
            get(policies::list).post(policies::create),
        )
        .route("/v1/zones/{z}/policies/{id}", get(policies::show))
        .route(
            "/v1/zones/{z}/policies/{id}/versions",
            get(policies::versions).post(policies::create_version),
        )
        .route(
            "/v1/zones/{z}/policy-sets",
            get(policy_sets::list).post(policy_sets::create),
        )
        .route("/v1/zones/{z}/policy-sets/{id}", get(policy_sets::show))
        .route(
            "/v1/zones/{z}/policy-sets/{id}/versions",
            get(policy_sets::versions).post(policy_sets::create_version),
        )
        .route(
            "/v1/zones/{z}/policy-sets/{id}/activate",
            post(policy_sets::activate),
        )
        .route(
            "/v1/zones/{z}/policy-sets/{id}/simulate",
            post(policy_sets::simulate),
        )
        .route(
            "/v1/zones/{z}/policy-sets/{id}/rollback",
            post(policy_sets::roll_back),
        )
        .route(
            "/v1/zones/{z}/policy-sets/{id}/diff",
            post(policy_sets::diff),
        )
        .route(
            "/v1/zones/{z}/policy-sets/{id}/shadow",
            post(policy_sets::begin_shadow).delete(policy_sets::end_shadow),
        )
        .route("/v1/zones/{z}/shadow", get(policy_sets::shadow))
        .route("/v1/zones/{z}/keys", get(keys::list))
        .route("/v1/zones/{z}/keys/rotate", post(keys::rotate))
        .route(
            "/v1/zones/{z}/revocations",
            get(revocations::list).post(revocations::create),
        )
        .route(
            "/v1/zones/{z}/revocations/{anchor_type}/{id}",
            delete(revocations::withdraw),
        )
        .route("/v1/zones/{z}/audit", get(audit::query))
        .route("/v1/zones/{z}/audit/tail", get(audit::tail))
        .route("/v1/zones/{z}/audit/export", get(audit::export))
        .route("/v1/zones/{z}/audit/keys", get(audit::keys))
        .route("/v1/zones/{z}/audit/checkpoint", get(audit::checkpoint))
        .route(
            "/v1/zones/{z}/audit/by-request/{id}",
            get(audit::by_request),
        )
        .route(
            "/v1/zones/{z}/audit/by-request/{id}/explain",
            get(audit::explain),
        )
        .route(
            "/v1/zones/{z}/gateways",
            get(gateways::list).post(gateways::create),
        )
        .route("/v1/zones/{z}/gateways/{id}", delete(gateways::revoke))
        .route_layer(from_fn_with_state(Arc::clone(&sts), bearer::require_admin));

    Router::new()
        .route("/oauth/2/token", post(token::exchange))
        .route("/oauth/2/revoke", post(token::revoke))
        .route("/oauth/2/introspect", post(token::introspect))
        .route(
            "/.well-known/oauth-authorization-server",
            get(discovery::metadata),
        )
        .route("/.well-known/jwks.json", get(discovery::jwks))
        .route("/v1/zones/{z}/gateway/bundle", get(gateways::bundle))
        .route("/v1/zones/{z}/gateway/shadow", post(gateways::shadow))
        .route("/v1/zones/{z}/gateway/decisions", post(audit::decisions))
        .route("/v1/zones/{z}/gateway/revocations", get(revocations::poll))
        .route(
            "/v1/zones/{z}/gateway/revocations/check",
            post(revocations::check),
        )
        .merge(governed())
        .merge(console::routes())
        .route("/health", get(operations::health))
        .route("/ready", get(operations::ready))
        .route("/metrics", get(operations::metrics))
        .merge(admin)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(edge::limit_headers))
        .layer(from_fn(unread::drain))
        .layer(from_fn_with_state(Arc::clone(&sts), edge::edge))
        .with_state(sts)
}

/// What an application with a session mandate, or an administrator, does with sessions.
fn governed() -> Router<Arc<Sts>> {
    Router::new()
        .route(
            "/zones/{z}/agents",
            get(sessions::list).post(sessions::start),
        )
        .route(
            "/zones/{z}/agents/{id}",
            get(sessions::show).delete(sessions::terminate),
        )
        .route("/zones/{z}/agents/{id}/children", get(sessions::children))
        .route(
            "/zones/{z}/agents/{id}/effective-authority",
            get(sessions::effective_authority),
        )
        .route("/zones/{z}/agents/{id}/suspend", patch(sessions::suspend))
        .route("/zones/{z}/agents/{id}/resume", patch(sessions::resume))
        .route(
            "/zones/{z}/agents/{id}/heartbeat",
            post(sessions::heartbeat),
        )
        .route("/zones/{z}/agents/{id}/lease", post(sessions::lease))
        .route("/zones/{z}/delegations", post(delegations::create))
        .route("/zones/{z}/delegations/active", get(delegations::active))
        .route(
            "/zones/{z}/delegations/inbound/{id}",
            get(delegations::inbound),
        )
        .route(
            "/zones/{z}/delegations/inbound/{id}/{edge}",
            get(delegations::inbound_one),
        )
        .route(
            "/zones/{z}/delegations/outbound/{id}",
            get(delegations::outbound),
        )
        .route("/zones/{z}/delegations/{id}", get(delegations::show))
        .route(
            "/zones/{z}/delegations/{id}/impact",
            get(delegations::impact),
        )
        .route(
            "/zones/{z}/delegations/{id}/revoke",
            patch(delegations::revoke),
        )
}

async fn not_found() -> Error {
    Error::new(Code::NOT_FOUND, "no such path")
}

async fn method_not_allowed() -> Error {
    Error::new(
        Code::METHOD_NOT_ALLOWED,
        "this path is not served with this method; see the Allow header",
    )
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    // The panic hook has logged what and where.
    Error::internal("a handler panicked").into_response()
}
