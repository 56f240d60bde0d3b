//! Who asks: an application by its client secret, or whoever holds session mandates of a subject and an
//! actor, or a gateway for whoever presented a mandate to it; and in which session, under what.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use authority::{
    ids::{AgentSessionId, ApplicationId},
    mandate::{DEFAULT_TTL_SECONDS, Mandate, MandateUse},
    time::Timestamp,
};
use axum::http::{HeaderValue, header};

use super::{
    Trail,
    request::Request,
    standing::{Standing, denied},
};
use crate::{
    clock::Moment,
    delegations::Wish,
    error::{Code, Error, Result},
    secret::Secret,
    store::{Application, DelegationRow, Zone},
    sts::Sts,
};

/// Who asks, as it was proven.
pub(super) struct Party {
    pub(super) application: Application,
    /// The mandate that was presented: a session mandate or, by a gateway, the one that it was given.
    pub(super) subject: Option<Arc<Mandate>>,
    /// Whether the policy is told of it; not where what it gives is told in another way.
    pub(super) shows_subject: bool,
    /// The governed session that it acts in, and by which delegations.
    pub(super) standing: Option<Standing>,
    /// Of a delegation that is only made with this mint: its issuer.
    pub(super) issuer: Option<Application>,
    /// What is asked for.
    pub(super) scopes: Vec<String>,
    /// When the mandate ends at the latest.
    pub(super) ends_by: Option<Timestamp>,
}

/// How long a delegation lasts that is made with a mint, so that the next ones find it.
const IMPLIED_DELEGATION: Duration = Duration::from_secs(3600);

impl Sts {
    pub(super) async fn authenticate(
        &self,
        zone: &Zone,
        request: &Request,
        trail: &mut Trail,
    ) -> Result<Party> {
        let client = &request.client;
        if let (Some(gateway), Some(token)) = (&client.gateway, &request.subject_token) {
            return self
                .authenticate_gateway(zone, request, gateway, token, trail)
                .await;
        }
        let proven = match (&client.id, &client.secret) {
            (Some(id), Some(secret)) => Some(
                self.check_secret(zone, id, secret, client.basic, trail)
                    .await?,
            ),
            (None, Some(_)) => {
                let error = invalid_client(
                    "client_secret without application_id (or client_id)",
                    client.basic,
                );
                return Err(self.failed(zone, None, error, trail));
            }
            (_, None) if request.subject_token.is_some() => None,
            (_, None) => {
                let missing = "client authentication is missing: application_id and client_secret in the form, \
                               or HTTP Basic";
                return Err(self.failed(zone, None, invalid_client(missing, client.basic), trail));
            }
        };
        let subject = match &request.subject_token {
            Some(token) => Some(
                self.session_mandate(zone, token, "subject_token", trail)
                    .await?,
            ),
            None => None,
        };
        let actor = match &request.actor_token {
            Some(token) => Some(
                self.session_mandate(zone, token, "actor_token", trail)
                    .await?,
            ),
            None => None,
        };
        if let Some(id) = client.id.as_deref() {
            let mut holders = [&actor, &subject].into_iter().flatten().peekable();
            if holders.peek().is_some()
                && !holders.any(|mandate| mandate.claims().client_id.as_str() == id)
            {
                return Err(invalid_grant(
                    "the subject_token was issued to another application",
                    "client_mismatch",
                ));
            }
        }
        // Who acts is who holds the mandate: the actor, where there is one.
        let application = match actor.as_ref().or(subject.as_ref()) {
            Some(mandate) => self.live_application(zone, mandate).await?,
            None => proven.ok_or_else(|| Error::internal("no party was proven"))?,
        };
        trail.event.mandate.client_id = Some(application.id.to_string());
        let party = Party {
            application,
            subject,
            shows_subject: true,
            standing: None,
            issuer: None,
            scopes: request.scopes.clone(),
            ends_by: None,
        };
        match actor {
            Some(actor) => self.stand_as_actor(zone, request, party, &actor).await,
            None => self.stand_alone(zone, request, party).await,
        }
    }

