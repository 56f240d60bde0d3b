//! What is asked to be delegated: its form, what can be said of it alone, and what it comes to with the
//! delegation that it passes on from.

use std::{collections::BTreeSet, time::Duration};

use authority::{
    delegation::{Bounds, MAX_HOPS},
    ids::ApplicationId,
    mandate::MAX_TTL_SECONDS,
    resource::is_scope,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    store::{DelegationRow, SessionRow},
};

const MAX_RESOURCES: usize = 64;
const MAX_SCOPES: usize = 64;
/// Longest life, in seconds.
const MAX_LIFE_SECONDS: u64 = 365 * 24 * 3600;
const MAX_REASON_CHARS: usize = 500;

/// A delegation to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDelegation {
    pub(super) issuer_application_id: ApplicationId,
    pub(super) source_session_id: String,
    pub(super) target_session_id: String,
    pub(super) receiver_application_id: ApplicationId,
    pub(super) scopes: BTreeSet<String>,
    /// Id or identifier of the one resource.
    pub(super) resource_id: Option<String>,
    pub(super) parent_edge_id: Option<String>,
    #[serde(default)]
    pub(super) constraints: Constraints,
    /// Its own life.
    pub(super) ttl_seconds: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Constraints {
    /// Ids or identifiers.
    #[serde(default)]
    pub(super) resources: BTreeSet<String>,
    pub(super) max_hops: Option<u32>,
    /// The same by its older name.
    pub(super) max_depth: Option<u32>,
    /// Longest life of a mandate under it.
    pub(super) ttl_seconds: Option<u64>,
    pub(super) budget: Option<u64>,
    pub(super) expires_at: Option<String>,
    pub(super) policy_approved: Option<bool>,
    pub(super) broad_reason: Option<String>,
}

/// What may be delegated, as it was asked for: bounds that are still to be held against the parent's.
pub(crate) struct Wish {
    pub(crate) source: SessionRow,
    pub(crate) target: SessionRow,
    pub(crate) scopes: BTreeSet<String>,
    /// Empty where those of the parent are meant.
    pub(crate) resources: BTreeSet<String>,
    pub(crate) parent_edge_id: Option<String>,
    pub(crate) max_hops: u32,
    pub(crate) mandate_ttl_seconds: Option<u64>,
    pub(crate) budget: Option<u64>,
    /// When it is to end: cut to what it rests on, unless that was said to the second.
    pub(crate) end: Moment,
    pub(crate) end_is_exact: bool,
    pub(crate) constraints: Map<String, Value>,
}

impl Wish {
    /// The wish with what it left open taken from `parent`.
    pub(super) fn fill(&self, parent: Option<&DelegationRow>) -> Result<Filled> {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        let resources = match parent {
            _ if !self.resources.is_empty() => self.resources.clone(),
            Some(parent) => parent.resources.iter().cloned().collect(),
            None => {
                return Err(Error::new(
                    Code::BROAD_DELEGATION_PERMISSION_REQUIRED,
                    "name the resources: resource_id or constraints.resources",
                ));
            }
        };
        let ends = [
            parent.map(|parent| parent.expires_at),
            self.source.expires_at,
            self.target.expires_at,
        ];
        let latest = ends.into_iter().flatten().min();
        Ok(Filled {
            source: self.source.clone(),
            target: self.target.clone(),
            bounds: Bounds {
                scopes: self.scopes.clone(),
                resources,
                expires_at: match latest {
                    Some(latest) if !self.end_is_exact => self.end.min(latest),
                    _ => self.end,
                }
                .timestamp(),
                max_hops: self.max_hops,
                ttl_seconds: self
                    .mandate_ttl_seconds
                    .or_else(|| parent.and_then(|parent| parent.mandate_ttl_seconds.map(unsigned))),
                budget: self
                    .budget
                    .or_else(|| parent.and_then(|parent| parent.budget.map(unsigned))),
            },
            latest,
            constraints: self.constraints.clone(),
        })
    }
}

/// A wish with nothing left open.
pub(super) struct Filled {
    pub(super) source: SessionRow,
    pub(super) target: SessionRow,
    pub(super) bounds: Bounds,
    /// When the sessions and the parent end.
    pub(super) latest: Option<Moment>,
    pub(super) constraints: Map<String, Value>,
}

/// The constraints as they are kept, after what can be said of them alone.
pub(super) fn constraints(new: &NewDelegation) -> Result<Map<String, Value>> {
    let given = &new.constraints;
    let invalid = |what: &str| Error::invalid(what.to_owned());
    if new.scopes.is_empty() || new.scopes.len() > MAX_SCOPES {
        return Err(invalid("scopes: expected 1 to 64"));
    }
    if !new.scopes.iter().all(|scope| is_scope(scope)) {
        return Err(invalid("scopes: expected scopes as RFC 6749 has them"));
    }
    if given.resources.len() > MAX_RESOURCES {
        return Err(invalid("constraints.resources: 64 at most"));
    }
    for hops in [given.max_hops, given.max_depth].into_iter().flatten() {
        if !(1..=MAX_HOPS).contains(&hops) {
            return Err(invalid("constraints.max_hops: expected 1 to 10"));
        }
    }
    if let (Some(hops), Some(depth)) = (given.max_hops, given.max_depth)
        && hops != depth
    {
        return Err(invalid(
            "constraints: max_hops and max_depth are the same and contradict each other",
        ));
    }
    if given
        .ttl_seconds
        .is_some_and(|ttl| !(1..=MAX_TTL_SECONDS).contains(&ttl))
    {
        return Err(invalid("constraints.ttl_seconds: expected 1 to 900"));
    }
    if given
        .broad_reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS)
    {
        return Err(invalid("constraints.broad_reason: 500 characters at most"));
    }
    match serde_json::to_value(given).map_err(Error::internal)? {
        Value::Object(members) => Ok(members
            .into_iter()
            .filter(|(_, value)| !value.is_null() && *value != Value::Array(Vec::new()))
            .collect()),
        _ => Err(Error::internal("constraints are no object")),
    }
}

/// When it is to end, and whether that was said to the second.
pub(super) fn end(new: &NewDelegation) -> Result<(Moment, bool)> {
    let relative = match new.ttl_seconds {
        None => None,
        Some(seconds @ 1..=MAX_LIFE_SECONDS) => {
            Some(Moment::now().plus(Duration::from_secs(seconds)))
        }
        Some(_) => return Err(Error::invalid("ttl_seconds: expected 1 to a year")),
    };
    let absolute = match &new.constraints.expires_at {
        None => None,
        Some(text) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
                Error::invalid("constraints.expires_at: expected a time as RFC 3339 has it")
            })?;
            let seconds = u64::try_from(time.unix_timestamp()).unwrap_or_default();
            Some(Moment::from(authority::time::Timestamp(seconds)))
        }
    };
    match (relative, absolute) {
        (Some(relative), Some(absolute)) if relative < absolute => Ok((relative, false)),
        (_, Some(absolute)) => Ok((absolute, true)),
        (Some(relative), None) => Ok((relative, false)),
        (None, None) => Err(Error::new(
            Code::DELEGATION_EXPIRY_REQUIRED,
            "ttl_seconds or constraints.expires_at: a delegation ends some time",
        )),
    }
}
