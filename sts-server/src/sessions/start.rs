//! Starting a session: whose it is, on whose behalf, below which parent and with what of its authority.

use std::time::Duration;

use authority::{
    delegation::{MAX_HOPS, check_path},
    ids::{AgentSessionId, ApplicationId, DelegationId},
    mandate::MandateUse,
    revocation::AnchorKind,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{SessionView, lease};
use crate::{
    clock::Moment,
    delegations::made,
    error::{Code, Error, Result},
    ledger::Changed,
    presented::Caller,
    receipts::{self, IdempotencyKey, Slot},
    secret::Secret,
    store::{Application, Change, DelegationRow, SessionRow, SessionState, Zone},
    sts::Sts,
};

const MAX_LABELS: usize = 32;
const MAX_LABEL_CHARS: usize = 64;
const MAX_METADATA_BYTES: usize = 8 * 1024;
const DEFAULT_TTL_SECONDS: u32 = 3600;
const MAX_TTL_SECONDS: u32 = 86_400;

/// A session to be started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    application_id: ApplicationId,
    #[serde(default)]
    lifecycle: Lifecycle,
    /// The authority record to act on behalf of.
    subject_session_id: Option<String>,
    /// The mandate of that record, which shows that its authority was given.
    #[serde(default, skip_serializing)]
    subject_token: Option<Secret>,
    parent_id: Option<String>,
    ttl_seconds: Option<u32>,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    parent_authority: ParentAuthority,
    inherit_parent_edge_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lifecycle {
    #[default]
    Task,
    Service,
}

/// What a child begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ParentAuthority {
    /// What its parent has.
    #[default]
    Inherit,
    /// Nothing, until it is delegated to.
    None,
}

/// A session that was started, and the delegation that it began with.
#[derive(Debug, Serialize)]
struct Started {
    #[serde(flatten)]
    session: SessionView,
    delegation_edge_id: Option<DelegationId>,
}

/// On whose behalf.
struct Subject {
    record_id: Option<String>,
    subject: String,
}

