//! The story of a request: the decision and its reason, the mandate, the exchange that minted it, the
//! delegations and sessions up to the root, the policy and the rules in it that decided, and what was
//! revoked since.

use authority::{
    audit::{Decision, Event, EventType},
    policy::{CONTRACT, CONTRACT_ENTRY, rules_that_say},
    revocation::{Anchor, AnchorKind},
};
use serde_json::{Value, json};

use crate::{
    clock::Moment,
    delegations::DelegationView,
    error::{Code, Error, Result},
    sessions::SessionView,
    store::{AuditFilter, Entry, Zone},
    sts::Sts,
};

/// Most events of one request that are told of.
const MOST_EVENTS: u16 = 100;
/// Most exchanges that are followed back to the root.
const MOST_EXCHANGES: usize = 32;

/// An event as clients see it: its members, and where it stands in the ledger.
pub(crate) fn shown(entry: &Entry, event: &Event) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("seq".to_owned(), json!(entry.seq));
        members.insert("hash".to_owned(), json!(entry.hash));
        members.insert("recorded_at".to_owned(), json!(entry.recorded_at));
    }
    value
}

impl Sts {
    /// The events of a request, oldest first.
    pub(crate) async fn events_of_request(
        &self,
        zone: &Zone,
        request_id: &str,
    ) -> Result<Vec<(Entry, Event)>> {
        let filter = AuditFilter {
            request_id: Some(request_id.to_owned()),
            ..AuditFilter::default()
        };
        let page = self
            .store
            .find_events(&zone.id, &filter, None, MOST_EVENTS)
            .await?;
        let mut found = page.entries;
        found.reverse();
        if found.is_empty() {
            return Err(Error::new(
                Code::REQUEST_NOT_FOUND,
                "no event of this zone has this request id; a gateway's events arrive within a second",
            ));
        }
        Ok(found)
    }

    /// The story of a request.
    pub(crate) async fn explain(&self, zone: &Zone, request_id: &str) -> Result<Value> {
        let found = self.events_of_request(zone, request_id).await?;
        let is_decision = |event: &Event| {
            matches!(
                event.event_type,
                EventType::GatewayRequest | EventType::TokenExchange
            )
        };
        let last = found.iter().rev().find(|(_, event)| is_decision(event));
        let mut denied = Vec::new();
        for (_, event) in &found {
            if event.decision == Decision::Deny {
                denied.push(json!({
                    "event_id": event.id,
                    "event_type": event.event_type,
                    "reason": event.reason,
                    "evaluation_status": event.evaluation_status,
                    "determining_policies": event.determining_policies_json,
                    "diagnostics": event.diagnostics_json,
                    "metadata": event.metadata_json,
                }));
            }
        }
        let mut story = json!({
            "request_id": request_id,
            "zone_id": zone.id,
            "final_decision": last.map(|(_, event)| event.decision),
            "reason": last.and_then(|(_, event)| event.reason.clone()),
            "denied": denied,
        });
        if let (Some((_, event)), Some(members)) = (last, story.as_object_mut()) {
            members.insert(
                "application".to_owned(),
                self.application_of(zone, event).await?,
            );
            members.insert(
                "exchanges".to_owned(),
                self.exchanges_of(zone, event).await?,
            );
            members.insert("sessions".to_owned(), self.sessions_of(zone, event).await?);
            members.insert(
                "delegations".to_owned(),
                self.delegations_of(zone, event).await?,
            );
            members.insert("policy".to_owned(), self.policy_of(zone, event).await?);
            members.insert(
                "revocations".to_owned(),
                self.revocations_of(zone, event).await?,
            );
        }
        let events: Vec<Value> = found
            .iter()
            .map(|(entry, event)| shown(entry, event))
            .collect();
        if let Some(members) = story.as_object_mut() {
            members.insert("events".to_owned(), Value::Array(events));
        }
        Ok(story)
    }

    async fn application_of(&self, zone: &Zone, event: &Event) -> Result<Value> {
        let Some(id) = &event.mandate.client_id else {
            return Ok(Value::Null);
        };
        let known = self.store.application_even_archived(&zone.id, id).await?;
        Ok(known.map_or_else(
            || json!({"id": id}),
            |(name, archived_at)| json!({"id": id, "name": name, "archived_at": archived_at}),
        ))
    }

    /// The exchanges that led to the mandate, the last first, each with the event that tells of it.
    async fn exchanges_of(&self, zone: &Zone, event: &Event) -> Result<Value> {
        let mut exchanges = Vec::new();
        let mut next = match event.event_type {
            EventType::TokenExchange => None,
            _ => event.mandate.sid.clone(),
        };
        while let Some(sid) = next.take() {
            let Some(record) = self.store.authority_record(&zone.id, &sid).await? else {
                break;
            };
            let filter = AuditFilter {
                jti: Some(record.jti.clone()),
                event_type: Some(EventType::TokenExchange),
                ..AuditFilter::default()
            };
            let minted = self.store.find_events(&zone.id, &filter, None, 1).await?;
            let mint = minted.entries.first();
            exchanges.push(json!({
                "sid": record.id,
                "jti": record.jti,
                "use": record.mandate_use,
                "client_id": record.application_id,
                "sub": record.subject,
                "scope": record.scope,
                "targets": record.targets,
                "issued_at": record.issued_at,
                "expires_at": record.expires_at,
                "request_id": mint.map(|(_, event)| &event.request_id),
                "policy_set_version_id": mint.map(|(_, event)| &event.policy.policy_set_version_id),
                "determining_policies": mint.map(|(_, event)| &event.determining_policies_json),
                "seq": mint.map(|(entry, _)| entry.seq),
            }));
            if exchanges.len() < MOST_EXCHANGES {
                next = record.parent_id;
            }
        }
        Ok(Value::Array(exchanges))
    }

