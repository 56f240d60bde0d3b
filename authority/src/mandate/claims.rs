//! The claims of a mandate, as minted and as read.

mod read;
#[cfg(test)]
mod tests;

pub(super) use self::read::read;
use arcstr::Substr;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AgentSessionId, ApplicationId, AuthorityRecordId, DelegationId, ZoneId},
    refusal::{Reason, Refusal},
    time::Timestamp,
};

/// What a mandate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MandateUse {
    /// At the STS only.
    Session,
    /// At a gateway, for the resources in `target`.
    Gateway,
    /// At the resources in `aud`, or a gateway in front of them.
    Resource,
}

/// What kind of subject a mandate speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    /// A person, known to a federated issuer.
    User,
    /// An application acting for itself.
    Application,
}

/// One hop of a delegation chain, from the first issuer to the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationHop {
    /// The application at this hop.
    pub application_id: ApplicationId,
    /// Its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<AgentSessionId>,
    /// The delegation that it issued; absent for the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation_edge_id: Option<DelegationId>,
}

/// Who acts, and on behalf of which actor before it (RFC 8693 section 4.1): the current actor is the
/// outermost, the first to have been delegated to the innermost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The application that acts.
    pub sub: Substr,
    /// Its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<AgentSessionId>,
    /// The actor before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

impl Actor {
    /// The actors of a chain, whose first hop is the subject and acts for nobody; `None` if there is
    /// no other.
    pub fn of_chain(chain: &[DelegationHop]) -> Option<Self> {
        chain.iter().skip(1).fold(None, |before, hop| {
            Some(Self {
                sub: hop.application_id.as_str().into(),
                agent_session_id: hop.agent_session_id.clone(),
                act: before.map(Box::new),
            })
        })
    }
}

/// The claims of a mandate, complete: nothing required is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Issuer: the STS.
    pub iss: Substr,
    /// Subject: an application id, or a user at a federated issuer.
    pub sub: Substr,
    /// Audience.
    pub aud: Vec<Substr>,
    /// Expiry.
    pub exp: Timestamp,
    /// Time of issue.
    pub iat: Timestamp,
    /// Not valid before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Timestamp>,
    /// This mandate's own id.
    pub jti: Substr,
    /// Zone.
    pub zone_id: ZoneId,
    /// The application that the mandate was issued to.
    pub client_id: ApplicationId,
    /// Authority record of this mint.
    pub sid: AuthorityRecordId,
    /// Authority record at the root of the exchanges that led here.
    pub root_sid: AuthorityRecordId,
    /// Class.
    #[serde(rename = "use")]
    pub mandate_use: MandateUse,
    /// Kind of subject.
    pub sub_type: SubjectType,
    /// Scopes, separated by spaces (RFC 6749 section 3.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Substr>,
    /// Resources that the mandate is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<Substr>,
    /// Governed session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<AgentSessionId>,
    /// Ancestors of the session from the root down, itself included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub session_path: Vec<AgentSessionId>,
    /// Sessions outside `session_path` through which the authority came: those that delegated, and their
    /// ancestors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub granting_sessions: Vec<AgentSessionId>,
    /// Labels of the session.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Substr>,
    /// Delegation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation_edge_id: Option<DelegationId>,
    /// Session that delegated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_session_id: Option<AgentSessionId>,
    /// Session that was delegated to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_session_id: Option<AgentSessionId>,
    /// Delegations from the first to this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegation_path: Vec<DelegationId>,
    /// Hops from the first issuer to the receiver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delegation_chain: Vec<DelegationHop>,
    /// Length of the delegation path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_count: Option<u32>,
    /// Who acts, of a delegated mandate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// Whether a gateway accepts the mandate once only.
    #[serde(skip_serializing_if = "is_false")]
    pub once: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Claims {
    /// The scopes, one at a time.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope
            .as_deref()
            .unwrap_or_default()
            .split_ascii_whitespace()
    }

    /// Whether `audience` is among those that the mandate is for.
    pub fn is_addressed_to(&self, audience: &str) -> bool {
        self.aud.iter().any(|own| own == audience)
    }

    /// Whether `resource` is among the targets.
    pub fn has_target(&self, resource: &str) -> bool {
        self.target.iter().any(|own| own == resource)
    }

    /// Whether the application is among those from which the mandate's authority came, its own included.
    pub fn chain_contains(&self, application: &ApplicationId) -> bool {
        self.client_id == *application
            || self
                .delegation_chain
                .iter()
                .any(|hop| hop.application_id == *application)
    }

    /// Whether what the claims say of sessions and delegations agrees with itself: each path ends where
    /// the mandate is, and the chain with whom it was issued to.
    fn check_chain(&self) -> Result<(), Refusal> {
        let ends = |path: Option<&str>, own: Option<&str>| path.is_none() || path == own;
        let session = self.agent_session_id.as_ref().map(AgentSessionId::as_str);
        let edge = self.delegation_edge_id.as_ref().map(DelegationId::as_str);
        let hops = u32::try_from(self.delegation_path.len()).ok();
        let wrong = if !ends(
            self.session_path.last().map(AgentSessionId::as_str),
            session,
        ) {
            "session_path does not end with agent_session_id"
        } else if !ends(self.delegation_path.last().map(DelegationId::as_str), edge) {
            "delegation_path does not end with delegation_edge_id"
        } else if !self.delegation_path.is_empty()
            && self.hop_count.is_some_and(|count| Some(count) != hops)
        {
            "hop_count is not the length of delegation_path"
        } else if self
            .delegation_chain
            .last()
            .is_some_and(|hop| hop.application_id != self.client_id)
        {
            "delegation_chain does not end with client_id"
        } else {
            return Ok(());
        };
        Err(Refusal::with_detail(
            Reason::ClaimMalformed,
            format!("the claims contradict one another: {wrong}"),
        ))
    }

    /// The claim `name` as it was sent, if it is one that is kept as it was sent and is there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match name {
            "iss" => Some(&self.iss),
            "sub" => Some(&self.sub),
            "jti" => Some(&self.jti),
            "zone_id" => Some(self.zone_id.as_str()),
            "client_id" => Some(self.client_id.as_str()),
            "sid" => Some(self.sid.as_str()),
            "root_sid" => Some(self.root_sid.as_str()),
            "use" => Some(self.mandate_use.name()),
            "scope" => self.scope.as_deref(),
            "agent_session_id" => self.agent_session_id.as_ref().map(AgentSessionId::as_str),
            "delegation_edge_id" => self.delegation_edge_id.as_ref().map(DelegationId::as_str),
            _ => None,
        }
    }

    /// Whether `scope` is among the scopes.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|own| own == scope)
    }
}