impl Sts {
    /// Starts a session. Its description, and whether it was started before.
    pub(crate) async fn start_session(
        &self,
        zone: &Zone,
        caller: &Caller,
        new: NewSession,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<(Value, bool)> {
        check_form(&new)?;
        if !caller.is(&new.application_id) {
            return Err(Error::new(
                Code::APPLICATION_OWNERSHIP_REQUIRED,
                "application_id: an application starts sessions of its own only",
            ));
        }
        let subject = self.subject(zone, caller, &new).await?;
        let slot = idempotency
            .map(|key| Slot::new(key, caller, "session", &new))
            .transpose()?;
        let mut change = self.store.begin().await?;
        if let Some(slot) = &slot
            && let Some(replay) = slot.replay(&mut change, zone).await?
        {
            let now = Moment::now();
            let live = change
                .session(&zone.id, &replay.made_id)
                .await?
                .is_some_and(|row| row.state(now).is_live());
            return if live {
                Ok((replay.answer, true))
            } else {
                Err(receipts::inactive())
            };
        }
        let application = change
            .application(&zone.id, new.application_id.as_str())
            .await?
            .ok_or_else(|| {
                Error::new(
                    Code::APPLICATION_NOT_FOUND,
                    "application_id: no application of this zone has this id",
                )
            })?;
        let parent = parent(&mut change, zone, caller, &new).await?;
        self.check_limits(&mut change, zone, &application, parent.as_ref())
            .await?;
        let (row, edge) = self
            .assemble(&mut change, zone, new, subject, parent)
            .await?;
        change.insert_session(&row).await?;
        let mut recorded = vec![
            Changed::session("session.start", &row).after(&SessionView::new(
                row.clone(),
                0,
                Moment::now(),
            )),
        ];
        if let Some(edge) = &edge {
            change.insert_delegation(edge).await?;
            recorded.push(made(edge));
        }
        change.record_all(&zone.id, recorded).await?;
        let id = row.id.to_string();
        let started = Started {
            session: SessionView::new(row, 0, Moment::now()),
            delegation_edge_id: edge.map(|edge| edge.id),
        };
        let answer = serde_json::to_value(&started).map_err(Error::internal)?;
        if let Some(slot) = slot {
            slot.keep(
                &mut change,
                zone,
                self.session_limits.receipts,
                &id,
                &answer,
            )
            .await?;
        }
        change.commit().await?;
        self.sweeper.wake();
        tracing::info!(zone = %zone.id, session = id, client = %application.id, "session started");
        Ok((answer, false))
    }

    /// On whose behalf the session acts. Authority of somebody else takes that one's mandate as proof.
    async fn subject(
        &self,
        zone: &Zone,
        caller: &Caller,
        new: &NewSession,
    ) -> Result<Option<Subject>> {
        let own = caller.application().map(|calling| calling.claims());
        let Some(id) = &new.subject_session_id else {
            if new.subject_token.is_some() {
                return Err(Error::invalid(
                    "subject_token: only with the subject_session_id that it proves",
                ));
            }
            return Ok(match own {
                // A child acts on behalf of whom its parent does.
                _ if new.parent_id.is_some() => None,
                Some(claims) => Some(Subject {
                    record_id: Some(claims.sid.to_string()),
                    subject: claims.sub.to_string(),
                }),
                None => Some(Subject {
                    record_id: None,
                    subject: new.application_id.to_string(),
                }),
            });
        };
        let now = Moment::now();
        let record = self
            .store
            .authority_record(&zone.id, id)
            .await?
            .filter(|record| record.expires_at > now)
            .ok_or_else(|| {
                Error::new(
                    Code::SESSION_NOT_FOUND,
                    "subject_session_id: no authority record of this zone that is in date has this id",
                )
            })?;
        let is_own = own.is_none_or(|claims| {
            record.application_id == claims.client_id && record.subject == claims.sub
        });
        if !is_own {
            let proof_required = |text: &str| {
                Error::new(
                    Code::SUBJECT_PROOF_REQUIRED,
                    format!("the authority record is somebody else's: {text}"),
                )
            };
            let token = new.subject_token.as_ref().ok_or_else(|| {
                proof_required("present the session mandate of that record as subject_token")
            })?;
            let mandate = self
                .presented_mandate(zone, token, &[MandateUse::Session])
                .await?
                .map_err(|rejected| {
                    proof_required(&format!("subject_token: {}", rejected.description))
                        .reason(rejected.reason)
                })?;
            if mandate.claims().sid.as_str() != id {
                return Err(
                    proof_required("subject_token is of another record").reason("record_mismatch")
                );
            }
        }
        Ok(Some(Subject {
            record_id: Some(record.id.to_string()),
            subject: record.subject,
        }))
    }

    async fn check_limits(
        &self,
        change: &mut Change,
        zone: &Zone,
        application: &Application,
        parent: Option<&SessionRow>,
    ) -> Result<()> {
        let limits = &self.session_limits;
        let parent_id = parent.map(|parent| parent.id.as_str());
        let live = change
            .live_sessions(&zone.id, &application.id, parent_id)
            .await?;
        let depth = parent.map_or(0, |parent| parent.depth + 1);
        let checks = [
            (
                live.in_zone,
                limits.per_zone,
                Code::SESSION_ZONE_LIMIT_EXCEEDED,
                "live sessions in the zone",
            ),
            (
                live.of_application,
                limits.per_application,
                Code::SESSION_LIMIT_EXCEEDED,
                "live sessions of the application",
            ),
            (
                live.of_parent,
                limits.children,
                Code::SESSION_CHILDREN_LIMIT_EXCEEDED,
                "live children of the parent",
            ),
        ];
        for (count, most, code, what) in checks {
            if count >= i64::from(most) {
                return Err(Error::new(code, format!("there are {most} {what} already")));
            }
        }
        if depth > limits.depth {
            return Err(Error::new(
                Code::SESSION_DEPTH_LIMIT_EXCEEDED,
                format!("a session may be {} levels below its root", limits.depth),
            ));
        }
        Ok(())
    }
}

async fn parent(
    change: &mut Change,
    zone: &Zone,
    caller: &Caller,
    new: &NewSession,
) -> Result<Option<SessionRow>> {
    let Some(id) = &new.parent_id else {
        if !caller.reaches(&[]) {
            return Err(Error::new(
                Code::PARENT_OWNERSHIP_REQUIRED,
                "parent_id: the mandate is bound to a session, and starts others below that one",
            ));
        }
        return Ok(None);
    };
    let now = Moment::now();
    let parent = change.session(&zone.id, id).await?.ok_or_else(|| {
        Error::new(
            Code::PARENT_NOT_FOUND,
            "parent_id: no session of this zone has this id",
        )
    })?;
    if parent.application_id != new.application_id || !caller.reaches(&parent.path) {
        return Err(Error::new(
            Code::PARENT_OWNERSHIP_REQUIRED,
            "parent_id: the session is another application's, or not below the one that the mandate is bound to",
        ));
    }
    if parent.state(now) != SessionState::Active {
        return Err(Error::new(
            Code::PARENT_NOT_ACTIVE,
            "parent_id: the session is suspended or has ended",
        ));
    }
    if new.lifecycle == Lifecycle::Service && parent.lifecycle != lease::SERVICE {
        return Err(Error::new(
            Code::TASK_SESSION_CANNOT_START_SERVICE,
            "a task cannot start a service, which would outlive it",
        ));
    }
    Ok(Some(parent))
}

impl Sts {
    async fn assemble(
        &self,
        change: &mut Change,
        zone: &Zone,
        new: NewSession,
        subject: Option<Subject>,
        parent: Option<SessionRow>,
    ) -> Result<(SessionRow, Option<DelegationRow>)> {
        let now = Moment::now();
        let id = self.unsuspected_id(&zone.id, &[AnchorKind::Session]);
        let service = new.lifecycle == Lifecycle::Service;
        let ttl_seconds = new.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS);
        let end = now.plus(Duration::from_secs(u64::from(ttl_seconds)));
        // In whole seconds, as claims have it, and with its parent at the latest.
        let end = Moment::from(end.timestamp());
        let end = match parent.as_ref().and_then(|parent| parent.expires_at) {
            Some(parents) => end.min(parents),
            None => end,
        };
        let mut path = parent
            .as_ref()
            .map(|parent| parent.path.clone())
            .unwrap_or_default();
        path.push(id.clone());
        let subject = match (subject, &parent) {
            (Some(subject), _) => subject,
            (None, Some(parent)) => Subject {
                record_id: parent.subject_authority_record_id.clone(),
                subject: parent.subject.clone(),
            },
            (None, None) => return Err(Error::internal("a root session without a subject")),
        };
        let mut row = SessionRow {
            id: AgentSessionId::from(id),
            zone_id: zone.id.clone(),
            application_id: new.application_id,
            parent_id: parent.as_ref().map(|parent| parent.id.to_string()),
            path,
            depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
            subject_authority_record_id: subject.record_id,
            subject: subject.subject,
            originates: true,
            lifecycle: if service { lease::SERVICE } else { "task" }.to_owned(),
            labels: new.labels,
            metadata: new.metadata,
            ttl_seconds: (!service).then_some(i64::from(ttl_seconds)),
            started_at: now,
            expires_at: (!service).then_some(end),
            last_heartbeat_at: service.then_some(now),
            heartbeat_deadline_at: service.then(|| now.plus(lease::LEASE)),
            lease_generation: i64::from(service),
            suspended_at: None,
            suspended_by: None,
            ended_at: None,
            ended_as: None,
            end_reason: None,
            held_from: None,
        };
        let edge = match &parent {
            Some(parent) if new.parent_authority == ParentAuthority::Inherit => {
                let held =
                    inheritable(change, parent, new.inherit_parent_edge_id.as_deref()).await?;
                held.map(|held| {
                    let id = self.unsuspected_id(&zone.id, &[AnchorKind::Delegation]);
                    inherited(id, held, parent, &row)
                })
                .transpose()?
            }
            _ => None,
        };
        // What was narrowed once, or begun with nothing, never falls back on all that its application may.
        row.originates = match &parent {
            None => true,
            Some(parent) => {
                parent.originates
                    && edge.is_none()
                    && new.parent_authority == ParentAuthority::Inherit
            }
        };
        Ok((row, edge))
    }
}

