//! Taking authority away: what an operator or a client revokes, what falls with it, and whether
//! something is revoked. `publication` has what gateways are told.

mod publication;

use std::time::Duration;

use authority::{
    audit::EventType,
    ids::ZoneId,
    mandate::{Claims, LEEWAY_SECONDS, MAX_SESSION_TTL_SECONDS, Mandate},
    revocation::{Anchor, AnchorKind, PUBLISHED_SECONDS},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use self::publication::Bases;
use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    ledger::Changed,
    presented::Caller,
    store::{Change, Falls, NewRevocation, RevocationRow, Zone},
    sts::Sts,
};

/// How long gateways are told of a revocation.
const PUBLISHED: Duration = Duration::from_secs(PUBLISHED_SECONDS);
/// How long what came before a revocation can still be presented to the STS.
const KEPT: Duration = Duration::from_secs(MAX_SESSION_TTL_SECONDS + 2 * LEEWAY_SECONDS);
/// Longest reason for an end or a revocation.
const MAX_REASON_CHARS: usize = 200;
const MAX_ID_BYTES: usize = 256;
/// Most anchors of a zone that are revoked up to a time at once: they are no matter of a filter, but of a
/// list that every gateway holds.
const MAX_CUTOFFS: i64 = 100_000;
/// Most anchors of one request.
const MAX_ANCHORS: usize = 10_000;

/// An anchor as it is named in requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedAnchor {
    pub(crate) anchor_type: String,
    pub(crate) id: String,
}

impl NamedAnchor {
    fn parse(&self) -> Result<Anchor<'_>> {
        let kind = AnchorKind::named(&self.anchor_type).ok_or_else(|| {
            let names: Vec<_> = AnchorKind::ALL.iter().map(|kind| kind.name()).collect();
            Error::invalid(format!("anchor_type: expected one of {}", names.join(", ")))
        })?;
        if self.id.is_empty()
            || self.id.len() > MAX_ID_BYTES
            || self.id.chars().any(char::is_control)
        {
            return Err(Error::invalid(format!(
                "id: expected 1 to {MAX_ID_BYTES} bytes without control characters"
            )));
        }
        Ok(Anchor { kind, id: &self.id })
    }
}

/// What is to be revoked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevocationRequest {
    anchor_type: Option<String>,
    id: Option<String>,
    /// Instead of the two above.
    anchors: Option<Vec<NamedAnchor>>,
    reason: Option<String>,
    /// Only mandates issued up to then, in seconds since the Unix epoch; not later than now.
    issued_until: Option<u64>,
    /// Only says what would fall.
    #[serde(default)]
    dry_run: bool,
}

/// What was revoked, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct Revoked {
    dry_run: bool,
    anchors: Vec<NamedAnchor>,
    issued_until: Option<u64>,
    /// Of several anchors it is not counted what falls with them.
    falls: Option<Falls>,
    revoked_at: Moment,
}

impl Change {
    /// Revokes what never comes back.
    pub(crate) async fn revoke_for_good(
        &mut self,
        zone: &ZoneId,
        anchor: Anchor<'_>,
        reason: &str,
        now: Moment,
    ) -> Result<()> {
        // A root may have sessions that act on behalf of it, for as long as they like.
        let kept_until = (anchor.kind != AnchorKind::RootSid).then(|| now.plus(KEPT));
        self.write_revocation(zone, anchor, None, reason, kept_until, now)
            .await
    }

    /// Revokes what may come back.
    pub(crate) async fn hold(
        &mut self,
        zone: &ZoneId,
        anchor: Anchor<'_>,
        reason: &str,
        now: Moment,
    ) -> Result<()> {
        self.write_revocation(zone, anchor, None, reason, None, now)
            .await
    }

    /// Takes [`Change::hold`] back, if it was done.
    pub(crate) async fn release(
        &mut self,
        zone: &ZoneId,
        anchor: Anchor<'_>,
        now: Moment,
    ) -> Result<bool> {
        // A gateway that has heard of the one and not of the other would refuse what is minted from now on.
        Ok(self
            .withdraw(zone, anchor, now, now.plus(PUBLISHED))
            .await?)
    }

