//! `/v1/zones/{z}/audit`: looking for evidence, following it, and taking it away; and where gateways leave
//! theirs.

mod csv;

use std::{convert::Infallible, sync::Arc, time::Duration};

use authority::{
    audit::{Decision, EventType, OccurredAt, SignedCheckpoint},
    jwks::JwkSet,
};
use axum::{
    Json as Body,
    body::Body as HttpBody,
    extract::{FromRequestParts, State},
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    extract::{Id, InLedgerOf, JsonText, query as query_of, unexpected},
    gateways::AtGateway,
};
use crate::{
    error::{Code, Error, Result},
    ledger::{Batch, Export, ExportRange, Resume, Taken, shown},
    store::{AuditFilter, Cursor, LedgerHead, Zone},
    sts::Sts,
};

const DEFAULT_PAGE: u16 = 100;
const MAX_PAGE: u16 = 1_000;
/// How often a tail looks by itself, for changes that nobody announces.
const LOOK: Duration = Duration::from_secs(1);
/// How long news gathers before a tail tells it.
const GATHER: Duration = Duration::from_millis(50);
/// How often a tail shows that it is there.
const HEARTBEAT_LOOKS: u32 = 15;
/// Events that a tail reads at once.
const TAIL_PAGE: u32 = 500;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    since: Option<String>,
    until: Option<String>,
    request_id: Option<String>,
    decision: Option<Decision>,
    event_type: Option<EventType>,
    reason: Option<String>,
    application_id: Option<String>,
    subject: Option<String>,
    session_id: Option<String>,
    session_tree: Option<String>,
    authority_record_id: Option<String>,
    jti: Option<String>,
    delegation_id: Option<String>,
    resource: Option<String>,
    policy_set_version_id: Option<String>,
    object_id: Option<String>,
    format: Option<Format>,
    cursor: Option<String>,
    limit: Option<u16>,
    /// Of a tail: after this event.
    after: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Json,
    Csv,
}

/// What is asked for, in a zone.
pub(super) struct Asked {
    zone: Zone,
    filter: AuditFilter,
    format: Format,
    cursor: Option<Cursor>,
    limit: u16,
    after: Option<u64>,
}

/// A time in RFC 3339.
fn time(text: &str, field: &str) -> Result<OccurredAt> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1000).ok())
        .map(OccurredAt)
        .ok_or_else(|| {
            Error::invalid(format!(
                "{field}: expected a time as in 2026-05-21T12:00:00Z"
            ))
        })
}

impl FromRequestParts<Arc<Sts>> for Asked {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        let InLedgerOf(zone) = InLedgerOf::from_request_parts(parts, sts).await?;
        let fields: Fields = query_of(parts, sts).await?;
        let limit = fields.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::invalid(format!("limit: expected 1 to {MAX_PAGE}")));
        }
        let cursor = match &fields.cursor {
            Some(text) => Some(Cursor::parse(text).ok_or_else(|| {
                Error::invalid("cursor: expected the next_cursor of the page before")
            })?),
            None => None,
        };
        let mut jti = fields.jti;
        if let Some(sid) = &fields.authority_record_id {
            let record = sts.store.authority_record(&zone.id, sid).await?;
            let of_record = record.map_or_else(String::new, |record| record.jti);
            if jti.as_ref().is_some_and(|jti| *jti != of_record) {
                return Err(Error::invalid(
                    "authority_record_id: not the record of the mandate in jti",
                ));
            }
            jti = Some(of_record);
        }
        let since = fields.since.as_deref().map(|text| time(text, "since"));
        let until = fields.until.as_deref().map(|text| time(text, "until"));
        Ok(Self {
            zone,
            filter: AuditFilter {
                since: since.transpose()?,
                until: until.transpose()?,
                request_id: fields.request_id,
                decision: fields.decision,
                event_type: fields.event_type,
                reason: fields.reason,
                client_id: fields.application_id,
                sub: fields.subject,
                jti,
                agent_session_id: fields.session_id,
                session_tree: fields.session_tree,
                delegation_id: fields.delegation_id,
                resource: fields.resource,
                policy_set_version_id: fields.policy_set_version_id,
                object_id: fields.object_id,
            },
            format: fields.format.unwrap_or(Format::Json),
            cursor,
            limit,
            after: fields.after,
        })
    }
}

/// A part of what was found.
#[derive(Serialize)]
struct Found {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

pub(super) async fn query(State(sts): State<Arc<Sts>>, asked: Asked) -> Result<Response> {
    let page = sts
        .store
        .find_events(&asked.zone.id, &asked.filter, asked.cursor, asked.limit)
        .await?;
    let next_cursor = page.next.map(Cursor::to_text);
    if asked.format == Format::Csv {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/csv; charset=utf-8"),
        );
        if let Some(cursor) = next_cursor.and_then(|cursor| cursor.parse().ok()) {
            headers.insert("x-next-cursor", cursor);
        }
        let events = page.entries.iter().map(|(entry, event)| (entry.seq, event));
        return Ok((headers, csv::table(events)).into_response());
    }
    let items = page.entries.iter();
    Ok(Body(Found {
        items: items.map(|(entry, event)| shown(entry, event)).collect(),
        next_cursor,
    })
    .into_response())
}

pub(super) async fn by_request(
    State(sts): State<Arc<Sts>>,
    InLedgerOf(zone): InLedgerOf,
    Id(request_id): Id,
) -> Result<Response> {
    let found = sts.events_of_request(&zone, &request_id).await?;
    Ok(Body(Found {
        items: found
            .iter()
            .map(|(entry, event)| shown(entry, event))
            .collect(),
        next_cursor: None,
    })
    .into_response())
}