/// What of the parent's authority its child can begin with.
async fn inheritable(
    change: &mut Change,
    parent: &SessionRow,
    wanted: Option<&str>,
) -> Result<Option<DelegationRow>> {
    let mut live = change
        .live_delegations_to(&parent.id, Moment::now())
        .await?;
    live.retain(|edge| wanted.is_none_or(|wanted| edge.id.as_str() == wanted));
    match (live.len(), wanted) {
        (0, Some(_)) => Err(Error::new(
            Code::INHERIT_PARENT_EDGE_NOT_ACTIVE,
            "inherit_parent_edge_id: no delegation to the parent that is in force has this id",
        )),
        (0 | 1, _) => Ok(live.pop()),
        _ => Err(Error::new(
            Code::INHERIT_PARENT_EDGE_AMBIGUOUS,
            "the parent holds several delegations; say which in inherit_parent_edge_id",
        )),
    }
}

/// The delegation by which `child` begins with what `held` gives its parent.
fn inherited(
    id: String,
    held: DelegationRow,
    parent: &SessionRow,
    child: &SessionRow,
) -> Result<DelegationRow> {
    let mut path = held.path.clone();
    path.push(id.clone());
    if path.len() > usize::try_from(MAX_HOPS).unwrap_or(usize::MAX) {
        return Err(Error::new(
            Code::DELEGATION_EXCEEDS_PARENT_AUTHORITY,
            format!(
                "the parent's delegation is {MAX_HOPS} steps from its origin already; start with parent_authority none"
            ),
        ));
    }
    let edge = DelegationRow {
        id: DelegationId::from(id),
        source_session_id: parent.id.clone(),
        target_session_id: child.id.clone(),
        issuer_application_id: parent.application_id.clone(),
        receiver_application_id: child.application_id.clone(),
        parent_edge_id: Some(held.id.to_string()),
        path,
        inherited: true,
        expires_at: child
            .expires_at
            .map_or(held.expires_at, |end| end.min(held.expires_at)),
        created_at: Moment::now(),
        revoked_at: None,
        ..held.clone()
    };
    let bounds = [(held.bounds(), held.step()), (edge.bounds(), edge.step())];
    check_path(bounds.iter().map(|(bounds, step)| (bounds, *step))).map_err(Error::internal)?;
    Ok(edge)
}

