//! What every refusal has in common, whatever its reason.

use crate::http::Response;

/// A refusal as it is expected: status, `error`, `reason`.
pub type Expected = (u16, &'static str, String);

/// 401: the mandate does not count.
pub fn unauthorized(reason: &str) -> Expected {
    (401, "invalid_token", reason.to_owned())
}

/// 400: the request cannot be understood in one way only.
pub fn bad_request(reason: &str) -> Expected {
    (400, "invalid_request", reason.to_owned())
}

/// 403: the mandate counts and does not suffice.
pub fn denied(reason: &str) -> Expected {
    (403, "access_denied", reason.to_owned())
}

/// 403: the mandate lacks a scope.
pub fn scope_missing() -> Expected {
    (403, "insufficient_scope", "scope_missing".to_owned())
}

/// 503: the gateway cannot decide.
pub fn unavailable(reason: &str) -> Expected {
    (503, "temporarily_unavailable", reason.to_owned())
}

/// Checks status, body and headers of a refusal.
pub fn check(response: &Response, expected: &Expected, request: &str) {
    let (status, error, reason) = expected;
    assert_eq!(response.status, *status, "{request}: {response}");
    let body = response.json();
    assert_eq!(body["error"], *error, "{request}: {response}");
    assert_eq!(body["reason"], reason.as_str(), "{request}: {response}");
    let description = body["error_description"].as_str().unwrap_or_default();
    assert!(!description.is_empty(), "{request}: {response}");
    let request_id = body["requestId"].as_str().unwrap_or_default();
    assert!(!request_id.is_empty(), "{request}: {response}");
    assert_eq!(response.header("x-request-id"), Some(request_id));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    check_challenge(response, expected, request);
    let retry_after = response.header("retry-after").is_some();
    assert_eq!(retry_after, *status == 503, "{request}: {response}");
}

/// RFC 6750 section 3: a challenge with every 401, and where a scope is wanted; an error code in it
/// unless there were no credentials.
fn check_challenge(response: &Response, (status, error, reason): &Expected, request: &str) {
    let challenge = response.header("www-authenticate");
    if *status != 401 && reason != "scope_missing" {
        assert_eq!(challenge, None, "{request}: {response}");
        return;
    }
    let challenge = challenge.unwrap_or_else(|| panic!("{request}: no challenge: {response}"));
    assert!(
        challenge.starts_with("Bearer realm=\"caracal\""),
        "{challenge}"
    );
    let named = challenge.contains(&format!("error=\"{error}\""));
    assert_eq!(named, reason != "token_missing", "{request}: {challenge}");
    let scope = challenge.contains("scope=\"");
    assert_eq!(scope, reason == "scope_missing", "{request}: {challenge}");
}
