//! Metrics through the host. Proxy-wasm has no labels, so they are written into the name and taken
//! apart by Envoy's `stats_tags`; the names are an interface, listed in the documentation.

use std::collections::HashMap;

use proxy_wasm::{hostcalls, types::MetricType};

/// The metrics of one worker, defined when first used.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    ids: HashMap<String, u32>,
    decisions: HashMap<&'static str, u32>,
}

/// The reason under which allowed requests are counted.
const ALLOWED: &str = "allowed";

impl Metrics {
    /// Counts a decision: `None` for an allowed request, else the reason of the refusal.
    pub(crate) fn decided(&mut self, refused_for: Option<&'static str>) {
        let (outcome, reason) = match refused_for {
            None => ("allow", ALLOWED),
            Some(reason) => ("deny", reason),
        };
        let id = match self.decisions.get(reason) {
            Some(id) => Some(*id),
            None => {
                let name = format!("caracal_decisions.outcome.{outcome}.reason.{reason}");
                let id = hostcalls::define_metric(MetricType::Counter, &name).ok();
                self.decisions.extend(id.map(|id| (reason, id)));
                id
            }
        };
        if let Some(id) = id {
            let _ = hostcalls::increment_metric(id, 1);
        }
    }

    /// Adds one to the counter `name`.
    pub(crate) fn count(&mut self, name: &str) {
        if let Some(id) = self.id(MetricType::Counter, name) {
            let _ = hostcalls::increment_metric(id, 1);
        }
    }

    /// Sets the gauge `name`.
    pub(crate) fn set(&mut self, name: &str, value: u64) {
        if let Some(id) = self.id(MetricType::Gauge, name) {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    /// Records a duration in the histogram `name`, in microseconds.
    pub(crate) fn time(&mut self, name: &str, from_nanos: u64, to_nanos: u64) {
        if let Some(id) = self.id(MetricType::Histogram, name) {
            let _ = hostcalls::record_metric(id, to_nanos.saturating_sub(from_nanos) / 1_000);
        }
    }

    /// Records a value in the histogram `name`.
    pub(crate) fn record(&mut self, name: &str, value: u64) {
        if let Some(id) = self.id(MetricType::Histogram, name) {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    fn id(&mut self, kind: MetricType, name: &str) -> Option<u32> {
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(kind, name).ok()?;
        self.ids.insert(name.to_owned(), id);
        Some(id)
    }
}
