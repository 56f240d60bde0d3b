//! Everything that the STS answers with other than success: one enum of stable codes, and the error
//! that carries one of them to the edge.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    credentials::CredentialError, entropy::EntropyError, sealing::SealError, store::StoreError,
};

/// A stable code: how it is written and which status goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) &'static str, pub(crate) StatusCode);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident;)+) => {
        impl Code {$(
            $(#[$doc])*
            pub(crate) const $name: Code = Code($text, StatusCode::$status);
        )+}
    };
}

codes! {
    /// The request has the wrong form.
    INVALID_REQUEST = "invalid_request", BAD_REQUEST;
    /// Its media type is another.
    UNSUPPORTED_MEDIA_TYPE = "invalid_request", UNSUPPORTED_MEDIA_TYPE;
    /// Its body is too large.
    PAYLOAD_TOO_LARGE = "invalid_request", PAYLOAD_TOO_LARGE;
    /// Its headers are too large.
    HEADERS_TOO_LARGE = "invalid_request", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// Its body did not arrive in time.
    REQUEST_TIMEOUT = "invalid_request", REQUEST_TIMEOUT;
    /// The path exists, but not for this method.
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// No such path.
    NOT_FOUND = "not_found", NOT_FOUND;
    /// No bearer token.
    MISSING_TOKEN = "missing_token", UNAUTHORIZED;
    /// A bearer token that is not good for this.
    INVALID_TOKEN = "invalid_token", UNAUTHORIZED;
    /// A token of another zone.
    ZONE_MISMATCH = "zone_mismatch", FORBIDDEN;

    /// RFC 6749 section 5.2.
    INVALID_CLIENT = "invalid_client", UNAUTHORIZED;
    /// RFC 6749 section 5.2; here the subject token.
    INVALID_GRANT = "invalid_grant", BAD_REQUEST;
    /// RFC 6749 section 5.2.
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type", BAD_REQUEST;
    /// RFC 6749 section 5.2.
    INVALID_SCOPE = "invalid_scope", BAD_REQUEST;
    /// RFC 8693 section 2.2.2.
    INVALID_TARGET = "invalid_target", BAD_REQUEST;
    /// The policy says no.
    ACCESS_DENIED = "access_denied", FORBIDDEN;
    /// Too much of it; see `Retry-After`.
    RATE_LIMITED = "temporarily_unavailable", TOO_MANY_REQUESTS;
    /// The server is at its bound; see `Retry-After`.
    OVERLOADED = "temporarily_unavailable", SERVICE_UNAVAILABLE;

    /// No such zone.
    ZONE_NOT_FOUND = "zone_not_found", NOT_FOUND;
    /// No such application.
    APPLICATION_NOT_FOUND = "application_not_found", NOT_FOUND;
    /// No such resource.
    RESOURCE_NOT_FOUND = "resource_not_found", NOT_FOUND;
    /// No such policy.
    POLICY_NOT_FOUND = "policy_not_found", NOT_FOUND;
    /// No such policy version.
    POLICY_VERSION_NOT_FOUND = "policy_version_not_found", NOT_FOUND;
    /// No such policy set.
    POLICY_SET_NOT_FOUND = "policy_set_not_found", NOT_FOUND;
    /// No such policy set version.
    POLICY_SET_VERSION_NOT_FOUND = "policy_set_version_not_found", NOT_FOUND;
    /// The zone has no shadow policy.
    SHADOW_NOT_FOUND = "shadow_not_found", NOT_FOUND;
    /// No such gateway.
    GATEWAY_NOT_FOUND = "gateway_not_found", NOT_FOUND;
    /// Another zone has the slug, or had it.
    ZONE_SLUG_CONFLICT = "zone_slug_conflict", CONFLICT;
    /// Another application of the zone has the name.
    APPLICATION_NAME_CONFLICT = "application_name_conflict", CONFLICT;
    /// Another resource of the zone has the identifier.
    RESOURCE_IDENTIFIER_CONFLICT = "resource_identifier_conflict", CONFLICT;
    /// Another policy set of the zone has the name.
    POLICY_SET_NAME_CONFLICT = "policy_set_name_conflict", CONFLICT;
    /// There is no earlier version to go back to.
    NO_EARLIER_VERSION = "no_earlier_version", CONFLICT;
    /// A report on a shadow policy that is not the zone's any more.
    SHADOW_NOT_CURRENT = "shadow_not_current", CONFLICT;
    /// More signing keys than verifiers take.
    KEY_LIMIT_EXCEEDED = "key_limit_exceeded", CONFLICT;
    /// A resource that does not hold together.
    INVALID_RESOURCE = "invalid_resource", BAD_REQUEST;
    /// An identifier that is no URI.
    INVALID_RESOURCE_IDENTIFIER = "invalid_resource_identifier", BAD_REQUEST;
    /// An operation that says something impossible.
    OPERATION_INVALID = "operation_invalid", BAD_REQUEST;
    /// A policy with errors.
    INVALID_REGO = "invalid_rego", UNPROCESSABLE_ENTITY;
    /// Policies that do not make a set.
    INVALID_POLICY_CONTRACT = "invalid_policy_contract", UNPROCESSABLE_ENTITY;

    /// A bearer mandate without the scope that this takes.
    MISSING_SCOPE = "missing_scope", FORBIDDEN;
    /// A session of another application, or one to be started for it.
    APPLICATION_OWNERSHIP_REQUIRED = "application_ownership_required", FORBIDDEN;
    /// A parent that is not the caller's.
    PARENT_OWNERSHIP_REQUIRED = "parent_ownership_required", FORBIDDEN;
    /// Somebody else's authority, without a token that shows it was given.
    SUBJECT_PROOF_REQUIRED = "subject_proof_required", FORBIDDEN;
    /// Suspended by an operator, and so not to be resumed by the application.
    OPERATOR_SUSPENSION = "operator_suspension", FORBIDDEN;
    /// No such session.
    SESSION_NOT_FOUND = "session_not_found", NOT_FOUND;
    /// No such parent.
    PARENT_NOT_FOUND = "parent_not_found", NOT_FOUND;
    /// A parent that is suspended or has ended.
    PARENT_NOT_ACTIVE = "parent_not_active", CONFLICT;
    /// A service would outlive the task that starts it.
    TASK_SESSION_CANNOT_START_SERVICE = "task_session_cannot_start_service", CONFLICT;
    /// The delegation to be inherited is not the parent's, or not in force.
    INHERIT_PARENT_EDGE_NOT_ACTIVE = "inherit_parent_edge_not_active", CONFLICT;
    /// Which of the parent's delegations is to be inherited?
    INHERIT_PARENT_EDGE_AMBIGUOUS = "inherit_parent_edge_ambiguous", CONFLICT;
    /// The key was used for another request.
    IDEMPOTENCY_KEY_CONFLICT = "idempotency_key_conflict", CONFLICT;
    /// What was made under the key is not live any more.
    IDEMPOTENCY_RESULT_INACTIVE = "idempotency_result_inactive", CONFLICT;
    /// Too many receipts.
    IDEMPOTENCY_RECEIPT_LIMIT_EXCEEDED = "idempotency_receipt_limit_exceeded", TOO_MANY_REQUESTS;
    /// Too many live sessions in the zone.
    SESSION_ZONE_LIMIT_EXCEEDED = "session_zone_limit_exceeded", TOO_MANY_REQUESTS;
    /// Too many live sessions of the application.
    SESSION_LIMIT_EXCEEDED = "session_limit_exceeded", TOO_MANY_REQUESTS;
    /// Too many live children.
    SESSION_CHILDREN_LIMIT_EXCEEDED = "session_children_limit_exceeded", TOO_MANY_REQUESTS;
    /// Too deep a tree.
    SESSION_DEPTH_LIMIT_EXCEEDED = "session_depth_limit_exceeded", TOO_MANY_REQUESTS;
    /// Only an active session can be suspended.
    SESSION_NOT_ACTIVE = "session_not_found_or_not_active", CONFLICT;
    /// Only a suspended session can be resumed.
    SESSION_NOT_SUSPENDED = "session_not_suspended", CONFLICT;
    /// Only a service has a lease.
    SESSION_NOT_SERVICE = "session_not_service", CONFLICT;
    /// Suspended.
    SESSION_SUSPENDED = "session_suspended", CONFLICT;
    /// Ended.
    SESSION_NOT_LIVE = "session_not_live", CONFLICT;
    /// The lease has lapsed.
    SESSION_LEASE_EXPIRED = "session_lease_expired", CONFLICT;
    /// The lease is another holder's by now.
    SESSION_LEASE_FENCED = "session_lease_fenced", CONFLICT;
    /// A service is ended by the holder of its lease, who says which generation that is.
    LEASE_GENERATION_REQUIRED = "lease_generation_required", BAD_REQUEST;

    /// No such delegation.
    DELEGATION_NOT_FOUND = "delegation_not_found", NOT_FOUND;
    /// One of the two sessions is not there or not active.
    DELEGATION_ENDPOINT_NOT_FOUND = "delegation_endpoint_not_found", NOT_FOUND;
    /// A delegation of another application.
    ISSUER_OWNERSHIP_REQUIRED = "issuer_ownership_required", FORBIDDEN;
    /// A first delegation that names no resource.
    BROAD_DELEGATION_PERMISSION_REQUIRED = "broad_delegation_permission_required", FORBIDDEN;
    /// Scopes that the resources do not have.
    DELEGATION_SCOPES_EXCEED_RESOURCE = "delegation_scopes_exceed_resource", FORBIDDEN;
    /// The delegation that it passes on from is not the source's, or not in force.
    PARENT_DELEGATION_NOT_ACTIVE = "parent_delegation_not_active", FORBIDDEN;
    /// More than the source holds.
    DELEGATION_EXCEEDS_PARENT_AUTHORITY = "delegation_exceeds_parent_authority", FORBIDDEN;
    /// More than the policy would let the issuer mint itself.
    DELEGATION_EXCEEDS_POLICY = "delegation_exceeds_policy", FORBIDDEN;
    /// A session that is of another application than was said.
    DELEGATION_APPLICATION_MISMATCH = "delegation_application_mismatch", CONFLICT;
    /// Which of the source's delegations is passed on from?
    PARENT_DELEGATION_AMBIGUOUS = "parent_delegation_ambiguous", CONFLICT;
    /// Authority would flow back to where it came from.
    DELEGATION_CYCLE_DENIED = "delegation_cycle_denied", CONFLICT;
    /// To itself.
    SELF_DELEGATION_DENIED = "self_delegation_denied", BAD_REQUEST;
    /// It must end some time.
    DELEGATION_EXPIRY_REQUIRED = "delegation_expiry_required", BAD_REQUEST;
    /// It would have ended already.
    DELEGATION_EXPIRED = "delegation_expired", BAD_REQUEST;
    /// `resource_id` is not among the resources of the constraints.
    DELEGATION_RESOURCE_SCOPE_MISMATCH = "delegation_resource_scope_mismatch", BAD_REQUEST;
    /// The zone has no such anchor.
    ANCHOR_NOT_FOUND = "anchor_not_found", NOT_FOUND;
    /// This is not revoked.
    REVOCATION_NOT_FOUND = "revocation_not_found", NOT_FOUND;
    /// This does not come back.
    REVOCATION_FINAL = "revocation_final", CONFLICT;
    /// Too many revocations up to a time.
    CUTOFF_LIMIT_EXCEEDED = "cutoff_limit_exceeded", TOO_MANY_REQUESTS;
    /// A gateway knows what the database does not.
    EPOCH_AHEAD = "epoch_ahead", CONFLICT;
    /// No event has this request id.
    REQUEST_NOT_FOUND = "request_not_found", NOT_FOUND;
    /// An export does not go on from where it was broken off.
    EXPORT_NOT_RESUMABLE = "export_not_resumable", CONFLICT;
    /// An id of an event that belongs to another.
    AUDIT_EVENT_CONFLICT = "audit_event_conflict", CONFLICT;
    /// The disk is full.
    STORAGE_FULL = "storage_full", SERVICE_UNAVAILABLE;
    /// No such key.
    KEY_NOT_FOUND = "key_not_found", NOT_FOUND;
    /// A fault of the server; the log knows more.
    INTERNAL_ERROR = "internal_error", INTERNAL_SERVER_ERROR;
}