    async fn write_revocation(
        &mut self,
        zone: &ZoneId,
        anchor: Anchor<'_>,
        issued_until: Option<u64>,
        reason: &str,
        kept_until: Option<Moment>,
        now: Moment,
    ) -> Result<()> {
        let new = NewRevocation {
            kind: anchor.kind,
            id: anchor.id.to_owned(),
            issued_until,
            reason: reason.to_owned(),
            published_until: now.plus(PUBLISHED),
            kept_until,
        };
        Ok(self.revoke(zone, &new, now).await?)
    }
}

/// The anchor of a session.
pub(crate) fn session(id: &str) -> Anchor<'_> {
    Anchor {
        kind: AnchorKind::Session,
        id,
    }
}

/// Something that is revoked, or no more, as evidence tells of it.
fn revocation(action: &'static str, id: &str, after: serde_json::Value) -> Changed {
    Changed::new(action, id)
        .of_type(EventType::Revocation)
        .after(&after)
}

/// Which of `revoked` keeps a mandate with these `anchors` and claims from being good.
pub(crate) fn first_in_force<'r>(
    revoked: &'r [RevocationRow],
    anchors: &[Anchor<'_>],
    claims: &Claims,
) -> Option<&'r RevocationRow> {
    let issued = i64::try_from(claims.iat.seconds()).unwrap_or(i64::MAX);
    revoked.iter().find(|row| {
        row.issued_until.is_none_or(|until| issued <= until)
            && anchors
                .iter()
                .any(|anchor| anchor.kind.name() == row.anchor_type && anchor.id == row.anchor_id)
    })
}

impl Sts {
    /// Commits a change to what is revoked in `zone`, and tells the gateways that wait for it.
    pub(crate) async fn publish_revocations(&self, change: Change, zone: &ZoneId) -> Result<()> {
        change.commit().await?;
        self.revocation_news.announce(zone);
        Ok(())
    }

    /// What keeps this mandate from being good.
    pub(crate) async fn revocation(
        &self,
        zone: &ZoneId,
        mandate: &Mandate,
    ) -> Result<Option<RevocationRow>> {
        let anchors = mandate.anchors();
        let rows = self.store.revocations_of(zone, &anchors).await?;
        Ok(first_in_force(&rows, &anchors, mandate.claims()).cloned())
    }

