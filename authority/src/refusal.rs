//! Why a request is refused: one enum of stable codes, each with its HTTP status and OAuth error.
//! `docs/reference/reasons.md` lists them for users; a test there keeps the two together.

use std::{borrow::Cow, fmt};

/// The cause of a refusal. Its [`code`](Reason::code) is an interface: codes are never renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The path has more than one reading, or is no path.
    PathAmbiguous,
    /// More than one `Authorization` header or value.
    AuthorizationAmbiguous,
    /// More than one routing header.
    ResourceAmbiguous,
    /// No binding matches and there is no routing header.
    ResourceMissing,
    /// The routing header contradicts the binding.
    ResourceConflict,
    /// No bearer token.
    TokenMissing,
    /// Over [`MAX_TOKEN_BYTES`](crate::mandate::MAX_TOKEN_BYTES).
    TokenTooLarge,
    /// Not a JWT in JWS compact form.
    TokenMalformed,
    /// `alg` is not exactly `ES256`.
    AlgorithmNotAllowed,
    /// A header parameter that would choose or carry a key, or a critical extension.
    HeaderNotAllowed,
    /// `typ` is not `JWT`.
    TypeNotAllowed,
    /// No `kid`.
    KeyIdMissing,
    /// A `kid` that is not among the zone's keys.
    KeyUnknown,
    /// The signature does not verify.
    SignatureInvalid,
    /// A required claim is missing or empty.
    ClaimMissing,
    /// A claim has the wrong type or form.
    ClaimMalformed,
    /// `exp` is past.
    TokenExpired,
    /// `nbf` or `iat` is in the future.
    TokenNotYetValid,
    /// `iss` is another issuer.
    IssuerMismatch,
    /// `zone_id` is another zone.
    ZoneMismatch,
    /// `use` is not accepted here.
    UseNotAllowed,
    /// Neither `aud` nor `target` covers what is called.
    AudienceMismatch,
    /// The mandate, or something that it rests on, has been revoked.
    TokenRevoked,
    /// The routing header names no resource of the zone.
    ResourceUnknown,
    /// An application that the resource requires is not in the chain of delegation.
    ChainMismatch,
    /// No operation of the resource covers method and path.
    OperationNotPermitted,
    /// The operation's scope is not among the mandate's.
    ScopeMissing,
    /// The zone has no active policy set.
    NoActivePolicySet,
    /// The policy has no result for this input.
    PolicyUndefined,
    /// The policy failed, gave a malformed result, or ran over its bound.
    PolicyEvalFailed,
    /// The policy says no, with its own reason.
    PolicyDenied(String),
    /// A mandate for a single use that was used.
    TokenReplayed,
    /// No more mandates for a single use can be remembered.
    ReplaySetFull,
    /// The STS cannot be asked for a resource mandate.
    ExchangeUnavailable,
    /// There is no room for evidence of the decision.
    AuditUnavailable,
    /// What the gateway knows is too old to decide on.
    StaleState,
    /// The gateway has not received keys and policy yet.
    NotReady,
    /// A fault of the gateway itself.
    InternalFault,
}

