//! On what a mint rests: the governed session that asks, and the delegations by which it holds what it
//! asks for. All of it is looked at when the policy is asked, and again when the mandate is recorded.

use std::collections::{BTreeMap, BTreeSet};

use authority::{
    delegation::{Excess, check_path},
    ids::{AgentSessionId, ApplicationId, AuthorityRecordId},
    mandate::DelegationHop,
    policy::input::{DelegationFacts, SessionFacts},
    time::Timestamp,
};
use serde_json::Value;

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    store::{DelegationRow, SessionRow, SessionState, Zone},
    sts::Sts,
};

/// A session that may act, and under which delegations.
pub(super) struct Standing {
    pub(super) session: SessionRow,
    /// From the first to the one that it acts under; empty if it acts under none.
    pub(super) edges: Vec<DelegationRow>,
    /// Whether the last of them is only made with this mint.
    pub(super) makes_edge: bool,
    /// `sub`: of the first session of the chain.
    pub(super) subject: String,
    /// The authority record at the root of the chain.
    pub(super) root_id: Option<AuthorityRecordId>,
    /// Every session that must be active.
    sessions: Vec<String>,
    /// When the first of these sessions ends.
    sessions_end: Option<Moment>,
    constraints: String,
    path: Vec<String>,
}

impl Standing {
    /// The delegation that it acts under.
    pub(super) fn edge(&self) -> Option<&DelegationRow> {
        self.edges.last()
    }

    /// The ids of the delegations, from the first.
    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// The sessions that must be active and are not on the path of the one that asks.
    pub(super) fn granting_sessions(&self) -> Vec<AgentSessionId> {
        self.sessions
            .iter()
            .filter(|id| !self.session.path.contains(id))
            .map(|id| id.as_str().into())
            .collect()
    }

    pub(super) fn session_facts(&self) -> SessionFacts<'_> {
        session_facts(&self.session, &self.session.labels)
    }

    pub(super) fn delegation_facts(&self) -> Option<DelegationFacts<'_>> {
        let first = self.edges.first()?;
        let root = first.issuer_application_id.as_str();
        self.edge()
            .map(|edge| delegation_facts(edge, root, &self.path, &self.constraints))
    }

    /// From the first issuer to the receiver; empty if it acts under no delegation.
    pub(super) fn chain(&self) -> Vec<DelegationHop> {
        let hop = |application: &ApplicationId, session: &AgentSessionId, edge| DelegationHop {
            application_id: application.clone(),
            agent_session_id: Some(session.clone()),
            delegation_edge_id: edge,
        };
        let mut chain: Vec<DelegationHop> = self
            .edges
            .iter()
            .map(|edge| {
                hop(
                    &edge.issuer_application_id,
                    &edge.source_session_id,
                    Some(edge.id.clone()),
                )
            })
            .collect();
        chain.extend(
            self.edge()
                .map(|edge| hop(&edge.receiver_application_id, &edge.target_session_id, None)),
        );
        chain
    }

    /// When a mandate that is issued at `now` ends at the latest.
    pub(super) fn mandate_end(&self, now: Timestamp) -> Option<Timestamp> {
        let edges = self.edges.iter().map(|edge| edge.bounds().mandate_end(now));
        edges.chain(self.sessions_end.map(Moment::timestamp)).min()
    }

    /// Whether `scopes` of `resource` are among what was passed on.
    pub(super) fn admit(&self, scopes: &[String], resource: &String) -> Result<(), Excess> {
        match self.edge() {
            Some(edge) => edge.bounds().admit(scopes, [resource]),
            None => Ok(()),
        }
    }

    /// Every session that must be active.
    pub(super) fn sessions(&self) -> &[String] {
        &self.sessions
    }

    /// Every delegation that must be in force already.
    pub(super) fn made_edges(&self) -> &[String] {
        match self.path.split_last() {
            Some((_, above)) if self.makes_edge => above,
            _ => &self.path,
        }
    }
}

pub(super) fn session_facts<'a>(session: &'a SessionRow, labels: &'a [String]) -> SessionFacts<'a> {
    SessionFacts {
        id: session.id.as_str(),
        lifecycle: &session.lifecycle,
        labels,
    }
}

pub(super) fn delegation_facts<'a>(
    edge: &'a DelegationRow,
    root_application_id: &'a str,
    path: &'a [String],
    constraints_json: &'a str,
) -> DelegationFacts<'a> {
    DelegationFacts {
        id: edge.id.as_str(),
        source_session_id: edge.source_session_id.as_str(),
        target_session_id: edge.target_session_id.as_str(),
        issuer_application_id: edge.issuer_application_id.as_str(),
        receiver_application_id: edge.receiver_application_id.as_str(),
        root_application_id,
        scopes: &edge.scopes,
        path,
        constraints_json,
    }
}