    /// In the session that is named, or that the mandate is bound to, if there is one.
    async fn stand_alone(&self, zone: &Zone, request: &Request, mut party: Party) -> Result<Party> {
        let bound = party
            .subject
            .as_ref()
            .and_then(|subject| subject.claims().agent_session_id.clone());
        let named = request.agent_session_id.as_deref();
        if let (Some(bound), Some(named)) = (&bound, named)
            && bound.as_str() != named
        {
            return Err(denied(
                "session_mismatch",
                "agent_session_id: the subject_token is bound to another session",
            ));
        }
        let Some(session) = named.or(bound.as_ref().map(AgentSessionId::as_str)) else {
            if request.delegation_edge_id.is_some() {
                return Err(denied(
                    "session_required",
                    "delegation_edge_id: only with the session that was delegated to",
                ));
            }
            return Ok(party);
        };
        let edge = request.delegation_edge_id.as_deref();
        let standing = self
            .standing(zone, &party.application.id, session, edge)
            .await?;
        if edge.is_none()
            && !standing.session.originates
            && request.mandate_use != MandateUse::Session
        {
            return Err(denied(
                "delegation_required",
                "delegation_edge_id: the session acts only by what is delegated to it",
            ));
        }
        party.shows_subject = false;
        party.standing = Some(standing);
        Ok(party)
    }