/// The claims as they arrive: anything may be missing. Unknown claims are looked at, and left to the policy.
#[derive(Default)]
pub(super) struct RawClaims {
    iss: Option<Substr>,
    sub: Option<Substr>,
    aud: Vec<Substr>,
    pub(super) exp: Option<Timestamp>,
    pub(super) iat: Option<Timestamp>,
    pub(super) nbf: Option<Timestamp>,
    jti: Option<Substr>,
    zone_id: Option<ZoneId>,
    client_id: Option<ApplicationId>,
    sid: Option<AuthorityRecordId>,
    root_sid: Option<AuthorityRecordId>,
    mandate_use: Option<Substr>,
    sub_type: Option<SubjectType>,
    scope: Option<Substr>,
    target: Vec<Substr>,
    agent_session_id: Option<AgentSessionId>,
    session_path: Vec<AgentSessionId>,
    granting_sessions: Vec<AgentSessionId>,
    labels: Vec<Substr>,
    delegation_edge_id: Option<DelegationId>,
    source_session_id: Option<AgentSessionId>,
    target_session_id: Option<AgentSessionId>,
    delegation_path: Vec<DelegationId>,
    delegation_chain: Vec<DelegationHop>,
    hop_count: Option<u32>,
    act: Option<Actor>,
    once: bool,
}

impl RawClaims {
    /// Checks who the mandate is from and what for, in the order of cost, then that it is complete.
    pub(super) fn complete(
        self,
        issuer: &str,
        zone: &ZoneId,
        uses: &[MandateUse],
    ) -> Result<Claims, Refusal> {
        let (exp, iat) = (required(self.exp, "exp")?, required(self.iat, "iat")?);
        let iss = text(self.iss, "iss")?;
        if iss != issuer {
            return Err(Reason::IssuerMismatch.into());
        }
        let zone_id = required(self.zone_id, "zone_id")?;
        if zone_id != *zone {
            return Err(Reason::ZoneMismatch.into());
        }
        let named = text(self.mandate_use, "use")?;
        let mandate_use = uses
            .iter()
            .copied()
            .find(|allowed| allowed.name() == named)
            .ok_or(Reason::UseNotAllowed)?;
        if self.aud.is_empty() {
            return Err(missing("aud"));
        }
        let claims = Claims {
            iss,
            sub: text(self.sub, "sub")?,
            aud: self.aud,
            exp,
            iat,
            nbf: self.nbf,
            jti: text(self.jti, "jti")?,
            zone_id,
            client_id: required(self.client_id, "client_id")?,
            sid: required(self.sid, "sid")?,
            root_sid: required(self.root_sid, "root_sid")?,
            mandate_use,
            sub_type: required(self.sub_type, "sub_type")?,
            scope: self.scope,
            target: self.target,
            agent_session_id: self.agent_session_id,
            session_path: self.session_path,
            granting_sessions: self.granting_sessions,
            labels: self.labels,
            delegation_edge_id: self.delegation_edge_id,
            source_session_id: self.source_session_id,
            target_session_id: self.target_session_id,
            delegation_path: self.delegation_path,
            delegation_chain: self.delegation_chain,
            hop_count: self.hop_count,
            act: self.act,
            once: self.once,
        };
        for (name, id) in [
            ("client_id", claims.client_id.as_str()),
            ("sid", claims.sid.as_str()),
            ("root_sid", claims.root_sid.as_str()),
        ] {
            if id.is_empty() {
                return Err(missing(name));
            }
        }
        claims.check_chain()?;
        Ok(claims)
    }
}

impl MandateUse {
    /// The value of the claim.
    pub fn name(self) -> &'static str {
        match self {
            MandateUse::Session => "session",
            MandateUse::Gateway => "gateway",
            MandateUse::Resource => "resource",
        }
    }
}

fn missing(claim: &str) -> Refusal {
    Refusal::with_detail(
        Reason::ClaimMissing,
        format!("the claim {claim} is missing or empty"),
    )
}

fn required<T>(claim: Option<T>, name: &str) -> Result<T, Refusal> {
    claim.ok_or_else(|| missing(name))
}

fn text(claim: Option<Substr>, name: &str) -> Result<Substr, Refusal> {
    required(claim.filter(|text| !text.is_empty()), name)
}
