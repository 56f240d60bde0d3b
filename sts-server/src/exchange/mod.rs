//! The token exchange (RFC 8693): who asks, what the policy says to each resource, and the mandate
//! that comes of it. Every outcome is evidence before it is an answer.

mod client;
mod decide;
mod mint;
mod origin;
mod record;
mod request;
mod standing;

use std::{slice, sync::Arc, time::Instant};

use authority::audit::{Actor, Decision, Event, EventType, MandateFacts};
use serde::Serialize;
use serde_json::json;

use self::{
    client::Party,
    mint::Minted,
    record::{Exchange, Grounds},
    request::Request,
    standing::Standing,
};
pub(crate) use self::{
    client::{invalid_client, too_many_failures},
    record::Recorder,
    request::{AboutToken, GRANT_TYPE},
};
use crate::{
    clock,
    delegations::made,
    error::{Code, Error, Result},
    ledger::new_event,
    provenance::{Provenance, proven},
    store::{AuthorityRecord, LedgerHead, PolicyInputRow, Zone},
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
#[derive(Clone)]
struct Trail {
    started: Instant,
    event: Event,
    /// The resources that were asked for.
    asked: Vec<String>,
    /// What the policy was asked, for trying other policies on it.
    inputs: Arc<Vec<PolicyInputRow>>,
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
            inputs: Arc::default(),
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

    /// What is to be written down, with what was minted.
    fn end(self, mint: Option<(AuthorityRecord, Grounds)>) -> Result<Exchange> {
        let mut event = self.event;
        event.latency_us = u64::try_from(self.started.elapsed().as_micros()).ok();
        event.occurred_at = clock::occurred_now();
        telemetry::describe(&event);
        Ok(Exchange {
            text: event.canonical().map_err(Error::internal)?,
            event,
            mint,
            inputs: self.inputs,
        })
    }
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
                let recording = self.record_mint(&zone, party, minted, &trail);
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
        party: Party,
        minted: Minted,
        trail: &Trail,
    ) -> Result<Response> {
        let Minted {
            record,
            response,
            claims,
            kid,
        } = minted;
        let mut allowed = trail.clone();
        let event = &mut allowed.event;
        event.decision = Decision::Allow;
        event.mandate = MandateFacts::from(&claims);
        let metadata = json!({
            "expires_at": claims.exp,
            "kid": kid,
            "scope": record.scope,
            "presented_sid": record.parent_id,
        });
        event.metadata_json = metadata.as_object().cloned();
        let (client, sid) = (record.application_id.clone(), record.id.clone());
        let passes_on = party.issuer.is_some();
        let grounds = Grounds {
            zone: zone.clone(),
            party,
            claims,
            kid,
        };
        let exchange = allowed.end(Some((record, grounds)))?;
        let ledger = if passes_on {
            self.record_with_delegation(exchange).await?
        } else {
            self.recorder.record(&self.store, exchange).await?
        };
        self.recorded(&ledger, 1);
        tracing::info!(zone = %zone.id, %client, %sid, "mandate minted");
        Ok(response)
    }

    /// Writes down a mint together with the delegation under which it is the first.
    async fn record_with_delegation(&self, exchange: Exchange) -> Result<LedgerHead> {
        let mut change = self.store.begin().await?;
        let gone = change.gone(slice::from_ref(&exchange)).await?;
        if let Some(error) = gone.into_iter().flatten().next() {
            return Err(error);
        }
        if let Some((_, Grounds { zone, party, .. })) = &exchange.mint
            && let Some(issuer) = &party.issuer
            && let Some(edge) = party.standing.as_ref().and_then(Standing::edge)
        {
            self.insert_checked(&mut change, zone, issuer, edge).await?;
            change.record(&zone.id, made(edge)).await?;
        }
        let heads = change.append_all_and_commit(&[&exchange]).await?;
        let head = heads.into_iter().next();
        head.ok_or_else(|| Error::internal("a mint was not written down"))
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
        let ledger = self.recorder.record(&self.store, trail.end(None)?).await?;
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