    /// Under a delegation from the subject's session to the actor's (RFC 8693 section 1.1), which is
    /// made where there is none yet.
    async fn stand_as_actor(
        &self,
        zone: &Zone,
        request: &Request,
        mut party: Party,
        actor: &Mandate,
    ) -> Result<Party> {
        let bound = |mandate: Option<&Mandate>, field: &str| {
            mandate
                .map(Mandate::claims)
                .and_then(|claims| Some((claims.client_id.clone(), claims.agent_session_id.clone()?)))
                .ok_or_else(|| {
                    invalid_grant(
                        &format!("{field}: expected a session mandate that is bound to a session (asked for with agent_session_id)"),
                        "session_required",
                    )
                })
        };
        let (issuer, source) = bound(party.subject.as_deref(), "subject_token")?;
        let (receiver, target) = bound(Some(actor), "actor_token")?;
        if source == target {
            return Err(denied(
                "self_delegation_denied",
                "subject_token and actor_token are of the same session",
            ));
        }
        let source = self.acting_session(zone, &issuer, source.as_str()).await?;
        let target = self
            .acting_session(zone, &receiver, target.as_str())
            .await?;
        let issuer = self.known_application(zone, &issuer).await?;
        let now = Moment::now();
        let wish = Wish {
            source,
            target: target.clone(),
            scopes: request.scopes.iter().cloned().collect(),
            resources: request.resources.iter().cloned().collect(),
            parent_edge_id: None,
            max_hops: 1,
            mandate_ttl_seconds: None,
            budget: None,
            end: now.plus(IMPLIED_DELEGATION),
            end_is_exact: false,
            constraints: Default::default(),
        };
        // Not being allowed to pass it on is a refusal of the exchange.
        let made = self
            .prepare_delegation(zone, &issuer, wish)
            .await
            .map_err(|error| {
                let code = error.code();
                if code.1.is_server_error() {
                    return error;
                }
                let reason = error.reason_text().unwrap_or(code.0).to_owned();
                denied(&reason, error.description())
            })?;
        let ttl = Duration::from_secs(request.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS));
        let enough = made.expires_at.min(now.plus(ttl));
        let same = |edge: &DelegationRow| {
            edge.source_session_id == made.source_session_id
                && edge.parent_edge_id == made.parent_edge_id
                && !edge.inherited
                && as_set(&edge.scopes) == as_set(&made.scopes)
                && as_set(&edge.resources) == as_set(&made.resources)
                && edge.expires_at >= enough
        };
        let known = self.store.live_delegations_to(&target.id, now).await?;
        let (path, makes_edge) = match known.into_iter().find(same) {
            Some(known) => (self.store.delegations_along(&known.path).await?, false),
            None => {
                let mut path = self.store.delegations_along(&made.path).await?;
                path.push(made);
                (path, true)
            }
        };
        party.standing = Some(
            self.assemble_standing(zone, target, path, makes_edge)
                .await?,
        );
        party.issuer = makes_edge.then_some(issuer);
        party.shows_subject = false;
        Ok(party)
    }

    /// A gateway that asks for a resource mandate in the name of whoever presented `token` to it: no
    /// more than that mandate says, and only while what that one rests on stands.
    async fn authenticate_gateway(
        &self,
        zone: &Zone,
        request: &Request,
        gateway: &Secret,
        token: &Secret,
        trail: &mut Trail,
    ) -> Result<Party> {
        let known = self.gateway(gateway).await?;
        if known.is_none_or(|gateway| gateway.zone_id != zone.id) {
            let error = Error::new(
                Code::INVALID_CLIENT,
                "this is no gateway token of the zone, or it was revoked",
            );
            return Err(self.failed(zone, None, error, trail));
        }
        let subject = self
            .presented_mandate(zone, token, &[MandateUse::Gateway])
            .await?
            .map_err(|rejected| {
                invalid_grant(
                    &format!("subject_token: {}", rejected.description),
                    &rejected.reason,
                )
            })?;
        let claims = subject.claims();
        let application = self.live_application(zone, &subject).await?;
        trail.event.mandate.client_id = Some(application.id.to_string());
        let standing = match &claims.agent_session_id {
            Some(session) => {
                let edge = claims.delegation_edge_id.as_ref().map(|id| id.as_str());
                let standing = self
                    .standing(zone, &application.id, session.as_str(), edge)
                    .await?;
                Some(standing)
            }
            None => None,
        };
        let scopes: Vec<String> = claims.scopes().map(str::to_owned).collect();
        trail.event.requested_scopes.clone_from(&scopes);
        debug_assert!(request.mandate_use == MandateUse::Resource);
        Ok(Party {
            application,
            ends_by: Some(claims.exp),
            standing,
            scopes,
            issuer: None,
            shows_subject: false,
            subject: Some(subject),
        })
    }

    /// The application that `mandate` was issued to, unless it is archived.
    async fn live_application(&self, zone: &Zone, mandate: &Mandate) -> Result<Application> {
        self.known_application(zone, &mandate.claims().client_id)
            .await
    }

    async fn known_application(&self, zone: &Zone, id: &ApplicationId) -> Result<Application> {
        self.store
            .application(&zone.id, id.as_str())
            .await?
            .ok_or_else(|| {
                invalid_grant(
                    "the application that the token was issued to is archived",
                    "application_archived",
                )
            })
    }

    async fn session_mandate(
        &self,
        zone: &Zone,
        token: &Secret,
        field: &str,
        trail: &mut Trail,
    ) -> Result<Arc<Mandate>> {
        let presented = self
            .presented_mandate(zone, token, &[MandateUse::Session])
            .await?;
        presented.map_err(|rejected| {
            let description = format!("{field}: {}", rejected.description);
            let error = invalid_grant(&description, &rejected.reason);
            self.failed(zone, None, error, trail)
        })
    }

    async fn check_secret(
        &self,
        zone: &Zone,
        id: &str,
        secret: &Secret,
        basic: bool,
        trail: &mut Trail,
    ) -> Result<Application> {
        let wrong = || invalid_client("unknown application, or not its client secret", basic);
        // No hash for an id that does not exist: ids are no secret, and hashing for strangers would
        // let them keep everybody else waiting.
        let Some(application) = self.store.application(&zone.id, id).await? else {
            return Err(self.failed(zone, None, wrong(), trail));
        };
        let key = (zone.id.clone(), Some(application.id.clone()));
        if let Err(wait) = self.auth_failures.check(&key) {
            trail.unrecorded = true;
            return Err(too_many_failures(wait));
        }
        if self
            .credentials
            .verify(&application.id, &application.secret_hash, secret)
            .await?
        {
            Ok(application)
        } else {
            Err(self.failed(zone, Some(application.id), wrong(), trail))
        }
    }

    /// Counts a failed authentication; past the limit it is the limit that answers, and no more
    /// events are written.
    fn failed(
        &self,
        zone: &Zone,
        application: Option<ApplicationId>,
        error: Error,
        trail: &mut Trail,
    ) -> Error {
        trail.event.evaluation_status = "authentication_failed".to_owned();
        match self.auth_failures.take((zone.id.clone(), application)) {
            Ok(()) => error,
            Err(wait) => {
                trail.unrecorded = true;
                too_many_failures(wait)
            }
        }
    }
}

fn as_set(items: &[String]) -> BTreeSet<&str> {
    items.iter().map(String::as_str).collect()
}

pub(crate) fn invalid_client(description: &str, basic: bool) -> Error {
    let error = Error::new(Code::INVALID_CLIENT, description);
    if basic {
        error.header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"caracal\""),
        )
    } else {
        error
    }
}

fn invalid_grant(description: &str, reason: &str) -> Error {
    Error::new(Code::INVALID_GRANT, description).reason(reason)
}

pub(crate) fn too_many_failures(wait: Duration) -> Error {
    Error::new(
        Code::RATE_LIMITED,
        "too many failed authentications; try again after Retry-After",
    )
    .reason("rate_limited")
    .retry_after(wait)
}
