//! The token exchange (RFC 8693): who asks, what the policy says to each resource, and the mandate
//! that comes of it. Every outcome is evidence before it is an answer.

mod client;
mod decide;
mod mint;
mod origin;
mod request;
mod standing;

use std::time::Instant;

use authority::audit::{Actor, Decision, Event, EventType, MandateFacts};
use serde::Serialize;
use serde_json::json;

use self::{client::Party, mint::Minted, request::Request, standing::denied};
pub(crate) use self::{
    client::{invalid_client, too_many_failures},
    request::{AboutToken, GRANT_TYPE},
};
use crate::{
    clock,
    delegations::made,
    error::{Code, Error, Result},
    ledger::new_event,
    provenance::{Provenance, proven},
    store::{AuthorityRecord, Change, LedgerHead, PolicyInputRow, RevocationRow, Zone},
    sts::Sts,
    telemetry,
};

/// A successful exchange (RFC 8693 section 2.2.1).
#[derive(Serialize)]
pub(crate) struct Response {
    access_token: String,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    target_resources: Vec<String>,
}

/// What is known of an exchange so far; it ends as an audit event.
struct Trail {
    started: Instant,
    event: Event,
    /// The resources that were asked for.
    asked: Vec<String>,
    /// What the policy was asked, for trying other policies on it.
    inputs: Vec<PolicyInputRow>,
    /// Set where a flood of refusals must not become a flood of events.
    unrecorded: bool,
}

impl Trail {
    fn begin(started: Instant, zone: &Zone, request_id: &str) -> Self {
        let mut event = new_event(&zone.id, EventType::TokenExchange, request_id.to_owned());
        event.traceparent = Provenance::present().traceparent().map(str::to_owned);
        event.decision = Decision::Deny;
        event.evaluation_status = "exchange_denied".to_owned();
        Self {
            started,
            event,
            asked: Vec::new(),
            inputs: Vec::new(),
            unrecorded: false,
        }
    }

    /// Takes in what is asked for.
    fn asks(&mut self, request: &Request) {
        let mandate = &mut self.event.mandate;
        mandate.client_id = request.client.id.as_deref().map(Event::text);
        mandate.mandate_use = Some(request.mandate_use);
        self.event.requested_scopes.clone_from(&request.scopes);
        self.asked.clone_from(&request.resources);
    }

    /// Writes it down as a part of `change`, with the `record` of what was minted.
    async fn end(
        &self,
        change: &mut Change,
        record: Option<&AuthorityRecord>,
    ) -> Result<LedgerHead> {
        let mut event = self.event.clone();
        event.latency_us = u64::try_from(self.started.elapsed().as_micros()).ok();
        event.occurred_at = clock::occurred_now();
        telemetry::describe(&event);
        Ok(change.append_exchange(&event, record, &self.inputs).await?)
    }
}

/// A mint that rests on what is revoked.
fn revoked(row: &RevocationRow) -> Error {
    denied(
        "token_revoked",
        &format!(
            "what the mandate would rest on is revoked: {} {}",
            row.anchor_type, row.anchor_id
        ),
    )
}

impl Sts {
    /// Answers the form `body` of a token request.
    pub(crate) async fn exchange(
        &self,
        body: &[u8],
        authorization: Option<&str>,
        request_id: &str,
    ) -> Result<Response> {
        let started = Instant::now();
        let outcome = self
            .try_exchange(body, authorization, request_id, started)
            .await;
        let (decision, error) = match &outcome {
            Ok(_) => ("allow", "none"),
            Err(error) => ("deny", error.code().0),
        };
        self.metrics.exchange(decision, error, started.elapsed());
        outcome
    }