impl Sts {
    /// The standing of `application` in its session `session_id` under its delegation `edge_id`.
    pub(super) async fn standing(
        &self,
        zone: &Zone,
        application: &ApplicationId,
        session_id: &str,
        edge_id: Option<&str>,
    ) -> Result<Standing> {
        let session = self.acting_session(zone, application, session_id).await?;
        let edges = match edge_id {
            Some(edge_id) => self.edges(zone, &session, edge_id).await?,
            None => Vec::new(),
        };
        self.assemble_standing(zone, session, edges, false).await
    }

    /// The active session `id` of `application`.
    pub(super) async fn acting_session(
        &self,
        zone: &Zone,
        application: &ApplicationId,
        id: &str,
    ) -> Result<SessionRow> {
        let now = Moment::now();
        let session = self
            .store
            .session(&zone.id, id)
            .await?
            .ok_or_else(session_inactive)?;
        if session.application_id != *application {
            return Err(denied(
                "session_not_owned",
                "agent_session_id: the session is another application's",
            ));
        }
        if session.state(now) != SessionState::Active {
            return Err(session_inactive());
        }
        Ok(session)
    }

    /// The path of the delegation `id` to `session`, each of it in force.
    async fn edges(
        &self,
        zone: &Zone,
        session: &SessionRow,
        id: &str,
    ) -> Result<Vec<DelegationRow>> {
        let edge = self
            .store
            .delegation(&zone.id, id)
            .await?
            .ok_or_else(delegation_inactive)?;
        if edge.target_session_id != session.id {
            return Err(denied(
                "delegation_target_mismatch",
                "delegation_edge_id: the delegation is to another session",
            ));
        }
        let edges = self.store.delegations_along(&edge.path).await?;
        let now = Moment::now();
        if edges.len() != edge.path.len() || edges.iter().any(|edge| edge.status(now) != "active") {
            return Err(delegation_inactive());
        }
        Ok(edges)
    }

    /// Holds every delegation of the path against the one before it, and looks at every session on it.
    pub(super) async fn assemble_standing(
        &self,
        zone: &Zone,
        session: SessionRow,
        edges: Vec<DelegationRow>,
        makes_edge: bool,
    ) -> Result<Standing> {
        let steps: Vec<_> = edges
            .iter()
            .map(|edge| (edge.bounds(), edge.step()))
            .collect();
        check_path(steps.iter().map(|(bounds, step)| (bounds, *step)))
            .map_err(|excess| denied("delegation_chain_invalid", &excess.to_string()))?;
        let continuous = edges.windows(2).all(
            |pair| matches!(pair, [one, next] if one.target_session_id == next.source_session_id),
        );
        if !continuous {
            return Err(denied(
                "delegation_chain_invalid",
                "the delegations do not follow one another",
            ));
        }
        let now = Moment::now();
        let ids: BTreeSet<String> = edges
            .iter()
            .map(|edge| edge.source_session_id.to_string())
            .collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let mut nodes: BTreeMap<String, SessionRow> = self
            .store
            .sessions_by_id(&ids)
            .await?
            .into_iter()
            .map(|row| (row.id.to_string(), row))
            .collect();
        if nodes.len() != ids.len()
            || nodes
                .values()
                .any(|row| row.zone_id != zone.id || row.state(now) != SessionState::Active)
        {
            return Err(denied(
                "delegation_source_inactive",
                "a session that delegated is suspended or has ended",
            ));
        }
        nodes.insert(session.id.to_string(), session.clone());
        let first = edges
            .first()
            .and_then(|edge| nodes.get(edge.source_session_id.as_str()))
            .unwrap_or(&session);
        let subject = first.subject.clone();
        let root_id = match &first.subject_authority_record_id {
            Some(id) => self.store.authority_record(&zone.id, id).await?,
            None => None,
        }
        .map(|record| record.root_id);
        let sessions: BTreeSet<String> = nodes.values().flat_map(|row| row.path.clone()).collect();
        Ok(Standing {
            subject,
            root_id,
            sessions: sessions.into_iter().collect(),
            sessions_end: nodes.values().filter_map(|row| row.expires_at).min(),
            constraints: edges
                .last()
                .map(|edge| Value::Object(edge.constraints.clone()).to_string())
                .unwrap_or_default(),
            path: edges
                .last()
                .map(|edge| edge.path.clone())
                .unwrap_or_default(),
            session,
            edges,
            makes_edge,
        })
    }
}

/// A refusal that is not the policy's but that of what the mint would rest on.
pub(super) fn denied(reason: &str, description: &str) -> Error {
    Error::new(Code::ACCESS_DENIED, description).reason(reason)
}

pub(super) fn session_inactive() -> Error {
    denied(
        "session_inactive",
        "agent_session_id: no session of this zone that is active has this id",
    )
}

pub(super) fn delegation_inactive() -> Error {
    denied(
        "delegation_inactive",
        "delegation_edge_id: no delegation of this zone that is in force has this id",
    )
}
