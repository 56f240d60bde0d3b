//! Making a delegation: whose it is, what it rests on, and that it is no more than that. The first of a
//! path rests on the policy: an application passes on what it could mint itself.

use std::{collections::BTreeSet, time::Duration};

use authority::{
    delegation::{Bounds, Excess, check_path},
    ids::{ApplicationId, DelegationId},
    revocation::AnchorKind,
};
use serde_json::Value;

use super::{
    DelegationView, issuer_ownership_required, made,
    wish::{Filled, NewDelegation, Wish, constraints, end},
};
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    presented::Caller,
    receipts::{self, IdempotencyKey, Slot},
    store::{Application, Change, DelegationRow, ResourceRow, SessionRow, SessionState, Zone},
    sts::Sts,
};

impl Sts {
    /// Makes a delegation. Its description, and whether it was made before.
    pub(crate) async fn create_delegation(
        &self,
        zone: &Zone,
        caller: &Caller,
        new: NewDelegation,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<(Value, bool)> {
        if !caller.is(&new.issuer_application_id) {
            return Err(issuer_ownership_required());
        }
        let slot = idempotency
            .map(|key| Slot::new(key, caller, "delegation", &new))
            .transpose()?;
        if let Some(slot) = &slot {
            let mut change = self.store.begin().await?;
            if let Some(replay) = slot.replay(&mut change, zone).await? {
                let row = change.delegation(&zone.id, &replay.made_id).await?;
                return match row {
                    Some(row) if row.status(Moment::now()) == "active" => Ok((replay.answer, true)),
                    _ => Err(receipts::inactive()),
                };
            }
        }
        let issuer = self
            .store
            .application(&zone.id, new.issuer_application_id.as_str())
            .await?
            .ok_or_else(endpoint_not_found)?;
        let wish = self.wish(zone, caller, new).await?;
        let row = self.prepare_delegation(zone, &issuer, wish).await?;

        let mut change = self.store.begin().await?;
        self.insert_checked(&mut change, zone, &issuer, &row)
            .await?;
        let id = row.id.to_string();
        let recorded = made(&row);
        let answer = serde_json::to_value(DelegationView::new(row, Moment::now()))
            .map_err(Error::internal)?;
        if let Some(slot) = slot {
            // Twice at once: the other one was first.
            if let Some(replay) = slot.replay(&mut change, zone).await? {
                return Ok((replay.answer, true));
            }
            slot.keep(
                &mut change,
                zone,
                self.session_limits.receipts,
                &id,
                &answer,
            )
            .await?;
        }
        change.record(&zone.id, recorded).await?;
        change.commit().await?;
        tracing::info!(zone = %zone.id, delegation = id, issuer = %issuer.id, "delegation made");
        Ok((answer, false))
    }

    async fn wish(&self, zone: &Zone, caller: &Caller, new: NewDelegation) -> Result<Wish> {
        let constraints = constraints(&new)?;
        let (end, end_is_exact) = end(&new)?;
        if new.source_session_id == new.target_session_id {
            return Err(Error::new(
                Code::SELF_DELEGATION_DENIED,
                "a session does not delegate to itself",
            ));
        }
        let source = self
            .endpoint(zone, &new.source_session_id, &new.issuer_application_id)
            .await?;
        if !caller.reaches(&source.path) {
            return Err(issuer_ownership_required());
        }
        let target = self
            .endpoint(zone, &new.target_session_id, &new.receiver_application_id)
            .await?;
        let mut resources = BTreeSet::new();
        for named in &new.constraints.resources {
            resources.insert(self.named_resource(zone, named).await?.identifier);
        }
        if let Some(named) = &new.resource_id {
            let one = self.named_resource(zone, named).await?.identifier;
            if !resources.is_empty() && !resources.contains(&one) {
                return Err(Error::new(
                    Code::DELEGATION_RESOURCE_SCOPE_MISMATCH,
                    "resource_id: not among constraints.resources",
                ));
            }
            resources = BTreeSet::from([one]);
        }
        let hops = new.constraints.max_hops.or(new.constraints.max_depth);
        Ok(Wish {
            source,
            target,
            scopes: new.scopes,
            resources,
            parent_edge_id: new.parent_edge_id,
            max_hops: hops.unwrap_or(1),
            mandate_ttl_seconds: new.constraints.ttl_seconds,
            budget: new.constraints.budget,
            end,
            end_is_exact,
            constraints,
        })
    }

    async fn endpoint(
        &self,
        zone: &Zone,
        id: &str,
        application: &ApplicationId,
    ) -> Result<SessionRow> {
        let now = Moment::now();
        let row = self
            .store
            .session(&zone.id, id)
            .await?
            .filter(|row| row.state(now) == SessionState::Active)
            .ok_or_else(endpoint_not_found)?;
        if row.application_id != *application {
            return Err(Error::new(
                Code::DELEGATION_APPLICATION_MISMATCH,
                "a session is of another application than was said",
            ));
        }
        Ok(row)
    }

    async fn named_resource(&self, zone: &Zone, named: &str) -> Result<ResourceRow> {
        if let Some(row) = self.store.resource_by_identifier(&zone.id, named).await? {
            return Ok(row);
        }
        self.resource(zone, named).await
    }

    /// The delegation that `wish` comes to, after everything that can be checked before the change.
    pub(crate) async fn prepare_delegation(
        &self,
        zone: &Zone,
        issuer: &Application,
        wish: Wish,
    ) -> Result<DelegationRow> {
        let now = Moment::now();
        let held = self.store.live_delegations_to(&wish.source.id, now).await?;
        let parent = parent(&wish, held)?;
        let path = match &parent {
            Some(parent) => self.store.delegations_along(&parent.path).await?,
            None => Vec::new(),
        };
        let id = self.unsuspected_id(&zone.id, &[AnchorKind::Delegation]);
        let row = assemble(id, zone, wish.fill(parent.as_ref())?, parent.as_ref(), now)?;
        let chain: Vec<_> = path
            .iter()
            .chain([&row])
            .map(|edge| (edge.bounds(), edge.step()))
            .collect();
        check_path(chain.iter().map(|(bounds, step)| (bounds, *step))).map_err(exceeds)?;
        self.check_resource_scopes(zone, &row.bounds()).await?;
        if parent.is_none() {
            if !wish.source.originates {
                return Err(Error::new(
                    Code::DELEGATION_EXCEEDS_PARENT_AUTHORITY,
                    "the source holds no delegation in force, and was started to act only by those that it is given",
                ));
            }
            self.check_root_delegation(zone, issuer, &wish.source, &wish.target, &row)
                .await?;
        }
        Ok(row)
    }

    async fn check_resource_scopes(&self, zone: &Zone, bounds: &Bounds) -> Result<()> {
        let mut known = BTreeSet::new();
        for identifier in &bounds.resources {
            let row = self
                .store
                .resource_by_identifier(&zone.id, identifier)
                .await?;
            known.extend(row.into_iter().flat_map(|row| row.scopes));
        }
        match bounds.scopes.iter().find(|scope| !known.contains(*scope)) {
            None => Ok(()),
            Some(scope) => Err(Error::new(
                Code::DELEGATION_SCOPES_EXCEED_RESOURCE,
                format!("scopes: none of the resources has {scope}"),
            )),
        }
    }

    /// Inserts `row` if all that it was checked against is still so.
    pub(crate) async fn insert_checked(
        &self,
        change: &mut Change,
        zone: &Zone,
        issuer: &Application,
        row: &DelegationRow,
    ) -> Result<()> {
        let now = Moment::now();
        let mut sessions = BTreeSet::new();
        for id in [&row.source_session_id, &row.target_session_id] {
            let session = change.session(&zone.id, id.as_str()).await?;
            sessions.extend(session.ok_or_else(endpoint_not_found)?.path);
        }
        let sessions = sessions.iter().map(String::as_str).collect();
        if change.active_among(&sessions, now).await?.len() != sessions.len() {
            return Err(endpoint_not_found());
        }
        let above = row.path.split_last().map_or(&[][..], |(_, above)| above);
        let above = above.iter().map(String::as_str).collect();
        if change.in_force_among(&above, now).await?.len() != above.len() {
            return Err(parent_not_active());
        }
        if !change.still_stands(zone, issuer).await? {
            return Err(Error::new(
                Code::OVERLOADED,
                "the application or the zone's policy changed meanwhile; try again",
            )
            .retry_after(Duration::from_secs(1)));
        }
        if change
            .flows(
                row.target_session_id.as_str(),
                row.source_session_id.as_str(),
                now,
            )
            .await?
        {
            return Err(Error::new(
                Code::DELEGATION_CYCLE_DENIED,
                "authority already flows from the target to the source",
            ));
        }
        Ok(change.insert_delegation(row).await?)
    }
}

/// Which of the delegations that the source holds is passed on from.
fn parent(wish: &Wish, mut held: Vec<DelegationRow>) -> Result<Option<DelegationRow>> {
    if let Some(wanted) = &wish.parent_edge_id {
        held.retain(|edge| edge.id.as_str() == wanted);
        return held.pop().map(Some).ok_or_else(parent_not_active);
    }
    if held.len() > 1 {
        held.retain(|edge| edge.bounds().admit(&wish.scopes, &wish.resources).is_ok());
        if held.len() != 1 {
            return Err(Error::new(
                Code::PARENT_DELEGATION_AMBIGUOUS,
                "the source holds several delegations; say which in parent_edge_id",
            ));
        }
    }
    Ok(held.pop())
}

fn assemble(
    id: String,
    zone: &Zone,
    filled: Filled,
    parent: Option<&DelegationRow>,
    now: Moment,
) -> Result<DelegationRow> {
    let Filled {
        source,
        target,
        bounds,
        latest,
        constraints,
    } = filled;
    let expires_at = Moment::from(bounds.expires_at);
    if latest.is_some_and(|latest| expires_at > latest) {
        return Err(exceeds(Excess::Lifetime));
    }
    if expires_at <= now {
        return Err(Error::new(
            Code::DELEGATION_EXPIRED,
            "it would have ended already",
        ));
    }
    let mut path = parent.map(|parent| parent.path.clone()).unwrap_or_default();
    path.push(id.clone());
    let signed = |number: u64| {
        i64::try_from(number).map_err(|_| Error::invalid("constraints: a number is too large"))
    };
    Ok(DelegationRow {
        id: DelegationId::from(id),
        zone_id: zone.id.clone(),
        issuer_application_id: source.application_id,
        receiver_application_id: target.application_id,
        source_session_id: source.id,
        target_session_id: target.id,
        parent_edge_id: parent.map(|parent| parent.id.to_string()),
        path,
        inherited: false,
        resources: bounds.resources.into_iter().collect(),
        scopes: bounds.scopes.into_iter().collect(),
        max_hops: bounds.max_hops,
        mandate_ttl_seconds: bounds.ttl_seconds.map(signed).transpose()?,
        budget: bounds.budget.map(signed).transpose()?,
        constraints,
        expires_at,
        created_at: now,
        revoked_at: None,
    })
}

fn exceeds(excess: Excess) -> Error {
    Error::new(
        Code::DELEGATION_EXCEEDS_PARENT_AUTHORITY,
        format!("more than the source holds: {excess}"),
    )
}

fn parent_not_active() -> Error {
    Error::new(
        Code::PARENT_DELEGATION_NOT_ACTIVE,
        "parent_edge_id: no delegation to the source that is in force has this id",
    )
}

fn endpoint_not_found() -> Error {
    Error::new(
        Code::DELEGATION_ENDPOINT_NOT_FOUND,
        "source_session_id and target_session_id: both must be active sessions of this zone",
    )
}
