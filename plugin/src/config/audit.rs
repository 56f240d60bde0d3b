//! The key `audit`: how evidence is held and sent.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, wrong};
use crate::evidence::{Audit, OnOverflow, Sampling};

/// How many events a worker may be told to hold.
const AUDIT_BUFFER: std::ops::RangeInclusive<usize> = 100..=1_000_000;
const LONGEST_FLUSH: Duration = Duration::from_secs(10);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    buffer_events: Option<usize>,
    flush_ms: Option<u64>,
    on_overflow: Option<OnOverflow>,
    #[serde(default)]
    sample_allows: Vec<RawSampling>,
    #[serde(default)]
    filter_state: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSampling {
    resource: String,
    one_in: u64,
}

impl RawAudit {
    pub(super) fn check(self, has_sts: bool) -> Result<Audit, ConfigError> {
        let defaults = Audit::default();
        if !has_sts {
            let sent = [
                ("buffer_events", self.buffer_events.is_some()),
                ("flush_ms", self.flush_ms.is_some()),
                ("on_overflow", self.on_overflow.is_some()),
                ("sample_allows", !self.sample_allows.is_empty()),
            ];
            if let Some((key, _)) = sent.iter().find(|(_, given)| *given) {
                let key = format!("audit.{key}");
                return Err(wrong(key, "belongs to a gateway with sts"));
            }
        }
        let buffer_events = self.buffer_events.unwrap_or(defaults.buffer_events);
        if !AUDIT_BUFFER.contains(&buffer_events) {
            let (least, most) = (AUDIT_BUFFER.start(), AUDIT_BUFFER.end());
            return Err(wrong(
                "audit.buffer_events",
                format!("between {least} and {most}"),
            ));
        }
        let flush = self.flush_ms.map_or(defaults.flush, Duration::from_millis);
        if flush > LONGEST_FLUSH {
            return Err(wrong(
                "audit.flush_ms",
                format!("{} at most", LONGEST_FLUSH.as_millis()),
            ));
        }
        let mut sampling: Vec<Sampling> = Vec::new();
        for (place, RawSampling { resource, one_in }) in self.sample_allows.into_iter().enumerate()
        {
            let key = |field: &str| format!("audit.sample_allows[{place}].{field}");
            if one_in < 2 {
                return Err(wrong(key("one_in"), "2 at least"));
            }
            if sampling.iter().any(|other| other.resource == resource) {
                return Err(wrong(key("resource"), "stands there twice"));
            }
            sampling.push(Sampling { resource, one_in });
        }
        Ok(Audit {
            buffer_events,
            flush,
            on_overflow: self.on_overflow.unwrap_or_default(),
            sampling,
            filter_state: self.filter_state,
        })
    }
}