    /// Which of these anchors are revoked, whenever a mandate was issued, and at which epoch that is so.
    pub(crate) async fn check_anchors(
        &self,
        zone: &ZoneId,
        named: &[NamedAnchor],
    ) -> Result<(u64, Vec<bool>)> {
        let asked = parse_all(named)?;
        let mut view = self
            .store
            .revocation_view(zone)
            .await?
            .ok_or_else(|| crate::zones::not_found(zone.as_str()))?;
        let rows = view.among(&asked).await?;
        let revoked = |anchor: &Anchor<'_>| {
            rows.iter()
                .any(|row| row.issued_until.is_none() && row.anchor().as_ref() == Some(anchor))
        };
        Ok((view.state.epoch, asked.iter().map(revoked).collect()))
    }

    /// Revokes for an operator.
    pub(crate) async fn revoke_anchors(
        &self,
        zone: &Zone,
        request: RevocationRequest,
    ) -> Result<Revoked> {
        let named = match (request.anchor_type, request.id, request.anchors) {
            (Some(anchor_type), Some(id), None) => vec![NamedAnchor { anchor_type, id }],
            (None, None, Some(anchors)) if (1..=MAX_ANCHORS).contains(&anchors.len()) => anchors,
            _ => {
                return Err(Error::invalid(format!(
                    "expected either anchor_type and id, or 1 to {MAX_ANCHORS} anchors"
                )));
            }
        };
        let reason = request.reason.unwrap_or_else(|| "requested".to_owned());
        check_reason(&reason)?;
        let now = Moment::now();
        let until = request.issued_until;
        if until.is_some_and(|until| until > now.timestamp().seconds()) {
            return Err(Error::invalid("issued_until: not later than now"));
        }
        let anchors = parse_all(&named)?;
        let mut change = self.store.begin().await?;
        let cut = anchors
            .iter()
            .filter(|anchor| cutoff(**anchor, until, now).is_ok_and(|until| until.is_some()))
            .count();
        let cut = i64::try_from(cut).unwrap_or(i64::MAX);
        if cut > 0 && change.count_cutoffs(&zone.id, now).await? > MAX_CUTOFFS - cut {
            return Err(Error::new(
                Code::CUTOFF_LIMIT_EXCEEDED,
                format!("{MAX_CUTOFFS} anchors are revoked up to a time at once, at most; try again later"),
            )
            .retry_after(PUBLISHED));
        }
        let mut falls = None;
        let mut rekeyed = false;
        for (anchor, shown) in anchors.iter().zip(&named) {
            let until = cutoff(*anchor, until, now)?;
            change
                .check_known(zone, *anchor)
                .await
                .map_err(|error| error.member("anchor", serde_json::json!(shown)))?;
            if named.len() == 1 {
                falls = Some(change.falls(&zone.id, *anchor, until, now).await?);
            }
            if !request.dry_run {
                rekeyed |= self
                    .revoke_anchor(&mut change, zone, *anchor, until, &reason, now)
                    .await?;
            }
        }
        if !request.dry_run {
            let recorded = anchors.iter().zip(&named).map(|(anchor, shown)| {
                let until = cutoff(*anchor, until, now).ok().flatten();
                let after = json!({"anchor": shown, "issued_until": until, "reason": reason});
                revocation("revocation.create", &shown.id, after)
            });
            change.record_all(&zone.id, recorded.collect()).await?;
            if rekeyed {
                self.publish(change, &zone.id).await?;
                self.revocation_news.announce(&zone.id);
            } else {
                self.publish_revocations(change, &zone.id).await?;
            }
            self.metrics.revoked(named.len());
            let first = named.first();
            tracing::info!(
                zone = %zone.id,
                anchor_type = first.map(|anchor| &*anchor.anchor_type),
                id = first.map(|anchor| &*anchor.id),
                anchors = named.len(),
                reason,
                "revoked"
            );
        }
        Ok(Revoked {
            dry_run: request.dry_run,
            issued_until: anchors
                .first()
                .and_then(|anchor| cutoff(*anchor, until, now).ok().flatten()),
            anchors: named,
            falls,
            revoked_at: now,
        })
    }

    /// Whether gateways must hear of other keys as well.
    async fn revoke_anchor(
        &self,
        change: &mut Change,
        zone: &Zone,
        anchor: Anchor<'_>,
        until: Option<u64>,
        reason: &str,
        now: Moment,
    ) -> Result<bool> {
        let id = &zone.id;
        match anchor.kind {
            AnchorKind::Session => {
                let row = change
                    .own_session(zone, &Caller::Operator, anchor.id)
                    .await?;
                change.end_subtree(&row, "terminated", reason, now).await?;
                change.revoke_for_good(id, anchor, reason, now).await?;
            }
            AnchorKind::Delegation => {
                if let Some(row) = change.delegation(id, anchor.id).await? {
                    change.revoke_delegations(&row, now).await?;
                }
                change.revoke_for_good(id, anchor, reason, now).await?;
            }
            AnchorKind::Sid => change.revoke_record(id, anchor.id, reason, now).await?,
            AnchorKind::Key => {
                self.withdraw_key(change, zone, anchor.id, reason, now)
                    .await?;
                return Ok(true);
            }
            AnchorKind::Jti | AnchorKind::RootSid => {
                change.revoke_for_good(id, anchor, reason, now).await?;
            }
            AnchorKind::Application | AnchorKind::Zone | AnchorKind::Subject => match until {
                Some(_) => {
                    let kept = Some(now.plus(KEPT));
                    change
                        .write_revocation(id, anchor, until, reason, kept, now)
                        .await?;
                }
                None => change.hold(id, anchor, reason, now).await?,
            },
        }
        Ok(false)
    }

    /// Takes back what an operator revoked and may come back.
    pub(crate) async fn withdraw_revocation(&self, zone: &Zone, named: &NamedAnchor) -> Result<()> {
        let anchor = named.parse()?;
        if !matches!(
            anchor.kind,
            AnchorKind::Application | AnchorKind::Zone | AnchorKind::Subject
        ) {
            return Err(Error::new(
                Code::REVOCATION_FINAL,
                "only what is revoked by client_id, zone_id or sub comes back; a suspended session is resumed",
            ));
        }
        let mut change = self.store.begin().await?;
        if !change.release(&zone.id, anchor, Moment::now()).await? {
            return Err(Error::new(
                Code::REVOCATION_NOT_FOUND,
                "this is not revoked in the zone",
            ));
        }
        let withdrawn = revocation("revocation.withdraw", &named.id, json!({"anchor": named}));
        change.record(&zone.id, withdrawn).await?;
        self.publish_revocations(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, anchor_type = named.anchor_type, id = named.id, "revocation withdrawn");
        Ok(())
    }

    /// Revokes a mandate, and what came of it, for whoever it was issued to.
    pub(crate) async fn revoke_mandate(&self, zone: &Zone, mandate: &Mandate) -> Result<()> {
        let now = Moment::now();
        let mut change = self.store.begin().await?;
        let record = mandate.claims().sid.as_str();
        change
            .revoke_record(&zone.id, record, "by its client", now)
            .await?;
        let anchor = json!({"anchor_type": "sid", "id": record});
        let after = json!({"anchor": anchor, "reason": "by its client"});
        change
            .record(&zone.id, revocation("revocation.create", record, after))
            .await?;
        self.publish_revocations(change, &zone.id).await?;
        self.metrics.revoked(1);
        tracing::info!(zone = %zone.id, sid = record, "mandate revoked by its client");
        Ok(())
    }
}