fn check_form(new: &NewSession) -> Result<()> {
    if new.lifecycle == Lifecycle::Service && new.ttl_seconds.is_some() {
        return Err(Error::invalid(
            "ttl_seconds: a service has a lease and no time to live",
        ));
    }
    if new
        .ttl_seconds
        .is_some_and(|ttl| !(1..=MAX_TTL_SECONDS).contains(&ttl))
    {
        return Err(Error::invalid(format!(
            "ttl_seconds: expected 1 to {MAX_TTL_SECONDS}"
        )));
    }
    let fits = |label: &String| {
        (1..=MAX_LABEL_CHARS).contains(&label.chars().count())
            && !label.chars().any(char::is_control)
    };
    if new.labels.len() > MAX_LABELS || !new.labels.iter().all(fits) {
        return Err(Error::invalid(format!(
            "labels: expected at most {MAX_LABELS} of 1 to {MAX_LABEL_CHARS} characters"
        )));
    }
    let metadata = serde_json::to_vec(&new.metadata).map_err(Error::internal)?;
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(Error::invalid(format!(
            "metadata: {MAX_METADATA_BYTES} bytes of JSON at most"
        )));
    }
    if new.inherit_parent_edge_id.is_some()
        && (new.parent_id.is_none() || new.parent_authority == ParentAuthority::None)
    {
        return Err(Error::invalid(
            "inherit_parent_edge_id: only with a parent_id and parent_authority inherit",
        ));
    }
    Ok(())
}