    async fn try_exchange(
        &self,
        body: &[u8],
        authorization: Option<&str>,
        request_id: &str,
        started: Instant,
    ) -> Result<Response> {
        let request = match Request::parse(body, authorization) {
            Ok(request) => request,
            Err(error) => {
                self.record_malformed(body, &error, request_id, started)
                    .await?;
                return Err(error);
            }
        };
        let zone = self.store.zone(&request.zone).await?.ok_or_else(|| {
            Error::invalid("zone_id: no zone has this id or slug").reason(Code::ZONE_NOT_FOUND.0)
        })?;
        let mut trail = Trail::begin(started, &zone, request_id);
        trail.asks(&request);
        let outcome = match self.grant(&zone, &request, &mut trail).await {
            Ok((party, minted)) => {
                let recording = self.record_mint(&zone, &party, minted, &mut trail);
                self.telemetry.within("record", recording).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            self.record_denial(error, trail).await?;
        }
        outcome
    }

    async fn grant(
        &self,
        zone: &Zone,
        request: &Request,
        trail: &mut Trail,
    ) -> Result<(Party, Minted)> {
        let authenticating = self.authenticate(zone, request, trail);
        let party = self
            .telemetry
            .within("authenticate", authenticating)
            .await?;
        proven(Actor::Application {
            id: party.application.id.to_string(),
        });
        let known = &mut trail.event.mandate;
        known.client_id = Some(party.application.id.to_string());
        if let Some(standing) = &party.standing {
            known.agent_session_id = Some(standing.session.id.to_string());
            known.session_path.clone_from(&standing.session.path);
            known.delegation_path = standing.path().iter().map(ToString::to_string).collect();
        }
        let ttl_seconds = request.ttl_seconds()?;
        let deciding = self.decide(zone, &party, request, trail);
        let granted = self.telemetry.within("decide", deciding).await?;
        let minted = self
            .mint(zone, &party, request, granted, ttl_seconds)
            .await?;
        Ok((party, minted))
    }

    /// One transaction: no mandate without evidence, and none on grounds that are gone.
    async fn record_mint(
        &self,
        zone: &Zone,
        party: &Party,
        minted: Minted,
        trail: &mut Trail,
    ) -> Result<Response> {
        let Minted {
            record,
            response,
            claims,
            kid,
        } = minted;
        let mut change = self.store.begin().await?;
        if !change.still_stands(zone, &party.application).await? {
            return Err(Error::new(
                Code::OVERLOADED,
                "the application or the zone's policy changed during this exchange; try again",
            )
            .retry_after(std::time::Duration::from_secs(1)));
        }
        if let Some(subject) = &party.subject
            && let Some(row) = change
                .revocation_of(&zone.id, subject.claims(), subject.key_id())
                .await?
        {
            return Err(revoked(&row));
        }
        if let Some(row) = change.revocation_of(&zone.id, &claims, &kid).await? {
            if row.issued_until.is_some() {
                // Cut off within this very second: what is issued in the next one is not.
                return Err(Error::new(
                    Code::OVERLOADED,
                    "mandates issued up to now were revoked; try again",
                )
                .retry_after(std::time::Duration::from_secs(1)));
            }
            return Err(revoked(&row));
        }
        if let Some(standing) = &party.standing {
            if !standing.still_stands(&mut change).await? {
                return Err(denied(
                    "authority_withdrawn",
                    "the session or the delegation was suspended, ended or revoked during this exchange",
                ));
            }
            if let (Some(issuer), Some(edge)) = (&party.issuer, standing.edge()) {
                self.insert_checked(&mut change, zone, issuer, edge).await?;
                change.record(&zone.id, made(edge)).await?;
            }
        }
        let event = &mut trail.event;
        event.decision = Decision::Allow;
        event.mandate = MandateFacts::from(&claims);
        let metadata = json!({
            "expires_at": claims.exp,
            "kid": kid,
            "scope": record.scope,
            "presented_sid": record.parent_id,
        });
        event.metadata_json = metadata.as_object().cloned();
        let ledger = trail.end(&mut change, Some(&record)).await?;
        change.commit().await?;
        self.recorded(&ledger, 1);
        tracing::info!(zone = %zone.id, client = %record.application_id, sid = %record.id, "mandate minted");
        Ok(response)
    }

    async fn record_denial(&self, error: &Error, mut trail: Trail) -> Result<()> {
        // A fault or an overload decides nothing.
        if error.code().1.is_server_error() {
            return Ok(());
        }
        if trail.unrecorded {
            self.unrecorded.count(&trail.event.zone_id);
            return Ok(());
        }
        let reason = error.reason_text().unwrap_or(error.code().0);
        trail.event.reason = Some(reason.to_owned());
        if trail.event.resources.is_empty() {
            // It did not come to a decision on each.
            let asked = trail.asked.iter().map(|identifier| {
                json!({"identifier": identifier, "decision": "deny", "reason": reason})
            });
            let asked = asked.filter_map(|resource| resource.as_object().cloned());
            trail.event.resources = asked.collect();
        }
        tracing::info!(
            zone = %trail.event.zone_id,
            client = trail.event.mandate.client_id.as_deref(),
            error = error.code().0,
            reason,
            "exchange denied"
        );
        let mut change = self.store.begin().await?;
        let ledger = trail.end(&mut change, None).await?;
        change.commit().await?;
        self.recorded(&ledger, 1);
        Ok(())
    }

    /// A request that cannot be read, if it says for which zone it is.
    async fn record_malformed(
        &self,
        body: &[u8],
        error: &Error,
        request_id: &str,
        started: Instant,
    ) -> Result<()> {
        let Some(named) = request::named_zone(body) else {
            return Ok(());
        };
        let Some(zone) = self.store.zone(&named).await? else {
            return Ok(());
        };
        let mut trail = Trail::begin(started, &zone, request_id);
        trail.event.evaluation_status = "malformed_request".to_owned();
        // Anybody can send these.
        trail.unrecorded = self.auth_failures.take((zone.id.clone(), None)).is_err();
        self.record_denial(error, trail).await
    }
}