impl Change {
    /// Revokes an authority record and those that came of it: at the root, all of them at once.
    async fn revoke_record(
        &mut self,
        zone: &ZoneId,
        id: &str,
        reason: &str,
        now: Moment,
    ) -> Result<()> {
        let anchor = |kind, id| Anchor { kind, id };
        if self.is_recorded(zone, AnchorKind::RootSid, id).await? {
            let root = anchor(AnchorKind::RootSid, id);
            self.revoke_for_good(zone, root, reason, now).await?;
        }
        let mut below = self.records_below(zone, id, now).await?;
        if below.is_empty() {
            below.push(id.to_owned());
        }
        for record in &below {
            self.revoke_for_good(zone, anchor(AnchorKind::Sid, record), reason, now)
                .await?;
        }
        Ok(())
    }

    async fn check_known(&mut self, zone: &Zone, anchor: Anchor<'_>) -> Result<()> {
        let known = match anchor.kind {
            AnchorKind::Jti | AnchorKind::Sid | AnchorKind::RootSid => {
                self.is_recorded(&zone.id, anchor.kind, anchor.id).await?
            }
            AnchorKind::Session => {
                let found = self.session(&zone.id, anchor.id).await?;
                found.is_some()
            }
            AnchorKind::Delegation => self.delegation(&zone.id, anchor.id).await?.is_some(),
            AnchorKind::Application => self.application(&zone.id, anchor.id).await?.is_some(),
            AnchorKind::Zone => zone.id.as_str() == anchor.id,
            AnchorKind::Key => {
                let keys = self.keys(&zone.id).await?;
                keys.iter().any(|key| key.kid.as_str() == anchor.id)
            }
            // A subject may be anybody that a federated issuer knows.
            AnchorKind::Subject => true,
        };
        if known {
            return Ok(());
        }
        Err(Error::new(
            Code::ANCHOR_NOT_FOUND,
            format!("the zone has no {} {:?}", anchor.kind.name(), anchor.id),
        ))
    }
}

fn parse_all(named: &[NamedAnchor]) -> Result<Vec<Anchor<'_>>> {
    named.iter().map(NamedAnchor::parse).collect()
}

/// Up to which time of issue an anchor is revoked; a subject is never revoked altogether, since nobody
/// could tell when it may be forgotten.
fn cutoff(anchor: Anchor<'_>, until: Option<u64>, now: Moment) -> Result<Option<u64>> {
    match (anchor.kind, until) {
        (AnchorKind::Subject, None) => Ok(Some(now.timestamp().seconds())),
        (AnchorKind::Subject | AnchorKind::Application | AnchorKind::Zone, until) => Ok(until),
        (_, None) => Ok(None),
        (_, Some(_)) => Err(Error::invalid(
            "issued_until: only with client_id, zone_id or sub",
        )),
    }
}

/// Whether a reason for an end or a revocation can be kept and shown.
pub(crate) fn check_reason(reason: &str) -> Result<()> {
    if reason.chars().count() > MAX_REASON_CHARS || reason.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "reason: {MAX_REASON_CHARS} characters at most, none of them a control character"
        )));
    }
    Ok(())
}