/// An answer other than success.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    code: Code,
    description: String,
    reason: Option<String>,
    members: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// What a service returns.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a text that says what was expected, what came, and what to do.
    pub(crate) fn new(code: Code, description: impl Into<String>) -> Self {
        Self {
            code,
            description: description.into(),
            reason: None,
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// A request of the wrong form.
    pub(crate) fn invalid(description: impl Into<String>) -> Self {
        Self::new(Code::INVALID_REQUEST, description)
    }

    /// A fault of the server: `detail` goes to the log and not to the client.
    pub(crate) fn internal(detail: impl std::fmt::Display) -> Self {
        tracing::error!(%detail, "internal error");
        Self::new(
            Code::INTERNAL_ERROR,
            "an internal error; the server's log has more under this request id",
        )
    }

    /// With a machine-readable reason.
    #[must_use]
    pub(crate) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With another member in the body.
    #[must_use]
    pub(crate) fn member(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// With a header.
    #[must_use]
    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With the time after which to try again.
    #[must_use]
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What was wrong.
    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// The reason, if it has one.
    pub(crate) fn reason_text(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The JSON body.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut body = self.members.clone();
        body.insert("error".to_owned(), json!(self.code.0));
        body.insert("error_description".to_owned(), json!(self.description));
        body.insert("requestId".to_owned(), json!(request_id));
        if let Some(reason) = &self.reason {
            body.insert("reason".to_owned(), json!(reason));
        }
        Value::Object(body)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.0, self.description)
    }
}

/// The body is written at the edge, where the request id is known.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = self.code.1.into_response();
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::new(
                Code::OVERLOADED,
                "too much waits for the database; try again after Retry-After",
            )
            .retry_after(Duration::from_secs(1)),
            StoreError::Full => Self::new(
                Code::STORAGE_FULL,
                "the disk is full, and nothing is done of which there can be no evidence; make room and try again",
            )
            .retry_after(Duration::from_secs(5)),
            other => Self::internal(other),
        }
    }
}

impl From<EntropyError> for Error {
    fn from(error: EntropyError) -> Self {
        Self::internal(error)
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        Self::internal(error)
    }
}

impl From<CredentialError> for Error {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Busy => Self::new(
                Code::OVERLOADED,
                "too many client secrets are being checked at once; try again after Retry-After",
            )
            .retry_after(Duration::from_secs(1)),
            other => Self::internal(other),
        }
    }
}
