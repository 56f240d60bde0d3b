//! Delegations: listing them, what rests on one, and taking one back; `wish` has the form of what is asked
//! for, `create` the rules of making one.

mod create;
mod wish;

use std::collections::BTreeSet;

use authority::{
    ids::AgentSessionId,
    revocation::{Anchor, AnchorKind},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(crate) use self::wish::{NewDelegation, Wish};
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    presented::Caller,
    store::{DelegationRow, End, Page, PageRequest, Zone},
    sts::Sts,
};

/// Most delegations that an account of the impact lists.
const MAX_LISTED: u32 = 1_000;

/// A delegation, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DelegationView {
    id: String,
    delegation_edge_id: String,
    zone_id: String,
    source_session_id: String,
    target_session_id: String,
    issuer_application_id: String,
    receiver_application_id: String,
    parent_edge_id: Option<String>,
    delegation_path: Vec<String>,
    inherited: bool,
    resources: Vec<String>,
    scopes: Vec<String>,
    max_hops: u32,
    constraints: Map<String, Value>,
    mandate_ttl_seconds: Option<i64>,
    budget: Option<i64>,
    status: &'static str,
    expires_at: Moment,
    created_at: Moment,
    revoked_at: Option<Moment>,
    /// Delegations are never changed, only revoked.
    edge_version: u32,
}

impl DelegationView {
    pub(crate) fn new(row: DelegationRow, now: Moment) -> Self {
        Self {
            status: row.status(now),
            id: row.id.to_string(),
            delegation_edge_id: row.id.to_string(),
            zone_id: row.zone_id.to_string(),
            source_session_id: row.source_session_id.to_string(),
            target_session_id: row.target_session_id.to_string(),
            issuer_application_id: row.issuer_application_id.to_string(),
            receiver_application_id: row.receiver_application_id.to_string(),
            parent_edge_id: row.parent_edge_id,
            delegation_path: row.path,
            inherited: row.inherited,
            resources: row.resources,
            scopes: row.scopes,
            max_hops: row.max_hops,
            constraints: row.constraints,
            mandate_ttl_seconds: row.mandate_ttl_seconds,
            budget: row.budget,
            expires_at: row.expires_at,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
            edge_version: if row.revoked_at.is_some() { 2 } else { 1 },
        }
    }
}

/// What falls with a delegation.
#[derive(Debug, Serialize)]
pub(crate) struct Impact {
    edge_id: String,
    revoked_edges: usize,
    affected_sessions: usize,
    /// Itself first.
    affected_edges: Vec<DelegationView>,
    /// Whom they were delegated to.
    affected_agents: BTreeSet<String>,
    /// Whether there is more than is listed.
    truncated: bool,
}

/// What fell with a delegation.
#[derive(Debug, Serialize)]
pub(crate) struct Revoked {
    revoked_edges: u64,
    affected_sessions: usize,
    /// None: a session may hold other delegations, and goes on with those.
    terminated_sessions: u32,
}

/// What a session may do, by what was delegated to it.
#[derive(Debug, Serialize)]
pub(crate) struct EffectiveAuthority {
    agent_session_id: AgentSessionId,
    status: &'static str,
    /// Whether it may also begin delegations, as far as the policy lets its application.
    originates: bool,
    /// Each by itself: authority of several does not add up.
    inbound_edges: Vec<DelegationView>,
}

