//! Mandates of this STS that come back to it, and who it is that calls with one.

use std::sync::Arc;

use authority::{
    audit::Actor,
    mandate::{Claims, Expected, LIFECYCLE_SCOPE, Mandate, MandateUse},
    refusal::Reason,
};

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    keys,
    provenance::proven,
    secret::Secret,
    store::{Application, SessionState, Zone},
    sts::Sts,
};

/// Why a mandate that came back is not good.
pub(crate) struct Rejected {
    pub(crate) description: String,
    /// A stable code.
    pub(crate) reason: String,
}

/// Who manages sessions and delegations.
pub(crate) enum Caller {
    /// With the admin token.
    Operator,
    /// An application, with a session mandate.
    Application(Box<CallingApplication>),
}

/// An application that calls.
pub(crate) struct CallingApplication {
    pub(crate) application: Application,
    pub(crate) mandate: Arc<Mandate>,
}

impl CallingApplication {
    pub(crate) fn claims(&self) -> &Claims {
        self.mandate.claims()
    }
}

impl Caller {
    /// The application that calls, unless it is the operator.
    pub(crate) fn application(&self) -> Option<&CallingApplication> {
        match self {
            Caller::Operator => None,
            Caller::Application(application) => Some(application),
        }
    }

    /// Whether the caller may act for the application `id`.
    pub(crate) fn is(&self, id: &authority::ids::ApplicationId) -> bool {
        self.application()
            .is_none_or(|caller| caller.application.id == *id)
    }

    /// Whether the caller may act on a session with these ancestors: a mandate that is bound to a
    /// session is good for that session and what is below it.
    pub(crate) fn reaches(&self, path: &[String]) -> bool {
        self.application()
            .and_then(|caller| caller.claims().agent_session_id.as_ref())
            .is_none_or(|bound| path.iter().any(|id| id == bound.as_str()))
    }

    /// How the caller is named in the database: an application's id, or nothing for the operator.
    pub(crate) fn owner(&self) -> String {
        self.application()
            .map(|caller| caller.application.id.to_string())
            .unwrap_or_default()
    }
}

impl Sts {
    /// The mandate `token`, if it was issued here, for this zone and one of `uses`; else what is wrong
    /// with it.
    pub(crate) async fn presented_mandate(
        &self,
        zone: &Zone,
        token: &Secret,
        uses: &[MandateUse],
    ) -> Result<Result<Arc<Mandate>, Rejected>> {
        let now = Moment::now();
        let keys = keys::jwks(&self.store.keys(&zone.id).await?, now);
        let keys = self
            .verifier
            .keys(&zone.id, keys)
            .map_err(Error::internal)?;
        let expected = Expected {
            issuer: &self.issuer,
            zone: &zone.id,
            uses,
        };
        let verified = self
            .verifier
            .mandate(token.expose(), &keys, &expected, now.timestamp());
        let mandate = match verified {
            Ok(mandate) => mandate,
            Err(refusal) => {
                return Ok(Err(Rejected {
                    description: refusal.description().to_owned(),
                    reason: refusal.reason().code().to_owned(),
                }));
            }
        };
        let claims = mandate.claims();
        let record = self
            .store
            .authority_record(&zone.id, claims.sid.as_str())
            .await?;
        if !record.is_some_and(|record| {
            record.application_id == claims.client_id && record.subject == claims.sub
        }) {
            return Ok(Err(Rejected {
                description: "there is no record of its issue".to_owned(),
                reason: "record_not_found".to_owned(),
            }));
        }
        if let Some(row) = self.revocation(&zone.id, &mandate).await? {
            return Ok(Err(Rejected {
                description: format!("it was revoked by its {}", row.anchor_type),
                reason: Reason::TokenRevoked.code().to_owned(),
            }));
        }
        if let Some(bound) = &claims.agent_session_id
            && self
                .store
                .session(&zone.id, bound.as_str())
                .await?
                .is_none_or(|session| session.state(now) != SessionState::Active)
        {
            return Ok(Err(Rejected {
                description: "the session that it is bound to is suspended or has ended".to_owned(),
                reason: "session_inactive".to_owned(),
            }));
        }
        Ok(Ok(mandate))
    }

    /// Who calls with `token`: the operator, or an application that may manage sessions.
    pub(crate) async fn caller(&self, zone: &Zone, token: &Secret) -> Result<Caller> {
        if self.admin_token.matches(token.expose()) {
            proven(Actor::Operator);
            return Ok(Caller::Operator);
        }
        let mandate = self
            .presented_mandate(zone, token, &[MandateUse::Session])
            .await?
            .map_err(|rejected| {
                let code = if rejected.reason == Reason::ZoneMismatch.code() {
                    Code::ZONE_MISMATCH
                } else {
                    Code::INVALID_TOKEN
                };
                Error::new(
                    code,
                    format!("the bearer mandate: {}", rejected.description),
                )
                .reason(rejected.reason)
            })?;
        if !mandate.claims().has_scope(LIFECYCLE_SCOPE) {
            return Err(Error::new(
                Code::MISSING_SCOPE,
                format!("the bearer mandate lacks the scope {LIFECYCLE_SCOPE}"),
            ));
        }
        let application = self
            .store
            .application(&zone.id, mandate.claims().client_id.as_str())
            .await?
            .ok_or_else(|| {
                Error::new(
                    Code::INVALID_TOKEN,
                    "the application that the mandate was issued to is archived",
                )
                .reason("application_archived")
            })?;
        proven(Actor::Application {
            id: application.id.to_string(),
        });
        Ok(Caller::Application(Box::new(CallingApplication {
            application,
            mandate,
        })))
    }
}