/// How a [`Reason`] shows on the wire: code, HTTP status, OAuth error, default description.
struct Face(&'static str, u16, &'static str, &'static str);

impl Reason {
    fn face(&self) -> Face {
        use Reason as R;
        match self {
            R::PathAmbiguous => Face(
                "path_ambiguous",
                400,
                "invalid_request",
                "the path has more than one reading; send it in its plain form",
            ),
            R::AuthorizationAmbiguous => Face(
                "authorization_ambiguous",
                400,
                "invalid_request",
                "send exactly one Authorization header",
            ),
            R::ResourceAmbiguous => Face(
                "resource_ambiguous",
                400,
                "invalid_request",
                "send exactly one X-Caracal-Resource header",
            ),
            R::ResourceMissing => Face(
                "resource_missing",
                400,
                "invalid_request",
                "no resource is bound to this host and path; name one in X-Caracal-Resource",
            ),
            R::ResourceConflict => Face(
                "resource_conflict",
                400,
                "invalid_request",
                "X-Caracal-Resource contradicts the resource bound to this host and path",
            ),
            R::TokenMissing => Face(
                "token_missing",
                401,
                "invalid_token",
                "a mandate is required: Authorization: Bearer ...",
            ),
            R::TokenTooLarge => Face(
                "token_too_large",
                401,
                "invalid_token",
                "the mandate is over 8192 bytes",
            ),
            R::TokenMalformed => Face(
                "token_malformed",
                401,
                "invalid_token",
                "the bearer token is not a JWT in compact form",
            ),
            R::AlgorithmNotAllowed => Face(
                "algorithm_not_allowed",
                401,
                "invalid_token",
                "mandates are signed with ES256 and nothing else",
            ),
            R::HeaderNotAllowed => Face(
                "header_not_allowed",
                401,
                "invalid_token",
                "the token's header carries a parameter that mandates do not have",
            ),
            R::TypeNotAllowed => Face(
                "type_not_allowed",
                401,
                "invalid_token",
                "the token's typ is not JWT",
            ),
            R::KeyIdMissing => Face(
                "key_id_missing",
                401,
                "invalid_token",
                "the token's header names no kid",
            ),
            R::KeyUnknown => Face(
                "key_unknown",
                401,
                "invalid_token",
                "the kid is not among the zone's keys",
            ),
            R::SignatureInvalid => Face(
                "signature_invalid",
                401,
                "invalid_token",
                "the signature does not verify",
            ),
            R::ClaimMissing => Face(
                "claim_missing",
                401,
                "invalid_token",
                "a required claim is missing",
            ),
            R::ClaimMalformed => Face(
                "claim_malformed",
                401,
                "invalid_token",
                "the claims are malformed",
            ),
            R::TokenExpired => Face(
                "token_expired",
                401,
                "invalid_token",
                "the mandate has expired",
            ),
            R::TokenNotYetValid => Face(
                "token_not_yet_valid",
                401,
                "invalid_token",
                "the mandate is not valid yet",
            ),
            R::IssuerMismatch => Face(
                "issuer_mismatch",
                401,
                "invalid_token",
                "the mandate is another issuer's",
            ),
            R::ZoneMismatch => Face(
                "zone_mismatch",
                401,
                "invalid_token",
                "the mandate is another zone's",
            ),
            R::UseNotAllowed => Face(
                "use_not_allowed",
                401,
                "invalid_token",
                "a mandate of this use is not accepted here",
            ),
            R::AudienceMismatch => Face(
                "audience_mismatch",
                401,
                "invalid_token",
                "the mandate is not for this resource",
            ),
            R::TokenRevoked => Face(
                "token_revoked",
                401,
                "invalid_token",
                "the mandate, or something that it rests on, has been revoked",
            ),
            R::ResourceUnknown => Face(
                "resource_unknown",
                403,
                "access_denied",
                "the zone has no such resource",
            ),
            R::ChainMismatch => Face(
                "chain_mismatch",
                403,
                "access_denied",
                "an application that the resource requires is not in the chain of delegation",
            ),
            R::OperationNotPermitted => Face(
                "operation_not_permitted",
                403,
                "access_denied",
                "no operation of the resource covers this method and path",
            ),
            R::ScopeMissing => Face(
                "scope_missing",
                403,
                "insufficient_scope",
                "the mandate lacks the scope that this operation needs",
            ),
            R::NoActivePolicySet => Face(
                "no_active_policy_set",
                403,
                "access_denied",
                "the zone has no active policy set, so everything is denied",
            ),
            R::PolicyUndefined => Face(
                "policy_undefined",
                403,
                "access_denied",
                "the policy has no result for this request",
            ),
            R::PolicyEvalFailed => Face(
                "policy_eval_failed",
                403,
                "access_denied",
                "the policy could not be evaluated",
            ),
            R::PolicyDenied(_) => Face(
                "policy_denied",
                403,
                "access_denied",
                "the policy denies this request",
            ),
            R::TokenReplayed => Face(
                "token_replayed",
                401,
                "invalid_token",
                "the mandate was good for one request and has been used",
            ),
            R::ReplaySetFull => Face(
                "replay_set_full",
                503,
                "temporarily_unavailable",
                "the gateway cannot remember more mandates for a single use",
            ),
            R::ExchangeUnavailable => Face(
                "exchange_unavailable",
                503,
                "temporarily_unavailable",
                "the STS could not be asked for the resource mandate that the upstream needs",
            ),
            R::AuditUnavailable => Face(
                "audit_unavailable",
                503,
                "temporarily_unavailable",
                "the gateway has no room for evidence of more decisions until the STS has taken some",
            ),
            R::StaleState => Face(
                "stale_state",
                503,
                "temporarily_unavailable",
                "the gateway has been out of touch with the STS for too long to decide",
            ),
            R::NotReady => Face(
                "not_ready",
                503,
                "temporarily_unavailable",
                "the gateway has not received its keys and policy yet",
            ),
            R::InternalFault => Face(
                "internal_fault",
                503,
                "temporarily_unavailable",
                "the gateway could not decide",
            ),
        }
    }

    /// Every reason that Caracal itself gives, in the order in which checks happen.
    pub fn all() -> Vec<Self> {
        use Reason as R;
        vec![
            R::NotReady,
            R::StaleState,
            R::InternalFault,
            R::PathAmbiguous,
            R::ResourceAmbiguous,
            R::ResourceMissing,
            R::ResourceConflict,
            R::AuthorizationAmbiguous,
            R::TokenMissing,
            R::TokenTooLarge,
            R::TokenMalformed,
            R::AlgorithmNotAllowed,
            R::HeaderNotAllowed,
            R::TypeNotAllowed,
            R::KeyIdMissing,
            R::KeyUnknown,
            R::SignatureInvalid,
            R::ClaimMalformed,
            R::TokenExpired,
            R::TokenNotYetValid,
            R::IssuerMismatch,
            R::ZoneMismatch,
            R::UseNotAllowed,
            R::ClaimMissing,
            R::TokenRevoked,
            R::ResourceUnknown,
            R::AudienceMismatch,
            R::ChainMismatch,
            R::OperationNotPermitted,
            R::ScopeMissing,
            R::NoActivePolicySet,
            R::PolicyUndefined,
            R::PolicyEvalFailed,
            R::PolicyDenied("policy_denied".to_owned()),
            R::TokenReplayed,
            R::ReplaySetFull,
            R::ExchangeUnavailable,
            R::AuditUnavailable,
        ]
    }

    /// The stable code: what `reason` says in a refusal. A policy's own reason stands for itself.
    pub fn code(&self) -> &str {
        match self {
            Reason::PolicyDenied(own) => own,
            other => other.face().0,
        }
    }

    /// The code for metrics: `policy_denied` for every policy's own reason, so that a policy cannot
    /// create time series without end.
    pub fn metric(&self) -> &'static str {
        self.face().0
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.face().1
    }

    /// OAuth error code (RFC 6749 section 5.2, RFC 6750 section 3.1).
    pub fn error(&self) -> &'static str {
        self.face().2
    }
}

