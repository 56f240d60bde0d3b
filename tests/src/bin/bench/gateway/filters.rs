//! Envoy's own filters, as one would configure them in place of the plugin.

use serde_json::{Value, json};

/// Verifies mandates of `issuer` by the keys at hand, and keeps what it knows of so many tokens.
pub(super) fn jwt_authn(issuer: &str, keys: &Value, cache: Option<usize>) -> Value {
    let mut provider = json!({
        "issuer": issuer,
        "local_jwks": {"inline_string": keys.to_string()},
        "payload_in_metadata": "claims",
    });
    if let Some(tokens) = cache {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": tokens});
    }
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"sts": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "sts"}}],
        },
    })
}

/// Lets `GET` below `/demo/` pass with the scope: the little of a policy that this filter can hold.
pub(super) fn rbac() -> Value {
    let metadata = "envoy.filters.http.jwt_authn";
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"policies": {"read": {
                "permissions": [{"and_rules": {"rules": [
                    {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                    {"url_path": {"path": {"prefix": "/demo/"}}},
                ]}}],
                "principals": [{"metadata": {
                    "filter": metadata,
                    "path": [{"key": "claims"}, {"key": "scope"}],
                    "value": {"string_match": {"exact": "demo:read"}},
                }}],
            }}},
        },
    })
}

/// Asks the cluster `authoriser`.
pub(super) fn ext_authz() -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "authoriser"}, "timeout": "2s"},
        },
    })
}
