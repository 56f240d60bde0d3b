//! How a refusal looks to the client.

use authority::refusal::{Reason, Refusal};
use serde::Serialize;

use crate::config::Challenge;

/// Seconds after which a client may try again when the fault is ours.
const RETRY_AFTER_SECONDS: &str = "1";

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
    reason: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
}

/// The answer to a refused request.
pub fn refusal(refusal: &Refusal, challenge: &Challenge, request_id: &str) -> Response {
    let reason = refusal.reason();
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-request-id", request_id.to_owned()),
    ];
    match (reason.status(), reason) {
        (401, _) | (403, Reason::ScopeMissing) => {
            headers.push(("www-authenticate", www_authenticate(refusal, challenge)));
        }
        (503, _) => headers.push(("retry-after", RETRY_AFTER_SECONDS.to_owned())),
        _ => {}
    }
    let body = Body {
        error: reason.error(),
        error_description: refusal.description(),
        reason: reason.code(),
        request_id,
    };
    Response {
        status: reason.status(),
        headers,
        // Text can always be written as JSON; an empty body would still be a refusal.
        body: serde_json::to_string(&body).unwrap_or_default(),
    }
}

/// RFC 6750 section 3: without credentials no error code; with them, what is wrong.
fn www_authenticate(refusal: &Refusal, challenge: &Challenge) -> String {
    let mut header = format!("Bearer realm=\"{}\"", challenge.realm);
    if *refusal.reason() != Reason::TokenMissing {
        let description: String = refusal
            .description()
            .chars()
            .map(|c| {
                if matches!(c, ' '..='~') && c != '"' && c != '\\' {
                    c
                } else {
                    '\''
                }
            })
            .collect();
        header.push_str(&format!(
            ", error=\"{}\", error_description=\"{description}\"",
            refusal.reason().error()
        ));
    }
    if let Some(scope) = refusal.scope() {
        header.push_str(&format!(", scope=\"{scope}\""));
    }
    if let Some(url) = &challenge.resource_metadata_url {
        header.push_str(&format!(", resource_metadata=\"{url}\""));
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(reason: Refusal) -> (u16, String) {
        let challenge = Challenge {
            realm: "caracal".to_owned(),
            resource_metadata_url: Some(
                "https://x/.well-known/oauth-protected-resource".to_owned(),
            ),
        };
        let response = refusal(&reason, &challenge, "r-1");
        let header = response
            .headers
            .iter()
            .find(|(name, _)| *name == "www-authenticate");
        assert!(
            response.body.contains("\"requestId\":\"r-1\""),
            "{}",
            response.body
        );
        (
            response.status,
            header.map(|(_, value)| value.clone()).unwrap_or_default(),
        )
    }

    #[test]
    fn the_challenge_says_what_rfc_6750_asks_for() {
        let metadata = "resource_metadata=\"https://x/.well-known/oauth-protected-resource\"";
        assert_eq!(
            answer(Reason::TokenMissing.into()),
            (401, format!("Bearer realm=\"caracal\", {metadata}"))
        );
        let (status, header) = answer(Reason::TokenExpired.into());
        assert_eq!(status, 401);
        assert!(header.starts_with(
            "Bearer realm=\"caracal\", error=\"invalid_token\", error_description=\"the mandate has"
        ));
        let (status, header) = answer(Refusal::scope_missing("demo:read"));
        assert_eq!(status, 403);
        assert!(
            header.contains("error=\"insufficient_scope\"")
                && header.contains("scope=\"demo:read\"")
        );
        assert_eq!(
            answer(Reason::PolicyDenied("no".to_owned()).into()),
            (403, String::new())
        );
    }

    #[test]
    fn a_description_cannot_break_out_of_the_challenge() {
        let (_, header) = answer(Refusal::with_detail(Reason::ClaimMalformed, "a\"b\\c\r\nd"));
        assert!(
            header.contains("error_description=\"a'b'c''d\""),
            "{header}"
        );
    }

    #[test]
    fn a_fault_of_ours_asks_to_try_again() {
        let challenge = Challenge {
            realm: "r".to_owned(),
            resource_metadata_url: None,
        };
        for reason in [Reason::StaleState, Reason::NotReady, Reason::InternalFault] {
            let response = refusal(&reason.into(), &challenge, "r");
            assert_eq!(response.status, 503);
            assert!(response.headers.contains(&("retry-after", "1".to_owned())));
        }
    }
}