/// A refusal: the reason, and what a caller is told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    detail: Option<Cow<'static, str>>,
    scope: Option<String>,
}

impl Refusal {
    /// A refusal whose description says something of its own.
    pub fn with_detail(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: Some(detail.into()),
            scope: None,
        }
    }

    /// A refusal for want of `scope`.
    pub fn scope_missing(scope: &str) -> Self {
        Self {
            reason: Reason::ScopeMissing,
            detail: None,
            scope: Some(scope.to_owned()),
        }
    }

    /// The cause.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What the caller reads.
    pub fn description(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.reason.face().3)
    }

    /// The scope that would have been needed, for `WWW-Authenticate` (RFC 6750 section 3).
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            scope: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.description())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        let all = Reason::all();
        let codes: BTreeSet<&str> = all.iter().map(Reason::code).collect();
        assert_eq!(codes.len(), all.len());
        for code in codes {
            assert!(
                code.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{code}"
            );
        }
    }

    #[test]
    fn a_status_goes_with_its_errors() {
        for reason in Reason::all() {
            let errors: &[&str] = match reason.status() {
                400 => &["invalid_request"],
                401 => &["invalid_token"],
                403 => &["access_denied", "insufficient_scope"],
                503 => &["temporarily_unavailable"],
                other => panic!("{reason:?} has the status {other}"),
            };
            assert!(errors.contains(&reason.error()), "{reason:?}");
            let refusal = Refusal::from(reason);
            assert!(!refusal.description().is_empty(), "{refusal}");
        }
    }

    #[test]
    fn a_policy_names_its_reason_but_no_time_series() {
        let own = Reason::PolicyDenied("too_late".to_owned());
        assert_eq!((own.code(), own.metric()), ("too_late", "policy_denied"));
        let refusal = Refusal::from(own);
        assert_eq!(
            refusal.to_string(),
            "too_late: the policy denies this request"
        );
    }

    #[test]
    fn the_documentation_lists_every_reason_in_order() {
        let page = include_str!("../../docs/reference/reasons.md");
        let listed: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .take(Reason::all().len())
            .collect();
        let expected: Vec<String> = Reason::all()
            .into_iter()
            .map(|reason| {
                let Face(code, status, error, description) = reason.face();
                format!("| `{code}` | {status} | `{error}` | {description} |")
            })
            .collect();
        assert_eq!(listed, expected);
    }
}