pub(super) async fn explain(
    State(sts): State<Arc<Sts>>,
    InLedgerOf(zone): InLedgerOf,
    Id(request_id): Id,
) -> Result<Body<Value>> {
    Ok(Body(sts.explain(&zone, &request_id).await?))
}

/// Every public key that ever signed for the zone: what an auditor needs beside an export.
pub(super) async fn keys(
    State(sts): State<Arc<Sts>>,
    InLedgerOf(zone): InLedgerOf,
) -> Result<Body<JwkSet>> {
    Ok(Body(sts.audit_keys(&zone).await?))
}

/// Where the ledger stands, signed: for whoever wants to hold a later export against it.
pub(super) async fn checkpoint(
    State(sts): State<Arc<Sts>>,
    InLedgerOf(zone): InLedgerOf,
) -> Result<Body<SignedCheckpoint>> {
    let ledger = sts.store.ledger(&zone.id).await?;
    Ok(Body(sts.checkpoint_of(&ledger).await?))
}

pub(super) async fn decisions(
    State(sts): State<Arc<Sts>>,
    AtGateway(gateway): AtGateway,
    JsonText(body): JsonText,
) -> Result<Body<Taken>> {
    let batch = Batch::read(&body).map_err(|error| unexpected(&error))?;
    let taken = sts.take_decisions(&gateway, batch).await?;
    sts.presence.tells(&gateway.id);
    Ok(Body(taken))
}

/// What part of the ledger to export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportFields {
    since: Option<String>,
    until: Option<String>,
    /// Goes on with an export whose first event this was,
    first: Option<u64>,
    /// and whose last so far this was.
    after: Option<u64>,
}

pub(super) struct Range(ExportRange);

impl FromRequestParts<Arc<Sts>> for Range {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, sts: &Arc<Sts>) -> Result<Self> {
        let fields: ExportFields = query_of(parts, sts).await?;
        let resume = match (fields.first, fields.after) {
            (Some(first), Some(after)) => Some(Resume { first, after }),
            (None, None) => None,
            _ => return Err(Error::invalid("first and after: expected both, or neither")),
        };
        let since = fields.since.as_deref().map(|text| time(text, "since"));
        let until = fields.until.as_deref().map(|text| time(text, "until"));
        Ok(Self(ExportRange {
            since: since.transpose()?,
            until: until.transpose()?,
            resume,
        }))
    }
}

pub(super) async fn export(
    State(sts): State<Arc<Sts>>,
    InLedgerOf(zone): InLedgerOf,
    Range(range): Range,
) -> Result<Response> {
    let export = sts.export(&zone, range).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (
            header::HeaderName::from_static("caracal-export-events"),
            export.events().to_string(),
        ),
    ];
    Ok((headers, HttpBody::from_stream(lines(export))).into_response())
}

/// The lines of an export. A fault breaks the answer off, so that nobody takes it for whole.
fn lines(export: Export) -> impl Stream<Item = Result<String, std::io::Error>> {
    stream::try_unfold(export, async |mut export| {
        let next = export
            .next()
            .await
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(next.map(|text| (text, export)))
    })
}

/// What a tail knows.
struct Tail {
    sts: Arc<Sts>,
    filter: AuditFilter,
    ledger: LedgerHead,
    /// The last event that it has seen.
    seen: u64,
    looks: u32,
    news: tokio::sync::watch::Receiver<()>,
}

/// Events as they are written, as server-sent events: from the one after `after` or `Last-Event-ID` on, or
/// from now on.
pub(super) async fn tail(
    State(sts): State<Arc<Sts>>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response> {
    let ledger = sts.store.ledger(&asked.zone.id).await?;
    let last_id = match headers.get("last-event-id") {
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or_else(|| {
                    Error::new(Code::INVALID_REQUEST, "Last-Event-ID: expected a number")
                })?,
        ),
        None => None,
    };
    let tail = Tail {
        news: sts.audit_news.subscribe(&asked.zone.id),
        seen: last_id.or(asked.after).unwrap_or(ledger.seq),
        filter: asked.filter,
        looks: 0,
        ledger,
        sts,
    };
    let events = stream::unfold(tail, async |mut tail| {
        let text = tail.next().await?;
        Some((Ok::<_, Infallible>(text), tail))
    });
    let media_type = (header::CONTENT_TYPE, "text/event-stream");
    Ok(([media_type], HttpBody::from_stream(events)).into_response())
}

impl Tail {
    /// What there is to tell, once there is something; nothing once the server closes.
    async fn next(&mut self) -> Option<String> {
        loop {
            let entries = self
                .sts
                .store
                .entries_after(&self.ledger, self.seen, TAIL_PAGE)
                .await
                .ok()?;
            let mut text = String::new();
            for entry in &entries {
                self.seen = entry.seq;
                let Ok(event) = serde_json::from_str(&entry.event) else {
                    continue;
                };
                if self.filter.matches(&event) {
                    let data = shown(entry, &event);
                    text.push_str(&format!("id: {}\ndata: {data}\n\n", entry.seq));
                }
            }
            if !text.is_empty() {
                self.looks = 0;
                return Some(text);
            }
            if !entries.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.sts.closed() => return None,
                // An error means that the server is gone.
                news = self.news.changed() => {
                    news.ok()?;
                    tokio::time::sleep(GATHER).await;
                }
                () = tokio::time::sleep(LOOK) => self.looks += 1,
            }
            if self.looks >= HEARTBEAT_LOOKS {
                self.looks = 0;
                return Some(": here\n\n".to_owned());
            }
        }
    }
}