    async fn sessions_of(&self, zone: &Zone, event: &Event) -> Result<Value> {
        let ids = &event.mandate.session_path;
        let ids: Vec<&str> = if ids.is_empty() {
            event
                .mandate
                .agent_session_id
                .iter()
                .map(|id| &**id)
                .collect()
        } else {
            ids.iter().map(|id| &**id).collect()
        };
        let now = Moment::now();
        let mut sessions = Vec::new();
        for id in ids {
            if let Some(row) = self.store.session(&zone.id, id).await? {
                sessions.push(SessionView::new(row, 0, now));
            }
        }
        serde_json::to_value(sessions).map_err(Error::internal)
    }

    async fn delegations_of(&self, zone: &Zone, event: &Event) -> Result<Value> {
        let mut delegations = Vec::new();
        for row in self
            .store
            .delegations_along(&event.mandate.delegation_path)
            .await?
        {
            let issuer = row.issuer_application_id.clone();
            let receiver = row.receiver_application_id.clone();
            let view = DelegationView::new(row, Moment::now());
            let mut view = serde_json::to_value(view).map_err(Error::internal)?;
            for (member, id) in [("issuer_name", issuer), ("receiver_name", receiver)] {
                let known = self
                    .store
                    .application_even_archived(&zone.id, id.as_str())
                    .await?;
                if let (Some(view), Some((name, _))) = (view.as_object_mut(), known) {
                    view.insert(member.to_owned(), json!(name));
                }
            }
            delegations.push(view);
        }
        Ok(Value::Array(delegations))
    }

    /// The version that decided, and the text of the rules in it that name what decided: by the ids that
    /// the policy gave, or by the reason of its denial.
    async fn policy_of(&self, zone: &Zone, event: &Event) -> Result<Value> {
        let Some(id) = &event.policy.policy_set_version_id else {
            return Ok(Value::Null);
        };
        let Some(version) = self.store.policy_set_version(&zone.id, id).await? else {
            return Ok(json!({"policy_set_version_id": id}));
        };
        let set = self
            .store
            .policy_set(&zone.id, version.policy_set_id.as_str())
            .await?;
        let own = self.modules_of(zone, &version.manifest).await?;
        let modules = own
            .iter()
            .map(|stored| (stored.module.name.as_str(), stored.module.source.as_str()))
            .chain([CONTRACT_ENTRY])
            .chain(CONTRACT.iter().copied())
            .filter(|(name, _)| version.modules.iter().any(|module| module.name == *name));
        let decided: Vec<&str> = event
            .determining_policies_json
            .iter()
            .filter_map(|policy| policy.get("id").and_then(Value::as_str))
            .chain(
                event
                    .diagnostics_json
                    .iter()
                    .filter_map(|remark| remark.get("reason").and_then(Value::as_str)),
            )
            .collect();
        let rules: Vec<Value> = decided
            .iter()
            .map(|said| json!({"said": said, "rules": rules_that_say(modules.clone(), said)}))
            .collect();
        let documents: Vec<Value> = own
            .iter()
            .map(|stored| {
                json!({
                    "name": stored.module.name,
                    "policy_version_id": stored.version_id,
                    "content_sha256": stored.content_sha256,
                    "content": stored.module.source,
                })
            })
            .collect();
        let is_active = zone.active_policy_set_version_id.as_deref() == Some(id.as_str());
        Ok(json!({
            "policy_set_id": version.policy_set_id,
            "policy_set_name": set.map(|set| set.name),
            "policy_set_version_id": id,
            "version": version.version,
            "manifest_sha256": version.manifest_sha256,
            "in_force_now": is_active,
            "decided": rules,
            "modules": documents,
        }))
    }

    /// What is revoked by now of that which the mandate stood on.
    async fn revocations_of(&self, zone: &Zone, event: &Event) -> Result<Value> {
        let mandate = &event.mandate;
        let mut anchors = Vec::new();
        let mut add = |kind: AnchorKind, ids: &mut dyn Iterator<Item = &String>| {
            anchors.extend(ids.map(|id| (kind, id.clone())));
        };
        add(AnchorKind::Jti, &mut mandate.jti.iter());
        add(AnchorKind::Sid, &mut mandate.sid.iter());
        add(AnchorKind::RootSid, &mut mandate.root_sid.iter());
        add(AnchorKind::Session, &mut mandate.session_path.iter());
        add(AnchorKind::Delegation, &mut mandate.delegation_path.iter());
        add(AnchorKind::Application, &mut mandate.client_id.iter());
        add(AnchorKind::Subject, &mut mandate.sub.iter());
        anchors.push((AnchorKind::Zone, zone.id.to_string()));
        let anchors: Vec<Anchor<'_>> = anchors
            .iter()
            .map(|(kind, id)| Anchor { kind: *kind, id })
            .collect();
        let rows = self.store.revocations_of(&zone.id, &anchors).await?;
        serde_json::to_value(rows).map_err(Error::internal)
    }
}