impl Sts {
    /// The delegation with this id, if `caller` gave it, or received it.
    pub(crate) async fn delegation(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<DelegationView> {
        let row = self.delegation_row(zone, id).await?;
        if !caller.is(&row.issuer_application_id) && !caller.is(&row.receiver_application_id) {
            return Err(issuer_ownership_required());
        }
        Ok(DelegationView::new(row, Moment::now()))
    }

    /// The delegation with this id to this session of `caller`.
    pub(crate) async fn inbound_delegation(
        &self,
        zone: &Zone,
        caller: &Caller,
        session: &str,
        id: &str,
    ) -> Result<DelegationView> {
        self.session_row(zone, caller, session).await?;
        let row = self.delegation_row(zone, id).await?;
        if row.target_session_id.as_str() != session {
            return Err(not_found());
        }
        Ok(DelegationView::new(row, Moment::now()))
    }

    /// The delegations to this session of `caller`.
    pub(crate) async fn inbound_delegations(
        &self,
        zone: &Zone,
        caller: &Caller,
        session: &str,
        page: &PageRequest,
    ) -> Result<Page<DelegationView>> {
        self.session_row(zone, caller, session).await?;
        self.delegations(zone, End::Target(session), None, page)
            .await
    }

    /// The delegations from this session of `caller`.
    pub(crate) async fn outbound_delegations(
        &self,
        zone: &Zone,
        caller: &Caller,
        session: &str,
        page: &PageRequest,
    ) -> Result<Page<DelegationView>> {
        self.session_row(zone, caller, session).await?;
        self.delegations(zone, End::Source(session), None, page)
            .await
    }

    /// The delegations in force: of an application, those that it gave or received.
    pub(crate) async fn active_delegations(
        &self,
        zone: &Zone,
        caller: &Caller,
        page: &PageRequest,
    ) -> Result<Page<DelegationView>> {
        let own = caller
            .application()
            .map(|calling| calling.application.id.as_str());
        self.delegations(zone, End::Any(own), Some(Moment::now()), page)
            .await
    }

    async fn delegations(
        &self,
        zone: &Zone,
        end: End<'_>,
        active_at: Option<Moment>,
        page: &PageRequest,
    ) -> Result<Page<DelegationView>> {
        let rows = self
            .store
            .delegations(&zone.id, end, active_at, page)
            .await?;
        let now = Moment::now();
        Ok(Page {
            items: rows
                .items
                .into_iter()
                .map(|row| DelegationView::new(row, now))
                .collect(),
            next_cursor: rows.next_cursor,
        })
    }

    /// What a session of `caller` may do.
    pub(crate) async fn effective_authority(
        &self,
        zone: &Zone,
        caller: &Caller,
        session: &str,
    ) -> Result<EffectiveAuthority> {
        let row = self.session_row(zone, caller, session).await?;
        let now = Moment::now();
        let edges = self.store.live_delegations_to(&row.id, now).await?;
        Ok(EffectiveAuthority {
            status: row.state(now).name(),
            originates: row.originates,
            agent_session_id: row.id,
            inbound_edges: edges
                .into_iter()
                .map(|edge| DelegationView::new(edge, now))
                .collect(),
        })
    }

    /// What would fall with a delegation.
    pub(crate) async fn impact(&self, zone: &Zone, caller: &Caller, id: &str) -> Result<Impact> {
        let row = self.delegation_row(zone, id).await?;
        self.check_issuer(caller, &row).await?;
        let now = Moment::now();
        let mut rows = self
            .store
            .delegations_resting_on(&row, now, MAX_LISTED + 1)
            .await?;
        let most = usize::try_from(MAX_LISTED).unwrap_or(usize::MAX);
        let truncated = rows.len() > most;
        rows.truncate(most);
        let sessions: BTreeSet<String> = rows
            .iter()
            .map(|row| row.target_session_id.to_string())
            .collect();
        Ok(Impact {
            edge_id: row.id.to_string(),
            revoked_edges: rows.len(),
            affected_sessions: sessions.len(),
            affected_edges: rows
                .into_iter()
                .map(|row| DelegationView::new(row, now))
                .collect(),
            affected_agents: sessions,
            truncated,
        })
    }

    /// Takes a delegation back, and all that rest on it. Again does nothing.
    pub(crate) async fn revoke_delegation(
        &self,
        zone: &Zone,
        caller: &Caller,
        id: &str,
    ) -> Result<Revoked> {
        let row = self.delegation_row(zone, id).await?;
        self.check_issuer(caller, &row).await?;
        let mut change = self.store.begin().await?;
        let now = Moment::now();
        let (revoked_edges, sessions) = change.revoke_delegations(&row, now).await?;
        if revoked_edges > 0 {
            let anchor = Anchor {
                kind: AnchorKind::Delegation,
                id: row.id.as_str(),
            };
            change
                .revoke_for_good(&zone.id, anchor, "requested", now)
                .await?;
            let after = json!({"status": "revoked", "revoked_edges": revoked_edges});
            let revoked = Changed::delegation("delegation.revoke", &row).after(&after);
            change.record(&zone.id, revoked).await?;
        }
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, delegation = %row.id, revoked_edges, "delegation revoked");
        Ok(Revoked {
            revoked_edges,
            affected_sessions: sessions.len(),
            terminated_sessions: 0,
        })
    }

    async fn delegation_row(&self, zone: &Zone, id: &str) -> Result<DelegationRow> {
        self.store
            .delegation(&zone.id, id)
            .await?
            .ok_or_else(not_found)
    }

    /// Whoever issued a delegation, or one that it rests on, may take it back.
    async fn check_issuer(&self, caller: &Caller, row: &DelegationRow) -> Result<()> {
        let Some(calling) = caller.application() else {
            return Ok(());
        };
        let path = self.store.delegations_along(&row.path).await?;
        for edge in path
            .iter()
            .filter(|edge| edge.issuer_application_id == calling.application.id)
        {
            let source = self
                .store
                .session(&row.zone_id, edge.source_session_id.as_str())
                .await?;
            if source.is_some_and(|source| caller.reaches(&source.path)) {
                return Ok(());
            }
        }
        Err(issuer_ownership_required())
    }
}

/// A delegation that is made, as evidence tells of it.
pub(crate) fn made(row: &DelegationRow) -> Changed {
    Changed::delegation("delegation.create", row)
        .after(&DelegationView::new(row.clone(), Moment::now()))
}

fn not_found() -> Error {
    Error::new(
        Code::DELEGATION_NOT_FOUND,
        "no delegation of this zone, or to this session, has this id",
    )
}

fn issuer_ownership_required() -> Error {
    Error::new(
        Code::ISSUER_OWNERSHIP_REQUIRED,
        "the delegation is another application's, or not one of the session that the mandate is bound to",
    )
}
